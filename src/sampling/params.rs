//! What a request may say about sampling, with its defaults and limits.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};

/// Sampling fields of a request. Names and defaults are those of llama.cpp; JSON uses camelCase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SamplingParams {
    /// Flattens (above 1) or sharpens (below 1) the distribution; 0 always takes the best token.
    pub temperature: f32,
    /// Keeps the k best tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the fewest best tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Drops tokens less likely than this share of the best one; 0 drops none.
    pub min_p: f32,
    /// Divides positive logits of recent tokens by this, multiplies negative ones; 1 changes nothing.
    pub repetition_penalty: f32,
    /// How many recent tokens the three penalties look at; 0 switches them off, -1 looks at all.
    pub repetition_window: i64,
    /// Subtracted from a logit once for each time the token occurs in the window.
    pub frequency_penalty: f32,
    /// Subtracted from a logit if the token occurs in the window.
    pub presence_penalty: f32,
    /// Added to the logit of a token id.
    #[serde(deserialize_with = "bias_map")]
    pub logit_bias: BTreeMap<u32, f32>,
    /// Makes the draw repeatable; absent: a fresh seed each time.
    pub seed: Option<u64>,
    /// Texts that end the answer; they are not part of it.
    #[serde(deserialize_with = "one_or_many")]
    pub stop: Vec<String>,
    /// Most tokens to generate; absent: until the context is full.
    pub max_tokens: Option<usize>,
    /// Goes on after an end-of-generation token (for measurements).
    pub ignore_eos: bool,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repetition_penalty: 1.0,
            repetition_window: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            seed: None,
            stop: Vec::new(),
            max_tokens: None,
            ignore_eos: false,
        }
    }
}

impl SamplingParams {
    /// Whether nothing but the logits and the seed decides: no biases, no penalties for earlier tokens.
    pub fn by_logits_alone(&self) -> bool {
        self.logit_bias.is_empty() && !self.penalizes()
    }

    /// Whether earlier tokens are held against their return.
    pub(super) fn penalizes(&self) -> bool {
        self.repetition_window != 0
            && (self.repetition_penalty != 1.0
                || self.frequency_penalty != 0.0
                || self.presence_penalty != 0.0)
    }

    /// Checks every field against its range and the vocabulary's size.
    pub fn validate(&self, vocab_size: usize) -> Result<()> {
        in_range("temperature", self.temperature, 0.0, f32::MAX)?;
        in_range("topP", self.top_p, 0.0, 1.0)?;
        in_range("minP", self.min_p, 0.0, 1.0)?;
        in_range(
            "repetitionPenalty",
            self.repetition_penalty,
            f32::MIN_POSITIVE,
            f32::MAX,
        )?;
        in_range(
            "frequencyPenalty",
            self.frequency_penalty,
            f32::MIN,
            f32::MAX,
        )?;
        in_range("presencePenalty", self.presence_penalty, f32::MIN, f32::MAX)?;
        if self.repetition_window < -1 {
            return Err(invalid(
                "repetitionWindow must be -1 (everything), 0 (off) or a number of tokens",
            ));
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(invalid("stop must not contain an empty string"));
        }
        for (&id, &bias) in &self.logit_bias {
            if id as usize >= vocab_size {
                return Err(invalid(format!(
                    "logitBias names token {id}, but the vocabulary has {vocab_size}"
                )));
            }
            if bias.is_nan() {
                return Err(invalid(format!("logitBias of token {id} is not a number")));
            }
        }
        Ok(())
    }
}

fn in_range(name: &str, value: f32, low: f32, high: f32) -> Result<()> {
    if value >= low && value <= high {
        return Ok(());
    }
    Err(invalid(match (low == f32::MIN, high == f32::MAX) {
        (true, _) => format!("{name} must be a finite number, not {value}"),
        (_, true) if low == 0.0 => format!("{name} must be 0 or more, not {value}"),
        (_, true) => format!("{name} must be above 0, not {value}"),
        _ => format!("{name} must be between {low} and {high}, not {value}"),
    }))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::InvalidRequest(message.into())
}

/// JSON object keys are strings; read them as token ids, also when the struct is flattened into another.
fn bias_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<u32, f32>, D::Error> {
    let raw = Option::<BTreeMap<String, f32>>::deserialize(deserializer)?.unwrap_or_default();
    raw.into_iter()
        .map(|(key, bias)| match key.trim().parse() {
            Ok(id) => Ok((id, bias)),
            Err(_) => Err(D::Error::custom(format!(
                "logitBias key `{key}` is not a token id"
            ))),
        })
        .collect()
}

/// `stop` may be one string, a list, or null.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stop {
        None(()),
        One(String),
        Many(Vec<String>),
    }
    Ok(match Stop::deserialize(deserializer)? {
        Stop::None(()) => Vec::new(),
        Stop::One(text) => vec![text],
        Stop::Many(list) => list,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_defaults_and_names() {
        let params: SamplingParams = serde_json::from_str("{}").unwrap();
        assert_eq!(params, SamplingParams::default());
        let text = r#"{"topK":3,"logitBias":{"7":-1.5},"stop":"END","maxTokens":9,"ignoreEos":true,"seed":5}"#;
        let params: SamplingParams = serde_json::from_str(text).unwrap();
        assert_eq!(params.top_k, 3);
        assert_eq!(params.logit_bias[&7], -1.5);
        assert_eq!(params.stop, ["END"]);
        assert_eq!(
            (params.max_tokens, params.ignore_eos, params.seed),
            (Some(9), true, Some(5))
        );
        let text = r#"{"stop":null,"logitBias":null,"seed":null}"#;
        assert_eq!(
            serde_json::from_str::<SamplingParams>(text).unwrap(),
            SamplingParams::default()
        );
    }

    #[test]
    fn flattens_into_a_request() {
        #[derive(Deserialize)]
        struct Request {
            #[serde(flatten)]
            sampling: SamplingParams,
            prompt: String,
        }
        let text = r#"{"prompt":"x","logitBias":{"3":2},"stop":["a","b"],"temperature":0}"#;
        let request: Request = serde_json::from_str(text).unwrap();
        assert_eq!(request.prompt, "x");
        assert_eq!(request.sampling.logit_bias[&3], 2.0);
        assert_eq!(request.sampling.stop, ["a", "b"]);
    }

    #[test]
    fn out_of_range_is_named() {
        type Change = fn(&mut SamplingParams);
        let cases: [(&str, Change); 9] = [
            ("temperature", |p| p.temperature = -0.1),
            ("temperature", |p| p.temperature = f32::NAN),
            ("topP", |p| p.top_p = 1.5),
            ("minP", |p| p.min_p = -1.0),
            ("repetitionPenalty", |p| p.repetition_penalty = 0.0),
            ("frequencyPenalty", |p| p.frequency_penalty = f32::INFINITY),
            ("repetitionWindow", |p| p.repetition_window = -2),
            ("stop", |p| p.stop = vec![String::new()]),
            ("logitBias", |p| p.logit_bias = BTreeMap::from([(10, 1.0)])),
        ];
        assert_eq!(SamplingParams::default().validate(10), Ok(()));
        for (name, change) in cases {
            let mut params = SamplingParams::default();
            change(&mut params);
            match params.validate(10) {
                Err(Error::InvalidRequest(text)) => assert!(text.starts_with(name), "{text}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
