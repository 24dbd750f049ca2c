//! Vectors of 128 bits: about thirty primitives, three sets of them, one choice.
//!
//! Every kernel of the CPU backend is written once, over the types of this module. A build uses one set:
//!
//! ```text
//!                  types and plain arithmetic       mul_add, DotU7, DotI8
//! native           prim_scalar (arrays)             prim_scalar
//! wasm, simd128    prim_simd128                     prim_plain      (Safari, old Firefox)
//! wasm, relaxed    prim_simd128                     prim_relaxed    (Chrome, Firefox 146+)
//! ```
//!
//! A wasm module that contains relaxed instructions does not load where they are unknown, so the sets are chosen at
//! compile time, and the npm package picks the file.
//!
//! Integer results are equal in all sets, on every machine. Float results may differ in the last bit, because
//! `mul_add` rounds once where the machine can and twice where it cannot.
//!
//! This folder is the only one that holds unsafe code: loads and stores whose place the types already guarantee.

use std::sync::atomic::{AtomicBool, Ordering};

pub mod math;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod prim_scalar;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use prim_scalar as prim;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod prim_simd128;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use prim_simd128 as prim;

#[cfg(all(
    target_arch = "wasm32",
    target_feature = "simd128",
    not(target_feature = "relaxed-simd")
))]
mod prim_plain;
#[cfg(all(
    target_arch = "wasm32",
    target_feature = "simd128",
    not(target_feature = "relaxed-simd")
))]
use prim_plain as fused;

#[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
mod prim_relaxed;
#[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
use prim_relaxed as fused;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use prim_scalar as fused;

pub use fused::{
    DotI8, DotI8Signed, DotI8Words, DotU7, DotU7Words, DotU8, DotValues, MAGNITUDE_IS_SIGNED,
};
pub use prim::{F32x4, HalfMask, I32x4, U8x16};

static PORTABLE: AtomicBool = AtomicBool::new(false);

/// Makes [`byte_dot`] answer [`ByteDot::Magnitude`], or the truth again: for checks of what other machines run. Not to be
/// changed between the writing of integers and their use.
pub fn set_portable(portable: bool) {
    PORTABLE.store(portable, Ordering::Relaxed);
}

/// How bytes are to be multiplied on this machine.
#[inline]
pub fn byte_dot() -> ByteDot {
    if PORTABLE.load(Ordering::Relaxed) {
        ByteDot::Magnitude
    } else {
        fused::byte_dot()
    }
}

/// Name of the build's set, as backends show it.
pub const NAME: &str = fused::NAME;

/// Sixteen bytes at an address that is a multiple of sixteen: the unit of packed weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(16))]
pub struct Lane(pub [u8; 16]);

impl Lane {
    /// All bytes zero.
    pub const ZERO: Self = Self([0; 16]);
}

/// Integer dot products of four rows by four columns, summed over the columns, for one way of multiplying.
///
/// A vector of weights holds columns `c..c + 4` of row 0, then of row 1, 2 and 3; the activations are those four
/// columns, four times.
pub trait Dot: Copy {
    /// Weights as `step` wants them: prepared once, multiplied with several tokens.
    type Weights: Copy;

    /// Activations in memory.
    type Quad: Quad;

    /// Activations as `step` wants them.
    type Acts: Copy;

    /// Four-row halves that a token tile computes at once, as registers allow.
    const TILE_HALVES: usize;

    /// Whether `prepare` takes any byte, unsigned.
    const WHOLE_BYTES: bool = false;

    /// Whether a step has to wait for the one before, so that two rows of steps side by side are faster than one.
    const WAITS: bool = false;

    /// How weights are multiplied that were prepared ahead, as far as that is possible, by `expand`.
    type Expanded: Dot<Quad = Self::Quad>;

    /// Whether sums are narrow, so that `flush` is needed.
    const NARROW: bool;

    /// Sums that begin at `base`.
    fn start(base: I32x4) -> Self;

    /// Weight bytes in the form of this kind.
    fn prepare(weights: U8x16) -> Self::Weights;

    /// Weight bytes for [`Dot::Expanded`].
    fn expand(weights: U8x16) -> U8x16 {
        weights
    }

    /// The same activations for all four rows.
    fn splat(acts: &Self::Quad) -> Self::Acts;

    /// Adds the products of four columns.
    fn step(&mut self, weights: Self::Weights, acts: Self::Acts);

    /// Makes room for more steps where sums are narrow.
    fn flush(&mut self);

    /// The sums of the four rows.
    fn finish(self) -> I32x4;
}

/// Activations of four columns as a kind of [`Dot`] reads them.
pub trait Quad: Copy {
    /// All zero.
    const ZERO: Self;

    /// Takes signed bytes above -128.
    fn new(bytes: [i8; 4]) -> Self;
}

impl Quad for [i8; 4] {
    const ZERO: Self = [0; 4];

    #[inline(always)]
    fn new(bytes: [i8; 4]) -> Self {
        bytes
    }
}

/// For [`DotU7Words`] and [`DotI8Words`]. These multiply words of two weights, `w0 + 256 * w1`, with the activation of the
/// first, and `w1` with what is then still to be added.
impl Quad for [i16; 4] {
    const ZERO: Self = [0; 4];

    #[inline(always)]
    fn new(bytes: [i8; 4]) -> Self {
        let [a, b, c, d] = bytes.map(i16::from);
        [a, c, b - 256 * a, d - 256 * c]
    }
}

/// Which multiplication of bytes is fast and exact on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteDot {
    /// [`DotI8`], which always is exact.
    Magnitude,
    /// [`DotU8`], with 128 added to signed bytes.
    Wrapped,
    /// [`DotI8Signed`].
    Signed,
    /// [`DotU7Words`] and [`DotI8Words`], which always are.
    Words,
}
