//! The `tojson` filter as Hugging Face defines it: Python's `json.dumps` with `ensure_ascii=False`, no HTML escaping.

use std::fmt::Write;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::args::{Arguments, bind};
use super::filters::float_repr;

/// Nesting that Python would give up on too, and that our stack can take.
const MAX_DEPTH: usize = 200;
/// Widest indentation of a level.
pub(super) const MAX_INDENT: usize = 64;

/// Arguments of `json.dumps`.
struct Style {
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
    ensure_ascii: bool,
}

/// `value | tojson(indent=…, separators=…, sort_keys=…, ensure_ascii=…)`, in Hugging Face's order of arguments.
pub(super) fn tojson(value: &Value, arguments: Arguments) -> Result<Value, Error> {
    let [ensure_ascii, indent, separators, sort_keys] = bind(
        &arguments.into_values(),
        ["ensure_ascii", "indent", "separators", "sort_keys"],
    )?;
    let mut style = Style {
        item_separator: if indent.is_some() { "," } else { ", " }.to_string(),
        indent: indent.map(|v| {
            v.as_usize()
                .map_or_else(|| v.to_string(), |n| " ".repeat(n.min(MAX_INDENT)))
        }),
        key_separator: ": ".to_string(),
        sort_keys: sort_keys.is_some_and(|v| v.is_true()),
        ensure_ascii: ensure_ascii.is_some_and(|v| v.is_true()),
    };
    if let Some(pair) = separators {
        style.item_separator = pair.get_item_by_index(0)?.to_string();
        style.key_separator = pair.get_item_by_index(1)?.to_string();
    }
    let mut out = String::new();
    write_value(&mut out, value, &style, 0)?;
    Ok(Value::from(out))
}

fn write_value(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(refuse("the value is nested too deeply"));
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => write_string(out, value.as_str().unwrap_or_default(), style),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.checked();
            write_list(out, items, ('[', ']'), style, depth, |out, item| {
                write_value(out, &item, style, depth + 1)
            })?;
        }
        ValueKind::Map => {
            let mut keys = value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?;
            if style.sort_keys {
                keys.sort();
            }
            write_list(
                out,
                keys.into_iter().map(Ok),
                ('{', '}'),
                style,
                depth,
                |out, key| {
                    write_key(out, &key, style)?;
                    out.push_str(&style.key_separator);
                    write_value(out, &value.get_item(&key)?, style, depth + 1)
                },
            )?;
        }
        kind => return Err(refuse(&format!("{kind} cannot be written as JSON"))),
    }
    Ok(())
}

fn write_list(
    out: &mut String,
    items: impl Iterator<Item = Result<Value, Error>>,
    (open, close): (char, char),
    style: &Style,
    depth: usize,
    mut write_item: impl FnMut(&mut String, Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let new_line = |out: &mut String, depth: usize| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    out.push(open);
    let mut empty = true;
    for item in items {
        if !empty {
            out.push_str(&style.item_separator);
        }
        empty = false;
        new_line(out, depth + 1);
        write_item(out, item?)?;
    }
    if !empty {
        new_line(out, depth);
    }
    out.push(close);
    Ok(())
}

/// JSON keys are text; Python turns numbers, booleans and None into it.
fn write_key(out: &mut String, key: &Value, style: &Style) -> Result<(), Error> {
    match key.kind() {
        ValueKind::String => write_string(out, key.as_str().unwrap_or_default(), style),
        ValueKind::None => out.push_str("\"null\""),
        ValueKind::Bool => out.push_str(if key.is_true() {
            "\"true\""
        } else {
            "\"false\""
        }),
        ValueKind::Number => {
            let _ = write!(out, "\"{}\"", number(key));
        }
        kind => return Err(refuse(&format!("{kind} cannot be a JSON key"))),
    }
    Ok(())
}

fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => match float {
            f if f.is_nan() => "NaN".to_string(),
            f if f.is_infinite() => if f > 0.0 { "Infinity" } else { "-Infinity" }.to_string(),
            f => float_repr(f),
        },
        _ => value.to_string(),
    }
}

fn write_string(out: &mut String, text: &str, style: &Style) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (style.ensure_ascii && !(' '..='~').contains(&c)) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn refuse(reason: &str) -> Error {
    Error::new(ErrorKind::BadSerialization, format!("tojson: {reason}"))
}
