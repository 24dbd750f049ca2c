//! What Python's string methods do, on Rust strings.

use minijinja::Error;
use minijinja::value::{Tuple, Value};

use super::args::invalid;

/// Longest text that padding or repeating may make.
const MAX_PADDED: usize = 1 << 20;

/// Whitespace as Python's `str.isspace` sees it.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `str.strip` and its one-sided kin.
pub(super) fn strip<'a>(text: &'a str, chars: Option<&str>, left: bool, right: bool) -> &'a str {
    let unwanted = |c: char| chars.map_or_else(|| is_space(c), |set| set.contains(c));
    let text = if left {
        text.trim_start_matches(unwanted)
    } else {
        text
    };
    if right {
        text.trim_end_matches(unwanted)
    } else {
        text
    }
}

/// `str.split` and `str.rsplit`; `limit` is the number of cuts.
pub(super) fn split(
    text: &str,
    sep: Option<&str>,
    limit: Option<usize>,
    from_right: bool,
) -> Result<Value, Error> {
    let parts = limit.map_or(usize::MAX, |n| n.saturating_add(1));
    let mut found: Vec<&str> = match (sep, from_right) {
        (Some(""), _) => return Err(invalid("empty separator")),
        (Some(sep), false) => text.splitn(parts, sep).collect(),
        (Some(sep), true) => text.rsplitn(parts, sep).collect(),
        (None, _) => split_spaces(text, parts, from_right),
    };
    if from_right {
        found.reverse();
    }
    Ok(found.into_iter().map(Value::from).collect())
}

/// Runs of whitespace separate; the last part keeps its inner whitespace when the limit is reached.
fn split_spaces(text: &str, parts: usize, from_right: bool) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = strip(text, None, !from_right, from_right);
    while !rest.is_empty() {
        let cut = if from_right {
            rest.rfind(is_space)
        } else {
            rest.find(is_space)
        };
        let Some(cut) = cut.filter(|_| found.len() + 1 < parts) else {
            found.push(rest);
            break;
        };
        let after = cut + rest[cut..].chars().next().map_or(0, char::len_utf8);
        let (word, remaining) = if from_right {
            (&rest[after..], &rest[..cut])
        } else {
            (&rest[..cut], &rest[after..])
        };
        found.push(word);
        rest = strip(remaining, None, !from_right, from_right);
    }
    found
}

/// `str.partition` and `str.rpartition`.
pub(super) fn partition(text: &str, sep: &str, last: bool) -> Result<Value, Error> {
    if sep.is_empty() {
        return Err(invalid("empty separator"));
    }
    let found = if last {
        text.rsplit_once(sep)
    } else {
        text.split_once(sep)
    };
    let parts = match found {
        Some((before, after)) => [before, sep, after],
        None if last => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// `str.splitlines`.
pub(super) fn split_lines(text: &str, keep_ends: bool) -> Value {
    let is_break = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_break).unwrap_or(rest.len());
        let width = if rest[end..].starts_with("\r\n") {
            2
        } else {
            rest[end..].chars().next().map_or(0, char::len_utf8)
        };
        lines.push(Value::from(
            &rest[..if keep_ends { end + width } else { end }],
        ));
        rest = &rest[end + width..];
    }
    Value::from(lines)
}

/// `str.title`: Python starts a new word after anything that is not a letter.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        if in_word {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        in_word = c.is_alphabetic();
    }
    out
}

/// `str.swapcase` of one character.
pub(super) fn swap_case(c: char) -> char {
    let swapped = if c.is_uppercase() {
        c.to_lowercase().next()
    } else {
        c.to_uppercase().next()
    };
    swapped.unwrap_or(c)
}

/// Where the text stands in the padded whole.
pub(super) enum Pad {
    Left,
    Right,
    Center,
}

/// Fills a text up to a width.
pub(super) fn pad(text: &str, width: usize, fill: char, place: Pad) -> Result<String, Error> {
    if width > MAX_PADDED {
        return Err(invalid("the padding is too wide"));
    }
    let length = text.chars().count();
    let missing = width.saturating_sub(length);
    let left = match place {
        Pad::Left => 0,
        Pad::Right => missing,
        // CPython puts the odd one to the left when the width is odd.
        Pad::Center => missing / 2 + (missing & width & 1),
    };
    let fill = |n: usize| std::iter::repeat_n(fill, n).collect::<String>();
    Ok(format!("{}{text}{}", fill(left), fill(missing - left)))
}
