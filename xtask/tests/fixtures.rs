//! The manifest of the fixtures lists what is there.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Files with their sizes, by path relative to `root`.
fn files(root: &Path, folder: &Path, found: &mut BTreeMap<String, u64>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().to_string_lossy();
            let size = path.metadata().unwrap().len();
            found.insert(name.replace('\\', "/"), size);
        }
    }
}

#[test]
fn manifest_lists_every_fixture_with_its_size() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let mut there = BTreeMap::new();
    files(&root, &root, &mut there);
    // The scripts are no fixtures, and prose may change.
    there.retain(|path, _| {
        !path.starts_with("generate/") && !path.ends_with(".md") && path != "MANIFEST.json"
    });
    let text = std::fs::read_to_string(root.join("MANIFEST.json")).unwrap();
    let listed: Vec<Value> = serde_json::from_str(&text).unwrap();
    let listed: BTreeMap<String, u64> = listed
        .iter()
        .map(|entry| {
            (
                entry["path"].as_str().unwrap().to_owned(),
                entry["bytes"].as_u64().unwrap(),
            )
        })
        .filter(|(path, _)| !path.ends_with(".md"))
        .collect();
    assert_eq!(listed, there, "run tests/fixtures/generate/manifest.py");
}
