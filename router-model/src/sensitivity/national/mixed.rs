//! National numbers that hold letters: a form, and a check character where the country defines one.

use policies::EntityKind::{self, NationalId, TaxId};

use super::checks::{day, number, weigh};
use super::world::rut_check;

/// What a token may be, and whether its form and check need no context word.
pub(super) struct Hit {
    pub(super) sub: &'static str,
    pub(super) kind: EntityKind,
    pub(super) alone: bool,
}

const fn hit(sub: &'static str, kind: EntityKind, alone: bool) -> Option<Hit> {
    Some(Hit { sub, kind, alone })
}

/// Whether `b` has the form: `A` letter, `9` digit, `*` either, anything else itself.
pub(crate) fn form(b: &[u8], pattern: &[u8]) -> bool {
    b.len() == pattern.len()
        && b.iter().zip(pattern).all(|(c, p)| match p {
            b'A' => c.is_ascii_uppercase(),
            b'9' => c.is_ascii_digit(),
            b'*' => c.is_ascii_alphanumeric(),
            _ => c == p,
        })
}

fn values(b: &[u8]) -> Vec<u8> {
    b.iter().filter(|c| c.is_ascii_digit()).map(|c| c - b'0').collect()
}

const DNI: &[u8] = b"TRWAGMYFPDXBNJZSQVHLCKE";

/// Recognises an upper-cased token without separators.
pub(super) fn recognise(b: &[u8]) -> Option<Hit> {
    let d = values(b);
    match b.len() {
        8 | 9 if b[b.len() - 1] == b'K' && d.len() + 1 == b.len() && rut_check(&d) == 10 => {
            hit("cl_rut", NationalId, false)
        }
        9 if form(b, b"99999999A") => {
            let ok = DNI[(number(&d) % 23) as usize] == b[8];
            if ok { hit("es_dni", NationalId, true) } else { None }
        }
        9 if form(b, b"A9999999A") && b"XYZ".contains(&b[0]) => {
            let n = u64::from(b[0] - b'X') * 10_000_000 + number(&d);
            if DNI[(n % 23) as usize] == b[8] { hit("es_nie", NationalId, true) } else { None }
        }
        9 if form(b, b"A9999999A") && b"STFGM".contains(&b[0]) && nric(b, &d) => {
            hit("sg_nric", NationalId, true)
        }
        9 if form(b, b"A9999999*") && b"ABCDEFGHJNPQRSUVW".contains(&b[0]) && cif(b, &d) => {
            hit("es_cif", TaxId, false)
        }
        8 | 9 if pps(b, &d) => hit("ie_pps", NationalId, false),
        9 if form(b, b"AA999999A") && nino(b) => hit("uk_nino", NationalId, true),
        10 if form(b, b"AAAAA9999A") && b"ABCFGHJLPTK".contains(&b[3]) => hit("in_pan", TaxId, true),
        10 if form(b, b"A999999999") && taiwan(b, &d) => hit("tw_id", NationalId, true),
        10 if form(b, b"999999999A") && hetu(b, &d) => hit("fi_hetu", NationalId, true),
        11 if form(b, b"999999A999*") && hetu(b, &d) => hit("fi_hetu", NationalId, true),
        13 if form(b, b"AAAA999999***") && day(number(&d[2..4]), number(&d[4..6])) => {
            hit("mx_rfc", TaxId, true)
        }
        12 if form(b, b"AAA999999***") && day(number(&d[2..4]), number(&d[4..6])) => {
            hit("mx_rfc", TaxId, false)
        }
        12 if form(b, b"99999999A999") && svnr_de(b, &d) => hit("de_rvnr", NationalId, true),
        15 if form(b, b"99AAAAA9999A9A*") => hit("in_gstin", TaxId, true),
        8 if form(b, b"A999999*") && hkid(b) => hit("hk_hkid", NationalId, false),
        9 if form(b, b"AA999999*") && hkid(b) => hit("hk_hkid", NationalId, false),
        10 if identity_card(b) => hit("de_identity_card", NationalId, false),
        15 if corsican(b) => hit("fr_nir", NationalId, true),
        16 if licence_uk(b) => hit("uk_driving_licence", EntityKind::DriverLicense, true),
        16 if codice(b) => hit("it_cf", NationalId, true),
        18 if form(b, b"AAAA999999AAAAAA*9") && b"HMX".contains(&b[10]) && curp(b) => {
            hit("mx_curp", NationalId, true)
        }
        18 if b[17] == b'X' && b[..17].iter().all(u8::is_ascii_digit) => {
            const W: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
            let ok = weigh(&d, &W) % 11 == 2 && day(number(&d[10..12]), number(&d[12..14]));
            if ok { hit("cn_rid", NationalId, true) } else { None }
        }
        _ => vat(b),
    }
}

/// The check digit of the Mexican population registry: letters count from ten, with a place for Ñ behind N.
fn curp(b: &[u8]) -> bool {
    let value = |c: u8| match c {
        b'0'..=b'9' => u32::from(c - b'0'),
        b'A'..=b'N' => u32::from(c - b'A') + 10,
        _ => u32::from(c - b'A') + 11,
    };
    let sum: u32 = b[..17].iter().zip((2..=18).rev()).map(|(&c, w)| value(c) * w).sum();
    (10 - sum % 10) % 10 == u32::from(b[17] - b'0')
}

/// Hong Kong: letters count from ten, a missing first letter as 36; the check character completes a multiple of eleven.
fn hkid(b: &[u8]) -> bool {
    let value = |c: u8| if c.is_ascii_digit() { u32::from(c - b'0') } else { u32::from(c - b'A') + 10 };
    let lead = if b.len() == 8 { 36 * 9 } else { 0 };
    let sum: u32 = b.iter().rev().zip(1..).map(|(&c, w)| value(c) * w).sum();
    (b[b.len() - 1].is_ascii_digit() || b[b.len() - 1] == b'A') && (lead + sum).is_multiple_of(11)
}

/// German identity cards and passports (ICAO 9303): weights 7, 3, 1, letters counted from ten.
fn identity_card(b: &[u8]) -> bool {
    let value = |c: u8| if c.is_ascii_digit() { u32::from(c - b'0') } else { u32::from(c - b'A') + 10 };
    let sum: u32 = b[..9].iter().zip([7_u32, 3, 1].into_iter().cycle()).map(|(&c, w)| value(c) * w).sum();
    b"CFGHJKLMNPRTVWXYZ".contains(&b[0])
        && b[..9].iter().any(u8::is_ascii_digit)
        && b[9].is_ascii_digit()
        && sum % 10 == u32::from(b[9] - b'0')
}

/// French numbers of people born in Corsica: 2A counts as 19, 2B as 18.
fn corsican(b: &[u8]) -> bool {
    let mut digits = b.to_vec();
    let ok = b[5] == b'2' && matches!(b[6], b'A' | b'B') && matches!(b[0], b'1' | b'2');
    (digits[5], digits[6]) = if b[6] == b'A' { (b'1', b'9') } else { (b'1', b'8') };
    let d = values(&digits);
    ok && d.len() == 15 && 97 - number(&d[..13]) % 97 == number(&d[13..])
}

/// Driving licences of Great Britain: surname, date of birth with the sex in the month, initials, and three more.
fn licence_uk(b: &[u8]) -> bool {
    let d = values(&b[5..11]);
    let surname = b[..5].iter().rposition(u8::is_ascii_uppercase).is_some_and(|last| {
        b[..=last].iter().all(u8::is_ascii_uppercase) && b[last + 1..5].iter().all(|c| *c == b'9')
    });
    surname
        && d.len() == 6
        && day(number(&d[1..3]) % 50, number(&d[3..5]))
        && b[11].is_ascii_uppercase()
        && (b[12].is_ascii_uppercase() || b[12] == b'9')
        && b[14..].iter().all(u8::is_ascii_uppercase)
}

/// VAT numbers of the European Union by form (the words before them are asked for).
fn vat(b: &[u8]) -> Option<Hit> {
    const FORMS: &[&[u8]] = &[
        b"ATU99999999",
        b"BE9999999999",
        b"CHE999999999",
        b"CY99999999A",
        b"CZ99999999",
        b"DE999999999",
        b"DK99999999",
        b"EE999999999",
        b"EL999999999",
        b"ES*9999999*",
        b"FI99999999",
        b"FR**999999999",
        b"GB999999999",
        b"HR99999999999",
        b"HU99999999",
        b"IE9999999AA",
        b"IE9999999A",
        b"IT99999999999",
        b"LT999999999",
        b"LU99999999",
        b"LV99999999999",
        b"MT99999999",
        b"NL999999999B99",
        b"PL9999999999",
        b"PT999999999",
        b"RO99999999",
        b"SE999999999999",
        b"SI99999999",
        b"SK9999999999",
    ];
    if FORMS.iter().any(|f| form(b, f)) { hit("eu_vat", TaxId, false) } else { None }
}

fn nino(b: &[u8]) -> bool {
    let prefix = &b[..2];
    !b"DFIQUV".contains(&b[0])
        && !b"DFIOQUV".contains(&b[1])
        && ![b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"].iter().any(|p| *p == prefix)
        && (b'A'..=b'D').contains(&b[8])
}

fn nric(b: &[u8], d: &[u8]) -> bool {
    let mut sum = weigh(d, &[2, 7, 6, 5, 4, 3, 2]);
    sum += match b[0] {
        b'T' | b'G' => 4,
        b'M' => 3,
        _ => 0,
    };
    let i = (sum % 11) as usize;
    let table: &[u8] = match b[0] {
        b'S' | b'T' => b"JZIHGFEDCBA",
        b'M' => b"KLJNPQRTUWX",
        _ => b"XWUTRQPNMLK",
    };
    if b[0] == b'M' { table[10 - i] == b[8] || table[i] == b[8] } else { table[i] == b[8] }
}

fn cif(b: &[u8], d: &[u8]) -> bool {
    let sum: u32 = d[..7]
        .iter()
        .enumerate()
        .map(|(i, &x)| {
            let x = u32::from(x);
            if i % 2 == 0 { x * 2 / 10 + x * 2 % 10 } else { x }
        })
        .sum();
    let c = (10 - sum % 10) % 10;
    b[8] == b'0' + c as u8 || b[8] == b"JABCDEFGHI"[c as usize]
}

fn pps(b: &[u8], d: &[u8]) -> bool {
    if !(form(b, b"9999999A") || form(b, b"9999999AA")) {
        return false;
    }
    let second = b.get(8).map_or(0, |c| if *c == b'W' { 0 } else { u32::from(c - b'A') + 1 });
    let r = (weigh(d, &[8, 7, 6, 5, 4, 3, 2]) + second * 9) % 23;
    b[7] == if r == 0 { b'W' } else { b'A' + (r as u8 - 1) }
}

fn taiwan(b: &[u8], d: &[u8]) -> bool {
    let code = b"ABCDEFGHJKLMNPQRSTUVXYWZIO".iter().position(|c| *c == b[0]).map_or(0, |i| i as u32 + 10);
    matches!(d[0], 1 | 2 | 8 | 9)
        && (code / 10 + code % 10 * 9 + weigh(d, &[8, 7, 6, 5, 4, 3, 2, 1, 1])).is_multiple_of(10)
}

fn hetu(b: &[u8], d: &[u8]) -> bool {
    // The century sign is a letter since 2023; the dash before that is dropped by the caller.
    const C: &[u8] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let check = b[b.len() - 1];
    day(number(&d[2..4]), number(&d[..2])) && C[(number(&d[..9]) % 31) as usize] == check
}

fn svnr_de(b: &[u8], d: &[u8]) -> bool {
    let letter = b[8] - b'A' + 1;
    let all: Vec<u8> =
        d[..8].iter().copied().chain([letter / 10, letter % 10]).chain(d[8..10].iter().copied()).collect();
    let sum: u32 = all
        .iter()
        .zip([2_u32, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1])
        .map(|(&x, w)| {
            let p = u32::from(x) * w;
            p / 10 + p % 10
        })
        .sum();
    day(number(&d[4..6]), number(&d[2..4]) % 50) && sum % 10 == u32::from(d[10])
}

/// Codice fiscale (DM 23/12/1976), with the letters that replace digits of homonyms.
fn codice(b: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let digit = |c: u8| c.is_ascii_digit() || b"LMNPQRSTUV".contains(&c);
    let shape = b[..6].iter().all(u8::is_ascii_uppercase)
        && digit(b[6])
        && digit(b[7])
        && b"ABCDEHLMPRST".contains(&b[8])
        && digit(b[9])
        && digit(b[10])
        && b[11].is_ascii_uppercase()
        && b[12..15].iter().all(|c| digit(*c))
        && b[15].is_ascii_uppercase();
    let value = |c: u8| if c.is_ascii_digit() { u32::from(c - b'0') } else { u32::from(c - b'A') };
    let sum: u32 = b[..15]
        .iter()
        .enumerate()
        .map(|(i, &c)| if i % 2 == 0 { ODD[value(c) as usize] } else { value(c) })
        .sum();
    shape && sum % 26 == u32::from(b[15] - b'A')
}
