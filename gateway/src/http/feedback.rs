//! `POST /v1/feedback`: how good an answer was, by whoever asked for it.
//!
//! It feeds thresholds, drift and training. A caller rates requests of its own team only; others' are as unknown to
//! it as those that never were. Sending the same again changes nothing.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::body::ResponseBody;
use super::inbound::read_body_of;
use super::respond::json_response;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ledger::Feedback;

const FIELDS: [&str; 3] = ["request_id", "score", "label"];
const BODY_BYTES_MAX: usize = 4 << 10;
const ID_CHARS_MAX: usize = 128;
const LABEL_CHARS_MAX: usize = 32;
/// A client may be faster than the row that its answer's last byte settles.
const ROW_WAIT: Duration = Duration::from_millis(100);

/// Records feedback.
///
/// # Errors
/// [`Error::Unauthorized`]; [`Error::Invalid`], naming the field; [`Error::NoSuchRequest`]; [`Error::Ledger`].
pub async fn record(gateway: &Gateway, request: Request<Incoming>) -> Result<Response<ResponseBody>, Error> {
    let (head, body) = request.into_parts();
    let identity = gateway.callers.identify(&head.headers, &gateway.config, &gateway.ledger).await?;
    crate::pipeline::refuse_browsers(&head.headers)?;
    let body = read_body_of(gateway, body, BODY_BYTES_MAX).await?;
    let Opinion { request_id, score, label } = Opinion::parse(&body)?;
    let (key, team) = (identity.facts.key, identity.facts.team);
    let feedback = Arc::new(Feedback { request_id, key, team, time_ms: gateway.now_ms(), score, label });
    let rate = || {
        let feedback = feedback.clone();
        gateway.ledger.query(move |store| store.rate(&feedback))
    };
    let mut known = rate().await.map_err(Error::Ledger)?;
    if !known {
        tokio::time::sleep(ROW_WAIT).await;
        known = rate().await.map_err(Error::Ledger)?;
    }
    if !known {
        return Err(Error::NoSuchRequest);
    }
    gateway.metrics.rated(score);
    Ok(json_response(StatusCode::OK, &json!({"status": "recorded", "request_id": feedback.request_id})))
}

/// What the body says, checked.
#[derive(Debug, PartialEq)]
struct Opinion {
    request_id: String,
    score: f64,
    label: Option<String>,
}

impl Opinion {
    fn parse(body: &[u8]) -> Result<Self, Error> {
        let fault = |message: String| Error::Invalid { param: None, message };
        let fields: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|error| fault(format!("the request body must be a JSON object: {error}")))?;
        if let Some(unknown) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            let shown: String = unknown.chars().take(40).collect();
            return Err(Error::invalid(shown, "feedback has the fields request_id, score and label"));
        }
        Ok(Self {
            request_id: request_id(fields.get("request_id"))?,
            score: score(fields.get("score"))?,
            label: label(fields.get("label"))?,
        })
    }
}

fn request_id(value: Option<&Value>) -> Result<String, Error> {
    let id = value.and_then(Value::as_str).filter(|id| !id.is_empty() && id.chars().count() <= ID_CHARS_MAX);
    id.map(str::to_owned).ok_or_else(|| {
        Error::invalid("request_id", "`request_id` is the `x-request-id` of the answer, a string")
    })
}

fn score(value: Option<&Value>) -> Result<f64, Error> {
    let score = value.and_then(Value::as_f64).filter(|score| (-1.0..=1.0).contains(score));
    score.ok_or_else(|| Error::invalid("score", "`score` is a number from -1 (useless) to 1 (just right)"))
}

/// A word and not a sentence: what people write freely may be sensitive, and nothing of a request is stored.
fn label(value: Option<&Value>) -> Result<Option<String>, Error> {
    let value = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let word = value
        .as_str()
        .filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()) && word.len() <= LABEL_CHARS_MAX)
        // More digits would be a number of somebody or something.
        .filter(|word| word.chars().all(fits) && word.chars().filter(char::is_ascii_digit).count() <= 3);
    word.map(|word| Some(word.to_owned())).ok_or_else(|| {
        let message = format!(
            "`label` is one word such as `too_short`: at most {LABEL_CHARS_MAX} of a-z, `_`, `-` and up to three digits, a letter first"
        );
        Error::invalid("label", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(body: &str) -> Option<String> {
        match Opinion::parse(body.as_bytes()) {
            Err(Error::Invalid { param, .. }) => param,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn feedback_is_read() {
        let read = |body: &str| Opinion::parse(body.as_bytes()).unwrap();
        let whole = read(r#"{"request_id": "req_1", "score": -1, "label": "too_short"}"#);
        let expected =
            Opinion { request_id: "req_1".into(), score: -1.0, label: Some(String::from("too_short")) };
        assert_eq!(whole, expected);
        assert_eq!(read(r#"{"request_id": "req_1", "score": 0.25, "label": null}"#).label, None);
    }

    #[test]
    fn faults_name_their_field() {
        for score in ["7", "-1.01", "\"1\"", "null", "true", "[1]", "1.0000001"] {
            let body = format!(r#"{{"request_id": "req_1", "score": {score}}}"#);
            assert_eq!(param(&body).as_deref(), Some("score"), "{body}");
        }
        assert_eq!(param(r#"{"request_id": "req_1"}"#).as_deref(), Some("score"));
        for id in ["7", "\"\"", "null", &format!("\"{}\"", "x".repeat(200))] {
            assert_eq!(
                param(&format!(r#"{{"request_id": {id}, "score": 1}}"#)).as_deref(),
                Some("request_id")
            );
        }
        for label in
            ["7", "\"\"", "\"my mail is a@b.example\"", "\"GOOD\"", &format!("\"{}\"", "x".repeat(33))]
        {
            let body = format!(r#"{{"request_id": "req_1", "score": 1, "label": {label}}}"#);
            assert_eq!(param(&body).as_deref(), Some("label"), "{body}");
        }
        assert_eq!(param(r#"{"request_id": "r", "score": 1, "why": "x"}"#).as_deref(), Some("why"));
        for text in ["", "[]", "NaN", "{\"request_id\": \"r\", \"score\": NaN}", "\u{0}"] {
            assert_eq!(param(text), None, "{text:?}");
        }
    }
}
