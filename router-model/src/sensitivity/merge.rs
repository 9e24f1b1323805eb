//! One answer from many recognisers.
//!
//! Order of trust: a higher score (validated, then form with context, then form), then the longer span. The
//! trusted finding removes those of other kinds that it overlaps, unless one kind is naturally part of the other.
//! Overlapping findings of one kind become one finding that covers all of them: coverage is never lost. A term of
//! the policy is beyond this order: it may mean a label of its own, so it neither gives way nor drives others out.

use policies::EntityKind::{self, Address, Encoded, IpAddress, Secret, Url, Username};
use policies::FindingSource::User;

use super::Raw;

/// Whether both findings stand although they overlap.
fn coexist(a: EntityKind, b: EntityKind) -> bool {
    let part = |outer, inner| match outer {
        Url => inner != Address,
        Secret => matches!(inner, Username | IpAddress | Encoded),
        _ => false,
    };
    part(a, b) || part(b, a)
}

/// Whether overlapping findings are one finding.
fn same(a: &Raw, b: &Raw) -> bool {
    a.kind == b.kind
        && match (a.source == User, b.source == User) {
            (true, true) => a.sub == b.sub,
            (user, other) => user == other,
        }
}

/// Merges; the result is sorted by start.
pub(crate) fn merge(mut raws: Vec<Raw>, score_min: f32) -> Vec<Raw> {
    raws.retain(|r| r.e > r.s && r.score >= score_min);
    // Same kind first, so that no part of a value survives alone.
    drop_rivals(unite(raws))
}

/// Makes overlapping findings of one kind one finding that covers all of them; the result is sorted by start.
pub(crate) fn unite(mut raws: Vec<Raw>) -> Vec<Raw> {
    raws.sort_by(|a, b| a.s.cmp(&b.s).then(b.e.cmp(&a.e)));
    let mut united: Vec<Raw> = Vec::with_capacity(raws.len());
    // The last finding of each kind and term.
    let mut last_of: Vec<usize> = Vec::new();
    for raw in raws {
        let last = last_of.iter_mut().find(|i| same(&united[**i], &raw));
        match last {
            Some(i) if united[*i].e > raw.s => {
                let kept = &mut united[*i];
                kept.e = kept.e.max(raw.e);
                if raw.score > kept.score {
                    kept.score = raw.score;
                    kept.sub = raw.sub;
                    kept.source = raw.source;
                }
            }
            Some(i) => {
                *i = united.len();
                united.push(raw);
            }
            None => {
                last_of.push(united.len());
                united.push(raw);
            }
        }
    }
    united.sort_by_key(|r| r.s);
    united
}

/// What a network says of a text beside what the patterns found there. It takes nothing away from them; it is not believed where
/// a pattern of another kind covers all of it and is at least as sure.
pub(crate) fn beside(patterns: Vec<Raw>, names: Vec<Raw>) -> Vec<Raw> {
    let mut open: Vec<&Raw> = Vec::new();
    let mut later = patterns.iter().peekable();
    let mut kept = Vec::with_capacity(names.len());
    for name in names {
        while let Some(pattern) = later.next_if(|pattern| pattern.s <= name.s) {
            open.push(pattern);
        }
        open.retain(|pattern| pattern.e > name.s);
        let covers = |pattern: &&Raw| {
            pattern.kind != name.kind
                && pattern.e >= name.e
                && pattern.score >= name.score
                && !coexist(pattern.kind, name.kind)
        };
        if !open.iter().any(covers) {
            kept.push(name);
        }
    }
    unite(patterns.into_iter().chain(kept).collect())
}

/// Removes findings that overlap a more trusted one of a rival kind.
fn drop_rivals(raws: Vec<Raw>) -> Vec<Raw> {
    let mut dead = vec![false; raws.len()];
    let mut open: Vec<usize> = Vec::new();
    for i in 0..raws.len() {
        open.retain(|&j| !dead[j] && raws[j].e > raws[i].s);
        for &j in &open {
            let term = raws[i].source == User || raws[j].source == User;
            if dead[i] || dead[j] || term || coexist(raws[i].kind, raws[j].kind) {
                continue;
            }
            if stronger(&raws[j], &raws[i]) {
                dead[i] = true;
            } else {
                dead[j] = true;
            }
        }
        if !dead[i] {
            open.push(i);
        }
    }
    raws.into_iter().zip(dead).filter(|(_, dead)| !dead).map(|(r, _)| r).collect()
}

fn stronger(a: &Raw, b: &Raw) -> bool {
    let (la, lb) = (a.e - a.s, b.e - b.s);
    match a.score.total_cmp(&b.score) {
        std::cmp::Ordering::Equal => la >= lb,
        order => order.is_gt(),
    }
}

#[cfg(test)]
mod tests {
    use policies::EntityKind::{Email, Person};

    use super::*;

    #[test]
    fn a_network_takes_nothing_from_a_pattern_and_adds_what_is_new() {
        let mail = Raw::new(0, 20, Email, 0.9);
        let spans = |names: Vec<Raw>| {
            let united = beside(vec![mail.clone()], names);
            united.into_iter().map(|raw| (raw.s, raw.e, raw.kind)).collect::<Vec<_>>()
        };
        assert_eq!(spans(vec![Raw::new(0, 8, Username, 0.95)]), [(0, 20, Email), (0, 8, Username)]);
        assert_eq!(spans(vec![Raw::new(0, 8, Username, 0.8)]), [(0, 20, Email)]);
        assert_eq!(spans(vec![Raw::new(12, 30, Person, 0.5)]), [(0, 20, Email), (12, 30, Person)]);
        assert_eq!(spans(vec![Raw::new(12, 30, Email, 0.5)]), [(0, 30, Email)]);
        assert_eq!(spans(vec![Raw::new(30, 40, Person, 0.5)]), [(0, 20, Email), (30, 40, Person)]);
    }
}
