//! The container: the fixtures, and small files made by hand for every rule.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests

mod gguf_support;

use std::path::{Path, PathBuf};

use gguf_support::{ARRAY, BOOL, Builder, F32, STRING, U32, array, string};
use inkling::gguf::{self, Array, GgufFile, Parsed, Value};
use inkling::{Error, quant::DType};

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).unwrap()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn try_parse(bytes: &[u8]) -> Result<GgufFile, Error> {
    match gguf::parse(bytes, bytes.len() as u64)? {
        Parsed::Done(file) => Ok(file),
        Parsed::NeedMore(n) => panic!("the whole file is there, {n} bytes were asked for"),
    }
}

fn parse(bytes: &[u8]) -> GgufFile {
    try_parse(bytes).unwrap()
}

/// The message of the error, which must have this code.
fn failure(file: &Builder, code: &str) -> String {
    let error = try_parse(&file.build()).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error.to_string()
}

#[test]
fn every_fixture_parses() {
    for folder in ["models", "tokenizers"] {
        for entry in std::fs::read_dir(fixtures().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "gguf") {
                continue;
            }
            let file = parse(&std::fs::read(&path).unwrap());
            for tensor in &file.tensors {
                assert_eq!(
                    file.tensor(&tensor.name),
                    Some(tensor),
                    "{}",
                    path.display()
                );
                assert!(
                    tensor.offset >= file.data_offset
                        && tensor.offset + tensor.bytes <= file.file_size
                );
            }
            assert_eq!(file.tensor("no such tensor"), None);
        }
    }
}

#[test]
fn values_of_all_types_are_read() {
    let file = parse(&fixture("models/container-align64.gguf"));
    let get = |key: &str| file.metadata.get(&format!("fixture.odd.{key}")).unwrap();
    assert_eq!(
        (file.version, file.alignment, file.tensors.len()),
        (3, 64, 20)
    );
    assert_eq!(*get("u8"), Value::U8(200));
    assert_eq!(*get("i8"), Value::I8(-100));
    assert_eq!(*get("u16"), Value::U16(60_000));
    assert_eq!(*get("i16"), Value::I16(-30_000));
    assert_eq!(*get("u32"), Value::U32(4_000_000_000));
    assert_eq!(*get("i32"), Value::I32(-2_000_000_000));
    assert_eq!(*get("u64"), Value::U64(9_223_372_036_854_775_813));
    assert_eq!(*get("i64"), Value::I64(-4_611_686_018_427_387_904));
    assert_eq!(*get("f32"), Value::F32(-1.5e-30));
    assert_eq!(*get("f64"), Value::F64(1.25e300));
    assert_eq!(*get("bool"), Value::Bool(true));
    assert_eq!(*get("str"), Value::String("hé你😀 \n\t\"".to_owned()));
    assert_eq!(*get("empty"), Value::String(String::new()));
    assert_eq!(
        *get("arr.u64"),
        Value::Array(Array::U64(vec![9_223_372_036_854_775_813; 3]))
    );
    assert_eq!(*get("arr.i8"), Value::Array(Array::I8(vec![-100; 3])));
    assert_eq!(*get("arr.bool"), Value::Array(Array::Bool(vec![true; 3])));
    assert_eq!(
        *get("arr.str"),
        Value::Array(Array::String(vec!["hé你😀 \n\t\"".to_owned(); 3]))
    );
}

#[test]
fn getters_convert_or_name_key_and_type() {
    let file = parse(&fixture("models/container-align64.gguf"));
    let metadata = &file.metadata;
    assert_eq!(metadata.u64("fixture.odd.u16"), Ok(60_000));
    assert_eq!(metadata.f32("fixture.odd.i8"), Ok(-100.0));
    assert_eq!(metadata.bool("fixture.odd.bool"), Ok(true));
    assert_eq!(metadata.str("general.architecture"), Ok("llama"));
    assert_eq!(
        metadata.str_array("tokenizer.ggml.tokens").unwrap().len(),
        320
    );
    assert_eq!(
        metadata.int_array("fixture.odd.arr.i16"),
        Ok(vec![-30_000; 3])
    );
    assert_eq!(
        metadata.f32_array("fixture.odd.arr.f32").unwrap(),
        &[-1.5e-30_f32; 3][..]
    );
    assert_eq!(
        metadata.f32_array("fixture.odd.arr.u8").unwrap(),
        &[200.0_f32; 3][..]
    );
    assert_eq!(metadata.opt_u64("none"), Ok(None));
    assert_eq!(
        metadata.u64("none"),
        Err(Error::MissingMetadata("none".to_owned()))
    );
    for error in [
        metadata.u64("fixture.odd.i8").unwrap_err(),
        metadata.u64("fixture.odd.str").unwrap_err(),
        metadata.opt_str("fixture.odd.f32").unwrap_err(),
        metadata.str_array("fixture.odd.arr.u8").unwrap_err(),
        metadata.int_array("fixture.odd.arr.u64").unwrap_err(),
        metadata.int_array("fixture.odd.arr.f32").unwrap_err(),
        metadata.f32_array("fixture.odd.arr.str").unwrap_err(),
    ] {
        assert_eq!(error.code(), "bad_metadata");
        assert!(error.to_string().contains("fixture.odd."), "{error}");
    }
    let error = metadata.u64("fixture.odd.i8").unwrap_err();
    assert!(error.to_string().contains("-100"), "{error}");
}

#[test]
fn versions_other_than_2_and_3_say_what_they_are() {
    assert_eq!(
        parse(&Builder::new().version(2).u32("a", 1).build()).version,
        2
    );
    assert!(failure(&Builder::new().version(1), "invalid_gguf").contains("version 1"));
    assert!(failure(&Builder::new().version(4), "invalid_gguf").contains("version 4"));
    assert!(
        failure(&Builder::new().version(3_u32.swap_bytes()), "invalid_gguf").contains("big-endian")
    );
}

#[test]
fn what_is_not_gguf_is_recognised_from_its_first_bytes() {
    for (bytes, hint) in [
        (&b"<!DOCTYPE html>"[..], "web page"),
        (b"PK\x03\x04", "ZIP"),
        (b"version https", "LFS"),
    ] {
        let error = gguf::parse(bytes, 1 << 30).unwrap_err();
        assert_eq!(error.code(), "invalid_gguf");
        assert!(error.to_string().contains(hint), "{error}");
    }
    assert!(matches!(
        gguf::parse(b"P", 1 << 30),
        Ok(Parsed::NeedMore(_))
    ));
    // Found by fuzzing: a file too short for any magic is judged by its bytes, not before they are here.
    assert!(matches!(gguf::parse(b"", 3), Ok(Parsed::NeedMore(3))));
    assert_eq!(
        gguf::parse(b"PK\x03", 3).unwrap_err().code(),
        "invalid_gguf"
    );
    assert_eq!(gguf::parse(b"GGU", 3).unwrap_err().code(), "truncated");
}

#[test]
fn alignment_must_be_a_power_of_two() {
    for wrong in [0, 24, 33] {
        let message = failure(
            &Builder::new().u32("general.alignment", wrong),
            "bad_metadata",
        );
        assert!(message.contains("general.alignment"), "{message}");
    }
    let file = Builder::new()
        .u32("general.alignment", 8)
        .tensor("a", &[4], 0, 8)
        .data(64);
    assert_eq!(parse(&file.build()).alignment, 8);
}

#[test]
fn doubled_names_are_refused() {
    assert!(
        failure(
            &Builder::new().u32("a.key", 1).u32("a.key", 1),
            "invalid_gguf"
        )
        .contains("a.key")
    );
    let twice = Builder::new()
        .tensor("w", &[8], 0, 0)
        .tensor("v", &[8], 0, 0)
        .tensor("w", &[8], 0, 32);
    assert!(failure(&twice.data(64), "invalid_gguf").contains("tensor w"));
}

#[test]
fn broken_values_are_refused() {
    failure(&Builder::new().key("k", 13, &[0; 8]), "invalid_gguf");
    failure(&Builder::new().key("k", BOOL, &[2]), "invalid_gguf");
    failure(
        &Builder::new().key("k", ARRAY, &array(BOOL, 3, &[0, 1, 7])),
        "invalid_gguf",
    );
    failure(
        &Builder::new().key("k", ARRAY, &array(99, 0, &[])),
        "invalid_gguf",
    );
    failure(
        &Builder::new().key("\u{1}".repeat(70_000).as_str(), BOOL, &[1]),
        "invalid_gguf",
    );
}

#[test]
fn bytes_that_are_not_utf8_become_replacement_characters() {
    let value = [&3_u64.to_le_bytes()[..], b"a\xffb"].concat();
    let file = parse(&Builder::new().key("k", STRING, &value).build());
    assert_eq!(file.metadata.str("k"), Ok("a\u{fffd}b"));
}

#[test]
fn arrays_nest_to_a_depth() {
    let nested = |depth: usize| {
        (1..depth).fold(array(U32, 1, &[7, 0, 0, 0]), |inner, _| {
            array(ARRAY, 1, &inner)
        })
    };
    let file = parse(&Builder::new().key("k", ARRAY, &nested(2)).build());
    let inner = Array::U32(vec![7]);
    assert_eq!(
        file.metadata.get("k"),
        Some(&Value::Array(Array::Array(vec![inner])))
    );
    parse(&Builder::new().key("k", ARRAY, &nested(8)).build());
    failure(&Builder::new().key("k", ARRAY, &nested(9)), "invalid_gguf");
    failure(
        &Builder::new().key("k", ARRAY, &nested(50_000)),
        "invalid_gguf",
    );
}

#[test]
fn impossible_counts_are_told_from_files_cut_short() {
    failure(
        &Builder::new().key("k", ARRAY, &array(STRING, 1 << 60, &[])),
        "invalid_gguf",
    );
    failure(
        &Builder::new().key("k", ARRAY, &array(F32, u64::MAX, &[])),
        "invalid_gguf",
    );
    failure(
        &Builder::new().key("k", ARRAY, &array(STRING, 250_000, &[])),
        "truncated",
    );
    failure(
        &Builder::new().key("k", STRING, &1_000_u64.to_le_bytes()),
        "truncated",
    );
    let mut bytes = Builder::new().build();
    bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(try_parse(&bytes).unwrap_err().code(), "invalid_gguf");
    bytes[8..16].copy_from_slice(&1_000_u64.to_le_bytes());
    assert_eq!(try_parse(&bytes).unwrap_err().code(), "truncated");
}

#[test]
fn tensors_are_placed_and_sized() {
    let table = Builder::new()
        .tensor("a", &[64, 3], 2, 0)
        .tensor("b", &[], 0, 128)
        .tensor("c", &[4, 1, 2, 1], 1, 160);
    let file = parse(&table.data(176).build());
    let sizes: Vec<_> = file
        .tensors
        .iter()
        .map(|t| (t.offset - file.data_offset, t.bytes, t.elements()))
        .collect();
    assert_eq!(sizes, [(0, 108, 192), (128, 4, 1), (160, 16, 8)]);
    assert_eq!(file.tensor("a").unwrap().dtype, DType::Q4_0);
    assert_eq!(file.tensor("b").unwrap().shape, [1]);
}

#[test]
fn impossible_tensors_are_refused() {
    let one = |shape: &[u64], kind, offset| {
        Builder::new()
            .tensor("blk.0.w", shape, kind, offset)
            .data(256)
    };
    for wrong in [
        one(&[1, 1, 1, 1, 1], 0, 0),
        one(&[4, 0], 0, 0),
        one(&[u64::MAX, 2], 0, 0),
        one(&[1 << 40, 1 << 40], 0, 0),
        one(&[33], 2, 0),
        one(&[128], 12, 0),
        one(&[32], 0, 16),
        one(&[32], 0, u64::MAX - 31),
    ] {
        assert!(failure(&wrong, "bad_tensor").contains("blk.0.w"));
    }
    failure(&one(&[65], 0, 0), "truncated");
    failure(&one(&[32], 0, 160), "truncated");
    let message = failure(&one(&[256], 15, 0), "unsupported_type");
    assert!(
        message.contains("Q8_K") && message.contains("blk.0.w") && message.contains("Q4_K"),
        "{message}"
    );
}

#[test]
fn a_file_cut_anywhere_says_so() {
    let bytes = fixture("models/container-split-00003-of-00003.gguf");
    for len in 0..bytes.len() {
        let error = try_parse(&bytes[..len]).unwrap_err();
        let Error::Truncated { needed, available } = error else {
            panic!("{len}: {error}")
        };
        assert!(available == len as u64 && needed > available);
    }
}

#[test]
fn a_prefix_asks_for_more_until_the_header_is_whole() {
    let bytes = fixture("tokenizers/tok-spm.gguf");
    let size = bytes.len() as u64;
    let whole = gguf::parse(&bytes, size).unwrap();
    for len in 0..bytes.len() {
        match gguf::parse(&bytes[..len], size).unwrap() {
            Parsed::NeedMore(n) => assert!(n > len as u64 && n <= size),
            done => assert_eq!(done, whole),
        }
    }
}

#[test]
fn a_large_vocabulary_takes_few_calls() {
    let tokens: Vec<u8> = (0..250_000)
        .flat_map(|i| string(&format!("token {i}")))
        .collect();
    let file = Builder::new().text("general.architecture", "llama");
    let bytes = file
        .key("tokens", ARRAY, &array(STRING, 250_000, &tokens))
        .tensor("w", &[8], 0, 0)
        .data(1 << 20)
        .build();
    let (mut wanted, mut calls) = (0, 0);
    let file = loop {
        calls += 1;
        match gguf::parse(&bytes[..wanted as usize], bytes.len() as u64).unwrap() {
            Parsed::NeedMore(n) => wanted = n,
            Parsed::Done(file) => break file,
        }
    };
    assert!(calls <= 10, "{calls} calls");
    assert_eq!(
        file.metadata.str_array("tokens").unwrap()[249_999],
        "token 249999"
    );
}

#[test]
fn keys_are_known_before_the_header_is_whole() {
    let bytes = fixture("tokenizers/tok-spm.gguf");
    let size = bytes.len() as u64;
    let early = gguf::parse_metadata_prefix(&bytes[..256], size).unwrap();
    assert!(early.str("general.architecture").is_ok());
    assert!(early.get("tokenizer.ggml.tokens").is_none());
    let whole = gguf::parse_metadata_prefix(&bytes, size).unwrap();
    assert!(whole.iter().eq(parse(&bytes).metadata.iter()));
}

fn shards(order: [usize; 3]) -> Vec<GgufFile> {
    order
        .map(|i| {
            parse(&fixture(&format!(
                "models/container-split-0000{i}-of-00003.gguf"
            )))
        })
        .to_vec()
}

#[test]
fn shards_join_in_any_order() {
    let joined = GgufFile::join(shards([1, 2, 3])).unwrap();
    assert_eq!(joined.tensors.len(), 20);
    assert_eq!(joined.metadata.str("general.architecture"), Ok("llama"));
    assert_eq!(joined.split_count(), Ok(3));
    let shuffled = GgufFile::join(shards([3, 1, 2])).unwrap();
    assert_eq!(joined.metadata, shuffled.metadata);
    assert_eq!(joined.file_size, shuffled.file_size);
    for tensor in &joined.tensors {
        let other = shuffled.tensor(&tensor.name).unwrap();
        assert_eq!((tensor.offset, tensor.bytes), (other.offset, other.bytes));
        assert_eq!(other.shard, [1, 2, 0][tensor.shard]);
    }
}

#[test]
fn a_single_file_joins_to_itself() {
    let file = parse(&fixture("models/llama-gqa.gguf"));
    assert_eq!(file.split_count(), Ok(1));
    assert_eq!(GgufFile::join(vec![file.clone()]).unwrap(), file);
}

#[test]
fn incomplete_or_doubled_shards_are_named() {
    let error = |shards: Vec<GgufFile>| GgufFile::join(shards).unwrap_err().to_string();
    let all = shards([1, 2, 3]);
    assert!(
        error(all[..2].to_vec()).contains("into 3 files but 2"),
        "{}",
        error(all[..2].to_vec())
    );
    assert!(error(all[1..].to_vec()).contains("first"));
    assert!(error(shards([1, 2, 2])).contains("part 2 of the model was given twice"));
    let single = parse(&fixture("models/llama-gqa.gguf"));
    assert!(error(vec![single.clone(), single]).contains("whole model"));
    assert!(GgufFile::join(Vec::new()).is_err());
}

#[test]
fn joined_tensors_must_be_as_many_as_announced_and_have_their_own_names() {
    let shard = |number: u32, tensors: u32, name: &str| {
        let keys = Builder::new()
            .u32("split.no", number)
            .u32("split.count", 2)
            .u32("split.tensors.count", tensors);
        parse(&keys.tensor(name, &[8], 0, 0).data(32).build())
    };
    assert!(GgufFile::join(vec![shard(0, 2, "a"), shard(1, 2, "b")]).is_ok());
    let error = GgufFile::join(vec![shard(0, 3, "a"), shard(1, 3, "b")]).unwrap_err();
    assert!(error.to_string().contains("split.tensors.count"), "{error}");
    assert!(GgufFile::join(vec![shard(0, 2, "a"), shard(1, 2, "a")]).is_err());
    assert_eq!(
        GgufFile::join(vec![shard(0, 2, "a"), shard(5, 2, "b")])
            .unwrap_err()
            .code(),
        "bad_metadata"
    );
}
