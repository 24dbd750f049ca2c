//! The CPU backend.

pub mod packed;
pub mod simd;
