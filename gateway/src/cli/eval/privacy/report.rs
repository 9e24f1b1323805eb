//! Figures of an evaluation, for people and for programs.

use std::time::Duration;

use comfy_table::{TableStyle, presets};
use policies::{EntityKind, Label};
use router_model::measure::privacy::{Matches, Share, Tally};
use serde::Serialize;

use crate::cli::eval::table::table;
use crate::cli::lines::LineFault;

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// What people marked, and what a program made up.
    pub(super) origins: Vec<Group>,
    pub(super) groups: Vec<Group>,
    pub(super) kinds: Vec<Kind>,
    pub(super) levels: Levels,
    /// Revision of the policy that the levels are by.
    pub(super) policy: String,
    /// Revision of the names model; none where it was not used.
    pub(super) names: Option<String>,
    pub(super) speed: Speed,
    pub(super) faults: Vec<LineFault>,
}

/// Figures of some documents.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    name: String,
    documents: u64,
    matches: Matches,
    precision: Option<f64>,
    recall: Option<f64>,
    f1: Option<f64>,
    f2: Option<f64>,
    leaks: Option<Share>,
    look_alikes_flagged: Option<Share>,
}

impl Group {
    pub(super) fn new(name: &str, tally: &Tally) -> Self {
        let matches = tally.total();
        Self {
            name: name.to_owned(),
            documents: tally.documents,
            matches,
            precision: matches.precision(),
            recall: matches.recall(),
            f1: matches.f(1.0),
            f2: matches.f(2.0),
            leaks: tally.leaks(),
            look_alikes_flagged: tally.flagged(),
        }
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.documents.to_string(),
            figure(self.precision),
            figure(self.recall),
            figure(self.f1),
            figure(self.f2),
            share(self.leaks.as_ref()),
            share(self.look_alikes_flagged.as_ref()),
        ]
    }
}

/// Figures of one kind, over all documents.
#[derive(Debug, Serialize)]
pub(super) struct Kind {
    kind: EntityKind,
    matches: Matches,
    precision: Option<f64>,
    recall: Option<f64>,
    f1: Option<f64>,
    f2: Option<f64>,
}

impl Kind {
    pub(super) fn new(kind: EntityKind, matches: Matches) -> Self {
        Self {
            kind,
            precision: matches.precision(),
            recall: matches.recall(),
            f1: matches.f(1.0),
            f2: matches.f(2.0),
            matches,
        }
    }

    fn cells(&self) -> Vec<String> {
        let Matches { found, missed, false_alarms, exact } = self.matches;
        let mut cells = vec![self.kind.to_string()];
        cells.extend([found, exact, missed, false_alarms].map(|count| count.to_string()));
        cells.extend([self.precision, self.recall, self.f1, self.f2].map(figure));
        cells
    }
}

/// Labels against what they should be.
#[derive(Debug, Default, Serialize)]
pub(super) struct Levels {
    right: u64,
    too_low: u64,
    too_high: u64,
}

impl Levels {
    pub(super) fn add(&mut self, should: Label, is: Label) {
        match is.cmp(&should) {
            std::cmp::Ordering::Equal => self.right += 1,
            std::cmp::Ordering::Less => self.too_low += 1,
            std::cmp::Ordering::Greater => self.too_high += 1,
        }
    }
}

/// How fast texts were classified, one after the other.
#[derive(Debug, Serialize)]
pub(super) struct Speed {
    documents_per_second: f64,
    megabytes_per_second: f64,
}

impl Speed {
    pub(super) fn new(documents: u64, bytes: u64, busy: Duration) -> Self {
        let seconds = busy.as_secs_f64().max(1e-9);
        Self {
            documents_per_second: documents as f64 / seconds,
            megabytes_per_second: bytes as f64 / 1e6 / seconds,
        }
    }
}

impl Report {
    pub(super) fn as_table(&self) -> String {
        self.render(presets::NOTHING, "")
    }

    pub(super) fn as_markdown(&self) -> String {
        self.render(presets::ASCII_MARKDOWN, "## ")
    }

    fn render(&self, style: TableStyle, heading: &str) -> String {
        let header = [
            "",
            "documents",
            "precision",
            "recall",
            "F1",
            "F2",
            "documents that leak",
            "look-alikes flagged",
        ];
        let origins = table(style, &header, self.origins.iter().map(Group::cells));
        let groups = table(style, &header, self.groups.iter().map(Group::cells));
        let header = ["", "found", "exact", "missed", "false alarms", "precision", "recall", "F1", "F2"];
        let kinds = table(style, &header, self.kinds.iter().map(Kind::cells));
        let sections = [("Origin", origins), ("Groups", groups), ("Kinds", kinds)];
        let sections = sections.map(|(title, table)| format!("{heading}{title}\n\n{table}\n"));
        format!("{}\n{}", sections.join("\n"), self.conditions().join("\n"))
    }

    fn conditions(&self) -> Vec<String> {
        let Levels { right, too_low, too_high } = self.levels;
        let names = self.names.as_deref().map_or_else(|| String::from("not used"), str::to_owned);
        let mut lines = vec![
            format!("- names model {names}, sluicegate {}", env!("CARGO_PKG_VERSION")),
            format!(
                "- speed, one text after the other: {:.0} documents and {:.2} MB a second",
                self.speed.documents_per_second, self.speed.megabytes_per_second
            ),
        ];
        let graded = right + too_low + too_high;
        if graded > 0 {
            let percent = |count: u64| 100.0 * count as f64 / graded as f64;
            lines.push(format!(
                "- labels by policy {} on {graded} texts with a level: {:.1} % right, {:.1} % too low, {:.1} % too high",
                self.policy,
                percent(right),
                percent(too_low),
                percent(too_high)
            ));
        }
        lines
    }
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| String::from("-"), |value| format!("{value:.3}"))
}

fn share(share: Option<&Share>) -> String {
    share.map_or_else(
        || String::from("-"),
        |share| {
            let Share { of, documents, low, high } = share;
            format!("{of} of {documents} = {:.3} [{low:.3}, {high:.3}]", share.value())
        },
    )
}
