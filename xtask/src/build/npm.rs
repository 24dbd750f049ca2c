//! The npm package (`pkg/`) and the page (`www/`), each by its own `build` script.

use std::process::Command;

use anyhow::Result;

use crate::fingerprint::Fingerprint;
use crate::process::run;
use crate::progress::{ready, step};
use crate::project::Project;

struct Workspace {
    folder: &'static str,
    title: &'static str,
    /// What it is made from beside its own folder.
    inputs: &'static [&'static str],
}

const WORKSPACES: [Workspace; 2] = [
    Workspace {
        folder: "pkg",
        title: "npm package",
        inputs: &["pkg/wasm"],
    },
    Workspace {
        folder: "www",
        title: "page",
        inputs: &["pkg/dist", "models"],
    },
];

/// Runs the build scripts of the workspaces whose inputs changed.
pub fn build(project: &Project) -> Result<()> {
    for workspace in &WORKSPACES {
        if project.path(workspace.folder).join("package.json").exists() {
            workspace.build(project)?;
        }
    }
    Ok(())
}

impl Workspace {
    fn build(&self, project: &Project) -> Result<()> {
        let mut inputs = Fingerprint::new(self.folder);
        let shared = ["package-lock.json", self.folder];
        for input in shared.iter().chain(self.inputs) {
            inputs.add(&project.path(input))?;
        }
        let stamp = project.cache(self.folder);
        let made = project.path(self.folder).join("dist").is_dir();
        if made && inputs.matches(&stamp) {
            ready(&format!("The {} is up to date", self.title));
            return Ok(());
        }
        step(&format!("Building the {}", self.title), || {
            run(Command::new("npm")
                .args(["run", "--silent", "build", "--workspace", self.folder])
                .current_dir(project.root()))
        })?;
        inputs.write(&stamp)
    }
}
