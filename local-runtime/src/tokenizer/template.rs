//! Conversations to prompt text, by the model's own Jinja templates, as transformers' `apply_chat_template` does it.
//!
//! Templates come with model files, so they are run within bounds: see [`super::confine`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{AutoEscape, Environment, Value, machinery};
use serde::Deserialize as _;
use serde_json::{Map, Value as Json, json};

use super::confine;
use super::guard::{ControlTokens, Guard};
use super::jinja;
use crate::chat::{ChatMessage, ChatPrompt, ToolCall};
use crate::error::{Error, Result};

/// Template instructions; a conversation of a thousand turns takes some 100,000.
const FUEL: u64 = 10_000_000;
/// The longest template of the supported families has some 20 KB.
const TEMPLATE_BYTES_MAX: usize = 1 << 18;
const CONFIG_BYTES_MAX: u64 = 16 << 20;
const RECURSION_MAX: usize = 64;
/// transformers' marker of where the last message ends; the space at its end tells whether the template trims.
const CONTINUE_TAG: &str = "CONTINUE_FINAL_MESSAGE_TAG ";
const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";
/// The special tokens that templates may name.
const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A model's chat templates, compiled.
#[derive(Debug)]
pub(crate) struct ChatTemplates {
    environment: Environment<'static>,
    sources: BTreeMap<String, String>,
    special_tokens: Map<String, Json>,
}

impl ChatTemplates {
    /// From `chat_template.jinja` and `additional_chat_templates/`, else from `tokenizer_config.json`; `None` if
    /// neither has one.
    pub(crate) fn load(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join("tokenizer_config.json");
        let config: Json = match read_bounded(&path, CONFIG_BYTES_MAX)? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::CorruptModel { path, reason: error.to_string() })?,
            None => Json::Null,
        };
        let mut sources = beside(directory)?;
        if sources.is_empty() {
            sources = inside(&config);
        }
        if sources.is_empty() {
            return Ok(None);
        }
        // Tokens are written as a text, or as an object with the text in it.
        let token = |key: &&str| {
            let token = config.get(*key)?;
            let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
            Some(((*key).to_owned(), Json::from(text)))
        };
        Self::compile(sources, SPECIAL_TOKENS.iter().filter_map(token).collect()).map(Some)
    }

    pub(crate) fn compile(
        mut sources: BTreeMap<String, String>,
        special_tokens: Map<String, Json>,
    ) -> Result<Self> {
        let mut environment = jinja::environment().map_err(|error| refused(&error))?;
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION_MAX);
        confine::confine(&mut environment);
        for (name, source) in &mut sources {
            if source.len() > TEMPLATE_BYTES_MAX {
                return Err(Error::Template {
                    reason: format!("it has {} bytes; {TEMPLATE_BYTES_MAX} are allowed", source.len()),
                });
            }
            *source = jinja::without_generation_tags(source);
            confine::compile(name, source, 0).map_err(|error| refused(&error))?;
        }
        Ok(Self { environment, sources, special_tokens })
    }

    pub(crate) fn sources(&self) -> Vec<&str> {
        self.sources.values().map(String::as_str).collect()
    }

    /// The template for a conversation.
    fn name(&self, with_tools: bool) -> Result<&str> {
        let names: [&str; 2] = if with_tools { [TOOL_USE, DEFAULT] } else { [DEFAULT, DEFAULT] };
        names.into_iter().find(|name| self.sources.contains_key(*name)).ok_or_else(|| Error::Template {
            reason: "the model has several templates, none of them `default`".to_owned(),
        })
    }

    /// The source of the template for conversations with tools.
    pub(crate) fn source_for_tools(&self) -> Option<&str> {
        self.sources.get(self.name(true).ok()?).map(String::as_str)
    }

    /// The prompt text with the guard's marks still in it, and the guard.
    pub(crate) fn render<'t>(
        &self,
        prompt: &ChatPrompt,
        tokens: &'t ControlTokens,
    ) -> Result<(String, Guard<'t>)> {
        let name = self.name(!prompt.tools.is_empty())?;
        let source = &self.sources[name];
        let outside = outside_texts(prompt);
        let guard = Guard::new(tokens, |mark| !outside.contains(mark));
        let context = self.context(prompt, source, &guard);
        let context = Value::deserialize(Json::Object(context))
            .map_err(|error| Error::Template { reason: error.to_string() })?;
        let mut text = self.run(name, source, context, outside.len()).map_err(|error| refused(&error))?;
        if prompt.assistant_prefix {
            cut_at_tag(&mut text)?;
        }
        Ok((text, guard))
    }

    /// Templates are compiled anew each time, which takes a fraction of a millisecond: what is compiled borrows from its
    /// source.
    fn run(
        &self,
        name: &str,
        source: &str,
        context: Value,
        outside_bytes: usize,
    ) -> Result<String, minijinja::Error> {
        let instructions = confine::compile(name, source, outside_bytes)?;
        let blocks = BTreeMap::new();
        let mut text = String::new();
        let mut output = machinery::make_string_output(&mut text);
        machinery::eval(&self.environment, &instructions, context, &blocks, &mut output, AutoEscape::None)?;
        drop(output);
        Ok(text)
    }

    fn context(&self, prompt: &ChatPrompt, source: &str, guard: &Guard<'_>) -> Map<String, Json> {
        let mut messages: Vec<Json> =
            prompt.messages.iter().map(|message| message_json(message, source, guard)).collect();
        if prompt.assistant_prefix
            && let Some(content) = messages.last_mut().and_then(|message| message.get_mut("content"))
        {
            *content = Json::from(format!("{}{CONTINUE_TAG}", content.as_str().unwrap_or_default()));
        }
        let list = |items: Vec<Json>| if items.is_empty() { Json::Null } else { Json::Array(items) };
        let tool = |tool: &crate::chat::ToolSpec| json!({"type": "function", "function": guard.mark_json(&tool.to_json())});
        let document = |document: &crate::chat::Document| json!({"title": guard.mark(&document.title), "text": guard.mark(&document.text)});
        let mut context = self.special_tokens.clone();
        let mut put = |name: &str, value: Json| context.insert(name.to_owned(), value);
        put("messages", Json::Array(messages));
        put("tools", list(prompt.tools.iter().map(tool).collect()));
        put("documents", list(prompt.documents.iter().map(document).collect()));
        put("add_generation_prompt", Json::Bool(!prompt.assistant_prefix));
        let now = prompt.now.unwrap_or_else(SystemTime::now).duration_since(UNIX_EPOCH);
        put(jinja::NOW, Json::from(now.map_or(0, |now| now.as_secs())));
        if let Some(thinking) = prompt.thinking {
            // Qwen 3 and SmolLM3 ask for the one, Granite and DeepSeek for the other.
            put("enable_thinking", Json::Bool(thinking));
            put("thinking", Json::Bool(thinking));
        }
        for (name, value) in &prompt.variables {
            put(name, guard.mark_json(value));
        }
        context
    }
}

/// A message as transformers hands it to templates: absent members are left out, reasoning goes by two names.
fn message_json(message: &ChatMessage, source: &str, guard: &Guard<'_>) -> Json {
    let mut object = Map::new();
    let mut put = |name: &str, value: Json| object.insert(name.to_owned(), value);
    let text = |text: &str| Json::from(guard.mark(text));
    let (reasoning, content) = split_reasoning(message, source);
    if let Some(reasoning) = reasoning {
        put("thinking", text(reasoning));
    }
    put("role", Json::from(message.role.as_str()));
    if let Some(content) = content {
        put("content", text(content));
    }
    if let Some(name) = &message.name {
        put("name", text(name));
    }
    if !message.tool_calls.is_empty() {
        put("tool_calls", message.tool_calls.iter().map(|call| call_json(call, guard)).collect());
    }
    if let Some(id) = &message.tool_call_id {
        put("tool_call_id", text(id));
    }
    if let Some(reasoning) = reasoning {
        put("reasoning_content", text(reasoning));
    }
    Json::Object(object)
}

fn call_json(call: &ToolCall, guard: &Guard<'_>) -> Json {
    json!({
        "id": guard.mark(&call.id),
        "type": "function",
        "function": {"name": guard.mark(&call.name), "arguments": guard.mark_json(&call.arguments)},
    })
}

/// Reasoning and answer of a turn. Templates that know reasoning take it out of the assistant's text themselves
/// where it stands there; they would not find its tags among the guard's marks, so it is done for them.
fn split_reasoning<'m>(message: &'m ChatMessage, source: &str) -> (Option<&'m str>, Option<&'m str>) {
    let content = message.content.as_deref();
    let knows = source.contains("reasoning_content") && source.contains("</think>");
    let may_hold = message.role == crate::chat::Role::Assistant && message.reasoning.is_none() && knows;
    if let Some((before, after)) =
        content.filter(|_| may_hold).and_then(|content| content.rsplit_once("</think>"))
    {
        let first = before.split("</think>").next().unwrap_or(before).trim_end_matches('\n');
        let reasoning = first.rsplit("<think>").next().unwrap_or(first).trim_start_matches('\n');
        return (Some(reasoning), Some(after.trim_start_matches('\n')));
    }
    (message.reasoning.as_deref(), content)
}

/// Everything in a prompt that comes from outside, in one text.
fn outside_texts(prompt: &ChatPrompt) -> String {
    let mut all = String::new();
    for message in &prompt.messages {
        let texts = [&message.content, &message.name, &message.reasoning, &message.tool_call_id];
        texts.into_iter().flatten().for_each(|text| all.push_str(text));
        for call in &message.tool_calls {
            let _ = write!(all, "{}{}{}", call.id, call.name, call.arguments);
        }
    }
    for tool in &prompt.tools {
        let _ = write!(all, "{}", tool.to_json());
    }
    for document in &prompt.documents {
        let _ = write!(all, "{}{}", document.title, document.text);
    }
    prompt.variables.iter().for_each(|(name, value)| {
        let _ = write!(all, "{name}{value}");
    });
    all
}

/// Removes everything from the tag on, and the white space before it if the template trimmed.
fn cut_at_tag(text: &mut String) -> Result<()> {
    let Some(at) = text.rfind(CONTINUE_TAG.trim_end()) else {
        return Err(Error::Template {
            reason: "it leaves out the last message, so that cannot be continued".to_owned(),
        });
    };
    let is_exact = text[at..].starts_with(CONTINUE_TAG);
    text.truncate(at);
    if !is_exact {
        text.truncate(text.trim_end().len());
    }
    Ok(())
}

/// Template files beside the tokenizer: transformers' `CHAT_TEMPLATE_FILE` and `CHAT_TEMPLATE_DIR`.
fn beside(directory: &Path) -> Result<BTreeMap<String, String>> {
    let mut sources = BTreeMap::new();
    if let Some(source) = read_source(&directory.join("chat_template.jinja"))? {
        sources.insert(DEFAULT.to_owned(), source);
    }
    let Ok(entries) = std::fs::read_dir(directory.join("additional_chat_templates")) else {
        return Ok(sources);
    };
    for path in entries.flatten().map(|entry| entry.path()).take(16) {
        let name = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
        if let (Some(name), Some("jinja")) = (name, path.extension().and_then(|end| end.to_str()))
            && let Some(source) = read_source(&path)?
        {
            sources.insert(name, source);
        }
    }
    Ok(sources)
}

/// Templates in `tokenizer_config.json`: one text, or a list of named ones.
fn inside(config: &Json) -> BTreeMap<String, String> {
    match config.get("chat_template") {
        Some(Json::String(source)) => BTreeMap::from([(DEFAULT.to_owned(), source.clone())]),
        Some(Json::Array(templates)) => {
            let text = |entry: &Json, key: &str| Some(entry.get(key)?.as_str()?.to_owned());
            templates
                .iter()
                .take(16)
                .filter_map(|entry| Some((text(entry, "name")?, text(entry, "template")?)))
                .collect()
        }
        _ => BTreeMap::new(),
    }
}

fn read_source(path: &Path) -> Result<Option<String>> {
    let Some(bytes) = read_bounded(path, TEMPLATE_BYTES_MAX as u64)? else { return Ok(None) };
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| Error::CorruptModel { path: path.to_owned(), reason: "it is not UTF-8".to_owned() })
}

/// A file's bytes, `None` if it does not exist; refused unread where it is longer than `limit`.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let length = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    if length > limit {
        let reason = format!("it has {length} bytes; {limit} are allowed");
        return Err(Error::CorruptModel { path: path.to_owned(), reason });
    }
    std::fs::read(path).map(Some).map_err(Error::io("read", path))
}

/// The engine's message, which may hold the template's text but no content.
fn refused(error: &minijinja::Error) -> Error {
    let mut reason = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        let _ = write!(reason, ": {cause}");
    }
    Error::Template { reason }
}
