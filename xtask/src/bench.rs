//! `cargo xtask bench`: tokens a second on this machine, as JSON lines.
//!
//! What is measured stands in `benches/cases.json`. Only measured numbers are printed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::browser::{self, Adapter, Job, Variant};
use crate::build::{self, Effort};
use crate::process::print;
use crate::project::Project;
use crate::setup;

const CASES: &str = "benches/cases.json";

pub struct Options {
    /// Empty: the model that the page is served with.
    pub models: Vec<PathBuf>,
    pub native: bool,
    pub browser: bool,
    /// What the GPU makes of the models, instead of the rest.
    pub gpu: Option<Gpu>,
    /// The browser's engine.
    pub variant: Variant,
    /// Whether wllama runs beside ours, instead of the rest.
    pub peer: bool,
}

/// How to measure the GPU.
#[derive(Clone, Copy, PartialEq)]
pub enum Gpu {
    /// The machine's own, in full.
    Full,
    /// The browser's software adapter and the smallest amounts: shows that the measurement works, not what is fast.
    Quick,
}

/// Measures on the host, then in a headless browser.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let mut models = Vec::new();
    for model in &options.models {
        models.push(
            model
                .canonicalize()
                .with_context(|| model.display().to_string())?,
        );
    }
    if models.is_empty() {
        models.push(project.default_model()?);
    }
    if options.browser || options.gpu.is_some() {
        let toolchain = setup::for_build(project)?;
        build::all(project, &toolchain, Effort::Release)?;
    }
    if options.native {
        print(
            Command::new("cargo")
                .args([
                    "run",
                    "--quiet",
                    "--release",
                    "--package",
                    "xtask-native",
                    "--",
                    "bench",
                ])
                .arg(project.path(CASES))
                .args(&models)
                .current_dir(project.root()),
        )?;
    }
    if options.browser || options.gpu.is_some() {
        let program = setup::browser(options.variant.browser)?;
        let named = !options.models.is_empty();
        for model in &models {
            in_browser(project, &program, model, options, named)?;
        }
    }
    Ok(())
}

fn in_browser(
    project: &Project,
    program: &Path,
    model: &Path,
    options: &Options,
    named: bool,
) -> Result<()> {
    let gpu = options.gpu;
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(project.path(CASES))?)?;
    let name = model
        .file_name()
        .context("--model names no file")?
        .to_string_lossy();
    let (kind, webgpu) = match gpu {
        None if options.peer => ("bench-peer", Adapter::None),
        None => ("bench", Adapter::None),
        Some(Gpu::Quick) => ("bench-gpu", Adapter::Software),
        Some(Gpu::Full) => ("bench-gpu", Adapter::Hardware),
    };
    let quick = gpu == Some(Gpu::Quick);
    let kernels = gpu.map(|gpu| kernels(project, gpu)).transpose()?;
    let job = Job {
        webgpu,
        // Made-up models of real shapes are for those who name none.
        description: json!({
            "kind": kind, "quick": quick, "kernels": kernels, "shapes": !named, "cases": cases, "models": [name],
        }),
        variant: options.variant.clone(),
        files: model
            .parent()
            .context("--model names no file")?
            .to_path_buf(),
        results: None,
        peer: options.peer.then(|| install_peer(project)).transpose()?,
    };
    browser::run(project, program, job)
}

/// Every variant of the GPU's products, for the page to time.
fn kernels(project: &Project, gpu: Gpu) -> Result<Value> {
    let mut command = Command::new("cargo");
    command
        .args([
            "run",
            "--quiet",
            "--package",
            "xtask-native",
            "--profile",
            "test",
        ])
        .args(["--features", "webgpu", "--", "kernels"])
        .current_dir(project.root());
    if gpu == Gpu::Quick {
        command.arg("quick");
    }
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    anyhow::ensure!(
        output.status.success(),
        "the list of kernels was not written"
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The peer's package, as published, in a folder of its own; gives where it lies.
fn install_peer(project: &Project) -> Result<PathBuf> {
    const PACKAGE: &str = "@wllama/wllama";
    const VERSION: &str = "3.8.1";
    let folder = project.cache("peer");
    let package = folder.join("node_modules").join(PACKAGE);
    std::fs::create_dir_all(&folder)?;
    // A package of its own, or npm would install into ours.
    std::fs::write(folder.join("package.json"), "{ \"private\": true }\n")?;
    crate::progress::step(&format!("Installing {PACKAGE} {VERSION}"), || {
        crate::process::run(
            Command::new("npm")
                .args(["install", "--ignore-scripts", "--no-audit", "--no-fund"])
                .args(["--silent", &format!("{PACKAGE}@{VERSION}")])
                .current_dir(&folder),
        )
    })?;
    Ok(package)
}
