//! `cargo xtask chat`: from a fresh clone to the page in the browser.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::build::{self, Effort};
use crate::process::find_program;
use crate::progress::{bytes, note};
use crate::project::Project;
use crate::serve::{self, Site};
use crate::setup;

const PORT: u16 = 8080;
/// Where the page finds the file that `--model` names; a split file's shards keep their numbers.
const MODEL_ADDRESS: &str = "/local-model";

pub struct Options {
    pub port: Option<u16>,
    pub model: Option<PathBuf>,
    pub open: bool,
}

/// Sets up, builds, serves until interrupted.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let shards = match &options.model {
        Some(model) => shards(model)?,
        None => Vec::new(),
    };
    let toolchain = setup::for_build(project)?;
    build::all(project, &toolchain, Effort::Release)?;
    let mut site = Site::default().mount("/", project.path("www/dist"));
    for (address, file) in &shards {
        site = site.mount(address, file);
    }

    let wanted = options.port.unwrap_or(PORT);
    let running = serve::start(site, wanted)?;
    if running.port != wanted && wanted != 0 {
        note(&format!("Port {wanted} is taken; using {}", running.port));
    }
    let mut address = running.address();
    if let Some((model, _)) = shards.first() {
        address = format!("{address}?model={model}");
    }
    println!("\nInkling is ready: {address}\nStop it with Ctrl-C.");
    if options.open {
        open(&address);
    }
    loop {
        std::thread::park();
    }
}

/// The files of a model with the address of each: one, or all shards of a split file whose first one was named.
fn shards(model: &Path) -> Result<Vec<(String, PathBuf)>> {
    let folder = model.parent().unwrap_or(Path::new(""));
    let name = model
        .file_name()
        .and_then(|name| name.to_str())
        .context("--model names no file")?;
    let names = match split_name(name) {
        Some((stem, 1, count)) => (1..=count).map(|n| shard_name(stem, n, count)).collect(),
        Some(_) => bail!("{name} is one of several shards: name the first one"),
        None => vec![name.to_owned()],
    };
    let mut files = Vec::new();
    for name in &names {
        let file = folder.join(name);
        let meta = std::fs::metadata(&file).with_context(|| file.display().to_string())?;
        if !meta.is_file() {
            bail!("{} is not a file", file.display());
        }
        println!("Your model: {} ({})", file.display(), bytes(meta.len()));
        let address = match split_name(name) {
            Some((_, n, count)) => shard_name(MODEL_ADDRESS, n, count),
            None => format!("{MODEL_ADDRESS}.gguf"),
        };
        files.push((address, file.canonicalize()?));
    }
    Ok(files)
}

/// `stem-00001-of-00003.gguf` in its three parts.
fn split_name(name: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    if number.len() != 5 || count.len() != 5 {
        return None;
    }
    Some((stem, number.parse().ok()?, count.parse().ok()?))
}

fn shard_name(stem: &str, number: u32, count: u32) -> String {
    format!("{stem}-{number:05}-of-{count:05}.gguf")
}

/// Shows the page, where there is a screen to show it on.
fn open(address: &str) {
    let display = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    let program = match cfg!(target_os = "macos") {
        true if std::env::var_os("SSH_CONNECTION").is_none() => "open",
        false if display => "xdg-open",
        _ => return,
    };
    if std::env::var_os("CI").is_some() || find_program(program).is_none() {
        return;
    }
    let started = Command::new(program)
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if started.is_err() {
        note("no browser could be started; open the address yourself");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_files_are_known_by_their_names() {
        assert_eq!(split_name("a-b-00002-of-00003.gguf"), Some(("a-b", 2, 3)));
        assert_eq!(shard_name("a-b", 2, 3), "a-b-00002-of-00003.gguf");
        assert_eq!(split_name("best-of-5.gguf"), None);
        assert_eq!(split_name("model.gguf"), None);
    }

    #[test]
    fn all_shards_are_served() {
        let fixture = "../tests/fixtures/models/container-split-00001-of-00003.gguf";
        let shards = shards(&Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture)).unwrap();
        assert_eq!(shards.len(), 3);
        assert_eq!(shards[2].0, "/local-model-00003-of-00003.gguf");
    }
}
