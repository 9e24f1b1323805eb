//! Telephone numbers: E.164, the North American plan, and national forms with a leading zero or a naming word.
//!
//! Digits in groups are everywhere, so a number counts when its prefix (`+`), its printed form, or the word before
//! it says telephone. Dates, versions, ISBNs and order numbers are the look-alikes that the shape rules keep out.

use policies::EntityKind::Phone;

use super::Raw;
use super::cues::Cue;
use super::doc::{Doc, Gap, Sink};

/// Two-digit country codes (ITU-T E.164); 1 and 7 are the one-digit ones, all others have three digits.
const TWO: &[u32] = &[
    20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 57, 58,
    60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98,
];

pub(crate) fn find(doc: &Doc<'_>, out: &mut Sink) {
    let mut i = 0;
    while i < doc.toks.len() {
        i = match at(doc, i) {
            Some((raw, last)) => {
                out.push(raw);
                last + 1
            }
            None => i + 1,
        };
    }
}

/// The digit groups from `i` on that may belong to one number.
fn extent(doc: &Doc<'_>, i: usize) -> usize {
    let mut j = i;
    let mut total = doc.toks[i].len();
    while j - i < 14 {
        let step = match doc.gap(j) {
            Gap::No | Gap::Line => false,
            Gap::Wide => {
                let g = &doc.b[doc.toks[j].e..doc.toks[j + 1].s];
                g.len() <= 3 && g.iter().filter(|b| **b == b'-').count() <= 1
            }
            _ => true,
        };
        if !step || !doc.toks[j + 1].digits || total + doc.toks[j + 1].len() > 16 {
            break;
        }
        total += doc.toks[j + 1].len();
        j += 1;
    }
    j
}

fn at(doc: &Doc<'_>, i: usize) -> Option<(Raw, usize)> {
    let tok = doc.toks[i];
    let (s, plus) = start(doc, i)?;
    let mut j = extent(doc, i);
    let before = doc.before(Cue::Phone, s, 30);
    loop {
        let lens: Vec<usize> = doc.toks[i..=j].iter().map(|t| t.len()).collect();
        let d = doc.digits(i, j);
        let d = d.get();
        let e = doc.toks[j].e;
        let cue = before || doc.cues.after(Cue::PhoneAfter, e).is_some_and(|at| at - e <= 2);
        if let Some(score) = judge(doc, i, j, s, plus, cue, &lens, d) {
            let e = extension(doc, e);
            return Some((Raw::new(s, e, Phone, score), j));
        }
        if j == i {
            return None;
        }
        j -= 1;
        // A number is not cut out of a longer dotted or dashed row.
        if matches!(doc.gap(j), Gap::Dash | Gap::Dot | Gap::Slash) && !plus && !before || tok.len() > 12 {
            return None;
        }
    }
}

/// Where the number starts, with its plus sign or parenthesis; `None` inside another number.
fn start(doc: &Doc<'_>, i: usize) -> Option<(usize, bool)> {
    let tok = doc.toks[i];
    if !tok.digits {
        return None;
    }
    let mut s = tok.s;
    if doc.prev(s) == b'(' {
        s -= 1;
    }
    let plus = doc.prev(s) == b'+' || doc.prev(tok.s) == b'+';
    if doc.prev(s) == b'+' {
        s -= 1;
        if doc.prev(s) == b'(' {
            s -= 1;
        }
    }
    let prev = doc.prev(s);
    let inner = i > 0 && doc.toks[i - 1].e == s.saturating_sub(1) && b".-/_".contains(&prev);
    let bad = prev.is_ascii_alphanumeric() || b"$#=&%".contains(&prev) && !plus && prev != b'=' || inner;
    (!bad).then_some((s, plus))
}

#[expect(clippy::too_many_arguments, reason = "one call site; the values are all derived from the same run")]
fn judge(
    doc: &Doc<'_>,
    i: usize,
    j: usize,
    s: usize,
    plus: bool,
    cue: bool,
    lens: &[usize],
    d: &[u8],
) -> Option<f32> {
    let n = d.len();
    if !(7..=15).contains(&n) || d.iter().all(|x| *x == d[0]) {
        return None;
    }
    let e = doc.toks[j].e;
    if date_like(lens, d) || doc.at(e) == b':' && lens.last() == Some(&2) {
        return None;
    }
    let order = doc.before(Cue::Order, s, 16) || doc.before(Cue::Version, s, 16);
    let other = order
        || doc.before(Cue::Card, s, 20)
        || doc.before(Cue::NatId, s, 30)
        || doc.before(Cue::Account, s, 24)
        || doc.before(Cue::Imei, s, 24);
    let paren = doc.prev(doc.toks[i].s) == b'(';
    if plus {
        return (n >= 8 && country(d)).then_some(if cue { 0.99 } else { 0.93 });
    }
    if d.starts_with(&[0, 0]) && n >= 10 && country(&d[2..]) && (cue || lens.len() > 1 && !other) {
        return Some(0.85);
    }
    if cue && !order {
        let plausible = n >= 8 || n == 7 && lens.len() > 1;
        let bare = lens.len() == 1 && n > 12;
        return (plausible && !bare && !(n == 8 && lens.len() == 1 && d[0] >= 1 && d[..2] == [2, 0]))
            .then_some(0.9);
    }
    if other {
        return None;
    }
    let dots = (i..j).all(|k| doc.gap(k) == Gap::Dot);
    let spaces = (i..j).all(|k| doc.gap(k) == Gap::Space);
    match lens {
        [3, 3, 4] if paren || !spaces => (d[0] >= 2 || paren || cue).then_some(0.8),
        [3, 3, 4] if d[0] >= 2 && d[3] >= 2 => Some(0.5),
        [1, 3, 3, 4] if d[0] == 1 && d[1] >= 2 => Some(0.8),
        _ if d[0] == 0 && (9..=12).contains(&n) && lens[0] >= 2 && lens.len() >= 2 && !dots => Some(0.6),
        [2, 2, 2, 2, 2] if d[0] == 0 && d[1] > 0 => Some(0.8),
        [2, 4..=5, 4] if paren => Some(0.8),
        _ => None,
    }
}

fn country(d: &[u8]) -> bool {
    let two = u32::from(d[0]) * 10 + u32::from(d[1]);
    match d[0] {
        0 => false,
        1 => d.len() == 11,
        7 => d.len() == 11,
        _ if TWO.contains(&two) => true,
        2..=6 | 8 | 9 => {
            matches!(two, 21..=26 | 28 | 29 | 35 | 37 | 38 | 42 | 50 | 59 | 67..=69 | 80 | 85 | 87 | 88 | 96 | 97 | 99)
        }
        _ => false,
    }
}

/// Day, month and year in groups.
fn date_like(lens: &[usize], d: &[u8]) -> bool {
    let two = |k: usize| d[k] * 10 + d[k + 1];
    match lens {
        [4, 2, 2, ..] => {
            (1..=12).contains(&two(4)) && (1..=31).contains(&two(6)) && matches!(two(0), 18..=21)
        }
        [2, 2, 4] => (1..=31).contains(&two(0)) && (1..=31).contains(&two(2)) && matches!(two(4), 18..=21),
        [2, 2, 4, ..] => {
            (1..=31).contains(&two(0)) && (1..=12).contains(&two(2)) && matches!(two(4), 19 | 20)
        }
        [1 | 2, 1 | 2, 4] => true,
        _ => false,
    }
}

/// `x123`, `ext. 123` behind a number.
fn extension(doc: &Doc<'_>, e: usize) -> usize {
    let rest = doc.window(e, 16);
    let body = rest.trim_start_matches([' ', ',']);
    let after = ["extension", "ext.", "ext", "x", "#"].iter().find_map(|p| body.strip_prefix(p));
    let Some(after) = after else { return e };
    let num = after.trim_start_matches([' ', '.', ':']);
    let n = num.bytes().take_while(u8::is_ascii_digit).count();
    if (1..=6).contains(&n) { e + (rest.len() - num.len()) + n } else { e }
}
