//! Activations as signed bytes in blocks of 32, laid out for one token or for tiles of four.

use super::BLOCK;
use super::scales::RUN;
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
    /// `scale` times the last of these: what a minimum of 1 adds to the product.
    pub offset: [f32; N],
}

impl<const N: usize, Q: Quad> ActBlock<N, Q> {
    /// All activations zero.
    pub const ZERO: Self = Self {
        quads: [[Q::ZERO; N]; BLOCK / 4],
        scale: [0.0; N],
        sums: [[0; N]; 3],
        offset: [0.0; N],
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
            let bytes = U8x16::from_small_floats(floats);
            sums[half] = -bytes.sum_i8();
            let bytes: [[i8; 4]; 4] = bytemuck::cast(bytes.to_array());
            for (i, quad) in bytes.into_iter().enumerate() {
                self.quads[4 * half + i][token] = Q::new(quad);
            }
        }
        sums[2] = sums[0] + sums[1];
        self.scale[token] = scale * UP;
        for (place, sum) in self.sums.iter_mut().zip(sums) {
            place[token] = sum;
        }
        self.offset[token] = scale * UP * sums[2] as f32;
    }
}

/// What the minima of a super-block multiply: sums of its parts, negated, as integers of 15 bits. Minima are integers there,
/// so that all of them take a few integer products. The rounding is far below that of the activations themselves.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ActSums<const N: usize, Q> {
    /// Sums of 32 columns; upper and lower seven bits.
    wholes: [[[Q; N]; RUN / 4]; 2],
    /// Sums of 16 columns.
    halves: [[[Q; N]; RUN / 2]; 2],
    /// What the integers stand for, times `UP`.
    pub unit: [f32; N],
}

/// Largest sum of 16 columns: twice as much still leaves -128 out in the upper bits.
const MOST: f32 = 8128.0;

impl<const N: usize, Q: Quad> ActSums<N, Q> {
    const ZERO: Self = Self {
        wholes: [[[Q::ZERO; N]; RUN / 4]; 2],
        halves: [[[Q::ZERO; N]; RUN / 2]; 2],
        unit: [0.0; N],
    };

    /// The sums of `1 / SUBS` of a block, in quads: upper and lower bits.
    #[inline(always)]
    pub fn planes<const SUBS: usize>(&self) -> [&[[Q; N]]; 2] {
        if SUBS == 1 {
            [&self.wholes[0], &self.wholes[1]]
        } else {
            [&self.halves[0], &self.halves[1]]
        }
    }

    /// Takes the blocks of a super-block.
    fn set(&mut self, token: usize, blocks: &[ActBlock<N, Q>]) {
        let mut sums = [0.0; 2 * RUN];
        for (sums, block) in sums.as_chunks_mut::<2>().0.iter_mut().zip(blocks) {
            *sums = [0, 1].map(|half| block.sums[half][token] as f32 * block.scale[token]);
        }
        let most = sums.iter().fold(0.0_f32, |most, sum| most.max(sum.abs()));
        let unit = most / MOST;
        let inverse = if unit >= f32::MIN_POSITIVE {
            1.0 / unit
        } else {
            0.0
        };
        let halves = sums.map(|sum| (sum * inverse).round_ties_even() as i32);
        let wholes: [i32; RUN] = std::array::from_fn(|i| halves[2 * i] + halves[2 * i + 1]);
        let upper = |x: i32| (x >> 7) as i8;
        let lower = |x: i32| (x & 127) as i8;
        for (i, x) in wholes.as_chunks::<4>().0.iter().enumerate() {
            self.wholes[0][i][token] = Q::new(x.map(upper));
            self.wholes[1][i][token] = Q::new(x.map(lower));
        }
        for (i, x) in halves.as_chunks::<4>().0.iter().enumerate() {
            self.halves[0][i][token] = Q::new(x.map(upper));
            self.halves[1][i][token] = Q::new(x.map(lower));
        }
        self.unit[token] = unit;
    }
}

/// All columns of some tokens, `N` at a time. Its buffers are kept from use to use.
#[derive(Debug, Default)]
pub struct ActRows<const N: usize, Q> {
    /// `[tokens / N][cols / 32]`
    blocks: Vec<ActBlock<N, Q>>,
    /// `[tokens / N][cols / 256]`
    sums: Vec<ActSums<N, Q>>,
    /// Blocks of a row.
    per_row: usize,
}

impl<const N: usize, Q: Quad> ActRows<N, Q> {
    /// Takes `x`, `[tokens, cols]`; missing tokens are zero.
    fn set(&mut self, x: &[f32], cols: usize) {
        self.per_row = cols / BLOCK;
        let rows = (x.len() / cols.max(1)).div_ceil(N);
        self.blocks.clear();
        self.blocks.resize(rows * self.per_row, ActBlock::ZERO);
        self.sums.clear();
        self.sums.resize(rows * (self.per_row / RUN), ActSums::ZERO);
        for (token, x) in x.chunks_exact(cols.max(1)).enumerate() {
            let blocks = &mut self.blocks[token / N * self.per_row..][..self.per_row];
            for (block, x) in blocks.iter_mut().zip(x.as_chunks::<BLOCK>().0) {
                block.set(token % N, x);
            }
            let sums = &mut self.sums[token / N * (self.per_row / RUN)..];
            for (sums, blocks) in sums.iter_mut().zip(blocks.chunks_exact(RUN)) {
                sums.set(token % N, blocks);
            }
        }
    }

    /// Number of rows, of `N` tokens each.
    pub fn count(&self) -> usize {
        self.blocks.len() / self.per_row.max(1)
    }

    /// A row.
    #[inline(always)]
    pub fn row(&self, i: usize) -> ActRow<'_, N, Q> {
        ActRow {
            blocks: &self.blocks[i * self.per_row..][..self.per_row],
            sums: &self.sums[i * (self.per_row / RUN)..][..self.per_row / RUN],
        }
    }
}

/// All columns of `N` tokens.
#[derive(Debug, Clone, Copy)]
pub struct ActRow<'a, const N: usize, Q> {
    /// Block by block.
    pub blocks: &'a [ActBlock<N, Q>],
    /// For each eight of them.
    pub sums: &'a [ActSums<N, Q>],
}

/// Tokens in the form of one kind of products.
#[derive(Debug, Default)]
pub struct ActForm<Q> {
    /// Four tokens a row; two or three tokens left over fill one more row with zeros.
    pub tiles: ActRows<TILE, Q>,
    /// A single token left over, which is the usual case when decoding.
    pub single: ActRows<1, Q>,
}

impl<Q: Quad> ActForm<Q> {
    /// Takes `x`, `[tokens, cols]`.
    fn set(&mut self, x: &[f32], tokens: usize, cols: usize) {
        let in_tiles = if tokens % TILE == 1 {
            tokens - 1
        } else {
            tokens
        };
        let (tiles, single) = x.split_at(in_tiles * cols);
        self.tiles.set(tiles, cols);
        self.single.set(single, cols);
    }
}

/// Input of matrix products: `[tokens, cols]`, as integers for quantized weights and as floats for float weights.
#[derive(Debug, Default)]
pub struct QuantizedActs {
    tokens: usize,
    cols: usize,
    /// Filled where products want bytes.
    bytes: ActForm<[i8; 4]>,
    /// Filled where they want words.
    words: ActForm<[i16; 4]>,
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
    fn of(acts: &QuantizedActs) -> &ActForm<Self>;
}

impl Stored for [i8; 4] {
    fn of(acts: &QuantizedActs) -> &ActForm<Self> {
        &acts.bytes
    }
}

impl Stored for [i16; 4] {
    fn of(acts: &QuantizedActs) -> &ActForm<Self> {
        &acts.words
    }
}
