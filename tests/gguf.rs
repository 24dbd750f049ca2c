//! The container against the fixtures: whole headers, prefixes, splits.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests

use std::path::{Path, PathBuf};

use inkling::gguf::{self, GgufFile, Parsed};

fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut files: Vec<_> = ["models", "tokenizers"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "gguf")
        })
        .collect();
    files.sort();
    files
}

fn parse(bytes: &[u8]) -> GgufFile {
    match gguf::parse(bytes, bytes.len() as u64).unwrap() {
        Parsed::Done(file) => file,
        Parsed::NeedMore(n) => panic!("the whole file is there, {n} bytes were asked for"),
    }
}

#[test]
fn every_fixture_parses() {
    for path in fixtures() {
        let file = parse(&std::fs::read(&path).unwrap());
        for tensor in &file.tensors {
            assert_eq!(
                file.tensor(&tensor.name),
                Some(tensor),
                "{}",
                path.display()
            );
            assert!(
                tensor.offset >= file.data_offset && tensor.offset + tensor.bytes <= file.file_size
            );
        }
        assert_eq!(file.tensor("no such tensor"), None);
    }
}
