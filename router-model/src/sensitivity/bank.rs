//! Bank identifiers that are not IBANs: routing numbers (ABA check digit), account numbers, sort codes and BICs
//! (ISO 9362). Account numbers have no form of their own; only the word before them tells.

use policies::EntityKind::{BankAccount, RoutingNumber, SwiftBic};

use super::Raw;
use super::cues::Cue;
use super::doc::{Doc, Gap, Sink};

/// The check of the American Bankers Association: weights 3, 7, 1, and a Federal Reserve prefix.
fn aba(d: &[u8]) -> bool {
    let sum: u32 = d.iter().zip([3, 7, 1].into_iter().cycle()).map(|(&x, w)| u32::from(x) * w).sum();
    d.len() == 9
        && sum.is_multiple_of(10)
        && sum > 0
        && matches!(d[0] * 10 + d[1], 0..=12 | 21..=32 | 61..=72 | 80)
}

pub(crate) fn find(doc: &Doc<'_>, out: &mut Sink) {
    let routing = !doc.cues.all(Cue::Routing).is_empty();
    let account = !doc.cues.all(Cue::Account).is_empty();
    for i in 0..doc.toks.len() {
        let tok = doc.toks[i];
        if routing && tok.digits && doc.before(Cue::Routing, tok.s, 30) {
            routing_at(doc, i, out);
        }
        if account && doc.before(Cue::Account, tok.s, 24) {
            account_at(doc, i, out);
        }
    }
    for &(_, cue) in doc.cues.all(Cue::Swift) {
        bic_after(doc, cue, out);
    }
}

fn routing_at(doc: &Doc<'_>, i: usize, out: &mut Sink) {
    let tok = doc.toks[i];
    if tok.len() == 9 {
        let valid = aba(doc.digits(i, i).get());
        out.push(Raw::new(tok.s, tok.e, RoutingNumber, if valid { 0.97 } else { 0.55 }));
    } else if tok.len() == 8 || tok.len() == 6 {
        out.push(Raw::new(tok.s, tok.e, RoutingNumber, 0.6));
    } else if let Some(last) = grouped(doc, i, &[&[2, 2, 2], &[3, 3], &[3, 3, 2]]) {
        out.push(Raw::new(tok.s, doc.toks[last].e, RoutingNumber, 0.7));
    }
}

/// Last token when the groups from `i` on have one of the shapes.
pub(crate) fn grouped(doc: &Doc<'_>, i: usize, shapes: &[&[usize]]) -> Option<usize> {
    shapes.iter().find_map(|shape| {
        let last = i + shape.len() - 1;
        let toks = doc.toks.get(i..=last)?;
        let fits = toks.iter().zip(*shape).all(|(t, n)| t.digits && t.len() == *n);
        let joined = (i..last).all(|k| matches!(doc.gap(k), Gap::Space | Gap::Dash | Gap::Dot));
        (fits && joined && doc.gap(last) != Gap::Dash).then_some(last)
    })
}

fn account_at(doc: &Doc<'_>, i: usize, out: &mut Sink) {
    let tok = doc.toks[i];
    let gap = doc.lookback(tok.s, doc.cues.before(Cue::Account, tok.s).map_or(0, |e| tok.s - e));
    if !tok.digits || gap.contains('\n') || gap.bytes().any(|b| b.is_ascii_digit() || b"$/@".contains(&b)) {
        return;
    }
    let mut last = i;
    while matches!(doc.gap(last), Gap::Space | Gap::Dash) && doc.toks[last + 1].digits && last - i < 6 {
        last += 1;
    }
    let n = doc.digits(i, last).get().len();
    if (7..=20).contains(&n) {
        out.push(Raw::new(tok.s, doc.toks[last].e, BankAccount, 0.6));
    }
}

/// A business identifier code after its cue: four letters, country, place, optional branch.
fn bic_after(doc: &Doc<'_>, cue: usize, out: &mut Sink) {
    let window = doc.window(cue, 40);
    let mut at = 0;
    for word in window.split(|c: char| !c.is_ascii_alphanumeric()) {
        let s = cue + at;
        at += word.len() + window[at + word.len()..].chars().next().map_or(0, char::len_utf8);
        let b = word.as_bytes();
        let form = matches!(b.len(), 8 | 11)
            && b[..6].iter().all(u8::is_ascii_uppercase)
            && b[6..].iter().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase());
        if form && s + word.len() <= doc.t.len() && !matches!(word, "PASSWORD" | "CUSTOMER" | "TRANSFER") {
            out.push(Raw::new(s, s + word.len(), SwiftBic, 0.9));
            return;
        }
    }
}
