//! Secrets that are plain digits or plain words: personal identification numbers, one-time codes and wallet seeds. Only
//! the words before them tell; in program text numbers like these are everywhere, so there they are not read.

use crate::sensitivity::Raw;
use crate::sensitivity::cues::Cue;
use crate::sensitivity::doc::{Doc, Sink};

/// Words of a mnemonic (BIP 39): twelve to twenty-four of three to eight letters.
const MNEMONIC_WORDS: std::ops::RangeInclusive<usize> = 12..=24;

pub(super) fn find(doc: &Doc<'_>, out: &mut Sink) {
    if !doc.code {
        for &(_, end) in doc.cues.all(Cue::Pin) {
            if let Some(raw) = number(doc, end) {
                out.push(raw);
            }
        }
    }
    for &(_, end) in doc.cues.all(Cue::Mnemonic) {
        if let Some(raw) = mnemonic(doc, end) {
            out.push(raw);
        }
    }
}

/// Four to eight digits behind an operator, a verb or a few words.
fn number(doc: &Doc<'_>, end: usize) -> Option<Raw> {
    let rest = doc.window(end, 64);
    let line = rest.split('\n').next().unwrap_or("");
    let from = line.find(|c: char| c.is_ascii_digit())?;
    let said = line[..from].to_lowercase();
    let words = said.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).count();
    const TELL: &[&str] = &[
        ":", "=", " is ", " ist ", " lautet ", " es ", " est ", " è ", " é ", " to ", " jest ", " är ",
        " это ",
    ];
    let told = words <= 6 && TELL.iter().any(|t| said.contains(t)) || words == 0;
    let len = line[from..].bytes().take_while(|b| b.is_ascii_digit() || *b == b'-' || *b == b' ').count();
    let text = line[from..from + len].trim_end_matches(['-', ' ']);
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let next = line[from + text.len()..].chars().next();
    let closed = !next.is_some_and(|c| c.is_alphanumeric() || "%°€$/".contains(c))
        && !line[from + text.len()..].starts_with(".0");
    let money = said.ends_with(['$', '€', '£', '.', '#', '/', '+', '(']);
    let one = text.len() - digits <= 1;
    let s = end + from;
    (told && one && closed && !money && (4..=8).contains(&digits))
        .then(|| Raw::secret(s, s + text.len(), "pin", 0.7))
}

/// A row of plain words long enough to be a seed.
fn mnemonic(doc: &Doc<'_>, end: usize) -> Option<Raw> {
    let rest = doc.window(end, 260);
    let body = rest.trim_start_matches(|c: char| c.is_whitespace() || ":=\"'`-(".contains(c));
    let body =
        ["is ", "are ", "is: ", "ist ", "lautet "].iter().find_map(|w| body.strip_prefix(w)).unwrap_or(body);
    let body = body.trim_start_matches([' ', '"', '\'', '`', ':']);
    let (mut len, mut words) = (0, 0);
    for word in body.split_inclusive([' ', '\n']) {
        let core = word.trim_end_matches([' ', '\n']);
        if !(3..=8).contains(&core.len()) || !core.bytes().all(|b| b.is_ascii_lowercase()) {
            // The last word may be followed by punctuation.
            let last = core.trim_end_matches(['.', ',', '"', '\'', '`', ')']);
            if (3..=8).contains(&last.len()) && last.bytes().all(|b| b.is_ascii_lowercase()) {
                words += 1;
                len += last.len();
            }
            break;
        }
        words += 1;
        len += word.len();
    }
    let s = end + rest.len() - body.len();
    let text = body[..len].trim_end();
    MNEMONIC_WORDS.contains(&words).then(|| Raw::secret(s, s + text.len(), "wallet_seed", 0.9))
}
