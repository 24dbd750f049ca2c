//! Work done in a headless browser: our pages under `xtask/browser/`, served with the npm package and some files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::process::run as run_command;
use crate::project::Project;
use crate::serve::{self, Reply, Request, Site};

/// Which WebGPU adapter the browser has.
#[derive(Clone, Copy)]
pub enum Adapter {
    None,
    /// Chromium's own: right and slow.
    Software,
    /// The machine's.
    Hardware,
}

impl Adapter {
    /// As `xtask/browser/chromium.mjs` calls it.
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Software => "software",
            Self::Hardware => "hardware",
        }
    }
}

/// Whose browser.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Browser {
    #[default]
    Chromium,
    Firefox,
    /// WebKitGTK: the engine of Safari, as far as Linux has it.
    WebKit,
}

impl Browser {
    /// As `xtask/browser/drive.mjs` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
            Self::WebKit => "webkit",
        }
    }

    /// The environment's variable that holds its path.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Chromium => "CHROMIUM",
            Self::Firefox => "FIREFOX",
            Self::WebKit => "WEBKIT",
        }
    }
}

/// Which build of the engine runs, and on what.
#[derive(Clone, Default)]
pub struct Variant {
    pub browser: Browser,
    /// Absent: as many as the package takes by itself.
    pub threads: Option<usize>,
    /// The build for browsers without relaxed SIMD; it has one thread.
    pub plain: bool,
    /// For V8, such as `--no-enable-avx-vnni`, which makes an older processor of this one.
    pub js_flags: Option<String>,
}

impl Variant {
    /// Options of `Engine.load`.
    fn options(&self) -> Value {
        json!({
            "threads": self.threads,
            "wasmUrl": self.plain.then_some("/pkg/inkling_bg.wasm"),
        })
    }
}

/// What the page has to do.
pub struct Job {
    /// Read by `xtask/browser/main.js`, beside `engine`: options of the variant.
    pub description: Value,
    /// The engine to do it with.
    pub variant: Variant,
    /// The browser's WebGPU adapter. Firefox has one, the machine's, be it a driver in software; WebKit has none on Linux.
    pub webgpu: Adapter,
    /// Served under `/files/`.
    pub files: PathBuf,
    /// Where `POST /results/NAME` puts its body; without one it is printed.
    pub results: Option<PathBuf>,
    /// Another engine's package, served under `/peer/`.
    pub peer: Option<PathBuf>,
}

/// Serves the job, runs the page to its end in the browser that is `program`, fails when it fails.
pub fn run(project: &Project, program: &Path, mut job: Job) -> Result<()> {
    job.description["engine"] = job.variant.options();
    let adapter = job.webgpu.name();
    let Variant {
        browser, js_flags, ..
    } = job.variant.clone();
    let mut site = Site::default()
        .mount("/", project.path("xtask/browser"))
        .mount("/pkg/", project.path("pkg/dist"))
        .mount("/model.gguf", project.default_model()?)
        .mount("/files/", &job.files);
    if let Some(peer) = &job.peer {
        site = site.mount("/peer/", peer);
    }
    let site = site.handler(Box::new(move |request| answer(&job, request)));
    let running = serve::start(site, 0)?;
    run_command(
        Command::new("node")
            .arg(project.path("xtask/browser/drive.mjs"))
            .args([browser.name(), &running.address()])
            .arg(adapter)
            .args(js_flags)
            .env(browser.variable(), program)
            .current_dir(project.root()),
    )
}

fn answer(job: &Job, request: &Request) -> Option<Reply> {
    if request.path == "/job.json" {
        return Some(Reply::text(200, &job.description.to_string()));
    }
    let name = request.path.strip_prefix("/results/")?;
    if request.method != "POST" {
        return None;
    }
    Some(match keep(job, name, &request.body) {
        Ok(()) => Reply::text(200, "kept"),
        Err(error) => Reply::text(500, &format!("{error:#}")),
    })
}

fn keep(job: &Job, name: &str, body: &[u8]) -> Result<()> {
    let Some(folder) = &job.results else {
        println!("{}", String::from_utf8_lossy(body));
        return Ok(());
    };
    let name = serve::decode(name).context("not a name")?;
    let file = Path::new(&name).file_name().context("not a name")?;
    std::fs::write(folder.join(file), body)?;
    Ok(())
}
