//! `cargo xtask size`: what a visitor downloads before the model.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::progress::bytes;
use crate::project::Project;

/// For wasm and JavaScript together, as gzip sends them.
const BUDGET: u64 = 1_000_000;
/// What a visit does not take by itself: models are what the visitor chose, and licences are there to be read.
const APART: [&str; 2] = ["gguf", "txt"];

#[derive(Clone, Copy, Default)]
struct Sizes {
    raw: u64,
    gzip: u64,
    brotli: u64,
}

impl Sizes {
    fn of(content: &[u8]) -> Result<Self> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(content)?;
        let mut brotli = Vec::new();
        let options = brotli::enc::BrotliEncoderParams {
            quality: 11,
            lgwin: 22,
            size_hint: content.len(),
            ..Default::default()
        };
        brotli::BrotliCompress(&mut &content[..], &mut brotli, &options)?;
        Ok(Self {
            raw: content.len() as u64,
            gzip: gzip.finish()?.len() as u64,
            brotli: brotli.len() as u64,
        })
    }

    fn add(&mut self, other: Self) {
        self.raw += other.raw;
        self.gzip += other.gzip;
        self.brotli += other.brotli;
    }

    fn print(&self, name: &str) {
        let Self { raw, gzip, brotli } = self;
        println!(
            "{name:<44} {:>10} {:>10} {:>10}",
            bytes(*raw),
            bytes(*gzip),
            bytes(*brotli)
        );
    }
}

/// Prints the table; true when wasm and JavaScript are within the budget.
pub fn run(project: &Project) -> Result<bool> {
    let folder = project.path("www/dist");
    let mut files = Vec::new();
    collect(&folder, &mut files).context("www/dist: run `cargo xtask build` first")?;
    files.sort();

    println!(
        "{:<44} {:>10} {:>10} {:>10}",
        "file", "raw", "gzip", "brotli"
    );
    let mut code = Sizes::default();
    let mut rest = Sizes::default();
    // A visitor downloads one of the builds: the largest counts.
    let mut engine = Sizes::default();
    for file in &files {
        let extension = file
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default();
        if APART.contains(&extension) {
            continue;
        }
        let sizes = Sizes::of(&std::fs::read(file)?)?;
        sizes.print(&file.strip_prefix(&folder)?.to_string_lossy());
        match extension {
            "wasm" if sizes.gzip > engine.gzip => engine = sizes,
            "wasm" => {}
            "js" | "mjs" => code.add(sizes),
            _ => rest.add(sizes),
        }
    }
    code.add(engine);
    rest.add(code);
    rest.print("one visit: the largest wasm and the rest");
    code.print("of it wasm and JavaScript");
    let within = code.gzip <= BUDGET && code.gzip > 0;
    let verdict = if within { "within" } else { "NOT within" };
    println!(
        "{} of gzip: {verdict} the budget of {}",
        bytes(code.gzip),
        bytes(BUDGET)
    );
    Ok(within)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
