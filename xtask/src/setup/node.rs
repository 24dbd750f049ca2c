//! Node.js, npm, and the packages of the lock file.

use std::process::Command;

use anyhow::{Result, bail};

use super::apt;
use crate::fingerprint::Fingerprint;
use crate::process::{probe, run};
use crate::progress::{ready as in_order, step};
use crate::project::Project;

/// Vite's own floor.
const OLDEST: (u32, u32) = (20, 19);

/// Finds or installs Node.js, then installs the npm packages if the lock file changed since the last time.
pub fn ready(project: &Project) -> Result<()> {
    let version = node()?;
    let mut inputs = Fingerprint::new(&version);
    for file in [
        "package.json",
        "package-lock.json",
        "pkg/package.json",
        "www/package.json",
    ] {
        inputs.add(&project.path(file))?;
    }
    let stamp = project.path("node_modules/.xtask-stamp");
    if inputs.matches(&stamp) {
        in_order(&format!("Node.js {version}, npm packages as locked"));
        return Ok(());
    }
    step("Installing npm packages", || {
        run(Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(project.root()))
    })?;
    inputs.write(&stamp)
}

fn node() -> Result<String> {
    if let Some(version) = usable() {
        return Ok(version);
    }
    let debian = apt::is_here()
        && apt::candidate("nodejs").is_some_and(|version| parse(&version) >= Some(OLDEST));
    if debian {
        apt::install(&["nodejs", "npm"])?;
    }
    match usable() {
        Some(version) => Ok(version),
        None => bail!(
            "Node.js {}.{} or newer with npm is needed: install it {}, then run the command again",
            OLDEST.0,
            OLDEST.1,
            if cfg!(target_os = "macos") {
                "(`brew install node`)"
            } else {
                "from your system's packages or through a version manager"
            }
        ),
    }
}

fn usable() -> Option<String> {
    let version = probe(Command::new("node").arg("--version"))?;
    let version = version.trim_start_matches('v').to_owned();
    probe(Command::new("npm").arg("--version"))?;
    (parse(&version) >= Some(OLDEST)).then_some(version)
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}
