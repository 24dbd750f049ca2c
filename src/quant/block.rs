//! What a block format has to say about itself, and the loops that need no more than that.

use bytemuck::{AnyBitPattern, NoUninit, Pod, Zeroable};

use super::float::Float;

/// Elements of the longest block.
pub(super) const MAX_LEN: usize = 256;
/// Elements of the shortest sub-block.
const MIN_SUB: usize = 16;

/// One quantized block, laid out as in the file. All fields are bytes, so a block may lie at any address.
pub(super) trait Block: AnyBitPattern + NoUninit {
    /// Elements in the block.
    const LEN: usize;
    /// Elements that share a scale: 16 or 32.
    const SUB: usize;
    /// Whether `affine` writes minima; where it does not they stay zero.
    const HAS_MIN: bool = false;

    /// Writes `q[..LEN]`, `scales[..LEN / SUB]` and, with `HAS_MIN`, `mins[..LEN / SUB]`.
    fn affine(&self, q: &mut [i8], scales: &mut [f32], mins: &mut [f32]);

    /// The block nearest to `x[..LEN]`, by plain rounding.
    fn quantize(x: &[f32]) -> Self;
}

/// A block of 256 whose scales are integers under one number, and so are its minima: `w = d * scale * q - dmin * min`.
pub(super) trait SuperBlock: AnyBitPattern + NoUninit {
    /// Elements that share a scale: 16 or 32.
    const SUB: usize;
    /// Whether there are minima.
    const HAS_MIN: bool = false;

    /// Writes `q[..256]`, `scales[..256 / SUB]` and, with `HAS_MIN`, `mins[..256 / SUB]`; gives `d` and `dmin`.
    fn nested(&self, q: &mut [i8], scales: &mut [i8], mins: &mut [i8]) -> (f32, f32);

    /// As [`Block::quantize`].
    fn quantize(x: &[f32]) -> Self;
}

impl<B: SuperBlock> Block for B {
    const LEN: usize = MAX_LEN;
    const SUB: usize = <B as SuperBlock>::SUB;
    const HAS_MIN: bool = <B as SuperBlock>::HAS_MIN;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], mins: &mut [f32]) {
        let mut small = [[0; MAX_LEN / MIN_SUB]; 2];
        let [small_scales, small_mins] = &mut small;
        let (d, dmin) = self.nested(q, small_scales, small_mins);
        for (scale, small) in scales.iter_mut().zip(small_scales) {
            *scale = d * f32::from(*small);
        }
        for (min, small) in mins.iter_mut().zip(small_mins) {
            *min = dmin * f32::from(*small);
        }
    }

    fn quantize(x: &[f32]) -> Self {
        <B as SuperBlock>::quantize(x)
    }
}

/// A half-precision number inside a block, little-endian, without alignment.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Half([u8; 2]);

impl Half {
    pub(super) fn to_f32(self) -> f32 {
        half::f16::from_le_bytes(self.0).to_f32()
    }

    pub(super) fn from_f32(value: f32) -> Self {
        Self(half::f16::from_f32(value).to_le_bytes())
    }
}

/// What the rest of the crate needs of a format, as a table entry. Reading and writing are apart, so that a program that
/// only reads holds no code for writing.
pub(super) struct Format {
    pub(super) reader: Reader,
    pub(super) quantize: fn(&[f32], &mut Vec<u8>),
}

/// Measures of a format, and how it is read.
pub(super) struct Reader {
    pub(super) len: usize,
    pub(super) bytes: usize,
    /// 0 for floats.
    pub(super) sub: usize,
    pub(super) has_min: bool,
    pub(super) read: Read,
    /// For super-blocks.
    pub(super) nested: Option<NestedFn>,
}

/// How whole blocks are read.
pub(super) enum Read {
    Floats(fn(&[u8], &mut [f32])),
    Affine(AffineFn),
}

/// `(bytes, q, scales, mins)`
type AffineFn = fn(&[u8], &mut [i8], &mut [f32], &mut [f32]);

/// `(bytes, q, scales)`
type NestedFn = fn(&[u8], &mut [i8], Nested<'_>);

/// Where [`nested`](super::nested) writes scales and minima.
pub struct Nested<'a> {
    /// A number for 256 elements, which multiplies the scales.
    pub d: &'a mut [f32],
    /// An integer for each sub-block.
    pub scales: &'a mut [i8],
    /// As `d`, for the minima.
    pub dmin: &'a mut [f32],
    /// As `scales`.
    pub mins: &'a mut [i8],
}

impl Format {
    /// A block format; `bytes` is GGML's size of it.
    pub(super) const fn block<B: Block>(bytes: usize) -> Self {
        assert!(
            size_of::<B>() == bytes,
            "the struct is not laid out as in GGML"
        );
        assert!(align_of::<B>() == 1, "blocks lie at any address");
        assert!(B::SUB == 16 || B::SUB == 32);
        assert!(MAX_LEN.is_multiple_of(B::LEN) && B::LEN.is_multiple_of(B::SUB));
        Self {
            reader: Reader {
                len: B::LEN,
                bytes,
                sub: B::SUB,
                has_min: B::HAS_MIN,
                read: Read::Affine(affine_blocks::<B>),
                nested: None,
            },
            quantize: quantize_blocks::<B>,
        }
    }

    /// The same with nested scales.
    pub(super) const fn super_block<B: SuperBlock>(bytes: usize) -> Self {
        let mut format = Self::block::<B>(bytes);
        format.reader.nested = Some(nested_blocks::<B>);
        format
    }

    /// A plain float format.
    pub(super) const fn float<T: Float>() -> Self {
        Self {
            reader: Reader {
                len: 1,
                bytes: size_of::<T>(),
                sub: 0,
                has_min: false,
                read: Read::Floats(T::read_all),
                nested: None,
            },
            quantize: T::write_all,
        }
    }
}

impl Reader {
    /// Evaluates the integer form, some blocks at a time. One function for all formats.
    pub(super) fn dequantize(&self, bytes: &[u8], out: &mut [f32]) {
        let affine = match self.read {
            Read::Floats(read) => return read(bytes, out),
            Read::Affine(affine) => affine,
        };
        let mut q = [0; MAX_LEN];
        let mut scales = [0.0; MAX_LEN / MIN_SUB];
        let mut mins = [0.0; MAX_LEN / MIN_SUB];
        let chunk_bytes = MAX_LEN / self.len * self.bytes;
        for (bytes, out) in bytes.chunks(chunk_bytes).zip(out.chunks_mut(MAX_LEN)) {
            let (len, subs) = (out.len(), out.len() / self.sub);
            affine(bytes, &mut q[..len], &mut scales[..subs], &mut mins[..subs]);
            let sub_blocks = out.chunks_exact_mut(self.sub).zip(q.chunks_exact(self.sub));
            for ((out, q), (scale, min)) in sub_blocks.zip(scales.iter().zip(&mins)) {
                for (w, q) in out.iter_mut().zip(q) {
                    *w = scale * f32::from(*q) - min;
                }
            }
        }
    }
}

/// The bytes as blocks. The callers in `mod.rs` have checked that they are whole, so nothing is left over.
fn blocks<B: Block>(bytes: &[u8]) -> &[B] {
    bytemuck::try_cast_slice(bytes).unwrap_or_default()
}

fn affine_blocks<B: Block>(bytes: &[u8], q: &mut [i8], scales: &mut [f32], mins: &mut [f32]) {
    mins.fill(0.0);
    let subs = B::LEN / B::SUB;
    let parts = q
        .chunks_exact_mut(B::LEN)
        .zip(scales.chunks_exact_mut(subs))
        .zip(mins.chunks_exact_mut(subs));
    for (block, ((q, scales), mins)) in blocks::<B>(bytes).iter().zip(parts) {
        block.affine(q, scales, mins);
    }
}

fn nested_blocks<B: SuperBlock>(bytes: &[u8], q: &mut [i8], out: Nested<'_>) {
    let subs = MAX_LEN / <B as SuperBlock>::SUB;
    let numbers = out.d.iter_mut().zip(out.dmin);
    let parts = q
        .chunks_exact_mut(MAX_LEN)
        .zip(out.scales.chunks_exact_mut(subs))
        .zip(out.mins.chunks_exact_mut(subs));
    for ((block, (d, dmin)), ((q, scales), mins)) in
        blocks::<B>(bytes).iter().zip(numbers).zip(parts)
    {
        (*d, *dmin) = block.nested(q, scales, mins);
    }
}

fn quantize_blocks<B: Block>(values: &[f32], out: &mut Vec<u8>) {
    for x in values.chunks_exact(B::LEN) {
        out.extend_from_slice(bytemuck::bytes_of(&B::quantize(x)));
    }
}

/// Small helpers of the `quantize` functions.
pub(super) mod rounding {
    /// The element of largest magnitude, with its sign.
    pub(in crate::quant) fn extreme(x: &[f32]) -> f32 {
        x.iter().fold(
            0.0,
            |most: f32, v| if v.abs() > most.abs() { *v } else { most },
        )
    }

    /// `x / scale` to the nearest integer inside `low..=high`; 0 where the scale is 0.
    pub(in crate::quant) fn nearest(x: f32, scale: f32, low: i32, high: i32) -> i32 {
        let ratio = if scale == 0.0 { 0.0 } else { x / scale };
        (ratio.round() as i32).clamp(low, high)
    }

    /// Scale and minimum (as in `w = scale * q - min`, min at least 0) that spread `0..=steps` over the values.
    pub(in crate::quant) fn scale_and_min(x: &[f32], steps: f32) -> (f32, f32) {
        let low = x.iter().copied().fold(0.0, f32::min);
        let high = x.iter().copied().fold(low, f32::max);
        ((high - low) / steps, -low)
    }

    /// Largest magnitude of a list divided by `steps`: the super-scale of a list of scales.
    pub(in crate::quant) fn super_scale(scales: &[f32], steps: f32) -> f32 {
        extreme(scales).abs() / steps
    }
}
