//! Every link between our own documents leads somewhere. Links to other sites are not followed: tests need no network.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

struct Link {
    line: usize,
    target: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Markdown files that git knows of, or will.
fn documents() -> Vec<String> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "*.md",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Lines outside code fences.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((index + 1, line))
    })
}

fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (line, prose) in prose(text) {
        // Code between single backticks is no link.
        let outside: String = prose.split('`').step_by(2).collect();
        for (start, _) in outside.match_indices("](") {
            let rest = &outside[start + 2..];
            let target = rest.split([')', ' ']).next().unwrap_or_default().to_owned();
            found.push(Link { line, target });
        }
    }
    found
}

/// The anchor that a heading gets: lower case, hyphens for spaces, no punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_anchor(document: &Path, wanted: &str) -> bool {
    let text = std::fs::read_to_string(document).unwrap_or_default();
    prose(&text)
        .any(|(_, line)| line.starts_with('#') && anchor(line.trim_start_matches('#')) == wanted)
}

/// Why a link leads nowhere.
fn broken(document: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = match path {
        "" => document.to_path_buf(),
        _ => document.parent()?.join(path),
    };
    if !file.exists() {
        return Some("there is no such file".to_owned());
    }
    let markdown = file.extension().is_some_and(|extension| extension == "md");
    let lost = !anchor.is_empty() && markdown && !has_anchor(&file, anchor);
    lost.then(|| format!("there is no heading #{anchor}"))
}

#[test]
fn links_lead_somewhere() {
    let mut findings = Vec::new();
    for name in documents() {
        let document = root().join(&name);
        let text = std::fs::read_to_string(&document).unwrap_or_default();
        for Link { line, target } in links(&text) {
            if let Some(reason) = broken(&document, &target) {
                findings.push(format!("{name}:{line}: {target}: {reason}"));
            }
        }
    }
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn headings_become_anchors() {
    assert_eq!(
        anchor(" The two commands, `chat` & test"),
        "the-two-commands-chat--test"
    );
}
