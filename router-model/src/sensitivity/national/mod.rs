//! National identity and tax numbers.
//!
//! Numbers with letters (`mixed`) mostly carry their proof in their form. Numbers of digits alone (`digits`) are
//! dense: one random number in ten passes a decimal check, so most need a word that names them. A number that is
//! named but fails every check is still reported, with a lower score: people mistype, and a leak is a leak.

mod checks;
mod digits;
mod mixed;
mod world;

pub(crate) use mixed::form;

use std::sync::LazyLock;

use policies::EntityKind::NationalId;

use super::Raw;
use super::cues::Cue;
use super::doc::{Digits, Doc, Gap, Sink};
use digits::{Alone, RULES, Rule};

/// Most digits of any number.
const DIGITS_MAX: usize = 18;

/// The rules by the length of their number.
static BY_LENGTH: LazyLock<[Vec<&'static Rule>; DIGITS_MAX + 1]> = LazyLock::new(|| {
    let of = |length| RULES.iter().chain(world::RULES).filter(move |rule| rule.len == length).collect();
    std::array::from_fn(of)
});

pub(crate) fn find(doc: &Doc<'_>, out: &mut Sink) {
    let mut done = 0;
    for i in 0..doc.toks.len() {
        let tok = doc.toks[i];
        if tok.s < done {
            continue;
        }
        let inner = i > 0 && matches!(doc.gap(i - 1), Gap::Dash | Gap::Dot) && doc.toks[i - 1].digits;
        let found =
            with_letters(doc, i).or_else(|| (tok.digits && !inner).then(|| only_digits(doc, i)).flatten());
        if let Some(raw) = found.or_else(|| named(doc, i)) {
            done = raw.e;
            out.push(raw);
        }
    }
}

fn cue(doc: &Doc<'_>, s: usize, e: usize) -> bool {
    let named = |cue, before, after| {
        doc.cues.after(cue, e).is_some_and(|start| start - e <= after)
            || doc.cues.before(cue, s).is_some_and(|end| s - end <= before && nearest(doc, end, s))
    };
    named(Cue::NatId, 60, 12) || named(Cue::Tax, 40, 10)
}

/// Whether no word for another kind of number stands between the cue and the number.
fn nearest(doc: &Doc<'_>, cue_end: usize, s: usize) -> bool {
    [Cue::Phone, Cue::Order, Cue::Card, Cue::Routing, Cue::Dob, Cue::Passport, Cue::License]
        .iter()
        .all(|other| doc.cues.before(*other, s).is_none_or(|end| end <= cue_end))
}

/// A number with letters from token `i` on; its parts may be separated.
fn with_letters(doc: &Doc<'_>, i: usize) -> Option<Raw> {
    let tok = doc.toks[i];
    let mut s = tok.s;
    // "AB 12 34 56 C", "X-1234567-L": the letters before the first digits belong to the number.
    let lead = doc.lookback(s, 5).as_bytes();
    if tok.digits
        && let [.., sep, a, b, gap] = lead
        && b" -.".contains(gap)
        && b.is_ascii_uppercase()
    {
        s = match (a.is_ascii_uppercase(), sep.is_ascii_alphanumeric(), a.is_ascii_alphanumeric()) {
            (true, false, _) => s - 3,
            (_, _, false) => s - 2,
            _ => s,
        };
    }
    for start in [s, tok.s] {
        let mut chars = Vec::with_capacity(18);
        let mut best = None;
        let (mut at, mut gaps) = (start, 0);
        while chars.len() < 18 && gaps <= 6 {
            let c = doc.at(at);
            if c.is_ascii_alphanumeric() {
                chars.push(c.to_ascii_uppercase());
            } else if b" -./(".contains(&c) && doc.at(at + 1).is_ascii_alphanumeric() {
                gaps += 1;
            } else {
                break;
            }
            at += 1;
            if !doc.at(at).is_ascii_alphanumeric()
                && chars.len() >= 8
                && let Some(hit) = mixed::recognise(&chars)
            {
                let lower = doc.b[start..at].iter().any(u8::is_ascii_lowercase);
                let cue = cue(doc, start, at);
                if cue || hit.alone && !lower && gaps <= 4 {
                    let score = if cue { 0.97 } else { 0.8 };
                    best = Some(Raw::new(start, at, hit.kind, score).sub(hit.sub));
                }
            }
            if at >= doc.b.len() {
                break;
            }
        }
        if best.is_some() {
            return best;
        }
    }
    None
}

/// A number of digit groups from token `i` on.
fn only_digits(doc: &Doc<'_>, i: usize) -> Option<Raw> {
    let s = doc.toks[i].s;
    let mut d = Digits::new();
    let mut lens = Vec::new();
    let mut best: Option<Raw> = None;
    for j in i..doc.toks.len().min(i + 18) {
        let tok = doc.toks[j];
        if !tok.digits || !d.push(doc.bytes(tok)) || d.get().len() > 18 {
            break;
        }
        if j > i && tok.len() > 8 && doc.gap(j - 1) == Gap::Dot {
            break;
        }
        lens.push(tok.len());
        let whole = !(matches!(doc.gap(j), Gap::Dash | Gap::Dot) && doc.toks[j + 1].digits);
        if whole {
            best = judge(doc, s, tok.e, d.get(), &lens).or(best);
        }
        if matches!(doc.gap(j), Gap::No | Gap::Line) {
            break;
        }
    }
    best
}

fn judge(doc: &Doc<'_>, s: usize, e: usize, d: &[u8], lens: &[usize]) -> Option<Raw> {
    // Rows of single digits come here for every length at every place, so the cheap test is first: most lengths
    // have few rules, and few numbers pass a check.
    let mut passing = BY_LENGTH.get(d.len())?.iter().filter(|r| (r.check)(d)).peekable();
    passing.peek()?;
    let cue = cue(doc, s, e);
    let other = doc.before(Cue::Order, s, 20) || doc.before(Cue::Phone, s, 25) || doc.prev(s) == b'+';
    let rule = passing.find(|r| {
        cue || match r.alone {
            Alone::Never => false,
            Alone::Always => !other,
            Alone::Grouped(shape) => shape == lens && !other,
        }
    })?;
    Some(Raw::new(s, e, rule.kind, if cue { 0.95 } else { 0.55 }).sub(rule.sub))
}

/// A value right behind a word that names it, whatever its check says.
fn named(doc: &Doc<'_>, i: usize) -> Option<Raw> {
    let tok = doc.toks[i];
    let end = doc.cues.before(Cue::NatId, tok.s).filter(|end| tok.s - end <= 24)?;
    let between = &doc.t[end..tok.s];
    let direct = between.bytes().all(|b| b" :#.-=\"'()".contains(&b))
        || [
            " is ", " ist ", " es ", " to ", " est ", " é ", " è ", " number", " nr", " no", " nº",
            " lautet ",
        ]
        .iter()
        .any(|w| between.contains(w))
            && !between.contains(['\n', ',', ';']);
    let mut last = i;
    while matches!(doc.gap(last), Gap::Space | Gap::Dash | Gap::Dot | Gap::Slash)
        && doc.toks[last + 1].digits
        && last - i < 5
    {
        last += 1;
    }
    let e = doc.toks[last].e;
    let digits = doc.b[tok.s..e].iter().filter(|b| b.is_ascii_digit()).count();
    let upper = !doc.b[tok.s..e].iter().any(u8::is_ascii_lowercase);
    (direct && (7..=18).contains(&digits) && e - tok.s <= 24 && upper)
        .then(|| Raw::new(tok.s, e, NationalId, 0.5))
}
