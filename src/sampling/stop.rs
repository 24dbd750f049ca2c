//! Stop strings in streamed text. A stop string may begin in one piece of text and end in a later one, so the end
//! of the text that could still become a stop string is held back; nothing else is.
//! The answer does not depend on how the text was cut into pieces: the stop string that is complete first wins,
//! and of those that end at the same place the one that starts first.

/// What [`StopMatcher::push`] says about a piece of text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StopOutcome {
    /// Text that can be shown now.
    pub emit: String,
    /// A stop string was found; nothing follows.
    pub stopped: bool,
}

/// Finds stop strings across pieces of text.
#[derive(Debug, Clone, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopMatcher {
    /// Watches for any of `stops`; empty ones are ignored.
    pub fn new(stops: Vec<String>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        Self {
            stops,
            held: String::new(),
            stopped: false,
        }
    }

    /// Takes the next piece of text.
    pub fn push(&mut self, text: &str) -> StopOutcome {
        if self.stopped {
            return StopOutcome {
                emit: String::new(),
                stopped: true,
            };
        }
        self.held.push_str(text);
        if let Some(start) = self.find_stop() {
            self.stopped = true;
            self.held.truncate(start);
            return StopOutcome {
                emit: std::mem::take(&mut self.held),
                stopped: true,
            };
        }
        let rest = self.held.split_off(self.held.len() - self.open_end());
        StopOutcome {
            emit: std::mem::replace(&mut self.held, rest),
            stopped: false,
        }
    }

    /// The text held back, once no more will come.
    pub fn flush(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Start of the stop string that is complete first.
    fn find_stop(&self) -> Option<usize> {
        let found = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop).map(|at| (at + stop.len(), at)));
        found.min().map(|(_, start)| start)
    }

    /// Bytes at the end of the held text that may be the beginning of a stop string.
    fn open_end(&self) -> usize {
        let longest = self
            .stops
            .iter()
            .map(|stop| open_end(self.held.as_bytes(), stop.as_bytes()));
        longest.max().unwrap_or(0)
    }
}

fn open_end(text: &[u8], stop: &[u8]) -> usize {
    let most = text.len().min(stop.len() - 1);
    (1..=most)
        .rev()
        .find(|&n| text.ends_with(&stop[..n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut matcher = StopMatcher::new(stops.iter().map(|s| s.to_string()).collect());
        let mut text = String::new();
        let mut stopped = false;
        for piece in pieces {
            let outcome = matcher.push(piece);
            text.push_str(&outcome.emit);
            stopped = outcome.stopped;
        }
        text.push_str(&matcher.flush());
        (text, stopped)
    }

    #[test]
    fn across_pieces() {
        assert_eq!(run(&["END"], &["a E", "N", "D b"]), ("a ".into(), true));
        assert_eq!(
            run(&["END"], &["a E", "N", "d b"]),
            ("a ENd b".into(), false)
        );
        assert_eq!(
            run(&["\n\n"], &["x\n", "y\n", "\nz"]),
            ("x\ny".into(), true)
        );
        assert_eq!(run(&["aab"], &["aa", "ab"]), ("a".into(), true));
        assert_eq!(run(&[""], &["abc"]), ("abc".into(), false));
        assert_eq!(run(&["xaby", "ab"], &["xaby"]), ("x".into(), true));
    }

    #[test]
    fn holds_back_no_more_than_needed() {
        let mut matcher = StopMatcher::new(vec!["é!".into()]);
        assert_eq!(matcher.push("caf").emit, "caf");
        assert_eq!(matcher.push("é").emit, "");
        assert_eq!(matcher.push("s").emit, "és");
        assert_eq!(matcher.push("è").emit, "è");
    }

    proptest! {
        #[test]
        fn cutting_does_not_matter(text in "[abé]{0,30}", stops in prop::collection::vec("[abé]{1,4}", 0..3), cut in 1usize..5) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let chars: Vec<char> = text.chars().collect();
            let pieces: Vec<String> = chars.chunks(cut).map(|c| c.iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let whole = run(&stops, &[&text]);
            prop_assert_eq!(&whole, &run(&stops, &pieces));
            prop_assert!(!stops.iter().any(|s| whole.0.contains(s)));
        }
    }
}
