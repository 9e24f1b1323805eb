//! `[[term]]` sections, and the files of literals that they name.

use std::sync::Arc;

use serde::Deserialize;

use super::Check;
use crate::fault::{self, Fault};
use crate::label::Label;
use crate::profile::EntityKind;
use crate::term::{self, Matches, Term, TermError};

/// Reads the text of a file that a policy names, relative to the policy; the error is a sentence.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Result<String, String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTerm {
    /// Name, which findings carry.
    name: String,
    /// Literals.
    any: Option<Vec<String>>,
    /// A regular expression.
    pattern: Option<String>,
    /// A file with one literal a line.
    file: Option<String>,
    /// Entity kind that findings are reported as.
    kind: Option<String>,
    /// Label that a finding means at least.
    label: Option<Label>,
    /// Whether upper and lower case are the same.
    #[serde(default = "super::yes")]
    ignore_case: bool,
    /// Whether a letter or digit beside a match makes it none.
    #[serde(default = "super::yes")]
    whole_word: bool,
}

impl Check<'_> {
    /// Checks the terms; the text of each file that was read goes into `hasher`, since it is part of the policy.
    pub(super) fn terms(
        &mut self,
        raw: Vec<RawTerm>,
        read: ReadFile<'_>,
        hasher: &mut blake3::Hasher,
    ) -> Vec<Term> {
        let mut checked: Vec<Term> = Vec::with_capacity(raw.len());
        for (index, raw) in raw.into_iter().enumerate() {
            if checked.iter().any(|other| *other.name == *raw.name) {
                self.fault(
                    &format!("term.{index}.name"),
                    format!("a term before this one is called `{}` too", raw.name),
                );
            }
            if raw.name.trim().is_empty() {
                self.fault(&format!("term.{index}.name"), "a term needs a name");
            }
            if let Some(term) = self.term(index, raw, read, hasher) {
                checked.push(term);
            }
        }
        let literals: usize = checked.iter().map(Term::literals).sum();
        if literals > term::LITERALS_MAX {
            self.fault(
                "term",
                format!("{literals} literals in all terms; at most {} are allowed", term::LITERALS_MAX),
            );
        }
        let patterns = checked.iter().filter(|term| matches!(term.matches, Matches::Pattern(_))).count();
        if patterns > term::PATTERNS_MAX {
            self.fault("term", format!("{patterns} patterns; at most {} are allowed", term::PATTERNS_MAX));
        }
        checked
    }

    fn term(
        &mut self,
        index: usize,
        raw: RawTerm,
        read: ReadFile<'_>,
        hasher: &mut blake3::Hasher,
    ) -> Option<Term> {
        let key = |field: &str| format!("term.{index}.{field}");
        let kind = match raw.kind.as_deref().map(str::parse::<EntityKind>) {
            None => EntityKind::OtherId,
            Some(Ok(kind)) => kind,
            Some(Err(unknown)) => {
                let near = fault::nearest(&unknown.word, EntityKind::ALL.iter().map(|k| k.as_str()))
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                self.fault(&key("kind"), format!("unknown name `{}`{near}", unknown.word));
                EntityKind::OtherId
            }
        };
        let term = match (&raw.any, &raw.pattern, &raw.file) {
            (Some(any), None, None) => {
                let literals = self.literals(index, any);
                literals.first()?;
                Term::any(&raw.name, kind, literals.iter().map(|l| &**l))
            }
            (None, Some(pattern), None) => Term::pattern(&raw.name, kind, pattern, raw.ignore_case),
            (None, None, Some(file)) => {
                let literals = self.listed(index, file, read, hasher);
                literals.first()?;
                Term::any(&raw.name, kind, literals.iter().map(|l| &**l))
            }
            _ => {
                self.fault(
                    &format!("term.{index}"),
                    "give exactly one of `any`, `pattern` and `file`: what the term matches",
                );
                return None;
            }
        };
        let (label, ignore_case, whole_word) = (raw.label, raw.ignore_case, raw.whole_word);
        match term {
            Ok(term) => Some(Term { label, ignore_case, whole_word, ..term }),
            Err(error) => {
                self.fault(&key("pattern"), error.to_string());
                None
            }
        }
    }

    fn literals(&mut self, index: usize, any: &[String]) -> Vec<Arc<str>> {
        if any.is_empty() {
            self.fault(&format!("term.{index}.any"), "an empty list matches nothing");
        }
        let mut literals = Vec::with_capacity(any.len());
        for (place, text) in any.iter().enumerate() {
            match term::literal(text) {
                Ok(literal) => literals.push(literal),
                Err(error) => self.fault(&format!("term.{index}.any.{place}"), error.to_string()),
            }
        }
        literals
    }

    /// The literals of a file: one a line, `#` begins a comment, empty lines are skipped.
    fn listed(
        &mut self,
        index: usize,
        file: &str,
        read: ReadFile<'_>,
        hasher: &mut blake3::Hasher,
    ) -> Vec<Arc<str>> {
        let key = format!("term.{index}.file");
        let text = match read(file) {
            Ok(text) => text,
            Err(reason) => {
                self.fault(&key, format!("{file} could not be read: {reason}"));
                return Vec::new();
            }
        };
        hasher.update(text.as_bytes());
        let mut literals = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match term::literal(line) {
                Ok(literal) => literals.push(literal),
                Err(error @ (TermError::TooLong(_) | TermError::Empty)) => self.faults.push(Fault {
                    file: file.to_owned(),
                    line: number + 1,
                    key: key.clone(),
                    message: error.to_string(),
                }),
                Err(error) => self.fault(&key, error.to_string()),
            }
        }
        if literals.is_empty() {
            self.fault(&key, format!("{file} holds no term"));
        }
        literals
    }
}
