//! Every type of weight: rows looked up, times one vector and times many, against f64 over the dequantized weights.

use std::ops::Range;

use super::super::kernel::Arithmetic;
use super::super::tap::List;
use super::*;
use crate::model::{BufId, IdSource, KvSpec, Op, Step, WeightSpec};
use crate::quant::{dequantize, quantize};

/// Rows of the matrix under test: neither whole tiles nor whole groups of four.
const ROWS: usize = 71;

/// A plan of an embedding and, with `matrix`, a product with its rows.
fn plan(cols: usize, matrix: bool) -> Plan {
    let weight = |rows| WeightSpec {
        tensor: String::from("test"),
        row_start: 0,
        rows,
        cols,
        kind: WeightKind::Matrix,
    };
    let step = |op| Step {
        label: String::from("test"),
        op,
    };
    let embed = step(Op::Embed {
        table: WeightId(0),
        ids: IdSource::Tokens,
        out: BufId(0),
    });
    let product = step(Op::MatMul {
        x: BufId(1),
        weight: WeightId(1),
        bias: None,
        out: BufId(2),
    });
    let last = step(Op::LastRow {
        x: BufId(0),
        out: BufId(1),
    });
    let (weights, steps) = if matrix {
        (vec![weight(ROWS), weight(ROWS)], vec![embed, last, product])
    } else {
        (vec![weight(ROWS)], vec![embed, last])
    };
    Plan {
        buffers: vec![cols, cols, ROWS],
        logits: BufId(1 + usize::from(matrix)),
        weights,
        ropes: Vec::new(),
        states: Vec::new(),
        kv: Vec::<KvSpec>::new(),
        encoder: Vec::new(),
        decoder_start: None,
        steps,
        pooled: false,
        whole: false,
        n_vocab: ROWS,
        max_positions: None,
    }
}

/// Values of about unit length, without a pattern.
fn values(count: usize, seed: usize) -> Vec<f32> {
    let value = |i: usize| ((i + seed) * 7919 % 2003) as f32 / 1000.0 - 1.0;
    (0..count).map(value).collect()
}

/// Bytes of a matrix of `dtype` and what they stand for.
fn matrix(dtype: DType, cols: usize) -> (Vec<u8>, Vec<f32>) {
    let mut bytes = Vec::new();
    quantize(dtype, &values(ROWS * cols, 17), &mut bytes).unwrap();
    let mut exact = vec![0.0; ROWS * cols];
    dequantize(dtype, &bytes, &mut exact).unwrap();
    (bytes, exact)
}

fn loaded(device: &Gpu, plan: Plan, weights: &[(DType, &[u8])]) -> GpuBackend {
    let dtypes = weights.iter().map(|(dtype, _)| *dtype).collect();
    let options = GpuOptions {
        restrictions: Restrictions {
            large_from: Some(40),
            ..Restrictions::default()
        },
        ..GpuOptions::default()
    };
    let mut gpu = block_on(GpuBackend::on(device.clone(), plan, dtypes, 128, options)).unwrap();
    for (i, (_, bytes)) in weights.iter().enumerate() {
        block_on(gpu.write_rows(WeightId(i), 0, bytes)).unwrap();
    }
    block_on(gpu.finish(&mut |_, _| Ok(()))).unwrap();
    gpu
}

/// Width of the rows: whole blocks, and for floats also a row that ends within a unit.
fn widths(dtype: DType) -> &'static [usize] {
    if dtype.is_quantized() {
        &[512]
    } else {
        &[512, 20]
    }
}

/// Error of products with these rows in less than f32, the larger one of tiles of both sizes.
fn packed_error(device: &Gpu, arithmetic: Arithmetic, dtype: DType, x: &[f32]) -> f64 {
    let cols = x.len() / ROWS;
    let (bytes, exact) = matrix(dtype, cols);
    let weights = [
        (DType::F32, bytemuck::cast_slice(x)),
        (dtype, bytes.as_slice()),
    ];
    // Every row of the product is wanted, before any is left out.
    let mut plan = plan(cols, true);
    let product = plan.steps.remove(2);
    plan.steps.insert(1, product);
    plan.steps[1].op = Op::MatMul {
        x: BufId(0),
        weight: WeightId(1),
        bias: None,
        out: BufId(3),
    };
    plan.steps[2].op = Op::LastRow {
        x: BufId(3),
        out: BufId(2),
    };
    plan.buffers.push(ROWS);
    let mut gpu = loaded(device, plan, &weights);
    block_on(gpu.set_arithmetic(arithmetic)).unwrap();
    let error = |count| {
        let ids: Vec<u32> = (0..count).map(|i| (i * 31 + 5) % ROWS as u32).collect();
        let mut cache = gpu.new_cache(128);
        let tapped = gpu.tap(&mut cache, List::Plain, &ids, |_| true, |step| step == 1);
        let taps = block_on(tapped).unwrap();
        let mut kernels = taps[0].kernels.iter();
        assert!(kernels.any(|kernel| gpu.arithmetic_of(*kernel) == arithmetic));
        rel_l2(&taps[0].outputs[0].1, &products(&ids, x, &exact, cols))
    };
    [2, 70].map(error).into_iter().fold(0.0, f64::max)
}

/// Every quantized type; errors between these limits are those of the rounding.
fn packed_products(arithmetic: Arithmetic, limits: Range<f64>) {
    let Some(device) = open(FREE).filter(|device| device.has(arithmetic)) else {
        return println!("skipped: no {arithmetic:?}");
    };
    let x = values(ROWS * 512, 3);
    let quantized = DType::ALL.iter().filter(|dtype| dtype.is_quantized());
    for dtype in quantized.copied() {
        let error = packed_error(&device, arithmetic, dtype, &x);
        assert!(limits.contains(&error), "{dtype}: {error:.1e}");
    }
}

#[test]
fn every_integer_type_with_activations_of_eight_bits() {
    // Rounding to one of 255 steps gives about half of this.
    packed_products(Arithmetic::Int8, 1e-5..1e-2);
}

#[test]
fn every_integer_type_in_halves() {
    packed_products(Arithmetic::F16, 1e-5..1e-3);
}

#[test]
fn halves_hold_any_activations() {
    let Some(device) = open(FREE).filter(|device| device.has(Arithmetic::F16)) else {
        return println!("skipped: no f16");
    };
    let spread = |i: usize| (i * 7919 % 61) as f32 - 30.0;
    // Alike ones make products that are far smaller than what they are sums of.
    type Case = (&'static str, fn(f32, f32) -> f32, f64);
    let cases: [Case; 5] = [
        ("large", |value, _| value * 1e30, 2e-3),
        ("small", |value, _| value * 1e-30, 2e-3),
        (
            "a few large ones",
            |value, spread| value * if spread > 29.0 { 1e4 } else { 1.0 },
            2e-3,
        ),
        ("of every size", |value, spread| value * spread.exp(), 2e-3),
        ("all alike", |_, _| 3.998, 3e-2),
    ];
    for (name, change, limit) in cases {
        let x = values(ROWS * 512, 3).into_iter().enumerate();
        let x: Vec<f32> = x.map(|(i, x)| change(x, spread(i))).collect();
        for dtype in [DType::Q8_0, DType::Q5_K] {
            let error = packed_error(&device, Arithmetic::F16, dtype, &x);
            assert!(error < limit, "{name}, {dtype}: {error:.1e}");
        }
    }
}

fn check(restrictions: Restrictions, counts: &[usize]) {
    let Some(device) = open(restrictions) else {
        return;
    };
    for dtype in DType::ALL.iter().copied() {
        for cols in widths(dtype).iter().copied() {
            let (bytes, exact) = matrix(dtype, cols);
            let ids: Vec<u32> = (0..70).map(|i| (i * 31 + 5) % ROWS as u32).collect();
            let mut rows = loaded(&device, plan(cols, false), &[(dtype, &bytes)]);
            let mut cache = rows.new_cache(128);
            block_on(rows.forward(&mut cache, &ids[..9], LogitRows::All)).unwrap();
            let want: Vec<f32> = ids[..9]
                .iter()
                .flat_map(|id| exact[*id as usize * cols..][..cols].to_vec())
                .collect();
            let error = rel_l2(rows.logits(), &want);
            assert!(error < 1e-3, "{dtype}, rows of {cols}: {error:.1e}");

            let x = values(ROWS * cols, 3);
            let table = (DType::F32, bytemuck::cast_slice(&x));
            let weights = [table, (dtype, bytes.as_slice())];
            let mut product = loaded(&device, plan(cols, true), &weights);
            for count in counts.iter().copied() {
                let mut cache = product.new_cache(128);
                let mut got = Vec::new();
                for chunk in ids[..count].chunks(product.max_chunk()) {
                    block_on(product.forward(&mut cache, chunk, LogitRows::All)).unwrap();
                    got.extend_from_slice(product.logits());
                }
                let want = products(&ids[..count], &x, &exact, cols);
                let error = rel_l2(&got, &want);
                assert!(error < 1e-3, "{dtype}, {count} times {cols}: {error:.1e}");
            }
        }
    }
}

fn products(ids: &[u32], x: &[f32], weights: &[f32], cols: usize) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| -> f32 {
        let terms = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        terms.sum::<f64>() as f32
    };
    ids.iter()
        .flat_map(|id| {
            let x = &x[*id as usize * cols..][..cols];
            weights
                .chunks_exact(cols)
                .map(|w| dot(w, x))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_type_with_subgroups() {
    check(FREE, &[1, 2, 70]);
}

#[test]
fn every_type_within_default_limits() {
    check(PLAIN, &[1, 17]);
}

#[test]
fn tiles_of_every_size() {
    let Some(device) = open(FREE) else {
        return;
    };
    let cols = 64;
    let (bytes, exact) = matrix(DType::Q4_0, cols);
    let x = values(ROWS * cols, 3);
    let weights = [
        (DType::F32, bytemuck::cast_slice(&x)),
        (DType::Q4_0, bytes.as_slice()),
    ];
    let mut gpu = loaded(&device, plan(cols, true), &weights);
    for count in (1..=70).step_by(3).chain([63, 65, 66]) {
        let ids: Vec<u32> = (0..count).collect();
        let mut cache = gpu.new_cache(128);
        let mut got = Vec::new();
        for chunk in ids.chunks(gpu.max_chunk()) {
            block_on(gpu.forward(&mut cache, chunk, LogitRows::All)).unwrap();
            got.extend_from_slice(gpu.logits());
        }
        let error = rel_l2(&got, &products(&ids, &x, &exact, cols));
        assert!(error < 1e-3, "{count} tokens: {error:.1e}");
    }
}
