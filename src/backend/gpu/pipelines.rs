//! Kernels on their way to pipelines. In a browser all of a model's are compiled at once, as soon as its header is known: while
//! its weights are downloaded, or else while they are uploaded.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::device::Gpu;
use super::kernel::{Bind, Kernel, Reduce};
use crate::{Error, Result};

/// A compiled kernel. Clones share it.
#[derive(Clone)]
pub struct Pipeline {
    /// The pipeline.
    pub pipeline: wgpu::ComputePipeline,
    /// Layout of its bind group.
    pub layout: wgpu::BindGroupLayout,
    /// How it reduces, if it does.
    pub reduce: Reduce,
}

/// What a pipeline is made of.
struct Parts {
    name: &'static str,
    module: wgpu::ShaderModule,
    /// Layout of its bind group.
    layout: wgpu::BindGroupLayout,
    /// Layout of the pipeline.
    pipeline: wgpu::PipelineLayout,
}

/// Learns how many kernels of how many are compiled, and says whether to go on by returning no error.
pub type Tell<'a> = &'a mut dyn FnMut(usize, usize) -> Result<()>;

/// Kernels that are being compiled. Until it is done no other kernel may be compiled on the device.
pub struct Compiling {
    kernels: Vec<Kernel>,
    /// Absent where kernels are compiled one after the other, when they are asked for.
    #[cfg(target_arch = "wasm32")]
    ahead: Option<Ahead>,
}

/// What a browser compiles by itself.
#[cfg(target_arch = "wasm32")]
struct Ahead {
    calls: super::browser::Ahead,
    /// Of different texts, each with its hash.
    parts: Vec<(u64, Parts)>,
}

impl Gpu {
    /// Compiles a kernel.
    ///
    /// # Errors
    /// [`Error::Gpu`] with the compiler's message.
    pub async fn compile(&self, kernel: &Kernel, reduce: Reduce) -> Result<Pipeline> {
        let source = self.source(kernel, reduce);
        let text = hash(&source);
        if let Some(pipeline) = self.known(text, reduce) {
            return Ok(pipeline);
        }
        let pipeline = self.build(kernel, reduce, source).await?;
        self.keep(text, pipeline.clone());
        Ok(pipeline)
    }

    /// Begins to compile many kernels, in a browser all at once and without keeping it from anything else.
    pub fn start_compiling(&self, kernels: &[Kernel]) -> Compiling {
        Compiling {
            kernels: kernels.to_vec(),
            #[cfg(target_arch = "wasm32")]
            ahead: self.start_ahead(kernels),
        }
    }

    fn known(&self, text: u64, reduce: Reduce) -> Option<Pipeline> {
        let compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = compiled.iter();
        known
            .find(|(known, pipeline)| *known == text && pipeline.reduce == reduce)
            .map(|(_, pipeline)| pipeline.clone())
    }

    fn keep(&self, text: u64, pipeline: Pipeline) {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.push((text, pipeline));
    }

    #[cfg(target_arch = "wasm32")]
    fn start_ahead(&self, kernels: &[Kernel]) -> Option<Ahead> {
        let calls = super::browser::Ahead::new(&self.device)?;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let mut parts: Vec<(u64, Parts)> = Vec::new();
        for kernel in kernels {
            let source = self.source(kernel, self.reduce);
            let text = hash(&source);
            let started = parts.iter().any(|(other, _)| *other == text);
            if !started && self.known(text, self.reduce).is_none() {
                parts.push((text, self.parts(kernel, source)));
            }
        }
        for (_, parts) in &parts {
            self.pipeline(parts);
        }
        // What the compiler has against a kernel is told when that kernel is asked for.
        drop(scope.pop());
        Some(Ahead { calls, parts })
    }

    async fn build(&self, kernel: &Kernel, reduce: Reduce, source: String) -> Result<Pipeline> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let parts = self.parts(kernel, source);
        let pipeline = self.pipeline(&parts);
        let refused = scope.pop().await;
        self.check()?;
        match refused {
            None => Ok(Pipeline {
                pipeline,
                layout: parts.layout,
                reduce,
            }),
            Some(error) => Err(Error::Gpu(format!("{}: {error}", parts.name))),
        }
    }

    /// Text and layouts of a kernel. Layouts are explicit, so that bind groups do not wait for the compiler's.
    fn parts(&self, kernel: &Kernel, source: String) -> Parts {
        let name = kernel.name();
        let module = self
            .device
            .create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(name),
                source: wgpu::ShaderSource::Wgsl(source.into()),
            });
        let state = if kernel.writes_state() {
            Bind::Write
        } else {
            Bind::Read
        };
        let entries: Vec<_> = [state, Bind::Uniform]
            .iter()
            .chain(kernel.bindings())
            .enumerate()
            .map(|(binding, bind)| {
                let moves = *bind == Bind::Uniform && kernel.moves_params();
                layout_entry(binding as u32, *bind, moves)
            })
            .collect();
        let layout = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(name),
                entries: &entries,
            });
        let pipeline = self
            .device
            .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(name),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
        Parts {
            name,
            module,
            layout,
            pipeline,
        }
    }

    fn pipeline(&self, parts: &Parts) -> wgpu::ComputePipeline {
        self.created.fetch_add(1, Ordering::Relaxed);
        self.device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(parts.name),
                layout: Some(&parts.pipeline),
                module: &parts.module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: None,
            })
    }
}

impl Compiling {
    /// Waits for what has begun, whatever comes of it. Afterwards other kernels may be compiled on the device, and these are
    /// known to it, but for those that were refused.
    ///
    /// # Errors
    /// [`Error::GpuLost`]; what `tell` returns.
    #[cfg_attr(
        not(target_arch = "wasm32"),
        expect(unused_variables, clippy::unused_async)
    )]
    pub async fn settle(&mut self, gpu: &Gpu, tell: Tell<'_>) -> Result<()> {
        #[cfg(target_arch = "wasm32")]
        if let Some(ahead) = self.ahead.take() {
            ahead.wait(gpu, self.kernels.len(), tell).await?;
        }
        Ok(())
    }

    /// Waits for all of them.
    ///
    /// # Errors
    /// [`Error::Gpu`] with the compiler's message; what `tell` returns.
    pub async fn wait(mut self, gpu: &Gpu, tell: Tell<'_>) -> Result<Vec<Pipeline>> {
        self.settle(gpu, tell).await?;
        let total = self.kernels.len();
        let mut pipelines = Vec::new();
        for kernel in &self.kernels {
            tell(pipelines.len(), total)?;
            pipelines.push(gpu.compile(kernel, gpu.reduce).await?);
        }
        tell(total, total)?;
        Ok(pipelines)
    }
}

#[cfg(target_arch = "wasm32")]
impl Ahead {
    /// Waits, and makes [`Gpu::compile`] know the kernels that were compiled.
    async fn wait(self, gpu: &Gpu, total: usize, tell: Tell<'_>) -> Result<()> {
        let before = total - self.parts.len();
        let mut told = |done| tell(before + done, total);
        let outcomes = self.calls.wait(&mut told).await?;
        if outcomes.contains(&false) {
            gpu.check_again().await?;
        }
        for ((text, parts), compiled) in self.parts.into_iter().zip(outcomes) {
            if compiled {
                let pipeline = Pipeline {
                    pipeline: gpu.pipeline(&parts),
                    layout: parts.layout,
                    reduce: gpu.reduce,
                };
                gpu.keep(text, pipeline);
            }
        }
        gpu.check()
    }
}

fn hash(source: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    hasher.finish()
}

fn layout_entry(binding: u32, bind: Bind, moves: bool) -> wgpu::BindGroupLayoutEntry {
    let ty = match bind {
        Bind::Uniform => wgpu::BufferBindingType::Uniform,
        Bind::Read => wgpu::BufferBindingType::Storage { read_only: true },
        Bind::Write => wgpu::BufferBindingType::Storage { read_only: false },
    };
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: moves,
            min_binding_size: None,
        },
        count: None,
    }
}
