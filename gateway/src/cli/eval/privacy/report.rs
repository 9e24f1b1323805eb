//! The figures, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use router_model::measure::bounds::clopper_pearson;
use serde_json::{Value, json};

use super::tally::{Counts, Levels, Share, Tally};

/// How often an interval may miss the truth.
const RISK: f64 = 0.05;

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Report {
    groups: BTreeMap<String, Tally>,
    bytes: usize,
    documents: u64,
    time: Duration,
}

/// Precision and recall with what is made of them; `None` where nothing was found or marked.
#[derive(Debug, PartialEq)]
pub(super) struct Figures {
    pub(super) precision: Option<f64>,
    pub(super) recall: Option<f64>,
    pub(super) f1: Option<f64>,
    pub(super) f2: Option<f64>,
}

impl Figures {
    /// From finds that are right and marks that were hit.
    fn new(right: u64, finds: u64, hit: u64, marks: u64) -> Self {
        let (precision, recall) = (ratio(right, finds), ratio(hit, marks));
        let f = |weight: f64| {
            let (p, r) = (precision.unwrap_or(0.0), recall?);
            let below = weight * weight * p + r;
            Some(if below > 0.0 { (1.0 + weight * weight) * p * r / below } else { 0.0 })
        };
        Self { precision, recall, f1: f(1.0), f2: f(2.0) }
    }

    pub(super) fn overlap(counts: &Counts) -> Self {
        Self::new(counts.finds_right, counts.finds, counts.marks_hit, counts.marks)
    }

    pub(super) fn exact(counts: &Counts) -> Self {
        Self::new(counts.finds_exact, counts.finds, counts.marks_exact, counts.marks)
    }

    fn as_json(&self) -> Value {
        json!({"precision": self.precision, "recall": self.recall, "f1": self.f1, "f2": self.f2})
    }
}

impl Report {
    /// Notes what classifying a document took.
    pub(super) fn took(&mut self, bytes: usize, time: Duration) {
        self.bytes += bytes;
        self.documents += 1;
        self.time += time;
    }

    /// Counts a document towards a group.
    pub(super) fn add(&mut self, group: &str, tally: &Tally) {
        self.groups.entry(group.to_owned()).or_default().add(tally);
    }

    pub(super) const fn documents(&self) -> u64 {
        self.documents
    }

    /// Documents and megabytes a second, on one thread.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    fn speed(&self) -> (f64, f64) {
        let seconds = self.time.as_secs_f64().max(1e-9);
        (self.documents as f64 / seconds, self.bytes as f64 / 1e6 / seconds)
    }

    pub(super) fn as_json(&self) -> Value {
        let (documents, megabytes) = self.speed();
        let groups = self.groups.iter().map(|(name, tally)| (name.clone(), group_json(tally)));
        json!({
            "documents": self.documents,
            "bytes": self.bytes,
            "documents_per_second": documents,
            "megabytes_per_second": megabytes,
            "groups": groups.collect::<serde_json::Map<_, _>>(),
        })
    }

    pub(super) fn as_text(&self) -> String {
        let mut out = String::new();
        for (name, tally) in &self.groups {
            group_text(&mut out, name, tally);
        }
        let (documents, megabytes) = self.speed();
        let count = self.documents;
        let _ = write!(
            out,
            "{count} documents on one thread: {documents:.0} documents/s, {megabytes:.2} MB/s, complexity included"
        );
        out
    }
}

fn group_json(tally: &Tally) -> Value {
    let kinds = tally.kinds.iter().map(|(kind, counts)| (kind.to_string(), counts_json(counts)));
    let levels = tally.levels.iter().map(|(policy, levels)| (policy.clone(), json!(levels)));
    json!({
        "documents": tally.documents,
        "micro": counts_json(&tally.micro()),
        "kinds": kinds.collect::<serde_json::Map<_, _>>(),
        "leaking_documents": share_json(tally.leaks),
        "flagged_look_alikes": share_json(tally.look_alikes),
        "levels": levels.collect::<serde_json::Map<_, _>>(),
    })
}

fn counts_json(counts: &Counts) -> Value {
    json!({"counts": counts, "overlap": Figures::overlap(counts).as_json(), "exact": Figures::exact(counts).as_json()})
}

fn share_json(share: Share) -> Value {
    let interval = (share.of > 0).then(|| clopper_pearson(share.count, share.of, RISK));
    json!({"count": share.count, "of": share.of, "interval": interval})
}

fn group_text(out: &mut String, name: &str, tally: &Tally) {
    let documents = tally.documents;
    let _ = writeln!(out, "{name}: {documents} documents");
    if tally.leaks.of > 0 {
        let _ = writeln!(out, "  documents that leak      {}", share_text(tally.leaks));
    }
    if tally.look_alikes.of > 0 {
        let _ = writeln!(out, "  look-alikes flagged      {}", share_text(tally.look_alikes));
    }
    for (policy, Levels { documents, under, over }) in &tally.levels {
        let share = |count: &u64| 100.0 * ratio(*count, *documents).unwrap_or(0.0);
        let _ = writeln!(
            out,
            "  label by {policy:15} {:5.1} % too low, {:5.1} % too high of {documents}",
            share(under),
            share(over)
        );
    }
    if !tally.kinds.is_empty() {
        let _ = writeln!(out, "  kind              marks  finds      P      R     F1     F2   exact F1");
        row(out, "(micro)", &tally.micro());
        tally.kinds.iter().for_each(|(kind, counts)| row(out, kind.as_str(), counts));
    }
    out.push('\n');
}

fn row(out: &mut String, name: &str, counts: &Counts) {
    let (overlap, exact) = (Figures::overlap(counts), Figures::exact(counts));
    let shown = |figure: Option<f64>| figure.map_or_else(|| String::from("    -"), |x| format!("{x:5.3}"));
    let _ = writeln!(
        out,
        "  {name:16} {:6} {:6}  {}  {}  {}  {}      {}",
        counts.marks,
        counts.finds,
        shown(overlap.precision),
        shown(overlap.recall),
        shown(overlap.f1),
        shown(overlap.f2),
        shown(exact.f1)
    );
}

/// A share with its exact interval, in percent.
fn share_text(share: Share) -> String {
    let (low, high) = clopper_pearson(share.count, share.of, RISK);
    let percent = 100.0 * ratio(share.count, share.of).unwrap_or(0.0);
    let (count, of) = (share.count, share.of);
    format!("{count} of {of}: {percent:.2} % [{:.2}, {:.2}]", 100.0 * low, 100.0 * high)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn ratio(count: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| count as f64 / of as f64)
}

#[cfg(test)]
mod tests {
    use policies::{EntityKind, Finding, FindingSource, Label};

    use super::super::item;
    use super::*;

    fn find(kind: EntityKind, start: usize, end: usize) -> Finding {
        Finding { segment: 0, start, end, kind, subtype: None, score: 1.0, source: FindingSource::Pattern }
    }

    fn of(line: &str, findings: &[Finding]) -> Tally {
        Tally::of(&item::read(line.as_bytes()).unwrap(), findings)
    }

    /// Three records, counted by hand.
    #[test]
    fn figures_are_those_that_were_computed_by_hand() {
        use EntityKind::{Date, Email, Person};
        let mut sum = Tally::default();
        // A name of ten characters, nine of which are found; an e-mail address found exactly; a date that nobody marked.
        sum.add(&of(
            r#"{"id":"1","text":"0123456789 a@b.example 2020","annotated":["PERSON","EMAIL"],
             "spans":[{"start":0,"end":10,"type":"PERSON"},{"start":11,"end":22,"type":"EMAIL"}]}"#,
            &[find(Person, 0, 9), find(Email, 11, 22), find(Date, 23, 27)],
        ));
        // An address of which eight tenths are covered leaks; what was found beside it is wrong.
        sum.add(&of(
            r#"{"id":"2","text":"abcdefghij klm","annotated":["EMAIL"],"spans":[{"start":0,"end":10,"type":"EMAIL"}]}"#,
            &[find(Email, 0, 8), find(Email, 11, 14)],
        ));
        // A look-alike that is taken for something, of a kind that was not marked.
        sum.add(&of(
            r#"{"id":"3","text":"abc","annotated":["EMAIL"],"hard_negative":"uuid"}"#,
            &[find(Date, 0, 3)],
        ));
        let email = sum.kinds[&Email];
        assert_eq!((email.marks, email.marks_hit, email.marks_exact), (2, 2, 1));
        assert_eq!((email.finds, email.finds_right, email.finds_exact), (3, 2, 1));
        assert!(!sum.kinds.contains_key(&Date), "unknown is neither right nor wrong");
        assert_eq!((sum.leaks, sum.look_alikes), (Share { count: 1, of: 2 }, Share { count: 1, of: 1 }));
        let micro = Figures::overlap(&sum.micro());
        let close =
            |got: Option<f64>, want: f64| assert!((got.unwrap() - want).abs() < 1e-12, "{got:?} {want}");
        close(micro.precision, 3.0 / 4.0);
        close(micro.recall, 1.0);
        close(micro.f1, 6.0 / 7.0);
        close(micro.f2, 15.0 / 16.0);
        close(Figures::exact(&sum.micro()).f1, 2.0 * 0.25 * (1.0 / 3.0) / (0.25 + 1.0 / 3.0));
        assert_eq!(
            share_text(Share { count: 0, of: 20 }),
            "0 of 20: 0.00 % [0.00, 16.84]",
            "Newcombe 1998, table I"
        );
    }

    #[test]
    fn labels_are_too_low_or_too_high() {
        let low = Levels::of(Label::Public, Label::Restricted);
        let high = Levels::of(Label::Restricted, Label::Internal);
        assert_eq!((low.under, low.over, high.under, high.over), (1, 0, 0, 1));
        assert_eq!(Levels::of(Label::Public, Label::Public), Levels { documents: 1, under: 0, over: 0 });
    }
}
