//! The canonical view of a text: what the recognisers read, with the way back to the original.
//!
//! Obfuscation that a person does not see (zero-width characters, full-width digits, look-alike letters,
//! typographic dashes) must not hide a value, so it is folded away before anything is matched. Each folded unit
//! remembers the original bytes that it came from. ASCII text is its own canonical view and costs nothing.
//!
//! Folded: compatibility forms of ASCII (Unicode blocks Halfwidth and Fullwidth Forms, Mathematical Alphanumeric
//! Symbols, Enclosed Alphanumerics, superscripts), decimal digits of other scripts, dashes, spaces and quotes.
//! Removed: default-ignorable format characters (UAX #44), among them the bidirectional controls. Cyrillic and
//! Greek look-alikes (UTS #39) are folded only in words that also hold Latin letters, so that Russian stays Russian.
//! Left out: full NFKC and the recomposition of combining marks, which no recogniser here depends on.

use std::borrow::Cow;

/// A run of canonical bytes and the original bytes behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seg {
    canon: usize,
    orig: usize,
    /// Exclusive end of the original unit; `None` for a run that was copied byte for byte.
    unit_end: Option<usize>,
}

/// A rewritten text and its offset map.
#[derive(Debug, Clone)]
pub(crate) struct View<'a> {
    pub(crate) text: Cow<'a, str>,
    segs: Vec<Seg>,
}

/// Builds a [`View`] left to right.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    text: String,
    segs: Vec<Seg>,
    copying: bool,
    /// Whether the last thing that was written is part of a row.
    in_row: bool,
}

impl Builder {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), ..Self::default() }
    }

    /// Copies a slice that starts at byte `orig` of the original.
    pub(crate) fn copy(&mut self, slice: &str, orig: usize) {
        if slice.is_empty() {
            return;
        }
        self.in_row = false;
        if !self.copying {
            self.segs.push(Seg { canon: self.text.len(), orig, unit_end: None });
            self.copying = true;
        }
        self.text.push_str(slice);
    }

    /// Writes `with` for the original bytes `orig..end`; an empty string removes them.
    pub(crate) fn replace(&mut self, with: &str, orig: usize, end: usize) {
        self.copying = false;
        self.in_row = true;
        if !with.is_empty() {
            self.segs.push(Seg { canon: self.text.len(), orig, unit_end: Some(end) });
            self.text.push_str(with);
        }
    }

    /// Whether a replaced unit was the last, and the row that it is in goes on.
    pub(crate) fn ends_row(&self) -> bool {
        self.in_row
    }

    /// Ends a row of units: what follows stands apart from it.
    pub(crate) fn close_row(&mut self) {
        self.in_row = false;
    }

    pub(crate) fn finish(self) -> View<'static> {
        View { text: Cow::Owned(self.text), segs: self.segs }
    }
}

impl<'a> View<'a> {
    /// The canonical view of `text`.
    pub(crate) fn canonical(text: &'a str) -> Self {
        if text.is_ascii() || text.chars().all(|c| c.is_ascii() || keeps(c)) {
            return Self { text: Cow::Borrowed(text), segs: Vec::new() };
        }
        let mixed = mixed_words(text);
        let mut words = mixed.iter().copied().peekable();
        let mut out = Builder::with_capacity(text.len());
        let mut buf = [0_u8; 4];
        let mut copied = 0;
        for (at, c) in text.char_indices() {
            if c.is_ascii() {
                continue;
            }
            let end = at + c.len_utf8();
            while words.peek().is_some_and(|&(_, e)| e <= at) {
                words.next();
            }
            let in_mixed = words.peek().is_some_and(|&(s, _)| s <= at);
            let with = if is_ignorable(c) {
                ""
            } else if let Some(f) = fold(c).or_else(|| if in_mixed { confusable(c) } else { None }) {
                f.encode_utf8(&mut buf)
            } else {
                continue;
            };
            out.copy(&text[copied..at], copied);
            out.replace(with, at, end);
            copied = end;
        }
        out.copy(&text[copied..], copied);
        out.finish()
    }

    /// Whether any byte differs from the original.
    pub(crate) fn rewrites(&self, start: usize, end: usize) -> bool {
        let first = self.segs.partition_point(|s| s.canon <= start).saturating_sub(1);
        self.segs[first.min(self.segs.len())..]
            .iter()
            .take_while(|s| s.canon < end)
            .any(|s| s.unit_end.is_some() || s.canon > start)
    }

    /// Original byte range behind a canonical byte range.
    pub(crate) fn original(&self, start: usize, end: usize) -> (usize, usize) {
        if self.segs.is_empty() {
            return (start, end);
        }
        let from = self.segs.partition_point(|s| s.canon <= start).saturating_sub(1);
        let from = self.segs[from];
        let s = from.orig + if from.unit_end.is_none() { start.saturating_sub(from.canon) } else { 0 };
        let to = self.segs.partition_point(|s| s.canon < end).saturating_sub(1);
        let to = self.segs[to];
        let e = to.unit_end.unwrap_or(to.orig + end.saturating_sub(to.canon));
        (s, e.max(s))
    }
}

/// Whether a non-ASCII character is read as it is (the fast path for accented text).
fn keeps(c: char) -> bool {
    matches!(c as u32, 0xC0..=0x24F | 0xA1..=0xA9 | 0xAB..=0xAC | 0xAE..=0xB1 | 0xB4..=0xB8 | 0xBB..=0xBF | 0x3040..=0x9FFF | 0xAC00..=0xD7A3)
}

/// Characters that a reader does not see.
fn is_ignorable(c: char) -> bool {
    matches!(c as u32,
        0xAD | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
        | 0x202A..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0
        | 0xE0000..=0xE0FFF)
}

/// The ASCII character that `c` is a compatibility form of.
fn fold(c: char) -> Option<char> {
    let n = c as u32;
    let ascii = |base: u8, i: u32| char::from_u32(u32::from(base) + i);
    match n {
        0xFF01..=0xFF5E => char::from_u32(n - 0xFF01 + 0x21),
        0x1D7CE..=0x1D7FF => ascii(b'0', (n - 0x1D7CE) % 10),
        0x1D400..=0x1D6A3 => {
            let i = (n - 0x1D400) % 52;
            if i < 26 { ascii(b'A', i) } else { ascii(b'a', i - 26) }
        }
        0x2460..=0x2468 => ascii(b'1', n - 0x2460),
        0x24B6..=0x24CF => ascii(b'A', n - 0x24B6),
        0x24D0..=0x24E9 => ascii(b'a', n - 0x24D0),
        0x24EA => Some('0'),
        0x2070 => Some('0'),
        0xB9 => Some('1'),
        0xB2..=0xB3 => ascii(b'2', n - 0xB2),
        0x2074..=0x2079 => ascii(b'4', n - 0x2074),
        0x2080..=0x2089 => ascii(b'0', n - 0x2080),
        0x660..=0x669 => ascii(b'0', n - 0x660),
        0x6F0..=0x6F9 => ascii(b'0', n - 0x6F0),
        0x966..=0x96F => ascii(b'0', n - 0x966),
        0x9E6..=0x9EF => ascii(b'0', n - 0x9E6),
        0xE50..=0xE59 => ascii(b'0', n - 0xE50),
        0x2010..=0x2015 | 0x2043 | 0x2212 | 0xFE58 | 0xFE63 | 0x30FC => Some('-'),
        0xA0 | 0x1680 | 0x2000..=0x200A | 0x202F | 0x205F | 0x3000 => Some(' '),
        0x2028 | 0x2029 | 0x85 => Some('\n'),
        0x2018..=0x201B | 0x2032 | 0xB4 => Some('\''),
        0x201C..=0x201F | 0x2033 => Some('"'),
        0x2024 | 0x3002 | 0xFF61 | 0xFE52 => Some('.'),
        0xFE6B => Some('@'),
        0x2044 | 0x2215 => Some('/'),
        _ => None,
    }
}

/// The Latin letter that a Cyrillic or Greek letter is drawn like.
fn confusable(c: char) -> Option<char> {
    const FROM: &str = "аеорсухіјѕһԁԛԝквмнтгАВЕЅІЈКМНОРСТУХԚԜαορνικεΑΒΕΖΗΙΚΜΝΟΡΤΥΧ";
    const TO: &str = "aeopcyxijshdqwkbmhtrABESIJKMHOPCTYXQWaopvikeABEZHIKMNOPTYX";
    FROM.chars().position(|f| f == c).and_then(|i| TO.chars().nth(i))
}

/// Words that hold Latin and look-alike letters together; digits and underscores are part of a word, since keys are.
fn mixed_words(text: &str) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let (mut start, mut latin, mut other) = (None, false, false);
    for (at, c) in text.char_indices().chain(std::iter::once((text.len(), ' '))) {
        if c.is_alphanumeric() || c == '_' {
            start.get_or_insert(at);
            latin |= c.is_ascii_alphabetic();
            other |= matches!(c as u32, 0x370..=0x52F);
        } else if !is_ignorable(c) {
            if let (Some(s), true, true) = (start, latin, other) {
                out.push((s, at));
            }
            (start, latin, other) = (None, false, false);
        }
    }
    out
}

/// Turns byte offsets of `text` into code point offsets, in one pass. `at` must be sorted.
pub(crate) fn code_points(text: &str, at: &[usize]) -> Vec<usize> {
    let bytes = text.as_bytes();
    let (mut byte, mut count) = (0, 0);
    at.iter()
        .map(|&target| {
            let target = target.min(bytes.len());
            count += bytes[byte.min(target)..target].iter().filter(|&&b| b & 0xC0 != 0x80).count();
            byte = byte.max(target);
            count
        })
        .collect()
}
