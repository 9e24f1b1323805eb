//! Rows of an evaluation: graded rows as they are exported, and prompts with the scores of a pair of models.

use std::borrow::Cow;
use std::path::Path;

use bytes::Bytes;
use hyper::HeaderMap;
use router_model::Prompt;
use router_model::measure::{Pair, Scored, share};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::super::CliError;
use super::By;
use super::rungs::{Latency, Rungs, Scoring, needed_encoder};
use crate::config::Config;
use crate::http::chat::ChatRequest;
use crate::http::inbound::Inbound;

/// One line. Grades and groups go by several names, because data sets call them differently.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    id: String,
    complexity: Option<f64>,
    good: Option<f64>,
    small: Option<f64>,
    small_score: Option<f64>,
    strong: Option<f64>,
    large: Option<f64>,
    large_score: Option<f64>,
    #[serde(borrow)]
    prompt: Option<Cow<'a, str>>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    group: Option<String>,
    source: Option<String>,
    task: Option<String>,
    language: Option<String>,
    lang: Option<String>,
    label: Option<String>,
    rung: Option<String>,
    model: Option<String>,
}

/// One graded row with its score.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) scored: Scored,
    pub(super) group: Option<String>,
    pub(super) strong_assumed: bool,
    /// Whether the encoder was needed; `None` where the row does not say which rung decided.
    pub(super) needed_encoder: Option<bool>,
}

/// Reads lines, and scores those that carry a prompt and no complexity.
#[derive(Debug)]
pub(super) struct Reader {
    by: By,
    rungs: Rungs,
    /// Whether a complexity that a row already has is replaced.
    anew: bool,
}

impl Reader {
    pub(super) fn new(by: By, config: Config, artifact: Option<&Path>, anew: bool) -> Result<Self, CliError> {
        Ok(Self { by, rungs: Rungs::new(config, artifact)?, anew: anew || artifact.is_some() })
    }

    /// Which trained artifact scores.
    pub(super) fn revision(&self) -> &str {
        self.rungs.revision()
    }

    pub(super) fn latency(&self) -> Vec<Latency> {
        self.rungs.latency()
    }

    /// Prompts that were scored.
    pub(super) fn scored(&self) -> usize {
        self.rungs.scored()
    }

    /// A row; `None` if nobody graded it.
    pub(super) fn read(&mut self, line: &[u8]) -> Result<Option<Item>, String> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if line.id.is_empty() {
            return Err(String::from("id: is empty"));
        }
        let good =
            one("good", [("good", line.good), ("small", line.small), ("small_score", line.small_score)])?;
        let strong = one(
            "strong",
            [("strong", line.strong), ("large", line.large), ("large_score", line.large_score)],
        )?;
        in_range("complexity", line.complexity)?;
        let Some(good) = good else { return Ok(None) };
        let (score, scoring) = match line.complexity {
            Some(complexity) if !self.anew || (line.prompt.is_none() && line.messages.is_none()) => {
                (complexity, None)
            }
            _ => {
                let scoring = self.score(&line)?;
                (scoring.complexity, Some(scoring))
            }
        };
        let rung = scoring.as_ref().map(|scoring| scoring.rung).or(line.rung.as_deref());
        Ok(Some(Item {
            scored: Scored {
                score,
                pair: Pair { good, strong: strong.unwrap_or(1.0) },
                length: line.prompt.as_deref().map(length).or_else(|| messages_length(line.messages)),
            },
            strong_assumed: strong.is_none(),
            needed_encoder: rung.map(needed_encoder),
            group: group(self.by, &line, scoring.as_ref()),
        }))
    }

    fn score(&mut self, line: &Line<'_>) -> Result<Scoring, String> {
        match (&line.prompt, line.messages) {
            (Some(text), _) => Ok(self.rungs.score(&Prompt::from_text(text))),
            (None, Some(messages)) => {
                let chat = chat(messages)?;
                let mut prompt = chat.prompt().map_err(|error| error.to_string())?;
                prompt.segments.retain(|segment| segment.path != "model");
                Ok(self.rungs.score(&prompt))
            }
            (None, None) => Err(String::from("a row has `complexity`, `prompt` or `messages`")),
        }
    }
}

fn chat(messages: &RawValue) -> Result<Inbound<ChatRequest>, String> {
    let body = Bytes::from(format!("{{\"model\":\"auto\",\"messages\":{}}}", messages.get()));
    Inbound::parse(body, &HeaderMap::new()).map_err(|error| format!("messages: {error}"))
}

/// The value that one of the names has; two that differ are a mistake in the data.
fn one<const N: usize>(
    name: &'static str,
    values: [(&'static str, Option<f64>); N],
) -> Result<Option<f64>, String> {
    let mut found: Option<f64> = None;
    for (field, value) in values {
        in_range(field, value)?;
        if let (Some(before), Some(value)) = (found, value)
            && (before - value).abs() > 1e-9
        {
            return Err(format!("{name}: is given twice, as {before} and as `{field}` {value}"));
        }
        found = found.or(value);
    }
    Ok(found)
}

fn in_range(field: &'static str, value: Option<f64>) -> Result<(), String> {
    share(field, value).map_err(|error| error.to_string())
}

#[expect(clippy::cast_precision_loss, reason = "a prompt has fewer than 2^53 characters")]
fn length(text: &str) -> f64 {
    text.chars().count() as f64
}

fn messages_length(messages: Option<&RawValue>) -> Option<f64> {
    let chat = chat(messages?).ok()?;
    let prompt = chat.prompt().ok()?;
    let texts = prompt.segments.iter().filter(|segment| segment.path != "model");
    Some(texts.map(|segment| length(&segment.text)).sum())
}

fn group(by: By, line: &Line<'_>, scoring: Option<&Scoring>) -> Option<String> {
    let scored = |of: fn(&Scoring) -> &str| scoring.map(|scoring| of(scoring).to_owned());
    match by {
        By::Group => line.group.clone().or_else(|| line.source.clone()),
        By::Task => line.task.clone().or_else(|| scored(|scoring| scoring.task)),
        By::Language => line
            .language
            .clone()
            .or_else(|| line.lang.clone())
            .or_else(|| scored(|scoring| &scoring.language)),
        By::Label => line.label.clone(),
        By::Rung => line.rung.clone().or_else(|| scored(|scoring| scoring.rung)),
        By::Model => line.model.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features_alone() -> Config {
        let mut config = Config::built_in(&crate::config::Overrides::default()).unwrap();
        config.router.encoder = false;
        config
    }

    fn read(by: By, line: &str) -> Result<Option<Item>, String> {
        Reader::new(by, features_alone(), None, false).unwrap().read(line.as_bytes())
    }

    #[test]
    fn a_graded_row_keeps_the_score_that_it_was_served_with() {
        let item = read(By::Task, r#"{"id":"a","complexity":0.25,"good":1,"task":"code","rung":"late"}"#);
        let item = item.unwrap().unwrap();
        assert_eq!((item.scored.score, item.scored.length), (0.25, None));
        assert_eq!((item.group.as_deref(), item.strong_assumed), (Some("code"), true));
        assert_eq!(item.needed_encoder, Some(true));
    }

    #[test]
    fn prompts_and_conversations_are_scored_alike() {
        let prompt = read(
            By::Group,
            r#"{"id":"a","prompt":"What is 2+2?","small_score":1,"large_score":0.5,"source":"s"}"#,
        );
        let prompt = prompt.unwrap().unwrap();
        let chat =
            r#"{"id":"b","messages":[{"role":"user","content":"What is 2+2?"}],"small":1,"large":0.5}"#;
        let chat = read(By::Group, chat).unwrap().unwrap();
        assert_eq!(prompt.scored, chat.scored);
        assert_eq!((prompt.scored.length, prompt.group.as_deref()), (Some(12.0), Some("s")));
        assert_eq!(prompt.needed_encoder, Some(false));
    }

    #[test]
    fn what_nobody_graded_is_no_fault_and_what_is_wrong_is_named() {
        let mut reader = Reader::new(By::Group, features_alone(), None, false).unwrap();
        assert!(reader.read(br#"{"id":"a","prompt":"x","small_score":null}"#).unwrap().is_none());
        for (line, said) in [
            (r#"{"id":"a","good":1}"#, "`complexity`, `prompt` or `messages`"),
            (r#"{"id":"a","complexity":0,"good":1.5}"#, "good: 1.5"),
            (r#"{"id":"a","complexity":2,"good":1}"#, "complexity: 2"),
            (r#"{"id":"a","complexity":0,"good":1,"small":0}"#, "`small` 0"),
            (r#"{"id":"a","complexity":0,"good":1,"large_score":-1}"#, "large_score: -1"),
            (r#"{"id":"","complexity":0,"good":1}"#, "id"),
            (r#"{"id":"a","messages":5,"good":1}"#, "messages"),
        ] {
            let error = reader.read(line.as_bytes()).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
