//! Block formats of quantized weights. Knows nothing of tensors or files.
//!
//! GGML stores a matrix row by row; each row is cut into blocks of 32 or 256 elements, and a block holds small integers
//! together with the scales that turn them back into weights. Every format here has one integer form,
//!
//! ```text
//! w[i] = scale[i / sub] * q[i] - min[i / sub]        q fits an i8, sub is 16 or 32
//! ```
//!
//! given by [`affine`]. Everything else is derived from it: [`dequantize`] evaluates the line above, and the CPU backend
//! packs `q`, `scale` and `min` for its kernels without knowing any format. `scale` is computed in f32 in the order of
//! GGML's own `dequantize_row_*`, so the weights are equal to GGML's bit for bit.
//!
//! A new format is one block type (fields, `Block` with `affine` and `quantize`) and one line in the
//! table below; see `docs/ADDING-A-QUANT.md`.
//!
//! Source of the layouts: `ggml-common.h` and `ggml-quants.c` of the GGML project.

mod block;
mod codebook;
mod float;
mod k_quants;
mod legacy;
mod nonlinear;
mod ternary;

#[cfg(test)]
mod tests;

use crate::{Error, Result};
pub use block::Nested;
use block::{Format, Read, Reader};
pub(crate) use codebook::iq1::IQ1;
pub(crate) use codebook::iq2::IQ2;
pub(crate) use codebook::iq3::{IQ3_S, IQ3_XXS};
pub(crate) use nonlinear::{E2M1, IQ4};

macro_rules! dtypes {
    ($($(#[$doc:meta])* $name:ident = $id:literal => $format:expr;)*) => {
        /// How the elements of a tensor are stored. Named as GGML names them.
        #[allow(non_camel_case_types)] // Q4_K is the name that everyone knows
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DType {
            $($(#[$doc])* $name,)*
        }

        impl DType {
            /// Every type that we read, in the order of GGML's numbers.
            pub const ALL: &[DType] = &[$(DType::$name,)*];

            /// GGML's number of the type, as in a GGUF file.
            pub fn ggml_id(self) -> u32 {
                match self {
                    $(Self::$name => $id,)*
                }
            }

            /// GGML's name of the type, `"Q4_K"`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            fn reader(self) -> &'static Reader {
                match self {
                    $(Self::$name => {
                        const READER: Reader = $format.reader;
                        &READER
                    })*
                }
            }

            fn quantizer(self) -> fn(&[f32], &mut Vec<u8>) {
                match self {
                    $(Self::$name => const { $format.quantize },)*
                }
            }
        }
    };
}

// The number in brackets is GGML's size of the block in bytes; a struct of another size does not compile.
dtypes! {
    /// IEEE single precision.
    F32 = 0 => Format::float::<f32>();
    /// IEEE half precision.
    F16 = 1 => Format::float::<half::f16>();
    /// 4 bits, symmetric, one scale for 32.
    Q4_0 = 2 => Format::block::<legacy::BlockQ4_0>(18);
    /// 4 bits with a minimum, one scale for 32.
    Q4_1 = 3 => Format::block::<legacy::BlockQ4_1>(20);
    /// 5 bits, symmetric, one scale for 32.
    Q5_0 = 6 => Format::block::<legacy::BlockQ5_0>(22);
    /// 5 bits with a minimum, one scale for 32.
    Q5_1 = 7 => Format::block::<legacy::BlockQ5_1>(24);
    /// 8 bits, one scale for 32.
    Q8_0 = 8 => Format::block::<legacy::BlockQ8_0>(34);
    /// 2 bits with minima, 4-bit scales for 16.
    Q2_K = 10 => Format::super_block::<k_quants::BlockQ2K>(84);
    /// 3 bits, symmetric, 6-bit scales for 16.
    Q3_K = 11 => Format::super_block::<k_quants::BlockQ3K>(110);
    /// 4 bits with minima, 6-bit scales for 32.
    Q4_K = 12 => Format::super_block::<k_quants::BlockQ4K>(144);
    /// 5 bits with minima, 6-bit scales for 32.
    Q5_K = 13 => Format::super_block::<k_quants::BlockQ5K>(176);
    /// 6 bits, symmetric, 8-bit scales for 16.
    Q6_K = 14 => Format::super_block::<k_quants::BlockQ6K>(210);
    /// 2 bits from a codebook of 256 vectors, 4-bit scales for 32.
    IQ2_XXS = 16 => Format::block::<codebook::iq2::BlockIQ2XXS>(66);
    /// 2 bits from a codebook of 512 vectors, 4-bit scales for 16.
    IQ2_XS = 17 => Format::block::<codebook::iq2::BlockIQ2XS>(74);
    /// 3 bits from a codebook of 256 vectors, 4-bit scales for 32.
    IQ3_XXS = 18 => Format::block::<codebook::iq3::BlockIQ3XXS>(98);
    /// 1.5 bits from a codebook of 2048 vectors, 3-bit scales for 32.
    IQ1_S = 19 => Format::block::<codebook::iq1::BlockIQ1S>(50);
    /// 4 bits into a fixed uneven table, one scale for 32.
    IQ4_NL = 20 => Format::block::<nonlinear::BlockIQ4NL>(18);
    /// 3 bits from a codebook of 512 vectors, 4-bit scales for 32.
    IQ3_S = 21 => Format::block::<codebook::iq3::BlockIQ3S>(110);
    /// 2 bits from a codebook of 1024 vectors, 4-bit scales for 16.
    IQ2_S = 22 => Format::block::<codebook::iq2::BlockIQ2S>(82);
    /// The table of IQ4_NL with 6-bit scales for 32.
    IQ4_XS = 23 => Format::block::<nonlinear::BlockIQ4XS>(136);
    /// The codebook of IQ1_S, 3-bit scales for 16.
    IQ1_M = 29 => Format::block::<codebook::iq1::BlockIQ1M>(56);
    /// bfloat16: the upper half of an f32.
    BF16 = 30 => Format::float::<half::bf16>();
    /// Three values, packed five to a byte, one scale for 256.
    TQ1_0 = 34 => Format::block::<ternary::BlockTQ1>(54);
    /// Three values, 2 bits each, one scale for 256.
    TQ2_0 = 35 => Format::block::<ternary::BlockTQ2>(66);
    /// 4-bit floats (E2M1) with one power of two for 32.
    MXFP4 = 39 => Format::block::<nonlinear::BlockMXFP4>(17);
    /// 4-bit floats (E2M1) with an 8-bit float for 16.
    NVFP4 = 40 => Format::block::<nonlinear::BlockNVFP4>(36);
    /// Two values, one scale for 128.
    Q1_0 = 41 => Format::block::<ternary::BlockQ1_0>(18);
    /// Four values, one scale for 64.
    Q2_0 = 42 => Format::block::<ternary::BlockQ2_0>(18);
}

/// Types that GGUF knows and we do not read, so that the error can name them.
const UNREAD: &[(u32, &str)] = &[
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    // Microsoft's files of BitNet use the number for a type of theirs.
    (36, "IQ4_NL_4_4 or I2_S"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

impl DType {
    /// The type with this number in GGUF.
    pub fn from_ggml(id: u32) -> Result<Self> {
        if let Some(dtype) = Self::ALL.iter().find(|dtype| dtype.ggml_id() == id) {
            return Ok(*dtype);
        }
        let known = UNREAD.iter().find(|(number, _)| *number == id);
        Err(Error::UnsupportedType {
            name: known.map_or_else(|| format!("number {id}"), |(_, name)| (*name).to_owned()),
            supported: Self::names(),
        })
    }

    /// All names, separated by commas, for messages.
    fn names() -> String {
        let names: Vec<_> = Self::ALL.iter().map(|dtype| dtype.name()).collect();
        names.join(", ")
    }

    /// Elements of a block; 1 for floats.
    pub fn block_len(self) -> usize {
        self.reader().len
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        self.reader().bytes
    }

    /// Bytes of a row of `cols` elements. Fails where blocks do not fill the row exactly.
    pub fn row_bytes(self, cols: usize) -> Result<usize> {
        let (len, bytes) = (self.block_len(), self.block_bytes());
        if !cols.is_multiple_of(len) {
            return Err(Error::InvalidGguf(format!(
                "a row of {cols} elements does not divide into {self} blocks of {len}"
            )));
        }
        (cols / len)
            .checked_mul(bytes)
            .ok_or_else(|| Error::InvalidGguf(format!("a row of {cols} elements is too long")))
    }

    /// Elements that share a scale in the form of [`affine`]: 16 or 32; 0 for floats, which have no such form.
    pub fn sub_block(self) -> usize {
        self.reader().sub
    }

    /// Whether [`affine`] gives minima other than zero.
    pub fn has_min(self) -> bool {
        self.reader().has_min
    }

    /// Whether scales are integers under a number for 256 elements, as [`nested`] gives them.
    pub fn is_nested(self) -> bool {
        self.reader().nested.is_some()
    }

    /// Whether the type consists of integers and scales; false for floats.
    pub fn is_quantized(self) -> bool {
        self.sub_block() != 0
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Turns whole blocks into floats: the scalar reference that every kernel is held to.
pub fn dequantize(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    let blocks = whole_blocks(dtype, bytes)?;
    expect_len("out", out.len(), blocks * dtype.block_len())?;
    dtype.reader().dequantize(bytes, out);
    Ok(())
}

/// Integer form of whole blocks of a quantized type: `w[i] = scales[i/sub] * q[i] - mins[i/sub]` with
/// `sub = dtype.sub_block()`. Fails for floats.
pub fn affine(
    dtype: DType,
    bytes: &[u8],
    q: &mut [i8],
    scales: &mut [f32],
    mins: &mut [f32],
) -> Result<()> {
    let Read::Affine(affine) = dtype.reader().read else {
        return Err(Error::Internal(format!("{dtype} has no integer form")));
    };
    let elements = whole_blocks(dtype, bytes)? * dtype.block_len();
    expect_len("q", q.len(), elements)?;
    expect_len("scales", scales.len(), elements / dtype.sub_block())?;
    expect_len("mins", mins.len(), elements / dtype.sub_block())?;
    affine(bytes, q, scales, mins);
    Ok(())
}

/// Integer form of whole blocks of a type with nested scales (K): as [`affine`], with `scales[i/sub]` as
/// `d[i/256] * scales[i/sub]` and `mins[i/sub]` as `dmin[i/256] * mins[i/sub]`. Fails for other types.
pub fn nested(dtype: DType, bytes: &[u8], q: &mut [i8], out: Nested<'_>) -> Result<()> {
    let Some(nested) = dtype.reader().nested else {
        return Err(Error::Internal(format!("{dtype} has no nested scales")));
    };
    let blocks = whole_blocks(dtype, bytes)?;
    let elements = blocks * dtype.block_len();
    expect_len("q", q.len(), elements)?;
    expect_len("d", out.d.len(), blocks)?;
    expect_len("scales", out.scales.len(), elements / dtype.sub_block())?;
    expect_len("dmin", out.dmin.len(), blocks)?;
    expect_len("mins", out.mins.len(), elements / dtype.sub_block())?;
    nested(bytes, q, out);
    Ok(())
}

/// Appends `values` in the given format, by plain rounding to the nearest. For tests and benches: GGML's own quantizers
/// search for better scales.
pub fn quantize(dtype: DType, values: &[f32], out: &mut Vec<u8>) -> Result<()> {
    let bytes = dtype.row_bytes(values.len())?;
    out.try_reserve(bytes).map_err(|_| Error::OutOfMemory {
        bytes: bytes as u64,
    })?;
    dtype.quantizer()(values, out);
    Ok(())
}

fn whole_blocks(dtype: DType, bytes: &[u8]) -> Result<usize> {
    if !bytes.len().is_multiple_of(dtype.block_bytes()) {
        return Err(Error::Internal(format!(
            "{} bytes are not whole {dtype} blocks",
            bytes.len()
        )));
    }
    Ok(bytes.len() / dtype.block_bytes())
}

fn expect_len(what: &str, len: usize, expected: usize) -> Result<()> {
    if len != expected {
        return Err(Error::Internal(format!(
            "`{what}` has length {len}, {expected} expected"
        )));
    }
    Ok(())
}
