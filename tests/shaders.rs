//! Every shader variant through naga, for both reductions, without a GPU.
#![cfg(feature = "webgpu")]

use inkling::backend::gpu::kernel::{Arithmetic, Bind, Dialect, Kernel, Reduce, Team};
use wgpu::naga;

/// WebGPU's default limits, which no kernel may exceed.
const MAX_WORKGROUP_BYTES: u32 = 16384;
const MAX_INVOCATIONS: u32 = 256;
const MAX_STORAGE_BUFFERS: usize = 8;

#[test]
fn every_variant_is_valid_and_within_default_limits() {
    let kernels = Kernel::all();
    assert!(kernels.len() > 100);
    for kernel in kernels {
        for reduce in [Reduce::Workgroup, Reduce::Subgroup] {
            let source = kernel.source(reduce, Dialect::Naga);
            // Where each invocation has work of its own, browsers take no barrier, not even one that is never reached.
            assert!(
                kernel.team() != Team::Alone || !source.contains("Barrier"),
                "{kernel:?}"
            );
            let module = naga::front::wgsl::parse_str(&source)
                .unwrap_or_else(|error| panic!("{kernel:?}: {}", error.emit_to_string(&source)));
            // `unpack2x16float` is part of WGSL; naga asks for it because OpenGL may lack it.
            let core = naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
            let mut capabilities = core;
            capabilities.set(
                naga::valid::Capabilities::SUBGROUP,
                reduce == Reduce::Subgroup,
            );
            capabilities.set(
                naga::valid::Capabilities::SHADER_FLOAT16,
                kernel.arithmetic() == Arithmetic::F16,
            );
            naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities)
                .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
                .subgroup_operations(naga::valid::SubgroupOperationSet::all())
                .validate(&module)
                .unwrap_or_else(|error| panic!("{kernel:?}: {}", error.emit_to_string(&source)));
            let invocations: u32 = module.entry_points[0].workgroup_size.iter().product();
            assert!(invocations <= MAX_INVOCATIONS, "{kernel:?}");
            let shared: u32 = module
                .global_variables
                .iter()
                .filter(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup)
                .map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()))
                .sum();
            assert!(
                shared <= MAX_WORKGROUP_BYTES,
                "{kernel:?} shares {shared} bytes"
            );
        }
        let storage = kernel
            .bindings()
            .iter()
            .filter(|bind| **bind != Bind::Uniform)
            .count();
        assert!(
            storage < MAX_STORAGE_BUFFERS,
            "{kernel:?} binds {storage} buffers and the state"
        );
    }
}

#[test]
fn declared_bindings_are_those_of_the_shader() {
    for kernel in Kernel::all() {
        let module =
            naga::front::wgsl::parse_str(&kernel.source(Reduce::Workgroup, Dialect::Naga)).unwrap();
        for (_, variable) in module.global_variables.iter() {
            let Some(binding) = variable
                .binding
                .as_ref()
                .filter(|binding| binding.binding >= 2)
            else {
                continue;
            };
            let declared = kernel.bindings().get(binding.binding as usize - 2);
            let expected = match variable.space {
                naga::AddressSpace::Storage { access }
                    if access.contains(naga::StorageAccess::STORE) =>
                {
                    Bind::Write
                }
                naga::AddressSpace::Storage { .. } => Bind::Read,
                _ => Bind::Uniform,
            };
            assert_eq!(
                declared,
                Some(&expected),
                "{kernel:?}, binding {}",
                binding.binding
            );
        }
    }
}

#[test]
fn browsers_get_the_subgroup_directive() {
    for kernel in Kernel::all() {
        let source = kernel.source(Reduce::Subgroup, Dialect::Browser);
        assert_eq!(
            source.contains("subgroupAdd"),
            source.starts_with("enable subgroups;\n"),
            "{kernel:?}"
        );
    }
}
