//! What cannot run is refused by the header alone, with its name and what would run.

#![allow(clippy::unwrap_used)]

mod common;

use common::{fixtures, patched};
use inkling::engine::{LoadOptions, check_header};
use inkling::gguf;

/// Checks a file by as few of its first bytes as will do; says how many these were.
fn check(bytes: &[u8], options: &LoadOptions) -> (usize, inkling::Result<()>) {
    let (read, result) = check_files(&[bytes.to_vec()], options);
    (read[0], result)
}

/// The same for all files of a model.
fn check_files(files: &[Vec<u8>], options: &LoadOptions) -> (Vec<usize>, inkling::Result<()>) {
    let mut headers = gguf::Headers::new(files.len());
    let mut read = vec![0; files.len()];
    let mut read_all = || {
        for (file, bytes) in files.iter().enumerate() {
            while let Some(needed) = headers.read(file, &bytes[..read[file]], bytes.len() as u64)? {
                read[file] = needed as usize;
            }
        }
        let joined = headers.join()?;
        check_header(&joined.unwrap(), options)
    };
    let result = read_all();
    (read, result)
}

fn model(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join("models").join(format!("{name}.gguf"))).unwrap()
}

#[test]
fn every_fixture_passes_by_its_header() {
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures().join("models")).unwrap() {
        let path = entry.unwrap().path();
        let is_shard = path.to_string_lossy().contains("-of-");
        if path.extension().is_some_and(|e| e == "gguf") && !is_shard {
            let bytes = std::fs::read(&path).unwrap();
            let (_, result) = check(&bytes, &LoadOptions::default());
            assert_eq!(result, Ok(()), "{}", path.display());
            count += 1;
        }
    }
    assert!(count > 70);
}

#[test]
fn what_is_unknown_is_named_before_any_weight_is_read() {
    let good = model("llama-gqa");
    let header = check(&good, &LoadOptions::default()).0;
    assert!(header < good.len() / 2);
    // A key is followed by its type and the length of its value; a tensor's name by its shape.
    let (key, shape) = (4 + 8, 4 + 16);
    let cases = [
        (
            patched(&good, "general.architecture", key..key + 5, b"llamb"),
            "unsupported_architecture",
            "llamb",
            "qwen3",
        ),
        (
            patched(&good, "blk.0.attn_q.weight", shape..shape + 1, &[99]),
            "unsupported_type",
            "99",
            "Q4_K",
        ),
        (
            patched(&good, "blk.0.attn_", 0..1, b"x"),
            "bad_tensor",
            "blk.0.attn_x",
            "llama",
        ),
        (
            patched(&good, "tokenizer.ggml.pre", key..key + 6, b"smoll9"),
            "unsupported_tokenizer",
            "smoll9",
            "llama-bpe",
        ),
    ];
    for (bytes, code, name, supported) in cases {
        let (read, result) = check(&bytes, &LoadOptions::default());
        let error = result.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.to_string().contains(supported), "{error}");
        assert!(read <= header, "{code}: {read} bytes");
    }
}

#[test]
fn a_split_model_is_checked_by_the_headers_of_all_shards() {
    let shard = |number| model(&format!("container-split-0000{number}-of-00003"));
    let good: Vec<_> = (1..=3).map(shard).collect();
    let options = LoadOptions::default();
    assert_eq!(check_files(&good, &options).1, Ok(()));
    let turned: Vec<_> = good.iter().rev().cloned().collect();
    assert_eq!(check_files(&turned, &options).1, Ok(()));
    let error = check_files(&good[..2], &options).1.unwrap_err();
    assert!(
        error.to_string().contains("split into 3 files but 2"),
        "{error}"
    );
    // In a later shard, by its header alone.
    let mut odd = good.clone();
    let name = b"output_norm.weight";
    let at = odd
        .iter()
        .position(|bytes| bytes.windows(name.len()).any(|window| window == name))
        .unwrap();
    odd[at] = patched(&good[at], "output_norm.", 0..1, b"x");
    let error = check_files(&odd, &options).1.unwrap_err();
    assert_eq!(error.code(), "missing_tensor", "{error}");
    assert!(error.to_string().contains("output_norm.weight"), "{error}");
}

#[test]
fn options_are_heeded() {
    let odd = patched(&model("llama-gqa"), "tokenizer.ggml.pre", 12..18, b"smoll9");
    let options = LoadOptions {
        pre_tokenizer: Some("smollm".into()),
        ..LoadOptions::default()
    };
    assert_eq!(check(&odd, &options).1, Ok(()));
    let vocab = std::fs::read(fixtures().join("tokenizers/tok-spm.gguf")).unwrap();
    let options = LoadOptions {
        vocab_only: true,
        ..LoadOptions::default()
    };
    assert_eq!(check(&vocab, &options).1, Ok(()));
    assert!(check(&vocab, &LoadOptions::default()).1.is_err());
}
