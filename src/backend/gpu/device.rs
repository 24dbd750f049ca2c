//! The adapter and its device: opened once, with the limits that the adapter has rather than the defaults.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::health::Health;
use super::kernel::{Bind, Dialect, Kernel, Reduce};
use crate::{Error, Result};

/// Features and limits to leave unused, for tests of what weak adapters do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Restrictions {
    /// Ask for WebGPU's default limits only.
    pub default_limits: bool,
    /// Cap of a storage binding, to make small tensors split.
    pub max_binding: Option<u64>,
    /// Do without subgroup operations.
    pub no_subgroups: bool,
    /// Visible positions from which attention splits the keys.
    pub split_from: Option<usize>,
    /// Tokens in every chunk of a prompt, however long it takes.
    pub chunk: Option<usize>,
    /// Attention of each token by itself, without tiles.
    pub untiled: bool,
    /// What `auto` makes of a software adapter.
    pub software: Software,
    /// Changes the text of kernels, to see whether the check finds it. Not in releases.
    #[cfg(debug_assertions)]
    pub sabotage: Option<fn(&Kernel, Reduce, String) -> String>,
}

/// What `auto` does with an adapter that computes on the CPU; anything but the default is for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Software {
    /// Leaves it.
    #[default]
    Refuse,
    /// Times it, as a GPU.
    Probe,
    /// Takes it.
    Take,
}

/// A device with what the rest needs to know of it. Clones share it.
#[derive(Clone)]
pub struct Gpu {
    /// The device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// Largest storage binding.
    pub max_binding: u64,
    /// How workgroups reduce.
    pub reduce: Reduce,
    /// Name of the adapter.
    pub adapter: String,
    /// What was compiled on this device: models share kernels, and a page may load one after another.
    compiled: Arc<Mutex<Vec<(Kernel, Pipeline)>>>,
    /// Buffers and bind groups made so far: a token must not add to them.
    created: Arc<AtomicUsize>,
    /// Whether the adapter only imitates a GPU on the CPU.
    pub software: bool,
    /// What it does without.
    pub restrictions: Restrictions,
    /// Its loss, and errors that nobody waits for.
    health: Health,
}

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

impl Gpu {
    /// Opens the best adapter.
    ///
    /// # Errors
    /// [`Error::GpuUnavailable`].
    pub async fn open(restrictions: Restrictions) -> Result<Self> {
        let unavailable = |reason: String| Error::GpuUnavailable(reason);
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let wanted = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..wgpu::RequestAdapterOptions::default()
        };
        let adapter = instance
            .request_adapter(&wanted)
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let features = if restrictions.no_subgroups {
            wgpu::Features::empty()
        } else {
            adapter.features() & wgpu::Features::SUBGROUP
        };
        let limits = if restrictions.default_limits {
            wgpu::Limits::default()
        } else {
            adapter.limits()
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("inkling"),
            required_features: features,
            required_limits: limits.clone(),
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let binding = limits
            .max_storage_buffer_binding_size
            .min(limits.max_buffer_size);
        let info = adapter.get_info();
        let name = adapter_name(&device, &info);
        let subgroups = !restrictions.no_subgroups && has_subgroups(&device);
        Ok(Self {
            health: Health::of(&device),
            software: is_software(&name, &info),
            restrictions,
            max_binding: restrictions.max_binding.unwrap_or(binding).min(binding),
            reduce: if subgroups {
                Reduce::Subgroup
            } else {
                Reduce::Workgroup
            },
            adapter: name,
            device,
            queue,
            compiled: Arc::default(),
            created: Arc::default(),
        })
    }

    /// Whether the device still works.
    ///
    /// # Errors
    /// [`Error::GpuLost`]; [`Error::Gpu`] or [`Error::OutOfMemory`] for something that went wrong since the last call.
    pub fn check(&self) -> Result<()> {
        self.health.check()
    }

    /// A storage buffer.
    pub fn storage(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        self.buffer(
            label,
            bytes,
            wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_DST
                | wgpu::BufferUsages::COPY_SRC,
        )
    }

    /// Any buffer; at least 16 bytes, whole words.
    pub fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.created.fetch_add(1, Ordering::Relaxed);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.max(16).next_multiple_of(16),
            usage,
            mapped_at_creation: false,
        })
    }

    /// A bind group.
    pub fn bind_group(
        &self,
        label: &str,
        layout: &wgpu::BindGroupLayout,
        entries: &[wgpu::BindGroupEntry<'_>],
    ) -> wgpu::BindGroup {
        self.created.fetch_add(1, Ordering::Relaxed);
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout,
            entries,
        })
    }

    /// How many buffers and bind groups were made so far.
    pub fn created(&self) -> usize {
        self.created.load(Ordering::Relaxed)
    }

    /// Runs `make`, which creates buffers, and turns a refusal into an error.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] with `bytes`, the amount that is asked for.
    pub async fn allocating<T>(&self, bytes: u64, make: impl FnOnce() -> T) -> Result<T> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let made = make();
        let refused = scope.pop().await;
        self.check()?;
        match refused {
            None => Ok(made),
            Some(_) => Err(Error::OutOfMemory { bytes }),
        }
    }

    /// The text of a kernel for this device.
    pub fn source(&self, kernel: &Kernel, reduce: Reduce) -> String {
        let dialect = if cfg!(target_arch = "wasm32") {
            Dialect::Browser
        } else {
            Dialect::Naga
        };
        let source = kernel.source(reduce, dialect);
        #[cfg(debug_assertions)]
        if let Some(change) = self.restrictions.sabotage {
            return change(kernel, reduce, source);
        }
        source
    }

    /// Compiles a kernel. Layouts are explicit, so that a page may compile the same text ahead of us.
    ///
    /// # Errors
    /// [`Error::Gpu`] with the compiler's message.
    pub async fn compile(&self, kernel: &Kernel, reduce: Reduce) -> Result<Pipeline> {
        let compiled = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let known = compiled()
            .iter()
            .find(|(known, pipeline)| known == kernel && pipeline.reduce == reduce)
            .map(|(_, pipeline)| pipeline.clone());
        if let Some(pipeline) = known {
            return Ok(pipeline);
        }
        let pipeline = self.build(kernel, reduce).await?;
        compiled().push((*kernel, pipeline.clone()));
        Ok(pipeline)
    }

    /// Compiles many kernels, in a browser all at once and without keeping it from anything else.
    ///
    /// # Errors
    /// As [`Gpu::compile`].
    pub async fn compile_all(&self, kernels: &[Kernel]) -> Result<Vec<Pipeline>> {
        #[cfg(target_arch = "wasm32")]
        self.compile_ahead(kernels, self.reduce).await?;
        let mut pipelines = Vec::new();
        for kernel in kernels {
            pipelines.push(self.compile(kernel, self.reduce).await?);
        }
        Ok(pipelines)
    }

    /// Makes [`Gpu::compile`] know the kernels.
    #[cfg(target_arch = "wasm32")]
    async fn compile_ahead(&self, kernels: &[Kernel], reduce: Reduce) -> Result<()> {
        let Some(ahead) = super::browser::Ahead::new(&self.device) else {
            return Ok(());
        };
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let parts: Vec<_> = kernels
            .iter()
            .map(|kernel| self.parts(kernel, reduce))
            .collect();
        for parts in &parts {
            self.pipeline(parts);
        }
        let popped = scope.pop();
        let outcome = ahead.wait().await;
        if let Err((index, message)) = outcome {
            let name = kernels.get(index).map_or("a kernel", Kernel::name);
            let message = popped.await.map_or(message, |error| error.to_string());
            return Err(Error::Gpu(format!("{name}: {message}")));
        }
        for (kernel, parts) in kernels.iter().zip(parts) {
            let pipeline = Pipeline {
                pipeline: self.pipeline(&parts),
                layout: parts.layout,
                reduce,
            };
            let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
            compiled.push((*kernel, pipeline));
        }
        Ok(())
    }

    async fn build(&self, kernel: &Kernel, reduce: Reduce) -> Result<Pipeline> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let parts = self.parts(kernel, reduce);
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

    /// Text and layouts of a kernel.
    fn parts(&self, kernel: &Kernel, reduce: Reduce) -> Parts {
        let source = self.source(kernel, reduce);
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
            .map(|(binding, bind)| layout_entry(binding as u32, *bind))
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

/// Whether kernels may use subgroup operations.
#[cfg(not(target_arch = "wasm32"))]
fn has_subgroups(device: &wgpu::Device) -> bool {
    device.features().contains(wgpu::Features::SUBGROUP)
}

/// Whether kernels may use subgroup operations. wgpu has no name for the feature in a browser, so it neither asks for
/// it, which `gpu-features.ts` of the npm package does, nor tells of it.
#[cfg(target_arch = "wasm32")]
fn has_subgroups(device: &wgpu::Device) -> bool {
    let device = device.as_webgpu();
    device.is_some_and(|device| device.features().has("subgroups"))
}

#[cfg(not(target_arch = "wasm32"))]
fn adapter_name(_device: &wgpu::Device, info: &wgpu::AdapterInfo) -> String {
    info.name.clone()
}

/// Browsers leave the adapter's name empty; maker and architecture tell as much as they let pages know.
#[cfg(target_arch = "wasm32")]
fn adapter_name(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> String {
    let Some(device) = device.as_webgpu().filter(|_| info.name.is_empty()) else {
        return info.name.clone();
    };
    let info = device.adapter_info();
    let words = [info.vendor(), info.architecture(), info.device()].map(String::from);
    words.join(" ").trim().to_owned()
}

/// Adapters that compute on the CPU say so by their type, in browsers sometimes only by their name.
fn is_software(name: &str, info: &wgpu::AdapterInfo) -> bool {
    let name = format!("{name} {}", info.driver).to_lowercase();
    let known = ["swiftshader", "llvmpipe", "basic render driver", "warp"];
    info.device_type == wgpu::DeviceType::Cpu || known.iter().any(|known| name.contains(known))
}

fn layout_entry(binding: u32, bind: Bind) -> wgpu::BindGroupLayoutEntry {
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
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}
