//! Vehicle and device identifiers: VIN (ISO 3779, check digit of 49 CFR 565), plates by context, IMEI (Luhn).

use policies::EntityKind::{DeviceId, DriverLicense, Passport, VehicleId};

use super::Raw;
use super::cards::luhn;
use super::cues::Cue;
use super::doc::{Doc, Gap, Sink};

pub(crate) fn find(doc: &Doc<'_>, out: &mut Sink) {
    for i in 0..doc.toks.len() {
        let tok = doc.toks[i];
        let b = doc.bytes(tok);
        if b.len() == 17 {
            let cue = doc.around(Cue::Vin, tok.s, tok.e, 40, 10);
            let upper = !b.iter().any(u8::is_ascii_lowercase);
            if !tok.digits
                && (upper || cue)
                && vin_form(b)
                && (cue || vin_check(b) && b.iter().filter(|c| c.is_ascii_digit()).count() >= 3)
            {
                let score = if vin_check(b) && cue {
                    0.99
                } else if cue {
                    0.85
                } else {
                    0.7
                };
                out.push(Raw::new(tok.s, tok.e, VehicleId, score).sub("vin"));
            }
        }
        if tok.digits {
            imei(doc, i, out);
        }
        for (cue, kind, reach) in
            [(Cue::Passport, Passport, 30), (Cue::License, DriverLicense, 30), (Cue::Device, DeviceId, 20)]
        {
            if doc.before(cue, tok.s, reach)
                && let Some(raw) = document(doc, i, cue, kind)
            {
                out.push(raw);
            }
        }
    }
    for &(_, end) in doc.cues.all(Cue::Plate) {
        plate(doc, end, out);
    }
}

fn vin_form(b: &[u8]) -> bool {
    b.iter().all(|c| c.is_ascii_alphanumeric() && !b"IOQioq".contains(c))
        && b.iter().filter(|c| c.is_ascii_digit()).count() >= 1
}

fn vin_check(b: &[u8]) -> bool {
    const W: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let value = |c: u8| match c.to_ascii_uppercase() {
        d @ b'0'..=b'9' => u32::from(d - b'0'),
        l @ b'A'..=b'H' => u32::from(l - b'A') + 1,
        l @ b'J'..=b'R' => u32::from(l - b'J') + 1,
        l => u32::from(l.saturating_sub(b'S')) + 2,
    };
    let r = b.iter().zip(W).map(|(c, w)| value(*c) * w).sum::<u32>() % 11;
    b[8].to_ascii_uppercase() == if r == 10 { b'X' } else { b'0' + r as u8 }
}

/// Fifteen digits with a valid check, in one piece or as 2-6-6-1 or 6-2-6-1, named as an IMEI.
fn imei(doc: &Doc<'_>, i: usize, out: &mut Sink) {
    let s = doc.toks[i].s;
    if !doc.before(Cue::Imei, s, 30) {
        return;
    }
    let mut j = i;
    while j - i < 4 && matches!(doc.gap(j), Gap::Space | Gap::Dash | Gap::Slash) && doc.toks[j + 1].digits {
        j += 1;
    }
    for last in (i..=j).rev() {
        let d = doc.digits(i, last);
        let n = d.get().len();
        if matches!(n, 15 | 16) {
            let score = if n == 15 && luhn(d.get()) { 0.99 } else { 0.6 };
            out.push(Raw::new(s, doc.toks[last].e, DeviceId, score).sub("imei"));
            return;
        }
    }
}

/// A document number behind its name.
fn document(doc: &Doc<'_>, i: usize, cue: Cue, kind: policies::EntityKind) -> Option<Raw> {
    let tok = doc.toks[i];
    let end = doc.cues.before(cue, tok.s)?;
    let between = doc.t.get(end..tok.s)?;
    if between.contains(['\n', ',', ';', '@']) || between.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let lead = between.rsplit(|c: char| !c.is_ascii_uppercase() && c != '-').next().unwrap_or("");
    let lead = if lead.starts_with('-') || lead.len() > 3 { "" } else { lead };
    let mut last = i;
    while last - i < 5
        && matches!(doc.gap(last), Gap::Space | Gap::Dash | Gap::Dot)
        && doc.toks[last + 1].len() <= 9
        && doc.toks[last + 1].digits
    {
        last += 1;
    }
    let (s, e) = (tok.s - lead.len(), doc.toks[last].e);
    // Advertising and installation identifiers are UUIDs.
    let whole = doc.b[s..].iter().take(37).take_while(|b| b.is_ascii_hexdigit() || **b == b'-').count();
    if kind == DeviceId && whole == 36 && doc.t[s..s + whole].split('-').map(str::len).eq([8, 4, 4, 4, 12]) {
        return Some(Raw::new(s, s + whole, kind, 0.8));
    }
    let digits = doc.b[s..e].iter().filter(|b| b.is_ascii_digit()).count();
    let lower = doc.b[s..e].iter().any(u8::is_ascii_lowercase) && kind != DeviceId;
    ((5..=20).contains(&(e - s)) && digits >= 4 && !lower).then(|| Raw::new(s, e, kind, 0.75))
}

/// A plate: at most four groups of capitals and digits right behind its name.
fn plate(doc: &Doc<'_>, end: usize, out: &mut Sink) {
    let window = doc.window(end, 40);
    let mut at = 0;
    for word in window.split_inclusive(|c: char| c.is_whitespace() || ",:;.()=\"'".contains(c)) {
        let core = word.trim_end_matches(|c: char| c.is_whitespace() || ",:;.()=\"'".contains(c));
        let plain = core.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-')
            && !core.is_empty();
        if plain && (core.bytes().any(|b| b.is_ascii_digit()) || core.len() <= 5) {
            let s = end + at;
            let mut e = s + core.len();
            while doc.at(e) == b' ' && e - s < 10 {
                let next = doc.window(e + 1, 8);
                let n = next
                    .bytes()
                    .take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'-')
                    .count();
                let stops = next.as_bytes().get(n).is_some_and(u8::is_ascii_alphanumeric);
                if n == 0 || n > 5 || stops {
                    break;
                }
                e += 1 + n;
            }
            let text = &doc.b[s..e];
            let digits = text.iter().filter(|b| b.is_ascii_digit()).count();
            if (4..=12).contains(&text.len()) && digits >= 1 && digits < text.len() {
                out.push(Raw::new(s, e, VehicleId, 0.75).sub("plate"));
            }
            return;
        }
        at += word.len();
        if at > 24 {
            return;
        }
    }
}
