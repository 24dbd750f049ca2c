//! Is the GPU faster at all? One real matrix of the model, multiplied again and again by both.

use web_time::Instant;

use super::WeightRows;
use crate::backend::{
    Backend, CpuBackend, CpuOptions, Gpu, GpuBackend, GpuOptions, KvType, LogitRows, Precision,
};
use crate::model::{BufId, Op, Plan, Step, WeightId, WeightSpec};
use crate::quant::DType;
use crate::{Error, Result};

/// Weights that a pass multiplies, roughly: some milliseconds of a CPU's time.
const PASS_WEIGHTS: usize = 8 << 20;

/// Most products in a pass.
const MOST: usize = 16;

/// Passes whose results nobody waits for, since waiting is no part of a GPU's work.
const AHEAD: usize = 6;

/// A pass that takes this long, in milliseconds, settles the matter.
const LONG_MS: f64 = 40.0;

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
    let cpu = CpuBackend::new(small.clone(), options);
    let cpu = time(Backend::Cpu(cpu), dtype, &bytes).await?;
    let options = GpuOptions {
        kv_type,
        restrictions: gpu.restrictions,
        ..GpuOptions::default()
    };
    let backend = GpuBackend::on(gpu.clone(), small, vec![dtype], 256, options).await?;
    let gpu_ms = time(Backend::Gpu(Box::new(backend)), dtype, &bytes).await?;
    if gpu_ms <= cpu {
        return Ok(());
    }
    Err(Error::GpuUnavailable(format!(
        "{} takes {gpu_ms:.1} ms for what the CPU does in {cpu:.1} ms",
        gpu.adapter
    )))
}

/// The largest matrix of a layer.
fn typical_matrix(plan: &Plan) -> Option<&WeightSpec> {
    let of_layers = plan.steps.iter().filter(|step| step.label.contains('-'));
    let matrices = of_layers.filter_map(|step| match step.op {
        Op::MatMul { weight, .. } => Some(&plan.weights[weight.0]),
        _ => None,
    });
    matrices.max_by_key(|spec| spec.rows * spec.cols)
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

/// Milliseconds of a pass.
async fn time(mut backend: Backend, dtype: DType, bytes: &[u8]) -> Result<f64> {
    backend.allocate(WeightId(0), dtype)?;
    backend.write_rows(WeightId(0), 0, bytes).await?;
    backend.finish()?;
    if let Backend::Cpu(cpu) = &mut backend {
        let width = cpu.plan().buffers[0];
        cpu.set_rows(BufId(0), vec![0.5; width]);
    }
    let mut cache = backend.new_cache(256);
    // The first one finds everything cold.
    backend.forward(&mut cache, &[0], LogitRows::Last).await?;
    let start = Instant::now();
    backend.forward(&mut cache, &[0], LogitRows::Last).await?;
    let alone = ms_since(start);
    if alone > LONG_MS || matches!(backend, Backend::Cpu(_)) {
        return Ok(alone);
    }
    let start = Instant::now();
    for _ in 0..AHEAD {
        backend.forward(&mut cache, &[0], LogitRows::None).await?;
    }
    backend.forward(&mut cache, &[0], LogitRows::Last).await?;
    Ok(((ms_since(start) - alone) / AHEAD as f64).clamp(0.0, alone))
}

fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
