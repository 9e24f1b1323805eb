//! Payment card numbers (ISO/IEC 7812-1): issuer range, length and the Luhn check digit.
//!
//! A window of digit groups is a card when all three agree. Groupings that cards are printed in need no context;
//! unusual ones (a single digit per group, thirteen bare digits, which a barcode may be) do.

use policies::EntityKind::CreditCard;

use super::Raw;
use super::cues::Cue;
use super::doc::{Digits, Doc, Gap, Sink};

/// Longest primary account number.
const DIGITS_MAX: usize = 19;

/// The Luhn check (ISO/IEC 7812-1 annex B) over digit values.
pub(crate) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, &d)| {
            let d = u32::from(d);
            if i % 2 == 0 {
                d
            } else if d > 4 {
                d * 2 - 9
            } else {
                d * 2
            }
        })
        .sum();
    !digits.is_empty() && sum.is_multiple_of(10)
}

/// The network of an account number, where range and length agree.
fn network(d: &[u8]) -> Option<&'static str> {
    let n = d.len();
    let p = |k: usize| d.iter().take(k).fold(0_u32, |a, &x| a * 10 + u32::from(x));
    let (p2, p3, p4, p6) = (p(2), p(3), p(4), p(6));
    Some(match (p2, n) {
        (34 | 37, 15) => "amex",
        _ if matches!(p4, 1800 | 2131) && n == 15 => "jcb",
        (40..=49, 13 | 16 | 19) => "visa",
        (51..=55, 16) => "mastercard",
        _ if (2221..=2720).contains(&p4) && n == 16 => "mastercard",
        _ if (3528..=3589).contains(&p4) && (16..=19).contains(&n) => "jcb",
        (36 | 38 | 39, 14..=19) => "diners",
        _ if (300..=305).contains(&p3) && (14..=19).contains(&n) => "diners",
        _ if (p4 == 6011 || (644..=659).contains(&p3)) && (16..=19).contains(&n) => "discover",
        _ if (2200..=2204).contains(&p4) && (16..=19).contains(&n) => "mir",
        (62 | 81, 16..=19) => "unionpay",
        _ if (506_099..=506_198).contains(&p6) && (16..=19).contains(&n) => "verve",
        _ if (5018..=5093).contains(&p4) && (12..=19).contains(&n) => "maestro",
        (56..=58 | 60 | 63 | 67 | 68 | 69, 12..=19) => "maestro",
        _ => return None,
    })
}

pub(crate) fn find(doc: &Doc<'_>, out: &mut Sink) {
    let first = out.len();
    let mut i = 0;
    while i < doc.toks.len() {
        i = at(doc, i, out).map_or(i + 1, |last| last + 1);
    }
    let cards: Vec<(usize, usize)> = out[first..].iter().map(|card| (card.s, card.e)).collect();
    beside(doc, &cards, out);
    tracks(doc, out);
}

/// Farthest that a card's other data may stand from its number, in bytes.
const BESIDE: usize = 120;

/// Verification codes and expiry dates: they are card data when their name says so, the date only beside a number.
fn beside(doc: &Doc<'_>, cards: &[(usize, usize)], out: &mut Sink) {
    for &(_, end) in doc.cues.all(Cue::Cvv) {
        let rest = doc.window(end, 24);
        let from = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let gap = &rest[..from];
        let len = rest[from..].bytes().take_while(u8::is_ascii_digit).count();
        let told = gap.len() <= 10 && !gap.contains(['\n', '.']) || gap.ends_with("is ");
        let next = doc.at(end + from + len);
        if told
            && matches!(len, 3 | 4)
            && !next.is_ascii_alphabetic()
            && !b"/%".contains(&next)
            && !(next == b'.' && doc.at(end + from + len + 1).is_ascii_digit())
        {
            out.push(Raw::new(end + from, end + from + len, CreditCard, 0.8).sub("cvv"));
        }
    }
    for i in 0..doc.toks.len().saturating_sub(1) {
        let (month, year) = (doc.toks[i], doc.toks[i + 1]);
        let near = |&(s, e): &(usize, usize)| {
            month.s + BESIDE >= s && month.s <= e + BESIDE && (month.s >= e || year.e <= s)
        };
        let fits = month.digits
            && year.digits
            && month.len() == 2
            && matches!(year.len(), 2 | 4)
            && doc.gap(i) == Gap::Slash
            && doc.prev(month.s) != b'/'
            && doc.at(year.e) != b'/'
            && matches!(doc.bytes(month), [b'0', b'1'..=b'9'] | [b'1', b'0'..=b'2']);
        if fits && cards.iter().any(near) {
            out.push(Raw::new(month.s, year.e, CreditCard, 0.6).sub("expiry"));
        }
    }
}

/// Magnetic stripe data (ISO 7813): `%B`PAN`^`NAME`^`YYMM... and `;`PAN`=`YYMM...`?`.
fn tracks(doc: &Doc<'_>, out: &mut Sink) {
    for at in memchr::memchr2_iter(b'^', b'=', doc.b) {
        let back = doc.b[..at].iter().rev().take(DIGITS_MAX).take_while(|b| b.is_ascii_digit()).count();
        let pan = Digits::of(&doc.b[at - back..at]);
        let sentinel = matches!(doc.prev(at - back), b'B' | b'b' | b';');
        if back < 13 || !sentinel || !luhn(pan.get()) {
            continue;
        }
        let part = |b: &&u8| b.is_ascii_alphanumeric() || b" ^=/.-".contains(*b);
        let ahead = doc.b[at..].iter().take(100).take_while(part).count();
        out.push(Raw::new(at - back, at + ahead, CreditCard, 1.0).sub("track"));
    }
}

/// A card that starts at token `i`; the last token of it.
fn at(doc: &Doc<'_>, i: usize, out: &mut Sink) -> Option<usize> {
    let first = doc.toks[i];
    if !first.digits || doc.prev(first.s) == b'.' && doc.prev(first.s - 1).is_ascii_digit() {
        return None;
    }
    let mut digits = Digits::new();
    let (mut lens, mut found) = (Vec::new(), None);
    for j in i..doc.toks.len().min(i + DIGITS_MAX) {
        let tok = doc.toks[j];
        if !tok.digits || !digits.push(doc.bytes(tok)) || digits.get().len() > DIGITS_MAX {
            break;
        }
        lens.push(tok.len());
        let d = digits.get();
        if d.len() >= 12 && luhn(d) {
            match network(d) {
                Some(net) => {
                    if let Some(score) = plausible(doc, i, j, &lens, d) {
                        found = Some((j, net, score));
                    }
                }
                // Issuer ranges change; a number that is called a card and passes the check is one.
                None if lens.len() == 1
                    && doc.before(Cue::Card, first.s, 24)
                    && plausible(doc, i, j, &lens, d).is_some() =>
                {
                    found = Some((j, "unknown", 0.7));
                }
                None => {}
            }
        }
        if matches!(doc.gap(j), Gap::No | Gap::Slash) {
            break;
        }
    }
    let (j, net, score) = found?;
    out.push(Raw::new(first.s, doc.toks[j].e, CreditCard, score).sub(net));
    Some(j)
}

/// How believable the grouping is, given the context.
fn plausible(doc: &Doc<'_>, i: usize, j: usize, lens: &[usize], d: &[u8]) -> Option<f32> {
    let (s, e) = (doc.toks[i].s, doc.toks[j].e);
    if doc.before(Cue::Imei, s, 20) || d.iter().all(|x| *x == d[0]) {
        return None;
    }
    let cue = doc.around(Cue::Card, s, e, 80, 40);
    let other = doc.before(Cue::Order, s, 16) || doc.before(Cue::Phone, s, 12);
    let printed = match lens {
        [_] => d.len() >= 14 && !matches!(d.len(), 17 | 18),
        [4, 4, 4, 4]
        | [4, 6, 5]
        | [4, 6, 4]
        | [4, 4, 4, 4, 3]
        | [4, 4, 5]
        | [6, 13]
        | [8, 8]
        | [4, 4, 4, 3] => true,
        [rest @ .., last] => {
            rest.len() <= 5 && rest.iter().all(|n| (3..=8).contains(n)) && *last >= 3
                || lens.len() == d.len() && spaced_alone(doc, i, j)
        }
        [] => false,
    };
    let narrow = lens.len() == 1 && d.len() < 15;
    match (printed, cue, other) {
        (_, true, _) => Some(1.0),
        (true, false, false) if !narrow => Some(0.9),
        (true, false, true) if !narrow => Some(0.6),
        _ => None,
    }
}

/// Single spaced digits that are not part of a longer row of numbers.
fn spaced_alone(doc: &Doc<'_>, i: usize, j: usize) -> bool {
    let before = i > 0 && doc.gap(i - 1) != Gap::No && doc.toks[i - 1].len() == 1;
    let after = doc.gap(j) != Gap::No && doc.toks.get(j + 1).is_some_and(|t| t.len() == 1);
    !before && !after
}
