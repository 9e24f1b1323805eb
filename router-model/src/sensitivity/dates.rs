//! Dates, dates of birth and ages.
//!
//! A date is a birth date when a word says so (`born`, `geb.`, `né le`). Day and month are checked for range, so
//! that versions and fractions are not dates. Ages need their unit or a word; durations are told apart by what
//! follows ("10 años de evolución").

use policies::EntityKind::{Age, Date, DateOfBirth, Gender};
use regex::Regex;

use super::Raw;
use super::cues::Cue;
use super::doc::{Doc, Gap, Sink};

const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "jan",
    "feb",
    "mar",
    "apr",
    "jun",
    "jul",
    "aug",
    "sep",
    "sept",
    "oct",
    "nov",
    "dec",
    "januar",
    "februar",
    "märz",
    "mai",
    "juni",
    "juli",
    "oktober",
    "dezember",
    "jänner",
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "setiembre",
    "octubre",
    "noviembre",
    "diciembre",
    "janvier",
    "février",
    "mars",
    "avril",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
    "gennaio",
    "febbraio",
    "aprile",
    "maggio",
    "giugno",
    "luglio",
    "settembre",
    "ottobre",
    "dicembre",
    "januari",
    "februari",
    "maart",
    "mei",
    "augustus",
    "december",
    "janeiro",
    "fevereiro",
    "março",
    "maio",
    "junho",
    "julho",
    "setembro",
    "outubro",
    "novembro",
    "dezembro",
    "stycznia",
    "lutego",
    "marca",
    "kwietnia",
    "maja",
    "czerwca",
    "lipca",
    "sierpnia",
    "września",
    "października",
    "listopada",
    "grudnia",
    "augusti",
    "октября",
    "января",
    "февраля",
    "марта",
    "апреля",
    "мая",
    "июня",
    "июля",
    "августа",
    "сентября",
    "ноября",
    "декабря",
];

#[derive(Debug)]
pub(crate) struct Dates {
    unit: Regex,
    duration: Regex,
}

impl Dates {
    pub(crate) fn new() -> Result<Self, regex::Error> {
        Ok(Self {
            unit: Regex::new(
                r"\A(?i:[ -]?(?:years?|yrs?|yr|y)[ -](?:old|of age)|[ -]?y/?o\b|[ -]?y\.o\.|[ -]?year-old|[ -]Jahre alt|[ -]?jährige?[rsn]?\b|[ -]años de edad| años| ans\b| anni\b| anos\b| jaar\b| lat\b| let\b| år\b| años y \d+ meses| лет\b)",
            )?,
            duration: Regex::new(
                r"\A(?i: de (?:evolución|seguimiento|duración|antigüedad|experien|tratamiento|supervivencia)| después| más tarde| antes| atrás| d'expérience| later| ago| di esperienza)",
            )?,
        })
    }

    pub(crate) fn find(&self, doc: &Doc<'_>, out: &mut Sink) {
        let mut done = 0;
        for i in 0..doc.toks.len() {
            if doc.toks[i].s < done {
                continue;
            }
            if let Some((s, e)) = numeric(doc, i).or_else(|| worded(doc, i)) {
                if doc.before(Cue::Version, s, 10) {
                    continue;
                }
                let born = doc.cues.before(Cue::Dob, s).is_some_and(|end| {
                    s - end <= 32 && !doc.t[end..s].bytes().any(|b| b.is_ascii_digit() || b == b'\n')
                });
                out.push(Raw::new(s, e, if born { DateOfBirth } else { Date }, if born { 0.9 } else { 0.5 }));
                done = e;
            } else if let Some((s, e)) = self.age(doc, i) {
                out.push(Raw::new(s, e, Age, 0.7));
                done = e;
            }
        }
        for &(_, end) in doc.cues.all(Cue::Gender) {
            gender(doc, end, out);
        }
    }

    fn age(&self, doc: &Doc<'_>, i: usize) -> Option<(usize, usize)> {
        let tok = doc.toks[i];
        let n = doc.bytes(tok).iter().take_while(|b| b.is_ascii_digit()).count();
        if n == 0 || n > 3 || doc.prev(tok.s) == b'.' || doc.prev(tok.s) == b'-' {
            return None;
        }
        let value: u32 = doc.t[tok.s..tok.s + n].parse().ok()?;
        let rest = doc.window(tok.s + n, 48);
        if value > 125 {
            return None;
        }
        if let Some(m) = self.unit.find(rest) {
            let explicit = rest[..m.end()].to_ascii_lowercase();
            let vague = [" años", " ans", " anni", " anos", " jaar", " lat", " let", " år", " лет"]
                .contains(&explicit.as_str());
            let back = doc.lookback(tok.s, 10);
            let led = [" de ", ": ", " di ", ", ", "(", " von ", " van "].iter().any(|p| back.ends_with(p))
                || doc.before(Cue::Age, tok.s, 6);
            let lasting = self.duration.is_match(&rest[m.end()..])
                || ["hace ", "durante ", "desde hace ", "il y a "].iter().any(|p| back.ends_with(p));
            return (!lasting && (!vague || led)).then_some((tok.s, tok.s + n + m.end()));
        }
        let end = doc.cues.before(Cue::Age, tok.s)?;
        let between = doc.t.get(end..tok.s)?;
        let direct =
            between.len() <= 8 && between.bytes().all(|b| b" :=\"'".contains(&b)) && !between.is_empty()
                || [" of ", " is ", " at "].contains(&between);
        (tok.digits && direct && !matches!(doc.at(tok.e), b'.' | b'%')).then_some((tok.s, tok.e)).or_else(
            || {
                (tok.digits && direct && doc.at(tok.e) == b'.' && !doc.at(tok.e + 1).is_ascii_digit())
                    .then_some((tok.s, tok.e))
            },
        )
    }
}

fn value(doc: &Doc<'_>, i: usize) -> u32 {
    let tok = doc.toks[i];
    let n = doc.bytes(tok).iter().take_while(|b| b.is_ascii_digit()).count().min(9);
    doc.t[tok.s..tok.s + n].parse().unwrap_or(0)
}

/// `2020-01-31`, `31.01.2020`, `1/31/20`, with a time of day where one follows.
fn numeric(doc: &Doc<'_>, i: usize) -> Option<(usize, usize)> {
    let g = doc.gap(i);
    let last = i + 2;
    let toks = doc.toks.get(i..=last)?;
    let inner = i > 0 && doc.toks[i - 1].e + 1 == toks[0].s && b"./-".contains(&doc.prev(toks[0].s));
    let same = doc.gap(i + 1) == g && matches!(g, Gap::Dash | Gap::Dot | Gap::Slash);
    let tail = doc.bytes(toks[2]).iter().take_while(|b| b.is_ascii_digit()).count();
    let iso_time = doc.bytes(toks[2]).get(2) == Some(&b'T');
    if !same
        || inner
        || !toks[0].digits
        || !toks[1].digits
        || !(toks[2].digits || iso_time)
        || doc.prev(toks[0].s) == b'$'
    {
        return None;
    }
    let (a, b, c) = (value(doc, i), value(doc, i + 1), value(doc, i + 2));
    let day = |d: u32, m: u32| (1..=31).contains(&d) && (1..=12).contains(&m);
    let year = |y: u32| (1850..=2100).contains(&y);
    let ok = match (toks[0].len(), toks[1].len(), tail) {
        (4, 1 | 2, 1 | 2) => year(a) && day(c, b),
        (1 | 2, 1 | 2, 4) => year(c) && (day(a, b) || day(b, a)),
        (1 | 2, 1 | 2, 2) => {
            (day(a, b) || day(b, a))
                && (g == Gap::Slash || g == Gap::Dot && toks[0].len() == 2 && toks[1].len() == 2)
        }
        _ => false,
    };
    let longer = matches!(doc.gap(last), Gap::Dot | Gap::Dash | Gap::Slash)
        && doc.toks[last].e + 1 == doc.toks[last + 1].s
        && doc.at(toks[2].e) == doc.at(toks[0].e);
    let end = toks[2].s + tail;
    (ok && !longer).then(|| (toks[0].s, time(doc, end)))
}

/// `10 April 1957`, `12 de junio de 2002`, `April 13th, 1949`.
fn worded(doc: &Doc<'_>, i: usize) -> Option<(usize, usize)> {
    let tok = doc.toks[i];
    let n = doc.bytes(tok).iter().take_while(|b| b.is_ascii_digit()).count();
    let ordinal = matches!(&doc.b[tok.s + n..tok.e], b"" | b"st" | b"nd" | b"rd" | b"th" | b"er");
    if n == 0 || n > 2 || !ordinal || !(1..=31).contains(&value(doc, i)) {
        return None;
    }
    let before = doc.lookback(tok.s, 14);
    let word = before.trim_end_matches([' ', '.']).rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or("");
    if before.ends_with(' ') && month(word) {
        let s = tok.s - (before.len() - before.rfind(word).unwrap_or(0));
        let rest = doc.window(tok.e, 8);
        let year = rest.trim_start_matches([',', ' ']);
        let len = year.bytes().take_while(u8::is_ascii_digit).count();
        let e = if len == 4 { tok.e + rest.len() - year.len() + 4 } else { tok.e };
        return (len == 4 || word.len() > 3 && word.starts_with(char::is_uppercase)).then_some((s, e));
    }
    let rest = doc.window(tok.e, 40);
    let body = rest.trim_start_matches(['.', ' ', '-']);
    let body = ["de ", "of ", "di "].iter().find_map(|p| body.strip_prefix(p)).unwrap_or(body);
    let len = body.find(|c: char| !c.is_alphabetic()).unwrap_or(body.len());
    if rest.len() == body.len() || !month(&body[..len]) {
        return None;
    }
    let after = body[len..].trim_start_matches([',', ' ', '.', '-']);
    let after = ["de ", "del ", "di "].iter().find_map(|p| after.strip_prefix(p)).unwrap_or(after);
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    let e = tok.e + rest.len() - if digits == 4 { after.len() - 4 } else { body.len() - len };
    (digits == 4 || len > 3).then_some((tok.s, e))
}

fn month(word: &str) -> bool {
    let lower = word.to_lowercase();
    word.len() >= 3
        && MONTHS.contains(&lower.as_str())
        && (word != "may" && word != "mar" && word != "mars" && word != "march")
}

/// Extends over `T10:11:12Z` or ` 10:11:12`.
fn time(doc: &Doc<'_>, e: usize) -> usize {
    let rest = doc.window(e, 32);
    let b = rest.as_bytes();
    if !matches!(b.first(), Some(b' ' | b'T'))
        || b.get(3) != Some(&b':')
        || !b[1..3].iter().all(u8::is_ascii_digit)
    {
        return e;
    }
    e + 1 + rest[1..].bytes().take_while(|c| c.is_ascii_digit() || b":.Z+".contains(c)).count()
}

fn gender(doc: &Doc<'_>, end: usize, out: &mut Sink) {
    let rest = doc.window(end, 24);
    let body = rest.trim_start_matches(['"', '\'', ' ']);
    let Some(body) = body.strip_prefix([':', '=']) else { return };
    let body = body.trim_start_matches(['"', '\'', ' ']);
    let len = body.find(|c: char| !c.is_alphabetic()).unwrap_or(body.len());
    let word = body[..len].to_lowercase();
    let known = [
        "m",
        "f",
        "h",
        "w",
        "v",
        "male",
        "female",
        "man",
        "woman",
        "hombre",
        "mujer",
        "varón",
        "männlich",
        "weiblich",
        "homme",
        "femme",
        "masculino",
        "femenino",
        "feminino",
        "maschio",
        "femmina",
    ];
    if known.contains(&word.as_str()) {
        let s = end + rest.len() - body.len();
        out.push(Raw::new(s, s + len, Gender, 0.7));
    }
}
