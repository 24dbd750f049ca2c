//! Shaders that compute wrong, and a GPU that is lost while a model loads.

use super::*;

/// The model under `auto` with a changed shader, an earlier verdict perhaps.
fn sabotaged(sabotage: fn(&Kernel, Reduce, String) -> String, verdict: Option<String>) -> Engine {
    load(&LoadOptions {
        backend: BackendChoice::Auto,
        gpu_verdict: verdict,
        gpu: GpuOptions {
            restrictions: Restrictions {
                software: Software::Take,
                arithmetic: Some(Arithmetic::Int8),
                sabotage: Some(sabotage),
                ..Restrictions::default()
            },
            ..GpuOptions::default()
        },
        ..LoadOptions::default()
    })
    .unwrap()
}

/// Sums with subgroups come out too small.
fn broken_subgroups(_: &Kernel, reduce: Reduce, source: String) -> String {
    match reduce {
        Reduce::Subgroup => source.replace("return subgroupAdd(", "return 0.9 * subgroupAdd("),
        Reduce::Workgroup => source,
    }
}

/// The kernel does nothing.
fn idle(source: &str) -> String {
    let nothing = "fn run(group: vec3<u32>, index: u32) {}\n@compute";
    source
        .replace("fn run(", "fn idle(")
        .replace("@compute", nothing)
}

fn broken_fusion(kernel: &Kernel, _: Reduce, source: String) -> String {
    match kernel {
        Kernel::Attention { .. } => idle(&source),
        _ => source,
    }
}

/// What is appended to the cache is lost.
fn broken_append(_: &Kernel, _: Reduce, source: String) -> String {
    source.replace("if (appends)", "if (false)")
}

fn broken_choice(kernel: &Kernel, _: Reduce, source: String) -> String {
    match kernel {
        Kernel::Sample { .. } => source.replace("draw(kept())", "draw(kept()) + 1u"),
        _ => source,
    }
}

fn broken_int8(kernel: &Kernel, _: Reduce, source: String) -> String {
    if kernel.arithmetic() == Arithmetic::Int8 {
        return idle(&source);
    }
    source
}

fn broken_repacking(kernel: &Kernel, _: Reduce, source: String) -> String {
    match kernel {
        Kernel::Repack { .. } => {
            source.replace("params.block + unit /", "params.block + (unit + 1u) /")
        }
        _ => source,
    }
}

fn broken_everywhere(kernel: &Kernel, _: Reduce, source: String) -> String {
    match kernel {
        Kernel::Add => idle(&source),
        _ => source,
    }
}

#[test]
fn a_broken_shader_never_reaches_the_text() {
    let Some(mut whole) = on_gpu(None) else {
        return;
    };
    let request = j!({ "messages": [{ "role": "user", "content": "Who are you?" }], "temperature": 0, "maxTokens": 16 });
    let want = answer(&mut whole, &request).text;
    let gpu = whole.info().gpu.clone().unwrap();
    assert!(gpu.checked && gpu.quarantined.is_empty(), "{gpu:?}");
    type Case = (fn(&Kernel, Reduce, String) -> String, &'static str, bool);
    let cases: [Case; 7] = [
        (broken_repacking, "repacking Q8_0", true),
        (broken_int8, "products in Int8", true),
        (broken_subgroups, "with subgroups", true),
        (broken_fusion, "fused kernels", true),
        (broken_append, "fused kernels", true),
        (broken_choice, "choosing tokens", true),
        (broken_everywhere, "add gives wrong results", false),
    ];
    for (sabotage, named, on_gpu) in cases {
        let mut engine = sabotaged(sabotage, None);
        let found = engine.info().gpu.clone().unwrap();
        println!("{found:?}");
        assert!(
            found.quarantined.iter().any(|name| name.contains(named)),
            "{found:?}"
        );
        assert_eq!(
            engine.info().backend.starts_with("webgpu"),
            on_gpu,
            "{found:?}"
        );
        assert_eq!(found.reason.is_none(), on_gpu);
        assert_eq!(answer(&mut engine, &request).text, want, "{found:?}");
        // The verdict says the same at once.
        let mut engine = sabotaged(sabotage, Some(found.verdict.clone()));
        assert_eq!(engine.info().gpu.clone().unwrap(), found);
        assert_eq!(answer(&mut engine, &request).text, want, "{found:?}");
    }
    // One of another adapter or of other kernels does not count.
    let verdict = gpu
        .verdict
        .replace("llvmpipe", "another")
        .replace("SwiftShader", "another");
    let engine = sabotaged(broken_everywhere, Some(verdict));
    assert!(!engine.info().backend.starts_with("webgpu"));
}

#[test]
fn a_gpu_that_was_lost_while_it_loaded_the_model_is_left_alone_for_some_loads() {
    let Some(mut engine) = on_gpu(None) else {
        return;
    };
    let Backend::Gpu(gpu) = engine.backend().unwrap() else {
        panic!("not on the GPU")
    };
    let lost = inkling::backend::check::lost(&gpu.fingerprint());
    let load = |backend, verdict: String| {
        let restrictions = Restrictions {
            software: Software::Take,
            ..Restrictions::default()
        };
        let options = LoadOptions {
            backend,
            gpu_verdict: Some(verdict),
            gpu: GpuOptions {
                restrictions,
                ..GpuOptions::default()
            },
            ..LoadOptions::default()
        };
        let engine = load(&options).unwrap();
        (
            engine.info().backend.clone(),
            engine.info().gpu.clone().unwrap(),
        )
    };
    let mut verdict = lost.clone();
    for _ in 0..8 {
        let (backend, info) = load(BackendChoice::Auto, verdict);
        assert!(backend.starts_with("cpu"), "{info:?}");
        assert!(info.reason.unwrap().contains("lost twice"));
        verdict = info.verdict;
    }
    for (choice, verdict) in [(BackendChoice::Auto, verdict), (BackendChoice::Gpu, lost)] {
        let (backend, info) = load(choice, verdict);
        assert!(backend.starts_with("webgpu") && info.checked, "{info:?}");
        assert!(!info.verdict.contains("lost"), "{info:?}");
    }
}
