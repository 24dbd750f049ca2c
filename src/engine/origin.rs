//! From a file to a backend with its weights: which backend it is, and what happens when the GPU will not do.

use super::header;
#[cfg(feature = "webgpu")]
use super::loader::LoadPhase;
use super::loader::{self, Progress, Source};
use super::{BackendChoice, GpuInfo, KvChoice, LoadOptions};
use crate::backend::{Backend, CpuBackend, CpuOptions, KvType, Precision};
use crate::gguf::GgufFile;
use crate::model::{self, ModelConfig, Plan};
use crate::{Error, Result};
#[cfg(feature = "webgpu")]
use crate::{
    backend::check,
    backend::gpu::{Compiling, Software, Survey},
    backend::{Gpu, GpuBackend, GpuOptions},
    model::WeightSpec,
    quant::DType,
};

/// A device that compiles for a model whose weights are still to come. It goes where nobody takes it.
#[cfg(feature = "webgpu")]
pub(super) struct Ahead(Option<(Gpu, Compiling)>);

#[cfg(feature = "webgpu")]
impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some((gpu, _)) = &self.0 {
            gpu.device.destroy();
        }
    }
}

/// There is none in a build without a GPU.
#[cfg(not(feature = "webgpu"))]
pub(super) enum Ahead {}

/// What a model is made of, so that it can be made again.
pub(super) struct Origin {
    sources: Vec<Source>,
    /// The table of tensors; metadata is left out, since vocabularies are large.
    file: GgufFile,
    plan: Plan,
    n_ctx: usize,
    options: LoadOptions,
}

impl Origin {
    /// Builds the plan; reads nothing.
    pub(super) fn new(
        sources: Vec<Source>,
        file: &GgufFile,
        config: &ModelConfig,
        options: &LoadOptions,
    ) -> Result<Self> {
        let plan = model::build(config, file)?;
        Ok(Self {
            sources,
            file: file.without_metadata(),
            plan,
            n_ctx: config.n_ctx,
            options: options.clone(),
        })
    }

    /// Context length in tokens.
    pub(super) fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// Opens the chosen backend, a GPU on the device that is `ahead` if there is one, and streams the weights into it; tells what
    /// came of the GPU if it was tried.
    ///
    /// # Errors
    /// Those of the file and its source; those of the GPU when it is the only choice.
    pub(super) async fn open(
        &self,
        ahead: Option<Ahead>,
        progress: &mut Progress<'_>,
    ) -> Result<(Backend, Option<GpuInfo>)> {
        let auto = self.options.backend == BackendChoice::Auto;
        let wants_gpu = match self.options.backend {
            BackendChoice::Cpu | BackendChoice::Reference => false,
            BackendChoice::Gpu => true,
            BackendChoice::Auto => cfg!(feature = "webgpu"),
        };
        if !wants_gpu {
            return Ok((self.open_cpu(progress).await?, None));
        }
        let mut info = GpuInfo::default();
        let verdict = self.options.gpu_verdict.as_deref();
        let mut opened = self.open_gpu(ahead, verdict, &mut info, progress).await;
        if matches!(opened, Err(Error::GpuLost(_))) {
            // Once may be chance, while the model loads as later.
            opened = self.open_gpu(None, verdict, &mut info, progress).await;
        }
        match opened {
            Ok(backend) => Ok((backend, Some(info))),
            Err(error) if auto && cpu_may_do(&error) => {
                if matches!(error, Error::GpuLost(_)) {
                    info.verdict = std::mem::take(&mut info.if_lost);
                }
                let bytes = header::weight_bytes(&self.file);
                if header::addressable(bytes).is_err() {
                    return Err(header::neither(bytes, error));
                }
                info.reason = Some(error.to_string());
                Ok((self.open_cpu(progress).await?, Some(info)))
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a backend in the place of a GPU that was lost: another device, or the CPU when it was lost before, `soon`.
    /// `info` is what is known of the lost one.
    ///
    /// # Errors
    /// Those of the file and its source, [`Error::Cancelled`].
    pub(super) async fn reopen(
        &self,
        soon: bool,
        mut info: GpuInfo,
        progress: &mut Progress<'_>,
    ) -> Result<(Backend, GpuInfo)> {
        let verdict = (!info.verdict.is_empty()).then(|| info.verdict.clone());
        let tried = if soon {
            Err(Error::GpuLost("it was lost again within a minute".into()))
        } else {
            self.open_gpu(None, verdict.as_deref(), &mut info, progress)
                .await
        };
        match tried {
            Ok(backend) => Ok((backend, info)),
            Err(error) if cpu_may_do(&error) => {
                info.reason = Some(error.to_string());
                Ok((self.open_cpu(progress).await?, info))
            }
            Err(error) => Err(error),
        }
    }

    /// The model on the CPU.
    ///
    /// # Errors
    /// Those of the file and its source, [`Error::OutOfMemory`].
    pub(super) async fn open_cpu(&self, progress: &mut Progress<'_>) -> Result<Backend> {
        let options = cpu_options(&self.options);
        let mut backend = Backend::Cpu(CpuBackend::new(self.plan.clone(), options));
        loader::load_weights(&self.sources, &self.file, &mut backend, progress).await?;
        Ok(backend)
    }

    #[cfg(not(feature = "webgpu"))]
    async fn open_gpu(
        &self,
        _ahead: Option<Ahead>,
        _verdict: Option<&str>,
        _info: &mut GpuInfo,
        _progress: &mut Progress<'_>,
    ) -> Result<Backend> {
        Err(no_gpu())
    }

    /// The model on the GPU. Whatever speaks against it is told as early as it can be known.
    #[cfg(feature = "webgpu")]
    async fn open_gpu(
        &self,
        ahead: Option<Ahead>,
        verdict: Option<&str>,
        info: &mut GpuInfo,
        progress: &mut Progress<'_>,
    ) -> Result<Backend> {
        let (gpu, compiling) = match ahead.and_then(|mut ahead| ahead.0.take()) {
            Some((gpu, compiling)) => (gpu, Some(compiling)),
            None => (Gpu::open(self.options.gpu.restrictions).await?, None),
        };
        info.adapter.clone_from(&gpu.adapter);
        let opened = async {
            if let Some(mut compiling) = compiling {
                let mut tell = |done, total| {
                    loader::report(progress, LoadPhase::Compile, done as u64, total as u64)
                };
                compiling.settle(&gpu, &mut tell).await?;
            }
            self.open_on(gpu.clone(), verdict, info, progress).await
        };
        let opened = opened.await;
        if opened.is_err() {
            // Whatever failed, a loss is why.
            let lost = gpu.check();
            // A browser would keep the weights there until it collects what was dropped.
            gpu.device.destroy();
            if let Err(lost @ Error::GpuLost(_)) = lost {
                return Err(lost);
            }
        }
        opened
    }

    /// The model on this device.
    #[cfg(feature = "webgpu")]
    async fn open_on(
        &self,
        gpu: Gpu,
        verdict: Option<&str>,
        info: &mut GpuInfo,
        progress: &mut Progress<'_>,
    ) -> Result<Backend> {
        let options = self.gpu_options();
        self.refuse_imitations(&gpu)?;
        let dtypes = self.dtypes()?;
        let survey = Survey::new(&gpu, &self.plan, &dtypes, self.n_ctx, options)?;
        let (need, about) = (survey.need, survey.fingerprint);
        info.memory_bytes = need.total();
        let mut outcome = check::Outcome::default();
        let recalled = self.recall(&about, verdict, &mut outcome);
        info.set(&outcome);
        info.if_lost = check::lost(&about);
        let recalled = recalled?;
        if self.options.backend == BackendChoice::Auto
            && options.restrictions.software != Software::Take
            && let Err(error) = check::probe(&gpu, &self.plan, self, options.kv_type).await
        {
            if let Error::GpuUnavailable(reason) = &error {
                info.verdict = check::slower(&about, reason.clone());
            }
            return Err(error);
        }
        let plan = self.plan.clone();
        let gpu = GpuBackend::on(gpu, plan, dtypes, self.n_ctx, options).await;
        let gpu = gpu.map_err(|error| match error {
            Error::OutOfMemory { .. } => need.refused(0),
            other => other,
        })?;
        let mut backend = Backend::Gpu(Box::new(gpu));
        loader::load_weights(&self.sources, &self.file, &mut backend, progress).await?;
        if let Backend::Gpu(gpu) = &mut backend {
            match recalled {
                Some(recalled) => recalled.apply(gpu).await?,
                None => {
                    let mut tell = |done, total| {
                        loader::report(progress, LoadPhase::Check, done as u64, total as u64)
                    };
                    let checked = check::check(gpu, self, &mut outcome, &mut tell).await;
                    info.set(&outcome);
                    checked?;
                }
            }
            let repacking = |dtype: &DType| format!("repacking {dtype}");
            let by_the_cpu = gpu.packed_by_the_cpu().iter().map(repacking);
            info.quarantined.extend(by_the_cpu);
            info.checked = true;
        }
        Ok(backend)
    }

    /// What an earlier load has found out.
    ///
    /// # Errors
    /// [`Error::Gpu`], [`Error::GpuUnavailable`] when that speaks against the GPU.
    #[cfg(feature = "webgpu")]
    fn recall(
        &self,
        fingerprint: &str,
        verdict: Option<&str>,
        outcome: &mut check::Outcome,
    ) -> Result<Option<check::Recalled>> {
        let wanted = self.options.backend == BackendChoice::Gpu;
        check::recall(fingerprint, verdict, wanted, outcome)
    }

    /// Opens a device that begins to compile, unless it is known not to do. With `asks_room` it must give the memory for the
    /// model too.
    ///
    /// # Errors
    /// What speaks against it.
    #[cfg(feature = "webgpu")]
    pub(super) async fn prepare_gpu(&self, asks_room: bool) -> Result<Ahead> {
        let options = self.gpu_options();
        let gpu = Gpu::open(options.restrictions).await?;
        let begun = async {
            self.refuse_imitations(&gpu)?;
            let survey = Survey::new(&gpu, &self.plan, &self.dtypes()?, self.n_ctx, options)?;
            let verdict = self.options.gpu_verdict.as_deref();
            self.recall(&survey.fingerprint, verdict, &mut check::Outcome::default())?;
            if asks_room {
                gpu.check_room(&survey.need).await?;
            }
            Ok(survey.start_compiling(&gpu))
        };
        match begun.await {
            Ok(compiling) => Ok(Ahead(Some((gpu, compiling)))),
            Err(error) => {
                gpu.device.destroy();
                Err(error)
            }
        }
    }

    /// A build without a GPU has nothing to ask.
    #[cfg(not(feature = "webgpu"))]
    pub(super) async fn prepare_gpu(&self, _asks_room: bool) -> Result<Ahead> {
        Err(no_gpu())
    }

    #[cfg(feature = "webgpu")]
    fn gpu_options(&self) -> GpuOptions {
        GpuOptions {
            kv_type: match self.options.kv_type {
                Some(KvChoice::F32) => KvType::F32,
                Some(KvChoice::F16 | KvChoice::Q8) | None => KvType::F16,
            },
            ..self.options.gpu
        }
    }

    /// `auto` leaves adapters that compute on the CPU.
    #[cfg(feature = "webgpu")]
    fn refuse_imitations(&self, gpu: &Gpu) -> Result<()> {
        let refused = self.options.gpu.restrictions.software == Software::Refuse;
        if self.options.backend == BackendChoice::Auto && gpu.software && refused {
            let reason = format!("{} computes on the CPU itself", gpu.name());
            return Err(Error::GpuUnavailable(reason));
        }
        Ok(())
    }

    /// Storage type of each weight of the plan.
    #[cfg(feature = "webgpu")]
    fn dtypes(&self) -> Result<Vec<DType>> {
        use check::WeightRows;
        let dtype = |spec| self.dtype(spec);
        self.plan.weights.iter().map(dtype).collect()
    }
}

#[cfg(not(feature = "webgpu"))]
fn no_gpu() -> Error {
    Error::GpuUnavailable("this build of the engine runs on the CPU only".into())
}

/// Whether the error is the GPU's rather than the file's.
fn cpu_may_do(error: &Error) -> bool {
    matches!(
        error,
        // The GPU stores scales as f16, so a tensor may be bad there alone.
        Error::GpuUnavailable(_)
            | Error::Gpu(_)
            | Error::GpuLost(_)
            | Error::OutOfMemory { .. }
            | Error::NoRoom(_)
            | Error::BadTensor { .. }
    )
}

fn cpu_options(options: &LoadOptions) -> CpuOptions {
    let precision = match options.backend {
        BackendChoice::Reference => Precision::Exact,
        _ => Precision::Fast,
    };
    let kv_type = match (options.kv_type, precision) {
        (Some(KvChoice::Q8), _) => KvType::Q8_0,
        (Some(KvChoice::F16), _) | (None, Precision::Fast) => KvType::F16,
        (Some(KvChoice::F32), _) | (None, Precision::Exact) => KvType::F32,
    };
    CpuOptions { precision, kv_type }
}

#[cfg(feature = "webgpu")]
impl GpuInfo {
    fn set(&mut self, outcome: &check::Outcome) {
        self.quarantined.clone_from(&outcome.quarantined);
        self.verdict.clone_from(&outcome.verdict);
    }
}

#[cfg(feature = "webgpu")]
impl check::WeightRows for Origin {
    fn dtype(&self, spec: &WeightSpec) -> Result<DType> {
        let tensor = self.file.tensor(&spec.tensor);
        tensor
            .map(|tensor| tensor.dtype)
            .ok_or_else(|| Error::MissingTensor(spec.tensor.clone()))
    }

    async fn read(&self, spec: &WeightSpec, first: usize, count: usize) -> Result<Vec<u8>> {
        loader::read_rows(&self.sources, &self.file, spec, first, count).await
    }
}
