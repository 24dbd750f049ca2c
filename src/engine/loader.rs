//! One loader for every source of bytes: header by growing prefix, weights by range, straight into the backend.

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;

use crate::backend::Backend;
use crate::gguf::{self, GgufFile, Parsed, TensorInfo};
use crate::model::{WeightId, WeightKind, WeightSpec};
use crate::{Error, Result};

/// Gives the bytes of one file by range.
pub trait WeightSource {
    /// Size of the file in bytes.
    fn size(&self) -> u64;

    /// Bytes `offset .. offset + len`, all of them.
    ///
    /// Errors: [`Error::Source`].
    fn read(&self, offset: u64, len: usize) -> impl Future<Output = Result<Vec<u8>>>;
}

/// A file that is in memory already.
pub struct MemorySource(pub Vec<u8>);

impl WeightSource for MemorySource {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let range = usize::try_from(offset)
            .ok()
            .and_then(|start| self.0.get(start..start.checked_add(len)?));
        range.map(<[u8]>::to_vec).ok_or(Error::Truncated {
            needed: offset + len as u64,
            available: self.size(),
        })
    }
}

/// Any source behind a pointer, so that the engine can keep it.
pub(super) struct Source(Box<dyn ReadRange>);

/// [`WeightSource`] as a trait object can have it.
trait ReadRange {
    fn bytes(&self) -> u64;
    fn read_range(
        &self,
        offset: u64,
        len: usize,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>>> + '_>>;
}

impl<S: WeightSource> ReadRange for S {
    fn bytes(&self) -> u64 {
        self.size()
    }

    fn read_range(
        &self,
        offset: u64,
        len: usize,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>>> + '_>> {
        Box::pin(self.read(offset, len))
    }
}

impl Source {
    pub(super) fn new(source: impl WeightSource + 'static) -> Self {
        Self(Box::new(source))
    }
}

impl WeightSource for Source {
    fn size(&self) -> u64 {
        self.0.bytes()
    }

    async fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.0.read_range(offset, len).await
    }
}

/// What is being loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadPhase {
    /// Metadata and tensor table; in bytes.
    Header,
    /// Vocabulary; 0 of 1, then 1 of 1.
    Tokenizer,
    /// Weights; in bytes.
    Weights,
    /// What is left to compile of the GPU's kernels when the weights are there; in kernels.
    Compile,
    /// Comparison of the GPU's kernels with the reference; in parts of the comparison.
    Check,
}

/// How far loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LoadProgress {
    /// What is being loaded.
    pub phase: LoadPhase,
    /// Done.
    pub loaded: u64,
    /// Of how much.
    pub total: u64,
}

/// Is told how far loading has come, and answers whether to go on.
pub type Progress<'a> = dyn FnMut(LoadProgress) -> bool + 'a;

/// First prefix that is read; most headers of small models fit.
const FIRST_READ: u64 = 1 << 20;

/// Bytes per read of weights.
const CHUNK: usize = 4 << 20;

/// Rows are written in multiples of this, as packed formats interleave them.
const ROW_GROUP: usize = 8;

/// Tells the caller and learns whether to go on.
pub(super) fn report(
    progress: &mut Progress<'_>,
    phase: LoadPhase,
    loaded: u64,
    total: u64,
) -> Result<()> {
    if progress(LoadProgress {
        phase,
        loaded,
        total,
    }) {
        Ok(())
    } else {
        Err(Error::Cancelled)
    }
}

/// Reads the header of one file, asking for more bytes until it is whole.
///
/// # Errors
/// Those of [`gguf::parse`] and of the source.
pub async fn read_header(source: &impl WeightSource) -> Result<GgufFile> {
    let size = source.size();
    let mut prefix = Vec::new();
    let mut wanted = FIRST_READ.min(size);
    loop {
        let have = prefix.len() as u64;
        prefix.extend(source.read(have, (wanted - have) as usize).await?);
        match gguf::parse(&prefix, size)? {
            Parsed::Done(file) => return Ok(file),
            // At least double, so that a vocabulary that is asked for piece by piece is not quadratic.
            Parsed::NeedMore(more) => wanted = more.max(wanted * 2).min(size),
        }
        if wanted <= prefix.len() as u64 {
            return Err(Error::Truncated {
                needed: wanted + 1,
                available: size,
            });
        }
    }
}

/// Reads and joins the headers of all shards.
pub(super) async fn read_headers(
    sources: &[impl WeightSource],
    progress: &mut Progress<'_>,
) -> Result<GgufFile> {
    let total = sources.len() as u64;
    let mut shards = Vec::new();
    for source in sources {
        report(progress, LoadPhase::Header, shards.len() as u64, total)?;
        shards.push(read_header(source).await?);
    }
    report(progress, LoadPhase::Header, total, total)?;
    GgufFile::join(shards)
}

/// Streams every weight of the backend's plan into it, in the order of the file.
pub(super) async fn load_weights(
    sources: &[impl WeightSource],
    file: &GgufFile,
    backend: &mut Backend,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let mut jobs = Vec::new();
    for (index, spec) in backend.plan().weights.iter().enumerate() {
        let tensor = file
            .tensor(&spec.tensor)
            .ok_or_else(|| Error::MissingTensor(spec.tensor.clone()))?;
        jobs.push((WeightId(index), spec.clone(), tensor));
    }
    jobs.sort_by_key(|(_, spec, tensor)| (tensor.shard, tensor.offset, spec.row_start));
    let total = jobs
        .iter()
        .map(|(_, spec, tensor)| weight_bytes(spec, tensor))
        .sum::<Result<u64>>()?;
    let mut loaded = 0;
    for (id, spec, tensor) in jobs {
        let source = sources
            .get(tensor.shard)
            .ok_or_else(|| Error::Internal("no such shard".into()))?;
        backend.allocate(id, tensor.dtype)?;
        let row_bytes = tensor.dtype.row_bytes(spec.cols)?;
        let rows_per_read = (CHUNK / row_bytes.max(1) / ROW_GROUP * ROW_GROUP).max(ROW_GROUP);
        let start = tensor.offset + skipped_bytes(&spec, tensor)?;
        for row in (0..spec.rows).step_by(rows_per_read) {
            let rows = rows_per_read.min(spec.rows - row);
            let bytes = source
                .read(start + bytes_of(row, row_bytes), rows * row_bytes)
                .await?;
            backend.write_rows(id, row, &bytes).await?;
            loaded += bytes.len() as u64;
            report(progress, LoadPhase::Weights, loaded, total)?;
        }
    }
    let mut tell = |done, total| report(progress, LoadPhase::Compile, done as u64, total as u64);
    backend.finish(&mut tell).await
}

/// The bytes of some rows of a weight.
#[cfg(feature = "webgpu")]
pub(super) async fn read_rows(
    sources: &[impl WeightSource],
    file: &GgufFile,
    spec: &WeightSpec,
    first: usize,
    count: usize,
) -> Result<Vec<u8>> {
    let tensor = file
        .tensor(&spec.tensor)
        .ok_or_else(|| Error::MissingTensor(spec.tensor.clone()))?;
    let source = sources
        .get(tensor.shard)
        .ok_or_else(|| Error::Internal("no such shard".into()))?;
    let row_bytes = tensor.dtype.row_bytes(spec.cols)?;
    let start = tensor.offset + skipped_bytes(spec, tensor)? + bytes_of(first, row_bytes);
    source.read(start, count * row_bytes).await
}

fn weight_bytes(spec: &WeightSpec, tensor: &TensorInfo) -> Result<u64> {
    Ok(bytes_of(spec.rows, tensor.dtype.row_bytes(spec.cols)?))
}

/// In 64 bits: a tensor may be larger than what a 32-bit `usize` counts.
fn bytes_of(rows: usize, row_bytes: usize) -> u64 {
    rows as u64 * row_bytes as u64
}

/// Bytes of the tensor before the first row of the weight (for a vector: before its first element).
fn skipped_bytes(spec: &WeightSpec, tensor: &TensorInfo) -> Result<u64> {
    Ok(match spec.kind {
        WeightKind::Matrix => bytes_of(spec.row_start, tensor.dtype.row_bytes(spec.cols)?),
        WeightKind::Vector => tensor.dtype.row_bytes(spec.row_start)? as u64,
    })
}
