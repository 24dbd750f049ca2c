//! Small changes to a template's source before minijinja parses it:
//! - The `{% generation %}` tag of Hugging Face marks the assistant's words for training; when rendering, its body
//!   passes through in a scope of its own. minijinja has no custom tags, so the word becomes `with`, which does
//!   exactly that; whitespace control stays as it is.
//! - A slice with a step, `x[::-1]`, becomes the method call `x.__slice__(none, none, -1)` (see `methods`):
//!   minijinja 3.0 panics when it walks backwards over something empty, and misses bounds.
//! - `'%s' % x` with a literal on the left becomes `'%s'.__mod__(x)`: minijinja has no formatting operator.
//! - Line ends become `\n`, the only kind that Jinja knows.
//!
//! The scanner knows just enough of Jinja to leave text, comments, raw blocks and strings alone.

/// Prepares the source of a template.
pub(super) fn prepare(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = rest.find('{') {
        let (text, tag) = rest.split_at(start);
        out.push_str(text);
        let (length, is_code) = match tag.as_bytes().get(1) {
            Some(b'#') => (tag.find("#}").map_or(tag.len(), |end| end + 2), false),
            Some(b'{') => (end_of_code(tag, b"}}"), true),
            Some(b'%') => (end_of_code(tag, b"%}"), true),
            _ => (1, false),
        };
        let (tag, after) = tag.split_at(length);
        rest = after;
        match tag_name(tag) {
            Some((at, name @ ("generation" | "endgeneration"))) => {
                out.push_str(&tag[..at]);
                out.push_str(if name == "generation" {
                    "with"
                } else {
                    "endwith"
                });
                out.push_str(&tag[at + name.len()..]);
            }
            Some((_, "raw")) => {
                let (raw, after) = rest.split_at(end_of_raw(rest));
                out.push_str(tag);
                out.push_str(raw);
                rest = after;
            }
            _ if is_code => {
                out.push_str(&tag[..2]);
                rewrite_code(&tag[2..], &mut out);
            }
            _ => out.push_str(tag),
        }
    }
    out.push_str(rest);
    out
}

/// Length of the string literal that `code` starts with.
fn string_length(code: &[u8]) -> usize {
    let mut i = 1;
    while i < code.len() && code[i] != code[0] {
        i += if code[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(code.len())
}

/// Length of the code block that `code` starts with; strings and brackets may hide its end mark.
fn end_of_code(code: &str, end: &[u8]) -> usize {
    let bytes = code.as_bytes();
    let mut depth = 0usize;
    let mut i = 2;
    while i < bytes.len() {
        match bytes[i] {
            b'\'' | b'"' => {
                i += string_length(&bytes[i..]);
                continue;
            }
            _ if depth == 0 && bytes[i..].starts_with(end) => return i + 2,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        i += 1;
    }
    code.len()
}

/// Position and text of the first word of a `{% … %}` tag.
fn tag_name(tag: &str) -> Option<(usize, &str)> {
    let body = tag.strip_prefix("{%")?;
    let body = body.strip_prefix(['-', '+']).unwrap_or(body).trim_start();
    let at = tag.len() - body.len();
    let end = body
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(body.len());
    Some((at, &body[..end]))
}

/// Where the `{% endraw %}` of a raw block begins.
fn end_of_raw(text: &str) -> usize {
    let starts = text.match_indices("{%").map(|(at, _)| at);
    let mut ends =
        starts.filter(|&at| tag_name(&text[at..]).is_some_and(|(_, name)| name == "endraw"));
    ends.next().unwrap_or(text.len())
}

/// An open bracket while rewriting: where its inside begins in the output, and where its colons are.
struct Bracket {
    start: usize,
    colons: Vec<usize>,
}

/// Copies code, turning `[a:b:c]` into `.__slice__(a, b, c)` and `'…' % a` into `'…'.__mod__(a)`.
fn rewrite_code(code: &str, out: &mut String) {
    let bytes = code.as_bytes();
    let mut open: Vec<Bracket> = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let length = match bytes[i] {
            b'\'' | b'"' => string_length(&bytes[i..]),
            _ => code[i..].chars().next().map_or(1, char::len_utf8),
        };
        match bytes[i] {
            b'[' | b'(' | b'{' => open.push(Bracket {
                start: out.len() + 1,
                colons: Vec::new(),
            }),
            b':' => open
                .iter_mut()
                .next_back()
                .into_iter()
                .for_each(|bracket| bracket.colons.push(out.len())),
            b']' => {
                if let Some(Bracket { start, colons }) = open.pop()
                    && let [first, second] = colons[..]
                {
                    let part = |range: std::ops::Range<usize>| match out[range].trim() {
                        "" => "none".to_string(),
                        text => text.to_string(),
                    };
                    let parts = [
                        part(start..first),
                        part(first + 1..second),
                        part(second + 1..out.len()),
                    ];
                    out.truncate(start - 1);
                    out.push_str(&format!(".__slice__({})", parts.join(", ")));
                    i += 1;
                    continue;
                }
            }
            b')' | b'}' => drop(open.pop()),
            _ => {}
        }
        out.push_str(&code[i..i + length]);
        i += length;
        if let (b'\'' | b'"', Some(operand)) = (bytes[i - length], format_operand(&code[i..])) {
            out.push_str(".__mod__(");
            rewrite_code(&code[i..][operand.clone()], out);
            out.push(')');
            i += operand.end;
        }
    }
}

/// After a string literal: where the right side of a `%` operator is.
fn format_operand(code: &str) -> Option<std::ops::Range<usize>> {
    let after = code
        .trim_start()
        .strip_prefix('%')
        .filter(|after| !after.starts_with('}'))?
        .trim_start();
    let start = code.len() - after.len();
    let mut end = start + operand_length(after)?;
    // Filters bind tighter than the operator.
    while let Some(filter) = code[end..].trim_start().strip_prefix('|') {
        let filter = filter.trim_start();
        end = code.len() - filter.len() + operand_length(filter)?;
    }
    Some(start..end)
}

/// Length of a literal, name or bracket with what is attached to it: `.name`, `[…]`, `(…)`.
fn operand_length(code: &str) -> Option<usize> {
    let bytes = code.as_bytes();
    let mut i = usize::from(bytes.first() == Some(&b'-'));
    loop {
        match bytes.get(i) {
            Some(b'\'' | b'"') => i += string_length(&bytes[i..]),
            Some(b'(' | b'[' | b'{') => i += end_of_bracket(&bytes[i..]),
            Some(b'_' | b'.') => i += 1,
            Some(byte) if byte.is_ascii_alphanumeric() || !byte.is_ascii() => i += 1,
            _ => return (i > 0).then_some(i),
        }
    }
}

fn end_of_bracket(code: &[u8]) -> usize {
    let mut depth = 0usize;
    let mut i = 0;
    while i < code.len() {
        match code[i] {
            b'\'' | b'"' => {
                i += string_length(&code[i..]);
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 1 => return i + 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        i += 1;
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::prepare;

    #[test]
    fn generation_tags() {
        let cases = [
            (
                "a{% generation %}b{% endgeneration %}",
                "a{% with %}b{% endwith %}",
            ),
            (
                "{%- generation -%}x{%-endgeneration+%}",
                "{%- with -%}x{%-endwith+%}",
            ),
            (
                "{% raw %}{% generation %}{{'{% endraw %}{% generation %}é{% endgeneration %}",
                "{% raw %}{% generation %}{{'{% endraw %}{% with %}é{% endwith %}",
            ),
            (
                "{{ {'a': {'b': 1}} }}{% generation %}",
                "{{ {'a': {'b': 1}} }}{% with %}",
            ),
            (
                "{% set generation = '%}' %}{% generation %}",
                "{% set generation = '%}' %}{% with %}",
            ),
            (
                "{% if generation %}{ {% generation",
                "{% if generation %}{ {% with",
            ),
        ];
        for (source, expected) in cases {
            assert_eq!(prepare(source), expected);
        }
    }

    #[test]
    fn slices() {
        let cases = [
            ("{{ x[::-1] }}", "{{ x.__slice__(none, none, -1) }}"),
            ("{{ x[1: n : 2][0] }}", "{{ x.__slice__(1, n, 2)[0] }}"),
            (
                "{% for m in f(x[1:])[a[::2]|length::-1] %}",
                "{% for m in f(x[1:]).__slice__(a.__slice__(none, none, 2)|length, none, -1) %}",
            ),
            (
                "{{ 'é[::-1]'[::-1] }}[::-1]{# x[::-1] #}",
                "{{ 'é[::-1]'.__slice__(none, none, -1) }}[::-1]{# x[::-1] #}",
            ),
            (
                "{{ [{'a': 1, 'b': 2}] }}{{ x[{'a':1}['a']] }}",
                "{{ [{'a': 1, 'b': 2}] }}{{ x[{'a':1}['a']] }}",
            ),
        ];
        for (source, expected) in cases {
            assert_eq!(prepare(source), expected);
        }
    }

    #[test]
    fn formatting() {
        let cases = [
            ("{{ '%s' % x }}", "{{ '%s'.__mod__(x) }}"),
            (
                "{{ '%s'%(a, b[1:]) ~ c }}",
                "{{ '%s'.__mod__((a, b[1:])) ~ c }}",
            ),
            (
                "{{ '%s' % m.a['b'].c(1)|upper ~ 1 }}",
                "{{ '%s'.__mod__(m.a['b'].c(1)|upper) ~ 1 }}",
            ),
            (
                "{%- if a == '%s' % 'é%}'[::-1] -%}",
                "{%- if a == '%s'.__mod__('é%}'.__slice__(none, none, -1)) -%}",
            ),
            (
                "{% if a == 'b'%}{% if 'b' %}{% if 'b' -%}",
                "{% if a == 'b'%}{% if 'b' %}{% if 'b' -%}",
            ),
        ];
        for (source, expected) in cases {
            assert_eq!(prepare(source), expected);
        }
    }

    #[test]
    fn leaves_the_rest_alone() {
        for source in [
            "generation {{ generation }}{# {% generation %} #}",
            "{{ '{% generation %}' }}{{ \"\\\"{% generation %}\" }}",
            "{",
            "{{",
            "{{ '\\",
            "{# é",
            "{{ 'é' }",
            "{{ ]:)[::é }}",
        ] {
            assert_eq!(prepare(source), source);
        }
        assert_eq!(prepare("a\r\nb\rc\n"), "a\nb\nc\n");
    }
}
