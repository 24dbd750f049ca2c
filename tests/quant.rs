//! Dequantized weights against GGML's: whole models by llama.cpp, random blocks by GGML's Python package.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use inkling::gguf::{self, GgufFile, Parsed};
use inkling::quant::{self, DType};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn dtype(name: &str) -> DType {
    *DType::ALL
        .iter()
        .find(|dtype| dtype.name() == name)
        .unwrap()
}

/// The CRC-32 of zlib over the little-endian bytes.
fn crc32(values: &[f32]) -> u32 {
    let step = |crc: u32, byte: u8| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !values.iter().flat_map(|v| v.to_le_bytes()).fold(!0, step)
}

fn assert_close(actual: f64, expected: f64, relative: f64, what: &str) {
    let error = (actual - expected).abs();
    assert!(
        error <= relative * expected.abs() + f64::from(f32::MIN_POSITIVE),
        "{what}: {actual} is not {expected}"
    );
}

/// The bytes of a model and its parsed header; all shards of a split one.
fn model(first: &Path) -> (Vec<Vec<u8>>, GgufFile) {
    let name = first.to_str().unwrap();
    let mut files = Vec::new();
    let mut headers: Vec<GgufFile> = Vec::new();
    while headers.is_empty() || files.len() < headers[0].split_count().unwrap() {
        let shard = name.replace("-00001-of", &format!("-{:05}-of", files.len() + 1));
        let bytes = std::fs::read(shard).unwrap();
        match gguf::parse(&bytes, bytes.len() as u64).unwrap() {
            Parsed::Done(file) => headers.push(file),
            Parsed::NeedMore(n) => panic!("{n} bytes asked for"),
        }
        files.push(bytes);
    }
    (files, GgufFile::join(headers).unwrap())
}

fn check_tensor(what: &str, expected: &Value, weights: &[f32]) {
    let samples = expected["index"]
        .as_array()
        .unwrap()
        .iter()
        .zip(expected["value"].as_array().unwrap());
    for (index, value) in samples {
        let index = index.as_u64().unwrap() as usize;
        assert_close(
            f64::from(weights[index]),
            value.as_f64().unwrap(),
            1e-6,
            &format!("{what}[{index}]"),
        );
    }
    let sum_sq: f64 = weights.iter().map(|w| f64::from(*w).powi(2)).sum();
    let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    assert_close(
        sum_sq,
        expected["sum_sq"].as_f64().unwrap(),
        1e-6,
        &format!("{what}: sum of squares"),
    );
    let expected_sum = expected["sum"].as_f64().unwrap();
    assert!(
        (sum - expected_sum).abs() <= 1e-6 * (sum_sq.sqrt() + expected_sum.abs()),
        "{what}: sum"
    );
    let crc = expected["crc32_f32le"].as_u64().unwrap();
    assert_eq!(
        u64::from(crc32(weights)),
        crc,
        "{what}: not bit for bit as llama.cpp has it"
    );
}

#[test]
fn models_dequantize_bit_for_bit_as_in_llama_cpp() {
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(fixtures().join("models")).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.to_str().unwrap().strip_suffix(".expected.json") else {
            continue;
        };
        let expected = json(&path);
        let tensors = expected["tensors"].as_array().into_iter().flatten();
        let tensors: Vec<_> = tensors
            .filter(|tensor| tensor.get("index").is_some())
            .collect();
        if tensors.is_empty() {
            continue;
        }
        let (files, file) = model(Path::new(&format!("{name}.gguf")));
        for expected in tensors {
            let tensor = file.tensor(expected["name"].as_str().unwrap()).unwrap();
            let what = format!("{name} {} ({})", tensor.name, tensor.dtype);
            assert_eq!(
                tensor.dtype,
                dtype(expected["type"].as_str().unwrap()),
                "{what}"
            );
            assert_eq!(
                tensor.bytes,
                expected["n_bytes"].as_u64().unwrap(),
                "{what}"
            );
            let bytes = &files[tensor.shard][tensor.offset as usize..][..tensor.bytes as usize];
            let mut weights = vec![f32::NAN; tensor.elements() as usize];
            quant::dequantize(tensor.dtype, bytes, &mut weights).unwrap();
            check_tensor(&what, expected, &weights);
            seen.insert(tensor.dtype);
        }
    }
    let unseen: Vec<_> = DType::ALL
        .iter()
        .filter(|dtype| !seen.contains(dtype))
        .collect();
    let codebooks = |dtype: &DType| matches!(dtype.ggml_id(), 16..=19 | 21 | 22 | 29);
    let (codebooks, unseen): (Vec<_>, Vec<_>) = unseen.into_iter().partition(|d| codebooks(d));
    assert_eq!(
        (unseen, codebooks.len()),
        (
            vec![
                &DType::Q5_K,
                &DType::TQ1_0,
                &DType::NVFP4,
                &DType::Q1_0,
                &DType::Q2_0
            ],
            7
        ),
        "types that no model of the fixtures has"
    );
}

#[test]
fn random_blocks_dequantize_as_in_gguf_py() {
    let file = json(&fixtures().join("quant/blocks.json"));
    let mut seen = BTreeSet::new();
    for case in file["cases"].as_array().unwrap() {
        let dtype = dtype(case["type"].as_str().unwrap());
        let hex = case["bytes_hex"].as_str().unwrap();
        let digits = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len() / 2).map(digits).collect();
        let blocks = bytes.len() / dtype.block_bytes();
        let mut weights = vec![f32::NAN; blocks * dtype.block_len()];
        quant::dequantize(dtype, &bytes, &mut weights).unwrap();
        for (i, expected) in case["every_31st"].as_array().unwrap().iter().enumerate() {
            let what = format!("{dtype}[{}]", 31 * i);
            assert_close(
                f64::from(weights[31 * i]),
                expected.as_f64().unwrap(),
                1e-6,
                &what,
            );
        }
        assert_eq!(
            u64::from(crc32(&weights)),
            case["crc32_f32le"].as_u64().unwrap(),
            "{dtype}"
        );
        seen.insert(dtype);
    }
    let unseen = DType::ALL
        .iter()
        .find(|dtype| dtype.is_quantized() && !seen.contains(dtype));
    assert_eq!(unseen, None);
}
