//! Is the GPU faster at all? One real matrix of the model, multiplied again and again by both.

use web_time::Instant;

use super::WeightRows;
use crate::backend::{
    CpuBackend, CpuOptions, Gpu, GpuBackend, GpuOptions, KvType, LogitRows, Precision,
};
use crate::model::{BufId, Op, Plan, Step, WeightId, WeightSpec};
use crate::quant::DType;
use crate::{Error, Result};

/// Weights that a pass multiplies, roughly: some milliseconds of a CPU's time.
const PASS_WEIGHTS: usize = 8 << 20;

/// Most products in a pass.
const MOST: usize = 16;

/// Passes on the CPU, of which the quickest counts: others work on it too.
const PASSES: usize = 5;

/// Refuses a GPU that is slower than the CPU.
///
/// # Errors
/// [`Error::GpuUnavailable`] with both times; those of the source and of either backend.
pub async fn probe(gpu: &Gpu, plan: &Plan, rows: &impl WeightRows, kv_type: KvType) -> Result<()> {
    let Some(weight) = typical_matrix(plan) else {
        return Ok(());
    };
    let spec = WeightSpec {
        rows: weight.rows.min(PASS_WEIGHTS / weight.cols.max(1)),
        ..weight.clone()
    };
    let dtype = rows.dtype(&spec)?;
    let bytes = rows.read(&spec, 0, spec.rows).await?;
    let small = products(plan, spec);
    let options = CpuOptions {
        precision: Precision::Fast,
        kv_type,
    };
    let cpu_ms = cpu_ms(CpuBackend::new(small.clone(), options), dtype, &bytes)?;
    let options = GpuOptions {
        kv_type,
        restrictions: gpu.restrictions,
        ..GpuOptions::default()
    };
    let mut backend = GpuBackend::on(gpu.clone(), small, vec![dtype], 1, options).await?;
    backend.write_rows(WeightId(0), 0, &bytes).await?;
    backend.finish(&mut |_, _| Ok(())).await?;
    let mut cache = backend.new_cache(1);
    let gpu_ms = backend.pass_ms(&mut cache, &[0]).await?;
    if gpu_ms <= cpu_ms {
        return Ok(());
    }
    Err(Error::GpuUnavailable(format!(
        "{} takes {gpu_ms:.1} ms for what the CPU does in {cpu_ms:.1} ms",
        gpu.name()
    )))
}

/// The largest matrix of a layer.
fn typical_matrix(plan: &Plan) -> Option<&WeightSpec> {
    let of_layers = plan.steps.iter().filter(|step| step.label.contains('-'));
    let matrices = of_layers.filter_map(|step| match step.op {
        Op::MatMul { weight, .. } => Some(&plan.weights[weight.0]),
        _ => None,
    });
    matrices.max_by_key(|spec| spec.rows as u64 * spec.cols as u64)
}

/// A plan that multiplies with one matrix several times.
fn products(plan: &Plan, spec: WeightSpec) -> Plan {
    let count = (PASS_WEIGHTS / (spec.rows * spec.cols).max(1)).clamp(1, MOST);
    let op = Op::MatMul {
        x: BufId(0),
        weight: WeightId(0),
        bias: None,
        out: BufId(1),
    };
    let label = "product".to_owned();
    Plan {
        buffers: vec![spec.cols, spec.rows],
        n_vocab: spec.rows,
        weights: vec![spec],
        ropes: Vec::new(),
        states: Vec::new(),
        kv: Vec::new(),
        encoder: Vec::new(),
        steps: vec![Step { label, op }; count],
        logits: BufId(1),
        pooled: false,
        whole: false,
        max_positions: None,
        ..plan.clone()
    }
}

/// Milliseconds of a pass on the CPU.
fn cpu_ms(mut backend: CpuBackend, dtype: DType, bytes: &[u8]) -> Result<f64> {
    backend.allocate(WeightId(0), dtype)?;
    backend.write_rows(WeightId(0), 0, bytes)?;
    let width = backend.plan().buffers[0];
    backend.set_rows(BufId(0), vec![0.5; width]);
    let mut cache = backend.new_cache(1);
    let mut best = f64::INFINITY;
    // The first ones find everything cold, code too.
    for _ in 0..PASSES {
        let start = Instant::now();
        backend.forward(&mut cache, &[0], LogitRows::Last)?;
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
        cache.truncate(0);
    }
    Ok(best)
}
