//! How the GPU reads blocks of GGUF: a module of `shaders/blocks` for each type that people ship. Of a type without one the
//! CPU makes the planes.

use super::super::format::{Format, UNIT};
use super::source::{Constants, shader};
use super::{DType, Kernel};

/// Units that an invocation of the kernel writes: they end with a whole word of scales.
pub const REPACK_RUN: usize = 4;

impl Kernel {
    /// The kernel that repacks this type, if there is one.
    pub fn repack(dtype: DType) -> Option<Self> {
        (!modules(dtype).is_empty()).then_some(Self::Repack { dtype })
    }
}

/// What reads the blocks of a type.
fn modules(dtype: DType) -> &'static [&'static str] {
    match dtype {
        DType::Q4_0 | DType::IQ4_NL => &[shader!("blocks/q4_0.wgsl")],
        DType::Q4_1 => &[shader!("blocks/q4_1.wgsl")],
        DType::Q5_0 => &[shader!("blocks/q5_0.wgsl")],
        DType::Q5_1 => &[shader!("blocks/q5_1.wgsl")],
        DType::Q8_0 => &[shader!("blocks/q8_0.wgsl")],
        DType::Q2_K => &[shader!("blocks/q2_k.wgsl")],
        DType::Q3_K => &[shader!("blocks/q3_k.wgsl")],
        DType::Q4_K => &[shader!("blocks/k_scales.wgsl"), shader!("blocks/q4_k.wgsl")],
        DType::Q5_K => &[shader!("blocks/k_scales.wgsl"), shader!("blocks/q5_k.wgsl")],
        DType::Q6_K => &[shader!("blocks/q6_k.wgsl")],
        DType::IQ4_XS => &[shader!("blocks/iq4_xs.wgsl")],
        DType::MXFP4 => &[shader!("blocks/mxfp4.wgsl")],
        _ => &[],
    }
}

/// Modules of the kernel that repacks a type.
pub(super) fn repack_modules(dtype: DType) -> Vec<&'static str> {
    let mut all = vec![shader!("blocks/bytes.wgsl")];
    all.extend(modules(dtype));
    all
}

/// Its constants.
pub(super) fn repack_constants(list: &mut Constants, dtype: DType) {
    // Rows of quantized types are whole units, however long.
    let format = Format::of(dtype, UNIT);
    list.format(format);
    list.number("BLOCK_BYTES", dtype.block_bytes());
    list.number("BLOCK_UNITS", dtype.block_len() / UNIT);
    list.number("RUN", REPACK_RUN);
    list.number("UNIT_WORDS", format.quant_bytes(1) / 4);
}
