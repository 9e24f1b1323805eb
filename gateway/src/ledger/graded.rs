//! Graded rows: requests of which it is known how good the local answer was.
//!
//! Feedback on an answer that was given here grades it; of answers given elsewhere it says nothing about the local
//! model. A shadow's agreement grades the local answer whichever side was shown. Where both are known, the person who
//! asked is right.

use policies::Location;
use router_model::measure::{GoodSource, GradedRow};

use super::history::{Considered, Period, Recorded, Stood};
use super::store::{LedgerError, Store};

impl Store {
    /// Reads the graded rows of a period, oldest first. Returns how many were rated and yet say nothing about
    /// the local model.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`], or what `each` returns.
    pub fn graded<E: From<LedgerError>>(
        &self,
        period: &Period,
        mut each: impl FnMut(GradedRow) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut silent = 0;
        self.recorded(period, true, |row| match graded(row) {
            Some(row) => each(row),
            None => {
                silent += 1;
                Ok(())
            }
        })?;
        Ok(silent)
    }
}

/// `None` where nobody said how good the local answer was.
fn graded(row: Recorded) -> Option<GradedRow> {
    // What failed, or was no question to a chat model, grades no answer.
    let is_chat = row.situation.as_ref().is_none_or(|situation| situation.operation == "chat");
    if !row.is_completed || !is_chat {
        return None;
    }
    let by_person = row.feedback.filter(|_| row.route == "local").map(|score| f64::midpoint(score, 1.0));
    let (good, source) = match (by_person, row.agreement) {
        (Some(good), _) => (good, GoodSource::Feedback),
        (None, Some(agreement)) => (agreement, GoodSource::Shadow),
        (None, None) => return None,
    };
    let cloud = cloud_cost(&row.alternatives);
    // Where nothing else may serve a request, its local answer stands, however weak.
    let strong = (!may_leave(&row.alternatives)).then_some(good);
    let model = if row.route == "local" { Some(row.served_model) } else { local_model(&row.alternatives) };
    let graded = GradedRow {
        id: row.id,
        time_ms: Some(row.time_ms),
        complexity: row.complexity,
        confidence: row.confidence.or(row.shadow_confidence),
        strong,
        task: Some(row.task),
        language: Some(row.language),
        label: Some(row.label.as_str().to_owned()),
        rung: row.profile.map(|profile| profile.rung.as_str().to_owned()),
        good: Some(good),
        good_source: Some(source),
        local_cost_nanos: Some(0),
        cloud_cost_nanos: cloud,
        features: row.features,
        model,
        ..GradedRow::default()
    };
    graded.validate().is_ok().then_some(graded)
}

/// What the request was expected to cost where it would have gone if not here: at the target that comes first in the
/// decision's order, else at the cheapest one.
fn cloud_cost(alternatives: &[Considered]) -> Option<i64> {
    let away = alternatives.iter().filter(|considered| considered.location != Location::Local);
    let priced = away.filter_map(|c| Some((rank(&c.standing)?, c.estimate.money()?.nanos())));
    priced.min().map(|(_, nanos)| nanos)
}

/// Could another place than this machine have served it?
fn may_leave(alternatives: &[Considered]) -> bool {
    let away = |considered: &Considered| considered.location != Location::Local;
    alternatives.iter().any(|considered| away(considered) && rank(&considered.standing).is_some())
}

/// Place in the decision's order; `None` where the request could not go.
const fn rank(standing: &Stood) -> Option<u32> {
    match standing {
        Stood::Chosen => Some(0),
        Stood::Fallback(place) => Some(*place),
        Stood::Eligible => Some(u32::MAX),
        Stood::NotCleared | Stood::Incapable(_) | Stood::Unavailable(_) | Stood::NotAsked => None,
    }
}

fn local_model(alternatives: &[Considered]) -> Option<String> {
    let local = alternatives.iter().find(|considered| considered.location == Location::Local)?;
    local.target.strip_prefix("local/").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policies::Label;

    use super::*;
    use crate::ledger::{Feedback, Finish, Row};

    const ALTERNATIVES: &str = r#"[
        {"target":"local/small","location":"local","standing":"chosen","estimate":{"priced":0},"expected_quality":0.9},
        {"target":"a/dear","location":"cloud","standing":{"fallback":1},"estimate":{"priced":900},"expected_quality":1.0},
        {"target":"a/cheap","location":"cloud","standing":"not_cleared","estimate":{"priced":5},"expected_quality":1.0},
        {"target":"a/new","location":"cloud","standing":{"unavailable":"x"},"estimate":"unpriced","expected_quality":1.0}]"#;

    fn row(id: &str, route: &str) -> (Row, bool) {
        let row = Row {
            route: route.into(),
            served_model: String::from(if route == "local" { "small" } else { "dear" }),
            label: Label::Internal,
            complexity: 0.25,
            confidence: Some(0.5),
            task: "math",
            language: String::from("en"),
            alternatives: String::from(ALTERNATIVES),
            outcome: Finish::Completed,
            features: Some(Arc::from([1.0_f32, 2.0])),
            ..Row::new(id.into(), 7)
        };
        (row, true)
    }

    #[test]
    fn people_come_before_judges_and_only_local_answers_are_graded() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&dir.path().join("l.db")).unwrap();
        let (away, here) = ("cloud:a", "local");
        store
            .write(&[row("1", here), row("2", here), row("3", away), row("4", away), row("5", here)])
            .unwrap();
        let rate = |id: &str, score: f64| {
            let request_id = id.to_owned();
            let feedback = Feedback {
                request_id,
                key: String::new(),
                team: String::new(),
                time_ms: 8,
                score,
                label: None,
            };
            assert!(store.rate(&feedback).unwrap());
        };
        for (id, score) in [("1", -0.5), ("3", 1.0), ("4", -1.0)] {
            rate(id, score);
        }
        for (id, agreement) in [("1", 1.0), ("2", 0.75), ("4", 0.5)] {
            assert!(store.judge(id, "shadow", agreement, 9).unwrap());
        }
        let mut rows = Vec::new();
        let period = Period { from_ms: 0, to_ms: i64::MAX, team: None };
        let silent = store.graded(&period, |row| {
            rows.push(row);
            Ok::<_, LedgerError>(())
        });
        assert_eq!(silent.unwrap(), 1, "feedback on an answer from elsewhere");
        let said: Vec<_> = rows.iter().map(|row| (row.id.as_str(), row.good, row.good_source)).collect();
        let (person, judge) = (Some(GoodSource::Feedback), Some(GoodSource::Shadow));
        assert_eq!(said, [("1", Some(0.25), person), ("2", Some(0.75), judge), ("4", Some(0.5), judge)]);
        assert!(rows.iter().all(|row| row.cloud_cost_nanos == Some(900) && row.local_cost_nanos == Some(0)));
        assert!(rows.iter().all(|row| row.model.as_deref() == Some("small")), "the local one, shown or not");
        let line = serde_json::to_vec(&rows[0]).unwrap();
        assert_eq!(GradedRow::from_json(&line).unwrap(), rows[0], "what is written can be read");
        assert_eq!(rows[0].features.as_deref(), Some([1.0_f32, 2.0].as_slice()));
    }

    #[test]
    fn what_may_not_leave_is_no_better_elsewhere_and_what_failed_grades_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&dir.path().join("l.db")).unwrap();
        let kept = ALTERNATIVES.replace("{\"fallback\":1}", "\"not_cleared\"");
        let (mut bound, mut failed) = (row("bound", "local"), row("failed", "local"));
        bound.0.alternatives = kept;
        failed.0.outcome = Finish::Failed;
        store.write(&[bound, failed, row("free", "local")]).unwrap();
        for id in ["bound", "failed", "free"] {
            assert!(store.judge(id, "shadow", 0.25, 9).unwrap());
        }
        assert!(store.judge("free", "overlap", 1.0, 9).unwrap());
        let mut found = Vec::new();
        let period = Period { from_ms: 0, to_ms: 100, team: None };
        let each = |row| {
            found.push(row);
            Ok::<_, LedgerError>(())
        };
        let silent = store.graded(&period, each).unwrap();
        let told: Vec<_> =
            found.iter().map(|row| (&*row.id, row.good, row.strong, row.cloud_cost_nanos)).collect();
        assert_eq!(silent, 1);
        let expected = [("bound", Some(0.25), Some(0.25), None), ("free", Some(0.25), None, Some(900))];
        assert_eq!(told, expected);
    }
}
