//! The suites, from the quick and local to the slow and whole.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::count::{self, Outcome};
use super::{Context, Suite};
use crate::browser::{Browser, Variant};
use crate::build::{self, Effort};
use crate::conformance::{self, Backend};
use crate::serve::{self, Site};

/// The suite that makes what a browser runs.
pub const BUILD: &str = "build";

pub const ALL: [Suite; 14] = [
    Suite {
        name: "format",
        title: "Formatting (rustfmt, Prettier)",
        on_build: false,
        run: format,
    },
    Suite {
        name: "clippy",
        title: "Lints (clippy, host and wasm)",
        on_build: false,
        run: clippy,
    },
    Suite {
        name: "rust",
        title: "Rust tests",
        on_build: false,
        run: rust,
    },
    Suite {
        name: BUILD,
        title: "Build (wasm, npm package, page)",
        on_build: false,
        run: build,
    },
    Suite {
        name: "kernels",
        title: "Kernels as wasm",
        on_build: false,
        run: kernels,
    },
    Suite {
        name: "conformance",
        title: "Known answers, on the host",
        on_build: false,
        run: conformance_on_host,
    },
    Suite {
        name: "conformance-browser",
        title: "Known answers, in the browser",
        on_build: true,
        run: conformance_in_browser,
    },
    Suite {
        name: "conformance-gpu",
        title: "Known answers, on WebGPU in the browser",
        on_build: true,
        run: conformance_on_gpu,
    },
    Suite {
        name: "conformance-firefox",
        title: "Known answers, in Firefox",
        on_build: true,
        run: conformance_in_firefox,
    },
    Suite {
        name: "conformance-webkit",
        title: "Known answers, in WebKit",
        on_build: true,
        run: conformance_in_webkit,
    },
    Suite {
        name: "types",
        title: "TypeScript, strict",
        on_build: true,
        run: types,
    },
    Suite {
        name: "ts",
        title: "TypeScript tests",
        on_build: true,
        run: typescript,
    },
    Suite {
        name: "e2e",
        title: "The page, end to end in the browser",
        on_build: true,
        run: end_to_end,
    },
    Suite {
        name: "size",
        title: "Size of the download",
        on_build: true,
        run: size,
    },
];

const WORKSPACES: [&str; 2] = ["pkg", "www"];

fn format(context: &Context) -> Result<Outcome> {
    let root = context.project.root();
    let mut outcome = count::check(
        Command::new("cargo")
            .args(["fmt", "--all", "--check"])
            .current_dir(root),
    )?;
    outcome.add(count::check(
        Command::new("npm")
            .args(["run", "--silent", "format:check"])
            .current_dir(root),
    )?);
    Ok(outcome)
}

fn clippy(context: &Context) -> Result<Outcome> {
    let mut host = Command::new("cargo");
    host.args(["clippy", "--workspace", "--all-targets", "--features"]);
    host.args(["webgpu", "--", "-Dwarnings"]);
    let mut outcome = count::check(host.current_dir(context.project.root()))?;
    outcome.add(count::check(&mut build::wasm_lint(
        context.project,
        &context.tools.wasm,
    )?)?);
    Ok(outcome)
}

fn rust(context: &Context) -> Result<Outcome> {
    let mut command = Command::new("cargo");
    // The bindings generator has no tests and is long to compile in another profile.
    command.args([
        "test",
        "--workspace",
        "--exclude",
        "xtask-bindgen",
        "--no-fail-fast",
        // The GPU backend, on a software adapter if there is no other; without any its tests say "skipped".
        "--features",
        "webgpu",
    ]);
    count::tests(
        command.current_dir(context.project.root()),
        count::cargo_test,
    )
}

fn build(context: &Context) -> Result<Outcome> {
    build::all(context.project, &context.tools.wasm, Effort::Release)?;
    Ok(Outcome::PASSED)
}

/// The vector kernels of both everyday builds against the scalar ones. What relaxed SIMD gives depends on the processor, and
/// node's is wrong: those run in the browser, with and without the dot products of newer processors.
fn kernels(context: &Context) -> Result<Outcome> {
    let script = context.project.path("examples/kernel_check.mjs");
    let check = |variant, args: &[&str]| {
        let (project, toolchain) = (context.project, &context.tools.wasm);
        let module = build::wasm_example(project, toolchain, variant, "kernel_check")?;
        let mut command = Command::new("node");
        command.arg(&script).arg(module).args(args);
        count::check(command.env("CHROMIUM", &context.tools.chromium))
    };
    let mut outcome = check("simd", &[])?;
    outcome.add(check("relaxed_threads", &["--chromium"])?);
    let older = ["--chromium", "--no-enable-avx-vnni"];
    outcome.add(check("relaxed_threads", &older)?);
    Ok(outcome)
}

fn conformance_on_host(context: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for backend in [Backend::Reference, Backend::Cpu] {
        outcome.add(conformance(context, backend, Place::Host, &FOLDERS, &[])?);
    }
    Ok(outcome)
}

/// Both builds that the tests make, and a few models on what a browser may lack or be asked for.
fn conformance_in_browser(context: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let plain = Variant {
        plain: true,
        ..Variant::default()
    };
    for variant in [plain, threads(2)] {
        let place = Place::Browser(variant, "f32");
        outcome.add(conformance(context, Backend::Cpu, place, &FOLDERS, &[])?);
    }
    let older_processor = Variant {
        js_flags: Some("--no-enable-avx-vnni".to_owned()),
        ..threads(1)
    };
    for place in [
        Place::Browser(older_processor, "f32"),
        Place::Browser(threads(1), "q8_0"),
    ] {
        outcome.add(conformance(
            context,
            Backend::Cpu,
            place,
            &["models"],
            &FEW,
        )?);
    }
    Ok(outcome)
}

fn threads(count: usize) -> Variant {
    Variant {
        threads: Some(count),
        ..Variant::default()
    }
}

/// Models whose weights, and with them the multiplications, are of different kinds.
const FEW: [&str; 5] = [
    "gemma2",
    "llama-mix-Q4_K_M",
    "llama-q-IQ4_NL",
    "llama-q-Q8_0",
    "qwen3",
];

/// Each kind of model and each storage of weights once: a software adapter compiles, checks and computes for ten seconds a
/// model. The whole of the fixtures runs on the GPU on the host.
const ON_GPU: [&str; 14] = [
    "bert",
    "gemma3-mix-Q4_0",
    "gpt-oss-q-MXFP4",
    "lfm2",
    "llama-mix-Q4_K_M",
    "llama-q-BF16",
    "llama-q-F16",
    "llama-q-Q4_1",
    "llama-q-Q8_0",
    "phi3",
    "qwen2",
    "qwen35",
    "qwen3moe-q-Q4_0",
    "t5",
];

/// In the build for several threads, whose objects of the GPU must stay on one.
fn conformance_on_gpu(context: &Context) -> Result<Outcome> {
    let place = Place::Browser(threads(2), "f32");
    conformance(context, Backend::Gpu, place, &["models"], &ON_GPU)
}

/// Its compiler of WebAssembly and its WebGPU are others than Chromium's. Its GPU is the system's, which may have none.
fn conformance_in_firefox(context: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    if context.tools.firefox.is_none() {
        println!("skipped: there is no Firefox");
        return Ok(outcome);
    }
    let variant = Variant {
        browser: Browser::Firefox,
        ..threads(2)
    };
    for (backend, only) in [(Backend::Cpu, &[][..]), (Backend::Gpu, &ON_GPU)] {
        let place = Place::Browser(variant.clone(), "f32");
        outcome.add(conformance(context, backend, place, &["models"], only)?);
    }
    Ok(outcome)
}

/// Safari's compiler of WebAssembly.
fn conformance_in_webkit(context: &Context) -> Result<Outcome> {
    if context.tools.webkit.is_none() {
        println!("skipped: there is no WebKitGTK");
        return Ok(Outcome::default());
    }
    let variant = Variant {
        browser: Browser::WebKit,
        ..threads(2)
    };
    let place = Place::Browser(variant, "f32");
    conformance(context, Backend::Cpu, place, &FOLDERS, &[])
}

/// Folders of the fixtures.
const FOLDERS: [&str; 3] = ["models", "tokenizers", "chat"];

/// Where questions are answered.
enum Place {
    Host,
    /// With a type of the KV cache.
    Browser(Variant, &'static str),
}

/// Some folders of fixtures; a file counts as one test.
fn conformance(
    context: &Context,
    backend: Backend,
    place: Place,
    folders: &[&str],
    only: &[&str],
) -> Result<Outcome> {
    let (variant, kv_type, place) = match place {
        Place::Host => (None, "f32", "host"),
        Place::Browser(variant, kv_type) => {
            let place = variant.browser.name();
            (Some(variant), kv_type, place)
        }
    };
    let place = format!("conformance/{place}-{}", backend.name());
    // Nothing of an earlier run may stand in for an answer that did not come.
    let _ = std::fs::remove_dir_all(context.project.cache(&place));
    let mut outcome = Outcome::default();
    for folder in folders {
        let options = conformance::Options {
            expected: context.project.path("tests/fixtures").join(folder),
            results: context.project.cache(&format!("{place}/{folder}")),
            backend,
            kv_type: kv_type.to_owned(),
            browser: variant.clone(),
            check: true,
            only: only.iter().map(|name| (*name).to_owned()).collect(),
        };
        match &variant {
            Some(variant) => {
                let program = match variant.browser {
                    Browser::Chromium => Some(&context.tools.chromium),
                    Browser::Firefox => context.tools.firefox.as_ref(),
                    Browser::WebKit => context.tools.webkit.as_ref(),
                };
                let program = program.context("no such browser here")?;
                conformance::in_browser(context.project, program, &options, variant)?
            }
            None => conformance::on_host(context.project, &options)?,
        }
        let by_firefox = (variant.as_ref()).is_some_and(|it| it.browser == Browser::Firefox);
        if by_firefox && backend == Backend::Gpu && is_empty(&options.results) {
            println!("skipped: Firefox offers no GPU here");
            continue;
        }
        let count = conformance::compare(&options)?;
        outcome.add(Outcome {
            passed: count.right,
            failed: count.wrong,
        });
    }
    Ok(outcome)
}

fn is_empty(folder: &Path) -> bool {
    (folder.read_dir()).is_ok_and(|mut entries| entries.next().is_none())
}

fn types(context: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for workspace in WORKSPACES {
        outcome.add(count::check(&mut npm(context, workspace, "check"))?);
    }
    Ok(outcome)
}

fn typescript(context: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for workspace in WORKSPACES {
        outcome.add(count::tests(
            &mut npm(context, workspace, "test"),
            count::node_test,
        )?);
    }
    Ok(outcome)
}

/// One file after the other: each starts a browser of its own.
fn end_to_end(context: &Context) -> Result<Outcome> {
    let site = Site::default().mount("/", context.project.path("www/dist"));
    let running = serve::start(site, 0)?;
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(context.project.path("tests/e2e"))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".spec.mjs") {
            cases.push(path);
        }
    }
    cases.sort();
    let mut command = Command::new("node");
    command
        .args(["--test", "--test-concurrency=1", "--test-reporter=spec"])
        .args(cases)
        .env("INKLING_URL", running.address())
        .env("CHROMIUM", &context.tools.chromium)
        .envs(context.tools.webkit.as_ref().map(|path| ("WEBKIT", path)))
        .current_dir(context.project.root());
    count::tests(&mut command, count::node_test)
}

fn npm(context: &Context, workspace: &str, script: &str) -> Command {
    let mut command = Command::new("npm");
    command
        .args(["run", "--silent", script, "--workspace", workspace])
        .current_dir(context.project.root());
    command
}

fn size(context: &Context) -> Result<Outcome> {
    let within = crate::size::run(context.project)?;
    Ok(if within {
        Outcome::PASSED
    } else {
        Outcome::FAILED
    })
}
