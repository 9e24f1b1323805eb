//! Terms that the operator wants found: project names, customers, code words.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use policies::{EntityKind, FindingSource};

use super::doc::Sink;
use super::{DetectorError, Raw};

/// A literal that the operator considers sensitive. Matched without regard to ASCII case, as a whole word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserTerm {
    /// The literal text.
    pub pattern: String,
    /// What it is reported as.
    pub kind: EntityKind,
    /// A finer name that policies and people see, where wanted.
    pub hint: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Terms {
    automaton: AhoCorasick,
    terms: Vec<UserTerm>,
}

impl Terms {
    pub(crate) fn new(terms: &[UserTerm], max: usize) -> Result<Option<Self>, DetectorError> {
        if terms.len() > max {
            return Err(DetectorError::TooManyTerms { given: terms.len(), max });
        }
        if let Some(index) = terms.iter().position(|t| t.pattern.trim().is_empty()) {
            return Err(DetectorError::EmptyTerm { index });
        }
        if terms.is_empty() {
            return Ok(None);
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .build(terms.iter().map(|t| &t.pattern))?;
        Ok(Some(Self { automaton, terms: terms.to_vec() }))
    }

    pub(crate) fn find(&self, text: &str, out: &mut Sink) {
        for m in self.automaton.find_iter(text) {
            let before = text[..m.start()].chars().next_back().is_some_and(char::is_alphanumeric);
            let after = text[m.end()..].chars().next().is_some_and(char::is_alphanumeric);
            if !before && !after {
                let term = &self.terms[m.pattern().as_usize()];
                out.push(Raw {
                    s: m.start(),
                    e: m.end(),
                    kind: term.kind,
                    sub: term.hint.clone().map(Cow::Owned),
                    score: 1.0,
                    source: FindingSource::User,
                });
            }
        }
    }
}
