//! Cases of the operations with a state, against the reference: chunks of every length, one after the other.

use inkling::backend::cpu::ops::{self, DeltaNet, ScanShape, SelectiveScan, StateScan};
use inkling::backend::cpu::reference::{self, DeltaShape, WkvTerms, WkvWeights};

use crate::cases::{Random, Report};

/// Tokens of the chunks that go through one state.
const CHUNKS: [usize; 6] = [1, 4, 3, 9, 2, 16];

/// Runs all.
pub fn run(report: &mut Report) {
    for (channels, taps) in [(10, 4), (64, 4), (7, 3), (48, 3), (9, 2), (5, 6)] {
        convolution(channels, taps, report);
    }
    for (heads, groups, head_dim, state_dim) in [(1, 1, 5, 7), (4, 2, 6, 12), (6, 1, 8, 128)] {
        scan([heads, groups, head_dim, state_dim], report);
    }
    for (key_heads, value_heads, head_dim) in [(1, 1, 6), (2, 4, 16), (1, 2, 12), (1, 1, 128)] {
        delta([key_heads, value_heads, head_dim], report);
    }
    for (channels, state_dim) in [(3, 5), (20, 6), (32, 16), (16, 36)] {
        selective(channels, state_dim, report);
    }
    for n in [8, 16, 64] {
        wkv(n, report);
    }
    for width in [5, 48] {
        streams(width, report);
    }
}

fn compare(what: &str, got: &[f32], want: &[f32], report: &mut Report) {
    let want: Vec<f64> = want.iter().map(|x| f64::from(*x)).collect();
    let most = want.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    report.close(what, got, &want, |_| 4e-6 * most);
}

fn convolution(channels: usize, taps: usize, report: &mut Report) {
    let mut random = Random(21);
    let (weight, bias) = (random.values(channels * taps), random.values(channels));
    let bias = (taps != 3).then_some(&bias[..]);
    let mut fast = random.values(channels * (taps - 1));
    let mut exact = fast.clone();
    for tokens in CHUNKS {
        let x = random.values(tokens * channels);
        let (mut got, mut want) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        ops::causal_conv(&x, &weight, bias, taps, &mut fast, &mut got);
        reference::causal_conv(&x, &weight, bias, taps, &mut exact, &mut want);
        let name = format!("convolution of {channels} by {taps}, {tokens} tokens");
        compare(&name, &got, &want, report);
        report.check(fast == exact, || format!("{name}: the state"));
    }
}

fn scan([heads, groups, head_dim, state_dim]: [usize; 4], report: &mut Report) {
    let mut random = Random(22);
    let (inner, group) = (heads * head_dim, groups * state_dim);
    let mut fast = random.values(inner * state_dim);
    let mut exact = fast.clone();
    for tokens in CHUNKS {
        let xbc = random.values(tokens * (inner + 2 * group));
        let dt: Vec<f32> = random
            .values(tokens * heads)
            .iter()
            .map(|x| x.abs())
            .collect();
        let shape = ScanShape {
            heads,
            groups,
            head_dim,
            state_dim,
        };
        let scan = StateScan::new(shape, &xbc, &dt);
        for h in 0..heads {
            let (a, skip) = (-0.3 - h as f32, 0.5 * h as f32);
            let place = h * head_dim * state_dim..(h + 1) * head_dim * state_dim;
            let mut got = vec![0.0; tokens * head_dim];
            let mut want = got.clone();
            scan.head(h, a, skip, &mut fast[place.clone()], &mut got);
            for (t, want) in want.chunks_exact_mut(head_dim).enumerate() {
                let row = &xbc[t * (inner + 2 * group)..];
                let b = &row[inner + h / (heads / groups) * state_dim..];
                let (b, c) = (&b[..state_dim], &b[group..][..state_dim]);
                let (x, dt) = (&row[h * head_dim..][..head_dim], dt[t * heads + h]);
                let state = &mut exact[place.clone()];
                reference::state_scan(x, b, c, f64::from(dt), a, skip, state, want);
            }
            let name = format!("scan of {head_dim} by {state_dim}, {tokens} tokens");
            compare(&name, &got, &want, report);
        }
        compare("state of a scan", &fast, &exact, report);
    }
}

fn delta([key_heads, value_heads, head_dim]: [usize; 3], report: &mut Report) {
    let mut random = Random(23);
    let (width, n) = ((2 * key_heads + value_heads) * head_dim, head_dim);
    let mut fast = random.values(value_heads * n * n);
    let mut exact = fast.clone();
    let shape = DeltaShape {
        key_heads,
        value_heads,
        head_dim,
        eps: 1e-6,
    };
    for tokens in CHUNKS {
        let qkv = random.values(tokens * width);
        let gate = |x: &f32| 1.0 / (1.0 + x.exp());
        let mut gates = || -> Vec<f32> {
            let values = random.values(tokens * value_heads);
            values.iter().map(gate).collect()
        };
        let (decay, beta) = (gates(), gates());
        let net = DeltaNet {
            qkv: &qkv,
            decay: &decay,
            beta: &beta,
            key_heads,
            value_heads,
            head_dim,
            eps: 1e-6,
        };
        let mut got = vec![0.0; tokens * value_heads * n];
        let mut want = got.clone();
        for h in 0..value_heads {
            let mut rows = vec![0.0; tokens * n];
            net.head(h, &mut fast[h * n * n..(h + 1) * n * n], &mut rows);
            for (t, row) in rows.chunks_exact(n).enumerate() {
                got[(t * value_heads + h) * n..][..n].copy_from_slice(row);
            }
        }
        let gates: [Vec<f64>; 2] =
            [&decay, &beta].map(|x| x.iter().map(|x| f64::from(*x)).collect());
        for (t, want) in want.chunks_exact_mut(value_heads * n).enumerate() {
            let [decay, beta] = gates
                .each_ref()
                .map(|x| &x[t * value_heads..][..value_heads]);
            let qkv = &qkv[t * width..][..width];
            reference::delta_net(&shape, qkv, decay, beta, &mut exact, want);
        }
        let name = format!("delta rule of {value_heads} by {n}, {tokens} tokens");
        compare(&name, &got, &want, report);
        compare(&format!("state, {name}"), &fast, &exact, report);
    }
}

fn selective(channels: usize, n: usize, report: &mut Report) {
    let mut random = Random(24);
    // From rates that forget at once to such that hardly do.
    let rates = random.values(channels * n).into_iter();
    let a: Vec<f32> = rates.map(|x| -(4.0 * x).exp()).collect();
    let skip = random.values(channels);
    let mut fast = random.values(channels * n);
    let mut exact = fast.clone();
    let (at, width) = (3, 2 * n + 4);
    for tokens in CHUNKS.into_iter().chain([37]) {
        let (x, bc) = (
            random.values(tokens * channels),
            random.values(tokens * width),
        );
        let dt: Vec<f32> = random
            .values(tokens * channels)
            .iter()
            .map(|x| 8.0 * x)
            .collect();
        let scan = SelectiveScan::new([&x, &dt, &a, &skip], &bc, at);
        let wide = scan.width();
        let (mut got, mut want) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        for part in 0..channels / wide {
            let mut rows = vec![0.0; tokens * wide];
            scan.run(part, &mut fast[part * wide * n..][..wide * n], &mut rows);
            for (t, row) in rows.chunks_exact(wide).enumerate() {
                ops::copy(row, &mut got[t * channels + part * wide..]);
            }
        }
        for t in 0..tokens {
            for c in 0..channels {
                let (x, dt) = (x[t * channels + c], dt[t * channels + c]);
                let parts = [0, n].map(|part| &bc[t * width + at + part..][..n]);
                let (a, state) = (&a[c * n..][..n], &mut exact[c * n..][..n]);
                let dt = reference::softplus(f64::from(dt));
                want[t * channels + c] =
                    reference::selective_scan(x, dt, a, parts, state) + skip[c] * x;
            }
        }
        let name = format!("selective scan of {channels} by {n}, {tokens} tokens");
        compare(&name, &got, &want, report);
        compare(&format!("state, {name}"), &fast, &exact, report);
    }
    let x = [-100.0, -20.0, -5.0, -0.5, 0.0, 1.0, 6.0, 30.0, 1000.0];
    let mut got = x;
    ops::softplus(&mut got, &[0.0; 9]);
    let want = x.map(|x| reference::softplus(f64::from(x)));
    report.close("softplus", &got, &want, |i| 4e-7 * want[i] + 1e-37);
}

fn wkv(n: usize, report: &mut Report) {
    let mut random = Random(25);
    let [removal, replacement, bonus] = [0, 1, 2].map(|_| random.values(n));
    let weights = WkvWeights {
        removal: &removal,
        replacement: &replacement,
        bonus: &bonus,
    };
    let mut fast = random.values(n * n);
    let mut exact = fast.clone();
    for tokens in CHUNKS {
        let rows = random.values(tokens * 5 * n);
        let terms = |t: usize| [0, 1, 2, 3, 4].map(|i| &rows[(5 * t + i) * n..][..n]);
        let (mut got, mut want) = (vec![0.0; tokens * 2 * n], vec![0.0; tokens * 2 * n]);
        ops::wkv7(terms, weights, &mut fast, &mut got);
        for (t, want) in want.chunks_exact_mut(2 * n).enumerate() {
            reference::wkv7(&WkvTerms::new(terms(t), weights), &mut exact, want);
        }
        let name = format!("state of RWKV 7 by {n}, {tokens} tokens");
        compare(&name, &got, &want, report);
        compare(&format!("the state itself, {name}"), &fast, &exact, report);
    }
}

fn streams(width: usize, report: &mut Report) {
    let mut random = Random(26);
    let (x, y, coefs) = (
        random.values(3 * width),
        random.values(3 * width),
        random.values(9),
    );
    for first in [0, 1] {
        for coefs in [None, Some(&coefs[..])] {
            let (mut got, mut want) = (x.clone(), x.clone());
            ops::mix_streams(&mut got, &y, coefs, 0.5, first, width);
            reference::mix_streams(&mut want, &y, coefs, 0.5, first, width);
            compare("mixed streams", &got, &want, report);
        }
    }
    let (mut got, mut want) = (vec![0.0; 4 * width], vec![0.0; 4 * width]);
    ops::join_streams(&x[..width], &y, &mut got);
    reference::join_streams(&x[..width], &y, &mut want);
    compare("joined streams", &got, &want, report);
    let (mut got, mut want) = (x.clone(), x);
    ops::sparsify(&mut got, 0.6);
    reference::sparsify(&mut want, 0.6);
    compare("sparse", &got, &want, report);
}
