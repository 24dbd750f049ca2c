//! The Jinja environment, set up as Hugging Face sets up theirs (`transformers/utils/chat_template_utils.py`):
//! `trim_blocks`, `lstrip_blocks`, loop controls, `raise_exception`, `strftime_now`, their own `tojson`.
//! Where minijinja's answers differ from Jinja2's on Python values, `filters` and `methods` replace them.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};

use super::{LocalTime, filters, methods};

/// Instructions a template may execute: large tool lists and long conversations need some hundred thousand.
const FUEL: u64 = 20_000_000;
/// Nested macro and loop calls; each level costs stack, which wasm has little of.
const RECURSION_LIMIT: usize = 500;

/// A template's own refusal, carried through minijinja's chain of causes.
#[derive(Debug)]
pub(super) struct Raised(pub String);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// An environment without templates.
pub(super) fn build() -> Environment<'static> {
    let mut env = Environment::new();
    if let Ok(syntax) = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
    {
        env.set_syntax(syntax);
    }
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_undefined_behavior(UndefinedBehavior::Lenient);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(RECURSION_LIMIT);
    env.set_unknown_method_callback(methods::call);
    env.add_function("raise_exception", raise_exception);
    env.set_formatter(write_value);
    filters::add(&mut env);
    env
}

/// What `{{ … }}` prints: Python's `str`.
fn write_value(out: &mut Output, _state: &mut State, value: &Value) -> Result<(), Error> {
    if value.kind() == ValueKind::Number && !value.is_integer() {
        out.write_str(&filters::python_str(value))?;
    } else {
        write!(out, "{value}")?;
    }
    Ok(())
}

fn raise_exception(message: Value) -> Result<Value, Error> {
    let raised = Raised(message.to_string());
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(raised))
}

/// The function `strftime_now` for a given time.
pub(super) fn strftime_now(now: LocalTime) -> Value {
    Value::from_function(move |format: &str| now.strftime(format))
}
