//! `POST /v1/chat/completions` as it comes in: checked, and never rewritten more than it must be.
//!
//! The body stays the bytes that the client sent. What the gateway needs is read out of it; where something
//! must change on the way to an upstream (the model's name, the request for usage) the change is spliced into
//! those bytes, so that every unknown field survives as it was.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use local_runtime::{ChatMessage, LOGIT_BIAS_MAX, Role as LocalRole, Sampling, TOP_LOGPROBS_MAX, ToolCall};
use policies::Doubt;
use router_model::Role;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::format::{self, Format};
use super::tools::{self, ToolChoice, Tools};
use crate::error::Error;

/// Stop sequences of one request at most.
pub const STOP_MAX: usize = 16;
/// Choices of one request at most (OpenAI's limit).
pub const CHOICES_MAX: u64 = 128;

/// Characters of a model name at most.
pub const MODEL_CHARS_MAX: usize = 256;

/// A checked request.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// The client's bytes.
    pub body: Bytes,
    /// Model name.
    pub model: String,
    /// Where the model's JSON string stands in the body.
    model_at: Range<usize>,
    /// Server-sent events are wanted.
    pub stream: bool,
    /// The client wants usage at the end of the stream.
    pub include_usage: bool,
    /// Where the value of `stream_options` stands, be it `null`.
    stream_options_at: Option<Range<usize>>,
    /// Limit on output tokens.
    pub output_tokens_max: Option<u32>,
    /// Sampling.
    pub sampling: Sampling,
    /// Stop sequences.
    pub stop: Vec<String>,
    /// Choices.
    pub choices: u32,
    /// Log-probabilities are wanted, with so many alternatives.
    pub logprobs: Option<u8>,
    /// Tools that may be called.
    pub tools: u32,
    /// Those tools, and how they may be called.
    pub tool_options: Tools,
    /// A form that the answer must have.
    pub format: Option<Format>,
    /// A feature is used that the embedded model cannot follow: audio output, or `logit_bias` without naming the model
    /// whose token ids are meant.
    pub exotic: bool,
    /// End user.
    pub user: String,
    /// Messages, as far as they are text.
    pub messages: Vec<Message>,
    /// What could not be read.
    pub doubt: Vec<Doubt>,
}

/// One message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// All its text.
    pub text: String,
    /// Tool calls that it made.
    pub calls: Vec<ToolCall>,
    /// Who says it, by name; for a result, the tool.
    pub name: Option<String>,
    /// The call that it answers.
    pub call_id: Option<String>,
}

#[derive(Deserialize)]
struct RawChat<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(borrow)]
    top_p: Option<&'a RawValue>,
    #[serde(borrow)]
    top_k: Option<&'a RawValue>,
    #[serde(borrow)]
    min_p: Option<&'a RawValue>,
    #[serde(borrow)]
    repetition_penalty: Option<&'a RawValue>,
    #[serde(borrow)]
    seed: Option<&'a RawValue>,
    #[serde(borrow)]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(borrow)]
    presence_penalty: Option<&'a RawValue>,
    #[serde(borrow)]
    stop: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    top_logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    functions: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    #[serde(borrow)]
    parallel_tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
    #[serde(borrow)]
    structured_outputs: Option<&'a RawValue>,
    #[serde(borrow)]
    logit_bias: Option<&'a RawValue>,
    #[serde(borrow)]
    modalities: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_call_id: Option<&'a RawValue>,
    /// Refers to audio that the provider keeps.
    audio: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct RawPart<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    refusal: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RawStreamOptions {
    include_usage: Option<bool>,
}

impl ChatRequest {
    /// Reads and checks a body.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the field.
    pub fn parse(body: Bytes) -> Result<Self, Error> {
        let raw: RawChat<'_> = serde_json::from_slice(&body).map_err(|error| not_json(&body, &error))?;
        let model = model_name(raw.model)?;
        let at = |raw: &RawValue| {
            let start = raw.get().as_ptr().addr() - body.as_ptr().addr();
            start..start + raw.get().len()
        };
        let (messages, doubt) = messages(raw.messages)?;
        let output_tokens_max = match raw.max_completion_tokens {
            Some(_) => whole("max_completion_tokens", raw.max_completion_tokens, 1, u64::from(u32::MAX))?,
            None => whole("max_tokens", raw.max_tokens, 1, u64::from(u32::MAX))?,
        };
        let options: Option<RawStreamOptions> = optional("stream_options", raw.stream_options)?;
        let tool_options = Tools::parse(raw.tools, raw.tool_choice, raw.parallel_tool_calls)?;
        let functions = list_length("functions", raw.functions)?;
        let tools = list_length("tools", raw.tools)? + functions;
        let logprobs: Option<bool> = optional("logprobs", raw.logprobs)?;
        let top_logprobs = whole("top_logprobs", raw.top_logprobs, 0, u64::from(TOP_LOGPROBS_MAX))?;
        if top_logprobs.is_some_and(|n| n > 0) && logprobs != Some(true) {
            return Err(Error::invalid("top_logprobs", "`top_logprobs` needs `logprobs` to be true"));
        }
        let modalities: Option<Vec<String>> = optional("modalities", raw.modalities)?;
        let stream = optional("stream", raw.stream)?.unwrap_or(false);
        let sampling = sampling(&raw)?;
        Ok(Self {
            model_at: raw.model.map(at).unwrap_or_default(),
            stream,
            include_usage: options.as_ref().and_then(|o| o.include_usage).unwrap_or(false),
            stream_options_at: stream_options_at(&body, stream).map(at),
            output_tokens_max: output_tokens_max.map(clamp_u32),
            stop: stop(raw.stop)?,
            choices: whole("n", raw.n, 1, CHOICES_MAX)?.map_or(1, clamp_u32),
            logprobs: (logprobs == Some(true))
                .then(|| top_logprobs.map_or(0, |n| u8::try_from(n).unwrap_or(TOP_LOGPROBS_MAX))),
            tools: if tool_options.choice == ToolChoice::None { 0 } else { tools },
            format: format::format(raw.response_format, raw.structured_outputs)?,
            exotic: !(sampling.logit_bias.is_empty() || model.starts_with("local/"))
                || modalities.is_some_and(|all| all.iter().any(|one| one != "text"))
                || functions > 0
                || tool_options.exotic && tool_options.choice != ToolChoice::None,
            tool_options,
            sampling,
            user: optional("user", raw.user)?.unwrap_or_default(),
            messages,
            doubt,
            model,
            body,
        })
    }

    /// The body for an upstream: the client's bytes with another model name and, for streams, with usage asked for.
    #[must_use]
    pub fn outgoing(&self, model: &str) -> Bytes {
        let rename = (self.model != model).then(|| serde_json::Value::from(model).to_string());
        let mut edits: Vec<(Range<usize>, Cow<'_, str>)> = Vec::with_capacity(2);
        if let Some(name) = rename {
            edits.push((self.model_at.clone(), Cow::Owned(name)));
        }
        if self.stream && !self.include_usage {
            match &self.stream_options_at {
                Some(at) => edits.push((at.clone(), Cow::Owned(with_usage(&self.body[at.clone()])))),
                None => {
                    let brace = self.body.iter().position(|b| *b == b'{').unwrap_or(0) + 1;
                    edits.push((brace..brace, Cow::Borrowed(r#""stream_options":{"include_usage":true},"#)));
                }
            }
        }
        if edits.is_empty() {
            return self.body.clone();
        }
        edits.sort_by_key(|(at, _)| at.start);
        let mut out = Vec::with_capacity(self.body.len() + 64);
        let mut done = 0;
        for (at, text) in edits {
            out.extend_from_slice(&self.body[done..at.start]);
            out.extend_from_slice(text.as_bytes());
            done = at.end;
        }
        out.extend_from_slice(&self.body[done..]);
        Bytes::from(out)
    }

    /// The same question for one whole answer in words; `None` where tools may be called instead.
    #[must_use]
    pub fn alone(&self) -> Option<Self> {
        if self.tools > 0 {
            return None;
        }
        let mut body: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&self.body).ok()?;
        for field in ["stream", "stream_options", "n", "logprobs", "top_logprobs"] {
            body.remove(field);
        }
        Self::parse(Bytes::from(serde_json::Value::Object(body).to_string())).ok()
    }

    /// The conversation for the embedded model. Where it knows no tools, calls are put in words.
    #[must_use]
    pub fn local_messages(&self, knows_tools: bool) -> Vec<ChatMessage> {
        let role = |role| match role {
            Role::System => LocalRole::System,
            Role::Assistant => LocalRole::Assistant,
            Role::Tool => LocalRole::Tool,
            Role::User | Role::Other => LocalRole::User,
        };
        let in_words = |message: &Message| {
            let text = (!message.text.is_empty()).then(|| message.text.clone());
            let calls = message.calls.iter().map(call_in_words);
            text.into_iter().chain(calls).collect::<Vec<_>>().join("\n")
        };
        let message = |message: &Message| {
            if !knows_tools {
                return ChatMessage::new(role(message.role), in_words(message));
            }
            let only_calls = message.text.is_empty() && !message.calls.is_empty();
            ChatMessage {
                content: (!only_calls).then(|| message.text.clone()),
                name: message.name.clone(),
                tool_calls: message.calls.clone(),
                tool_call_id: message.call_id.clone(),
                ..ChatMessage::new(role(message.role), String::new())
            }
        };
        self.messages.iter().map(message).collect()
    }

    /// Are there images, audio, files or other parts that are no text?
    #[must_use]
    pub fn has_media(&self) -> bool {
        !self.doubt.is_empty()
    }

    /// User turns.
    #[must_use]
    pub fn turns(&self) -> u32 {
        let users = self.messages.iter().filter(|message| message.role == Role::User).count();
        u32::try_from(users).unwrap_or(u32::MAX)
    }
}

/// Finds the value of `stream_options`, which an `Option` would not tell from an absent one when it is `null`.
fn stream_options_at(body: &[u8], stream: bool) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Options<'a> {
        #[serde(borrow)]
        stream_options: &'a RawValue,
    }
    if !stream {
        return None;
    }
    serde_json::from_slice::<Options<'_>>(body).ok().map(|options| options.stream_options)
}

/// Stream options with usage asked for, and the others as they were.
fn with_usage(options: &[u8]) -> String {
    let mut options: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(options).unwrap_or_default();
    options.insert(String::from("include_usage"), true.into());
    serde_json::Value::Object(options).to_string()
}

/// A model's name.
pub(super) fn model_name(raw: Option<&RawValue>) -> Result<String, Error> {
    let model: String = required("model", raw)?;
    let printable = model.bytes().all(|b| (b' '..=b'~').contains(&b));
    if model.is_empty() || model.len() > MODEL_CHARS_MAX || !printable {
        let message = format!("`model` must be 1 to {MODEL_CHARS_MAX} printable ASCII characters");
        return Err(Error::invalid("model", message));
    }
    Ok(model)
}

fn clamp_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn not_json(body: &[u8], error: &serde_json::Error) -> Error {
    let message = if body.is_empty() {
        String::from("the request body is empty; a JSON object is expected")
    } else if error.is_data() && !error.to_string().starts_with("duplicate field") {
        String::from("the request body must be a JSON object")
    } else {
        format!("the request body is not valid JSON: {error}")
    };
    Error::Invalid { param: None, message }
}

/// A value of a known type, `None` for an absent field or `null`.
pub(super) fn optional<T: DeserializeOwned>(field: &str, raw: Option<&RawValue>) -> Result<Option<T>, Error> {
    let Some(raw) = raw else { return Ok(None) };
    serde_json::from_str(raw.get()).map_err(|error| {
        let text = error.to_string();
        let what = text.split(" at line").next().unwrap_or(&text);
        Error::invalid(field, format!("`{field}` has the wrong type: {what}"))
    })
}

pub(super) fn required<T: DeserializeOwned>(field: &str, raw: Option<&RawValue>) -> Result<T, Error> {
    optional(field, raw)?.ok_or_else(|| Error::invalid(field, format!("`{field}` is required")))
}

/// A whole number in a range.
pub(super) fn whole(field: &str, raw: Option<&RawValue>, low: u64, high: u64) -> Result<Option<u64>, Error> {
    let Some(number) = optional::<serde_json::Number>(field, raw)? else { return Ok(None) };
    let whole = number.as_u64().filter(|n| (low..=high).contains(n));
    whole.map(Some).ok_or_else(|| {
        let top = if high == u64::from(u32::MAX) { String::from("upwards") } else { format!("to {high}") };
        Error::invalid(field, format!("`{field}` must be a whole number from {low} {top}, not {number}"))
    })
}

#[expect(clippy::cast_possible_truncation, reason = "sampling parameters are small")]
fn real(field: &str, raw: Option<&RawValue>, low: f64, high: f64) -> Result<Option<f32>, Error> {
    let Some(number) = optional::<f64>(field, raw)? else { return Ok(None) };
    if (low..=high).contains(&number) {
        Ok(Some(number as f32))
    } else {
        Err(Error::invalid(field, format!("`{field}` must be from {low} to {high}, not {number}")))
    }
}

fn sampling(raw: &RawChat<'_>) -> Result<Sampling, Error> {
    let defaults = Sampling::default();
    Ok(Sampling {
        temperature: real("temperature", raw.temperature, 0.0, 2.0)?.unwrap_or(defaults.temperature),
        top_p: real("top_p", raw.top_p, 0.0, 1.0)?.map_or(defaults.top_p, |p| p.max(f32::EPSILON)),
        top_k: match raw.top_k {
            // Some servers write "all" as -1.
            Some(raw) if raw.get() == "-1" => defaults.top_k,
            raw => whole("top_k", raw, 0, u64::from(u32::MAX))?.map_or(defaults.top_k, clamp_u32),
        },
        min_p: real("min_p", raw.min_p, 0.0, 1.0)?.unwrap_or(defaults.min_p),
        seed: optional::<i64>("seed", raw.seed)?.map(i64::cast_unsigned),
        frequency_penalty: real("frequency_penalty", raw.frequency_penalty, -2.0, 2.0)?.unwrap_or(0.0),
        presence_penalty: real("presence_penalty", raw.presence_penalty, -2.0, 2.0)?.unwrap_or(0.0),
        repetition_penalty: real("repetition_penalty", raw.repetition_penalty, 0.01, 2.0)?
            .unwrap_or(defaults.repetition_penalty),
        logit_bias: logit_bias(raw.logit_bias)?,
    })
}

/// Token ids of the model that answers, as keys, and what is added to their logits.
fn logit_bias(raw: Option<&RawValue>) -> Result<Vec<(u32, f32)>, Error> {
    let field = "logit_bias";
    let entries: Option<BTreeMap<String, Box<RawValue>>> = optional(field, raw)?;
    let entries = entries.unwrap_or_default();
    if entries.len() > LOGIT_BIAS_MAX {
        let message =
            format!("`logit_bias` has {} entries, at most {LOGIT_BIAS_MAX} are allowed", entries.len());
        return Err(Error::invalid(field, message));
    }
    let mut biases = BTreeMap::new();
    for (id, bias) in entries {
        let id: u32 = id.parse().map_err(|_| {
            Error::invalid(field, "a key of `logit_bias` is not a token id in decimal digits")
        })?;
        let bias = real(field, Some(&bias), -100.0, 100.0)?.unwrap_or(0.0);
        if biases.insert(id, bias).is_some() {
            return Err(Error::invalid(field, format!("`logit_bias` names the token {id} twice")));
        }
    }
    Ok(biases.into_iter().collect())
}

fn stop(raw: Option<&RawValue>) -> Result<Vec<String>, Error> {
    let stops: Vec<String> = match raw {
        None => Vec::new(),
        Some(raw) if raw.get().starts_with('"') => vec![required("stop", Some(raw))?],
        Some(raw) => optional("stop", Some(raw))?.unwrap_or_default(),
    };
    if stops.len() > STOP_MAX {
        let message = format!("`stop` has {} sequences, at most {STOP_MAX} are allowed", stops.len());
        return Err(Error::invalid("stop", message));
    }
    if stops.iter().any(String::is_empty) {
        return Err(Error::invalid("stop", "a stop sequence must not be empty"));
    }
    Ok(stops)
}

fn list_length(field: &str, raw: Option<&RawValue>) -> Result<u32, Error> {
    let list: Option<Vec<serde::de::IgnoredAny>> = optional(field, raw)?;
    Ok(list.map_or(0, |list| u32::try_from(list.len()).unwrap_or(u32::MAX)))
}

fn messages(raw: Option<&RawValue>) -> Result<(Vec<Message>, Vec<Doubt>), Error> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Err(Error::invalid("messages", "`messages` is required"));
    };
    let list: Vec<&RawValue> = serde_json::from_str(raw.get())
        .map_err(|_| Error::invalid("messages", "`messages` must be an array of messages"))?;
    if list.is_empty() {
        return Err(Error::invalid("messages", "`messages` must have at least one message"));
    }
    let mut doubt = Vec::new();
    let mut checked = Vec::with_capacity(list.len());
    for (index, raw) in list.into_iter().enumerate() {
        checked.push(message(index, raw, &mut doubt)?);
    }
    doubt.sort_unstable();
    doubt.dedup();
    Ok((checked, doubt))
}

fn message(index: usize, raw: &RawValue, doubt: &mut Vec<Doubt>) -> Result<Message, Error> {
    let field = |name: &str| format!("messages[{index}]{name}");
    let message: RawMessage<'_> = serde_json::from_str(raw.get()).map_err(|error| {
        let what =
            if raw.get().starts_with('{') { error.to_string() } else { String::from("it must be an object") };
        Error::invalid(field(""), format!("`{}` is not a message: {what}", field("")))
    })?;
    if message.audio.is_some() {
        doubt.push(Doubt::OpaqueReference);
    }
    let role: String = required(&field(".role"), message.role)?;
    let role = match role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        other => {
            let message = format!(
                "`{}` is `{other}`; system, developer, user, assistant or tool is expected",
                field(".role")
            );
            return Err(Error::invalid(field(".role"), message));
        }
    };
    let text = match message.content.map(|raw| (raw, raw.get().as_bytes().first())) {
        None | Some((_, Some(b'n'))) if role == Role::Assistant => String::new(),
        Some((raw, Some(b'"'))) => required(&field(".content"), Some(raw))?,
        Some((raw, Some(b'['))) => parts(&field(".content"), raw, doubt)?,
        None | Some((_, Some(b'n'))) => {
            return Err(Error::invalid(field(".content"), format!("`{}` is required", field(".content"))));
        }
        Some(_) => {
            let message = format!("`{}` must be a string or an array of content parts", field(".content"));
            return Err(Error::invalid(field(".content"), message));
        }
    };
    let calls = match message.tool_calls {
        Some(raw) => tools::calls(&field(".tool_calls"), raw)?,
        None => Vec::new(),
    };
    let name = optional(&field(".name"), message.name)?;
    let call_id = optional(&field(".tool_call_id"), message.tool_call_id)?;
    Ok(Message { role, text, calls, name, call_id })
}

/// A tool call for a model that reads only text.
fn call_in_words(call: &ToolCall) -> String {
    let arguments = call.arguments.as_str().map_or_else(|| call.arguments.to_string(), str::to_owned);
    format!("(called {} with {arguments})", call.name)
}

fn parts(field: &str, raw: &RawValue, doubt: &mut Vec<Doubt>) -> Result<String, Error> {
    let list: Vec<&RawValue> = serde_json::from_str(raw.get())
        .map_err(|_| Error::invalid(field, format!("`{field}` must be an array of content parts")))?;
    let mut text = String::new();
    for (index, raw) in list.into_iter().enumerate() {
        let at = format!("{field}[{index}]");
        let part: RawPart<'_> = serde_json::from_str(raw.get())
            .map_err(|_| Error::invalid(&*at, format!("`{at}` must be an object with a `type`")))?;
        let kind = part
            .kind
            .ok_or_else(|| Error::invalid(format!("{at}.type"), format!("`{at}.type` is required")))?;
        let found = match &*kind {
            "text" | "input_text" => {
                let said = part.text.ok_or_else(|| {
                    Error::invalid(format!("{at}.text"), format!("`{at}.text` is required"))
                })?;
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(&said);
                continue;
            }
            "refusal" => {
                text.push_str(part.refusal.as_deref().unwrap_or_default());
                continue;
            }
            "image_url" | "input_image" | "image" => Doubt::UnreadImage,
            "input_audio" | "audio" => Doubt::UnreadAudio,
            "file" | "input_file" | "document" => Doubt::UnreadFile,
            _ => Doubt::UnknownPart,
        };
        doubt.push(found);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<ChatRequest, Error> {
        ChatRequest::parse(Bytes::copy_from_slice(body.as_bytes()))
    }

    fn fault(body: &str) -> (Option<String>, String) {
        match parse(body).unwrap_err() {
            Error::Invalid { param, message } => (param, message),
            other => panic!("{other:?}"),
        }
    }

    const HELLO: &str = r#""messages":[{"role":"user","content":"hi"}]"#;

    #[test]
    fn faults_name_the_field() {
        let cases: &[(&str, Option<&str>)] = &[
            ("", None),
            ("{\"model\":", None),
            ("[1]", None),
            ("{\"messages\":[]}", Some("model")),
            ("{\"model\":5}", Some("model")),
            ("{\"model\":\"m\"}", Some("messages")),
            ("{\"model\":\"m\",\"messages\":[]}", Some("messages")),
            ("{\"model\":\"m\",\"messages\":\"hi\"}", Some("messages")),
            ("{\"model\":\"m\",\"messages\":[7]}", Some("messages[0]")),
            ("{\"model\":\"m\",\"messages\":[{\"content\":\"x\"}]}", Some("messages[0].role")),
            (
                "{\"model\":\"m\",\"messages\":[{\"role\":\"king\",\"content\":\"x\"}]}",
                Some("messages[0].role"),
            ),
            ("{\"model\":\"m\",\"messages\":[{\"role\":\"user\"}]}", Some("messages[0].content")),
            (
                "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":5}]}",
                Some("messages[0].content"),
            ),
            (
                "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}",
                Some("messages[0].content[0].text"),
            ),
        ];
        for (body, param) in cases {
            assert_eq!(fault(body).0.as_deref(), *param, "{body}");
        }
        for (field, value) in [
            ("temperature", "3"),
            ("temperature", "\"hot\""),
            ("top_p", "-1"),
            ("max_tokens", "0"),
            ("max_completion_tokens", "1.5"),
            ("n", "0"),
            ("stream", "\"yes\""),
            ("stop", "[\"\"]"),
            ("stop", "[1]"),
            (
                "stop",
                "[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\"]",
            ),
            ("n", "129"),
            ("min_p", "1.5"),
            ("repetition_penalty", "0"),
            ("logit_bias", "[]"),
            ("logit_bias", "{\"hello\":1}"),
            ("logit_bias", "{\"5\":101}"),
            ("logit_bias", "{\"5\":\"1\"}"),
            ("logit_bias", "{\"5\":1,\"05\":1}"),
            ("structured_outputs", "{}"),
            ("tools", "{}"),
            ("top_logprobs", "99"),
            ("response_format.type", "-"),
        ] {
            let body = if field.contains('.') {
                format!(r#"{{"model":"m",{HELLO},"response_format":{{"type":"xml"}}}}"#)
            } else {
                format!(r#"{{"model":"m",{HELLO},"{field}":{value}}}"#)
            };
            assert_eq!(fault(&body).0.as_deref(), Some(field), "{body}");
        }
    }

    #[test]
    fn a_body_with_two_values_for_one_field_is_refused() {
        assert!(fault(r#"{"model":"m","messages":[],"messages":[]}"#).1.contains("duplicate field"));
        let twice = r#"{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}"#;
        assert!(fault(twice).1.contains("duplicate field"));
    }

    #[test]
    fn only_what_must_change_changes() {
        let body = format!(r#"{{ "x_unknown" : [1, 2.50],"model":"auto",{HELLO} }}"#);
        let request = parse(&body).unwrap();
        assert_eq!(request.outgoing("auto"), body.as_bytes());
        assert_eq!(request.outgoing("gpt-4o"), body.replace("\"auto\"", "\"gpt-4o\"").as_bytes());
        let body = format!(r#"{{"model":"auto","stream":true,{HELLO}}}"#);
        let sent = parse(&body).unwrap().outgoing("m");
        let sent: serde_json::Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!(sent["stream_options"]["include_usage"], true);
        assert_eq!(sent["model"], "m");
        let body =
            format!(r#"{{"stream_options":{{"include_usage":false}},"stream":true,"model":"a",{HELLO}}}"#);
        let sent: serde_json::Value = serde_json::from_slice(&parse(&body).unwrap().outgoing("b")).unwrap();
        assert_eq!((&sent["stream_options"]["include_usage"], &sent["model"]), (&true.into(), &"b".into()));
        for (given, kept) in [("null", 1), (r#"{"include_obfuscation":false}"#, 2)] {
            let body = format!(r#"{{"model":"a","stream":true,"stream_options":{given},{HELLO}}}"#);
            let sent = parse(&body).unwrap().outgoing("a");
            let sent: serde_json::Value = serde_json::from_slice(&sent).unwrap();
            assert_eq!(sent["stream_options"]["include_usage"], true);
            assert_eq!(sent["stream_options"].as_object().unwrap().len(), kept);
        }
    }

    #[test]
    fn parts_that_nobody_reads_are_doubt() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":[
            {"type":"text","text":"what is this?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,xx"}},
            {"type":"hologram"}]}]}"#;
        let request = parse(body).unwrap();
        assert_eq!(request.messages[0].text, "what is this?");
        assert_eq!(request.doubt, [Doubt::UnreadImage, Doubt::UnknownPart]);
    }
}
