//! How many tests another program ran, read from what it prints.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::process::line;

/// The result of a suite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub passed: usize,
    pub failed: usize,
}

impl Outcome {
    pub const PASSED: Self = Self {
        passed: 1,
        failed: 0,
    };
    pub const FAILED: Self = Self {
        passed: 0,
        failed: 1,
    };

    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// One check that is the success of one command.
pub fn check(command: &mut Command) -> Result<Outcome> {
    let status = command.status().with_context(|| line(command))?;
    if status.success() {
        return Ok(Outcome::PASSED);
    }
    println!("{} ended with {status}", line(command));
    Ok(Outcome::FAILED)
}

/// Runs a test program, shows its output, and counts with `read`, which sees every line.
pub fn tests(command: &mut Command, read: fn(&str) -> Option<Outcome>) -> Result<Outcome> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| line(command))?;
    let stdout = child.stdout.take().context("no output to read")?;
    let mut sum = Outcome::default();
    for text in BufReader::new(stdout).split(b'\n') {
        let text = text?;
        let text = String::from_utf8_lossy(&text);
        println!("{text}");
        if let Some(outcome) = read(&text) {
            sum.add(outcome);
        }
    }
    let status = child.wait()?;
    // It did not compile, it crashed, or it ran nothing at all.
    if (!status.success() && sum.failed == 0) || sum == Outcome::default() {
        println!(
            "{} ended with {status} and told of no failed test",
            line(command)
        );
        sum.failed += 1;
    }
    Ok(sum)
}

/// `test result: ok. 12 passed; 0 failed; …`: one line for each test binary.
pub fn cargo_test(line: &str) -> Option<Outcome> {
    let rest = line.trim().strip_prefix("test result: ")?;
    let (_, counts) = rest.split_once(". ")?;
    let number = |word: &str| {
        let part = counts.split("; ").find(|part| part.ends_with(word))?;
        part.split(' ').next()?.parse().ok()
    };
    Some(Outcome {
        passed: number("passed")?,
        failed: number("failed")?,
    })
}

/// Node's own test runner (`# pass 12` or `ℹ pass 12`, then the same with `fail`) and Vitest (`Tests  1 failed | 11
/// passed (12)`).
pub fn node_test(line: &str) -> Option<Outcome> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("# ").or_else(|| line.strip_prefix("ℹ ")) {
        let (word, count) = rest.split_once(' ')?;
        let count = count.parse().ok()?;
        return match word {
            "pass" => Some(Outcome {
                passed: count,
                failed: 0,
            }),
            "fail" | "cancelled" => Some(Outcome {
                passed: 0,
                failed: count,
            }),
            _ => None,
        };
    }
    let mut outcome = Outcome::default();
    let parts = line.strip_prefix("Tests ")?.split(['|', '(']);
    for part in parts {
        match part.trim().split_once(' ') {
            Some((count, "passed")) => outcome.passed = count.parse().ok()?,
            Some((count, "failed")) => outcome.failed = count.parse().ok()?,
            _ => {}
        }
    }
    Some(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read() {
        let outcome = |passed, failed| Some(Outcome { passed, failed });
        let cargo = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(cargo_test(cargo), outcome(12, 3));
        assert_eq!(cargo_test("test gguf::reads ... ok"), None);
        assert_eq!(node_test("# pass 7"), outcome(7, 0));
        assert_eq!(node_test("ℹ fail 2"), outcome(0, 2));
        assert_eq!(node_test("# tests 9"), None);
        assert_eq!(node_test("# Subtest: pass through"), None);
        assert_eq!(
            node_test("      Tests  1 failed | 11 passed (12)"),
            outcome(11, 1)
        );
        assert_eq!(node_test(" Tests  4 passed (4)"), outcome(4, 0));
    }
}
