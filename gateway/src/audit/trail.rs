//! What an account gathers for its records, from the decision to the end.

use std::collections::BTreeMap;

use policies::decision::Standing;
use policies::{Decision, Declassifier, Label, Outcome, PolicySet, Profile, Target};

use super::record::{Action, Declassified, Destination, Entry, Event};
use crate::ledger::Row;

/// Operation of a second answer that nobody is shown.
const SHADOW: &str = "shadow";
/// What lowers a label.
const OBSERVER: &str = "observing policy";
const MASK: &str = "masking";

/// What is to be said of a request besides its row.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    because: String,
    kinds: BTreeMap<&'static str, u32>,
    topics: BTreeMap<&'static str, u32>,
    doubt: Vec<&'static str>,
    declassified: Option<Declassified>,
    refused: bool,
    /// A target was out because of the label.
    barred: bool,
    sent: Vec<Destination>,
}

impl Trail {
    /// What classification and decision said.
    #[must_use]
    pub fn of(policy: &PolicySet, profile: &Profile, decision: &Decision) -> Self {
        let labelled = &decision.labelled;
        let plan = match &decision.outcome {
            Outcome::Serve(plan) => Some(plan),
            Outcome::Refuse(_) => None,
        };
        Self {
            because: labelled.because.clone(),
            kinds: labelled.kinds.iter().map(|(kind, count)| (kind.as_str(), *count)).collect(),
            topics: policy
                .topics_above(&profile.sensitivity)
                .map(|(topic, score)| (topic.as_str(), percent(score)))
                .collect(),
            doubt: labelled.doubt.iter().map(|doubt| doubt.as_str()).collect(),
            declassified: plan.and_then(|plan| plan.declassified).map(|lowered| Declassified {
                by: match lowered.by {
                    Declassifier::Observer => OBSERVER,
                    Declassifier::Mask => MASK,
                },
                from: lowered.from,
                to: lowered.to,
            }),
            refused: plan.is_none(),
            barred: decision.alternatives.iter().any(|other| other.standing == Standing::NotCleared),
            sent: Vec::new(),
        }
    }

    /// The trail of a shadow: what was found is the request's, where it goes is its own.
    #[must_use]
    pub fn of_shadow(&self) -> Self {
        Self { sent: Vec::new(), refused: false, ..self.clone() }
    }

    /// Notes that a place is given the data.
    pub fn goes_to(&mut self, target: &Target, label: Label) {
        self.sent.push(Destination {
            clearance: target.clearance.0,
            label,
            location: target.location.as_str(),
            result: Some("under_way"),
            target: target.id.clone(),
        });
    }

    /// Notes what became of it at the last place.
    pub fn came_to(&mut self, result: &'static str) {
        if let Some(last) = self.sent.last_mut() {
            last.result = Some(result);
        }
    }

    /// The record that data is about to be sent to the last place that was noted.
    #[must_use]
    pub fn sending(&self, row: &Row, session: String, time_ms: i64) -> Entry {
        let sent = self.sent.last().cloned().map(|to| Destination { result: None, ..to });
        Entry { sent: sent.into_iter().collect(), ..self.entry(Event::Sending, row, session, time_ms) }
    }

    /// The record of the request's end.
    #[must_use]
    pub fn settled(&self, row: &Row, session: String, time_ms: i64) -> Entry {
        Entry {
            action: Some(self.action()),
            outcome: Some(row.outcome.as_str()),
            status: Some(row.status),
            sent: self.sent.clone(),
            ..self.entry(Event::Settled, row, session, time_ms)
        }
    }

    fn entry(&self, event: Event, row: &Row, session: String, time_ms: i64) -> Entry {
        let asked = row.situation.as_deref();
        let operation = if row.shadow_of.is_empty() {
            asked.map(|asked| asked.operation.to_string()).unwrap_or_default()
        } else {
            SHADOW.to_owned()
        };
        Entry {
            because: self.because.clone(),
            caller_label: asked.and_then(|asked| asked.label),
            declassified: self.declassified.clone(),
            doubt: self.doubt.clone(),
            key: row.key.clone(),
            kinds: self.kinds.clone(),
            label: Some(row.label),
            operation,
            policy: row.policy.clone(),
            request: row.id.clone(),
            rule: row.rule.clone(),
            session,
            session_label: asked.and_then(|asked| asked.session_label),
            shadow_of: row.shadow_of.clone(),
            team: row.team.clone(),
            topics: self.topics.clone(),
            ..Entry::new(event, time_ms)
        }
    }

    fn action(&self) -> Action {
        let left = self.sent.iter().any(|to| to.location != "local");
        if self.refused {
            Action::Refused
        } else if left && self.declassified.as_ref().is_some_and(|lowered| lowered.by == MASK) {
            Action::Masked
        } else if self.barred && !left {
            Action::KeptLocal
        } else {
            Action::Served
        }
    }
}

/// A share in percent, rounded.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 100")]
fn percent(share: f32) -> u32 {
    (share * 100.0).round().clamp(0.0, 100.0) as u32
}
