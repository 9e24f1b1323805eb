//! `sluicegate classify --jsonl`: batch classification, the contract of DESIGN.md 3.4.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufWriter, Write};
use std::process::ExitCode;
use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use hyper::HeaderMap;
use policies::{CallerFacts, Label, PolicySet, Profile};
use router_model::names::NamesMode;
use router_model::{Classifier, Prompt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{CliError, Common, Outcome};
use crate::config::Overrides;
use crate::http::chat::ChatRequest;
use crate::http::inbound::Inbound;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
    /// One JSON object a line on standard input: {"id", "text"} or {"id", "messages"}.
    #[arg(long, required = true)]
    jsonl: bool,
    /// Leave out the model that finds names in free text: patterns, secrets and topics alone.
    #[arg(long)]
    no_names: bool,
}

#[derive(Deserialize)]
struct Line<'a> {
    id: String,
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    messages: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Span<'a> {
    start: usize,
    end: usize,
    r#type: &'static str,
    score: f32,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subtype: Option<&'a str>,
    /// Where the text stands, for `messages`; offsets count from its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
}

#[derive(Serialize)]
struct Classified<'a> {
    id: &'a str,
    label: Label,
    spans: Vec<Span<'a>>,
    topics: BTreeMap<&'static str, f32>,
    complexity: f32,
    task: &'static str,
    language: &'a str,
    tokens: u32,
    doubt: Vec<&'static str>,
    ms: f64,
}

#[derive(Serialize)]
struct Faulty<'a> {
    id: Option<&'a str>,
    error: String,
}

pub(super) fn run(options: &Options) -> Outcome {
    let mut config = options.common.load(Overrides::default())?;
    if options.no_names {
        config.detection.names = NamesMode::Off;
    }
    let classifier = super::whole_classifier(&config)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut input = std::io::stdin().lock();
    let mut line = Vec::new();
    let mut all_well = true;
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        all_well &= classify(&classifier, &config.policy, &line, &mut out)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Writes one result; false for a malformed line.
fn classify(
    classifier: &Classifier,
    policy: &PolicySet,
    line: &[u8],
    out: &mut impl Write,
) -> Result<bool, CliError> {
    let started = Instant::now();
    let mut faulty = |id: Option<&str>, error: String| {
        serde_json::to_writer(&mut *out, &Faulty { id, error }).map_err(std::io::Error::from)
    };
    let read: Line<'_> = match serde_json::from_slice(line) {
        Ok(read) => read,
        Err(error) => {
            let id = serde_json::from_slice::<serde_json::Value>(line)
                .ok()
                .and_then(|value| value.get("id").and_then(|id| id.as_str()).map(str::to_owned));
            faulty(id.as_deref(), error.to_string())?;
            return Ok(false);
        }
    };
    let inbound: Inbound<ChatRequest>;
    let (prompt, is_chat) = match (&read.text, read.messages) {
        (Some(text), None) => (Prompt::from_text(text), false),
        (None, Some(messages)) => {
            let body = Bytes::from(format!("{{\"model\":\"auto\",\"messages\":{}}}", messages.get()));
            inbound = match Inbound::parse(body, &HeaderMap::new()) {
                Ok(inbound) => inbound,
                Err(error) => {
                    faulty(Some(&read.id), error.to_string())?;
                    return Ok(false);
                }
            };
            match inbound.prompt() {
                Ok(mut prompt) => {
                    prompt.segments.retain(|segment| segment.path != "model");
                    (prompt, true)
                }
                Err(error) => {
                    faulty(Some(&read.id), error.to_string())?;
                    return Ok(false);
                }
            }
        }
        _ => {
            faulty(Some(&read.id), String::from("a line has either `text` or `messages`"))?;
            return Ok(false);
        }
    };
    let profile = classifier.classify_fully(&prompt);
    let label = policy.label(&profile.sensitivity, &CallerFacts::default()).label;
    let result = Classified {
        id: &read.id,
        label,
        spans: spans(&profile, &prompt, is_chat),
        topics: profile.sensitivity.topics.iter().map(|(topic, score)| (topic.as_str(), *score)).collect(),
        complexity: profile.complexity,
        task: profile.task.as_str(),
        language: &profile.language,
        tokens: profile.input_tokens,
        doubt: profile.sensitivity.doubt.iter().map(|doubt| doubt.as_str()).collect(),
        ms: crate::settlement::milliseconds(started),
    };
    serde_json::to_writer(out, &result).map_err(std::io::Error::from)?;
    Ok(true)
}

fn spans<'a>(profile: &'a Profile, prompt: &'a Prompt<'_>, is_chat: bool) -> Vec<Span<'a>> {
    let path = |segment: usize| prompt.segments.get(segment).filter(|_| is_chat).map(|s| &*s.path);
    let findings = profile.sensitivity.findings.iter();
    findings
        .map(|finding| Span {
            start: finding.start,
            end: finding.end,
            r#type: finding.kind.as_str(),
            score: finding.score,
            source: finding.source.as_str(),
            subtype: finding.subtype.as_deref(),
            path: path(finding.segment),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use router_model::ClassifierConfig;

    use super::*;

    fn line(text: &str) -> (bool, serde_json::Value) {
        let patterns = ClassifierConfig { names: NamesMode::Off, ..ClassifierConfig::default() };
        let classifier = Classifier::new(patterns).unwrap();
        let policy = PolicySet::preset("balanced").unwrap();
        let mut out = Vec::new();
        let well = classify(&classifier, &policy, text.as_bytes(), &mut out).unwrap();
        (well, serde_json::from_slice(&out).unwrap())
    }

    #[test]
    fn offsets_are_code_points_into_the_text() {
        let (well, out) = line(r#"{"id":"a","text":"Grüße 👋 an jo.doe@example.com bitte"}"#);
        assert!(well);
        let span = &out["spans"][0];
        assert_eq!(
            (span["type"].as_str(), span["start"].as_u64(), span["end"].as_u64()),
            (Some("EMAIL"), Some(11), Some(29))
        );
        assert_eq!(out["label"], "confidential");
        for field in ["topics", "complexity", "task", "language", "tokens", "doubt", "ms"] {
            assert!(out.get(field).is_some(), "{field}");
        }
    }

    #[test]
    fn messages_are_classified_with_everything_in_them() {
        let (well, out) = line(
            r#"{"id":"a","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,
            "tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{\"card\":\"4111 1111 1111 1111\"}"}}]}]}"#
                .replace('\n', " ")
                .as_str(),
        );
        assert!(well);
        assert_eq!(out["label"], "restricted", "{out}");
        assert_eq!(out["spans"][0]["path"], "messages[1].tool_calls[0].function.arguments");
    }

    #[test]
    fn a_malformed_line_gets_an_error_with_its_id() {
        let (well, out) = line(r#"{"id":"b","text":5}"#);
        assert!(!well);
        assert_eq!(out["id"], "b");
        assert!(out["error"].is_string());
        assert!(!line("{\"id\":").0);
        assert!(!line(r#"{"id":"c"}"#).0);
    }
}
