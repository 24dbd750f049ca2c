//! One-feature Jinja templates with the answers of Hugging Face's environment.

#![allow(clippy::unwrap_used)]

use inkling::Error;
use inkling::chat::render_template;
use serde_json::{Map, Value};

/// Explained in docs/templates.md.
const KNOWN_DIFFERENCES: [&str; 1] = ["macro_varargs"];

fn context(file: &Value, case: &Value) -> Value {
    let mut context = file["defaults"]
        .as_object()
        .cloned()
        .unwrap_or_else(Map::new);
    context.insert("messages".into(), case["messages"].clone());
    context.insert("now".into(), file["now"].clone());
    context.extend(case["vars"].as_object().unwrap().clone());
    Value::Object(context)
}

fn run(name: &str) {
    let path = format!("{}/tests/fixtures/chat/{name}", env!("CARGO_MANIFEST_DIR"));
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let mut wrong = Vec::new();
    for case in cases {
        let result = render_template(case["template"].as_str().unwrap(), &context(&file, case));
        let right = match (
            &result,
            case["expected"].as_str(),
            case["error_kind"].as_str(),
        ) {
            (Ok(text), Some(expected), _) => text == expected,
            (Err(Error::TemplateRaised(text)), None, Some("raise_exception")) => {
                *text == case["error"]
            }
            (Err(Error::Template(_)), None, Some(kind)) => kind != "raise_exception",
            _ => false,
        };
        if !right && !KNOWN_DIFFERENCES.contains(&case["name"].as_str().unwrap()) {
            let (name, template) = (&case["name"], &case["template"]);
            let wanted = [&case["expected"], &case["error"]];
            wrong.push(format!(
                "{name}: {template}\n  got    {result:?}\n  wanted {wanted:?}"
            ));
        }
    }
    println!(
        "{name}: {} of {} right",
        cases.len() - wrong.len(),
        cases.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hugging_face_features() {
    run("jinja-features.json");
}

#[test]
fn python_values() {
    run("python-values.json");
}
