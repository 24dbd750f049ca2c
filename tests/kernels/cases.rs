//! The case table of the CPU kernels, and what each case is held to.
//!
//! Used twice: natively by `tests/kernels.rs`, and as wasm by `examples/kernel_check.rs`, which is how the vector
//! primitives are proven. The reference is written here in f64 from `quant::dequantize`, apart from the rounding of
//! activations to int8, which is part of what a product means.

#![allow(clippy::expect_used)]

use inkling::backend::cpu::packed::{PackedMatrix, QuantizedActs};
use inkling::quant::{self, DType};

/// Collects what went wrong.
#[derive(Default)]
pub struct Report {
    /// Number of checks made.
    pub checks: usize,
    /// A line per failed check.
    pub failures: Vec<String>,
}

impl Report {
    /// Notes a failure unless `ok`.
    pub fn check(&mut self, ok: bool, message: impl FnOnce() -> String) {
        self.checks += 1;
        if !ok {
            self.failures.push(message());
        }
    }

    /// Compares element by element; `limit(i)` bounds the error of element `i`. The worst is reported.
    pub fn close(&mut self, what: &str, got: &[f32], want: &[f64], limit: impl Fn(usize) -> f64) {
        let excess = |i: usize| {
            let error = (f64::from(got[i]) - want[i]).abs();
            if error.is_nan() {
                f64::INFINITY
            } else {
                error / limit(i).max(1e-30)
            }
        };
        let worst = (0..want.len()).max_by(|a, b| excess(*a).total_cmp(&excess(*b)));
        self.check(got.len() == want.len(), || {
            format!("{what}: {} values for {}", got.len(), want.len())
        });
        if let Some(i) = worst {
            self.check(excess(i) <= 1.0, || {
                format!(
                    "{what}: element {i} is {} for {}, limit {:e}",
                    got[i],
                    want[i],
                    limit(i)
                )
            });
        }
    }
}

/// Seeded numbers (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Between -1 and 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Roughly normal, with the size changing every 32 values.
    pub fn values(&mut self, len: usize) -> Vec<f32> {
        let mut size = 1.0;
        let value = |i: usize| {
            if i.is_multiple_of(32) {
                size = 0.02 + self.unit().abs();
            }
            size * (self.unit() + self.unit() + self.unit())
        };
        (0..len).map(value).collect()
    }
}

/// How a case's numbers look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pattern {
    /// Nothing special.
    Random,
    /// Largest codes against largest activations, equal signs: narrow sums must not overflow.
    Extreme,
    /// The same with random signs.
    Signs,
}

/// One matrix product.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub dtype: DType,
    pub rows: usize,
    pub cols: usize,
    pub tokens: usize,
    pub pattern: Pattern,
}

/// All matrix products.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &dtype in DType::ALL {
        let cols: &[usize] = match dtype.block_len() {
            1 => &[7, 64, 259],
            32 => &[32, 96, 576],
            _ => &[256, 1024],
        };
        for (i, &cols) in cols.iter().enumerate() {
            for tokens in [1, 2, 3, 4, 5, 17] {
                let rows = [8, 3, 1, 21, 40][(tokens + i) % 5];
                cases.push(Case {
                    dtype,
                    rows,
                    cols,
                    tokens,
                    pattern: Pattern::Random,
                });
            }
        }
        for pattern in [Pattern::Extreme, Pattern::Signs] {
            cases.push(Case {
                dtype,
                rows: 8,
                cols: 512,
                tokens: 1,
                pattern,
            });
            cases.push(Case {
                dtype,
                rows: 9,
                cols: 256,
                tokens: 4,
                pattern,
            });
        }
    }
    // Enough columns that tokens are worked on in several chunks.
    cases.push(Case {
        dtype: DType::Q4_0,
        rows: 16,
        cols: 8192,
        tokens: 23,
        pattern: Pattern::Random,
    });
    cases
}

/// Runs the whole table.
pub fn run() -> Report {
    let mut report = Report::default();
    for case in cases() {
        product(&case, &mut report);
    }
    crate::ops_cases::run(&mut report);
    crate::recurrent_cases::run(&mut report);
    crate::attention_cases::run(&mut report);
    byte_extremes(&mut report);
    not_finite(&mut report);
    report
}

/// A matrix in all its forms.
struct Matrix {
    bytes: Vec<u8>,
    packed: PackedMatrix,
    /// `[rows, cols]`
    weights: Vec<f32>,
    /// Size of what scales multiply: `|scale * q| + |min|`, `[rows, cols]`.
    sizes: Vec<f32>,
}

impl Matrix {
    fn new(dtype: DType, rows: usize, cols: usize, values: &[f32]) -> Self {
        let mut bytes = Vec::new();
        for row in values.chunks(cols) {
            quant::quantize(dtype, row, &mut bytes).expect("whole blocks");
        }
        Self::from_bytes(dtype, rows, cols, bytes)
    }

    fn from_bytes(dtype: DType, rows: usize, cols: usize, bytes: Vec<u8>) -> Self {
        let mut packed = PackedMatrix::new(dtype, rows, cols).expect("fits");
        // In two parts where there are two groups, as a loader would.
        let cut = if rows > 8 {
            8 * dtype.row_bytes(cols).expect("whole blocks")
        } else {
            0
        };
        packed.write_rows(0, &bytes[..cut]).expect("fits");
        packed
            .write_rows(if cut > 0 { 8 } else { 0 }, &bytes[cut..])
            .expect("fits");
        let mut weights = vec![0.0; rows * cols];
        quant::dequantize(dtype, &bytes, &mut weights).expect("fits");
        let mut sizes = weights.iter().map(|w| w.abs()).collect::<Vec<_>>();
        if dtype.has_min() {
            let parts = rows * cols / dtype.sub_block();
            let (mut q, mut scales, mut mins) =
                (vec![0; rows * cols], vec![0.0; parts], vec![0.0; parts]);
            quant::affine(dtype, &bytes, &mut q, &mut scales, &mut mins).expect("fits");
            sizes
                .iter_mut()
                .enumerate()
                .for_each(|(i, size)| *size += 2.0 * mins[i / dtype.sub_block()].abs());
        }
        Self {
            bytes,
            packed,
            weights,
            sizes,
        }
    }
}

/// Relative error of a scale: those of the codebook types are rounded to f16, the others are stored as in the file.
fn scale_error(dtype: DType) -> f64 {
    match dtype {
        DType::IQ1_S | DType::IQ1_M | DType::IQ2_XXS | DType::IQ2_XS => 1.0 / 2048.0,
        DType::IQ2_S | DType::IQ3_XXS | DType::IQ3_S | DType::IQ4_XS => 1.0 / 2048.0,
        _ => 0.0,
    }
}

/// What int8 activations stand for: each block of 32 rounded to multiples of its largest magnitude / 127.
fn rounded(x: &[f32], dtype: DType) -> Vec<f64> {
    if !dtype.is_quantized() {
        return x.iter().map(|x| f64::from(*x)).collect();
    }
    let round = |block: &[f32]| {
        let scale = block.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        block
            .iter()
            .map(|x| f64::from((x * inverse).round_ties_even()) * f64::from(scale))
            .collect::<Vec<_>>()
    };
    x.chunks(32).flat_map(round).collect()
}

fn product(case: &Case, report: &mut Report) {
    let Case {
        dtype,
        rows,
        cols,
        tokens,
        pattern,
    } = *case;
    let mut random = Random(rows as u64 * 1000 + cols as u64 + tokens as u64);
    let mut fill = |len| match pattern {
        Pattern::Random => random.values(len),
        Pattern::Extreme => vec![-1.0; len],
        Pattern::Signs => random.values(len).iter().map(|x| x.signum()).collect(),
    };
    let matrix = Matrix::new(dtype, rows, cols, &fill(rows * cols));
    let x = fill(tokens * cols);
    let mut acts = QuantizedActs::default();
    acts.quantize(&x, cols);
    let mut out = vec![f32::NAN; tokens * rows];
    matrix.packed.matmul(&acts, &mut out, 0..rows);

    let (mut want, mut size) = (Vec::new(), Vec::new());
    for x in x.chunks(cols) {
        let x = rounded(x, dtype);
        for r in 0..rows {
            let (w, sizes) = (
                &matrix.weights[r * cols..][..cols],
                &matrix.sizes[r * cols..][..cols],
            );
            want.push(
                w.iter()
                    .zip(&x)
                    .map(|(w, x)| f64::from(*w) * x)
                    .sum::<f64>(),
            );
            size.push(
                sizes
                    .iter()
                    .zip(&x)
                    .map(|(w, x)| (f64::from(*w) * x).abs())
                    .sum::<f64>(),
            );
        }
    }
    // Sums of activations that minima multiply are rounded to 15 bits in super-blocks.
    let rounded_sums = if dtype.is_nested() && dtype.has_min() {
        1.0 / 4096.0
    } else {
        0.0
    };
    let error = scale_error(dtype) + rounded_sums + 1e-6;
    report.close(&format!("{case:?}"), &out, &want, |i| error * size[i]);
    parts(case, &matrix, &x, &out, report);
    rows_back(case, &matrix, report);
}

/// Rows in parts and tokens one by one give the same bits as all at once.
fn parts(case: &Case, matrix: &Matrix, x: &[f32], whole: &[f32], report: &mut Report) {
    let Case {
        dtype,
        rows,
        cols,
        tokens,
        ..
    } = *case;
    let mut acts = QuantizedActs::default();
    let mut out = vec![f32::NAN; tokens * rows];
    for (t, x) in x.chunks(cols).enumerate() {
        acts.quantize(x, cols);
        let out = &mut out[t * rows..][..rows];
        let middle = rows / 16 * 8;
        matrix.packed.matmul(&acts, out, middle..rows);
        matrix.packed.matmul(&acts, out, 0..middle);
    }
    if dtype.is_quantized() {
        report.check(out == whole, || {
            format!("{case:?}: parts differ from the whole")
        });
    } else {
        let want: Vec<_> = whole.iter().map(|x| f64::from(*x)).collect();
        report.close(&format!("{case:?} in parts"), &out, &want, |i| {
            1e-4 + 1e-5 * want[i].abs()
        });
    }
}

/// Rows read back are the weights.
fn rows_back(case: &Case, matrix: &Matrix, report: &mut Report) {
    let cols = case.cols;
    let mut out = vec![f32::NAN; cols];
    for r in 0..case.rows {
        matrix.packed.dequantize_row(r, &mut out);
        let want: Vec<_> = matrix.weights[r * cols..][..cols]
            .iter()
            .map(|w| f64::from(*w))
            .collect();
        let sizes = &matrix.sizes[r * cols..];
        report.close(&format!("{case:?} row {r}"), &out, &want, |i| {
            (scale_error(case.dtype) + 1e-7) * f64::from(sizes[i])
        });
    }
}

/// Every pair of weight byte and activation byte, also the weight -128, which is stored as -127.
fn byte_extremes(report: &mut Report) {
    let mut bytes = Vec::new();
    for w in i8::MIN..=i8::MAX {
        bytes.extend(half::f16::ONE.to_le_bytes());
        bytes.extend([w as u8; 32]);
    }
    let matrix = Matrix::from_bytes(DType::Q8_0, 256, 32, bytes);
    let mut acts = QuantizedActs::default();
    let (mut x, mut out) = (vec![0.0; 32], vec![0.0; 256]);
    for a in -127..=127 {
        x.fill(a as f32);
        x[0] = 127.0;
        acts.quantize(&x, 32);
        matrix.packed.matmul(&acts, &mut out, 0..256);
        let exact = (-128_i32..128).map(|w| (w.max(-127) * (127 + 31 * a)) as f32);
        report.check(exact.eq(out.iter().copied()), || {
            format!("bytes times {a} are not exact")
        });
    }
    report.check(matrix.bytes.len() == 256 * 34, || {
        "Q8_0 has 34 bytes a block".into()
    });
}

/// NaN and infinity come out as NaN, zeros as zeros; nothing traps.
fn not_finite(report: &mut Report) {
    let matrix = Matrix::new(DType::Q4_0, 8, 64, &Random(5).values(8 * 64));
    let mut acts = QuantizedActs::default();
    let mut out = vec![0.0; 8];
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = Random(6).values(64);
        x[40] = bad;
        acts.quantize(&x, 64);
        matrix.packed.matmul(&acts, &mut out, 0..8);
        report.check(out.iter().all(|x| x.is_nan()), || {
            format!("{bad} went unnoticed: {out:?}")
        });
    }
    for tiny in [0.0, 1e-45, 1e-39] {
        acts.quantize(&vec![tiny; 64], 64);
        matrix.packed.matmul(&acts, &mut out, 0..8);
        report.check(out.iter().all(|x| x.abs() < 1e-30), || {
            format!("{tiny} gave {out:?}")
        });
    }
}
