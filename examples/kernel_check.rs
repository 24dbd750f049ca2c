//! The kernels' case table and micro-benchmarks as a wasm module without imports, for builds whose vector primitives
//! cannot run natively. `examples/kernel_check.mjs` runs it in node or Chromium and says how to build it.

#![allow(missing_docs, clippy::expect_used)]

#[path = "../tests/kernels/attention.rs"]
mod attention_cases;
#[path = "../tests/kernels/cases.rs"]
mod cases;
#[path = "../tests/kernels/ops.rs"]
mod ops_cases;
#[path = "../tests/kernels/recurrent.rs"]
mod recurrent_cases;

use std::cell::RefCell;
use std::hint::black_box;

use inkling::backend::cpu::ops::AttentionShape;
use inkling::backend::cpu::packed::{PackedMatrix, QuantizedActs};
use inkling::backend::cpu::simd::{self, Lane, U8x16};
use inkling::backend::cpu::{KvType, LayerCache, parallel};
use inkling::model::KvSpec;
use inkling::quant::DType;

thread_local! {
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
    static BENCH: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
}

/// Runs the table; returns the number of failures and leaves a report in the text buffer.
#[unsafe(no_mangle)]
pub extern "C" fn check() -> usize {
    let (mut text, mut failed) = (String::new(), 0);
    // As this machine multiplies bytes, and as any machine can.
    for portable in [false, true] {
        simd::set_portable(portable);
        if portable && text.contains(&format!("{:?}", simd::byte_dot())) {
            break;
        }
        let report = cases::run();
        let (checks, failures) = (report.checks, report.failures);
        failed += failures.len();
        text += &format!(
            "{}, {:?}: {checks} checks, {} failed\n",
            simd::NAME,
            simd::byte_dot(),
            failures.len()
        );
        failures
            .iter()
            .for_each(|line| text += &format!("{line}\n"));
    }
    simd::set_portable(false);
    set_text(text);
    failed
}

/// Address of the text buffer.
#[unsafe(no_mangle)]
pub extern "C" fn text_ptr() -> *const u8 {
    TEXT.with_borrow(|text| text.as_ptr())
}

/// Length of the text buffer.
#[unsafe(no_mangle)]
pub extern "C" fn text_len() -> usize {
    TEXT.with_borrow(String::len)
}

fn set_text(text: String) {
    TEXT.with_borrow_mut(|place| *place = text);
}

/// Prepares benchmark `index`, leaves its name in the text buffer and returns what one run does: bytes of weights read
/// when `tokens` is 1, floating-point operations otherwise; 0 after the last.
#[unsafe(no_mangle)]
pub extern "C" fn bench_prepare(index: usize) -> f64 {
    BENCH.with_borrow_mut(|bench| *bench = None);
    let Some((name, work, run)) = bench(index) else {
        return 0.0;
    };
    set_text(name);
    BENCH.with_borrow_mut(|bench| *bench = Some(run));
    work
}

/// Runs the prepared benchmark once.
#[unsafe(no_mangle)]
pub extern "C" fn bench_run() {
    BENCH.with_borrow_mut(|bench| {
        if let Some(run) = bench {
            run();
        }
    });
}

const COLS: usize = 2048;
const KINDS: [DType; 11] = [
    DType::Q4_0,
    DType::Q4_K,
    DType::Q5_0,
    DType::Q5_K,
    DType::Q6_K,
    DType::Q8_0,
    DType::Q2_K,
    DType::Q3_K,
    DType::IQ4_NL,
    DType::MXFP4,
    DType::F16,
];

type Bench = (String, f64, Box<dyn FnMut()>);

/// A plain read, then for each type: mat-vec from memory, mat-vec from the L2 cache, 64 tokens; then attention.
fn bench(index: usize) -> Option<Bench> {
    if index == 0 {
        let lanes = vec![Lane([1; 16]); 10 << 20];
        let bytes = size_of_val(lanes.as_slice()) as f64;
        let run = move || {
            let fold = |sum: U8x16, lane: &Lane| sum ^ U8x16::load(lane);
            black_box(lanes.iter().fold(U8x16::splat(0), fold).to_array());
        };
        return Some(("GB/s  read  160 MiB".into(), bytes, Box::new(run)));
    }
    let attentions = 3 * KINDS.len() + 1;
    if index >= attentions {
        return bench_attention(index - attentions);
    }
    let dtype = *KINDS.get((index - 1) / 3)?;
    let per_row = PackedMatrix::new(dtype, 8, COLS).expect("fits").bytes() / 8;
    let (rows, tokens, place) = match (index - 1) % 3 {
        0 => ((160 << 20) / per_row / 8 * 8, 1, "memory"),
        1 => (128, 1, "L2"),
        _ => (COLS, 64, "tile"),
    };
    let matrix = filled(dtype, rows);
    let mut acts = QuantizedActs::default();
    acts.quantize(&cases::Random(1).values(tokens * COLS), COLS);
    let mut out = vec![0.0; rows * tokens];
    let weights = (rows * COLS) as f64;
    let (unit, work) = if tokens == 1 {
        ("GB/s", matrix.bytes() as f64)
    } else {
        ("GFLOP/s", 2.0 * 64.0 * weights)
    };
    let bits = matrix.bytes() as f64 * 8.0 / weights;
    let name = format!("{unit}  {dtype}  {place}  {bits:.2} bits/weight");
    Some((
        name,
        work,
        Box::new(move || matrix.matmul(black_box(&acts), &mut out, 0..rows)),
    ))
}

/// Attention over a cache of half floats or bytes: decoding at 2048 positions in GB/s of half floats, so that both compare,
/// from the caches of so many layers that they come from memory; a chunk of 64 tokens in GFLOP/s.
fn bench_attention(index: usize) -> Option<Bench> {
    let shapes = [(9, 3, 64), (14, 2, 64), (16, 8, 128), (32, 8, 64)];
    let (n_heads, n_kv_heads, head_dim) = *shapes.get(index / 4)?;
    let (tokens, start) = [(1, 2047), (64, 448)][index % 2];
    let (positions, width) = (start + tokens, n_kv_heads * head_dim);
    let kind = [KvType::F16, KvType::Q8_0][index / 2 % 2];
    let layers = if tokens == 1 {
        (96 << 20) / (4 * positions * width)
    } else {
        1
    };
    let spec = KvSpec {
        n_kv_heads,
        head_dim,
        memory: false,
    };
    let layer = |seed| {
        let mut layer = LayerCache::new(kind, &spec);
        layer.resize(positions).expect("fits");
        let values = cases::Random(seed).values(positions * width);
        layer.keys.store(0, &values);
        layer.values.store(0, &values);
        layer
    };
    let layers: Vec<_> = (0..layers as u64).map(layer).collect();
    let q = cases::Random(3).values(tokens * n_heads * head_dim);
    let mut out = vec![0.0; q.len()];
    let pairs = (tokens * start + tokens * tokens / 2) as f64;
    let (unit, work) = if tokens == 1 {
        ("GB/s", (4 * positions * width) as f64)
    } else {
        ("GFLOP/s", 4.0 * pairs * (n_heads * head_dim) as f64)
    };
    let (mut scratch, mut turn) = (Vec::new(), 0);
    let run = move || {
        let shape = AttentionShape {
            n_heads,
            n_kv_heads,
            head_dim,
            scale: 0.125,
            visible: &|position| 0..position + 1,
            softcap: None,
            sinks: None,
            bias: None,
        };
        turn = (turn + 1) % layers.len();
        parallel::attention(
            &shape,
            black_box(&q),
            &layers[turn],
            start,
            &mut scratch,
            &mut out,
        );
    };
    let name = format!(
        "{unit}  attention  {kind:?}  {n_heads}/{n_kv_heads} heads of {head_dim}  {tokens} tokens"
    );
    Some((name, work, Box::new(run)))
}

/// A matrix that repeats eight random rows.
fn filled(dtype: DType, rows: usize) -> PackedMatrix {
    let mut bytes = Vec::new();
    inkling::quant::quantize(dtype, &cases::Random(2).values(8 * COLS), &mut bytes)
        .expect("whole blocks");
    let mut matrix = PackedMatrix::new(dtype, rows, COLS).expect("fits");
    for row in (0..rows).step_by(8) {
        matrix.write_rows(row, &bytes).expect("fits");
    }
    matrix
}
