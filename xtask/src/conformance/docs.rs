//! `cargo xtask models`: measures the tables of docs/MODELS.md.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::agreement::{Agreement, by_table};
use super::families::{FAMILIES, Family};
use super::{Backend, Options, on_host};
use crate::project::Project;

const DOCUMENT: &str = "docs/MODELS.md";
const FIXTURES: &str = "tests/fixtures/models";
/// Fixtures in which every matrix has one type, named after it.
const TYPES: &str = "llama-q-";

/// Column of a backend: its heading, and the storage of its cache.
const BACKENDS: [(Backend, &str, &str); 3] = [
    (Backend::Reference, "exact", "f32"),
    (Backend::Cpu, "CPU", "f16"),
    (Backend::Gpu, "GPU", "f16"),
];

/// Results of one backend by the model's name.
type Results = BTreeMap<String, Value>;

/// Runs every fixture on each backend and writes what came out; the GPU's column only if `gpu`.
pub fn write(project: &Project, gpu: bool) -> Result<()> {
    let questions = questions(project)?;
    let mut columns = Vec::new();
    for (backend, _, kv_type) in BACKENDS {
        let measured = backend != Backend::Gpu || gpu;
        columns.push(if measured {
            measure(project, backend, kv_type, &questions)?
        } else {
            Results::new()
        });
    }
    let path = project.path(DOCUMENT);
    let text = std::fs::read_to_string(&path).context(DOCUMENT)?;
    let text = with_tables(&text, &tables(&questions, &columns)?)?;
    std::fs::write(&path, text).context(DOCUMENT)?;
    Ok(())
}

fn questions(project: &Project) -> Result<Results> {
    let mut found = Results::new();
    for entry in std::fs::read_dir(project.path(FIXTURES)).context(FIXTURES)? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(name) = file.strip_suffix(".expected.json") {
            found.insert(name.to_owned(), read(&path)?);
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

fn measure(
    project: &Project,
    backend: Backend,
    kv_type: &str,
    questions: &Results,
) -> Result<Results> {
    let options = Options {
        expected: project.path(FIXTURES),
        results: project.cache(&format!("models/{}", backend.name())),
        backend,
        kv_type: kv_type.to_owned(),
        browser: None,
        check: false,
        only: Vec::new(),
    };
    on_host(project, &options)?;
    let result = |name: &String| {
        let path = options.results.join(format!("{name}.result.json"));
        Ok((name.clone(), read(&path)?))
    };
    questions.keys().map(result).collect()
}

/// The tables by the name of their marker.
fn tables(questions: &Results, columns: &[Results]) -> Result<[(&'static str, String); 2]> {
    Ok([
        ("families", families(questions, columns)?),
        ("types", types(questions, columns)?),
    ])
}

fn families(questions: &Results, columns: &[Results]) -> Result<String> {
    let mut rows = vec![heading("| `general.architecture` | models |")];
    for family in FAMILIES {
        let Family {
            names,
            models,
            fixtures,
        } = family;
        let table = fixtures
            .iter()
            .any(|name| questions.get(*name).is_some_and(by_table));
        let mark = if table { " ¹" } else { "" };
        let mut row = format!("| {names} | {models}{mark} |");
        for results in columns {
            row += &format!(" {} |", cell(fixtures, questions, results)?);
        }
        rows.push(row);
    }
    Ok(rows.join("\n"))
}

fn types(questions: &Results, columns: &[Results]) -> Result<String> {
    let mut rows = vec![heading("| type | llama.cpp's own rounding |")];
    for (name, question) in questions {
        let Some(dtype) = name.strip_prefix(TYPES) else {
            continue;
        };
        let own = question["sequences"].as_array().into_iter().flatten();
        let own = own
            .filter_map(|sequence| sequence["native_rel_l2"].as_f64())
            .reduce(f64::max);
        let own = own.map_or("–".to_owned(), |error| format!("{error:.1e}"));
        let mut row = format!("| {dtype} | {own} |");
        for results in columns {
            row += &format!(" {} |", cell(&[name], questions, results)?);
        }
        rows.push(row);
    }
    Ok(rows.join("\n"))
}

fn heading(first: &str) -> String {
    let names: String = BACKENDS
        .iter()
        .map(|(_, name, _)| format!(" {name} |"))
        .collect();
    let rule = "| --- ".repeat(2 + BACKENDS.len());
    format!("{first}{names}\n{rule}|")
}

/// The worst of some fixtures.
fn cell(fixtures: &[&str], questions: &Results, results: &Results) -> Result<String> {
    let mut all: Option<Agreement> = None;
    for name in fixtures {
        let question = questions
            .get(*name)
            .with_context(|| format!("there is no fixture {name}"))?;
        let Some(result) = results.get(*name) else {
            return Ok("–".to_owned());
        };
        let Some(agreement) = Agreement::of(question, result) else {
            if result["code"] == "gpu" {
                return Ok("by the CPU".to_owned());
            }
            bail!("{name}: {}", result["error"]);
        };
        all = Some(all.map_or(agreement, |all| all.with(agreement)));
    }
    Ok(all.map_or("–".to_owned(), Agreement::cell))
}

/// The document with each table in the place of the old one.
fn with_tables(text: &str, tables: &[(&str, String)]) -> Result<String> {
    let mut text = text.to_owned();
    for (name, table) in tables {
        let range = section(&text, name)?;
        text.replace_range(range, &format!("\n\n{table}\n\n"));
    }
    Ok(text)
}

/// What stands between the markers of a table.
fn section(text: &str, name: &str) -> Result<std::ops::Range<usize>> {
    let begin = format!("<!-- measured: {name} -->");
    let found = || {
        let start = text.find(&begin)? + begin.len();
        let len = text[start..].find("<!-- end -->")?;
        Some(start..start + len)
    };
    found().with_context(|| format!("{DOCUMENT} lacks the markers of the table `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows without their figures, which differ between machines in the last digit.
    fn form(table: &str) -> Vec<String> {
        let first_two = |line: &str| line.split(" | ").take(2).collect::<Vec<_>>().join(" | ");
        let rows = table.trim().lines().map(first_two);
        rows.map(|row| {
            let is_type = row.starts_with("| ") && !row.contains('`');
            let first = row.split(" | ").next().unwrap_or_default().to_owned();
            if is_type { first } else { row }
        })
        .collect()
    }

    #[test]
    fn committed_tables_have_the_form_that_is_generated() -> Result<()> {
        let project = Project::find()?;
        let questions = questions(&project)?;
        let text = std::fs::read_to_string(project.path(DOCUMENT))?;
        for (name, table) in tables(&questions, &[const { Results::new() }; 3])? {
            let committed = &text[section(&text, name)?];
            let hint = "run `cargo xtask models`";
            assert_eq!(form(committed), form(&table), "{name}: {hint}");
            let measured = committed.lines().skip(4).filter(|line| !line.is_empty());
            for line in measured {
                assert_eq!(line.matches(" |").count(), 5, "{line}");
                assert!(line.contains("e-"), "{line}: not measured; {hint}");
            }
        }
        Ok(())
    }

    #[test]
    fn every_fixture_is_in_a_table() -> Result<()> {
        let named: Vec<&str> = FAMILIES
            .iter()
            .flat_map(|family| family.fixtures)
            .copied()
            .collect();
        for name in questions(&Project::find()?)?.keys() {
            let known = named.contains(&name.as_str()) || name.starts_with(TYPES);
            assert!(known, "{name} is in no row of families.rs");
        }
        Ok(())
    }

    #[test]
    fn every_architecture_is_in_a_table() -> Result<()> {
        let table = std::fs::read_to_string(Project::find()?.path("src/model/table.rs"))?;
        let names = ["name: \"", ".named(\""]
            .into_iter()
            .flat_map(|mark| table.split(mark).skip(1))
            .filter_map(|rest| rest.split('"').next());
        let mut count = 0;
        for name in names {
            let quoted = format!("`{name}`");
            let known = FAMILIES.iter().any(|family| family.names.contains(&quoted));
            assert!(known, "{name} is in no row of families.rs");
            count += 1;
        }
        assert!(count > 60, "{count}");
        Ok(())
    }
}
