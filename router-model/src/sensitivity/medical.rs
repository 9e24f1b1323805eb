//! Medical numbers: NHS numbers (mod 11), NPI (Luhn with the 80840 prefix), DEA registrations, record and
//! insurance numbers by context in several languages.

use policies::EntityKind::MedicalId;

use super::Raw;
use super::cards::luhn;
use super::cues::Cue;
use super::doc::{Digits, Doc, Gap, Sink};
use super::national::form;

pub(crate) fn find(doc: &Doc<'_>, out: &mut Sink) {
    let cues = [Cue::Mrn, Cue::Insurance, Cue::Nhs, Cue::Npi, Cue::Dea, Cue::Collegiate];
    let named = cues.iter().any(|c| !doc.cues.all(*c).is_empty());
    for i in 0..doc.toks.len() {
        let tok = doc.toks[i];
        let b = doc.bytes(tok);
        if tok.digits
            && let Some(raw) = ten_digits(doc, i)
        {
            out.push(raw);
        } else if b.len() == 9 && form(b, b"AA9999999") && dea(b) {
            let cue = doc.around(Cue::Dea, tok.s, tok.e, 40, 10);
            out.push(Raw::new(tok.s, tok.e, MedicalId, if cue { 0.98 } else { 0.5 }).sub("us_dea"));
        } else if b.len() == 11 && mbi(b) {
            out.push(Raw::new(tok.s, tok.e, MedicalId, 0.8).sub("us_mbi"));
        }
        if named && let Some(raw) = by_name(doc, i) {
            out.push(raw);
        }
    }
}

/// NHS numbers and NPIs: ten digits, in one piece or as 3-3-4.
fn ten_digits(doc: &Doc<'_>, i: usize) -> Option<Raw> {
    let tok = doc.toks[i];
    let three = i + 2 < doc.toks.len()
        && [3, 3, 4].iter().zip(&doc.toks[i..]).all(|(n, t)| t.len() == *n && t.digits)
        && doc.gap(i) != Gap::No
        && doc.gap(i + 1) != Gap::No;
    let j = if tok.len() == 10 {
        i
    } else if three {
        i + 2
    } else {
        return None;
    };
    let (s, e) = (tok.s, doc.toks[j].e);
    let d = doc.digits(i, j);
    if doc.around(Cue::Nhs, s, e, 40, 10) && nhs(d.get()) {
        return Some(Raw::new(s, e, MedicalId, 0.99).sub("uk_nhs"));
    }
    if doc.around(Cue::Npi, s, e, 40, 10) {
        return Some(Raw::new(s, e, MedicalId, if npi(d.get()) { 0.99 } else { 0.6 }).sub("us_npi"));
    }
    None
}

/// NHS number: weights 10 to 2, the check digit is 11 minus the remainder.
fn nhs(d: &[u8]) -> bool {
    let sum: u32 = d[..9].iter().zip((2..=10).rev()).map(|(&x, w)| u32::from(x) * w).sum();
    (11 - sum % 11) % 11 == u32::from(d[9]) && d.iter().any(|x| *x != d[0])
}

/// National provider identifier: Luhn over the number with the prefix 80840 (45 CFR 162.406).
fn npi(d: &[u8]) -> bool {
    let mut all = Digits::of(b"80840");
    let text: Vec<u8> = d.iter().map(|x| x + b'0').collect();
    matches!(d[0], 1 | 2) && all.push(&text) && luhn(all.get())
}

/// DEA registration: (1st + 3rd + 5th) + 2 (2nd + 4th + 6th) ends in the seventh digit.
fn dea(b: &[u8]) -> bool {
    let n = |i: usize| u32::from(b[i + 2] - b'0');
    (n(0) + n(2) + n(4) + 2 * (n(1) + n(3) + n(5))) % 10 == n(6)
}

/// Medicare beneficiary identifier (CMS, 2018): fixed form without S, L, O, I, B, Z.
fn mbi(b: &[u8]) -> bool {
    form(b, b"9A*9A*9AA99") && !b.iter().any(|c| b"SLOIBZ".contains(c)) && b[0] != b'0'
}

/// A value right behind a word that names it.
fn by_name(doc: &Doc<'_>, i: usize) -> Option<Raw> {
    let tok = doc.toks[i];
    let (sub, end) = [
        (Cue::Mrn, "mrn"),
        (Cue::Insurance, "health_insurance_id"),
        (Cue::Nhs, "uk_nhs"),
        (Cue::Dea, "us_dea"),
        (Cue::Collegiate, "practitioner_id"),
    ]
    .iter()
    .filter_map(|(c, sub)| doc.cues.before(*c, tok.s).map(|end| (*sub, end)))
    .max_by_key(|(_, end)| *end)?;
    let between = doc.t.get(end..tok.s)?;
    if between.len() > 24
        || between.contains(['\n', ',', ';', '@', '$'])
        || between.bytes().any(|b| b.is_ascii_digit())
    {
        return None;
    }
    // Letters directly before the token belong to it ("BB-6514795").
    let lead =
        between.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '/').next().unwrap_or("");
    let lead = if lead.starts_with(['-', '/']) { "" } else { lead };
    let words = between[..between.len() - lead.len()].bytes().filter(u8::is_ascii_alphabetic).count();
    if words > 12 || lead.len() > 5 {
        return None;
    }
    let mut last = i;
    while matches!(doc.gap(last), Gap::Space | Gap::Dash | Gap::Dot | Gap::Slash)
        && last - i < 5
        && doc.toks[last + 1].digits
    {
        last += 1;
    }
    let e = doc.toks[last].e;
    let digits = doc.b[tok.s..e].iter().filter(|b| b.is_ascii_digit()).count();
    (digits >= 4 && e - tok.s <= 24).then(|| Raw::new(tok.s - lead.len(), e, MedicalId, 0.7).sub(sub))
}
