//! What a text is about, from weighted words, and confidentiality markings.
//!
//! A topic is not a level: an encyclopaedia article about diabetes and a patient's note share their words. Health
//! therefore scores high only where a person is being treated (a patient's age and complaint, a record number, a
//! dialogue about symptoms) and stays low for literature and general questions. Each score is
//! `1 - exp(-weight / length factor)`: it grows with distinct evidence and saturates.

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};
use policies::{EntityKind, Topic};

mod code;
mod personal;
mod words;

use super::Raw;
use personal::Personal;
use words::WORDS;

/// Topics below this score are not reported.
const REPORTED_MIN: f32 = 0.2;

/// Signals: the topics, and the two sides of "is a person being treated".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sig {
    T(Topic),
    /// Words of care for one person.
    Clinical,
    /// Words of studies and articles.
    Study,
    /// Words of a special category of data, of any person or of none.
    Category,
    /// Phrases that can only be said of one person: a field name, "was convicted of".
    Said,
    /// Someone the writer knows: "my colleague", "the applicant".
    Known,
    /// Somebody: "she is", "his".
    Somebody,
    /// Words of encyclopaedias and histories.
    Article,
}

use Sig::{Clinical, Study, T};

/// The automaton over every word of every topic.
#[derive(Debug)]
pub(crate) struct Topics {
    automaton: AhoCorasick,
    of: Vec<Vec<(Sig, f32)>>,
}

impl Topics {
    pub(crate) fn new() -> Result<Self, BuildError> {
        let mut words: Vec<(&str, Vec<(Sig, f32)>)> = Vec::new();
        for &(sig, weight, list) in WORDS.iter().chain(personal::WORDS) {
            for word in list.split('|') {
                match words.iter_mut().find(|(w, _)| *w == word) {
                    Some((_, of)) => of.push((sig, weight)),
                    None => words.push((word, vec![(sig, weight)])),
                }
            }
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::DFA))
            .build(words.iter().map(|(w, _)| *w))?;
        Ok(Self { automaton, of: words.into_iter().map(|(_, of)| of).collect() })
    }

    /// Topics of a text with its findings, best first.
    ///
    /// `text` is the canonical view; `original` is what the offsets of `found` point into.
    pub(crate) fn score(&self, text: &str, original: &str, found: &[Raw]) -> Vec<(Topic, f32)> {
        let b = text.as_bytes();
        let mut hits = vec![0_u32; self.of.len()];
        let mut personal = Personal::default();
        for m in self.automaton.find_iter(b) {
            let left = m.start() == 0 || !b[m.start() - 1].is_ascii_alphanumeric();
            let right = !b.get(m.end()).is_some_and(u8::is_ascii_alphanumeric);
            if left && (right || b[m.end() - 1] == b'-') {
                hits[m.pattern().as_usize()] += 1;
                for &(sig, _) in &self.of[m.pattern().as_usize()] {
                    personal.see(sig, m.start(), m.end());
                }
            }
        }
        let mut sums: Vec<(Sig, f32)> = Vec::new();
        for (n, of) in hits.iter().zip(&self.of).filter(|(n, _)| **n > 0) {
            // Distinct words count; repetition adds a little.
            let factor = 1.0 + (*n as f32).ln() * 0.4;
            for &(sig, weight) in of {
                match sums.iter_mut().find(|(s, _)| *s == sig) {
                    Some((_, sum)) => *sum += weight * factor,
                    None => sums.push((sig, weight * factor)),
                }
            }
        }
        let sum = |sig: Sig| sums.iter().find(|(s, _)| *s == sig).map_or(0.0, |s| s.1);
        let length = (text.len() as f32 / 400.0).max(1.0).sqrt();
        let has = |kinds: &[EntityKind]| found.iter().any(|r| kinds.contains(&r.kind));
        let mut out: Vec<(Topic, f32)> = Vec::new();
        for &topic in Topic::ALL {
            let weight = match topic {
                Topic::Health => health(sum(T(Topic::Health)), sum(Clinical), sum(Study), found, length),
                Topic::Confidential => sum(T(topic)) * 0.8,
                Topic::SourceCode => code::weight(text),
                Topic::Security => {
                    (sum(T(topic)) / length + if has(&[EntityKind::Secret]) { 1.0 } else { 0.0 }) * 0.6
                }
                Topic::Financial => {
                    let ids = has(&[
                        EntityKind::CreditCard,
                        EntityKind::Iban,
                        EntityKind::BankAccount,
                        EntityKind::RoutingNumber,
                        EntityKind::SwiftBic,
                    ]);
                    (sum(T(topic)) / length + if ids { 1.5 } else { 0.0 }) * 0.65
                }
                Topic::SpecialCategories => {
                    personal.special(sum(Sig::Category), sum(Sig::Said), sum(Sig::Article), found, length)
                }
                Topic::Minors => personal::minors(sum(T(topic)), original, found, length),
                Topic::Legal | Topic::Hr => sum(T(topic)) / length * 0.5,
            };
            let score = 1.0 - (-weight).exp();
            if score >= REPORTED_MIN {
                out.push((topic, score.min(1.0)));
            }
        }
        out.sort_by(|a, b| b.1.total_cmp(&a.1));
        out
    }
}

/// Health words alone reach the middle of the scale; care for a person lifts them, a study's language lowers them.
fn health(words: f32, clinical: f32, study: f32, found: &[Raw], length: f32) -> f32 {
    let medical_id = found.iter().any(|r| r.kind == EntityKind::MedicalId);
    let identified = found.iter().any(|r| {
        matches!(
            r.kind,
            EntityKind::Person
                | EntityKind::DateOfBirth
                | EntityKind::UsSsn
                | EntityKind::NationalId
                | EntityKind::Phone
        )
    });
    let aged = found.iter().any(|r| r.kind == EntityKind::Age);
    let words = words / length;
    if words + clinical < 0.5 && !medical_id {
        return 0.0;
    }
    let person = clinical / length.sqrt()
        + if medical_id { 1.5 } else { 0.0 }
        + if identified { 0.8 } else { 0.0 }
        + if aged { 0.6 } else { 0.0 };
    let base = (words * 0.4).min(0.6);
    let personal = (person - study * 0.8).max(0.0);
    if words > 0.0 || medical_id { base + personal * 0.7 } else { personal * 0.35 }
}
