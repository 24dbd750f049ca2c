//! Weights in the order in which kernels read them, and the integer activations that they are multiplied with.
//!
//! Eight rows form a group, and a group is one sequential stream of blocks of 32 columns, or of 256 in the K types:
//!
//! ```text
//! matrix   group 0 (rows 0..8)                        group 1 (rows 8..16)        ...
//!          block 0    block 1    ...   block n        block 0 ...
//!            │
//!            ├─ scales   8 × f16, one per row             (twice where 16 columns share a scale)
//!            ├─ minima   8 × f16                          (only in formats that have them)
//!            └─ codes    8 rows × 32 columns in bit planes, see `codes`
//!
//! super-block of 256 columns:
//!            ├─ dmin     8 × f16                          (only in formats that have minima)
//!            ├─ minima   8 rows × 8 bytes                 (twice where 16 columns share one)
//!            ├─ d        8 × f16
//!            ├─ scales   8 blocks × 8 bytes               (the same)
//!            └─ codes    8 blocks as above
//!
//! lane of codes, 16 bytes:   row 0: 4 columns │ row 1: 4 columns │ row 2: 4 columns │ row 3: 4 columns
//! ```
//!
//! Four columns of four rows fill a vector, so one dot-product instruction advances four rows, and no sum is taken
//! across a vector. Formats are made from `quant::affine` (`w = scale * q - min`) and `quant::nested` alone: a new GGUF
//! type runs fast with one line in [`layout`]. Half floats stand under one power of two per group, so that small ones
//! lose nothing. Scales of the codebook types are products, rounded to 11 bits; all others are those of the file.
//!
//! Activations are bytes in blocks of 32 with an f32 scale ([`acts`]). With `a = d * p` and `w = s * (c - zero) - m`,
//!
//! ```text
//! sum over a block of w * a  =  s * d * (sum(c * p) - zero * sum(p))  -  m * d * sum(p)
//! ```
//!
//! where the inner sums are integers and exact. Bits per weight, GGUF's in brackets: Q1_0, TQ1_0, TQ2_0 and Q2_0 2.5
//! (1.13, 1.69, 2.06, 2.25), Q2_K 3.13 (2.63), IQ1_S and IQ2_XXS 3.5 (1.56, 2.06), Q3_K 3.56 (3.44), IQ1_M, IQ2_XS and
//! IQ2_S 4.0 (1.75, 2.31, 2.56), IQ3_XXS and IQ3_S 4.5 (3.06, 3.44), Q4_0, IQ4_NL, IQ4_XS and MXFP4 4.5 (4.5, 4.5, 4.25,
//! 4.25), Q4_K 4.63 (4.5), Q4_1 5.0 (5.0), Q5_0 5.5 (5.5), Q5_K 5.63 (5.5), Q5_1 6.0 (6.0), Q6_K 6.56 (6.56), Q8_0 8.5
//! (8.5).

pub mod acts;
mod codes;
mod expanded;
mod float;
mod group;
mod kernel;
mod layout;
mod matrix;
mod scales;
mod sums;
pub(super) mod tile;

pub use acts::QuantizedActs;
pub use matrix::PackedMatrix;

/// Rows of a group.
pub const GROUP: usize = 8;

/// Columns of a block.
pub const BLOCK: usize = 32;
