//! Operations shared out to the threads of the pool.

use std::ops::Range;

use super::packed::{GROUP, PackedMatrix, QuantizedActs};
use super::pool;

/// Multiply-adds below which a barrier costs more than it saves.
const WORTH_SHARING: usize = 1 << 16;

/// A thread's share of a product.
struct Share<'a> {
    rows: Range<usize>,
    /// `[tokens, rows.len()]`
    out: &'a mut [f32],
}

/// `out[t, r] = dot(matrix[r], acts[t])`, rows split over the threads; `out` is `[tokens, rows]`.
pub fn matmul(matrix: &PackedMatrix, acts: &QuantizedActs, out: &mut [f32]) {
    let (rows, tokens) = (matrix.rows(), acts.tokens());
    let threads = pool::threads();
    if threads == 1 || rows * matrix.cols() * tokens < WORTH_SHARING {
        return matrix.matmul(acts, out, 0..rows);
    }
    let per_thread = rows.div_ceil(GROUP).div_ceil(threads) * GROUP;
    if tokens == 1 {
        return share(matrix, acts, per_thread, out);
    }
    // Each share is computed by itself and then woven into the rows of `out`.
    let mut woven = vec![0.0; out.len()];
    share(matrix, acts, per_thread, &mut woven);
    for (i, part) in woven.chunks(per_thread * tokens).enumerate() {
        let width = part.len() / tokens;
        for (row, part) in out.chunks_exact_mut(rows).zip(part.chunks_exact(width)) {
            row[i * per_thread..][..width].copy_from_slice(part);
        }
    }
}

/// Computes shares of `per_thread` rows, one after the other in `out`, each `[tokens, rows of the share]`.
fn share(matrix: &PackedMatrix, acts: &QuantizedActs, per_thread: usize, out: &mut [f32]) {
    let tokens = acts.tokens();
    let chunks = out.chunks_mut(per_thread * tokens).enumerate();
    let mut shares: Vec<Share<'_>> = chunks
        .map(|(i, out)| {
            let start = i * per_thread;
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
                let mut alone = vec![0.0; acts.tokens() * rows];
                let mut shared = alone.clone();
                matrix.matmul(&acts, &mut alone, 0..rows);
                matmul(&matrix, &acts, &mut shared);
                assert_eq!(alone, shared, "{rows} rows, {tokens} tokens");
            }
        }
    }
}
