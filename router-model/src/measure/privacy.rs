//! How much of what is marked in a text was found, and what it lets through.
//!
//! Two ways of counting, since they answer different questions. *Typed matching*: a marked span is found when a finding of the
//! same kind shares a character with it, and a finding that shares none with any of its kind is a false alarm; from these come
//! precision, recall, F1 and F2 (van Rijsbergen 1979, recall weighing twice). *Leaks*: a document leaks when a direct
//! identifier in it is covered by less than nine tenths by findings of any kind; what masks or keeps a document does not ask
//! which kind it was. A source marks only some kinds: one that is not in its `annotated` is neither a miss nor a false alarm.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use policies::EntityKind;
use serde::Serialize;

use super::bounds::clopper_pearson;

/// Part of an identifier that must be covered for it not to leak.
const COVERED_MIN: f64 = 0.9;
/// Chance that an interval is wrong.
const RISK: f64 = 0.05;

/// Whether a kind points at somebody only together with others.
#[must_use]
pub const fn is_indirect(kind: EntityKind) -> bool {
    matches!(
        kind,
        EntityKind::Org
            | EntityKind::Location
            | EntityKind::Date
            | EntityKind::Nrp
            | EntityKind::Url
            | EntityKind::Age
            | EntityKind::Gender
            | EntityKind::Profession
            | EntityKind::Family
    )
}

/// A kind at a place, in code points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Kind.
    pub kind: EntityKind,
    /// First code point.
    pub start: usize,
    /// One past the last.
    pub end: usize,
}

impl Span {
    const fn meets(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// What was counted of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Matches {
    /// Marked and found.
    pub found: u64,
    /// Marked and not found.
    pub missed: u64,
    /// Found and not marked.
    pub false_alarms: u64,
    /// Marked and found with exactly these ends.
    pub exact: u64,
}

impl AddAssign for Matches {
    fn add_assign(&mut self, other: Self) {
        self.found += other.found;
        self.missed += other.missed;
        self.false_alarms += other.false_alarms;
        self.exact += other.exact;
    }
}

impl Matches {
    /// Share of findings that are marked; `None` without findings.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        ratio(self.found, self.found + self.false_alarms)
    }

    /// Share of marked spans that were found; `None` without any.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        ratio(self.found, self.found + self.missed)
    }

    /// F-measure in which recall weighs `beta` times as much as precision; `None` where nothing is marked or found.
    #[must_use]
    pub fn f(&self, beta: f64) -> Option<f64> {
        let weight = beta * beta;
        let whole = (1.0 + weight) * real(self.found) + weight * real(self.missed) + real(self.false_alarms);
        (whole > 0.0).then(|| (1.0 + weight) * real(self.found) / whole)
    }
}

/// A share of documents with its exact 95 % interval (Clopper and Pearson 1934).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// How many.
    pub of: u64,
    /// Out of how many.
    pub documents: u64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Share {
    fn new(of: u64, documents: u64) -> Option<Self> {
        let (low, high) = (documents > 0).then(|| clopper_pearson(of, documents, RISK))?;
        Some(Self { of, documents, low, high })
    }

    /// The share itself.
    #[must_use]
    pub fn value(&self) -> f64 {
        real(self.of) / real(self.documents)
    }
}

/// What was counted over documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// By kind.
    pub kinds: BTreeMap<EntityKind, Matches>,
    /// Documents.
    pub documents: u64,
    with_direct: u64,
    leaking: u64,
    look_alikes: u64,
    flagged: u64,
}

impl Tally {
    /// Counts a document whose source marks the kinds of `annotated`.
    pub fn add(&mut self, marked: &[Span], found: &[Span], annotated: &BTreeSet<EntityKind>) {
        self.documents += 1;
        for &kind in annotated {
            let of = |spans: &[Span]| -> Vec<Span> {
                spans.iter().filter(|span| span.kind == kind).copied().collect()
            };
            let matches = matched(&of(marked), &of(found));
            if matches != Matches::default() {
                *self.kinds.entry(kind).or_default() += matches;
            }
        }
        let mut direct = marked.iter().filter(|span| !is_indirect(span.kind)).peekable();
        if direct.peek().is_some() {
            self.with_direct += 1;
            self.leaking += u64::from(direct.any(|span| covered(span, found) < COVERED_MIN));
        }
    }

    /// Counts a document that only looks as if something were in it.
    pub fn add_look_alike(&mut self, found: &[Span]) {
        self.documents += 1;
        self.look_alikes += 1;
        self.flagged += u64::from(!found.is_empty());
    }

    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> Matches {
        let mut total = Matches::default();
        self.kinds.values().for_each(|matches| total += *matches);
        total
    }

    /// Documents with a direct identifier that leak.
    #[must_use]
    pub fn leaks(&self) -> Option<Share> {
        Share::new(self.leaking, self.with_direct)
    }

    /// Look-alikes in which something was found.
    #[must_use]
    pub fn flagged(&self) -> Option<Share> {
        Share::new(self.flagged, self.look_alikes)
    }
}

fn matched(marked: &[Span], found: &[Span]) -> Matches {
    let hit = |span: &&Span| found.iter().any(|other| span.meets(other));
    let hits = marked.iter().filter(hit).count() as u64;
    let alarms = found.iter().filter(|span| !marked.iter().any(|other| span.meets(other))).count();
    Matches {
        found: hits,
        missed: marked.len() as u64 - hits,
        false_alarms: alarms as u64,
        exact: marked.iter().filter(|span| found.contains(span)).count() as u64,
    }
}

/// Share of a span's characters that some finding covers.
fn covered(span: &Span, found: &[Span]) -> f64 {
    let mut parts: Vec<(usize, usize)> = found
        .iter()
        .filter(|other| span.meets(other))
        .map(|other| (other.start.max(span.start), other.end.min(span.end)))
        .collect();
    parts.sort_unstable();
    let (mut until, mut sum) = (span.start, 0);
    for (start, end) in parts {
        sum += end.saturating_sub(start.max(until));
        until = until.max(end);
    }
    sum as f64 / (span.end - span.start).max(1) as f64
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| real(part) / real(whole))
}

const fn real(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use policies::EntityKind::{Email, Location, Person};

    use super::*;

    fn span(kind: EntityKind, start: usize, end: usize) -> Span {
        Span { kind, start, end }
    }

    #[test]
    fn counts_are_those_made_by_hand() {
        let mut tally = Tally::default();
        let annotated = BTreeSet::from([Person, Email]);
        let marked = [span(Person, 0, 10), span(Email, 20, 40), span(Person, 50, 60)];
        // The first is found exactly, the second by half, the third not at all; the last finding is nowhere marked, and
        // places are not annotated.
        let found = [span(Person, 0, 10), span(Email, 20, 30), span(Person, 70, 75), span(Location, 80, 90)];
        tally.add(&marked, &found, &annotated);
        let person = tally.kinds[&Person];
        assert_eq!(person, Matches { found: 1, missed: 1, false_alarms: 1, exact: 1 });
        assert_eq!((person.precision(), person.recall()), (Some(0.5), Some(0.5)));
        assert_eq!(tally.kinds[&Email].exact, 0);
        let total = tally.total();
        assert_eq!(total, Matches { found: 2, missed: 1, false_alarms: 1, exact: 1 });
        assert!((total.f(2.0).unwrap() - 10.0 / 15.0).abs() < 1e-12);
        assert!((total.f(1.0).unwrap() - 4.0 / 6.0).abs() < 1e-12);
        let leaks = tally.leaks().unwrap();
        assert_eq!((leaks.of, leaks.documents), (1, 1));
        assert!(tally.flagged().is_none() && !tally.kinds.contains_key(&Location));
    }

    #[test]
    fn nine_tenths_by_whatever_kind_are_cover() {
        let marked = [span(Person, 0, 10)];
        let leaks = |found: &[Span]| {
            let mut tally = Tally::default();
            tally.add(&marked, found, &BTreeSet::from([Person]));
            tally.leaks().unwrap().of
        };
        assert_eq!(leaks(&[span(Location, 0, 5), span(Email, 3, 9)]), 0);
        assert_eq!(leaks(&[span(Location, 0, 5), span(Location, 0, 5), span(Email, 6, 9)]), 1);
        assert_eq!(leaks(&[]), 1);
    }

    #[test]
    fn shares_have_their_exact_interval() {
        let mut tally = Tally::default();
        (0..20).for_each(|_| tally.add_look_alike(&[]));
        let none = tally.flagged().unwrap();
        // 1 - 0.025^(1/20), the closed form for no event.
        assert!(none.low.abs() < 1e-9 && (none.high - 0.168_433_5).abs() < 1e-5, "{none:?}");
    }
}
