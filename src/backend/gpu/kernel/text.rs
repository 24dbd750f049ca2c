//! Shaders as visitors download them: without comments and indentation, which would be a third of them. Done by the
//! compiler, so that the files stay plain WGSL and no build script is needed.

/// Length of what [`strip`] leaves.
pub const fn stripped_len(text: &str) -> usize {
    strip_into(text.as_bytes(), &mut [])
}

/// `text` without comments, indentation and empty lines. `N` is [`stripped_len`].
pub const fn strip<const N: usize>(text: &str) -> [u8; N] {
    let mut stripped = [0; N];
    strip_into(text.as_bytes(), &mut stripped);
    stripped
}

/// What [`strip`] left, as text again: it cuts at ASCII characters only.
pub const fn as_text(stripped: &[u8]) -> &str {
    match std::str::from_utf8(stripped) {
        Ok(text) => text,
        Err(_) => "",
    }
}

/// Writes as much as `out` takes and gives the length of the whole.
const fn strip_into(text: &[u8], out: &mut [u8]) -> usize {
    let mut len = 0;
    let mut at = 0;
    while at < text.len() {
        // A line's first and last bytes that are code.
        while at < text.len() && text[at] == b' ' {
            at += 1;
        }
        let start = at;
        let mut end = at;
        while at < text.len() && text[at] != b'\n' && !is_comment(text, at) {
            at += 1;
            if text[at - 1] != b' ' {
                end = at;
            }
        }
        while at < text.len() && text[at] != b'\n' {
            at += 1;
        }
        at += 1;
        let mut from = start;
        while from < end {
            if len < out.len() {
                out[len] = text[from];
            }
            len += 1;
            from += 1;
        }
        if end > start {
            if len < out.len() {
                out[len] = b'\n';
            }
            len += 1;
        }
    }
    len
}

const fn is_comment(text: &[u8], at: usize) -> bool {
    text[at] == b'/' && at + 1 < text.len() && text[at + 1] == b'/'
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "// What it does.\n\nfn f(a: f32) -> f32 {\n    return a / 2.0;  // half\n}\n// end";

    #[test]
    fn comments_and_indentation_go_and_the_code_stays() {
        const STRIPPED: [u8; stripped_len(TEXT)] = strip(TEXT);
        let want = "fn f(a: f32) -> f32 {\nreturn a / 2.0;\n}\n";
        assert_eq!(as_text(&STRIPPED), want);
    }
}
