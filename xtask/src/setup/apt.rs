//! Debian's package client, where there is one.

use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Result, bail};

use crate::process::{find_program, probe, run};
use crate::progress::{note, step};

/// Installs packages, or fails with the command to type. Never removes a package to make room for another.
pub fn install(packages: &[&str]) -> Result<()> {
    let Some(mut command) = privileged("apt-get") else {
        bail!("please run this and try again:\n  {}", advice(packages));
    };
    update();
    step(&format!("Installing {}", packages.join(", ")), || {
        command
            .args([
                "install",
                "--yes",
                "--quiet",
                "--no-remove",
                "--no-install-recommends",
            ])
            .args(["-o", "Dpkg::Use-Pty=0"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command)
    })
}

/// What to type where xtask may not install.
pub fn advice(packages: &[&str]) -> String {
    format!(
        "sudo apt-get update && sudo apt-get install {}",
        packages.join(" ")
    )
}

/// Is this a Debian-like system at all?
pub fn is_here() -> bool {
    find_program("apt-get").is_some() && find_program("dpkg").is_some()
}

/// The version that `install` would bring, without epoch and revision: "1.96.0".
pub fn candidate(package: &str) -> Option<String> {
    update();
    let policy = probe(Command::new("apt-cache").args(["policy", package]))?;
    let line = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate:"))?;
    let version = line.trim().rsplit(':').next()?;
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.');
    let version = &version[..end.unwrap_or(version.len())];
    (!version.is_empty()).then(|| version.to_owned())
}

/// The packages that this one depends on.
pub fn depends(package: &str) -> Vec<String> {
    let text = probe(Command::new("apt-cache").args(["depends", package])).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: ").map(str::to_owned))
        .collect()
}

/// Fresh machines have no package lists yet. Done once a run, and a failure shows later, where it matters.
fn update() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        if let Some(mut command) = privileged("apt-get") {
            let done = step("Refreshing the list of Debian packages", || {
                run(command.args(["update", "--quiet", "--quiet"]))
            });
            if let Err(error) = done {
                note(&format!("{error:#}; going on with the lists at hand"));
            }
        }
    });
}

/// A command with the right to change the system, if that can be had without a question.
fn privileged(program: &str) -> Option<Command> {
    if probe(Command::new("id").arg("-u"))?.as_str() == "0" {
        return Some(Command::new(program));
    }
    find_program("sudo")?;
    probe(Command::new("sudo").args(["-n", "true"]))?;
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    Some(command)
}
