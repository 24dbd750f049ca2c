//! The licences of what is compiled into the engine: most ask to go wherever the code goes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::probe;
use crate::project::Project;

/// Licences that a package offers the choice of, the shortest first.
const PREFERRED: [&str; 3] = ["LICENSE-MIT", "LICENSE-ZLIB", "LICENSE-APACHE"];

/// Writes `pkg/wasm/notices.txt`: each text once, under the names of the packages that have it.
pub fn write(project: &Project) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["metadata", "--format-version", "1", "--features", "webgpu"]);
    command.args(["--filter-platform", "wasm32-unknown-unknown"]);
    let answer = probe(command.current_dir(project.root())).context("cargo metadata failed")?;
    let metadata: Value = serde_json::from_str(&answer)?;
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in compiled_in(&metadata) {
        let [name, version, license, manifest] =
            ["name", "version", "license", "manifest_path"].map(|key| package[key].as_str());
        let title = format!(
            "{} {} ({})",
            name.unwrap_or_default(),
            version.unwrap_or_default(),
            license.unwrap_or("see below")
        );
        let folder = Path::new(manifest.unwrap_or_default()).parent();
        let text = folder.map(licence_in).transpose()?.unwrap_or_default();
        texts.entry(text).or_default().push(title);
    }
    let mut notices =
        "The engine is compiled from Inkling and these packages, and from Rust's standard library \
                       (MIT OR Apache-2.0).\n"
            .to_owned();
    for (text, titles) in texts {
        let rule = "-".repeat(80);
        notices += &format!("\n{rule}\n{}\n\n{}\n", titles.join("\n"), text.trim_end());
    }
    Ok(std::fs::write(
        project.path("pkg/wasm/notices.txt"),
        notices,
    )?)
}

/// All packages that end in the module: not those that only run while it is compiled.
fn compiled_in(metadata: &Value) -> Vec<&Value> {
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let all = metadata["packages"].as_array();
    let packages: BTreeMap<&str, &Value> = (all.into_iter().flatten())
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let nodes = list(&metadata["resolve"]["nodes"]);
    let root = metadata["resolve"]["root"].as_str().unwrap_or_default();
    let mut seen = BTreeSet::from([root.to_owned()]);
    let mut open = vec![root.to_owned()];
    while let Some(id) = open.pop() {
        let node = nodes.iter().find(|node| node["id"] == id.as_str());
        for dep in node.map(|node| list(&node["deps"])).unwrap_or_default() {
            let normal = list(&dep["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null());
            let name = dep["pkg"].as_str().unwrap_or_default();
            let runs_here = packages.get(name).is_some_and(|package| !is_macro(package));
            if normal && runs_here && seen.insert(name.to_owned()) {
                open.push(name.to_owned());
            }
        }
    }
    seen.remove(root);
    let found = seen.iter().filter_map(|id| packages.get(id.as_str()));
    found.copied().collect()
}

fn is_macro(package: &Value) -> bool {
    let targets = package["targets"].as_array();
    (targets.into_iter().flatten()).any(|target| target["kind"][0] == "proc-macro")
}

/// The text of the licence in a package's folder, with its notices.
fn licence_in(folder: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let starts = |name: &str, with: &str| name.to_ascii_uppercase().starts_with(with);
    let preferred = PREFERRED
        .iter()
        .find_map(|&with| names.iter().find(|name| starts(name, with)));
    let any = || {
        names
            .iter()
            .find(|name| starts(name, "LICEN") || starts(name, "COPYING"))
    };
    let notice = names.iter().find(|name| starts(name, "NOTICE"));
    let mut text = String::new();
    for name in preferred.or_else(any).into_iter().chain(notice) {
        let path = folder.join(name);
        if path.is_file() {
            text += &String::from_utf8_lossy(&std::fs::read(path)?);
            text.push('\n');
        }
    }
    Ok(text)
}
