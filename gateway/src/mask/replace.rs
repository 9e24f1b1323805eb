//! Values in a request's body become words; every other byte stays.
//!
//! Findings are places in decoded texts. Each is taken back to the JSON token that it came from, and only the tokens that hold one
//! are written anew. A text that is JSON itself (a tool's arguments, often a tool's result) stays JSON: strings in it are
//! replaced within their quotes, and a number becomes a string.
//!
//! A value that was found once is replaced wherever else it stands, found or not: what is known to be sensitive here is sensitive
//! there.
//!
//! Not everything can be replaced without changing what the request asks for: numbers of the body itself, the names of
//! models and tools, headers. A request with a value there is not masked at all.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use policies::{EntityKind, Finding, MaskOffer, MaskSettings};

use super::passage::{Form, Run, escaped};
use super::vault::{Conversation, TooMany};
use crate::http::texts::{KEY_JOINT, Place, Text};

/// Characters from which on a value is looked for where it was not found: shorter ones are too often something else.
const SOUGHT_CHARS_MIN: usize = 4;

/// Bytes of text that are read to tell surrogates from it; beyond them, placeholders stand for values.
const LOOKED_BYTES_MAX: usize = 256 << 20;

/// Why a request is not masked. For people, and for metrics by [`Unmaskable::kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unmaskable {
    /// A value is a number of the body.
    #[error("a value is a number of the request's own JSON")]
    Number,
    /// A value is part of a name that must stay.
    #[error("a value stands in the name of a model or a tool")]
    Name,
    /// A value stands in a header.
    #[error("a value stands in a header")]
    Header,
    /// The conversation has too many values.
    #[error("the conversation has more values than are kept")]
    TooMany,
    /// No tag is free.
    #[error("no words can be told from what the request says")]
    Tags,
    /// The masked body is not what it was taken for: a bug of ours.
    #[error("the masked request could not be read again")]
    Unreadable,
    /// The masked text still has too high a label.
    #[error("what is left is still too sensitive")]
    NotCleared,
    /// The operation has no masked form.
    #[error("this operation cannot be masked")]
    Operation,
}

impl Unmaskable {
    /// A word for metrics.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Name => "name",
            Self::Header => "header",
            Self::TooMany => "too_many",
            Self::Tags => "tags",
            Self::Unreadable => "unreadable",
            Self::NotCleared => "not_cleared",
            Self::Operation => "operation",
        }
    }
}

impl From<TooMany> for Unmaskable {
    fn from(_: TooMany) -> Self {
        Self::TooMany
    }
}

/// What is to be replaced, and how.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Everything that was found.
    pub findings: &'a [Finding],
    /// Says which of it is replaced.
    pub offer: &'a MaskOffer,
    /// Style.
    pub settings: &'a MaskSettings,
}

/// A body with words for values, and what was replaced.
pub struct Replaced {
    /// The new body.
    pub body: Vec<u8>,
    /// Replacements by kind.
    pub counts: BTreeMap<EntityKind, u32>,
}

impl std::fmt::Debug for Replaced {
    /// Never the body, of which a part may be what could not be replaced.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replaced").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// A token of the body that can hold values.
struct Token<'a> {
    at: Range<usize>,
    text: &'a str,
    path: &'a str,
    is_key: bool,
    /// Sorted, disjoint, in bytes of `text`.
    spans: Vec<Span>,
}

/// A value in a token.
#[derive(Debug, Clone, PartialEq)]
struct Span {
    at: Range<usize>,
    kind: EntityKind,
    /// In a text that is JSON: how it stands there.
    inner: Inner,
    entry: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inner {
    /// Plain text.
    Text,
    /// Within a JSON string.
    Quoted,
    /// A JSON number.
    Number,
}

/// Replaces what is wanted in a body of which `texts` are all texts with their places, in the order of the findings' segments.
///
/// # Errors
/// [`Unmaskable`]; then the conversation has the values all the same.
pub fn replace(
    body: &[u8],
    texts: &[(Text<'_>, Place)],
    wanted: Wanted<'_>,
    conversation: &mut Conversation,
) -> Result<Replaced, Unmaskable> {
    let mut tokens = tokens(texts);
    let mut points = Points::default();
    for finding in wanted.findings.iter().filter(|finding| wanted.offer.replaces(finding)) {
        let (text, place) = texts.get(finding.segment).ok_or(Unmaskable::Header)?;
        mark(&mut tokens, place, finding.kind, &points.bytes(&text.text, finding));
    }
    let known = word_searcher(conversation);
    for token in tokens.values_mut() {
        token.settle();
        if let Some(known) = &known {
            token.cut_out(known);
        }
        token.check(body)?;
    }
    let whole: Vec<&str> = texts.iter().map(|(text, _)| &*text.text).collect();
    let lowered: Vec<String> = match wanted.settings.style {
        policies::MaskStyle::Surrogate => whole.iter().map(|text| text.to_lowercase()).collect(),
        policies::MaskStyle::Placeholder => Vec::new(),
    };
    let (read, looked) = (Cell::new(0), lowered.iter().map(String::len).sum::<usize>());
    let is_free = |word: &str| {
        read.set(read.get() + looked);
        let word = word.to_lowercase();
        read.get() <= LOOKED_BYTES_MAX && !lowered.iter().any(|text| text.contains(&word))
    };
    // What comes before the conversation in every request is numbered first, so that a further turn changes no number.
    let mut order: Vec<usize> = tokens.keys().copied().collect();
    order.sort_by_key(|start| (tokens[start].path.starts_with("messages["), *start));
    for start in &order {
        let Some(token) = tokens.get_mut(start) else { continue };
        for span in &mut token.spans {
            let value = span.value(token.text);
            span.entry = conversation.entry(span.kind, &value, wanted.settings, is_free)?;
        }
    }
    if !conversation.settle_tag(whole.iter().copied()) {
        return Err(Unmaskable::Tags);
    }
    seek(&mut tokens, conversation);
    let mut counts = BTreeMap::new();
    let mut edits = BTreeMap::new();
    for token in tokens.values().filter(|token| !token.spans.is_empty()) {
        token.check(body)?;
        for span in &token.spans {
            *counts.entry(conversation.get(span.entry).kind).or_insert(0) += 1;
        }
        edits.insert(token.at.start, (token.at.end, token.rewritten(conversation)));
    }
    Ok(Replaced { body: spliced(body, &edits), counts })
}

/// Every token that is a text, and every key whose words a text has in front.
fn tokens<'t>(texts: &'t [(Text<'_>, Place)]) -> BTreeMap<usize, Token<'t>> {
    let mut tokens = BTreeMap::new();
    for (text, place) in texts {
        let path = text.path.as_str();
        let mut add = |at: &Range<usize>, text: &'t str, is_key| {
            let token = Token { at: at.clone(), text, path, is_key, spans: Vec::new() };
            tokens.entry(at.start).or_insert(token);
        };
        match &place.lead {
            Some((key, bytes)) => {
                add(key, &text.text[..*bytes - KEY_JOINT.len()], true);
                add(&place.at, &text.text[*bytes..], false);
            }
            None => add(&place.at, &text.text, place.is_key),
        }
    }
    tokens
}

/// Notes a finding at the token, or the key and the value, that it lies in.
fn mark(tokens: &mut BTreeMap<usize, Token<'_>>, place: &Place, kind: EntityKind, found: &Range<usize>) {
    let mut add = |at: &Range<usize>, offset: usize| {
        let Some(token) = tokens.get_mut(&at.start) else { return };
        let start = found.start.saturating_sub(offset);
        let end = found.end.saturating_sub(offset).min(token.text.len());
        if start < end {
            token.spans.push(Span { at: start..end, kind, inner: Inner::Text, entry: 0 });
        }
    };
    if let Some((key, _)) = &place.lead {
        add(key, 0);
    }
    add(&place.at, place.lead.as_ref().map_or(0, |(_, bytes)| *bytes));
}

/// Byte offsets of the code points of one text after another; each is counted through once.
#[derive(Default)]
pub(super) struct Points {
    text: Option<usize>,
    /// Empty where the text is ASCII.
    offsets: Vec<usize>,
}

impl Points {
    /// The bytes of a finding in its text.
    pub(super) fn bytes(&mut self, text: &str, finding: &Finding) -> Range<usize> {
        if self.text != Some(finding.segment) {
            self.text = Some(finding.segment);
            self.offsets.clear();
            if !text.is_ascii() {
                self.offsets.extend(text.char_indices().map(|(at, _)| at));
            }
        }
        let byte = |point: usize| match self.offsets.is_empty() {
            true => point.min(text.len()),
            false => self.offsets.get(point).copied().unwrap_or(text.len()),
        };
        byte(finding.start)..byte(finding.end)
    }
}

/// Marks every other place where a known value stands.
fn seek(tokens: &mut BTreeMap<usize, Token<'_>>, conversation: &Conversation) {
    let mut sought: BTreeMap<&str, usize> =
        conversation.values().map(|(entry, value)| (value, entry)).collect();
    for token in tokens.values() {
        sought.extend(token.spans.iter().map(|span| (&token.text[span.at.clone()], span.entry)));
    }
    sought.retain(|value, _| value.chars().count() >= SOUGHT_CHARS_MIN);
    let sought: Vec<(String, usize)> =
        sought.into_iter().map(|(value, entry)| (value.to_owned(), entry)).collect();
    let searcher = AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(sought.iter().map(|(value, _)| value));
    // The values of one conversation are far fewer and shorter than an automaton can hold.
    let Ok(searcher) = searcher else { return };
    for token in tokens.values_mut() {
        let text = token.text;
        let apart = |at: usize, inside: usize| {
            let side = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            let (outer, inner) = if inside >= at {
                (text[..at].chars().next_back(), text[at..].chars().next())
            } else {
                (text[at..].chars().next(), text[..at].chars().next_back())
            };
            !(side(outer) && side(inner))
        };
        let known = token.spans.len();
        for found in searcher.find_iter(text) {
            let at = found.range();
            // What was found is sorted and disjoint.
            let next = token.spans[..known].partition_point(|span| span.at.end <= at.start);
            let is_free = token.spans[..known].get(next).is_none_or(|span| at.end <= span.at.start);
            if is_free && apart(at.start, at.end) && apart(at.end, at.start) {
                let entry = sought[found.pattern().as_usize()].1;
                let kind = conversation.get(entry).kind;
                token.spans.push(Span { at, kind, inner: Inner::Text, entry });
            }
        }
        if token.spans.len() > known {
            token.settle();
        }
    }
}

/// Finds the words of a conversation; `None` where it has none yet.
fn word_searcher(conversation: &Conversation) -> Option<AhoCorasick> {
    let mut words = conversation.all_words();
    if words.is_empty() {
        return None;
    }
    words.extend(words.clone().into_iter().map(|word| format!("[{word}]")));
    AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(words).ok()
}

impl Token<'_> {
    /// Leaves words out of spans: a value never has a word in it, which could not be put back.
    fn cut_out(&mut self, known: &AhoCorasick) {
        let text = self.text;
        let parts = |span: Span| {
            let (mut parts, mut start) = (Vec::new(), span.at.start);
            let inside = known.find_iter(&text[span.at.clone()]).map(|word| word.range());
            let words = inside.map(|word| word.start + span.at.start..word.end + span.at.start);
            for word in words.chain(std::iter::once(span.at.end..span.at.end)) {
                if text[start..word.start].contains(char::is_alphanumeric) {
                    parts.push(Span { at: start..word.start, ..span.clone() });
                }
                start = word.end;
            }
            parts
        };
        if !self.spans.is_empty() {
            self.spans = std::mem::take(&mut self.spans).into_iter().flat_map(parts).collect();
        }
    }

    /// Joins spans that overlap, and fits them to the strings and numbers of a text that is JSON.
    fn settle(&mut self) {
        self.spans.sort_by_key(|span| (span.at.start, span.at.end));
        let mut joined: Vec<Span> = Vec::with_capacity(self.spans.len());
        for span in self.spans.drain(..) {
            match joined.last_mut() {
                Some(last) if span.at.start < last.at.end => {
                    // A secret stays one, whatever else lies over it.
                    let secret = |span: &Span| span.kind == EntityKind::Secret;
                    if (secret(&span), span.at.len()) > (secret(last), last.at.len()) {
                        (last.kind, last.entry) = (span.kind, span.entry);
                    }
                    last.at.end = last.at.end.max(span.at.end);
                }
                _ => joined.push(span),
            }
        }
        if let Some(pieces) = (!joined.is_empty()).then(|| pieces(self.text)).flatten() {
            joined = joined.iter().flat_map(|span| fitted(self.text, span, &pieces)).collect();
            joined.dedup_by(|later, earlier| later.at == earlier.at);
        }
        self.spans = joined;
    }

    /// May this token be changed?
    fn check(&self, body: &[u8]) -> Result<(), Unmaskable> {
        let path = self.path;
        let of = |list: &str, field: &str| path.starts_with(list) && path.ends_with(field);
        let fixed = path == "model"
            || path.ends_with(".function.name")
            || path.ends_with("function_call.name")
            || of("functions[", ".name")
            || path.starts_with("tool_choice")
            || of("messages[", ".role")
            || of("messages[", ".type");
        match self.spans.is_empty() {
            true => Ok(()),
            false if body.get(self.at.start) != Some(&b'"') => Err(Unmaskable::Number),
            false if fixed => Err(Unmaskable::Name),
            false => Ok(()),
        }
    }

    /// Stands it where only letters, digits and few signs may?
    fn is_name(&self) -> bool {
        let names = [".name", ".id", ".tool_call_id", ".call_id"];
        self.is_key || names.iter().any(|name| self.path.ends_with(name)) || self.path.contains(".required[")
    }

    /// The token with words for values.
    fn rewritten(&self, conversation: &mut Conversation) -> String {
        let is_json = self.spans.iter().any(|span| span.inner != Inner::Text);
        let mut run = Run::new(if is_json { Form::Json } else { Form::Plain });
        let (mut text, mut done) = (String::with_capacity(self.text.len()), 0);
        for span in &self.spans {
            let between = &self.text[done..span.at.start];
            between.chars().for_each(|c| run.hear(c));
            text.push_str(between);
            let url = if run.is_url() { run.url() } else { "" };
            conversation.stood(span.entry, text.ends_with('\\'), url);
            let word = conversation.word(span.entry, self.is_name());
            run.hear_word(&word, &self.text[span.at.clone()]);
            match span.inner {
                Inner::Text => text.push_str(&word),
                Inner::Quoted => text.push_str(&escaped(&word)),
                Inner::Number => text.push_str(&serde_json::Value::from(word).to_string()),
            }
            done = span.at.end;
        }
        text.push_str(&self.text[done..]);
        serde_json::Value::from(text).to_string()
    }
}

impl Span {
    /// The value itself, which in a JSON string may be escaped.
    fn value(&self, text: &str) -> String {
        let written = &text[self.at.clone()];
        let unescaped = (self.inner == Inner::Quoted && written.contains('\\'))
            .then(|| serde_json::from_str(&format!("\"{written}\"")).ok())
            .flatten();
        unescaped.unwrap_or_else(|| written.to_owned())
    }
}

/// The strings (without their quotes) and numbers of a text that is a JSON object or array.
fn pieces(text: &str) -> Option<Vec<(Range<usize>, Inner)>> {
    let is_container = text.trim_start().starts_with(['{', '[']);
    if !is_container || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return None;
    }
    let (bytes, mut at, mut found) = (text.as_bytes(), 0, Vec::new());
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'"' => {
                at += 1;
                while bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                found.push((start + 1..at, Inner::Quoted));
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                while bytes
                    .get(at)
                    .is_some_and(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
                {
                    at += 1;
                }
                found.push((start..at, Inner::Number));
            }
            _ => at += 1,
        }
    }
    Some(found)
}

/// A span as the strings and numbers that it touches.
fn fitted(text: &str, span: &Span, pieces: &[(Range<usize>, Inner)]) -> Vec<Span> {
    let first = pieces.partition_point(|(at, _)| at.end <= span.at.start);
    let touched = pieces[first..].iter().take_while(|(at, _)| at.start < span.at.end);
    touched
        .map(|(piece, inner)| {
            let at = match inner {
                Inner::Quoted => {
                    whole_escapes(text, piece, span.at.start.max(piece.start)..span.at.end.min(piece.end))
                }
                _ => piece.clone(),
            };
            Span { at, inner: *inner, ..span.clone() }
        })
        .filter(|span| !span.at.is_empty())
        .collect()
}

/// A range of a JSON string, widened so that it cuts no escape in two.
fn whole_escapes(text: &str, piece: &Range<usize>, wanted: Range<usize>) -> Range<usize> {
    let start = escape_around(text, piece.start, wanted.start).map_or(wanted.start, |escape| escape.start);
    let end =
        escape_around(text, piece.start, wanted.end).map_or(wanted.end, |escape| escape.end.min(piece.end));
    start..end
}

/// The escape of a JSON string (which begins at `from`) that a place lies within.
fn escape_around(text: &str, from: usize, at: usize) -> Option<Range<usize>> {
    const LONGEST: usize = "\\u0000".len();
    let bytes = text.as_bytes();
    (from.max(at.saturating_sub(LONGEST - 1))..at).rev().find_map(|start| {
        let backslashes = bytes[from..=start].iter().rev().take_while(|b| **b == b'\\').count();
        let length = if bytes.get(start + 1) == Some(&b'u') { LONGEST } else { 2 };
        (backslashes % 2 == 1 && at < start + length).then_some(start..start + length)
    })
}

/// The body with tokens exchanged.
fn spliced(body: &[u8], edits: &BTreeMap<usize, (usize, String)>) -> Vec<u8> {
    let (mut out, mut done) = (Vec::with_capacity(body.len()), 0);
    for (start, (end, token)) in edits {
        out.extend_from_slice(&body[done..*start]);
        out.extend_from_slice(token.as_bytes());
        done = *end;
    }
    out.extend_from_slice(&body[done..]);
    out
}
