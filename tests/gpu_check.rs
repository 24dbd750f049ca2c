//! The self-check on every fixture that a GPU runs.
//!
//! Without an adapter the test says "skipped" and passes.
#![cfg(feature = "webgpu")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use inkling::backend::GpuOptions;
use inkling::backend::gpu::{Arithmetic, Restrictions, Software};
use inkling::engine::{BackendChoice, Engine, LoadOptions, MemorySource};
use pollster::block_on;

/// Families of every kind: the check must not find fault with any.
#[test]
fn the_check_has_no_false_alarms() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    let files = std::fs::read_dir(&folder).unwrap();
    let mut names: Vec<_> = files
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".gguf") && !name.contains("-of-"))
        .filter(|name| !name.contains("-q-") || name.contains("_K") || name.contains("MXFP4"))
        .collect();
    names.sort();
    let packed = |name: &String| Arithmetic::PACKED.map(|arithmetic| (name.clone(), arithmetic));
    for (name, arithmetic) in names.iter().flat_map(packed) {
        if arithmetic != Arithmetic::F16 && !name.contains("-q-") {
            continue; // floats are multiplied in f32
        }
        let source = MemorySource(std::fs::read(folder.join(&name)).unwrap());
        let options = LoadOptions {
            backend: BackendChoice::Gpu,
            context_length: Some(128),
            // The check is made in f32 first, then in this.
            gpu: GpuOptions {
                restrictions: Restrictions {
                    arithmetic: Some(arithmetic),
                    // Once with kernels as they are cut for a real adapter.
                    software: match arithmetic {
                        Arithmetic::Int8 => Software::AsReal,
                        _ => Software::Take,
                    },
                    ..Restrictions::default()
                },
                ..GpuOptions::default()
            },
            ..LoadOptions::default()
        };
        let engine = match block_on(Engine::load(vec![source], &options, |_| true)) {
            Ok(engine) => engine,
            Err(error) if error.code() == "gpu_unavailable" => {
                return println!("skipped: {error}");
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let gpu = engine.info().gpu.clone().unwrap();
        assert!(gpu.checked && gpu.quarantined.is_empty(), "{name}: {gpu:?}");
    }
}
