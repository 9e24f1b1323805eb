//! Finding sensitive data in text: identifiers, credentials and topics, without a model.
//!
//! This is the first rung of classification and runs on every new message, so it is linear in the text, works
//! without back-tracking, and never truncates. A text is first brought into a canonical view (`view`), cut once
//! into tokens and context words (`doc`, `cues`), read by small recognisers that check what they find (check
//! digits, ranges, structure), decoded where it hides something (`decode`), and merged (`merge`).
//!
//! Invariants: findings are sorted, in range, and two findings of one kind never overlap, except that each of the
//! policy's own terms stands beside whatever it overlaps; offsets are Unicode code points of the *original* text. Precision of names is the business of the token-classification model that runs
//! later: here a person is reported only where the structure of the text says so.

mod address;
mod bank;
mod cards;
mod contact;
mod cues;
mod dates;
mod decode;
mod doc;
mod geo;
mod iban;
mod medical;
mod merge;
mod national;
mod net;
mod person;
mod phone;
mod secrets;
mod spelled;
mod table;
mod terms;
mod topics;
mod us;
mod vehicle;
mod view;
mod wallet;

use std::borrow::Cow;
use std::panic::{self, AssertUnwindSafe};

use policies::{Doubt, EntityKind, FindingSource, Term, Topic};

use cues::{CueHits, Cues};
use doc::{Doc, Sink};
use view::View;

/// How far encoded layers are unwrapped.
const DEPTH_MAX: u8 = 2;

/// What the detector looks for beyond its built-in recognisers, and its bounds.
#[derive(Debug, Clone)]
pub struct DetectorConfig {
    /// Terms that the policy wants found (project names, customers). Default: none.
    pub terms: Vec<Term>,
    /// Most literals in all terms that are accepted. Default 10,000.
    pub terms_max: usize,
    /// Most bytes that encoded layers of one text may unfold to. Default 4 MiB; more is a doubt.
    pub decoded_bytes_max: usize,
    /// Findings below this score are dropped, in `[0, 1]`. Default 0.3.
    pub score_min: f32,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self {
            terms: Vec::new(),
            terms_max: policies::term::LITERALS_MAX,
            decoded_bytes_max: 4 << 20,
            score_min: 0.3,
        }
    }
}

/// Why a detector could not be built.
#[derive(Debug, thiserror::Error)]
pub enum DetectorError {
    /// More literals than allowed.
    #[error("terms of {given} literals were given, at most {max} are allowed")]
    TooManyTerms {
        /// How many were given.
        given: usize,
        /// How many are allowed.
        max: usize,
    },
    /// A term that would match everywhere.
    #[error("term {index} is empty")]
    EmptyTerm {
        /// Its place in the list.
        index: usize,
    },
    /// The keyword automaton could not be built.
    #[error("keyword automaton")]
    Automaton(#[from] aho_corasick::BuildError),
    /// A built-in pattern could not be compiled.
    #[error("pattern")]
    Pattern(#[from] regex::Error),
}

impl From<DetectorError> for crate::Error {
    fn from(error: DetectorError) -> Self {
        match error {
            DetectorError::TooManyTerms { .. } => {
                Self::Setting { field: "detector.terms", requirement: "at most `terms_max` terms" }
            }
            DetectorError::EmptyTerm { .. } => {
                Self::Setting { field: "detector.terms", requirement: "no empty term" }
            }
            DetectorError::Automaton(e) => Self::WordList(e),
            DetectorError::Pattern(e) => Self::Pattern(e),
        }
    }
}

/// One sensitive thing in a text.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalFinding {
    /// Start in Unicode code points of the original text.
    pub start: usize,
    /// End (exclusive) in Unicode code points of the original text.
    pub end: usize,
    /// What it is.
    pub kind: EntityKind,
    /// A finer name, where one is known.
    pub subtype: Option<Cow<'static, str>>,
    /// Confidence in `[0, 1]`.
    pub score: f32,
    /// Which kind of recogniser found it.
    pub source: FindingSource,
}

/// What one text holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scan {
    /// Entities, sorted by start.
    pub findings: Vec<LocalFinding>,
    /// Topics with a score in `[0, 1]`, best first; a topic that is absent scored below its threshold.
    pub topics: Vec<(Topic, f32)>,
    /// Why something may have been missed.
    pub doubt: Vec<Doubt>,
}

/// A finding in bytes of some view.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Raw {
    pub(crate) s: usize,
    pub(crate) e: usize,
    pub(crate) kind: EntityKind,
    pub(crate) sub: Option<Cow<'static, str>>,
    pub(crate) score: f32,
    pub(crate) source: FindingSource,
}

impl Raw {
    pub(crate) fn new(s: usize, e: usize, kind: EntityKind, score: f32) -> Self {
        Self { s, e, kind, sub: None, score, source: FindingSource::Pattern }
    }

    pub(crate) fn sub(mut self, sub: &'static str) -> Self {
        self.sub = Some(Cow::Borrowed(sub));
        self
    }

    pub(crate) fn secret(s: usize, e: usize, sub: &'static str, score: f32) -> Self {
        Self {
            s,
            e,
            kind: EntityKind::Secret,
            sub: Some(Cow::Borrowed(sub)),
            score,
            source: FindingSource::Secret,
        }
    }
}

/// Finds sensitive data. Built once, shared by reference between threads.
#[derive(Debug)]
pub struct Detector {
    cues: Cues,
    secrets: secrets::Secrets,
    address: address::Addresses,
    person: person::Persons,
    dates: dates::Dates,
    topics: topics::Topics,
    terms: Option<terms::Terms>,
    decoded_bytes_max: usize,
    score_min: f32,
}

impl Detector {
    /// Builds the automata and patterns.
    ///
    /// # Errors
    /// Too many or empty operator terms; a built-in pattern that does not compile (a bug).
    pub fn new(config: DetectorConfig) -> Result<Self, DetectorError> {
        Ok(Self {
            cues: Cues::new()?,
            secrets: secrets::Secrets::new()?,
            address: address::Addresses::new()?,
            person: person::Persons::new()?,
            dates: dates::Dates::new()?,
            topics: topics::Topics::new()?,
            terms: terms::Terms::new(&config.terms, config.terms_max)?,
            decoded_bytes_max: config.decoded_bytes_max,
            score_min: config.score_min,
        })
    }

    /// Scans the whole of `text`. Linear in its length; never panics: a fault of a recogniser is a doubt.
    #[must_use]
    pub fn scan(&self, text: &str) -> Scan {
        // Everything behind `self` is immutable, so a panic leaves nothing half-changed.
        panic::catch_unwind(AssertUnwindSafe(|| self.read(text)))
            .unwrap_or_else(|_| Scan { doubt: vec![Doubt::DetectorError], ..Scan::default() })
    }

    fn read(&self, text: &str) -> Scan {
        let view = View::canonical(text);
        let mut doubt = Vec::new();
        let mut budget = self.decoded_bytes_max;
        let mut raws = self.layer(&view.text, 0, &mut budget, &mut doubt);
        for raw in &mut raws {
            (raw.s, raw.e) = view.original(raw.s, raw.e);
        }
        let raws = merge::merge(raws, self.score_min);
        let topics = self.topics.score(&view.text, text, &raws);
        Scan { findings: locate(text, raws), topics, doubt }
    }

    /// Findings of one decoding layer, in bytes of that layer.
    fn layer(&self, text: &str, depth: u8, budget: &mut usize, doubt: &mut Vec<Doubt>) -> Sink {
        let mut out = Sink::new();
        let cues = self.cues.find(text);
        let together = spelled::view(text, &cues);
        self.recognise(text, cues, &mut out);
        for inline in [decode::inline(text), together].into_iter().flatten() {
            if depth < DEPTH_MAX && inline.text.len() <= *budget {
                *budget -= inline.text.len();
                let inner = self.layer(&inline.text, depth + 1, budget, doubt);
                for mut raw in inner {
                    if inline.rewrites(raw.s, raw.e) {
                        (raw.s, raw.e) = inline.original(raw.s, raw.e);
                        out.push(raw);
                    }
                }
            } else {
                note(doubt, Doubt::EncodedTooDeep);
            }
        }
        decode::blobs(text, |s, e, plain| {
            if depth >= DEPTH_MAX || plain.len() > *budget {
                note(doubt, Doubt::EncodedTooDeep);
                return;
            }
            *budget -= plain.len();
            let inner = merge::merge(self.layer(plain, depth + 1, budget, doubt), 0.5);
            out.extend(decode::cover(s, e, &inner));
        });
        out
    }

    fn recognise(&self, text: &str, cues: CueHits, out: &mut Sink) {
        let doc = Doc::new(text, cues, looks_like_code(text));
        cards::find(&doc, out);
        iban::find(&doc, out);
        us::find(&doc, out);
        national::find(&doc, out);
        medical::find(&doc, out);
        bank::find(&doc, out);
        vehicle::find(&doc, out);
        wallet::find(&doc, out);
        contact::find(&doc, out);
        phone::find(&doc, out);
        net::find(&doc, out);
        geo::find(&doc, out);
        self.dates.find(&doc, out);
        self.address.find(&doc, out);
        self.person.find(&doc, out);
        table::find(&doc, out);
        self.secrets.find(&doc, out);
        if let Some(terms) = &self.terms {
            terms.find(text, out);
        }
    }
}

/// The view that recognisers read, owned only where it differs from the text.
pub(crate) fn canonical(text: &str) -> Cow<'_, str> {
    View::canonical(text).text
}

/// Findings in the canonical view as findings in the text itself.
pub(crate) fn original(text: &str, mut findings: Vec<LocalFinding>) -> Vec<LocalFinding> {
    let view = View::canonical(text);
    if matches!(view.text, Cow::Borrowed(_)) {
        return findings;
    }
    let bytes: Vec<usize> = view.text.char_indices().map(|(at, _)| at).chain([view.text.len()]).collect();
    let ends: Vec<(usize, usize)> =
        findings.iter().map(|found| view.original(bytes[found.start], bytes[found.end])).collect();
    let mut at: Vec<usize> = ends.iter().flat_map(|&(s, e)| [s, e]).collect();
    at.sort_unstable();
    at.dedup();
    let points = view::code_points(text, &at);
    let point = |byte: usize| at.binary_search(&byte).map_or(byte, |index| points[index]);
    for (found, (s, e)) in findings.iter_mut().zip(ends) {
        (found.start, found.end) = (point(s), point(e));
    }
    findings
}

/// One answer from patterns and names, both sorted and in code points of one text.
pub(crate) fn united(patterns: Vec<LocalFinding>, names: &[LocalFinding]) -> Vec<LocalFinding> {
    let raw = |found: LocalFinding| Raw {
        s: found.start,
        e: found.end,
        kind: found.kind,
        sub: found.subtype,
        score: found.score,
        source: found.source,
    };
    let patterns = patterns.into_iter().map(raw).collect();
    let names = names.iter().cloned().map(raw).collect();
    let local = |raw: Raw| LocalFinding {
        start: raw.s,
        end: raw.e,
        kind: raw.kind,
        subtype: raw.sub,
        score: raw.score,
        source: raw.source,
    };
    merge::beside(patterns, names).into_iter().map(local).collect()
}

fn note(doubt: &mut Vec<Doubt>, d: Doubt) {
    if !doubt.contains(&d) {
        doubt.push(d);
    }
}

/// Whether a text reads as program source or configuration rather than prose.
fn looks_like_code(text: &str) -> bool {
    let head = &text.as_bytes()[..text.len().min(8192)];
    let marks = head.iter().filter(|b| b"{};=()<>[]".contains(b)).count();
    head.len() >= 40 && marks * 100 >= head.len() * 4
}

/// Bytes to code points.
fn locate(text: &str, raws: Vec<Raw>) -> Vec<LocalFinding> {
    let mut at: Vec<usize> = raws.iter().flat_map(|r| [r.s, r.e]).collect();
    if !text.is_ascii() {
        at.sort_unstable();
        at.dedup();
    }
    let points = if text.is_ascii() { Vec::new() } else { view::code_points(text, &at) };
    let point = |byte: usize| {
        if points.is_empty() { byte } else { at.binary_search(&byte).map_or(byte, |i| points[i]) }
    };
    raws.into_iter()
        .map(|r| LocalFinding {
            start: point(r.s),
            end: point(r.e),
            kind: r.kind,
            subtype: r.sub,
            score: r.score,
            source: r.source,
        })
        .collect()
}
