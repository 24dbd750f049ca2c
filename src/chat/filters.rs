//! Filters, tests and functions of Jinja2 that minijinja lacks or answers otherwise on Python values.

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

use super::args::{Arguments, bind, invalid, text_or_none};
use super::json::{self, MAX_INDENT};
use super::text::{Pad, is_space, pad, strip};

/// Puts them into the environment.
pub(super) fn add(env: &mut Environment<'static>) {
    env.add_filter("tojson", json::tojson);
    env.add_filter("trim", trim);
    env.add_filter("replace", replace);
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_filter("string", |value: &Value| python_str(value));
    env.add_filter("wordcount", |text: &Value| {
        text.to_string()
            .split(is_space)
            .filter(|w| !w.is_empty())
            .count()
    });
    env.add_filter("center", center);
    for name in ["e", "escape", "forceescape"] {
        env.add_filter(name, escape);
    }
    env.add_filter("truncate", truncate);
    env.add_filter("default", default);
    env.add_filter("d", default);
    env.add_filter("length", length);
    env.add_filter("count", length);
    env.add_filter("first", first);
    env.add_filter("last", last);
    env.add_filter("items", items);
    env.add_filter("indent", indent);
    env.add_filter("round", round);
    env.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    env.add_test("sequence", is_sequence);
    env.add_test("iterable", |value: &Value| {
        !value.is_none() && value.try_iter().is_ok()
    });
    env.add_function("joiner", minijinja_contrib::globals::joiner);
    env.add_function("cycler", minijinja_contrib::globals::cycler);
}

/// `str(value)`: minijinja prints Python's way, but for floats with an exponent.
pub(super) fn python_str(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(float) if value.kind() == ValueKind::Number && !value.is_integer() => float_repr(float),
        _ => value.to_string(),
    }
}

/// Python's `repr` of a float: shortest digits, exponent from 1e16 and below 1e-4.
pub(super) fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = value.to_string();
    if plain.contains('.') {
        plain
    } else {
        format!("{plain}.0")
    }
}

fn trim(value: &Value, arguments: Arguments) -> Result<String, Error> {
    let [chars] = bind(&arguments.into_values(), ["chars"])?;
    Ok(strip(&python_str(value), text_or_none(&chars)?, true, true).to_string())
}

fn replace(value: &Value, arguments: Arguments) -> Result<String, Error> {
    let [old, new, count] = bind(&arguments.into_values(), ["old", "new", "count"])?;
    let (Some(old), Some(new)) = (old, new) else {
        return Err(Error::from(ErrorKind::MissingArgument));
    };
    let (text, old, new) = (python_str(value), python_str(&old), python_str(&new));
    Ok(
        match count.map(i64::try_from).transpose()?.map(usize::try_from) {
            Some(Ok(count)) => text.replacen(&old, &new, count),
            _ => text.replace(&old, &new),
        },
    )
}

/// `default(value="", boolean=false)`.
fn default(value: &Value, arguments: Arguments) -> Result<Value, Error> {
    let [other, boolean] = bind(&arguments.into_values(), ["default_value", "boolean"])?;
    let wanted = value.is_undefined() || (boolean.is_some_and(|b| b.is_true()) && !value.is_true());
    Ok(if wanted {
        other.unwrap_or_else(|| Value::from(""))
    } else {
        value.clone()
    })
}

/// Undefined counts as empty.
fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    value
        .len()
        .ok_or_else(|| invalid(format!("{} has no length", value.kind())))
}

fn first(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        Ok(Value::UNDEFINED)
    } else {
        minijinja::filters::first(value)
    }
}

fn last(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Map => Ok(value.try_iter()?.last().unwrap_or_default()),
        ValueKind::Undefined => Ok(Value::UNDEFINED),
        _ => minijinja::filters::last(value.clone()),
    }
}

fn items(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        Ok(Value::from(Vec::<Value>::new()))
    } else {
        minijinja::filters::items(value)
    }
}

/// `indent(width=4, first=false, blank=false)`; the last line end stays.
fn indent(value: &Value, arguments: Arguments) -> Result<String, Error> {
    let [width, first, blank] = bind(&arguments.into_values(), ["width", "first", "blank"])?;
    let margin = match width {
        Some(text) if text.as_str().is_some() => text.to_string(),
        Some(width) => " ".repeat(width.as_usize().unwrap_or(0).min(MAX_INDENT)),
        None => " ".repeat(4),
    };
    let is_set = |flag: Option<Value>| flag.is_some_and(|v| v.is_true());
    let (first, blank) = (is_set(first), is_set(blank));
    let text = python_str(value);
    let lines = text.split('\n').enumerate().map(|(i, line)| match i {
        0 if first => format!("{margin}{line}"),
        0 => line.to_string(),
        _ if line.is_empty() && !blank => String::new(),
        _ => format!("{margin}{line}"),
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// `round(precision=0, method="common")`; halves go to the even neighbour.
fn round(value: &Value, arguments: Arguments) -> Result<Value, Error> {
    let [precision, method] = bind(&arguments.into_values(), ["precision", "method"])?;
    let precision = precision.map_or(Ok(0), i32::try_from)?.clamp(-300, 300);
    let method = text_or_none(&method)?.unwrap_or("common");
    if value.is_integer() && method == "common" {
        return Ok(value.clone());
    }
    let number = f64::try_from(value.clone())?;
    let scale = 10f64.powi(precision);
    Ok(Value::from(match method {
        "ceil" => (number * scale).ceil() / scale,
        "floor" => (number * scale).floor() / scale,
        // Formatting rounds the exact decimal value correctly, which is what CPython does.
        "common" if precision >= 0 => format!("{number:.*}", precision as usize)
            .parse()
            .unwrap_or(number),
        "common" => (number * scale).round_ties_even() / scale,
        _ => return Err(invalid("method must be common, ceil or floor")),
    }))
}

/// `truncate(length=255, killwords=false, end="...", leeway=5)`.
fn truncate(value: &Value, arguments: Arguments) -> Result<String, Error> {
    let [length, kill_words, end, leeway] = bind(
        &arguments.into_values(),
        ["length", "killwords", "end", "leeway"],
    )?;
    let length = length.as_ref().and_then(Value::as_usize).unwrap_or(255);
    let leeway = leeway.as_ref().and_then(Value::as_usize).unwrap_or(5);
    let end = end.map_or_else(|| "...".to_string(), |v| v.to_string());
    let chars: Vec<char> = python_str(value).chars().collect();
    if chars.len() <= length.saturating_add(leeway) {
        return Ok(chars.into_iter().collect());
    }
    let kept: String = chars[..length.saturating_sub(end.chars().count())]
        .iter()
        .collect();
    if kill_words.is_some_and(|v| v.is_true()) {
        return Ok(kept + &end);
    }
    Ok(kept
        .rsplit_once(' ')
        .map_or(kept.as_str(), |(words, _)| words)
        .to_string()
        + &end)
}

/// `int(default=0, base=10)`: never fails, falls back to the default.
fn int(value: &Value, arguments: Arguments) -> Result<Value, Error> {
    let [default, base] = bind(&arguments.into_values(), ["default", "base"])?;
    let default = default.unwrap_or_else(|| Value::from(0));
    let base = base.map(u32::try_from).transpose()?.unwrap_or(10);
    Ok(match value.kind() {
        ValueKind::Number if value.is_integer() => value.clone(),
        ValueKind::Number | ValueKind::Bool => match f64::try_from(value.clone()) {
            Ok(float) if float.is_finite() => Value::from(float.trunc() as i128),
            _ if value.kind() == ValueKind::Bool => Value::from(i64::from(value.is_true())),
            _ => default,
        },
        ValueKind::String => parse_int(value.as_str().unwrap_or_default(), base).unwrap_or(default),
        _ => default,
    })
}

fn parse_int(text: &str, base: u32) -> Option<Value> {
    let text = text.trim_matches(is_space).replace('_', "");
    let lower = text.to_lowercase();
    let digits = match base {
        2 => lower.strip_prefix("0b"),
        8 => lower.strip_prefix("0o"),
        16 => lower.strip_prefix("0x"),
        _ => None,
    };
    if let Ok(number) = i128::from_str_radix(digits.unwrap_or(&text), base.clamp(2, 36)) {
        return Some(Value::from(number));
    }
    // Jinja falls back to int(float(text)).
    let float: f64 = text.parse().ok().filter(|f: &f64| f.is_finite())?;
    Some(Value::from(float.trunc() as i128))
}

/// `float(default=0.0)`.
fn float(value: &Value, arguments: Arguments) -> Result<Value, Error> {
    let [default] = bind(&arguments.into_values(), ["default"])?;
    let parsed = match value.kind() {
        ValueKind::String => value
            .as_str()
            .and_then(|text| text.trim_matches(is_space).replace('_', "").parse().ok()),
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        _ => f64::try_from(value.clone()).ok(),
    };
    Ok(parsed.map_or_else(|| default.unwrap_or_else(|| Value::from(0.0)), Value::from))
}

fn center(value: &Value, width: Option<usize>) -> Result<String, Error> {
    pad(&python_str(value), width.unwrap_or(80), ' ', Pad::Center)
}

/// The entities are those of Python's `markupsafe`.
fn escape(value: &Value) -> String {
    let escaped = python_str(value)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    escaped.replace('"', "&#34;").replace('\'', "&#39;")
}

/// Whatever has a length and takes an index, strings and dictionaries too.
fn is_sequence(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::String | ValueKind::Seq | ValueKind::Iterable | ValueKind::Map
    )
}
