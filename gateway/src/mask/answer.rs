//! Answers on their way back: the texts in them pass through [`Passage`]s, all other bytes stay.
//!
//! A stream has one passage for each choice and part of it (content, reasoning, refusal, the arguments of each tool call), so
//! that a word that is cut into pieces is put together within its own part. An event is rewritten only where a text in it
//! changes, and events stay one to one; what a part still holds back when its choice finishes, or when the stream ends however
//! it ends, goes out in an event of its own before that.
//!
//! Never touched: names of tools, ids, usage, log-probabilities, errors, and whatever is not of the known shape.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::passage::{Form, Passage};
use super::words::Words;
use crate::upstream::sse;

/// Puts values back into one answer.
#[derive(Debug)]
pub struct Unmasking {
    words: Arc<Words>,
    /// The content was asked for as JSON.
    is_json: bool,
    parts: BTreeMap<(u64, Part), Passage>,
    /// What every chunk of the stream has besides choices, from the latest one.
    envelope: Map<String, Value>,
    unrestored: u64,
}

/// A part of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Content,
    Reasoning,
    ReasoningContent,
    Refusal,
    /// Arguments of the tool call with this index.
    Call(u64),
    /// Arguments of a call in the form before tools.
    Function,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u64,
    #[serde(borrow, default)]
    delta: Option<Said<'a>>,
    #[serde(borrow, default)]
    message: Option<Said<'a>>,
    #[serde(default)]
    finish_reason: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<Call<'a>>>,
    #[serde(borrow, default)]
    function_call: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// A part of content that is a list.
#[derive(Deserialize)]
struct ContentPart<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

impl Said<'_> {
    /// Every text with its part, in the order in which they stand.
    fn texts(&self) -> Vec<(Part, &RawValue)> {
        let mut texts = Vec::new();
        let plain = [
            (Part::Content, self.content),
            (Part::Reasoning, self.reasoning),
            (Part::ReasoningContent, self.reasoning_content),
            (Part::Refusal, self.refusal),
            (Part::Function, self.function_call.as_ref().and_then(|function| function.arguments)),
        ];
        for (part, raw) in plain.into_iter().filter_map(|(part, raw)| Some((part, raw?))) {
            if raw.get().starts_with('[') {
                let list: Vec<ContentPart<'_>> = serde_json::from_str(raw.get()).unwrap_or_default();
                texts.extend(list.into_iter().filter_map(|item| Some((part, item.text?))));
            } else {
                texts.push((part, raw));
            }
        }
        for (place, call) in self.tool_calls.iter().flatten().enumerate() {
            let arguments = call.function.as_ref().and_then(|function| function.arguments);
            let index = call.index.unwrap_or(place as u64);
            texts.extend(arguments.map(|raw| (Part::Call(index), raw)));
        }
        texts.retain(|(_, raw)| raw.get().starts_with('"'));
        texts
    }
}

impl Unmasking {
    /// For one answer of a conversation with these words. `is_json` says that its content was asked for as JSON.
    #[must_use]
    pub fn new(words: Arc<Words>, is_json: bool) -> Self {
        Self { words, is_json, parts: BTreeMap::new(), envelope: Map::new(), unrestored: 0 }
    }

    /// Words that could not be put back so far.
    #[must_use]
    pub const fn unrestored(&self) -> u64 {
        self.unrestored
    }

    /// A whole answer.
    #[must_use]
    pub fn whole(&mut self, body: Bytes) -> Bytes {
        let Ok(answer) = serde_json::from_slice::<Chunk<'_>>(&body) else { return body };
        let mut edits = Vec::new();
        for choice in &answer.choices {
            for (part, raw) in choice.message.iter().flat_map(Said::texts) {
                let mut passage = Passage::new(self.form(part));
                let Ok(text) = serde_json::from_str::<String>(raw.get()) else { continue };
                let mut restored = String::with_capacity(text.len());
                passage.push(&self.words, &text, &mut restored);
                passage.finish(&self.words, &mut restored);
                self.unrestored += passage.take_unrestored();
                if restored != text {
                    edits.push((place(&body, raw), Value::from(restored).to_string()));
                }
            }
        }
        spliced(&body, edits)
    }

    /// One event of a stream.
    #[must_use]
    pub fn event(&mut self, event: Bytes) -> Bytes {
        let Some(data) = sse::data(&event) else { return event };
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(&data) else { return event };
        if chunk.choices.is_empty() {
            return event;
        }
        let (mut edits, mut rest) = (Vec::new(), Vec::new());
        for choice in &chunk.choices {
            let is_last = choice.finish_reason.is_some();
            for (part, raw) in choice.delta.iter().flat_map(Said::texts) {
                let Ok(text) = serde_json::from_str::<String>(raw.get()) else { continue };
                let form = self.form(part);
                let passage = self.parts.entry((choice.index, part)).or_insert_with(|| Passage::new(form));
                let mut restored = String::with_capacity(text.len());
                passage.push(&self.words, &text, &mut restored);
                if is_last {
                    passage.finish(&self.words, &mut restored);
                }
                self.unrestored += passage.take_unrestored();
                if restored != text {
                    edits.push((place(&data, raw), Value::from(restored).to_string()));
                }
            }
            if is_last {
                rest.extend(self.flush(Some(choice.index)));
            }
        }
        if !edits.is_empty() || self.parts.values().any(Passage::is_holding) || !rest.is_empty() {
            self.remember(&data);
        }
        let rest = self.chunks(rest);
        if edits.is_empty() && rest.is_empty() {
            return event;
        }
        let mut out = rest;
        out.extend_from_slice(&rewritten(&event, &data, edits));
        Bytes::from(out)
    }

    /// What is still held back at the end of the stream, as events; empty if nothing is.
    #[must_use]
    pub fn end(&mut self) -> Vec<u8> {
        let rest = self.flush(None);
        self.chunks(rest)
    }

    fn form(&self, part: Part) -> Form {
        match part {
            Part::Call(_) | Part::Function => Form::Json,
            Part::Content if self.is_json => Form::Json,
            _ => Form::Plain,
        }
    }

    /// Ends the passages of a choice, or all, and returns what they held.
    fn flush(&mut self, choice: Option<u64>) -> Vec<(u64, Part, String)> {
        let mut rest = Vec::new();
        for ((index, part), passage) in &mut self.parts {
            if choice.is_none_or(|choice| choice == *index) && passage.is_holding() {
                let mut text = String::new();
                passage.finish(&self.words, &mut text);
                self.unrestored += passage.take_unrestored();
                rest.push((*index, *part, text));
            }
        }
        rest
    }

    /// Keeps what an event of our own needs to look like the others. Only where one may be needed.
    fn remember(&mut self, data: &[u8]) {
        let Ok(chunk) = serde_json::from_slice::<Map<String, Value>>(data) else { return };
        let kept = ["id", "object", "created", "model", "system_fingerprint", "service_tier"];
        self.envelope = chunk.into_iter().filter(|(name, _)| kept.contains(&name.as_str())).collect();
    }

    fn chunks(&self, rest: Vec<(u64, Part, String)>) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, part, text) in rest {
            let delta = match part {
                Part::Content => json!({ "content": text }),
                Part::Reasoning => json!({ "reasoning": text }),
                Part::ReasoningContent => json!({ "reasoning_content": text }),
                Part::Refusal => json!({ "refusal": text }),
                Part::Call(call) => {
                    json!({ "tool_calls": [{ "index": call, "function": { "arguments": text } }] })
                }
                Part::Function => json!({ "function_call": { "arguments": text } }),
            };
            let mut chunk = self.envelope.clone();
            chunk.insert(
                String::from("choices"),
                json!([{ "index": index, "delta": delta, "finish_reason": null }]),
            );
            out.extend_from_slice(format!("data: {}\n\n", Value::Object(chunk)).as_bytes());
        }
        out
    }
}

/// Where a value stands in the document that it was read from.
fn place(document: &[u8], raw: &RawValue) -> Range<usize> {
    let start = raw.get().as_ptr().addr() - document.as_ptr().addr();
    start..start + raw.get().len()
}

fn spliced(document: &Bytes, edits: Vec<(Range<usize>, String)>) -> Bytes {
    if edits.is_empty() {
        return document.clone();
    }
    Bytes::from(exchanged(document, edits))
}

/// The document with values exchanged.
fn exchanged(document: &[u8], mut edits: Vec<(Range<usize>, String)>) -> Vec<u8> {
    edits.sort_by_key(|(at, _)| at.start);
    let (mut out, mut done) = (Vec::with_capacity(document.len() + 64), 0);
    for (at, text) in edits {
        out.extend_from_slice(&document[done..at.start]);
        out.extend_from_slice(text.as_bytes());
        done = at.end;
    }
    out.extend_from_slice(&document[done..]);
    out
}

/// The event with values in its data exchanged.
fn rewritten(event: &Bytes, data: &[u8], edits: Vec<(Range<usize>, String)>) -> Vec<u8> {
    if edits.is_empty() {
        return event.to_vec();
    }
    let range = event.as_ptr_range();
    let start = data.as_ptr();
    if range.contains(&start) {
        // The data stands in the event as one line: everything around it stays.
        let offset = start.addr() - range.start.addr();
        let edits = edits.into_iter().map(|(at, text)| (at.start + offset..at.end + offset, text));
        return exchanged(event, edits.collect());
    }
    // Several lines were joined: the other fields are kept, and the data becomes one line.
    let mut out = Vec::new();
    for line in event.split(|b| matches!(b, b'\n' | b'\r')) {
        if !line.is_empty() && !line.starts_with(b"data") {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    }
    out.extend_from_slice(b"data: ");
    out.extend(exchanged(data, edits).into_iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }));
    out.extend_from_slice(b"\n\n");
    out
}
