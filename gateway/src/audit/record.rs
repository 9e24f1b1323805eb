//! What a record says.
//!
//! Fields stand in alphabetical order and nothing in them is a fraction, so that the line that `serde_json` writes is the
//! canonical one (RFC 8785). A test holds that.

use std::collections::BTreeMap;
use std::sync::Arc;

use policies::Label;
use serde::Serialize;

use super::chain::Seal;

/// Version of the record's form.
const FORM: u32 = 1;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A gateway began to write to this ledger.
    Started,
    /// It ended in order.
    Stopped,
    /// Data is about to be sent off this machine.
    Sending,
    /// A decided request came to its end.
    Settled,
    /// A request was under way when the process died; found at the next start.
    Interrupted,
    /// Records were lost before this one: they could not be written for too long.
    Lost,
}

/// What was done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It was served as asked.
    Served,
    /// Its label kept it from a place that it would else have been admitted to.
    KeptLocal,
    /// It left after what was sensitive in it had been replaced.
    Masked,
    /// It was not served.
    Refused,
}

/// A label that was lowered, from what to what and by what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Declassified {
    /// What lowered it.
    pub by: &'static str,
    /// The label that was found.
    pub from: Label,
    /// The label that it was sent with.
    pub to: Label,
}

/// A place that was given the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// The highest label that it may see.
    pub clearance: Label,
    /// The label that the data was sent with.
    pub label: Label,
    /// `local`, `on-prem` or `cloud`.
    pub location: &'static str,
    /// `answered`, `under_way`, or why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<&'static str>,
    /// Id of the target.
    pub target: Arc<str>,
}

/// One record, before it has a place in the chain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// What was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// What raised the label to where it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub because: String,
    /// Label that the caller asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_label: Option<Label>,
    /// Records lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// A label that was lowered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declassified: Option<Declassified>,
    /// What classification was not sure of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub doubt: Vec<&'static str>,
    /// What happened.
    pub event: Event,
    /// Version of the record's form.
    pub form: u32,
    /// Id of the caller's key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Kinds of entity with their counts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<&'static str, u32>,
    /// The label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// `chat`, `embeddings`, `shadow`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// How it ended, as in the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
    /// Revision of the policy.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub policy: Arc<str>,
    /// Id of the request.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub request: Arc<str>,
    /// Rule that fired.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub rule: Arc<str>,
    /// How the record is sealed.
    pub seal: String,
    /// Every place that was given the data, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<Destination>,
    /// Number in the chain, from 1.
    pub sequence: u64,
    /// Keyed hash of the session, 32 hexadecimal digits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
    /// Label that the session had reached before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_label: Option<Label>,
    /// The request that this one is the shadow of.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub shadow_of: String,
    /// Status of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Team.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub team: String,
    /// When the record was made, UTC with milliseconds.
    pub time: String,
    /// Topics at or above the policy's threshold, in percent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub topics: BTreeMap<&'static str, u32>,
    /// The same as `time`, for the column beside the record.
    #[serde(skip)]
    pub time_ms: i64,
}

impl Entry {
    /// An entry that says only what happened and when.
    #[must_use]
    pub fn new(event: Event, time_ms: i64) -> Self {
        Self {
            action: None,
            because: String::new(),
            caller_label: None,
            count: None,
            declassified: None,
            doubt: Vec::new(),
            event,
            form: FORM,
            key: String::new(),
            kinds: BTreeMap::new(),
            label: None,
            operation: String::new(),
            outcome: None,
            policy: Arc::from(""),
            request: Arc::from(""),
            rule: Arc::from(""),
            seal: String::new(),
            sent: Vec::new(),
            sequence: 0,
            session: String::new(),
            session_label: None,
            shadow_of: String::new(),
            status: None,
            team: String::new(),
            time: written(time_ms),
            topics: BTreeMap::new(),
            time_ms,
        }
    }

    /// A gateway that begins or ends under a policy.
    #[must_use]
    pub fn of_gateway(event: Event, time_ms: i64, policy: &Arc<str>) -> Self {
        Self { policy: policy.clone(), ..Self::new(event, time_ms) }
    }

    /// Records that could not be written.
    #[must_use]
    pub fn lost(count: u64, time_ms: i64) -> Self {
        Self { count: Some(count), ..Self::new(Event::Lost, time_ms) }
    }

    /// The record's line, at its place in the chain.
    ///
    /// # Errors
    /// None in practice: every field can be written.
    pub(crate) fn line(&self, sequence: u64, seal: &Seal) -> serde_json::Result<String> {
        serde_json::to_string(&Self { sequence, seal: seal.name().to_owned(), ..self.clone() })
    }
}

/// A time as the record writes it.
pub(crate) fn written(time_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(time_ms).unwrap_or_default();
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn full() -> Entry {
        Entry {
            action: Some(Action::Masked),
            because: String::from("2 EMAIL found"),
            caller_label: Some(Label::Internal),
            count: Some(1),
            declassified: Some(Declassified { by: "masking", from: Label::Restricted, to: Label::Internal }),
            doubt: vec!["unread_image"],
            key: String::from("key_1"),
            kinds: BTreeMap::from([("PERSON", 1), ("EMAIL", 2)]),
            label: Some(Label::Restricted),
            operation: String::from("chat"),
            outcome: Some("completed"),
            policy: Arc::from("balanced-1"),
            request: Arc::from("req_1"),
            rule: Arc::from("routine"),
            sent: vec![Destination {
                clearance: Label::Internal,
                label: Label::Internal,
                location: "cloud",
                result: Some("answered"),
                target: Arc::from("openai/gpt-4o"),
            }],
            session: String::from("00ff"),
            session_label: Some(Label::Public),
            shadow_of: String::from("req_0"),
            status: Some(200),
            team: String::from("a \"b\"\u{1f}é"),
            topics: BTreeMap::from([("health", 93), ("financial", 61)]),
            ..Entry::new(Event::Settled, 1_700_000_000_123)
        }
    }

    fn assert_canonical(value: &Value) {
        match value {
            Value::Object(map) => {
                assert!(map.keys().is_sorted(), "{:?}", map.keys().collect::<Vec<_>>());
                map.values().for_each(assert_canonical);
            }
            Value::Array(items) => items.iter().for_each(assert_canonical),
            Value::Number(number) => assert!(number.is_u64() || number.is_i64(), "{number}"),
            _ => {}
        }
    }

    #[test]
    fn a_line_is_canonical_and_complete() {
        let line = full().line(7, &Seal::default()).unwrap();
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_canonical(&value);
        assert_eq!(value.to_string(), line, "no spaces");
        assert_eq!(value.as_object().unwrap().len(), 26, "nothing is left out: {line}");
        assert_eq!((value["sequence"].as_u64(), value["seal"].as_str()), (Some(7), Some("sha256")));
        assert_eq!(value["time"], "2023-11-14T22:13:20.123Z");
        assert!(line.contains("a \\\"b\\\"\\u001fé"), "{line}");
    }

    #[test]
    fn what_does_not_apply_is_left_out() {
        let line = Entry::lost(3, 0).line(1, &Seal::default()).unwrap();
        let want = r#"{"count":3,"event":"lost","form":1,"seal":"sha256","sequence":1,"time":"1970-01-01T00:00:00.000Z"}"#;
        assert_eq!(line, want);
    }
}
