//! The suites, from the quick and local to the slow and whole.

use std::process::Command;

use anyhow::Result;

use super::count::{self, Outcome};
use super::{Context, Suite};
use crate::build::{self, Effort};
use crate::conformance::{self, Backend};
use crate::serve::{self, Site};

pub const ALL: [Suite; 12] = [
    Suite {
        name: "format",
        title: "Formatting (rustfmt, Prettier)",
        run: format,
    },
    Suite {
        name: "clippy",
        title: "Lints (clippy, host and wasm)",
        run: clippy,
    },
    Suite {
        name: "rust",
        title: "Rust tests",
        run: rust,
    },
    Suite {
        name: "build",
        title: "Build (wasm, npm package, page)",
        run: build,
    },
    Suite {
        name: "kernels",
        title: "Kernels as wasm",
        run: kernels,
    },
    Suite {
        name: "conformance",
        title: "Known answers, on the host",
        run: conformance_on_host,
    },
    Suite {
        name: "conformance-browser",
        title: "Known answers, in the browser",
        run: conformance_in_browser,
    },
    Suite {
        name: "conformance-gpu",
        title: "Known answers, on WebGPU in the browser",
        run: conformance_on_gpu,
    },
    Suite {
        name: "types",
        title: "TypeScript, strict",
        run: types,
    },
    Suite {
        name: "ts",
        title: "TypeScript tests",
        run: typescript,
    },
    Suite {
        name: "e2e",
        title: "The page, end to end in the browser",
        run: end_to_end,
    },
    Suite {
        name: "size",
        title: "Size of the download",
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

fn kernels(context: &Context) -> Result<Outcome> {
    let module = build::wasm_example(context.project, &context.tools.wasm, "kernel_check")?;
    let script = context.project.path("examples/kernel_check.mjs");
    count::check(Command::new("node").arg(script).arg(module))
}

fn conformance_on_host(context: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for backend in [Backend::Reference, Backend::Cpu] {
        outcome.add(conformance(context, backend, None, &FOLDERS, &[])?);
    }
    Ok(outcome)
}

/// With one thread and with two: these are different builds of the engine.
fn conformance_in_browser(context: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for threads in [1, 2] {
        outcome.add(conformance(
            context,
            Backend::Cpu,
            Some(threads),
            &FOLDERS,
            &[],
        )?);
    }
    Ok(outcome)
}

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
    conformance(context, Backend::Gpu, Some(2), &["models"], &ON_GPU)
}

/// Folders of the fixtures.
const FOLDERS: [&str; 3] = ["models", "tokenizers", "chat"];

/// Some folders of fixtures, in the browser if a number of threads is given; a file counts as one test.
fn conformance(
    context: &Context,
    backend: Backend,
    threads: Option<usize>,
    folders: &[&str],
    only: &[&str],
) -> Result<Outcome> {
    let name = backend.name();
    let place = threads.map_or(format!("host-{name}"), |count| {
        format!("browser-{name}-{count}")
    });
    let mut outcome = Outcome::default();
    for folder in folders {
        let options = conformance::Options {
            expected: context.project.path("tests/fixtures").join(folder),
            results: context
                .project
                .cache(&format!("conformance/{place}/{folder}")),
            backend,
            kv_type: "f32".to_owned(),
            browser: threads.is_some(),
            threads,
            check: true,
            only: only.iter().map(|name| (*name).to_owned()).collect(),
        };
        if options.browser {
            conformance::in_browser(context.project, &context.tools.browser, &options)?;
        } else {
            conformance::on_host(context.project, &options)?;
        }
        let count = conformance::compare(&options)?;
        outcome.add(Outcome {
            passed: count.right,
            failed: count.wrong,
        });
    }
    Ok(outcome)
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
        .env("CHROMIUM", &context.tools.browser)
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
