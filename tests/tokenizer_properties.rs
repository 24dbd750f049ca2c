//! What holds for any text and any tokens, and how much time it may take.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Instant;

use inkling::Error;
use inkling::gguf::{self, Metadata, Parsed};
use inkling::tokenizer::{TokenStream, Tokenizer};
use proptest::prelude::*;

fn metadata(bytes: &[u8]) -> Metadata {
    match gguf::parse(bytes, bytes.len() as u64).unwrap() {
        Parsed::Done(file) => file.metadata,
        Parsed::NeedMore(_) => panic!("cut short"),
    }
}

fn fixture(name: &str) -> Tokenizer {
    let path = format!(
        "{}/tests/fixtures/tokenizers/tok-{name}.gguf",
        env!("CARGO_MANIFEST_DIR")
    );
    Tokenizer::from_gguf(&metadata(&std::fs::read(path).unwrap()), None).unwrap()
}

/// A GGUF file without tensors.
#[derive(Default)]
struct Writer {
    keys: u64,
    body: Vec<u8>,
}

impl Writer {
    fn key(&mut self, key: &str, kind: u32) {
        self.keys += 1;
        self.text(key);
        self.body.extend(kind.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.body.extend((text.len() as u64).to_le_bytes());
        self.body.extend(text.as_bytes());
    }

    fn string(mut self, key: &str, value: &str) -> Self {
        self.key(key, 8);
        self.text(value);
        self
    }

    fn strings(mut self, key: &str, values: &[String]) -> Self {
        self.key(key, 9);
        self.body.extend(8u32.to_le_bytes());
        self.body.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| self.text(value));
        self
    }

    fn numbers(
        mut self,
        key: &str,
        kind: u32,
        values: impl ExactSizeIterator<Item = [u8; 4]>,
    ) -> Self {
        self.key(key, 9);
        self.body.extend(kind.to_le_bytes());
        self.body.extend((values.len() as u64).to_le_bytes());
        values.for_each(|value| self.body.extend(value));
        self
    }

    fn metadata(self) -> Metadata {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend(0u64.to_le_bytes());
        file.extend(self.keys.to_le_bytes());
        file.extend(self.body);
        file.resize(file.len().next_multiple_of(32), 0);
        metadata(&file)
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ \\n\\t▁Ġa-c'\u{301}é日😀0-9.!<|>]{0,60}",
        "(<think>|<\\|im_end\\|>|</s>|<0x41>| |a|\\n){0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn byte_level_text_comes_back(text in any_text(), special in any::<bool>()) {
        for name in ["bpe-gpt-2", "bpe-llama-bpe", "bpe-qwen2", "bpe-smollm"] {
            let tokenizer = fixture(name);
            let ids = tokenizer.encode(&text, false, special).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids, false), &text[..], "{}", name);
        }
    }

    #[test]
    fn sentencepiece_text_comes_back(text in any_text()) {
        for name in ["spm", "spm-noprefix"] {
            let tokenizer = fixture(name);
            let ids = tokenizer.encode(&text, false, false).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids, false), text.replace('▁', " "), "{}", name);
        }
    }

    #[test]
    fn streams_equal_decoding(ids in prop::collection::vec(0u32..1000, 0..40)) {
        for name in ["bpe-qwen2", "spm", "ugm", "wpm"] {
            let tokenizer = fixture(name);
            let mut stream = TokenStream::new();
            let streamed: String = ids.iter().map(|&id| stream.push(&tokenizer, id)).collect();
            prop_assert_eq!(streamed + &stream.flush(), tokenizer.decode(&ids, true), "{}", name);
        }
    }

    #[test]
    fn any_text_is_encoded(text in any_text()) {
        for name in ["ugm", "wpm"] {
            let tokenizer = fixture(name);
            tokenizer.encode(&text, true, true).unwrap();
        }
    }
}

#[test]
fn a_megabyte_is_quick() {
    let once = "The little boat went out on the lake.  日本語 1234567 \n\n don't!\t";
    let texts = [
        once.repeat((1 << 20) / once.len()),
        "a".repeat(1 << 20),
        " ".repeat(1 << 20),
        "日".repeat(1 << 18),
        "<".repeat(1 << 20),
    ];
    for name in ["bpe-llama-bpe", "bpe-qwen2", "spm", "ugm", "wpm"] {
        let tokenizer = fixture(name);
        for text in &texts {
            let start = Instant::now();
            let ids = tokenizer.encode(text, true, true).unwrap();
            let taken = start.elapsed();
            println!("{name} {:.10}…: {} tokens in {taken:?}", text, ids.len());
            assert!(taken.as_secs() < 20, "{name} took {taken:?}");
        }
    }
}

/// As many tokens and merges as the largest models have.
#[test]
fn a_large_vocabulary_is_built_quickly() {
    let letters: Vec<char> = ('a'..='z').chain('A'..='Z').collect();
    let mut tokens: Vec<String> = letters.iter().map(char::to_string).collect();
    let mut merges = Vec::new();
    let mut from = 0;
    while tokens.len() < 250_000 {
        let base = tokens[from].clone();
        for letter in &letters {
            merges.push(format!("{base} {letter}"));
            tokens.push(format!("{base}{letter}"));
        }
        from += 1;
    }
    let file = || Writer::default().strings("tokenizer.ggml.tokens", &tokens);
    let scores = (0..tokens.len()).map(|i| (-(i as f32)).to_le_bytes());
    let bpe = file()
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", "qwen2");
    let bpe = bpe.strings("tokenizer.ggml.merges", &merges).metadata();
    let spm = file()
        .string("tokenizer.ggml.model", "llama")
        .numbers("tokenizer.ggml.scores", 6, scores)
        .metadata();
    for (name, metadata) in [("bpe", bpe), ("spm", spm)] {
        let start = Instant::now();
        let tokenizer = Tokenizer::from_gguf(&metadata, None).unwrap();
        println!(
            "{name}: {} tokens in {:?}",
            tokenizer.vocab_size(),
            start.elapsed()
        );
        assert!(
            start.elapsed().as_secs() < 10,
            "{name} took {:?}",
            start.elapsed()
        );
        assert_eq!(tokenizer.encode("abc", false, false).unwrap().len(), 1);
    }
}

/// A vocabulary of plain tokens, control tokens `<|end|>` and `<|user|>`, and the 256 byte tokens.
fn small_vocabulary(plain: &[&str]) -> Writer {
    let mut tokens: Vec<String> = plain.iter().map(|text| text.to_string()).collect();
    tokens.extend(["<|end|>".to_string(), "<|user|>".into()]);
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    let kinds = (0..tokens.len()).map(|id| {
        let kind = if id < plain.len() {
            1
        } else if id < plain.len() + 2 {
            3
        } else {
            6
        };
        i32::to_le_bytes(kind)
    });
    Writer::default()
        .numbers("tokenizer.ggml.token_type", 5, kinds)
        .strings("tokenizer.ggml.tokens", &tokens)
}

#[test]
fn gemma4_merges_raw_text() {
    let merges = ["a b", "▁ ab"].map(String::from);
    let file = small_vocabulary(&["a", "b", "ab", "▁", "▁ab", "\n", "\n\n"]);
    let file = file
        .string("tokenizer.ggml.model", "gemma4")
        .strings("tokenizer.ggml.merges", &merges);
    let tokenizer = Tokenizer::from_gguf(&file.metadata(), None).unwrap();
    let ids = tokenizer.encode("ab ab\n\n b\né", false, false).unwrap();
    assert_eq!(ids, [2, 4, 6, 3, 1, 5, 9 + 0xc3, 9 + 0xa9]);
    assert_eq!(tokenizer.decode(&ids, false), "ab ab\n\n b\né");
}

#[test]
fn phi3_control_tokens_swallow_whitespace() {
    let file = |name| {
        let plain = ["a", "Ġ", "Ċ"];
        let file = small_vocabulary(&plain)
            .string("tokenizer.ggml.model", "gpt2")
            .string("general.name", name);
        Tokenizer::from_gguf(&file.string("tokenizer.ggml.pre", "gpt-2").metadata(), None).unwrap()
    };
    let text = "a <|end|>\n a";
    assert_eq!(
        file("Phi 3.5").encode(text, false, true).unwrap(),
        [0, 1, 3, 2, 1, 0]
    );
    assert_eq!(
        file("Phi-3-mini").encode(text, false, true).unwrap(),
        [0, 1, 3, 0]
    );
}

#[test]
fn html_of_gemma_does_not_end_an_answer() {
    let ends = |plain: &[&str]| {
        let file = small_vocabulary(plain).string("tokenizer.ggml.model", "gpt2");
        let tokenizer = Tokenizer::from_gguf(&file.metadata(), None).unwrap();
        tokenizer.is_end_of_generation(1)
    };
    assert!(ends(&["a", "</s>"]));
    assert!(!ends(&["a", "</s>", "<start_of_turn>"]));
}

#[test]
fn old_files_without_a_name_are_read_by_their_architecture() {
    let file = |architecture| {
        let file = small_vocabulary(&["1", "11"]).string("tokenizer.ggml.model", "gpt2");
        let file = file
            .string("general.architecture", architecture)
            .strings("tokenizer.ggml.merges", &["1 1".into()]);
        Tokenizer::from_gguf(&file.metadata(), None)
            .unwrap()
            .encode("111", false, false)
            .unwrap()
    };
    assert_eq!(file("gpt2"), [1, 0]);
    assert_eq!(file("qwen2"), [0, 0, 0]);
}

#[test]
fn what_is_unknown_is_named() {
    let file = || Writer::default().strings("tokenizer.ggml.tokens", &["a".into(), "b".into()]);
    let refused = |metadata: Metadata, pre| match Tokenizer::from_gguf(&metadata, pre) {
        Err(Error::UnsupportedTokenizer { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    let bpe = || {
        file()
            .string("tokenizer.ggml.model", "gpt2")
            .string("tokenizer.ggml.pre", "brand-new")
            .metadata()
    };
    assert_eq!(refused(bpe(), None), "brand-new");
    assert_eq!(refused(bpe(), Some("newer")), "newer");
    assert!(Tokenizer::from_gguf(&bpe(), Some("qwen2")).is_ok());
    assert_eq!(
        refused(
            file().string("tokenizer.ggml.model", "plamo2").metadata(),
            None
        ),
        "plamo2"
    );
}

#[test]
fn broken_metadata_is_an_error() {
    let tokens = ["a".to_string(), "b".into(), "<unk>".into()];
    let file = |model: &str| {
        Writer::default()
            .string("tokenizer.ggml.model", model)
            .string("tokenizer.ggml.pre", "gpt-2")
    };
    let types = |kinds: [i32; 2]| kinds.map(i32::to_le_bytes).into_iter();
    let cases = [
        file("gpt2").metadata(),
        file("gpt2")
            .strings("tokenizer.ggml.tokens", &[])
            .metadata(),
        file("gpt2")
            .strings("tokenizer.ggml.tokens", &tokens)
            .strings("tokenizer.ggml.merges", &["ab".into()])
            .metadata(),
        file("gpt2")
            .strings("tokenizer.ggml.tokens", &tokens)
            .numbers("tokenizer.ggml.token_type", 5, types([1, 1]))
            .metadata(),
        file("llama")
            .strings("tokenizer.ggml.tokens", &tokens)
            .metadata(),
        file("t5")
            .strings("tokenizer.ggml.tokens", &tokens)
            .numbers("tokenizer.ggml.scores", 6, types([0, 0]))
            .metadata(),
        file("bert")
            .strings("tokenizer.ggml.tokens", &tokens)
            .metadata(),
        Writer::default().metadata(),
    ];
    for (i, metadata) in cases.iter().enumerate() {
        assert!(Tokenizer::from_gguf(metadata, None).is_err(), "case {i}");
    }
}

#[test]
fn ends_of_generation() {
    let qwen = fixture("bpe-qwen2");
    for (text, ends) in [
        ("<|im_end|>", true),
        ("<|endoftext|>", true),
        ("<|im_start|>", false),
        ("<think>", false),
    ] {
        let id = qwen.token_id(text).unwrap();
        assert_eq!(qwen.is_end_of_generation(id), ends, "{text}");
    }
    let spm = fixture("spm");
    assert!(
        spm.is_end_of_generation(spm.eos().unwrap())
            && spm.is_end_of_generation(spm.token_id("<|end|>").unwrap())
    );
    assert_eq!((spm.bos(), spm.adds_bos()), (Some(1), true));
    assert!(!qwen.adds_bos());
}

#[test]
fn continuing_streams_keep_the_space() {
    let spm = fixture("spm");
    let ids = spm.encode("a b", false, false).unwrap();
    let text = |mut stream: TokenStream| {
        ids.iter()
            .map(|&id| stream.push(&spm, id))
            .collect::<String>()
    };
    assert_eq!(text(TokenStream::new()), "a b");
    assert_eq!(text(TokenStream::continuing()), " a b");
}
