//! The adapter and its device: opened once, with the limits that the adapter has rather than the defaults.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::health::Health;
use super::kernel::{Arithmetic, Dialect, Kernel, Lanes, Reduce};
use super::pipelines::Pipeline;
use crate::{Error, Result};

/// Features and limits to leave unused, for tests of what weak adapters do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Restrictions {
    /// Ask for WebGPU's default limits only, and do without `shader-f16`.
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
    /// Memory that is given at once at most.
    pub memory: Option<u64>,
    /// Tokens from which products are cut into large tiles, however few rows there are.
    pub large_from: Option<usize>,
    /// Products of a weight and an activation in a submit, roughly.
    pub products: Option<u64>,
    /// What products of chunks are computed in, where that is possible; otherwise what is faster decides.
    pub arithmetic: Option<Arithmetic>,
    /// What becomes of a software adapter.
    pub software: Software,
    /// Changes the text of kernels, to see whether the check finds it. Not in releases.
    #[cfg(debug_assertions)]
    pub sabotage: Option<fn(&Kernel, Reduce, String) -> String>,
}

/// What is done with an adapter that computes on the CPU; anything but the default is for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Software {
    /// `auto` leaves it.
    #[default]
    Refuse,
    /// Takes it for a real one, which is timed and whose kernels are cut otherwise.
    AsReal,
    /// `auto` takes it.
    Take,
}

/// Sizes of subgroups that may be a whole workgroup.
const SUBGROUP_SIZES: std::ops::RangeInclusive<u32> = 4..=64;

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
    /// How it runs workgroups.
    pub lanes: Lanes,
    /// Whether kernels may compute in f16.
    has_f16: bool,
    /// Whether kernels may multiply bytes four at a time.
    has_int8: bool,
    /// Name of the adapter; empty where a browser keeps it to itself.
    pub adapter: String,
    /// What was compiled on this device, by the hash of its text: kernels share it, and models, one loaded after another.
    pub(super) compiled: Arc<Mutex<Vec<(u64, Pipeline)>>>,
    /// Buffers, bind groups and pipelines made so far: a token must not add to them.
    pub(super) created: Arc<AtomicUsize>,
    /// Whether the adapter only imitates a GPU on the CPU.
    pub software: bool,
    /// What it does without.
    pub restrictions: Restrictions,
    /// Its loss, and errors that nobody waits for.
    health: Health,
}

/// In a browser wgpu's own words only list what it was built without.
fn no_adapter(error: &wgpu::RequestAdapterError) -> String {
    if cfg!(target_family = "wasm") {
        "the browser offers no WebGPU adapter".into()
    } else {
        error.to_string()
    }
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
            .map_err(|error| unavailable(no_adapter(&error)))?;
        let mut features = wgpu::Features::empty();
        features.set(wgpu::Features::SUBGROUP, !restrictions.no_subgroups);
        features.set(wgpu::Features::SHADER_F16, !restrictions.default_limits);
        let limits = if restrictions.default_limits {
            wgpu::Limits::default()
        } else {
            adapter.limits()
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("inkling"),
            required_features: adapter.features() & features,
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
        let sizes = (info.subgroup_min_size, info.subgroup_max_size);
        let one_size = subgroups && sizes.0 == sizes.1 && SUBGROUP_SIZES.contains(&sizes.0);
        let software = restrictions.software != Software::AsReal && is_software(&name, &info);
        Ok(Self {
            has_f16: device.features().contains(wgpu::Features::SHADER_F16),
            has_int8: instance
                .wgsl_language_features()
                .contains(wgpu::WgslLanguageFeatures::Packed4x8IntegerDotProduct),
            lanes: match (software, one_size) {
                (true, _) => Lanes::Imitated,
                (false, true) => Lanes::Of(sizes.0 as usize),
                (false, false) => Lanes::Any,
            },
            health: Health::of(&device),
            software,
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

    /// The adapter as a sentence about it begins: not every browser tells its name.
    pub fn name(&self) -> &str {
        match self.adapter.as_str() {
            "" => "the GPU",
            name => name,
        }
    }

    /// Whether products may be computed so.
    pub fn has(&self, arithmetic: Arithmetic) -> bool {
        match arithmetic {
            Arithmetic::F32 => true,
            Arithmetic::F16 => self.has_f16,
            Arithmetic::Int8 => self.has_int8,
        }
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

    /// How many buffers, bind groups and pipelines were made so far.
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
            None if self.restrictions.memory.is_none_or(|most| bytes <= most) => Ok(made),
            _ => Err(Error::OutOfMemory { bytes }),
        }
    }

    /// The adapter, what it can multiply in, and the text of all kernels of a model: a verdict is about these.
    pub fn fingerprint(&self, kernels: &[Kernel]) -> String {
        let mut hasher = DefaultHasher::new();
        let has = Arithmetic::PACKED.map(|arithmetic| self.has(arithmetic));
        has.hash(&mut hasher);
        // Some browsers give no adapter's name; these tell most of them apart.
        let limits = self.device.limits();
        limits.max_storage_buffer_binding_size.hash(&mut hasher);
        limits.max_buffer_size.hash(&mut hasher);
        limits.max_compute_workgroup_storage_size.hash(&mut hasher);
        for kernel in kernels {
            self.source(kernel, self.reduce).hash(&mut hasher);
        }
        format!("{} {:016x}", self.adapter, hasher.finish())
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
