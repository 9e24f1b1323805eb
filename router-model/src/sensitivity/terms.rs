//! Terms that the policy wants found: project names, customers, code words.
//!
//! Terms are matched on the canonical view like everything else, so that an invisible character does not hide one,
//! and the literals are brought into the same view. Literals stand in one automaton over a folded text (lower
//! case, one space for any white space); each pattern reads the text in windows, which bounds what a
//! pattern can cost whatever it is. Every term that matches is reported, also where terms overlap: each may
//! mean another label.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use policies::FindingSource;
use policies::term::{Matches, Term};
use regex::Regex;

use super::doc::Sink;
use super::view::{Builder, View};
use super::{DetectorError, Raw};

/// How much of a text a pattern reads at once, in bytes.
const WINDOW: usize = 8 * 1024;
/// Longest match of a pattern that is found wherever it stands, in bytes.
const OVERLAP: usize = 1024;

#[derive(Debug)]
pub(crate) struct Terms {
    literals: Option<Literals>,
    patterns: Vec<(usize, Regex)>,
    terms: Vec<Term>,
}

#[derive(Debug)]
struct Literals {
    automaton: AhoCorasick,
    /// Term and canonical literal by pattern of the automaton.
    of: Vec<(usize, String)>,
    /// Whether any literal holds a space.
    spaced: bool,
}

impl Terms {
    pub(crate) fn new(terms: &[Term], max: usize) -> Result<Option<Self>, DetectorError> {
        let given = terms.iter().map(Term::literals).sum();
        if given > max {
            return Err(DetectorError::TooManyTerms { given, max });
        }
        if terms.is_empty() {
            return Ok(None);
        }
        let mut of = Vec::new();
        let mut patterns = Vec::new();
        for (index, term) in terms.iter().enumerate() {
            match &term.matches {
                Matches::Pattern(regex) => patterns.push((index, regex.clone())),
                Matches::Any(literals) => {
                    for literal in literals {
                        let canonical = View::canonical(literal);
                        let text = canonical.text.split_whitespace().collect::<Vec<_>>().join(" ");
                        if text.is_empty() {
                            return Err(DetectorError::EmptyTerm { index });
                        }
                        of.push((index, text));
                    }
                }
            }
        }
        let literals = if of.is_empty() { None } else { Some(Literals::new(of)?) };
        Ok(Some(Self { literals, patterns, terms: terms.to_vec() }))
    }

    pub(crate) fn find(&self, text: &str, out: &mut Sink) {
        if let Some(literals) = &self.literals {
            literals.find(text, &self.terms, out);
        }
        for (index, regex) in &self.patterns {
            windows(text, regex, |s, e| {
                let term = &self.terms[*index];
                if !term.whole_word || alone(text, s, e) {
                    out.push(found(term, s, e));
                }
            });
        }
    }
}

impl Literals {
    fn new(of: Vec<(usize, String)>) -> Result<Self, DetectorError> {
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(of.iter().map(|(_, literal)| literal.to_lowercase()))?;
        let spaced = of.iter().any(|(_, literal)| literal.contains(' '));
        Ok(Self { automaton, of, spaced })
    }

    fn find(&self, text: &str, terms: &[Term], out: &mut Sink) {
        let folded = fold(text, self.spaced);
        let read = folded.as_ref().map_or(text, |view| &*view.text);
        for m in self.automaton.find_overlapping_iter(read) {
            let (index, literal) = &self.of[m.pattern().as_usize()];
            let term = &terms[*index];
            if term.whole_word && !alone(read, m.start(), m.end()) {
                continue;
            }
            let (s, e) =
                folded.as_ref().map_or((m.start(), m.end()), |view| view.original(m.start(), m.end()));
            let exact = || text[s..e].split_whitespace().eq(literal.split(' '));
            if term.ignore_case || exact() {
                out.push(found(term, s, e));
            }
        }
    }
}

fn found(term: &Term, s: usize, e: usize) -> Raw {
    Raw {
        s,
        e,
        kind: term.kind,
        sub: Some(Cow::Owned(term.name.to_string())),
        score: 1.0,
        source: FindingSource::User,
    }
}

/// Lower case, and white space as single spaces where a literal holds any; `None` where the automaton reads the
/// text as it is.
fn fold(text: &str, spaced: bool) -> Option<View<'static>> {
    let b = text.as_bytes();
    let wide = |i: usize| {
        b[i].is_ascii_whitespace() && (b[i] != b' ' || b.get(i + 1).is_some_and(u8::is_ascii_whitespace))
    };
    let plain = text.is_ascii() && !(spaced && (0..b.len()).any(wide));
    if plain {
        return None;
    }
    let mut out = Builder::with_capacity(text.len());
    let (mut copied, mut at) = (0, 0);
    while let Some(c) = text[at..].chars().next() {
        let mut end = at + c.len_utf8();
        if spaced && c.is_whitespace() {
            end = at + text[at..].find(|c: char| !c.is_whitespace()).unwrap_or(text.len() - at);
            if &text[at..end] != " " {
                out.copy(&text[copied..at], copied);
                out.replace(" ", at, end);
                copied = end;
            }
        } else if !c.is_ascii() && c.is_uppercase() {
            out.copy(&text[copied..at], copied);
            out.replace(&c.to_lowercase().collect::<String>(), at, end);
            copied = end;
        }
        at = end;
    }
    out.copy(&text[copied..], copied);
    Some(out.finish())
}

/// Whether no letter or digit of a script that separates words stands beside a match that ends in one.
fn alone(text: &str, s: usize, e: usize) -> bool {
    let word = |c: char| c.is_alphanumeric() && !unspaced(c);
    let inner = &text[s..e];
    let left = inner.chars().next().is_some_and(word) && text[..s].chars().next_back().is_some_and(word);
    let right = inner.chars().next_back().is_some_and(word) && text[e..].chars().next().is_some_and(word);
    !left && !right
}

/// Scripts that write words without spaces, or put endings right behind them: Thai to Khmer, Kana, Han, Hangul.
fn unspaced(c: char) -> bool {
    matches!(c as u32, 0xE00..=0xEFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x3040..=0x30FF | 0x3400..=0x9FFF
        | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0x20000..=0x3FFFF)
}

/// Calls `each` with every match, reading the text in overlapping windows: an iteration over all matches of one
/// text may take quadratic time even in a linear-time engine.
fn windows(text: &str, regex: &Regex, mut each: impl FnMut(usize, usize)) {
    let boundary = |mut at: usize| {
        while !text.is_char_boundary(at) {
            at += 1;
        }
        at
    };
    let mut from = 0;
    loop {
        let to = boundary((from + WINDOW).min(text.len()));
        let last = to == text.len();
        // A match that begins in the overlap is left to the next window, which sees all of it.
        let limit = if last { to } else { boundary(to - OVERLAP) };
        while let Some(m) = regex.find_at(&text[..to], from).filter(|m| m.start() < limit) {
            each(m.start(), m.end());
            from = if m.end() > m.start() { m.end() } else { boundary(m.end() + 1) };
            if from >= limit {
                break;
            }
        }
        if last {
            return;
        }
        from = from.max(limit);
    }
}
