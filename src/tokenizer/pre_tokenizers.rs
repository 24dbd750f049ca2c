//! How each family of byte-level tokenizers cuts text before merging: `tokenizer.ggml.pre` as data.
//!
//! Patterns are those of the models' own `tokenizer.json`; names and groups are llama.cpp's (`llama-vocab.cpp`). A new
//! family is a new row. Several patterns are applied one after the other, each to the pieces the one before has left.

use super::pattern::Pattern;
use crate::error::{Error, Result};

/// One way to cut, with the flags that go with it.
pub(super) struct PreTokenizer {
    /// Values of `tokenizer.ggml.pre`.
    names: &'static [&'static str],
    patterns: &'static [&'static str],
    /// A piece that is in the vocabulary as a whole is not merged from its parts.
    pub ignore_merges: bool,
    /// Whether a beginning-of-sequence token is added where the file does not say.
    pub add_bos: bool,
}

impl PreTokenizer {
    const fn new(names: &'static [&'static str], patterns: &'static [&'static str]) -> Self {
        Self {
            names,
            patterns,
            ignore_merges: false,
            add_bos: false,
        }
    }

    const fn ignore_merges(mut self) -> Self {
        self.ignore_merges = true;
        self
    }

    const fn add_bos(mut self) -> Self {
        self.add_bos = true;
        self
    }

    /// The parsed patterns.
    pub fn patterns(&self) -> Result<Vec<Pattern>> {
        let broken = |source| Error::Internal(format!("pre-tokenizer pattern {source}"));
        self.patterns
            .iter()
            .map(|source| Pattern::new(source).ok_or_else(|| broken(source)))
            .collect()
    }
}

/// Applies each pattern to the pieces that the one before has left.
pub(super) fn cut(patterns: &[Pattern], text: &str, piece: &mut dyn FnMut(&str)) {
    match patterns.split_first() {
        Some((first, rest)) => first.split(text, |part| cut(rest, part, piece)),
        None => piece(text),
    }
}

/// The row of a name.
pub(super) fn find(name: &str) -> Result<&'static PreTokenizer> {
    TABLE
        .iter()
        .find(|row| row.names.contains(&name))
        .ok_or_else(|| Error::UnsupportedTokenizer {
            name: name.to_string(),
            supported: TABLE
                .iter()
                .flat_map(|row| row.names)
                .copied()
                .collect::<Vec<_>>()
                .join(", "),
        })
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// Letters with case. Escapes stand where an editor would normalize the character to another.
const LATIN_AND_KIN: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1F7D}ᾀ-ᾴᾶ-ᾼ\u{1FBE}ῂ-ῄῆ-ῌῐ-\u{1FD3}ῖ-\u{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const CJK_AND_HANGUL: &str = r"[一-龥ࠀ-一가-퟿]+";
const DIGIT: &str = r"\p{N}";

static TABLE: &[PreTokenizer] = &[
    PreTokenizer::new(
        &[
            "gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "modern-bert", "mellum",
            "gigachat", "a.x-4.0", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "jina-v1-en", "jina-v2-code",
            "roberta-bpe",
        ],
        &[GPT2],
    ),
    PreTokenizer::new(
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
        &[LLAMA3],
    )
    .ignore_merges()
    .add_bos(),
    PreTokenizer::new(&["dbrx", "smaug-bpe", "glm4", "glm5", "chatglm-bpe"], &[LLAMA3]),
    PreTokenizer::new(
        &[
            "qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez", "kormo", "f2llmv2", "solar-open", "grok-2",
        ],
        &[QWEN2],
    ),
    PreTokenizer::new(&["qwen35"], &[QWEN35]),
    PreTokenizer::new(
        &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[DIGIT, GPT2],
    ),
    PreTokenizer::new(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[GPT4O]),
    // Digits in threes from the right.
    PreTokenizer::new(
        &["tiny_aya", "cohere2moe"],
        &[r"\p{Nd}{1,3}(?=(?:\p{Nd}{3})*(?![\p{L}\p{M}\p{N}\p{Pc}]))", GPT4O],
    ),
    // As GPT-4o, with Asian scripts apart and single digits.
    PreTokenizer::new(
        &["youtu"],
        &[
            r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
    )
    .ignore_merges(),
    PreTokenizer::new(
        &["jais-2"],
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}",
        ],
    ),
    PreTokenizer::new(&["granite-embed-multi-97m"], &[GPT4O]).ignore_merges(),
    PreTokenizer::new(&["tekken"], &[TEKKEN]).ignore_merges().add_bos(),
    PreTokenizer::new(
        &["deepseek-llm"],
        &[
            r"[\r\n]",
            LATIN_AND_KIN,
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            CJK_AND_HANGUL,
            r"\p{N}+",
        ],
    ),
    PreTokenizer::new(&["deepseek-coder"], &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK_AND_HANGUL, DIGIT]),
    PreTokenizer::new(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3],
    ),
    PreTokenizer::new(
        &["spark2_5"],
        &[
            r"\p{N}{1,3}",
            r"[一-龥぀-ゟ゠-ヿ]+",
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##,
            DIGIT,
        ],
    ),
    // Digits in threes from the right, as in Tiny Aya.
    PreTokenizer::new(
        &["afmoe"],
        &[
            r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
            r"[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+",
            DEEPSEEK3,
        ],
    ),
    PreTokenizer::new(
        &["superbpe"],
        &[r"\p{N}+", r"\p{Nd}{1,3}(?=(?:\p{Nd}{3})*(?!\p{Nd}))"],
    ),
    PreTokenizer::new(&["laguna"], &[r"[^\n]+|[\n]+", QWEN2]),
    PreTokenizer::new(
        &["ufakzeka"],
        &[
            r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
    ),
    PreTokenizer::new(&["falcon"], &[r"[\p{P}$+<=>\^~|`]+", GPT2, r"[0-9][0-9][0-9]"]),
    PreTokenizer::new(
        &["minicpm5"],
        &[
            r"\p{N}{1,3}",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
    )
    .ignore_merges(),
    PreTokenizer::new(&["poro-chat", "bloom", "gpt3-finnish"], &[r" ?[^(\s|.,!?…。，、।۔،)]+"]),
    PreTokenizer::new(&["viking"], &[r" ?[^(\s|.,!?…。，、।۔،)]+", DIGIT]),
    PreTokenizer::new(
        &["bailingmoe", "bailingmoe2", "llada-moe"],
        &[
            r"(?i:'s|'d|'m|'t|'ll|'ve|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        ],
    ),
    PreTokenizer::new(
        &["seed-coder"],
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
    ),
    PreTokenizer::new(
        &["default"],
        &[r"[\p{P}$+<=>\^~|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
    ),
    // SentencePiece-like merging over raw text: only line ends are cut off.
    PreTokenizer::new(&["gemma4", "granite-embed-multi-311m"], &[r"[^\n]+|[\n]+"]).add_bos(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_those_of_hugging_face() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/tokenizers/pre-tokenizers.json"
        );
        let file: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let rows = file["pieces"].as_object().unwrap();
        assert_eq!(rows.len(), TABLE.len());
        for (name, expected) in rows {
            let patterns = find(name).unwrap().patterns().unwrap();
            for (text, expected) in file["texts"]
                .as_array()
                .unwrap()
                .iter()
                .zip(expected.as_array().unwrap())
            {
                let mut pieces = Vec::new();
                cut(&patterns, text.as_str().unwrap(), &mut |piece| {
                    pieces.push(piece.to_string())
                });
                assert_eq!(&serde_json::json!(pieces), expected, "{name} {text}");
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = TABLE.iter().flat_map(|row| row.names).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn unknown_names_are_told() {
        match find("nope-bpe") {
            Err(Error::UnsupportedTokenizer { name, supported }) => {
                assert_eq!(name, "nope-bpe");
                assert!(supported.contains("llama-bpe"));
            }
            _ => panic!("it was found"),
        }
    }
}
