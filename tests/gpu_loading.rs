//! Loading on a GPU: memory that is not there, a check that is cancelled, and a device that is lost under every call.
//!
//! Without an adapter each test says "skipped" and passes.
#![cfg(feature = "webgpu")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use inkling::Error;
use inkling::backend::Backend;
use inkling::backend::gpu::Software;
use inkling::engine::{
    BackendChoice, CompletionRequest, Engine, FinishReason, Generation, GenerationEvent, Header,
    LoadOptions, LoadPhase, LoadProgress, MemorySource, read_header,
};
use inkling::sampling::SamplingParams;
use pollster::block_on;

fn fixture(name: &str) -> MemorySource {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    MemorySource(std::fs::read(folder.join(format!("{name}.gguf"))).unwrap())
}

fn on(backend: BackendChoice) -> LoadOptions {
    let mut options = LoadOptions {
        backend,
        context_length: Some(64),
        ..LoadOptions::default()
    };
    options.gpu.restrictions.software = Software::Take;
    options
}

/// The fixture with these options; none where there is no adapter.
fn load(
    name: &str,
    options: &LoadOptions,
    progress: impl FnMut(LoadProgress) -> bool,
) -> Option<Result<Engine, Error>> {
    match block_on(Engine::load(vec![fixture(name)], options, progress)) {
        Err(error) if error.code() == "gpu_unavailable" => {
            println!("skipped: {error}");
            None
        }
        other => Some(other),
    }
}

#[test]
fn too_little_memory_is_told_with_what_is_needed() {
    let mut options = on(BackendChoice::Gpu);
    options.gpu.restrictions.memory = Some(1 << 14);
    let Some(Err(error)) = load("llama-gqa", &options, |_| true) else {
        return;
    };
    let file = block_on(read_header(&fixture("llama-gqa"))).unwrap();
    let prepare = |options: &LoadOptions| block_on(Header::new(file.clone()).prepare(options));
    let before = prepare(&options).unwrap_err();
    for error in [error, before] {
        assert_eq!(error.code(), "out_of_memory");
        assert!(error.to_string().contains("GB on the GPU"), "{error}");
    }
    options.gpu.restrictions.memory = None;
    prepare(&options).unwrap();
    // Where the CPU may do, it does, and says why.
    options.backend = BackendChoice::Auto;
    options.gpu.restrictions.memory = Some(1 << 14);
    prepare(&options).unwrap();
    let engine = load("llama-gqa", &options, |_| true).unwrap().unwrap();
    let gpu = engine.info().gpu.clone().unwrap();
    assert!(engine.info().backend.starts_with("cpu"));
    assert!(gpu.reason.unwrap().contains("GB on the GPU"));
    assert!(gpu.memory_bytes > 1 << 14);
}

#[test]
fn a_text_that_is_too_long_for_one_binding_is_told_before_the_weights() {
    let mut options = on(BackendChoice::Gpu);
    options.gpu.restrictions.max_binding = Some(1 << 14);
    let mut weights = false;
    let loaded = load("bert", &options, |told| {
        weights |= told.phase == LoadPhase::Weights;
        true
    });
    let Some(Err(error)) = loaded else {
        return assert!(loaded.is_none());
    };
    assert_eq!(error.code(), "out_of_memory");
    assert!(error.to_string().contains("64 tokens at once"), "{error}");
    assert!(!weights);
    // A shorter one may fit.
    options.context_length = Some(8);
    assert!(load("bert", &options, |_| true).unwrap().is_ok());
}

#[test]
fn the_check_tells_how_far_it_is_and_can_be_cancelled() {
    let mut told = Vec::new();
    let options = on(BackendChoice::Gpu);
    let progress = |progress: LoadProgress| {
        if progress.phase == LoadPhase::Check {
            told.push((progress.loaded, progress.total));
        }
        true
    };
    if load("llama-gqa", &options, progress).is_none() {
        return;
    }
    let total = told[0].1;
    let steps: Vec<_> = (0..=total).map(|done| (done, total)).collect();
    assert_eq!(told, steps);
    let cancel = |progress: LoadProgress| progress.phase != LoadPhase::Check || progress.loaded < 3;
    let cancelled = load("llama-gqa", &options, cancel).unwrap();
    assert!(matches!(cancelled, Err(Error::Cancelled)));
    let cancel = |progress: LoadProgress| progress.phase != LoadPhase::Compile;
    let cancelled = load("llama-gqa", &options, cancel).unwrap();
    assert!(matches!(cancelled, Err(Error::Cancelled)));
}

fn lose(engine: &mut Engine) {
    if let Backend::Gpu(gpu) = engine.backend().unwrap() {
        gpu.lose();
    }
}

#[test]
fn every_call_survives_a_lost_device() {
    let options = on(BackendChoice::Gpu);
    type Call = fn(&mut Engine) -> Result<Vec<f32>, Error>;
    let calls: [(&str, Call); 4] = [
        ("llama-gqa", |engine| block_on(engine.logits(&[3, 5]))),
        ("llama-gqa", |engine| {
            block_on(engine.logits_all(&[3, 5, 7]))
        }),
        ("t5", |engine| {
            block_on(engine.logits_with_source(&[3, 5], &[0, 4]))
        }),
        ("bert", |engine| block_on(engine.embed(&[3, 5, 7]))),
    ];
    for (name, call) in calls {
        let Some(engine) = load(name, &options, |_| true) else {
            return;
        };
        let mut engine = engine.unwrap();
        let want = call(&mut engine).unwrap();
        lose(&mut engine);
        assert_eq!(call(&mut engine).unwrap(), want, "{name}");
        assert_eq!(engine.replaced(), 1);
        assert!(engine.info().backend.starts_with("webgpu"));
        lose(&mut engine);
        let again = call(&mut engine).unwrap();
        assert!(engine.info().backend.starts_with("cpu"), "{name}");
        assert_eq!(again.len(), want.len());
    }
}

#[test]
fn a_recovery_tells_how_far_it_is_and_may_be_given_up() {
    let Some(engine) = load("llama-gqa", &on(BackendChoice::Gpu), |_| true) else {
        return;
    };
    let mut engine = engine.unwrap();
    let request = CompletionRequest {
        prompt_tokens: Some(vec![3, 5, 7]),
        sampling: SamplingParams {
            temperature: 0.0,
            max_tokens: Some(40),
            ignore_eos: true,
            ..SamplingParams::default()
        },
        ..CompletionRequest::default()
    };
    let step = |engine: &mut Engine, generation: &mut Generation| {
        block_on(generation.step(engine)).unwrap()
    };
    let mut generation = engine.start_completion(&request).unwrap();
    let mut tokens = 0;
    while tokens < 3 {
        let event = step(&mut engine, &mut generation);
        tokens += usize::from(matches!(event, GenerationEvent::Token { .. }));
    }
    lose(&mut engine);
    // Given up in the middle: the answer ends as it is.
    let told = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::clone(&told);
    engine.on_recovery(move |progress| {
        heard.borrow_mut().push(progress);
        progress.phase != LoadPhase::Compile
    });
    // Tokens that were read before the loss still come.
    let (reason, usage) = loop {
        match step(&mut engine, &mut generation) {
            GenerationEvent::Done {
                finish_reason,
                usage,
                ..
            } => break (finish_reason, usage),
            _ => tokens += 1,
        }
    };
    assert_eq!(reason, FinishReason::Cancelled);
    assert_eq!(usage.completion_tokens, tokens);
    assert_eq!(told.borrow()[0].total, 0);
    assert_eq!(engine.replaced(), 0);
    engine.check_in(generation.into_session());
    // The next call takes it up again, on the GPU still.
    let heard = Rc::clone(&told);
    engine.on_recovery(move |progress| {
        heard.borrow_mut().push(progress);
        true
    });
    let mut generation = engine.start_completion(&request).unwrap();
    while !matches!(
        step(&mut engine, &mut generation),
        GenerationEvent::Done { .. }
    ) {}
    assert_eq!(engine.replaced(), 1);
    assert!(engine.info().backend.starts_with("webgpu"));
    let whole = |progress: &LoadProgress| {
        progress.phase == LoadPhase::Weights && progress.loaded == progress.total
    };
    assert!(
        told.borrow()
            .iter()
            .any(|progress| progress.total > 0 && whole(progress))
    );
}
