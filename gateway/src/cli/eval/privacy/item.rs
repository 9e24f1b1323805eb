//! Records of an evaluation: a text with what somebody marked in it.

use std::collections::BTreeSet;

use policies::{EntityKind, Label};
use router_model::measure::privacy::Span;
use serde::Deserialize;

/// One record.
#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    text: String,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    lang: Option<String>,
    #[serde(default)]
    spans: Vec<Marked>,
    #[serde(default)]
    annotated: Vec<String>,
    #[serde(default)]
    level: Option<Label>,
    #[serde(default)]
    template: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    shape: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    evasion: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    hard_negative: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Marked {
    start: usize,
    end: usize,
    r#type: String,
}

/// A checked record.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) text: String,
    pub(super) source: String,
    pub(super) language: String,
    pub(super) is_synthetic: bool,
    /// Nothing is in it, but it looks as if.
    pub(super) is_look_alike: bool,
    pub(super) marked: Vec<Span>,
    pub(super) annotated: BTreeSet<EntityKind>,
    pub(super) level: Option<Label>,
}

/// What has no name.
const UNNAMED: &str = "(none)";

impl Item {
    /// Reads a line.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let length = line.text.chars().count();
        let kind = |word: &str| word.parse::<EntityKind>().map_err(|error| format!("{}: {error}", line.id));
        let mut marked = Vec::with_capacity(line.spans.len());
        for (index, span) in line.spans.iter().enumerate() {
            if span.start >= span.end || span.end > length {
                return Err(format!("{}: spans[{index}] is not within the {length} characters", line.id));
            }
            marked.push(Span { kind: kind(&span.r#type)?, start: span.start, end: span.end });
        }
        let annotated = line.annotated.iter().map(|word| kind(word)).collect::<Result<_, _>>()?;
        let is_look_alike = line.hard_negative.is_some();
        if is_look_alike && !marked.is_empty() {
            return Err(format!("{}: a hard negative has no spans", line.id));
        }
        let is_synthetic =
            is_look_alike || line.template.is_some() || line.shape.is_some() || line.evasion.is_some();
        Ok(Self {
            source: line.source.unwrap_or_else(|| UNNAMED.to_owned()),
            language: line.lang.unwrap_or_else(|| UNNAMED.to_owned()),
            text: line.text,
            is_synthetic,
            is_look_alike,
            marked,
            annotated,
            level: line.level,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Item;

    #[test]
    fn faulty_records_are_told_by_their_field() {
        let fault = |line: &str| Item::read(line.as_bytes()).unwrap_err();
        assert!(fault(r#"{"id":"a"}"#).contains("text"));
        let beyond = r#"{"id":"a","text":"ü","spans":[{"start":0,"end":2,"type":"PERSON"}]}"#;
        assert!(fault(beyond).contains("a: spans[0]"));
        assert!(fault(r#"{"id":"a","text":"x","annotated":["CAT"]}"#).contains("CAT"));
        let both =
            r#"{"id":"a","text":"xy","hard_negative":"uuid","spans":[{"start":0,"end":1,"type":"PERSON"}]}"#;
        assert!(fault(both).contains("hard negative"));
        assert!(Item::read(r#"{"id":"a","text":"x","level":null,"hard_negative":null}"#.as_bytes()).is_ok());
    }
}
