//! Python's methods of strings, lists and dictionaries. Those of minijinja's `pycompat` are used where they answer
//! as Python does; the ones here take Python's optional and keyword arguments or are missing there.

use minijinja::formatting::{self, FormatStyle};
use minijinja::value::{Tuple, Value, ValueKind};
use minijinja::{Error, State};
use minijinja_contrib::pycompat;

use super::args::{bind, invalid, required, text_or_none};
use super::filters::python_str;
use super::text::{Pad, is_space, pad, partition, split, split_lines, strip, swap_case, title};

/// Called by minijinja for a method it does not know.
pub(super) fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match method {
        "__slice__" => return slice(value, args),
        "__mod__" => return modulo(value, args),
        _ => {}
    }
    let own = match (value.kind(), value.as_str()) {
        (_, Some(text)) => string_method(text, method, args)?,
        (ValueKind::Seq, _) => sequence_method(value, method, args)?,
        (ValueKind::Map, _) => map_method(value, method, args)?,
        _ => None,
    };
    match own {
        Some(result) => Ok(result),
        None => pycompat::unknown_method_callback(state, value, method, args),
    }
}

/// `'%s' % value` as Python does it.
fn modulo(format: &Value, args: &[Value]) -> Result<Value, Error> {
    let [value]: &[Value; 1] = args
        .try_into()
        .map_err(|_| invalid("% takes one operand"))?;
    let items = if value.is_tuple() {
        value.try_iter()?.collect()
    } else {
        vec![value.clone()]
    };
    let format = format
        .as_str()
        .ok_or_else(|| invalid("% formats strings only"))?;
    formatting::format(FormatStyle::Printf, format, &items).map(Value::from)
}

/// `value[start:stop:step]` as Python does it; the template's source says `value.__slice__(start, stop, step)`.
fn slice(value: &Value, args: &[Value]) -> Result<Value, Error> {
    let [start, stop, step] = bind(args, ["start", "stop", "step"])?;
    let step = step.map_or(Ok(1), i64::try_from)?;
    let (start, stop) = (
        start.map(i64::try_from).transpose()?,
        stop.map(i64::try_from).transpose()?,
    );
    if step == 0 {
        return Err(invalid("slice step cannot be zero"));
    }
    if let Some(text) = value.as_str() {
        let chars: Vec<char> = text.chars().collect();
        let picked = slice_places(chars.len(), start, stop, step).map(|i| chars[i]);
        return Ok(Value::from(picked.collect::<String>()));
    }
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(invalid(format!("{} cannot be sliced", value.kind())));
    }
    let items = value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?;
    let picked: Vec<Value> = slice_places(items.len(), start, stop, step)
        .map(|i| items[i].clone())
        .collect();
    Ok(if value.is_tuple() {
        Value::from(Tuple::from(picked))
    } else {
        Value::from(picked)
    })
}

/// The indices that a slice picks (CPython's `PySlice_AdjustIndices`).
fn slice_places(
    length: usize,
    start: Option<i64>,
    stop: Option<i64>,
    step: i64,
) -> impl Iterator<Item = usize> {
    let length = length as i64;
    let (low, high) = if step > 0 {
        (0, length)
    } else {
        (-1, length - 1)
    };
    let clamp = |at: i64| {
        (if at < 0 {
            at.saturating_add(length)
        } else {
            at
        })
        .clamp(low, high)
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let (first, last) = (start.map_or(first, clamp), stop.map_or(last, clamp));
    let places = std::iter::successors(Some(first), move |at| at.checked_add(step));
    places
        .take_while(move |&at| if step > 0 { at < last } else { at > last })
        .map(|at| at as usize)
}

fn string_method(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = bind(args, ["chars"])?;
            let chars = text_or_none(&chars)?;
            Value::from(strip(text, chars, method != "rstrip", method != "lstrip"))
        }
        "split" | "rsplit" => {
            let [sep, maxsplit] = bind(args, ["sep", "maxsplit"])?;
            let limit = maxsplit
                .map(i64::try_from)
                .transpose()?
                .and_then(|n| usize::try_from(n).ok());
            split(text, text_or_none(&sep)?, limit, method == "rsplit")?
        }
        "partition" | "rpartition" => {
            let [sep] = bind(args, ["sep"])?;
            partition(text, required(&sep)?, method == "rpartition")?
        }
        "splitlines" => {
            let [keepends] = bind(args, ["keepends"])?;
            split_lines(text, keepends.is_some_and(|v| v.is_true()))
        }
        "removeprefix" => {
            let [prefix] = bind(args, ["prefix"])?;
            Value::from(text.strip_prefix(required(&prefix)?).unwrap_or(text))
        }
        "removesuffix" => {
            let [suffix] = bind(args, ["suffix"])?;
            Value::from(text.strip_suffix(required(&suffix)?).unwrap_or(text))
        }
        "replace" => {
            let [old, new, count] = bind(args, ["old", "new", "count"])?;
            let count = count
                .map(i64::try_from)
                .transpose()?
                .and_then(|n| usize::try_from(n).ok());
            let (old, new) = (required(&old)?, required(&new)?);
            Value::from(
                count.map_or_else(|| text.replace(old, new), |n| text.replacen(old, new, n)),
            )
        }
        "find" | "rfind" | "index" | "rindex" | "count" => search(text, method, args)?,
        "join" => {
            let [items] = bind(args, ["iterable"])?;
            join(text, &items.unwrap_or_default())?
        }
        "title" => Value::from(title(text)),
        "swapcase" => Value::from(text.chars().map(swap_case).collect::<String>()),
        "casefold" => Value::from(text.to_lowercase().replace('ß', "ss")),
        "isdecimal" => Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit())),
        "isspace" => Value::from(!text.is_empty() && text.chars().all(is_space)),
        "center" | "ljust" | "rjust" | "zfill" => justify(text, method, args)?,
        _ => return Ok(None),
    }))
}

fn sequence_method(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    match method {
        "index" => {
            let [item] = bind(args, ["value"])?;
            let item = item.unwrap_or_default();
            let at = value.try_iter()?.position(|v| v == item);
            at.map(|i| Some(Value::from(i)))
                .ok_or_else(|| invalid(format!("{item:?} is not in list")))
        }
        "copy" => Ok(Some(value.clone())),
        "append" | "extend" | "insert" | "pop" | "remove" | "clear" | "sort" | "reverse" => {
            Err(unsafe_access(method))
        }
        _ => Ok(None),
    }
}

fn map_method(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    match method {
        "get" => {
            let [key, default] = bind(args, ["key", "default"])?;
            let found = value.get_item(&key.unwrap_or_default()).unwrap_or_default();
            let missing = || default.unwrap_or_else(|| Value::from(()));
            Ok(Some(if found.is_undefined() {
                missing()
            } else {
                found
            }))
        }
        "copy" => Ok(Some(value.clone())),
        "update" | "pop" | "popitem" | "clear" | "setdefault" => Err(unsafe_access(method)),
        _ => Ok(None),
    }
}

/// The sandbox is immutable, as Hugging Face's is.
fn unsafe_access(method: &str) -> Error {
    invalid(format!(
        "access to attribute `{method}` is unsafe: templates cannot change values"
    ))
}

/// `find`, `rfind`, `index`, `rindex` and `count`, with their optional range in characters.
fn search(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let [sub, start, end] = bind(args, ["sub", "start", "end"])?;
    let sub = required(&sub)?;
    let length = text.chars().count() as i64;
    let clamp = |v: Option<Value>, default: i64| -> Result<usize, Error> {
        let at = v.map(i64::try_from).transpose()?.unwrap_or(default);
        Ok((if at < 0 { at + length } else { at }).clamp(0, length) as usize)
    };
    let (start, end) = (clamp(start, 0)?, clamp(end, length)?);
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(i, _)| i);
    let Some(part) = text.get(byte(start)..byte(end)) else {
        return Ok(Value::from(if method == "count" { 0 } else { -1 }));
    };
    if method == "count" {
        return Ok(Value::from(part.matches(sub).count()));
    }
    match if method.starts_with('r') {
        part.rfind(sub)
    } else {
        part.find(sub)
    } {
        Some(at) => Ok(Value::from(start + part[..at].chars().count())),
        None if method.ends_with("index") => Err(invalid("substring not found")),
        None => Ok(Value::from(-1)),
    }
}

fn join(separator: &str, items: &Value) -> Result<Value, Error> {
    let mut joined = String::new();
    for (i, item) in items.try_iter()?.checked().enumerate() {
        let item = item?;
        let text = item
            .as_str()
            .ok_or_else(|| invalid(format!("sequence item {i}: expected str instance")))?;
        joined.push_str(if i > 0 { separator } else { "" });
        joined.push_str(text);
    }
    Ok(Value::from(joined))
}

fn justify(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let [width, fill] = bind(args, ["width", "fillchar"])?;
    let width = width
        .as_ref()
        .and_then(Value::as_usize)
        .ok_or_else(|| invalid("a width is needed"))?;
    let fill = fill
        .as_ref()
        .map(python_str)
        .and_then(|f| f.chars().next())
        .unwrap_or(' ');
    let padded = match method {
        "ljust" => pad(text, width, fill, Pad::Left)?,
        "rjust" => pad(text, width, fill, Pad::Right)?,
        "center" => pad(text, width, fill, Pad::Center)?,
        _ => {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            format!(
                "{sign}{}",
                pad(digits, width.saturating_sub(sign.len()), '0', Pad::Right)?
            )
        }
    };
    Ok(Value::from(padded))
}
