//! What one record, or many together, tell of the detectors.

use std::collections::BTreeMap;

use policies::{EntityKind, Finding, Label};
use serde::Serialize;

use super::item::{Item, Span};

/// Share of a direct identifier, in tenths, that must be covered.
const COVERED_TENTHS: usize = 9;

/// Kinds that identify nobody alone.
const SOFT: &[EntityKind] = &[
    EntityKind::Org,
    EntityKind::Location,
    EntityKind::Date,
    EntityKind::Nrp,
    EntityKind::Url,
    EntityKind::Age,
    EntityKind::Gender,
    EntityKind::Profession,
    EntityKind::Family,
];

/// Counts of one kind. Marks are what people or programs marked; finds are what the detectors report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Counts {
    pub(super) marks: u64,
    pub(super) marks_hit: u64,
    pub(super) marks_exact: u64,
    pub(super) finds: u64,
    pub(super) finds_right: u64,
    pub(super) finds_exact: u64,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Share {
    pub(super) count: u64,
    pub(super) of: u64,
}

/// Labels against the right ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Levels {
    pub(super) documents: u64,
    pub(super) under: u64,
    pub(super) over: u64,
}

/// Everything that is counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) documents: u64,
    pub(super) kinds: BTreeMap<EntityKind, Counts>,
    pub(super) leaks: Share,
    pub(super) look_alikes: Share,
    pub(super) levels: BTreeMap<String, Levels>,
}

impl Levels {
    /// Of one document.
    pub(super) fn of(label: Label, right: Label) -> Self {
        Self { documents: 1, under: u64::from(label < right), over: u64::from(label > right) }
    }
}

impl Tally {
    /// Of one record.
    pub(super) fn of(item: &Item, findings: &[Finding]) -> Self {
        let mut kinds = BTreeMap::<EntityKind, Counts>::new();
        for mark in item.spans.iter().filter(|mark| item.annotated.contains(&mark.kind)) {
            let counts = kinds.entry(mark.kind).or_default();
            counts.marks += 1;
            counts.marks_hit += u64::from(findings.iter().any(|find| touches(find, mark)));
            counts.marks_exact += u64::from(findings.iter().any(|find| equals(find, mark)));
        }
        for find in findings.iter().filter(|find| item.annotated.contains(&find.kind)) {
            let counts = kinds.entry(find.kind).or_default();
            counts.finds += 1;
            counts.finds_right += u64::from(item.spans.iter().any(|mark| touches(find, mark)));
            counts.finds_exact += u64::from(item.spans.iter().any(|mark| equals(find, mark)));
        }
        let mut direct = item.spans.iter().filter(|mark| !SOFT.contains(&mark.kind)).peekable();
        let has_direct = direct.peek().is_some();
        let leaks = direct.any(|mark| !covers(findings, mark));
        let flagged = item.looks_alike && !findings.is_empty();
        Self {
            documents: 1,
            kinds,
            leaks: Share { count: u64::from(leaks), of: u64::from(has_direct) },
            look_alikes: Share { count: u64::from(flagged), of: u64::from(item.looks_alike) },
            levels: BTreeMap::new(),
        }
    }

    /// Adds another one.
    pub(super) fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        for (kind, counts) in &other.kinds {
            self.kinds.entry(*kind).or_default().add(counts);
        }
        for (share, more) in [(&mut self.leaks, other.leaks), (&mut self.look_alikes, other.look_alikes)] {
            *share = Share { count: share.count + more.count, of: share.of + more.of };
        }
        for (policy, more) in &other.levels {
            let levels = self.levels.entry(policy.clone()).or_default();
            levels.documents += more.documents;
            levels.under += more.under;
            levels.over += more.over;
        }
    }

    /// All kinds together.
    pub(super) fn micro(&self) -> Counts {
        let mut sum = Counts::default();
        self.kinds.values().for_each(|counts| sum.add(counts));
        sum
    }
}

impl Counts {
    const fn add(&mut self, other: &Self) {
        self.marks += other.marks;
        self.marks_hit += other.marks_hit;
        self.marks_exact += other.marks_exact;
        self.finds += other.finds;
        self.finds_right += other.finds_right;
        self.finds_exact += other.finds_exact;
    }
}

fn touches(find: &Finding, mark: &Span) -> bool {
    find.kind == mark.kind && find.start < mark.end && mark.start < find.end
}

fn equals(find: &Finding, mark: &Span) -> bool {
    find.kind == mark.kind && find.start == mark.start && find.end == mark.end
}

fn covers(findings: &[Finding], mark: &Span) -> bool {
    let is_covered = |at: &usize| findings.iter().any(|find| find.start <= *at && *at < find.end);
    let covered = (mark.start..mark.end).filter(is_covered).count();
    covered * 10 >= (mark.end - mark.start) * COVERED_TENTHS
}
