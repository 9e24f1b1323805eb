//! Terms that an operator wants found: project names, customers, code words, numbers of the house.
//!
//! A term belongs to the policy, because the policy says what it means; the detector finds it. Everything that can
//! be wrong with one is found when the policy is read, so that the detector never meets a pattern that does not
//! compile or matches everywhere. Terms are looked up again by name when a stored profile is replayed, so another
//! policy may give the same term another label. Left out: look-around and back-references, which no linear-time
//! engine has.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::label::Label;
use crate::profile::EntityKind;

/// Most literals in all terms of a policy.
pub const LITERALS_MAX: usize = 10_000;
/// Longest literal, in bytes.
pub const LITERAL_BYTES_MAX: usize = 256;
/// Most terms of a policy that are patterns: each of them reads every text once.
pub const PATTERNS_MAX: usize = 64;
/// Most memory that one compiled pattern may take, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1 << 20;

/// What a term matches.
#[derive(Debug, Clone)]
pub enum Matches {
    /// Any of these literals.
    Any(Vec<Arc<str>>),
    /// A regular expression, with its case sensitivity compiled in.
    Pattern(Regex),
}

/// A term that the operator wants found.
#[derive(Debug, Clone)]
pub struct Term {
    /// Its name: the subtype of its findings.
    pub name: Arc<str>,
    /// What its findings are reported as.
    pub kind: EntityKind,
    /// A finding means at least this label, besides what its kind means.
    pub label: Option<Label>,
    /// Whether upper and lower case are the same.
    pub ignore_case: bool,
    /// Whether letters or digits may stand beside a match.
    pub whole_word: bool,
    /// What it matches.
    pub matches: Matches,
}

/// Why a term cannot be used. The message never holds the term.
#[derive(Debug, thiserror::Error)]
pub enum TermError {
    /// It would match everywhere.
    #[error("an empty literal matches everywhere")]
    Empty,
    /// A literal is too long.
    #[error("a literal has at most {LITERAL_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// It would match everywhere.
    #[error("the pattern matches the empty text, so it would match everywhere")]
    MatchesEmpty,
    /// It is no regular expression, or compiles to too much.
    #[error("not a pattern that can be used: {0}")]
    Pattern(#[source] Box<regex::Error>),
}

impl Term {
    /// A term of literals, whatever their case, as whole words.
    ///
    /// # Errors
    /// [`TermError::Empty`], [`TermError::TooLong`].
    pub fn any<'a>(
        name: &str,
        kind: EntityKind,
        literals: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, TermError> {
        let literals = literals.into_iter().map(literal).collect::<Result<Vec<_>, _>>()?;
        if literals.is_empty() {
            return Err(TermError::Empty);
        }
        Ok(Self::new(name, kind, Matches::Any(literals)))
    }

    /// A term that is a regular expression, as whole words.
    ///
    /// # Errors
    /// [`TermError::Pattern`], [`TermError::MatchesEmpty`].
    pub fn pattern(name: &str, kind: EntityKind, source: &str, ignore_case: bool) -> Result<Self, TermError> {
        let regex = RegexBuilder::new(source)
            .case_insensitive(ignore_case)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX)
            .build()
            .map_err(|error| TermError::Pattern(Box::new(error)))?;
        if regex.is_match("") {
            return Err(TermError::MatchesEmpty);
        }
        Ok(Self { ignore_case, ..Self::new(name, kind, Matches::Pattern(regex)) })
    }

    fn new(name: &str, kind: EntityKind, matches: Matches) -> Self {
        Self { name: Arc::from(name), kind, label: None, ignore_case: true, whole_word: true, matches }
    }

    /// How many literals it has.
    #[must_use]
    pub fn literals(&self) -> usize {
        match &self.matches {
            Matches::Any(literals) => literals.len(),
            Matches::Pattern(_) => 0,
        }
    }
}

/// A checked literal.
pub(crate) fn literal(text: &str) -> Result<Arc<str>, TermError> {
    let text = text.trim();
    match text.len() {
        0 => Err(TermError::Empty),
        1..=LITERAL_BYTES_MAX => Ok(Arc::from(text)),
        bytes => Err(TermError::TooLong(bytes)),
    }
}
