//! The GGUF container: header, metadata, tensor table. Knows nothing of models.
//!
//! A file of version 2 or 3 is, little-endian throughout,
//!
//! ```text
//! "GGUF"  u32 version  u64 tensor count  u64 key count
//! keys:     string key, u32 type, value
//! tensors:  string name, u32 dimensions, u64 size of each (columns first), u32 type, u64 offset
//! padding to `general.alignment` (32 if absent), then the tensors' data; offsets count from here
//! string = u64 length, bytes      array = u32 type, u64 count, values
//! ```
//!
//! Everything but the data is read from a prefix of the file by [`parse`], which asks for more where the prefix is short.
//! The bytes may come from anyone, so each length is compared with what is left of the file before it is believed, and
//! memory is reserved only for what is already in the prefix.
//!
//! Source: `docs/gguf.md` of the GGML project and `gguf.cpp`.

mod metadata;
mod reader;
mod split;
mod tensor;
mod value;

pub use metadata::Metadata;
pub use split::Headers;
pub use tensor::TensorInfo;
pub use value::{Array, Value};

use crate::{Error, Result};
use reader::{Reader, Step, Stop};

/// Alignment of the data where the file does not say.
const DEFAULT_ALIGNMENT: u64 = 32;
/// Most bytes of a key or of a tensor's name.
const MAX_NAME: u64 = u16::MAX as u64;
/// First prefix asked for; holds the header of a small model and the leading keys of any.
const FIRST_PREFIX: u64 = 64 * 1024;

/// A GGUF file without its data, or several shards [joined](GgufFile::join).
#[derive(Debug, Clone, PartialEq)]
pub struct GgufFile {
    /// 2 or 3.
    pub version: u32,
    /// All keys; those of the first shard when joined.
    pub metadata: Metadata,
    /// All tensors in file order. Look them up with [`GgufFile::tensor`].
    pub tensors: Vec<TensorInfo>,
    /// Tensors start at multiples of this.
    pub alignment: u64,
    /// Where the data begins in the (first) file.
    pub data_offset: u64,
    /// Size of the file, or of all shards together.
    pub file_size: u64,
    /// Indices into `tensors` sorted by name.
    by_name: Vec<u32>,
}

/// What [`parse`] made of a prefix.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// The prefix ends inside the header. Call again with this many bytes from the start of the file: more than there
    /// were, never more than the file has, and growing fast enough that few calls are needed.
    NeedMore(u64),
    /// The whole header.
    Done(GgufFile),
}

/// Reads the header of a file of `file_size` bytes from its first bytes.
pub fn parse(prefix: &[u8], file_size: u64) -> Result<Parsed> {
    let mut metadata = Metadata::default();
    match read_header(prefix, file_size, &mut metadata) {
        Ok(mut file) => {
            file.metadata = metadata;
            Ok(Parsed::Done(file))
        }
        Err(Stop::Short(needed)) => {
            let generous = FIRST_PREFIX.max(2 * prefix.len() as u64);
            Ok(Parsed::NeedMore(needed.max(generous).min(file_size)))
        }
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// The keys that stand whole in the prefix. The architecture comes first in most files, so an unsupported model is known
/// long before its vocabulary has arrived.
pub fn parse_metadata_prefix(prefix: &[u8], file_size: u64) -> Result<Metadata> {
    let mut metadata = Metadata::default();
    match read_header(prefix, file_size, &mut metadata) {
        Err(Stop::Failed(error)) => Err(error),
        Ok(_) | Err(Stop::Short(_)) => Ok(metadata),
    }
}

impl GgufFile {
    /// Where its tensors are, without its keys: a vocabulary may be large.
    pub fn without_metadata(&self) -> Self {
        Self {
            metadata: Metadata::default(),
            tensors: self.tensors.clone(),
            by_name: self.by_name.clone(),
            ..*self
        }
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let name_at = |i: &u32| {
            self.tensors
                .get(*i as usize)
                .map(|tensor| tensor.name.as_str())
        };
        let found = self
            .by_name
            .binary_search_by(|i| name_at(i).cmp(&Some(name)))
            .ok()?;
        self.tensors.get(self.by_name[found] as usize)
    }
}

/// Fills `metadata` key by key (so that a short prefix leaves those read so far) and returns the rest.
fn read_header(prefix: &[u8], file_size: u64, metadata: &mut Metadata) -> Step<GgufFile> {
    let mut reader = Reader::new(prefix, file_size);
    let version = read_magic(&mut reader)?;
    let tensor_count = reader.u64()?;
    let key_count = reader.u64()?;
    reader.expect_in_file(tensor_count, tensor::MIN_BYTES)?;
    reader.expect_in_file(key_count, value::MIN_PAIR_BYTES)?;
    for _ in 0..key_count {
        let (key, value) = value::read_pair(&mut reader)?;
        metadata.insert(key, value)?;
    }
    let alignment = alignment(metadata)?;
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        tensors.push(tensor::read(&mut reader)?);
    }
    let data_offset = reader
        .position()
        .checked_next_multiple_of(alignment)
        .ok_or_else(|| Error::InvalidGguf(format!("an alignment of {alignment} is impossible")))?;
    tensor::place(&mut tensors, data_offset, alignment, file_size)?;
    Ok(GgufFile {
        version,
        metadata: Metadata::default(),
        by_name: tensor::sorted_by_name(&tensors)?,
        tensors,
        alignment,
        data_offset,
        file_size,
    })
}

/// Checks magic and version.
fn read_magic(reader: &mut Reader) -> Step<u32> {
    const MAGIC: &[u8] = b"GGUF";
    let seen = reader.upcoming(MAGIC.len() as u64)?;
    if !MAGIC.starts_with(seen) {
        let hint = match seen {
            [b'<', ..] => ": it looks like a web page",
            [b'P', b'K', ..] => ": it looks like a ZIP archive",
            [b'v', b'e', b'r', ..] => {
                ": it looks like a Git LFS pointer instead of the file itself"
            }
            [b'g', b'g', ..] | [b'l', b'm', b'g', b'g'] | [b't', b'j', b'g', b'g'] => {
                ": it looks like a GGML file from before GGUF; convert it"
            }
            _ => "",
        };
        return Err(invalid(format!("it does not start with `GGUF`{hint}")));
    }
    reader.take(MAGIC.len() as u64)?;
    match reader.u32()? {
        version @ 2..=3 => Ok(version),
        1 => Err(invalid(
            "version 1 is no longer read; convert the file again".to_owned(),
        )),
        version if version != 0 && version & 0xffff == 0 => Err(invalid(
            "it is big-endian; only little-endian files are read".to_owned(),
        )),
        version => Err(invalid(format!(
            "version {version} is unknown; versions 2 and 3 are read"
        ))),
    }
}

fn invalid(reason: String) -> Stop {
    Stop::Failed(Error::InvalidGguf(reason))
}

fn alignment(metadata: &Metadata) -> Result<u64> {
    const KEY: &str = "general.alignment";
    let alignment = metadata.opt_u64(KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() {
        let reason = format!("{alignment} is not a power of two");
        return Err(Error::BadMetadata {
            key: KEY.to_owned(),
            reason,
        });
    }
    Ok(alignment)
}
