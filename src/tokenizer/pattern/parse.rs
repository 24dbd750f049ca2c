//! Reads the text of a pattern.

use std::iter::Peekable;
use std::str::Chars;

use super::Node;
use super::class::Class;

struct Parser<'s> {
    chars: Peekable<Chars<'s>>,
    ignore_case: bool,
}

/// The alternatives of a pattern, or `None` where it is not understood.
pub(super) fn parse(source: &str) -> Option<Vec<Vec<Node>>> {
    let mut parser = Parser {
        chars: source.chars().peekable(),
        ignore_case: false,
    };
    let alternatives = parser.alternatives()?;
    parser.chars.next().is_none().then_some(alternatives)
}

impl Parser<'_> {
    fn take(&mut self, wanted: char) -> bool {
        self.chars.next_if_eq(&wanted).is_some()
    }

    fn alternatives(&mut self) -> Option<Vec<Vec<Node>>> {
        let mut alternatives = vec![Vec::new()];
        while let Some(&c) = self.chars.peek() {
            match c {
                ')' => break,
                '|' => {
                    self.chars.next();
                    alternatives.push(Vec::new());
                }
                _ => {
                    let node = self.node()?;
                    alternatives.last_mut()?.push(node);
                }
            }
        }
        Some(alternatives)
    }

    fn node(&mut self) -> Option<Node> {
        match self.chars.next()? {
            '(' => self.group(),
            '$' => Some(Node::End),
            '[' => {
                let class = self.class()?;
                self.repeated(class)
            }
            '\\' => {
                let mut class = Class::default();
                self.escape(&mut class)?;
                self.repeated(class.finish(false))
            }
            '*' | '+' | '?' | '{' => None,
            c => {
                let mut class = Class::default();
                class.add_range(c, c);
                if self.ignore_case {
                    c.to_lowercase()
                        .chain(c.to_uppercase())
                        .for_each(|other| class.add_range(other, other));
                }
                self.repeated(class.finish(false))
            }
        }
    }

    fn group(&mut self) -> Option<Node> {
        let mut look = None;
        let outer = self.ignore_case;
        if self.take('?') {
            match self.chars.next()? {
                ':' => {}
                '=' => look = Some(true),
                '!' => look = Some(false),
                'i' if self.take(':') => self.ignore_case = true,
                _ => return None,
            }
        }
        let alternatives = self.alternatives()?;
        self.ignore_case = outer;
        if !self.take(')') {
            return None;
        }
        if look.is_none() && self.take('*') {
            return steps(alternatives);
        }
        Some(match look {
            Some(wanted) => Node::Look {
                alternatives,
                wanted,
            },
            None => Node::Group {
                alternatives,
                optional: self.take('?'),
            },
        })
    }

    /// The inside of `[…]`.
    fn class(&mut self) -> Option<Class> {
        let mut class = Class::default();
        let negated = self.take('^');
        loop {
            let first = match self.chars.next()? {
                ']' => return Some(class.finish(negated)),
                '\\' => match self.escape(&mut class)? {
                    Some(c) => c,
                    None => continue,
                },
                c => c,
            };
            let mut ahead = self.chars.clone();
            if ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']') {
                self.chars.next();
                let last = match self.chars.next()? {
                    '\\' => self.escape(&mut class)??,
                    c => c,
                };
                class.add_range(first, last);
            } else {
                class.add_range(first, first);
            }
        }
    }

    /// After a backslash: adds to the class, and gives the character if it is a single one.
    fn escape(&mut self, class: &mut Class) -> Option<Option<char>> {
        let c = match self.chars.next()? {
            's' => {
                class.add_space(true);
                return Some(None);
            }
            'S' => {
                class.add_space(false);
                return Some(None);
            }
            'p' => {
                let name: String = self
                    .take('{')
                    .then(|| self.chars.by_ref().take_while(|&c| c != '}').collect())?;
                return class.add_category(&name).then_some(None);
            }
            'u' => {
                let code: String = self
                    .take('{')
                    .then(|| self.chars.by_ref().take_while(|&c| c != '}').collect())?;
                char::from_u32(u32::from_str_radix(&code, 16).ok()?)?
            }
            'r' => '\r',
            'n' => '\n',
            't' => '\t',
            c if c.is_ascii_alphanumeric() => return None,
            c => c,
        };
        class.add_range(c, c);
        Some(Some(c))
    }

    fn repeated(&mut self, class: Class) -> Option<Node> {
        let (min, max) = match self.chars.peek() {
            Some('?') => (0, 1),
            Some('*') => (0, usize::MAX),
            Some('+') => (1, usize::MAX),
            Some('{') => {
                self.chars.next();
                let mut counts = String::new();
                while let Some(c) = self.chars.next_if(|&c| c != '}') {
                    counts.push(c);
                }
                let (min, max) = counts.split_once(',').unwrap_or((&counts, &counts));
                let max = if max.is_empty() {
                    usize::MAX
                } else {
                    max.parse().ok()?
                };
                (min.parse().ok()?, max)
            }
            _ => {
                return Some(Node::Class {
                    class,
                    min: 1,
                    max: 1,
                    step: 1,
                });
            }
        };
        self.chars.next();
        Some(Node::Class {
            class,
            min,
            max,
            step: 1,
        })
    }
}

/// `(?:…{n})*` of one class, up to a hundred times: what stands for groups of digits is looked up at each of them.
fn steps(alternatives: Vec<Vec<Node>>) -> Option<Node> {
    let [sequence] = <[Vec<Node>; 1]>::try_from(alternatives).ok()?;
    let [node] = <[Node; 1]>::try_from(sequence).ok()?;
    match node {
        Node::Class {
            class, min, max, ..
        } if min == max && max > 0 => Some(Node::Class {
            class,
            min: 0,
            max: 100 * max,
            step: max,
        }),
        _ => None,
    }
}
