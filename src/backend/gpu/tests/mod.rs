//! The kernels on whatever adapter there is, software ones included. Without one the tests print "skipped".
//!
//! They share a device for each set of restrictions, since most of their time is the compiling of kernels.

mod fixtures;
mod formats;
mod labels;
mod repack;
mod sampling;
mod tuning;

use std::sync::OnceLock;

use pollster::block_on;

use super::{Gpu, GpuBackend, GpuOptions, Restrictions};
use crate::backend::{CpuBackend, CpuOptions, KvType, LogitRows, Precision};
use crate::gguf::{GgufFile, Parsed, parse};
use crate::model::{self, ModelConfig, Plan, WeightId, WeightKind};
use crate::quant::DType;
use crate::sampling::SamplingParams;

/// A fixture and its plan.
struct Model {
    bytes: Vec<u8>,
    file: GgufFile,
    plan: Plan,
    n_ctx: usize,
}

impl Model {
    fn open(name: &str) -> Self {
        Self::with_context(name, 128)
    }

    /// Planned for so many positions.
    fn with_context(name: &str, n_ctx: usize) -> Self {
        let path = format!(
            "{}/tests/fixtures/models/{name}.gguf",
            env!("CARGO_MANIFEST_DIR")
        );
        let bytes = std::fs::read(path).unwrap();
        let Parsed::Done(file) = parse(&bytes, bytes.len() as u64).unwrap() else {
            panic!("the header is short")
        };
        let config = ModelConfig::from_gguf(&file, Some(n_ctx)).unwrap();
        let plan = model::build(&config, &file).unwrap();
        Self {
            n_ctx: config.n_ctx,
            bytes,
            file,
            plan,
        }
    }

    fn dtypes(&self) -> Vec<DType> {
        self.plan
            .weights
            .iter()
            .map(|spec| self.file.tensor(&spec.tensor).unwrap().dtype)
            .collect()
    }

    /// Bytes of a weight of the plan.
    fn weight(&self, id: WeightId) -> &[u8] {
        let spec = &self.plan.weights[id.0];
        let tensor = self.file.tensor(&spec.tensor).unwrap();
        let row_bytes = tensor.dtype.row_bytes(spec.cols).unwrap();
        let skipped = match spec.kind {
            WeightKind::Matrix => spec.row_start * row_bytes,
            WeightKind::Vector => tensor.dtype.row_bytes(spec.row_start).unwrap(),
        };
        &self.bytes[tensor.offset as usize + skipped..][..spec.rows * row_bytes]
    }

    fn gpu(
        &self,
        gpu: &Gpu,
        plan: Plan,
        kv_type: KvType,
        restrictions: Restrictions,
    ) -> GpuBackend {
        let options = GpuOptions {
            kv_type,
            restrictions,
            ..GpuOptions::default()
        };
        let mut backend = block_on(GpuBackend::on(
            gpu.clone(),
            plan,
            self.dtypes(),
            self.n_ctx,
            options,
        ))
        .unwrap();
        for id in (0..self.plan.weights.len()).map(WeightId) {
            block_on(backend.write_rows(id, 0, self.weight(id))).unwrap();
        }
        block_on(backend.finish(&mut |_, _| Ok(()))).unwrap();
        backend
    }

    fn reference(&self, plan: Plan) -> CpuBackend {
        let options = CpuOptions {
            precision: Precision::Exact,
            kv_type: KvType::F32,
        };
        let mut backend = CpuBackend::new(plan, options);
        for (index, dtype) in self.dtypes().into_iter().enumerate() {
            backend.allocate(WeightId(index), dtype).unwrap();
            backend
                .write_rows(WeightId(index), 0, self.weight(WeightId(index)))
                .unwrap();
        }
        backend.finish().unwrap();
        backend
    }
}

/// As capable as the adapter is.
const FREE: Restrictions = Restrictions {
    default_limits: false,
    max_binding: None,
    no_subgroups: false,
    split_from: Some(16),
    chunk: Some(64),
    untiled: false,
    memory: None,
    large_from: Some(40),
    products: None,
    arithmetic: None,
    software: super::Software::AsReal,
    sabotage: None,
};

/// WebGPU's defaults and nothing more.
const PLAIN: Restrictions = Restrictions {
    default_limits: true,
    no_subgroups: true,
    split_from: None,
    chunk: Some(512),
    large_from: None,
    ..FREE
};

/// As the engine takes a software adapter; a real one is as in [`FREE`].
const SOFTWARE: Restrictions = Restrictions {
    software: super::Software::Take,
    ..FREE
};

/// The device for restrictions; the same for all tests that ask for the same.
fn open(restrictions: Restrictions) -> Option<Gpu> {
    static FREE_GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    static PLAIN_GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    static SOFTWARE_GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    let shared = if restrictions.no_subgroups {
        PLAIN_GPU.get_or_init(|| open_anew(PLAIN))
    } else if restrictions.software == SOFTWARE.software {
        SOFTWARE_GPU.get_or_init(|| open_anew(SOFTWARE))
    } else {
        FREE_GPU.get_or_init(|| open_anew(FREE))
    };
    let mut gpu = shared.clone()?;
    gpu.max_binding = restrictions.max_binding.unwrap_or(gpu.max_binding);
    Some(gpu)
}

fn open_anew(restrictions: Restrictions) -> Option<Gpu> {
    match block_on(Gpu::open(restrictions)) {
        Ok(gpu) => Some(gpu),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

fn rel_l2(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let diff: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let norm: f64 = b.iter().map(|b| f64::from(*b).powi(2)).sum();
    (diff / norm).sqrt()
}
