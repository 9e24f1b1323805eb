//! Tool calls in an answer, while it is generated.
//!
//! [`ToolCallParser`] takes the answer's text as it comes and yields [`AnswerPart`]s. Held back is only what may begin a call,
//! and a begun call until it is whole: what then turns out to be none comes out as text, so that nothing is lost.
//! Where a grammar guarantees that the answer is valid calls, arguments are passed on piece by piece instead.
//!
//! Invariant: joining the texts and the calls' own spellings gives the answer, but for the marks around calls and white space
//! next to them. A call counts if its tool was declared and its arguments are a JSON object (or a text that
//! holds one, which some models write); arguments are passed on as the model spelled them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ToolSpec;
use super::tools::{Marks, ToolFormat};

/// A begun call of more bytes is taken for text.
const CALL_BYTES_MAX: usize = 256 * 1024;
const PYTHON_TAG: &str = "<|python_tag|>";

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerPart {
    /// Text for the reader.
    Text(String),
    /// A call begins. Calls are numbered from 0, and follow one another.
    CallStart {
        /// The call's number.
        index: usize,
        /// The tool.
        name: String,
    },
    /// Arguments of the call that began last: a piece of JSON text.
    CallArguments {
        /// The call's number.
        index: usize,
        /// What is appended.
        fragment: String,
    },
    /// The call that began last is whole.
    CallEnd {
        /// The call's number.
        index: usize,
    },
}

/// Finds tool calls in one answer.
#[derive(Debug, Clone)]
pub struct ToolCallParser {
    marks: Marks,
    names: Vec<String>,
    is_constrained: bool,
    /// What is not decided yet. In a call, everything from its mark on.
    held: String,
    state: State,
    /// Text that is not white space came out since the beginning or the last call: a call without a mark can no longer
    /// begin, and white space is worth something.
    has_spoken: bool,
    calls: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    /// Behind a mark; the JSON is looked at from a position in `held` on.
    Call(Scan),
    /// In the arguments of a constrained call, of which nothing is held.
    Arguments(Scan),
    /// Behind a call: white space, a separator and the closing mark are dropped.
    Behind,
}

/// How far a JSON text was followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Scan {
    position: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Follows the text to where its outermost bracket closes, and returns the position behind that.
    fn advance(&mut self, text: &str) -> Option<usize> {
        for (at, byte) in text.bytes().enumerate().skip(self.position) {
            self.position = at + 1;
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.position);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[derive(Deserialize)]
struct RawCall {
    name: String,
    #[serde(alias = "parameters")]
    arguments: Option<Box<RawValue>>,
}

impl ToolCallParser {
    /// For answers in a format, with the declared tools. `is_constrained` says that the answer is generated under
    /// [`ToolFormat::grammar`].
    #[must_use]
    pub fn new(format: ToolFormat, tools: &[ToolSpec], is_constrained: bool) -> Self {
        Self {
            marks: format.marks(),
            names: tools.iter().map(|tool| tool.name.clone()).collect(),
            is_constrained,
            held: String::new(),
            state: State::Text,
            has_spoken: false,
            calls: 0,
        }
    }

    /// Calls that began so far.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Takes more of the answer.
    pub fn push(&mut self, text: &str) -> Vec<AnswerPart> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        while self.step(&mut parts) {}
        parts
    }

    /// The end of the answer: what was held back comes out.
    pub fn finish(&mut self) -> Vec<AnswerPart> {
        let mut parts = Vec::new();
        if matches!(self.state, State::Text | State::Call(_)) {
            let rest = std::mem::take(&mut self.held);
            self.say(rest, &mut parts);
        }
        self.held.clear();
        self.state = State::Text;
        parts
    }

    /// One change of state; false if more text is needed.
    fn step(&mut self, parts: &mut Vec<AnswerPart>) -> bool {
        match self.state {
            State::Text => self.find_call(parts),
            State::Call(scan) => self.follow_call(scan, parts),
            State::Arguments(scan) => self.follow_arguments(scan, parts),
            State::Behind => self.skip_behind(),
        }
    }

    fn say(&mut self, text: String, parts: &mut Vec<AnswerPart>) {
        if text.is_empty() {
            return;
        }
        self.has_spoken |= !text.trim().is_empty();
        match parts.last_mut() {
            Some(AnswerPart::Text(last)) => last.push_str(&text),
            _ => parts.push(AnswerPart::Text(text)),
        }
    }

    fn find_call(&mut self, parts: &mut Vec<AnswerPart>) -> bool {
        let found = if self.marks.open.is_empty() {
            if self.has_spoken {
                Found::Nothing { hold_from: self.held.len() }
            } else {
                find_bare(&self.held)
            }
        } else {
            find_mark(&self.held, self.marks.open)
        };
        match found {
            Found::Call { at, json_at } => {
                // White space before a call separates it, and stays with it.
                let at = if self.has_spoken || !self.held[..at].trim().is_empty() { at } else { 0 };
                let rest = self.held.split_off(at);
                let before = std::mem::replace(&mut self.held, rest);
                self.say(before, parts);
                self.state = State::Call(Scan { position: json_at - at, ..Scan::default() });
                true
            }
            Found::Nothing { hold_from } => {
                if !self.has_spoken && self.held[..hold_from].trim().is_empty() {
                    return false;
                }
                let rest = self.held.split_off(hold_from);
                let text = std::mem::replace(&mut self.held, rest);
                self.say(text, parts);
                false
            }
        }
    }

    fn follow_call(&mut self, mut scan: Scan, parts: &mut Vec<AnswerPart>) -> bool {
        if scan.depth == 0 {
            let json = &self.held[scan.position..];
            let Some(first) = json.trim_start().bytes().next() else { return false };
            if !matches!(first, b'{' | b'[') {
                return self.take_back(parts);
            }
        }
        if self.is_constrained
            && let Some((name, arguments_at)) = head(&self.held, self.marks.arguments)
        {
            self.held.drain(..arguments_at);
            parts.push(AnswerPart::CallStart { index: self.calls, name });
            self.calls += 1;
            self.state = State::Arguments(Scan::default());
            return true;
        }
        let from = if scan.depth == 0 { scan.position } else { self.json_start() };
        let end = scan.advance(&self.held);
        self.state = State::Call(scan);
        let Some(end) = end else {
            return self.held.len() > CALL_BYTES_MAX && self.take_back(parts);
        };
        let Some(calls) = self.parse(&self.held[from..end]) else { return self.take_back(parts) };
        for (name, arguments) in calls {
            let index = self.calls;
            self.calls += 1;
            parts.push(AnswerPart::CallStart { index, name });
            parts.push(AnswerPart::CallArguments { index, fragment: arguments });
            parts.push(AnswerPart::CallEnd { index });
        }
        self.held.drain(..end);
        self.state = State::Behind;
        self.has_spoken = false;
        true
    }

    /// Where the JSON of the call in `held` begins: behind the mark.
    fn json_start(&self) -> usize {
        let mark = if self.marks.open.is_empty() { PYTHON_TAG } else { self.marks.open };
        let inner = self.held.trim_start();
        let start = self.held.len() - inner.len();
        if inner.starts_with(mark) { start + mark.len() } else { start }
    }

    /// It is no call: its mark comes out as text, and the rest is looked at again.
    fn take_back(&mut self, parts: &mut Vec<AnswerPart>) -> bool {
        let first = self.held.len() - self.held.trim_start().len() + 1;
        let end = self.json_start().max(first);
        let rest = self.held.split_off(end);
        let mark = std::mem::replace(&mut self.held, rest);
        self.state = State::Text;
        self.say(mark, parts);
        true
    }

    fn parse(&self, json: &str) -> Option<Vec<(String, String)>> {
        let calls: Vec<RawCall> = if json.trim_start().starts_with('[') {
            serde_json::from_str(json).ok()?
        } else {
            vec![serde_json::from_str(json).ok()?]
        };
        let read = |call: RawCall| {
            let arguments = match call.arguments {
                None => "{}".to_owned(),
                Some(raw) if raw.get().starts_with('{') => raw.get().to_owned(),
                Some(raw) => {
                    let text: String = serde_json::from_str(raw.get()).ok()?;
                    serde_json::from_str::<serde_json::Map<_, _>>(&text).ok()?;
                    text
                }
            };
            self.names.contains(&call.name).then_some((call.name, arguments))
        };
        calls.into_iter().map(read).collect::<Option<Vec<_>>>().filter(|calls| !calls.is_empty())
    }

    /// Passes arguments on up to their end.
    fn follow_arguments(&mut self, mut scan: Scan, parts: &mut Vec<AnswerPart>) -> bool {
        scan.position = 0;
        let index = self.calls - 1;
        let end = scan.advance(&self.held);
        let fragment: String = self.held.drain(..end.unwrap_or(self.held.len())).collect();
        if !fragment.is_empty() {
            parts.push(AnswerPart::CallArguments { index, fragment });
        }
        match end {
            Some(_) => {
                parts.push(AnswerPart::CallEnd { index });
                self.state = State::Behind;
                true
            }
            None => {
                self.state = State::Arguments(scan);
                false
            }
        }
    }

    /// Drops what closes and separates calls.
    fn skip_behind(&mut self) -> bool {
        if self.is_constrained {
            // The rest of the frame is known; the next call begins at the next bracket.
            return match self.held.find('{') {
                Some(at) => {
                    self.held.drain(..at);
                    self.state = State::Call(Scan::default());
                    true
                }
                None => {
                    self.held.clear();
                    false
                }
            };
        }
        let rest = self.held.trim_start();
        let close = self.marks.close;
        if !close.is_empty() && rest.len() < close.len() && close.starts_with(rest) {
            return false;
        }
        if rest.is_empty() {
            return false;
        }
        let after = if close.is_empty() { rest } else { rest.strip_prefix(close).unwrap_or(rest) };
        let after =
            if self.marks.open.is_empty() { after.trim_start_matches([';', ' ', '\n']) } else { after };
        self.held.drain(..self.held.len() - after.len());
        self.state = State::Text;
        true
    }
}

enum Found {
    Call {
        at: usize,
        json_at: usize,
    },
    /// No call; text from here on may still begin one.
    Nothing {
        hold_from: usize,
    },
}

fn find_mark(text: &str, mark: &str) -> Found {
    if let Some(at) = text.find(mark) {
        return Found::Call { at, json_at: at + mark.len() };
    }
    let longest = (1..mark.len()).rev().find(|&length| text.ends_with(&mark[..length]));
    Found::Nothing { hold_from: text.len() - longest.unwrap_or(0) }
}

/// A call without a mark: the answer's first character is a brace, perhaps behind Llama's tag.
fn find_bare(text: &str) -> Found {
    let start = text.len() - text.trim_start().len();
    let inner = &text[start..];
    if inner.starts_with('{') {
        return Found::Call { at: start, json_at: start };
    }
    if inner.starts_with(PYTHON_TAG) {
        return Found::Call { at: start, json_at: start + PYTHON_TAG.len() };
    }
    Found::Nothing { hold_from: if PYTHON_TAG.starts_with(inner) { start } else { text.len() } }
}

/// The name in a constrained call, and where its arguments begin; `None` while they have not.
fn head(text: &str, arguments: &str) -> Option<(String, usize)> {
    const NAME: &str = "{\"name\": ";
    let at = text.find(NAME)? + NAME.len();
    let mut names = serde_json::Deserializer::from_str(&text[at..]).into_iter::<String>();
    let name = names.next()?.ok()?;
    let behind = at + names.byte_offset();
    let separator = format!(", \"{arguments}\": ");
    text[behind..].strip_prefix(&separator)?.starts_with('{').then_some((name, behind + separator.len()))
}
