//! One text, tokenised once for every recogniser: the runs that hold digits, and the context words.
//!
//! Recognisers of numbers never search the text themselves. They walk [`Doc::toks`], which lists the maximal
//! alphanumeric runs that hold a digit, and ask for the context words before a place. Text without digits and
//! without context words therefore costs two linear passes and nothing else.

use super::Raw;
use super::cues::{Cue, CueHits};

/// A maximal run of ASCII letters and digits that holds a digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tok {
    pub(crate) s: usize,
    pub(crate) e: usize,
    /// Only digits.
    pub(crate) digits: bool,
}

impl Tok {
    pub(crate) fn len(self) -> usize {
        self.e - self.s
    }
}

/// What stands between two tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    No,
    Space,
    Dash,
    Dot,
    Slash,
    Line,
    Wide,
}

/// A text with its tokens and context words.
#[derive(Debug)]
pub(crate) struct Doc<'a> {
    pub(crate) t: &'a str,
    pub(crate) b: &'a [u8],
    pub(crate) toks: Vec<Tok>,
    pub(crate) cues: CueHits,
    /// Looks like program source or configuration.
    pub(crate) code: bool,
}

/// The digits of several joined tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digits {
    buf: [u8; 40],
    len: usize,
}

impl Digits {
    pub(crate) const fn new() -> Self {
        Self { buf: [0; 40], len: 0 }
    }

    /// Appends the ASCII digits of `text`; false when they do not fit.
    pub(crate) fn push(&mut self, text: &[u8]) -> bool {
        for &b in text {
            if b.is_ascii_digit() {
                if self.len == self.buf.len() {
                    return false;
                }
                self.buf[self.len] = b - b'0';
                self.len += 1;
            }
        }
        true
    }

    pub(crate) fn of(text: &[u8]) -> Self {
        let mut d = Self::new();
        d.push(text);
        d
    }

    pub(crate) fn get(&self) -> &[u8] {
        &self.buf[..self.len]
    }
}

impl<'a> Doc<'a> {
    pub(crate) fn new(t: &'a str, cues: CueHits, code: bool) -> Self {
        let b = t.as_bytes();
        Self { t, b, toks: tokens(b), cues, code }
    }

    pub(crate) fn bytes(&self, tok: Tok) -> &'a [u8] {
        &self.b[tok.s..tok.e]
    }

    /// The byte before `at`, or a space.
    pub(crate) fn prev(&self, at: usize) -> u8 {
        if at == 0 { b' ' } else { self.b[at - 1] }
    }

    /// The byte at `at`, or a space.
    pub(crate) fn at(&self, at: usize) -> u8 {
        self.b.get(at).copied().unwrap_or(b' ')
    }

    /// What joins token `i` to token `i + 1`.
    pub(crate) fn gap(&self, i: usize) -> Gap {
        let Some(next) = self.toks.get(i + 1) else { return Gap::No };
        gap_of(&self.b[self.toks[i].e..next.s])
    }

    /// Digits of tokens `i..=j`.
    pub(crate) fn digits(&self, i: usize, j: usize) -> Digits {
        let mut d = Digits::new();
        for t in &self.toks[i..=j] {
            d.push(self.bytes(*t));
        }
        d
    }

    /// Whether a context word ends at most `n` bytes before `at`.
    pub(crate) fn before(&self, cue: Cue, at: usize, n: usize) -> bool {
        self.cues.before(cue, at).is_some_and(|end| at - end <= n)
    }

    /// Whether a context word is near, before or after.
    pub(crate) fn around(&self, cue: Cue, s: usize, e: usize, before: usize, after: usize) -> bool {
        self.before(cue, s, before) || self.cues.after(cue, e).is_some_and(|start| start - e <= after)
    }

    /// At most `n` bytes from `at` on, cut at a character boundary.
    pub(crate) fn window(&self, at: usize, n: usize) -> &'a str {
        let mut end = (at + n).min(self.t.len());
        while !self.t.is_char_boundary(end) {
            end -= 1;
        }
        self.t.get(at..end).unwrap_or("")
    }

    /// At most `n` bytes up to `at`, cut at a character boundary.
    pub(crate) fn lookback(&self, at: usize, n: usize) -> &'a str {
        let mut start = at.saturating_sub(n);
        while !self.t.is_char_boundary(start) {
            start += 1;
        }
        self.t.get(start..at).unwrap_or("")
    }

    /// Start of the line that `at` is on, or of its last 2,000 bytes.
    pub(crate) fn line_start(&self, at: usize) -> usize {
        let mut from = at.saturating_sub(2000);
        while !self.t.is_char_boundary(from) {
            from += 1;
        }
        memchr::memrchr(b'\n', &self.b[from..at]).map_or(from, |p| from + p + 1)
    }

    /// End of the line that `at` is on, at most 4,000 bytes on.
    pub(crate) fn line_end(&self, at: usize) -> usize {
        let mut cap = (at + 4000).min(self.b.len());
        while !self.t.is_char_boundary(cap) {
            cap -= 1;
        }
        memchr::memchr(b'\n', &self.b[at.min(cap)..cap]).map_or(cap, |p| at + p)
    }
}

/// Collects findings.
pub(crate) type Sink = Vec<Raw>;

fn tokens(b: &[u8]) -> Vec<Tok> {
    let mut out = Vec::new();
    let mut i = 0;
    while i < b.len() {
        if !b[i].is_ascii_alphanumeric() {
            i += 1;
            continue;
        }
        let s = i;
        let (mut digit, mut alpha) = (false, false);
        while i < b.len() && b[i].is_ascii_alphanumeric() {
            digit |= b[i].is_ascii_digit();
            alpha |= b[i].is_ascii_alphabetic();
            i += 1;
        }
        match extension(&b[s..i]) {
            Some(x) if alpha => {
                out.push(Tok { s, e: s + x, digits: true });
                out.push(Tok { s: s + x + 1, e: i, digits: true });
            }
            _ if digit => out.push(Tok { s, e: i, digits: !alpha }),
            _ => {}
        }
    }
    out
}

/// Where the `x` of "5552368x42" is: a telephone number and its extension are two numbers.
fn extension(tok: &[u8]) -> Option<usize> {
    let x = memchr::memchr(b'x', tok)?;
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    ((2..=12).contains(&x)
        && (1..=6).contains(&(tok.len() - x - 1))
        && digits(&tok[..x])
        && digits(&tok[x + 1..]))
    .then_some(x)
}

fn gap_of(g: &[u8]) -> Gap {
    match g {
        [b' ' | b'\t'] => Gap::Space,
        [b'-' | b'_'] => Gap::Dash,
        [b'.'] => Gap::Dot,
        [b'/'] => Gap::Slash,
        [b'\n'] | [b'\r', b'\n'] | [b'\\', b'\n'] => Gap::Line,
        _ if !g.is_empty() && g.len() <= 4 && g.iter().all(|b| b" -.()/".contains(b)) => Gap::Wide,
        _ => Gap::No,
    }
}
