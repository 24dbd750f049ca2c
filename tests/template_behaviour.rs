//! What the template engine promises beyond rendering as Hugging Face does: refusals keep their words, mistakes name
//! their line, hostile templates end with an error, and the fallbacks work.
#![allow(clippy::unwrap_used, clippy::panic)]

use inkling::Error;
use inkling::chat::{ChatTemplate, LocalTime, RenderContext, render_template};
use serde_json::{Map, Value, json};

fn render(source: &str, context: Value) -> Result<String, Error> {
    render_template(source, &context)
}

fn message(error: Result<String, Error>) -> String {
    match error {
        Err(Error::Template(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals_keep_their_words() {
    let macro_inside =
        "{% macro m() %}{{ raise_exception('no ' ~ who) }}{% endmacro %}{{ m() | upper }}";
    for source in ["{{ raise_exception('no ' ~ who) }}", macro_inside] {
        assert_eq!(
            render(source, json!({"who": "tools"})),
            Err(Error::TemplateRaised("no tools".into()))
        );
    }
}

#[test]
fn mistakes_name_their_line() {
    assert!(message(render("a\n\n{{ b.c.d }}", json!({}))).contains(":3"));
    assert!(message(render("a\n{% if %}", json!({}))).contains(":2"));
    assert!(message(render("{{ x | nothing }}", json!({}))).contains("nothing"));
}

/// In a thread with less stack than a page gives.
fn with_little_stack(test: fn()) {
    std::thread::Builder::new()
        .stack_size(768 << 10)
        .spawn(test)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn hostile_templates_end() {
    with_little_stack(|| {
        let deep = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
        let lists = format!("{{{{ {}{} }}}}", "[".repeat(5000), "]".repeat(5000));
        let ifs = "{% if true %}".repeat(5000);
        let sources = [
            "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a * b %}{% endfor %}{% endfor %}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{% macro f(n) %}{% for i in [1] %}{% if n %}{{ f(n + 1) | trim }}{% endif %}{% endfor %}{% endmacro %}{{ f(1) }}",
            "{% for x in y recursive %}{{ loop(y) }}{% endfor %}",
            "{{ range(99999999999) | list }}",
            "{{ 'a' * 99999999999 }}",
            "{% set s = 'a' * 99999 %}{% for i in range(99999) %}{{ s }}{% endfor %}",
            "{{ 'a'.ljust(99999999999) }}",
            &format!("{{{{ {deep} }}}}"),
            &lists,
            &ifs,
        ];
        for source in sources {
            let text = message(render(source, json!({"y": [1]})));
            assert!(!text.is_empty(), "{source:.60}");
        }
    });
}

#[test]
fn deep_values_are_written_or_refused() {
    with_little_stack(|| {
        let deep = "{% set n = namespace(v=[]) %}{% for i in range(400) %}{% set n.v = [n.v] %}{% endfor %}";
        assert!(
            message(render(&format!("{deep}{{{{ n.v | tojson }}}}"), json!({}))).contains("nested")
        );
    });
}

#[test]
fn any_text_parses_or_is_refused() {
    let pieces = [
        "{{", "}}", "{%", "%}", "{#", "#}", "'", "[::", "-1]", " % ", "raw", "x", "(", ")", "é",
        "|", "-", "\n",
    ];
    let mut state = 1u32;
    for _ in 0..3000 {
        let mut source = String::new();
        for _ in 0..state % 13 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            source.push_str(pieces[(state >> 16) as usize % pieces.len()]);
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let _ = render(&source, json!({"x": "y"}));
    }
}

#[test]
fn fallbacks() {
    let messages = [
        json!({"role": "system", "content": "S"}),
        json!({"role": "user", "content": "U"}),
    ];
    let extra = Map::new();
    let context = RenderContext {
        messages: &messages,
        tools: None,
        add_generation_prompt: true,
        bos_token: "<s>",
        eos_token: "</s>",
        extra: &extra,
        now: None,
    };
    let chatml =
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(
        ChatTemplate::chatml().unwrap().render(&context).unwrap(),
        chatml
    );
    assert_eq!(
        ChatTemplate::plain().unwrap().render(&context).unwrap(),
        "S\n\nUser: U\nAssistant:"
    );
}

#[test]
fn variables_and_clock() {
    let source = "{{ bos_token }}{{ tools is none }}{{ documents is none }}{{ mode }}{{ strftime_now('%Y') }}";
    let template = ChatTemplate::parse(source).unwrap();
    assert_eq!(template.source(), source);
    let extra = json!({"mode": "fast", "bos_token": "B"});
    let context = RenderContext {
        messages: &[],
        tools: None,
        add_generation_prompt: false,
        bos_token: "<s>",
        eos_token: "",
        extra: extra.as_object().unwrap(),
        now: Some(LocalTime::from_unix(0, 3600)),
    };
    assert_eq!(template.render(&context).unwrap(), "BTrueTruefast1970");
    assert!(matches!(
        render("", json!([])),
        Err(Error::InvalidRequest(_))
    ));
    assert!(matches!(
        render("", json!({"now": "soon"})),
        Err(Error::InvalidRequest(_))
    ));
}
