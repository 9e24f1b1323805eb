//! Marked records.

use std::collections::BTreeSet;

use policies::{EntityKind, Label};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
struct RawSpan {
    start: usize,
    end: usize,
    r#type: String,
}

#[derive(Debug, Deserialize)]
struct RawItem {
    id: String,
    text: String,
    source: Option<String>,
    lang: Option<String>,
    #[serde(default)]
    spans: Vec<RawSpan>,
    annotated: Option<Vec<String>>,
    level: Option<Label>,
    #[serde(default)]
    hard_negative: Value,
}

/// A marked span, in code points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: EntityKind,
}

/// One record.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) text: String,
    pub(super) source: Option<String>,
    pub(super) lang: Option<String>,
    pub(super) spans: Vec<Span>,
    pub(super) annotated: BTreeSet<EntityKind>,
    pub(super) level: Option<Label>,
    pub(super) looks_alike: bool,
}

/// Reads a line. Faults name the field and never quote the text.
pub(super) fn read(line: &[u8]) -> Result<Item, String> {
    let raw: RawItem = serde_json::from_slice(line).map_err(|error| without_values(&error))?;
    if raw.id.is_empty() {
        return Err(String::from("id: is empty"));
    }
    let length = raw.text.chars().count();
    let mut spans = Vec::with_capacity(raw.spans.len());
    for (index, span) in raw.spans.iter().enumerate() {
        if span.start >= span.end || span.end > length {
            let (start, end) = (span.start, span.end);
            return Err(format!(
                "spans[{index}]: {start} to {end} is no part of a text of {length} characters"
            ));
        }
        let kind = span.r#type.parse().map_err(|error| format!("spans[{index}].type: {error}"))?;
        spans.push(Span { start: span.start, end: span.end, kind });
    }
    let annotated = match &raw.annotated {
        Some(words) => words
            .iter()
            .map(|word| word.parse().map_err(|error| format!("annotated: {error}")))
            .collect::<Result<_, _>>()?,
        None => spans.iter().map(|span| span.kind).collect(),
    };
    Ok(Item {
        text: raw.text,
        source: raw.source,
        lang: raw.lang,
        spans,
        annotated,
        level: raw.level,
        looks_alike: !matches!(raw.hard_negative, Value::Null | Value::Bool(false)),
    })
}

/// `serde_json` quotes what it found; where in the line it was is enough.
fn without_values(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    match error.classify() {
        Category::Data => {
            let text = error.to_string();
            let field = text.split('`').nth(1).filter(|_| text.starts_with("missing field"));
            field.map_or_else(
                || format!("a field has the wrong form, at column {}", error.column()),
                |field| format!("{field}: is missing"),
            )
        }
        Category::Syntax | Category::Eof | Category::Io => {
            format!("is no JSON object, at column {}", error.column())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_the_field_and_no_value() {
        let fault = |line: &str| read(line.as_bytes()).unwrap_err();
        assert_eq!(fault(r#"{"id":"a"}"#), "text: is missing");
        assert_eq!(fault(r#"{"id":"","text":"x"}"#), "id: is empty");
        assert!(fault(r#"{"id":"a","text":"secret","level":"topmost"}"#).contains("wrong form"));
        let beyond = fault(r#"{"id":"a","text":"né","spans":[{"start":1,"end":3,"type":"EMAIL"}]}"#);
        assert_eq!(beyond, "spans[0]: 1 to 3 is no part of a text of 2 characters");
        assert!(
            fault(r#"{"id":"a","text":"x","spans":[{"start":0,"end":1,"type":"X"}]}"#)
                .starts_with("spans[0].type")
        );
        assert!(fault("{").starts_with("is no JSON"));
    }
}
