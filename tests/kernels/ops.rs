//! Cases of the operations beside matrix products, against f64.

use half::f16;
use inkling::backend::cpu::ops;
use inkling::model::Activation;

use crate::cases::{Random, Report};

/// Lengths that end within a vector, at its end, and after several.
const LENGTHS: [usize; 8] = [1, 3, 4, 7, 16, 33, 64, 576];

/// Runs all.
pub fn run(report: &mut Report) {
    let mut random = Random(11);
    for len in LENGTHS {
        let x: Vec<f32> = random.values(len).iter().map(|x| 3.0 * x).collect();
        let b = random.values(len);
        elements(&x, &b, report);
        sums(&x, &b, report);
        norms(&x, &b, report);
        halves(&x, report);
    }
    norm_in_turn(report);
    functions(report);
    ropes(report);
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// `change(x)` against `want` of each element and its partner in `b`.
fn each(
    name: &str,
    x: &[f32],
    b: &[f32],
    report: &mut Report,
    change: impl Fn(&mut [f32]),
    want: impl Fn(f64, f64) -> f64,
) {
    let mut got = x.to_vec();
    change(&mut got);
    let want: Vec<f64> = x
        .iter()
        .zip(b)
        .map(|(x, b)| want(f64::from(*x), f64::from(*b)))
        .collect();
    report.close(&format!("{name}, {} values", x.len()), &got, &want, |i| {
        1e-6 * want[i].abs() + 1e-6 * f64::from(x[i].abs() + b[i].abs()).min(1.0) + 1e-37
    });
}

fn gelu(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

fn clamped(x: f64) -> f64 {
    x.min(7.0) * sigmoid(1.702 * x.min(7.0))
}

fn elements(x: &[f32], b: &[f32], report: &mut Report) {
    each("add", x, b, report, |x| ops::add(x, b), |x, b| x + b);
    each(
        "axpy",
        x,
        b,
        report,
        |x| ops::axpy(x, 0.3, b),
        |x, b| x + f64::from(0.3_f32) * b,
    );
    each(
        "scale",
        x,
        b,
        report,
        |x| ops::scale(x, 0.3),
        |x, _| x * f64::from(0.3_f32),
    );
    for (act, want) in [
        (Activation::Silu, silu as fn(f64) -> f64),
        (Activation::GeluTanh, gelu),
        (Activation::Sigmoid, sigmoid),
        (Activation::Identity, |x| x),
        (Activation::ClampedSwiglu, clamped),
    ] {
        let name = format!("{act:?}");
        each(
            &name,
            x,
            b,
            report,
            |x| ops::activate(act, x),
            |x, _| want(x),
        );
        each(
            &format!("{name} times"),
            x,
            b,
            report,
            |x| ops::gated(act, b, x),
            |x, b| {
                want(b)
                    * if act == Activation::ClampedSwiglu {
                        x.clamp(-7.0, 7.0) + 1.0
                    } else {
                        x
                    }
            },
        );
    }
    let mut got = x.to_vec();
    ops::soft_cap(&mut got, 5.0);
    let want: Vec<_> = wide(x).iter().map(|x| 5.0 * (x / 5.0).tanh()).collect();
    report.close("soft_cap", &got, &want, |_| 5.0 * 3e-7);
}

fn sums(x: &[f32], b: &[f32], report: &mut Report) {
    let (wx, wb) = (wide(x), wide(b));
    let dot = wx.iter().zip(&wb).map(|(x, b)| x * b).sum::<f64>();
    let size = wx.iter().zip(&wb).map(|(x, b)| (x * b).abs()).sum::<f64>();
    report.close("dot", &[ops::dot(x, b)], &[dot], |_| 1e-6 * size);

    let mut got = x.to_vec();
    ops::softmax(&mut got);
    let sum = wx.iter().map(|x| x.exp()).sum::<f64>();
    let want: Vec<_> = wx.iter().map(|x| x.exp() / sum).collect();
    report.close("softmax", &got, &want, |i| 2e-6 * want[i]);
}

fn norms(x: &[f32], b: &[f32], report: &mut Report) {
    let n = x.len() as f64;
    let x: Vec<f32> = [x, b].concat();
    for layer in [false, true] {
        let want: Vec<f64> = wide(&x)
            .chunks(b.len())
            .flat_map(|row| {
                let mean = if layer {
                    row.iter().sum::<f64>() / n
                } else {
                    0.0
                };
                let var = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                let scale = 1.0 / (var + f64::from(1e-5_f32)).sqrt();
                let weigh = |(x, b): (&f64, f64)| (x - mean) * scale * b + b;
                row.iter().zip(wide(b)).map(weigh).collect::<Vec<_>>()
            })
            .collect();
        let mut got = x.clone();
        let norm = if layer {
            ops::layer_norm
        } else {
            ops::rms_norm
        };
        norm(&mut got, b.len(), Some(b), Some(b), 1e-5);
        report.close(
            &format!("norm, {} values, layer {layer}", b.len()),
            &got,
            &want,
            |i| {
                2e-6 * (want[i].abs() + f64::from(b[i % b.len()].abs()))
                    + 1e-7
                    + if layer { 1e-4 / n.powi(3) } else { 0.0 }
            },
        );
    }
}

fn halves(x: &[f32], report: &mut Report) {
    let mut got = vec![f16::ZERO; x.len()];
    ops::store_f16(x, &mut got);
    let want: Vec<_> = x.iter().map(|x| f16::from_f32(*x)).collect();
    report.check(got == want, || format!("store_f16 of {x:?}"));
    let mut back = vec![0.0; x.len()];
    ops::load_f16(&got, &mut back);
    let want: Vec<_> = got.iter().map(|x| f64::from(x.to_f32())).collect();
    report.close("load_f16", &back, &want, |_| 0.0);
}

/// Weights for two runs in turn, as norms of heads have them.
fn norm_in_turn(report: &mut Report) {
    let x = Random(3).values(8 * 4);
    let weight = Random(4).values(8 * 2);
    let mut got = x.clone();
    ops::rms_norm(&mut got, 8, Some(&weight), None, 1e-5);
    let mut want = x;
    for (run, x) in want.chunks_mut(8).enumerate() {
        ops::rms_norm(x, 8, Some(&weight[run % 2 * 8..][..8]), None, 1e-5);
    }
    report.check(got == want, || "weights of runs in turn".into());
}

/// Extremes, special values, and a sweep of the functions.
fn functions(report: &mut Report) {
    let special = [
        0.0,
        -0.0,
        1e-8,
        -1e-8,
        6e-5,
        65504.0,
        65519.0,
        65520.0,
        1e9,
        -1e9,
        5.96e-8,
        2.9e-8,
        3e-8,
        1e-40,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1.000_488_3,
        1.001_464_8,
    ];
    let mut got = vec![f16::ZERO; special.len()];
    ops::store_f16(&special, &mut got);
    for (x, got) in special.iter().zip(&got) {
        report.check(got.to_bits() == f16::from_f32(*x).to_bits(), || {
            format!("{x} becomes {got}")
        });
    }
    let mut nan = [f16::ZERO; 4];
    ops::store_f16(&[f32::NAN; 4], &mut nan);
    report.check(nan.iter().all(|x| x.is_nan()), || {
        "NaN is lost in f16".into()
    });
    let mut small: Vec<f16> = (0..0x7C00).map(f16::from_bits).collect();
    small.extend((0x8000..0xFC00).map(f16::from_bits));
    let mut back = vec![0.0; small.len()];
    ops::load_f16(&small, &mut back);
    report.check(
        small.iter().zip(&back).all(|(x, y)| x.to_f32() == *y),
        || "load_f16".into(),
    );

    let sweep: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.02).collect();
    elements(&sweep, &sweep, report);
    // softmax with a leading zero gives e^x / (1 + sum): with one value beside it, e^x to 2e-7.
    for x in (0..800).map(|i| i as f32 * -0.1) {
        let mut pair = [0.0, x];
        ops::softmax(&mut pair);
        let e = f64::from(x).exp();
        report.close(
            &format!("exp({x})"),
            &pair,
            &[1.0 / (1.0 + e), e / (1.0 + e)],
            |i| 5e-7 * if i == 0 { 1.0 } else { e },
        );
    }
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = [1.0, bad, 3.0, 4.0, 5.0];
        ops::softmax(&mut x);
        report.check(x.iter().any(|x| x.is_nan()), || {
            format!("softmax hides {bad}: {x:?}")
        });
    }
}

fn ropes(report: &mut Report) {
    for (head_dim, pairs) in [(8, 4), (16, 8), (16, 6), (24, 12), (64, 32), (6, 3)] {
        let row = Random(head_dim as u64).values(3 * head_dim);
        let angles: Vec<[f32; 2]> = (0..pairs)
            .map(|i| [(i as f32).cos(), (i as f32).sin()])
            .collect();
        for halves in [false, true] {
            let mut want = wide(&row);
            for head in want.chunks_mut(head_dim) {
                for (i, [cos, sin]) in angles.iter().enumerate() {
                    let (a, b) = if halves {
                        (i, i + pairs)
                    } else {
                        (2 * i, 2 * i + 1)
                    };
                    let (x, y) = (head[a], head[b]);
                    head[a] = x * f64::from(*cos) - y * f64::from(*sin);
                    head[b] = x * f64::from(*sin) + y * f64::from(*cos);
                }
            }
            let mut got = row.clone();
            if halves {
                ops::rope_halves(&mut got, head_dim, &angles);
            } else {
                ops::rope_adjacent(&mut got, head_dim, &angles);
            }
            report.close(
                &format!("rope {head_dim} {pairs} {halves}"),
                &got,
                &want,
                |_| 1e-6,
            );
        }
    }
}
