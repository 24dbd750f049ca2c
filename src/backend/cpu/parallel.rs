//! Operations shared out to the threads of the pool.

use std::ops::Range;

use super::float_kv::{FloatRows, KvElement};
use super::ops::{self, AttentionShape, Cached, CachedBytes, Scratch};
use super::packed::{GROUP, PackedMatrix, QuantizedActs};
use super::{KvRows, LayerCache, pool};

/// Multiply-adds below which a barrier costs more than it saves.
const WORTH_SHARING: usize = 1 << 16;

/// A thread's share of a product.
struct Share<'a> {
    rows: Range<usize>,
    /// `[tokens, rows.len()]`
    out: &'a mut [f32],
}

/// `out[t, r] = dot(matrix[r], acts[t])` for some rows, split over the threads; `out` is `[tokens, rows.len()]`. `rows`
/// begins at a multiple of 8 and ends at one or at the last row of the matrix or of an expert.
pub fn matmul(matrix: &PackedMatrix, acts: &QuantizedActs, out: &mut [f32], rows: Range<usize>) {
    let (width, tokens) = (rows.len(), acts.tokens());
    let threads = pool::threads();
    if threads == 1 || width * matrix.cols() * tokens < WORTH_SHARING {
        return matrix.matmul_rows(acts, out, rows);
    }
    let per_thread = width.div_ceil(GROUP).div_ceil(threads) * GROUP;
    if tokens == 1 {
        return share(matrix, acts, per_thread, rows.start, out);
    }
    // Each share is computed by itself and then woven into the rows of `out`.
    let mut woven = vec![0.0; out.len()];
    share(matrix, acts, per_thread, rows.start, &mut woven);
    for (i, part) in woven.chunks(per_thread * tokens).enumerate() {
        let part_width = part.len() / tokens;
        for (row, part) in out
            .chunks_exact_mut(width)
            .zip(part.chunks_exact(part_width))
        {
            row[i * per_thread..][..part_width].copy_from_slice(part);
        }
    }
}

/// Computes shares of `per_thread` rows from `first` on, one after the other in `out`, each `[tokens, rows of the share]`.
fn share(
    matrix: &PackedMatrix,
    acts: &QuantizedActs,
    per_thread: usize,
    first: usize,
    out: &mut [f32],
) {
    let tokens = acts.tokens();
    let chunks = out.chunks_mut(per_thread * tokens).enumerate();
    let mut shares: Vec<Share<'_>> = chunks
        .map(|(i, out)| {
            let start = first + i * per_thread;
            Share {
                rows: start..start + out.len() / tokens,
                out,
            }
        })
        .collect();
    pool::run(&mut shares, |share| {
        matrix.matmul_rows(acts, share.out, share.rows.clone())
    });
}

/// A thread's share of the heads of a recurrent operation.
struct HeadShare<'a> {
    first: usize,
    state: &'a mut [f32],
    out: &'a mut [f32],
}

/// What [`heads`] runs: `head(h, state, out)`.
pub type Head<'a> = &'a (dyn Fn(usize, &mut [f32], &mut [f32]) + Sync);

/// Runs `head(h, state, out)` for each of `heads` heads, over its part of `state` and of `out`, `[heads, …]`.
pub fn heads(heads: usize, state: &mut [f32], out: &mut [f32], head: Head<'_>) {
    let (state_len, out_len) = (state.len() / heads, out.len() / heads);
    let per_share = heads.div_ceil(pool::threads());
    let states = state.chunks_mut(per_share * state_len);
    let parts = states.zip(out.chunks_mut(per_share * out_len));
    let mut shares: Vec<HeadShare<'_>> = parts
        .enumerate()
        .map(|(i, (state, out))| HeadShare {
            first: i * per_share,
            state,
            out,
        })
        .collect();
    pool::run(&mut shares, |share| {
        let states = share.state.chunks_exact_mut(state_len);
        let parts = states.zip(share.out.chunks_exact_mut(out_len));
        for (i, (state, out)) in parts.enumerate() {
            head(share.first + i, state, out);
        }
    });
}

/// A thread's share of an attention: some heads of one token, or some tokens with all heads.
struct AttentionShare<'a> {
    shape: AttentionShape<'a>,
    q: &'a [f32],
    /// Key/value heads before the share's first.
    first_head: usize,
    start: usize,
    scratch: &'a mut Scratch,
    out: &'a mut [f32],
}

/// Attention of `q` (`[tokens, n_heads * head_dim]`) at the positions from `start` on, as [`ops::attention`]. One
/// token is shared out by heads, several are by tokens.
pub fn attention(
    shape: &AttentionShape<'_>,
    q: &[f32],
    layer: &LayerCache,
    start: usize,
    scratch: &mut Vec<Scratch>,
    out: &mut [f32],
) {
    let width = shape.n_heads * shape.head_dim;
    let tokens = q.len() / width;
    let mut threads = pool::threads();
    if q.len() * (shape.visible)(start + tokens - 1).len() < WORTH_SHARING {
        threads = 1;
    }
    scratch.resize_with(scratch.len().max(threads), Scratch::default);
    let group = shape.n_heads / shape.n_kv_heads;
    let kv_heads = shape.n_kv_heads.div_ceil(threads);
    let per_share = match tokens {
        1 => kv_heads * group * shape.head_dim,
        _ => tokens.div_ceil(threads) * width,
    };
    let parts = q
        .chunks(per_share)
        .zip(out.chunks_mut(per_share))
        .zip(scratch)
        .enumerate();
    let mut shares: Vec<AttentionShare<'_>> = parts
        .map(|(i, ((q, out), scratch))| {
            let (mut shape, mut first_head, mut start) = (*shape, 0, start);
            if tokens == 1 {
                shape.n_heads = q.len() / shape.head_dim;
                shape.n_kv_heads = shape.n_heads / group;
                first_head = i * kv_heads;
                let head = i * kv_heads * group;
                shape.sinks = shape.sinks.map(|sinks| &sinks[head..]);
                if let Some(bias) = &mut shape.bias {
                    bias.table = &bias.table[head * bias.width..];
                }
            } else {
                start += i * per_share / width;
            }
            AttentionShare {
                shape,
                q,
                first_head,
                start,
                scratch,
                out,
            }
        })
        .collect();
    pool::run(&mut shares, |share| match (&layer.keys, &layer.values) {
        (KvRows::F32(keys), KvRows::F32(values)) => share.run(keys, values),
        (KvRows::F16(keys), KvRows::F16(values)) => share.run(keys, values),
        (KvRows::Q8_0(keys), KvRows::Q8_0(values)) => {
            let cached = CachedBytes {
                keys,
                values,
                first_head: share.first_head,
            };
            ops::attention_bytes(&share.shape, share.q, &cached, share.start, share.out);
        }
        _ => debug_assert!(false, "keys and values have one type"),
    });
}

impl AttentionShare<'_> {
    fn run<E: KvElement>(&mut self, keys: &FloatRows<E>, values: &FloatRows<E>) {
        let cached = Cached {
            keys,
            values,
            first_head: self.first_head,
        };
        ops::attention(
            &self.shape,
            self.q,
            &cached,
            self.start,
            self.scratch,
            self.out,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{DType, quantize};

    #[test]
    fn shares_give_the_same_sums() {
        pool::spawn(3);
        let cols = 256;
        for rows in [16, 200, 1001] {
            let values: Vec<f32> = (0..rows * cols).map(|i| (i as f32 * 0.37).sin()).collect();
            let mut bytes = Vec::new();
            quantize(DType::Q4_0, &values, &mut bytes).unwrap();
            let mut matrix = PackedMatrix::new(DType::Q4_0, rows, cols).unwrap();
            matrix.write_rows(0, &bytes).unwrap();
            for tokens in [1, 5, 64] {
                let mut acts = QuantizedActs::default();
                acts.quantize(&values[..tokens.min(rows) * cols], cols);
                for range in [0..rows, 8..rows, 8..13] {
                    let mut alone = vec![0.0; acts.tokens() * range.len()];
                    let mut shared = alone.clone();
                    matrix.matmul_rows(&acts, &mut alone, range.clone());
                    matmul(&matrix, &acts, &mut shared, range.clone());
                    assert_eq!(alone, shared, "{range:?} of {rows} rows, {tokens} tokens");
                }
            }
        }
    }
}
