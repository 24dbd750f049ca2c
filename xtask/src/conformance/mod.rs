//! `cargo xtask conformance`: answers of the engine to a folder of questions, on the host or in a browser.
//!
//! For each `NAME.expected.json` and `NAME.tokens.json` beside its `NAME.gguf`, for `jinja-features.json` and for
//! `chat-templates.json` it writes a `….result.json`; with `--check` it compares them too.

mod agreement;
mod check;
mod docs;
mod families;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

pub use check::Backend;
use check::Finding;
pub use docs::write as write_docs;

use crate::browser::{self, Adapter, Job, Variant};
use crate::build::{self, Effort};
use crate::process::run as run_command;
use crate::progress::step;
use crate::project::Project;
use crate::setup;

pub struct Options {
    pub expected: PathBuf,
    pub results: PathBuf,
    pub backend: Backend,
    /// Type of the KV cache: `f32` (as the known answers have it) or `f16`.
    pub kv_type: String,
    /// In the browser, with this engine; else on the host.
    pub browser: Option<Variant>,
    pub check: bool,
    /// Names of the only questions to ask; none of them: ask all.
    pub only: Vec<String>,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

/// How many files were right, and how many wrong.
pub struct Count {
    pub right: usize,
    pub wrong: usize,
}

/// The whole command: setup, results, and the comparison if it is asked for.
pub fn run(project: &Project, options: &Options) -> Result<bool> {
    if let Some(variant) = &options.browser {
        let toolchain = setup::for_build(project)?;
        build::all(project, &toolchain, Effort::Release)?;
        in_browser(project, &setup::browser(variant.browser)?, options, variant)?;
    } else {
        on_host(project, options)?;
    }
    if !options.check {
        return Ok(true);
    }
    let count = compare(options)?;
    Ok(count.wrong == 0 && count.right > 0)
}

/// Makes the results with the engine compiled for this machine.
pub fn on_host(project: &Project, options: &Options) -> Result<()> {
    step("Compiling the engine for this machine", || {
        run_command(native(project, "build", options.backend).arg("--quiet"))
    })?;
    let title = format!("Answering on the host, backend {}", options.backend.name());
    step(&title, || {
        run_command(
            native(project, "run", options.backend)
                .args(["--quiet", "--", "conformance"])
                .args([absolute(&options.expected)?, absolute(&options.results)?])
                .args([options.backend.name(), &options.kv_type])
                .args(&options.only),
        )
    })
}

/// In the profile of the tests: they share its compiled dependencies.
fn native(project: &Project, subcommand: &str, backend: Backend) -> Command {
    let mut command = Command::new("cargo");
    command
        .args([subcommand, "--package", "xtask-native", "--profile", "test"])
        .current_dir(project.root());
    if backend == Backend::Gpu {
        command.args(["--features", "webgpu"]);
    }
    command
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}

/// Makes the results in a browser, through the npm package.
pub fn in_browser(
    project: &Project,
    program: &Path,
    options: &Options,
    variant: &Variant,
) -> Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&options.expected)
        .with_context(|| options.expected.display().to_string())?
    {
        let file = entry?.file_name().to_string_lossy().into_owned();
        if check::name(&file).is_none_or(|name| options.wants(name)) {
            files.push(file);
        }
    }
    files.sort();
    std::fs::create_dir_all(&options.results)?;
    let title = format!(
        "Answering in the browser, backend {}",
        options.backend.name()
    );
    let job = Job {
        description: json!({
            "kind": "conformance",
            "backend": options.backend.name(),
            "kvType": options.kv_type,
            "files": files,
        }),
        variant: variant.clone(),
        webgpu: match options.backend {
            Backend::Gpu => Adapter::Software,
            _ => Adapter::None,
        },
        files: options.expected.clone(),
        results: Some(options.results.clone()),
        peer: None,
    };
    step(&title, || browser::run(project, program, job))
}

/// Prints a line for each file and counts.
pub fn compare(options: &Options) -> Result<Count> {
    let wanted = |name: &str| options.wants(name);
    let verdicts = check::folder(&options.expected, &options.results, options.backend, wanted)?;
    let mut count = Count { right: 0, wrong: 0 };
    for verdict in &verdicts {
        let (mark, text) = match &verdict.finding {
            Finding::Right(text) => {
                count.right += 1;
                ("ok", text)
            }
            Finding::Wrong(text) => {
                count.wrong += 1;
                ("WRONG", text)
            }
        };
        println!("{:<34} {mark:<8} {text}", verdict.name);
    }
    println!("{} right, {} wrong", count.right, count.wrong);
    Ok(count)
}
