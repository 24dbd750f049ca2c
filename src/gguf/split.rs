//! Models split into several files, as `gguf-split` of llama.cpp writes them: each shard is a whole GGUF with its share of
//! the tensors and the keys `split.no`, `split.count`, `split.tensors.count`; the first one has all other metadata too.

use super::tensor::sorted_by_name;
use super::{GgufFile, Parsed, parse};
use crate::{Error, Result};

const COUNT: &str = "split.count";
const NUMBER: &str = "split.no";
const TENSORS: &str = "split.tensors.count";

/// What [`parse_files`] made of prefixes.
#[derive(Debug, Clone, PartialEq)]
pub enum ParsedFiles {
    /// As [`Parsed::NeedMore`], of one of the files.
    NeedMore {
        /// Its index.
        file: usize,
        /// So many bytes from its start.
        bytes: u64,
    },
    /// The headers of all files, joined.
    Done(GgufFile),
}

/// Reads and joins the headers of a model's files from a prefix and the size of each, in any order. More of a file is only
/// asked for when the headers before it are whole.
pub fn parse_files(files: &[(Vec<u8>, u64)]) -> Result<ParsedFiles> {
    let mut shards = Vec::with_capacity(files.len());
    for (file, (prefix, size)) in files.iter().enumerate() {
        match parse(prefix, *size)? {
            Parsed::NeedMore(bytes) => return Ok(ParsedFiles::NeedMore { file, bytes }),
            Parsed::Done(shard) => shards.push(shard),
        }
    }
    GgufFile::join(shards).map(ParsedFiles::Done)
}

impl GgufFile {
    /// In how many files the model comes; 1 if it is not split.
    pub fn split_count(&self) -> Result<usize> {
        let count = self.metadata.opt_u64(COUNT)?.unwrap_or(1).max(1);
        usize::try_from(count).map_err(|_| Error::BadMetadata {
            key: COUNT.to_owned(),
            reason: format!("{count} files are too many"),
        })
    }

    /// Joins all shards of a model, given in any order. [`TensorInfo::shard`](super::TensorInfo::shard) becomes the index
    /// into `shards` as given here.
    pub fn join(mut shards: Vec<Self>) -> Result<Self> {
        let Some(first) = find_first(&shards)? else {
            return Err(Error::WrongParts(
                "none of the given files is the first of a split model".to_owned(),
            ));
        };
        check_complete(&shards)?;
        let mut tensors = Vec::with_capacity(shards.iter().map(|shard| shard.tensors.len()).sum());
        for (index, shard) in shards.iter_mut().enumerate() {
            tensors.extend(shard.tensors.drain(..).map(|mut tensor| {
                tensor.shard = index;
                tensor
            }));
        }
        let file_size = shards.iter().map(|shard| shard.file_size).sum();
        let head = shards.swap_remove(first);
        if let Some(expected) = head.metadata.opt_u64(TENSORS)?
            && expected != tensors.len() as u64
        {
            let reason = format!(
                "{expected} tensors were announced, the files have {}",
                tensors.len()
            );
            return Err(Error::BadMetadata {
                key: TENSORS.to_owned(),
                reason,
            });
        }
        Ok(Self {
            by_name: sorted_by_name(&tensors)?,
            tensors,
            file_size,
            ..head
        })
    }

    /// Which shard this is, from 0.
    fn split_number(&self) -> Result<u64> {
        Ok(self.metadata.opt_u64(NUMBER)?.unwrap_or(0))
    }
}

fn find_first(shards: &[GgufFile]) -> Result<Option<usize>> {
    for (index, shard) in shards.iter().enumerate() {
        if shard.split_number()? == 0 {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Each shard must be there once, and all must tell the same count.
fn check_complete(shards: &[GgufFile]) -> Result<()> {
    let mut seen = vec![false; shards.len()];
    for shard in shards {
        let count = shard.split_count()?;
        if count != shards.len() {
            let given = shards.len();
            return Err(Error::WrongParts(match count {
                1 => format!("{given} files were given but one of them is a whole model"),
                _ => format!("the model is split into {count} files but {given} were given"),
            }));
        }
        let number = shard.split_number()?;
        match usize::try_from(number)
            .ok()
            .and_then(|number| seen.get_mut(number))
        {
            Some(seen) if !*seen => *seen = true,
            Some(_) => {
                return Err(Error::WrongParts(format!(
                    "part {} of the model was given twice",
                    number + 1
                )));
            }
            None => {
                let reason = format!("part {number} of {count} is impossible (parts count from 0)");
                return Err(Error::BadMetadata {
                    key: NUMBER.to_owned(),
                    reason,
                });
            }
        }
    }
    Ok(())
}
