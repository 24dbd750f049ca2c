//! Passes over the logits of a whole vocabulary, up to 262 144 of them for every token: written so that the compiler turns
//! each into vectors, which takes loops over blocks without branches.

/// Logits that are looked at together.
pub(super) const BLOCK: usize = 16;

/// A broken logit must not win nor poison the sums: NaN becomes minus infinity, infinity the largest number.
#[inline(always)]
pub(super) fn finite_top(logit: f32) -> f32 {
    if logit.is_nan() {
        f32::NEG_INFINITY
    } else {
        logit.min(f32::MAX)
    }
}

/// The largest logit, at most `f32::MAX`; minus infinity where all are that or NaN.
pub(super) fn largest(logits: &[f32]) -> f32 {
    let (blocks, rest) = logits.as_chunks::<BLOCK>();
    let mut most = [f32::NEG_INFINITY; BLOCK];
    for block in blocks {
        for (most, logit) in most.iter_mut().zip(block) {
            // No comparison with a NaN is true.
            *most = if *logit > *most { *logit } else { *most };
        }
    }
    let all = most.iter().chain(rest);
    let most = all.fold(f32::NEG_INFINITY, |most, logit| most.max(*logit));
    finite_top(most)
}

/// Whether a logit of the block is above `bar`.
#[inline(always)]
pub(super) fn any_above(block: &[f32; BLOCK], bar: f32) -> bool {
    block.iter().fold(false, |any, logit| any | (*logit > bar))
}

/// First of the largest logits.
pub(super) fn first_best(logits: &[f32]) -> u32 {
    let best = largest(logits);
    let (blocks, _) = logits.as_chunks::<BLOCK>();
    let reaches = |block: &[f32; BLOCK]| block.iter().fold(false, |any, x| any | (*x >= best));
    // The block in which it is, or what is left over.
    let start = blocks.iter().position(reaches).unwrap_or(blocks.len()) * BLOCK;
    let place = logits[start..].iter().position(|logit| *logit >= best);
    place.map_or(0, |place| (start + place) as u32)
}

/// `e^x` for `x <= 0` with a relative error below 3e-7, exact at 0; 0 below -87.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`; a polynomial for `e^r` (Moshier, Cephes `expf`), then `n` is added to the
/// exponent. `n` is rounded by adding `1.5 * 2^23`, which leaves it in the low bits.
#[inline(always)]
pub(super) fn exp_negative(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p * r + coefficient;
    }
    let y = p * (r * r) + r + 1.0;
    let y = f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x > -87.0 { y } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_close() {
        for i in 0..200_000 {
            let x = -88.0 * i as f32 / 200_000.0;
            let (got, want) = (f64::from(exp_negative(x)), f64::from(x).exp());
            let known = if x > -87.0 { want } else { 0.0 };
            assert!(
                (got - known).abs() <= 3e-7 * want,
                "{got} for {want} at {x}"
            );
        }
        assert_eq!(exp_negative(0.0), 1.0);
        assert_eq!(exp_negative(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_negative(f32::NAN), 0.0);
        assert_eq!(exp_negative(f32::MIN), 0.0);
    }

    #[test]
    fn the_first_best_is_found_among_broken_logits() {
        let mut logits = vec![f32::NAN; 100];
        assert_eq!(first_best(&logits), 0);
        logits.fill(f32::NEG_INFINITY);
        assert_eq!(first_best(&logits), 0);
        (logits[7], logits[41], logits[97]) = (f32::NAN, -3.0, -3.0);
        assert_eq!(first_best(&logits), 41);
        (logits[50], logits[99]) = (f32::MAX, f32::INFINITY);
        assert_eq!(first_best(&logits), 50);
    }
}
