//! Exponentials over vectors, and what follows from them.

use super::F32x4;

/// `e^x` with a relative error below 2e-7. Below -87 it stays at about 1e-38, above 88 at about 1e38; NaN where `x` is
/// not finite.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`; a polynomial for `e^r` (Moshier, Cephes `expf`), then `n` is added to the
/// exponent. `n` is rounded by adding `1.5 * 2^23`, which leaves it in the low bits.
#[inline(always)]
pub fn exp(x: F32x4) -> F32x4 {
    const SHIFT: f32 = 12_582_912.0;
    // 0 or NaN, which `min` and `max` may lose.
    let finite = x * F32x4::splat(0.0);
    let x = x.min(F32x4::splat(88.0)).max(F32x4::splat(-87.0));
    let shifted = x.mul_add(F32x4::splat(std::f32::consts::LOG2_E), F32x4::splat(SHIFT));
    let n = shifted - F32x4::splat(SHIFT);
    // ln 2 in two parts, the first with few bits, so that the product is exact.
    let r = n.mul_add(F32x4::splat(-0.693_359_4), x);
    let r = n.mul_add(F32x4::splat(2.121_944_4e-4), r);
    let mut p = F32x4::splat(1.987_569_1e-4);
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p.mul_add(r, F32x4::splat(coefficient));
    }
    let y = p.mul_add(r * r, r) + F32x4::splat(1.0);
    F32x4::from_bits(y.to_bits().wrapping_add(shifted.to_bits().shl::<23>())) + finite
}

/// `2^x * up` for `x <= 0`, with a relative error below 3e-7 and exact at 0. Below -126 it stays at about `1e-38 * up`;
/// NaN where `x` is. About half the work of [`exp`].
#[inline(always)]
pub fn exp2_negative(x: F32x4, up: f32) -> F32x4 {
    const SHIFT: f32 = 12_582_912.0;
    // In this order, a NaN stays.
    let x = x.max(F32x4::splat(-126.0));
    let shifted = x + F32x4::splat(SHIFT);
    let r = x - (shifted - F32x4::splat(SHIFT));
    let mut p = F32x4::splat(1.327_647_2e-3 * up);
    for coefficient in [9.675_542e-3, 5.550_713e-2, 0.240_221_2, 0.693_146_94, 1.0] {
        p = p.mul_add(r, F32x4::splat(coefficient * up));
    }
    F32x4::from_bits(p.to_bits().wrapping_add(shifted.to_bits().shl::<23>()))
}

/// What `2^x` is computed with, hidden from the compiler: V8 makes a constant that it knows anew wherever it is used.
#[derive(Debug, Clone, Copy)]
pub struct Exp2 {
    floor: F32x4,
    shift: F32x4,
    /// Of `r^5` first.
    coefficients: [F32x4; 6],
}

impl Exp2 {
    /// To be made once, before a loop.
    #[inline(always)]
    pub fn hidden() -> Self {
        std::hint::black_box(Self {
            floor: F32x4::splat(-126.0),
            shift: F32x4::splat(12_582_912.0),
            coefficients: [
                1.327_647_2e-3,
                9.675_542e-3,
                5.550_713e-2,
                0.240_221_2,
                0.693_146_94,
                1.0,
            ]
            .map(F32x4::splat),
        })
    }

    /// [`exp2_negative`] without a factor; right up to 127.
    #[inline(always)]
    pub fn negative(self, x: F32x4) -> F32x4 {
        // In this order, a NaN stays.
        let x = x.max(self.floor);
        let shifted = x + self.shift;
        let r = x - (shifted - self.shift);
        let [first, rest @ ..] = self.coefficients;
        let p = rest.into_iter().fold(first, |p, c| p.mul_add(r, c));
        F32x4::from_bits(p.to_bits().wrapping_add(shifted.to_bits().shl::<23>()))
    }
}

/// `ln(1 + e^x)` with a relative error below 4e-7.
///
/// The larger of `x` and 0, and `ln(1 + t)` with `t = e^-|x|`, which is `2 artanh(t / (2 + t))`: a series that the argument,
/// at most a third, makes short.
#[inline(always)]
pub fn softplus(x: F32x4) -> F32x4 {
    let t = exp(F32x4::splat(0.0) - x.abs());
    let s = t / (t + F32x4::splat(2.0));
    let square = s * s;
    let mut p = F32x4::splat(2.0 / 13.0);
    for divisor in [11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        p = p.mul_add(square, F32x4::splat(2.0 / divisor));
    }
    x.max(F32x4::splat(0.0)) + s * p
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub fn sigmoid(x: F32x4) -> F32x4 {
    let one = F32x4::splat(1.0);
    one / (one + exp(F32x4::splat(0.0) - x))
}

/// `tanh x` with an absolute error below 2e-7.
#[inline(always)]
pub fn tanh(x: F32x4) -> F32x4 {
    let one = F32x4::splat(1.0);
    one - F32x4::splat(2.0) / (one + exp(x + x))
}

/// `x * sigmoid(x)`
#[inline(always)]
pub fn silu(x: F32x4) -> F32x4 {
    x / (F32x4::splat(1.0) + exp(F32x4::splat(0.0) - x))
}

/// GELU by tanh: `x / 2 * (1 + tanh(u)) = x * sigmoid(2 u)` with `u = sqrt(2 / pi) * (x + 0.044715 x^3)`.
#[inline(always)]
pub fn gelu_tanh(x: F32x4) -> F32x4 {
    const TWICE: f32 = 1.595_769_2;
    let inner = (x * x).mul_add(F32x4::splat(0.044_715 * TWICE), F32x4::splat(TWICE));
    x / (F32x4::splat(1.0) + exp(F32x4::splat(0.0) - x * inner))
}

/// GELU by its definition, `x * Phi(x)`, with `erf` by Abramowitz and Stegun 7.1.26 (absolute error 1.5e-7).
#[inline(always)]
pub fn gelu_erf(x: F32x4) -> F32x4 {
    let one = F32x4::splat(1.0);
    let z = x.abs() * F32x4::splat(std::f32::consts::FRAC_1_SQRT_2);
    let t = one / z.mul_add(F32x4::splat(0.327_591_1), one);
    let mut p = F32x4::splat(1.061_405_4);
    for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = p.mul_add(t, F32x4::splat(coefficient));
    }
    // Half of 1 - erf(z), the upper tail of the normal distribution.
    let tail = F32x4::splat(0.5) * p * t * exp(F32x4::splat(0.0) - z * z);
    x.max(F32x4::splat(0.0)) - x.abs() * tail
}
