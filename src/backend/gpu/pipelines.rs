//! Kernels on their way to pipelines. In a browser all of a model's are compiled at once, while its weights still come.

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
    /// What the compiler had against a kernel.
    refused: std::pin::Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>,
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
        Some(Ahead {
            calls,
            parts,
            refused: Box::pin(scope.pop()),
        })
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
    /// Waits for all of them.
    ///
    /// # Errors
    /// [`Error::Gpu`] with the compiler's message; what `tell` returns.
    pub async fn wait(self, gpu: &Gpu, tell: Tell<'_>) -> Result<Vec<Pipeline>> {
        let total = self.kernels.len();
        #[cfg(target_arch = "wasm32")]
        if let Some(ahead) = self.ahead {
            ahead.wait(gpu, total, tell).await?;
        }
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
    /// Waits, and makes [`Gpu::compile`] know the kernels.
    async fn wait(self, gpu: &Gpu, total: usize, tell: Tell<'_>) -> Result<()> {
        let before = total - self.parts.len();
        let mut told = |done| tell(before + done, total);
        if let Some((index, message)) = self.calls.wait(&mut told).await? {
            gpu.check_again().await?;
            let name = self
                .parts
                .get(index)
                .map_or("a kernel", |(_, parts)| parts.name);
            let message = self
                .refused
                .await
                .map_or(message, |error| error.to_string());
            return Err(Error::Gpu(format!("{name}: {message}")));
        }
        for (text, parts) in self.parts {
            let pipeline = Pipeline {
                pipeline: gpu.pipeline(&parts),
                layout: parts.layout,
                reduce: gpu.reduce,
            };
            gpu.keep(text, pipeline);
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
