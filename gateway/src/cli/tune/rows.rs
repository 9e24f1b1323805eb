//! From graded rows to cases that can be tested, with what the rows cannot tell said aloud.

use std::collections::BTreeMap;

use router_model::measure::{Case, GoodSource, GradedRow};
use serde::Serialize;

/// Share of rows with a grade below which feedback says more about who gives it than about answers.
const FEEDBACK_SHARE_MIN: f64 = 0.5;

/// What rows were used, and how they were graded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Provenance {
    /// Rows that could be read.
    pub(super) read: usize,
    /// Rows that are used.
    pub(super) used: usize,
    /// Rows without a grade.
    pub(super) ungraded: usize,
    /// Graded rows without a confidence, where one is needed.
    pub(super) without_confidence: usize,
    /// Used rows whose strong answer counts as 1 because nobody graded it.
    pub(super) strong_assumed: usize,
    /// Used rows by who graded them.
    pub(super) sources: BTreeMap<&'static str, usize>,
    /// Whether costs are nano-dollars; else the strong answer costs 1 and the local one 0.
    pub(super) priced: bool,
}

/// The rows that can be used.
#[derive(Debug)]
pub(super) struct Usable {
    pub(super) cases: Vec<Case>,
    pub(super) provenance: Provenance,
    pub(super) warnings: Vec<String>,
}

impl Usable {
    pub(super) fn of(rows: &[GradedRow], needs_confidence: bool) -> Self {
        let graded: Vec<(&GradedRow, f64)> = rows.iter().filter_map(|row| Some((row, row.good?))).collect();
        let used: Vec<(&GradedRow, f64)> =
            graded.iter().copied().filter(|(row, _)| !needs_confidence || row.confidence.is_some()).collect();
        let priced = !used.is_empty() && used.iter().all(|(row, _)| row.cloud_cost_nanos.is_some());
        let mut sources = BTreeMap::new();
        for (row, _) in &used {
            *sources.entry(row.good_source.map_or("not said", GoodSource::as_str)).or_default() += 1;
        }
        let provenance = Provenance {
            read: rows.len(),
            used: used.len(),
            ungraded: rows.len() - graded.len(),
            without_confidence: graded.len() - used.len(),
            strong_assumed: used.iter().filter(|(row, _)| row.strong.is_none()).count(),
            sources,
            priced,
        };
        let warnings = warnings(&provenance, &used);
        Self {
            cases: used.iter().map(|(row, good)| case(row, *good, priced)).collect(),
            provenance,
            warnings,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "costs of single requests")]
fn case(row: &GradedRow, good: f64, priced: bool) -> Case {
    let nanos = |cost: Option<i64>| cost.unwrap_or(0) as f64;
    Case {
        // As a policy's condition compares it.
        complexity: f64::from(row.complexity),
        confidence: row.confidence.map(decimal),
        good,
        strong: row.strong(),
        local_cost: if priced { nanos(row.local_cost_nanos) } else { 0.0 },
        cloud_cost: if priced { nanos(row.cloud_cost_nanos) } else { 1.0 },
    }
}

/// A confidence as it is written: compared in single precision by the gateway, 0.7 is not below 0.7, and must not be
/// here because its nearest single is.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows")]
fn warnings(provenance: &Provenance, used: &[(&GradedRow, f64)]) -> Vec<String> {
    let mut warnings = Vec::new();
    let feedback = provenance.sources.get(GoodSource::Feedback.as_str()).copied().unwrap_or(0);
    let graded_share = 1.0 - provenance.ungraded as f64 / provenance.read.max(1) as f64;
    if feedback > 0 && (graded_share < FEEDBACK_SHARE_MIN || provenance.ungraded == 0) {
        let share = if provenance.ungraded == 0 {
            String::from("the rows do not say out of how many requests")
        } else {
            format!("only {:.0} % of the rows are graded at all", 100.0 * graded_share)
        };
        warnings.push(format!(
            "{feedback} of {} grades are feedback, and {share}: people who complain (or praise) are no random \
             sample, so the guarantee does not cover the requests that nobody graded",
            provenance.used
        ));
    }
    if provenance.without_confidence > 0 {
        warnings.push(format!(
            "{} graded rows have no confidence and were left out; if they differ from the others, the guarantee \
             does not cover them",
            provenance.without_confidence
        ));
    }
    if provenance.strong_assumed > 0 {
        warnings.push(format!(
            "the strong model counts as always right on the {} rows that do not grade it",
            provenance.strong_assumed
        ));
    }
    let priced = used.iter().filter(|(row, _)| row.cloud_cost_nanos.is_some()).count();
    if priced > 0 && !provenance.priced {
        warnings.push(format!(
            "only {priced} of {} rows have cloud_cost_nanos, so costs are relative",
            provenance.used
        ));
    }
    let models: std::collections::BTreeSet<_> =
        used.iter().filter_map(|(row, _)| row.model.as_deref()).collect();
    if models.len() > 1 {
        let models: Vec<_> = models.into_iter().collect();
        warnings.push(format!("rows come from several local models ({}): tune for one", models.join(", ")));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> GradedRow {
        GradedRow::from_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn only_what_is_graded_counts() {
        let rows = [
            row(r#"{"id":"a","complexity":0.2,"confidence":0.7,"good":1,"good_source":"check"}"#),
            row(r#"{"id":"b","complexity":0.2,"good":0,"strong":1,"good_source":"check"}"#),
            row(r#"{"id":"c","complexity":0.2}"#),
        ];
        let usable = Usable::of(&rows, true);
        assert_eq!((usable.provenance.used, usable.provenance.without_confidence), (1, 1));
        assert_eq!(usable.cases[0].confidence.map(f64::to_bits), Some(0.7_f64.to_bits()));
        assert_eq!(Usable::of(&rows, false).provenance.ungraded, 1);
        assert!(Usable::of(&rows, false).warnings[0].contains("always right on the 1 rows"));
    }

    #[test]
    fn feedback_of_few_is_warned_of() {
        let graded = r#"{"id":"a","complexity":0.2,"good":1,"strong":1,"good_source":"feedback"}"#;
        let silent = r#"{"id":"b","complexity":0.2}"#;
        let few = [row(graded), row(silent), row(silent)];
        assert!(Usable::of(&few, false).warnings[0].contains("only 33 %"));
        assert!(Usable::of(&few[..1], false).warnings[0].contains("do not say out of how many"));
        let checked = row(&graded.replace("feedback", "check"));
        assert!(Usable::of(&[checked], false).warnings.is_empty());
    }

    #[test]
    fn costs_are_money_only_where_every_row_has_them() {
        let priced = row(
            r#"{"id":"a","complexity":0,"good":1,"strong":1,"cloud_cost_nanos":500,"local_cost_nanos":3}"#,
        );
        let usable = Usable::of(std::slice::from_ref(&priced), false);
        assert_eq!((usable.cases[0].cloud_cost, usable.cases[0].local_cost), (500.0, 3.0));
        let bare = row(r#"{"id":"b","complexity":0,"good":1,"strong":1}"#);
        let usable = Usable::of(&[priced, bare], false);
        assert_eq!((usable.cases[0].cloud_cost, usable.cases[0].local_cost), (1.0, 0.0));
        assert!(usable.warnings[0].contains("only 1 of 2"));
    }
}
