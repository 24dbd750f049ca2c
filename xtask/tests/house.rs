//! The rules of the house that no compiler checks: which module may use which, where unsafe code and the crates of one
//! purpose may stand, how long a file may be. docs/ARCHITECTURE.md says why.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// Modules from left to right; each may use those of earlier steps only.
const STEPS: [&[&str]; 7] = [
    &["error"],
    &["quant"],
    &["gguf", "chat"],
    &["tokenizer", "sampling", "model"],
    &["backend"],
    &["engine"],
    &["web"],
];

/// Words that may stand only below certain folders.
const PLACES: [(&[&str], &[&str]); 4] = [
    (
        &[
            "wasm_bindgen",
            "wasm_bindgen_futures",
            "js_sys",
            "web_sys",
            "gloo",
        ],
        // Besides, calls of WebGPU that wgpu has none for.
        &["src/web", "src/backend/gpu/browser.rs"],
    ),
    (&["tokenizers"], &["src/tokenizer"]),
    (&["wgpu"], &["src/backend/gpu"]),
    (
        &["unsafe"],
        &["src/backend/cpu/simd", "src/backend/cpu/pool"],
    ),
];

/// Backends of one kind do not know the others.
const STRANGERS: [(&str, &str); 2] = [("src/backend/cpu", "gpu"), ("src/backend/gpu", "cpu")];

const LONGEST_FILE: usize = 500;
const HALF_OF_THE_FILES: usize = 230;

struct Source {
    /// Relative to the root, with forward slashes.
    path: String,
    text: String,
}

impl Source {
    /// Lines without comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
    }

    /// `gguf` for `src/gguf/reader.rs` and for `src/gguf.rs`; nothing for `src/lib.rs`.
    fn module(&self) -> Option<&str> {
        let name = self.path.strip_prefix("src/")?.split('/').next()?;
        let name = name.strip_suffix(".rs").unwrap_or(name);
        (name != "lib").then_some(name)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folders: &[&str], endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&root().join(folder), folder, endings, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, name: &str, endings: &[&str], found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let name = format!("{name}/{file}");
        let generated = ["node_modules", "dist", "build", "target"].contains(&file.as_str());
        if path.is_dir() && !generated {
            collect(&path, &name, endings, found);
        } else if endings.iter().any(|ending| file.ends_with(ending)) {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push(Source { path: name, text });
        }
    }
}

fn step(module: &str) -> Option<usize> {
    STEPS.iter().position(|step| step.contains(&module))
}

/// The modules of the crate that a line names: `crate::gguf::…`, `crate::{gguf::…, quant}`. What lies in the crate's
/// root (`crate::Result`) comes from `error`.
fn used_modules(line: &str) -> Vec<&str> {
    let mut used = Vec::new();
    for (start, _) in line.match_indices("crate::") {
        let rest = &line[start + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 0;
                let items = group.split(|c| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    c == ',' && depth == 0
                });
                used.extend(items.map(first_word));
            }
            None => used.push(first_word(rest)),
        }
    }
    used.retain(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
    used
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        !line[..start].ends_with(part) && !line[start + word.len()..].starts_with(part)
    })
}

/// Fails with all findings at once.
fn none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn arrows_point_left() {
    let mut findings = Vec::new();
    for source in sources(&["src"], &[".rs"]) {
        let Some(module) = source.module() else {
            continue;
        };
        let Some(own) = step(module) else {
            findings.push(format!(
                "{}: module `{module}` has no place in STEPS",
                source.path
            ));
            continue;
        };
        // Imports may go over several lines; each statement is read as one.
        let code: Vec<&str> = source.code().map(|(_, line)| line.trim()).collect();
        for statement in code.join(" ").split(';') {
            for used in used_modules(statement) {
                let allowed = used == module || step(used).is_none_or(|other| other < own);
                if !allowed {
                    findings.push(format!("{}: `{module}` must not use `{used}`", source.path));
                }
            }
        }
    }
    none(&findings);
}

#[test]
fn backends_do_not_know_each_other() {
    let mut findings = Vec::new();
    for source in sources(&["src"], &[".rs"]) {
        for (folder, stranger) in STRANGERS {
            let paths = [format!("backend::{stranger}"), format!("super::{stranger}")];
            for (number, line) in source.code() {
                if source.path.starts_with(folder) && paths.iter().any(|path| line.contains(path)) {
                    findings.push(format!("{}:{number}: names {stranger}", source.path));
                }
            }
        }
    }
    none(&findings);
}

#[test]
fn special_things_stay_in_their_place() {
    let mut findings = Vec::new();
    for source in sources(&["src"], &[".rs"]) {
        for (words, folders) in PLACES {
            if folders.iter().any(|folder| source.path.starts_with(folder)) {
                continue;
            }
            for (number, line) in source.code() {
                for word in words {
                    // A string or a module may have the name; a crate is used by its path.
                    let used = match *word {
                        "unsafe" => ["{", "fn", "impl", "extern"]
                            .iter()
                            .any(|next| line.contains(&format!("unsafe {next}"))),
                        _ => has_word(line, word) && line.contains(&format!("{word}::")),
                    };
                    if used {
                        findings.push(format!(
                            "{}:{number}: `{word}` belongs to {folders:?}",
                            source.path
                        ));
                    }
                }
            }
        }
    }
    none(&findings);
}

#[test]
fn the_page_uses_the_package_as_any_user_would() {
    let mut findings = Vec::new();
    for source in sources(&["www/src"], &[".ts", ".tsx"]) {
        for (number, line) in source.code() {
            if line.contains("/pkg/")
                || line.contains("inkling-llm/src")
                || line.contains("inkling-llm/dist")
            {
                findings.push(format!(
                    "{}:{number}: reaches into the package",
                    source.path
                ));
            }
        }
    }
    none(&findings);
}

#[test]
fn files_stay_short() {
    let folders = ["src", "xtask", "benches", "pkg", "www", "tests"];
    let mut lengths = Vec::new();
    let mut findings = Vec::new();
    for source in sources(&folders, &[".rs", ".ts", ".tsx", ".mjs", ".css"]) {
        let lines = source.text.lines().count();
        lengths.push(lines);
        if lines > LONGEST_FILE {
            findings.push(format!("{}: {lines} lines", source.path));
        }
    }
    none(&findings);
    lengths.sort_unstable();
    let middle = lengths[lengths.len() / 2];
    assert!(
        middle <= HALF_OF_THE_FILES,
        "half of the files have {middle} lines or more"
    );
}

#[test]
fn module_names_are_found_in_imports() {
    assert_eq!(used_modules("use crate::gguf::{Value, crate_x};"), ["gguf"]);
    assert_eq!(
        used_modules("use crate::{Error, quant::{DType, q}, model};"),
        ["quant", "model"]
    );
    assert_eq!(
        used_modules("crate::engine::f(crate::web::g())"),
        ["engine", "web"]
    );
    assert_eq!(used_modules("use crate::Result;"), [""; 0]);
}
