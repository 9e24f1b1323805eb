//! International bank account numbers (ISO 13616): country, its length, and the mod-97 check (ISO 7064).

use policies::EntityKind::Iban;

use super::Raw;
use super::cues::Cue;
use super::doc::{Doc, Sink};

/// Length by country (SWIFT IBAN registry).
const LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BI", 27),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DJ", 27),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FK", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HN", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MN", 20),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NI", 28),
    ("NL", 18),
    ("NO", 15),
    ("OM", 23),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("RU", 33),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("SO", 23),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
    ("YE", 30),
    ("DZ", 26),
    ("AO", 25),
    ("BF", 28),
    ("BJ", 28),
    ("CF", 27),
    ("CG", 27),
    ("CI", 28),
    ("CM", 27),
    ("CV", 25),
    ("GA", 27),
    ("GQ", 27),
    ("GW", 25),
    ("IR", 26),
    ("KM", 27),
    ("MA", 28),
    ("MG", 27),
    ("ML", 28),
    ("MZ", 25),
    ("NE", 28),
    ("SN", 28),
    ("TD", 27),
    ("TG", 28),
];

/// Remainder of the rearranged number modulo 97, letters counted from A = 10.
fn mod97(chars: &[u8]) -> u32 {
    chars[4..].iter().chain(&chars[..4]).fold(0, |r, &c| {
        if c.is_ascii_digit() {
            (r * 10 + u32::from(c - b'0')) % 97
        } else {
            (r * 100 + u32::from(c - b'A') + 10) % 97
        }
    })
}

pub(crate) fn find(doc: &Doc<'_>, out: &mut Sink) {
    let mut done = 0;
    for tok in &doc.toks {
        let start = match doc.bytes(*tok) {
            [a, b, c, d, ..] if letters(*a, *b) && c.is_ascii_digit() && d.is_ascii_digit() => tok.s,
            [_, _, ..] if tok.digits && tok.len() == 2 => match country_before(doc, tok.s) {
                Some(s) => s,
                None => continue,
            },
            _ => continue,
        };
        if start >= done
            && let Some(end) = read(doc.b, start)
        {
            let context = doc.before(Cue::Iban, start, 60);
            out.push(Raw::new(start, end, Iban, if context { 1.0 } else { 0.95 }));
            done = end;
        }
    }
}

fn letters(a: u8, b: u8) -> bool {
    a.is_ascii_alphabetic() && b.is_ascii_alphabetic()
}

/// Two letters and one separator before `at`.
fn country_before(doc: &Doc<'_>, at: usize) -> Option<usize> {
    let s = at.checked_sub(3)?;
    let ok = letters(doc.b[s], doc.b[s + 1])
        && b" -.".contains(&doc.b[s + 2])
        && !doc.prev(s).is_ascii_alphanumeric();
    ok.then_some(s)
}

/// Reads an account number from `start`, letting single separators stand between its characters.
fn read(b: &[u8], start: usize) -> Option<usize> {
    let country = [b[start].to_ascii_uppercase(), b[start + 1].to_ascii_uppercase()];
    let length = LENGTHS.iter().find(|(c, _)| c.as_bytes() == country)?.1;
    let mut chars = Vec::with_capacity(length);
    let (mut at, mut gap) = (start, 0);
    while chars.len() < length {
        let c = *b.get(at)?;
        if c.is_ascii_alphanumeric() {
            chars.push(c.to_ascii_uppercase());
            gap = 0;
        } else if b" -.\n\t/_".contains(&c) && gap < 2 {
            gap += 1;
        } else {
            return None;
        }
        at += 1;
    }
    let ended = !b.get(at).is_some_and(u8::is_ascii_alphanumeric);
    (ended && chars[2..4].iter().all(u8::is_ascii_digit) && mod97(&chars) == 1).then_some(at)
}
