//! The tensor table: where each tensor's bytes stand, checked against the file.

use super::reader::{Reader, Step};
use crate::quant::DType;
use crate::{Error, Result};

/// Fewest bytes of an entry: length and no name, dimensions, type, offset.
pub(super) const MIN_BYTES: u64 = 8 + 4 + 4 + 8;
/// Most dimensions that GGML knows.
const MAX_DIMS: u32 = 4;

/// One tensor's place and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, as `blk.0.attn_q.weight`.
    pub name: String,
    /// Sizes in GGML's order: columns (contiguous), rows, and so on. Never empty, no size is 0.
    pub shape: Vec<u64>,
    /// How the elements are stored.
    pub dtype: DType,
    /// Which of the joined files holds it; 0 for a single file.
    pub shard: usize,
    /// Where its bytes begin, from the start of its file.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
}

impl TensorInfo {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product() // cannot overflow: checked when it was read
    }

    /// Size along an axis. GGML writes no sizes of 1 at the end, other writers do: both mean the same.
    pub fn size(&self, axis: usize) -> u64 {
        self.shape.get(axis).copied().unwrap_or(1)
    }

    /// Whether it has this shape.
    pub fn is_shaped(&self, shape: &[u64]) -> bool {
        let axes = shape.len().max(self.shape.len());
        (0..axes).all(|axis| self.size(axis) == shape.get(axis).copied().unwrap_or(1))
    }
}

/// Reads an entry; its `offset` still counts from the start of the data.
pub(super) fn read(reader: &mut Reader) -> Step<TensorInfo> {
    let name = reader.name()?;
    let dims = reader.u32()?;
    if dims > MAX_DIMS {
        return Err(bad(
            &name,
            format!("{dims} dimensions, at most {MAX_DIMS} are allowed"),
        )
        .into());
    }
    let mut shape = Vec::with_capacity(dims.max(1) as usize);
    for _ in 0..dims {
        shape.push(reader.u64()?);
    }
    if shape.is_empty() {
        shape.push(1); // a scalar
    }
    let dtype = DType::from_ggml(reader.u32()?).map_err(|error| naming_tensor(error, &name))?;
    let bytes = size_in_bytes(&name, &shape, dtype)?;
    let offset = reader.u64()?;
    Ok(TensorInfo {
        name,
        shape,
        dtype,
        shard: 0,
        offset,
        bytes,
    })
}

/// Makes offsets absolute and checks that all data lies inside the file.
pub(super) fn place(
    tensors: &mut [TensorInfo],
    data_offset: u64,
    alignment: u64,
    file_size: u64,
) -> Result<()> {
    let mut needed = 0;
    for tensor in tensors {
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(bad(
                &tensor.name,
                format!("its offset {} is not aligned to {alignment}", tensor.offset),
            ));
        }
        let offset = tensor.offset.checked_add(data_offset);
        let Some((offset, end)) =
            offset.and_then(|offset| Some((offset, offset.checked_add(tensor.bytes)?)))
        else {
            return Err(bad(
                &tensor.name,
                format!("its offset {} is impossible", tensor.offset),
            ));
        };
        tensor.offset = offset;
        needed = needed.max(end);
    }
    if needed > file_size {
        return Err(Error::Truncated {
            needed,
            available: file_size,
        });
    }
    Ok(())
}

/// Indices sorted by name; two tensors of one name are an error.
pub(super) fn sorted_by_name(tensors: &[TensorInfo]) -> Result<Vec<u32>> {
    let count = u32::try_from(tensors.len())
        .map_err(|_| Error::InvalidGguf("too many tensors".to_owned()))?;
    let name = |i: u32| tensors[i as usize].name.as_str();
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_unstable_by_key(|i| name(*i));
    match order.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
        Some(pair) => Err(Error::InvalidGguf(format!(
            "the tensor {} stands there twice",
            name(pair[0])
        ))),
        None => Ok(order),
    }
}

fn size_in_bytes(name: &str, shape: &[u64], dtype: DType) -> Result<u64> {
    if shape.contains(&0) {
        return Err(bad(name, format!("shape {shape:?} has no elements")));
    }
    let block = dtype.block_len() as u64;
    if !shape[0].is_multiple_of(block) {
        return Err(bad(
            name,
            format!(
                "its rows of {} do not divide into {dtype} blocks of {block}",
                shape[0]
            ),
        ));
    }
    let elements = shape
        .iter()
        .try_fold(1u64, |product, size| product.checked_mul(*size));
    let bytes =
        elements.and_then(|elements| (elements / block).checked_mul(dtype.block_bytes() as u64));
    bytes.ok_or_else(|| bad(name, format!("shape {shape:?} is too large")))
}

fn naming_tensor(error: Error, tensor: &str) -> Error {
    match error {
        Error::UnsupportedType { name, supported } => Error::UnsupportedType {
            name: format!("{name} (tensor {tensor})"),
            supported,
        },
        other => other,
    }
}

fn bad(name: &str, reason: String) -> Error {
    Error::BadTensor {
        name: name.to_owned(),
        reason,
    }
}
