//! How closely results agree with known answers, as figures for people.

use serde_json::Value;

use super::check::{distance, floats};

/// What was measured on one model.
#[derive(Clone, Copy, Default)]
pub struct Agreement {
    /// Largest relative error of any vector.
    pub error: f64,
    /// Likeliest tokens that are the same, and all that were compared.
    pub top1: (usize, usize),
}

impl Agreement {
    /// Of a model's result; `None` where it has none.
    pub fn of(question: &Value, result: &Value) -> Option<Self> {
        let mut agreement = Self::default();
        agreement.add(question, result)?;
        if question["long_context"].is_object() {
            agreement.add(&question["long_context"], &result["long_context"])?;
        }
        Some(agreement)
    }

    fn add(&mut self, question: &Value, result: &Value) -> Option<()> {
        let answers = result["sequences"].as_array()?;
        for (wanted, got) in question["sequences"].as_array()?.iter().zip(answers) {
            for key in ["logits", "mean", "cls", "pooled"] {
                if wanted[key].is_array() {
                    let got = floats(&got[key])?;
                    self.error = self.error.max(error(wanted, key, &got)?);
                    if key == "logits" {
                        let exact = floats(&wanted[key])?;
                        self.count(argmax(&got) == argmax(&exact));
                    }
                }
            }
        }
        let none = Vec::new();
        let greedy = question["greedy"].as_array().unwrap_or(&none);
        let answers = result["greedy"].as_array().unwrap_or(&none);
        for (wanted, got) in greedy.iter().zip(answers) {
            let pairs = wanted["tokens"].as_array()?.iter();
            for (want, have) in pairs.zip(got["tokens"].as_array()?) {
                self.count(want == have);
                // From the first other token on these are different texts.
                if want != have {
                    break;
                }
            }
        }
        Some(())
    }

    fn count(&mut self, same: bool) {
        self.top1.0 += usize::from(same);
        self.top1.1 += 1;
    }

    /// The worse of two errors, and both counts.
    pub fn with(self, other: Self) -> Self {
        Self {
            error: self.error.max(other.error),
            top1: (self.top1.0 + other.top1.0, self.top1.1 + other.top1.1),
        }
    }

    /// As it stands in a table; embeddings have no likeliest token.
    pub fn cell(self) -> String {
        match self.top1 {
            (_, 0) => format!("{:.1e}", self.error),
            (same, all) => format!("{:.1e}, {same}/{all}", self.error),
        }
    }
}

/// To a float64 evaluation where there is one, else to llama.cpp.
fn error(wanted: &Value, key: &str, got: &[f64]) -> Option<f64> {
    let forms = ["_f64", "_f64_tanh_gelu", "_f64_erf_gelu"];
    let by_f64 = forms
        .iter()
        .filter_map(|form| floats(&wanted[format!("{key}{form}")]))
        .map(|known| distance(got, &known))
        .reduce(f64::min);
    by_f64.or_else(|| Some(distance(got, &floats(&wanted[key])?)))
}

/// Whether llama.cpp's table of GELU is all that there is to compare with.
pub fn by_table(question: &Value) -> bool {
    question["gelu"] == true && question.pointer("/sequences/0/logits_f64").is_none()
}

fn argmax(values: &[f64]) -> Option<usize> {
    (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_and_likeliest_tokens_are_counted() {
        let question = json!({
            "sequences": [{ "logits": [3.0, 4.0] }, { "logits": [0.0, 5.0] }],
            "greedy": [{ "tokens": [1, 2, 3] }],
        });
        let result = json!({
            "sequences": [{ "logits": [3.0, 4.0] }, { "logits": [5.0, 0.0] }],
            "greedy": [{ "tokens": [1, 7, 3] }],
        });
        let agreement = Agreement::of(&question, &result).unwrap_or_default();
        assert_eq!(agreement.top1, (2, 4));
        assert!((agreement.error - 2f64.sqrt()).abs() < 1e-12);
        assert!(Agreement::of(&question, &json!({ "error": "no" })).is_none());
    }
}
