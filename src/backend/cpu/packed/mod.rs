//! Weights in the order in which kernels read them, and the integer activations that they are multiplied with.
//!
//! Eight rows form a group, and a group is one sequential stream of blocks of 32 columns:
//!
//! ```text
//! matrix   group 0 (rows 0..8)                        group 1 (rows 8..16)        ...
//!          block 0    block 1    ...   block n        block 0 ...
//!            │
//!            ├─ scales   8 × f16, one per row             (twice where 16 columns share a scale)
//!            ├─ minima   8 × f16                          (only in formats that have them)
//!            └─ codes    8 rows × 32 columns in bit planes, see `codes`
//!
//! lane of codes, 16 bytes:   row 0: 4 columns │ row 1: 4 columns │ row 2: 4 columns │ row 3: 4 columns
//! ```
//!
//! Four columns of four rows fill a vector, so one dot-product instruction advances four rows, and no sum is taken
//! across a vector. Formats are made from `quant::affine` alone (`w = scale * q - min`): a new GGUF type runs fast with
//! one line in [`layout`]. Scales are f16 as in GGUF, under one power of two per group, so that products of scales (K
//! formats) neither overflow nor underflow; they carry 11 bits, which is far below the error of int8 activations.
//!
//! Activations are bytes in blocks of 32 with an f32 scale ([`acts`]). With `a = d * p` and `w = s * (c - zero) - m`,
//!
//! ```text
//! sum over a block of w * a  =  s * d * (sum(c * p) - zero * sum(p))  -  m * d * sum(p)
//! ```
//!
//! where the inner sums are integers and exact. Bits per weight, GGUF's in brackets: TQ1_0 and TQ2_0 2.5 (1.69, 2.06),
//! IQ1_S and IQ2_XXS 3.5 (1.56, 2.06), IQ1_M, IQ2_XS and IQ2_S 4.0 (1.75, 2.31, 2.56), Q2_K 4.0 (2.63), Q3_K 4.0
//! (3.44), IQ3_XXS and IQ3_S 4.5 (3.06, 3.44), Q4_0, IQ4_NL, IQ4_XS and MXFP4 4.5 (4.5, 4.5, 4.25, 4.25), Q4_1 and Q4_K
//! 5.0 (5.0, 4.5), Q5_0 5.5 (5.5), Q5_1 and Q5_K 6.0 (6.0, 5.5), Q6_K 7.0 (6.56), Q8_0 8.5 (8.5).

pub mod acts;
mod codes;
mod float;
mod kernel;
mod layout;
mod matrix;
mod scales;
pub(super) mod tile;

pub use acts::QuantizedActs;
pub use matrix::PackedMatrix;

/// Rows of a group.
pub const GROUP: usize = 8;

/// Columns of a block.
pub const BLOCK: usize = 32;
