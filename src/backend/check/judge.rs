//! One operation again, on the exact CPU backend, from the inputs that the GPU had.
//!
//! The judge is the interpreter itself with a plan of one step. Large matrices are cut to a few rows; weights that the
//! step does not use are not read.

use crate::backend::gpu::Tap;
use crate::backend::{CpuBackend, CpuOptions, KvType, LogitRows, Precision};
use crate::model::{BufId, IdSource, Op, Plan, Step, WeightId, WeightKind, WeightSpec};
use crate::quant::{DType, dequantize};
use crate::{Error, Result};

/// Gives bytes of the model's weights.
pub trait WeightRows {
    /// Storage type of a weight.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    fn dtype(&self, spec: &WeightSpec) -> Result<DType>;

    /// The GGUF bytes of rows `first .. first + count` of a weight (a vector is one row).
    ///
    /// # Errors
    /// Those of the source.
    fn read(
        &self,
        spec: &WeightSpec,
        first: usize,
        count: usize,
    ) -> impl Future<Output = Result<Vec<u8>>>;
}

/// Rows that are taken of a large matrix, in runs of neighbours at its beginning, middle and end.
const RUN: usize = 8;

/// One step with all that it needs.
pub struct Judge<'a, R> {
    plan: &'a Plan,
    rows: &'a R,
    tokens: &'a [u32],
    kv_type: KvType,
    /// The plan of the step.
    small: Plan,
    weights: Vec<Option<(DType, Vec<u8>)>>,
}

impl<'a, R: WeightRows> Judge<'a, R> {
    /// A judge for operations on `tokens` from an empty cache.
    pub fn new(plan: &'a Plan, rows: &'a R, tokens: &'a [u32], kv_type: KvType) -> Self {
        Self {
            plan,
            rows,
            tokens,
            kv_type,
            small: Plan {
                steps: Vec::new(),
                ..plan.clone()
            },
            weights: plan.weights.iter().map(|_| None).collect(),
        }
    }

    /// How far the GPU's result of a step is off, relative to what it should be; nothing for a step without a result.
    /// `stored` tells of the keys and values behind attention.
    ///
    /// # Errors
    /// Those of the source of weights.
    pub async fn error(mut self, tap: &Tap, stored: Option<&Tap>) -> Result<Option<f64>> {
        let step = &self.plan.steps[tap.step];
        let Some((out, got)) = tap.outputs.first() else {
            return Ok(None);
        };
        let mut inputs = tap.inputs.clone();
        let mut op = step.op.clone();
        let mut got = got.clone();
        let mut steps = Vec::new();
        match &mut op {
            Op::MatMul {
                x, weight, bias, ..
            } => {
                // A check in a hurry has only the first columns.
                let read = inputs.iter().find(|(id, _)| id == x);
                let rows = read.map_or(1, |(_, values)| values.len() / self.plan.buffers[x.0]);
                let width = got.len() / rows.max(1);
                let picks = picks(width);
                self.keep_rows(*weight, &picks).await?;
                self.keep_elements(*bias, &picks).await?;
                got = columns(&got, width, &picks);
                self.small.buffers[out.0] = picks.len();
            }
            Op::MoeMatMul { .. } => got = self.cut_experts(&mut op, &mut inputs, &got).await?,
            Op::Embed { table, ids, .. } => {
                let last = match ids {
                    IdSource::Tokens => self.tokens.iter().copied().max().unwrap_or(0) as usize,
                    IdSource::Positions => self.tokens.len() - 1,
                    IdSource::Segment => self.plan.weights[table.0].rows.min(2) - 1,
                };
                let few: Vec<usize> = (0..=last).collect();
                self.keep_rows(*table, &few).await?;
            }
            Op::Attention { .. } => {
                let Some(stored) = stored else {
                    return Ok(None);
                };
                steps.push(self.plan.steps[stored.step].clone());
                inputs.extend(stored.inputs.iter().cloned());
            }
            _ => {}
        }
        for id in self.weights_of(&op) {
            self.keep_whole(id).await?;
        }
        let label = step.label.clone();
        steps.push(Step { label, op });
        let want = self.run(steps, *out, &inputs)?;
        Ok(Some(relative_error(&got, &want)))
    }

    /// Keeps some rows of a matrix, in this order.
    async fn keep_rows(&mut self, id: WeightId, picks: &[usize]) -> Result<()> {
        let spec = &self.plan.weights[id.0];
        let mut bytes = Vec::new();
        let mut at = 0;
        while at < picks.len() {
            let neighbours = |n: &usize| picks.get(at + n) == Some(&(picks[at] + n));
            let run = (1..).take_while(neighbours).count() + 1;
            bytes.extend(self.rows.read(spec, picks[at], run).await?);
            at += run;
        }
        self.small.weights[id.0].rows = picks.len();
        self.weights[id.0] = Some((self.rows.dtype(spec)?, bytes));
        Ok(())
    }

    /// Keeps some elements of a vector.
    async fn keep_elements(&mut self, id: Option<WeightId>, picks: &[usize]) -> Result<()> {
        let Some(id) = id else {
            return Ok(());
        };
        let spec = &self.plan.weights[id.0];
        let mut values = vec![0.0; spec.cols];
        let bytes = self.rows.read(spec, 0, 1).await?;
        dequantize(self.rows.dtype(spec)?, &bytes, &mut values)?;
        let kept = picks.iter().flat_map(|pick| values[*pick].to_le_bytes());
        self.weights[id.0] = Some((DType::F32, kept.collect()));
        self.small.weights[id.0].cols = picks.len();
        Ok(())
    }

    async fn keep_whole(&mut self, id: WeightId) -> Result<()> {
        if self.weights[id.0].is_none() {
            let spec = &self.plan.weights[id.0];
            let bytes = self.rows.read(spec, 0, spec.rows).await?;
            self.weights[id.0] = Some((self.rows.dtype(spec)?, bytes));
        }
        Ok(())
    }

    /// Keeps some rows of the experts that the first token chose, and makes them all the experts there are. Returns what
    /// the GPU gave for these rows.
    async fn cut_experts(
        &mut self,
        op: &mut Op,
        inputs: &mut [(BufId, Vec<f32>)],
        got: &[f32],
    ) -> Result<Vec<f32>> {
        let Op::MoeMatMul {
            route,
            used,
            weight,
            bias,
            stride,
            offset,
            out,
            ..
        } = op
        else {
            return Ok(Vec::new());
        };
        let n = self.plan.buffers[out.0] / *used;
        let few = picks(n);
        let mut rows = Vec::new();
        for (id, values) in inputs.iter_mut() {
            values.truncate(self.plan.buffers[id.0]);
            if id == route {
                for (j, expert) in values[..*used].iter_mut().enumerate() {
                    let first = *expert as usize * *stride + *offset;
                    rows.extend(few.iter().map(|row| first + row));
                    *expert = j as f32;
                }
            }
        }
        let last = rows.iter().max().copied().unwrap_or(0);
        if last >= self.plan.weights[weight.0].rows {
            return Ok(vec![f32::NAN]); // an expert that does not exist
        }
        self.keep_rows(*weight, &rows).await?;
        self.keep_elements(*bias, &rows).await?;
        (*stride, *offset) = (few.len(), 0);
        self.small.buffers[out.0] = few.len() * *used;
        self.tokens = &self.tokens[..1];
        Ok(columns(&got[..n * *used], n, &few))
    }

    /// Weights that an operation uses, those of its rotary embedding included.
    fn weights_of(&self, op: &Op) -> Vec<WeightId> {
        let mut found = op.weights();
        if let Op::Rope { rope, .. } = op {
            found.extend(self.plan.ropes[rope.0].factors);
        }
        found
    }

    fn run(
        mut self,
        steps: Vec<Step>,
        out: BufId,
        inputs: &[(BufId, Vec<f32>)],
    ) -> Result<Vec<f32>> {
        self.small.steps = steps;
        self.small.logits = out;
        for (spec, kept) in self.small.weights.iter_mut().zip(&mut self.weights) {
            if kept.is_none() {
                (spec.rows, spec.cols, spec.kind) = (1, 1, WeightKind::Vector);
                *kept = Some((DType::F32, vec![0; 4]));
            }
        }
        let options = CpuOptions {
            precision: Precision::Exact,
            kv_type: self.kv_type,
        };
        let rows = inputs.first().map_or(self.tokens.len(), |(id, values)| {
            values.len() / self.plan.buffers[id.0]
        });
        let mut cpu = CpuBackend::new(self.small, options);
        for (index, kept) in self.weights.into_iter().enumerate() {
            let (dtype, bytes) = kept.ok_or_else(|| Error::Internal("a weight is gone".into()))?;
            cpu.allocate(WeightId(index), dtype)?;
            cpu.write_rows(WeightId(index), 0, &bytes)?;
        }
        cpu.finish()?;
        for (id, values) in inputs {
            cpu.set_rows(*id, values.clone());
        }
        let mut cache = cpu.new_cache(self.tokens.len());
        let tokens = &self.tokens[..rows.min(self.tokens.len())];
        cpu.forward(&mut cache, tokens, LogitRows::Last)?;
        Ok(cpu.logits().to_vec())
    }
}

/// A few rows of so many.
fn picks(rows: usize) -> Vec<usize> {
    if rows <= 4 * RUN {
        return (0..rows).collect();
    }
    let starts = [0, rows / 2, rows - RUN];
    starts.iter().flat_map(|at| *at..at + RUN).collect()
}

/// Some columns of rows that are `width` long.
fn columns(values: &[f32], width: usize, picks: &[usize]) -> Vec<f32> {
    let rows = values.chunks_exact(width);
    rows.flat_map(|row| picks.iter().map(|pick| row[*pick]))
        .collect()
}

/// `|got - want| / |want|`; not a number where `got` is none.
pub fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    let square = |sum: f64, x: f64| sum + x * x;
    let pairs = got.iter().zip(want);
    let off = pairs
        .map(|(got, want)| f64::from(*got) - f64::from(*want))
        .fold(0.0, square);
    let size = want.iter().map(|want| f64::from(*want)).fold(0.0, square);
    if got.len() != want.len() {
        return f64::NAN;
    }
    (off / size.max(1e-30)).sqrt()
}
