//! The small regular expressions that pre-tokenizers are written in.
//!
//! A general engine with Unicode tables adds 440 kB to the page's download (measured, gzip); the patterns of all known
//! models need only this much: characters, classes with `\p{…}` and `\s`, groups `(?:…)` and `(?i:…)` with an optional
//! `?`, alternatives, greedy `? * + {n} {n,m}` on characters and classes, `(?:…{n})*` on one, lookahead `(?=…)` `(?!…)` and `$`, `\u{…}`.
//! Matching backtracks, leftmost alternative first, as Oniguruma does. Steps back are single characters of one class,
//! so the known patterns take linear time.

mod class;
mod parse;

use class::Class;

/// A parsed pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    alternatives: Vec<Vec<Node>>,
}

#[derive(Debug, Clone)]
enum Node {
    /// Between `min` and `max` characters of a class, as many as possible, and `step` more or less at a time.
    Class {
        class: Class,
        min: usize,
        max: usize,
        step: usize,
    },
    /// One of several sequences, or nothing if `optional`.
    Group {
        alternatives: Vec<Vec<Node>>,
        optional: bool,
    },
    /// What follows must, or must not, match.
    Look {
        alternatives: Vec<Vec<Node>>,
        wanted: bool,
    },
    /// The end of the text.
    End,
}

/// What remains to be matched after the current sequence.
struct Rest<'a> {
    nodes: &'a [Node],
    then: Option<&'a Rest<'a>>,
}

impl Pattern {
    /// Parses a pattern; `None` if it uses something unknown.
    pub fn new(source: &str) -> Option<Self> {
        Some(Self {
            alternatives: parse::parse(source)?,
        })
    }

    /// Cuts a text at its matches: matches and what lies between them, in order, nothing lost.
    pub fn split<'t>(&self, text: &'t str, mut piece: impl FnMut(&'t str)) {
        let mut gap = 0;
        let mut at = 0;
        while at < text.len() {
            match self.match_end(text, at).filter(|&end| end > at) {
                Some(end) => {
                    if gap < at {
                        piece(&text[gap..at]);
                    }
                    piece(&text[at..end]);
                    (gap, at) = (end, end);
                }
                None => at += char_at(text, at).map_or(1, char::len_utf8),
            }
        }
        if gap < text.len() {
            piece(&text[gap..]);
        }
    }

    /// End of the match that starts at a byte.
    fn match_end(&self, text: &str, at: usize) -> Option<usize> {
        self.alternatives
            .iter()
            .find_map(|nodes| run(nodes, None, text, at))
    }
}

fn char_at(text: &str, at: usize) -> Option<char> {
    text[at..].chars().next()
}

fn run(nodes: &[Node], then: Option<&Rest>, text: &str, at: usize) -> Option<usize> {
    let Some((node, nodes)) = nodes.split_first() else {
        return match then {
            Some(rest) => run(rest.nodes, rest.then, text, at),
            None => Some(at),
        };
    };
    match node {
        Node::Class {
            class,
            min,
            max,
            step,
        } => {
            let (least, most) = extent(class, [*min, *max, *step], text, at)?;
            if nodes.is_empty() && then.is_none() {
                return Some(most);
            }
            let mut end = most;
            loop {
                if let Some(found) = run(nodes, then, text, end) {
                    return Some(found);
                }
                if end <= least {
                    return None;
                }
                let back = text[least..end].char_indices().nth_back(step - 1);
                end = back.map_or(least, |(at, _)| least + at);
            }
        }
        Node::Group {
            alternatives,
            optional,
        } => {
            let rest = Rest { nodes, then };
            let found = alternatives
                .iter()
                .find_map(|inner| run(inner, Some(&rest), text, at));
            found.or_else(|| optional.then(|| run(nodes, then, text, at))?)
        }
        Node::Look {
            alternatives,
            wanted,
        } => {
            let found = alternatives
                .iter()
                .any(|inner| run(inner, None, text, at).is_some());
            (found == *wanted).then(|| run(nodes, then, text, at))?
        }
        Node::End => (at == text.len()).then(|| run(nodes, then, text, at))?,
    }
}

/// Where the fewest and the most characters of a class end.
fn extent(
    class: &Class,
    [min, max, step]: [usize; 3],
    text: &str,
    at: usize,
) -> Option<(usize, usize)> {
    let mut least = at;
    let (mut end, mut most) = (at, at);
    let mut count = 0;
    for c in text[at..].chars() {
        if count == max || !class.has(c) {
            break;
        }
        end += c.len_utf8();
        count += 1;
        if count == min {
            least = end;
        }
        if count >= min && (count - min).is_multiple_of(step) {
            most = end;
        }
    }
    (count >= min).then_some((least, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split<'t>(pattern: &str, text: &'t str) -> Vec<&'t str> {
        let mut pieces = Vec::new();
        Pattern::new(pattern)
            .unwrap()
            .split(text, |piece| pieces.push(piece));
        pieces
    }

    #[test]
    fn classes_and_repetition() {
        assert_eq!(
            split(r"\p{N}{1,3}", "a12345б٣"),
            ["a", "123", "45", "б", "٣"]
        );
        assert_eq!(
            split(r" ?\p{L}+|\s+", "ab  cé"),
            ["ab", " ", " cé"].map(|s| s)[..1]
                .to_vec()
                .into_iter()
                .chain(["  ", "cé"])
                .collect::<Vec<_>>()
        );
        assert_eq!(
            split(r"[^\s\p{L}]+[\r\n]*", "a--\n\nb"),
            ["a", "--\n\n", "b"]
        );
        assert_eq!(split(r"[a-c\-\]]{2}", "ab-]c"), ["ab", "-]", "c"]);
    }

    #[test]
    fn steps() {
        assert_eq!(
            split(
                r"\p{N}{1,3}(?=(?:\p{N}{3})*(?![\p{L}\p{N}]))",
                "12345 123456,1234a"
            ),
            ["12", "345", " ", "123", "456", ",1234a"]
        );
    }

    #[test]
    fn lookahead_and_end() {
        assert_eq!(
            split(r"\s+(?!\S)|\s+", "a   b  "),
            ["a", "  ", " ", "b", "  "]
        );
        assert_eq!(split(r"\s+$", "a  b  "), ["a  b", "  "]);
        assert_eq!(split(r"x(?=y)", "xyxz"), ["x", "yxz"]);
    }

    #[test]
    fn groups() {
        assert_eq!(
            split(r"(?i:'s|'re)|\p{L}+(?:'d|'D)?", "it'S we'rE he'dx"),
            ["it", "'S", " ", "we", "'rE", " ", "he'd", "x"]
        );
    }

    #[test]
    fn unknown_syntax_is_refused() {
        for source in [
            "(?<=a)b",
            "(ab)+",
            r"\p{Nope}",
            "a{",
            "[a",
            "(?:a",
            r"\q",
            "a**",
        ] {
            assert!(Pattern::new(source).is_none(), "{source}");
        }
    }
}
