//! Activations as signed bytes in blocks of 32, laid out for one token or for tiles of four.

use super::BLOCK;
use crate::backend::cpu::simd::{self, ByteDot, F32x4, Quad, U8x16};

/// Tokens of a tile.
pub const TILE: usize = 4;

/// What scales of activations are multiplied with, since scales of weights are used without the `2^112` that half floats
/// lack (see `F32x4::load_f16x8_tiny`). The rest goes to [`REST`].
pub const UP: f32 = f32::from_bits((127 + 64) << 23);

/// What products with `scale` and `offsets` lack.
pub const REST: f32 = f32::from_bits((127 + 112 - 64) << 23);

/// 32 columns of `N` tokens: `x[c] = scale * q[c]` with `q` in -127..=127, in the form that a kind of products wants.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ActBlock<const N: usize, Q = [i8; 4]> {
    /// The bytes, `[column / 4][token]`.
    pub quads: [[Q; N]; BLOCK / 4],
    /// Scale of each token, times `UP`.
    pub scale: [f32; N],
    /// Sums of the bytes of columns 0..16, of columns 16..32 and of all, negated.
    pub sums: [[i32; N]; 3],
    /// `scale * sums`: what a minimum of 1 adds to the product.
    pub offsets: [[f32; N]; 3],
}

impl<const N: usize, Q: Quad> ActBlock<N, Q> {
    /// All activations zero.
    pub const ZERO: Self = Self {
        quads: [[Q::ZERO; N]; BLOCK / 4],
        scale: [0.0; N],
        sums: [[0; N]; 3],
        offsets: [[0.0; N]; 3],
    };

    /// Rounds 32 floats to the nearest bytes. Anything not finite makes the scale, and so every product, NaN.
    pub fn set(&mut self, token: usize, x: &[f32; BLOCK]) {
        let (quads, _) = x.as_chunks::<4>();
        let largest = |most: F32x4, x| most.max_positive(F32x4::load(x).abs());
        let most = quads
            .iter()
            .fold(F32x4::splat(0.0), largest)
            .max_positive_lane();
        let scale = if most.is_finite() {
            most / 127.0
        } else {
            f32::NAN
        };
        // Subnormal maxima have no finite inverse; such a block is zero for all purposes.
        let inverse = if scale >= f32::MIN_POSITIVE {
            1.0 / scale
        } else {
            0.0
        };
        let inverse = F32x4::splat(inverse);
        let mut sums = [0; 3];
        for half in 0..2 {
            let floats = std::array::from_fn(|i| F32x4::load(&quads[4 * half + i]) * inverse);
            let bytes = U8x16::from_floats(floats);
            sums[half] = -bytes.sum_i8();
            let bytes: [[i8; 4]; 4] = bytemuck::cast(bytes.to_array());
            for (i, quad) in bytes.into_iter().enumerate() {
                self.quads[4 * half + i][token] = Q::new(quad);
            }
        }
        sums[2] = sums[0] + sums[1];
        self.scale[token] = scale * UP;
        for (i, sum) in sums.into_iter().enumerate() {
            self.sums[i][token] = sum;
            self.offsets[i][token] = scale * UP * sum as f32;
        }
    }
}

/// Blocks of all tokens. Its buffers are kept from use to use.
#[derive(Debug, Default)]
pub struct ActBlocks<Q> {
    /// Tiles of four tokens, `[tokens / 4][cols / 32]`; two or three tokens left over fill one more tile with zeros.
    pub tiles: Vec<ActBlock<TILE, Q>>,
    /// `[cols / 32]`: a single token left over, which is the usual case when decoding.
    pub single: Vec<ActBlock<1, Q>>,
}

impl<Q: Quad> ActBlocks<Q> {
    /// Takes `x`, `[tokens, cols]`.
    fn set(&mut self, x: &[f32], tokens: usize, cols: usize) {
        let blocks = cols / BLOCK;
        let in_tiles = if tokens % TILE == 1 {
            tokens - 1
        } else {
            tokens
        };
        self.tiles.clear();
        self.tiles
            .resize(in_tiles.div_ceil(TILE) * blocks, ActBlock::ZERO);
        self.single.clear();
        self.single
            .resize((tokens - in_tiles) * blocks, ActBlock::ZERO);
        for (token, row) in x.chunks_exact(cols.max(1)).enumerate() {
            let (row, _) = row.as_chunks::<BLOCK>();
            if token < in_tiles {
                let tile = &mut self.tiles[token / TILE * blocks..][..blocks];
                tile.iter_mut()
                    .zip(row)
                    .for_each(|(block, x)| block.set(token % TILE, x));
            } else {
                self.single
                    .iter_mut()
                    .zip(row)
                    .for_each(|(block, x)| block.set(0, x));
            }
        }
    }
}

/// Input of matrix products: `[tokens, cols]`, as integers for quantized weights and as floats for float weights.
#[derive(Debug, Default)]
pub struct QuantizedActs {
    tokens: usize,
    cols: usize,
    /// Filled where products want bytes.
    bytes: ActBlocks<[i8; 4]>,
    /// Filled where they want words.
    words: ActBlocks<[i16; 4]>,
    /// `[tokens, cols]`.
    floats: Vec<f32>,
}

impl QuantizedActs {
    /// Takes `x`, `[tokens, cols]`. Columns beyond a multiple of 32 are for float weights only.
    pub fn quantize(&mut self, x: &[f32], cols: usize) {
        self.tokens = x.len() / cols.max(1);
        self.cols = cols;
        self.floats.clear();
        self.floats.extend_from_slice(x);
        match simd::byte_dot() {
            ByteDot::Words => self.words.set(x, self.tokens, cols),
            _ => self.bytes.set(x, self.tokens, cols),
        }
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Values per token.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The activations as they came, `[tokens, cols]`.
    pub(super) fn floats(&self) -> &[f32] {
        &self.floats
    }
}

/// A form in which [`QuantizedActs`] may be stored.
pub trait Stored: Quad {
    /// The activations in this form, if it is the machine's; else nothing.
    fn blocks(acts: &QuantizedActs) -> &ActBlocks<Self>;
}

impl Stored for [i8; 4] {
    fn blocks(acts: &QuantizedActs) -> &ActBlocks<Self> {
        &acts.bytes
    }
}

impl Stored for [i16; 4] {
    fn blocks(acts: &QuantizedActs) -> &ActBlocks<Self> {
        &acts.words
    }
}
