//! Numbers of the United States' administrations: SSN (SSA numbering rules since 2011), ITIN and EIN (IRS).
//!
//! None of the three has a check digit, so their form or the context must carry them: dashes in the right places,
//! or a word that names the number.

use policies::EntityKind::{TaxId, UsSsn};

use super::Raw;
use super::cues::Cue;
use super::doc::{Doc, Gap, Sink};

/// Area not 000, 666 or 900-999; group not 00; serial not 0000.
fn ssn(d: &[u8]) -> bool {
    let [a, b, c, g1, g2, rest @ ..] = d else { return false };
    let area = u32::from(*a) * 100 + u32::from(*b) * 10 + u32::from(*c);
    rest.len() == 4
        && !matches!(area, 0 | 666 | 900..)
        && (*g1, *g2) != (0, 0)
        && rest.iter().any(|x| *x != 0)
}

/// Area 9xx with the group numbers that are issued.
fn itin(d: &[u8]) -> bool {
    let [9, _, _, g1, g2, ..] = d else { return false };
    d.len() == 9 && matches!(g1 * 10 + g2, 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

pub(crate) fn find(doc: &Doc<'_>, out: &mut Sink) {
    for i in 0..doc.toks.len() {
        // Spaces and tabs also stand between numbers; a number with dashes is one all the same.
        let dashed = doc.gap(i) == Gap::Dash;
        let goes_on = |k: usize| joined(doc, k) && (!dashed || doc.gap(k) == Gap::Dash);
        if !doc.toks[i].digits || i > 0 && goes_on(i - 1) {
            continue;
        }
        let mut j = i;
        while j - i < 9 && goes_on(j) && doc.toks[j + 1].digits {
            j += 1;
        }
        let lens: Vec<usize> = doc.toks[i..=j].iter().map(|t| t.len()).collect();
        let (s, e) = (doc.toks[i].s, doc.toks[j].e);
        let form = match lens.as_slice() {
            [3, 2, 4] if doc.gap(i) == Gap::Dash && doc.gap(i + 1) == Gap::Dash => 2,
            [3, 2, 4] => 1,
            [9] => 0,
            [1, 1, 1, 1, 1, 1, 1, 1, 1] => 0,
            [2, 7] => {
                if doc.gap(i) == Gap::Dash && doc.before(Cue::Ein, s, 30) {
                    out.push(Raw::new(s, e, TaxId, 0.85).sub("us_ein"));
                }
                continue;
            }
            _ => continue,
        };
        let d = doc.digits(i, j);
        if let Some(raw) = judge(doc, s, e, d.get(), form) {
            out.push(raw);
        }
    }
}

/// Whether token `i` and the next are one number.
fn joined(doc: &Doc<'_>, i: usize) -> bool {
    !matches!(doc.gap(i), Gap::No | Gap::Line | Gap::Slash)
}

fn judge(doc: &Doc<'_>, s: usize, e: usize, d: &[u8], form: u8) -> Option<Raw> {
    let not_money = doc.prev(s) != b'$' && doc.prev(s) != b'#';
    if itin(d) {
        let cue = doc.around(Cue::Itin, s, e, 60, 20) || doc.around(Cue::Ssn, s, e, 60, 20);
        return (form == 2 || cue)
            .then(|| Raw::new(s, e, TaxId, if cue { 0.95 } else { 0.6 }).sub("us_itin"));
    }
    if !ssn(d) || !not_money {
        return None;
    }
    let near = doc.around(Cue::Ssn, s, e, 60, 30);
    let far = !doc.cues.all(Cue::Ssn).is_empty();
    let named =
        doc.before(Cue::Order, s, 20) || doc.before(Cue::Account, s, 20) || doc.before(Cue::NatId, s, 20);
    let score = match (form, near, far) {
        (_, true, _) => 0.98,
        (2, _, true) => 0.9,
        (1, _, true) => 0.7,
        (2, _, _) if !named => 0.75,
        (2, _, _) if !doc.before(Cue::Order, s, 20) => 0.6,
        _ => return None,
    };
    Some(Raw::new(s, e, UsSsn, score))
}
