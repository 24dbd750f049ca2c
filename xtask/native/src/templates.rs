//! Chat templates: one-feature cases, and templates × conversations.

use inkling::chat::render_template;
use serde_json::{Map, Value, json};

use crate::conformance::failure;

/// Keys that name or describe an entry; all others are variables of the template.
const NOT_VARIABLES: [&str; 9] = [
    "name",
    "id",
    "description",
    "source",
    "template",
    "chat_template",
    "vars",
    "expected",
    "error",
];

/// `jinja-features.json`: each case has its own template.
pub fn features(file: &Value) -> Value {
    let cases = file["cases"].as_array().into_iter().flatten();
    let answers: Vec<Value> = cases
        .map(|case| {
            let context = context(
                file,
                &[&json!({ "messages": case["messages"] }), &case["vars"]],
            );
            render(case["template"].as_str(), context)
        })
        .collect();
    json!({ "cases": answers })
}

/// `chat-templates.json`: every template with every conversation.
pub fn chats(file: &Value) -> Value {
    let mut by_template = Map::new();
    for (template_name, template) in entries(&file["templates"]) {
        let source = template.as_str().or_else(|| {
            let keys = ["template", "chat_template", "source"];
            keys.iter().find_map(|key| template[key].as_str())
        });
        let mut answers = Map::new();
        for (name, conversation) in entries(&file["conversations"]) {
            let messages = json!({ "messages": conversation });
            let conversation = if conversation.is_array() {
                &messages
            } else {
                conversation
            };
            let context = context(
                file,
                &[
                    template,
                    &template["vars"],
                    conversation,
                    &conversation["vars"],
                ],
            );
            answers.insert(name, render(source, context));
        }
        by_template.insert(template_name, Value::Object(answers));
    }
    json!({ "templates": by_template })
}

/// Named entries of a map, or of a list whose items have a name (or are known by their place).
fn entries(value: &Value) -> Vec<(String, &Value)> {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(name, entry)| (name.clone(), entry))
            .collect(),
        Value::Array(list) => {
            let named = list.iter().enumerate().map(|(index, entry)| {
                let name = entry["name"].as_str().or_else(|| entry["id"].as_str());
                (name.map_or_else(|| index.to_string(), str::to_owned), entry)
            });
            named.collect()
        }
        _ => Vec::new(),
    }
}

/// The file's defaults and clock, then the variables of each layer over those before.
fn context(file: &Value, layers: &[&Value]) -> Map<String, Value> {
    let mut context = Map::new();
    if !file["now"].is_null() {
        context.insert("now".into(), file["now"].clone());
    }
    for layer in std::iter::once(&&file["defaults"]).chain(layers) {
        for (key, value) in layer.as_object().into_iter().flatten() {
            if !NOT_VARIABLES.contains(&key.as_str()) {
                context.insert(key.clone(), value.clone());
            }
        }
    }
    context
}

fn render(source: Option<&str>, context: Map<String, Value>) -> Value {
    let Some(source) = source else {
        return json!({ "error": "there is no template" });
    };
    match render_template(source, &Value::Object(context)) {
        Ok(text) => json!({ "expected": text }),
        Err(error) => failure(&error.into()),
    }
}
