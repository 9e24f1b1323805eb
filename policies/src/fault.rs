//! Reading TOML so that every fault comes with file, line, key and the nearest valid key.
//!
//! A configuration is written by a person who wants to see all mistakes at once. [`read_all`] therefore goes on
//! after an unknown key or a value of the wrong type: it reports it, takes it out of the document and tries again. What a type cannot
//! express (a number out of range, a name that does not exist) is found by the section's own `validate`,
//! which reports paths; [`Document::fault`] turns a path back into a line.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

/// Unknown keys and wrong types reported in one run; a file with more is not the file that was meant.
const READ_FAULTS_MAX: usize = 32;

/// One fault in a file that a person wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// File name as it was given.
    pub file: String,
    /// Line, counted from 1; 0 when the fault is about the file as a whole.
    pub line: usize,
    /// Dotted path of the key, empty when the text is not TOML at all.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Faults(pub Vec<Fault>);

/// A TOML text with its name, for looking up where a key stands.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// File name, for messages.
    pub file: &'a str,
    /// The whole text.
    pub text: &'a str,
}

impl Document<'_> {
    /// A fault at the place of `key` (dotted; array elements by number), or of its nearest parent that exists.
    #[must_use]
    pub fn fault(&self, key: &str, message: impl Into<String>) -> Fault {
        let offset = DeTable::parse(self.text).ok().and_then(|root| offset_of(root.get_ref(), key));
        Fault {
            file: self.file.to_owned(),
            line: offset.map_or(0, |offset| self.line_at(offset)),
            key: key.to_owned(),
            message: message.into(),
        }
    }

    fn line_at(&self, offset: usize) -> usize {
        let end = offset.min(self.text.len());
        1 + self.text.as_bytes()[..end].iter().filter(|b| **b == b'\n').count()
    }
}

/// Reads a document into a raw section.
///
/// # Errors
/// Every fault of [`read_all`].
pub fn read<T: DeserializeOwned>(document: Document<'_>) -> Result<T, Faults> {
    match read_all(document) {
        (Some(value), faults) if faults.is_empty() => Ok(value),
        (_, faults) => Err(Faults(faults)),
    }
}

/// Reads what can be read of a document, with every fault that its types show. What has a fault is left out of the value, so
/// that the rest can be checked further; there is no value where the text is not TOML or a part that has
/// no default is missing.
#[must_use]
pub fn read_all<T: DeserializeOwned>(document: Document<'_>) -> (Option<T>, Vec<Fault>) {
    let syntax = |error: &toml::de::Error| Fault {
        file: document.file.to_owned(),
        line: error.span().map_or(0, |span| document.line_at(span.start)),
        key: String::new(),
        message: error.message().trim().to_owned(),
    };
    let root = match DeTable::parse(document.text) {
        Ok(root) => root,
        Err(error) => return (None, vec![syntax(&error)]),
    };
    let mut table = root.clone();
    let mut faults: Vec<Fault> = Vec::new();
    loop {
        match T::deserialize(toml::Deserializer::from(table.clone())) {
            Ok(value) => return (Some(value), faults),
            Err(error) => {
                let mut fault = syntax(&error);
                let span = error.span();
                fault.key = span.as_ref().and_then(|span| path_at(root.get_ref(), span)).unwrap_or_default();
                if error.message().starts_with("unknown field") {
                    fault.message = unknown_word_message("key", error.message());
                } else if error.message().starts_with("unknown variant") {
                    fault.message = unknown_word_message("word", error.message());
                }
                faults.push(fault);
                let removed = span.is_some_and(|span| remove_at(table.get_mut(), &span));
                if !removed || faults.len() >= READ_FAULTS_MAX {
                    return (None, faults);
                }
            }
        }
    }
}

/// The candidate nearest to a word, if one is near enough to be what was meant.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Rewrites serde's "unknown field `a`, expected one of `b`, `c`" with the nearest valid word in front.
fn unknown_word_message(what: &str, message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(word) = quoted.next() else { return message.to_owned() };
    let valid: Vec<&str> = quoted.collect();
    let hint = nearest(word, valid.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
    format!("unknown {what} `{word}`{} (valid: {})", hint.unwrap_or_default(), valid.join(", "))
}

fn offset_of(table: &DeTable<'_>, key: &str) -> Option<usize> {
    let (head, rest) = key.split_once('.').unwrap_or((key, ""));
    let (name, value) = table.iter().find(|(name, _)| name.get_ref().as_ref() == head)?;
    let here = name.span().start;
    if rest.is_empty() {
        return Some(here);
    }
    Some(offset_in(value.get_ref(), rest).unwrap_or(here))
}

fn offset_in(value: &DeValue<'_>, key: &str) -> Option<usize> {
    match value {
        DeValue::Table(table) => offset_of(table, key),
        DeValue::Array(items) => {
            let (head, rest) = key.split_once('.').unwrap_or((key, ""));
            let item = items.get(head.parse::<usize>().ok()?)?;
            let here = item.span().start;
            if rest.is_empty() { Some(here) } else { Some(offset_in(item.get_ref(), rest).unwrap_or(here)) }
        }
        _ => None,
    }
}

fn path_at(table: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    for (name, value) in table.iter() {
        if name.span() == *span || value.span() == *span {
            return Some(name.get_ref().to_string());
        }
        if let Some(rest) = path_in(value.get_ref(), span) {
            return Some(format!("{}.{rest}", name.get_ref()));
        }
    }
    None
}

fn path_in(value: &DeValue<'_>, span: &Range<usize>) -> Option<String> {
    match value {
        DeValue::Table(table) => path_at(table, span),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(i, item)| {
            if item.span() == *span {
                return Some(i.to_string());
            }
            path_in(item.get_ref(), span).map(|rest| format!("{i}.{rest}"))
        }),
        _ => None,
    }
}

fn remove_at(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let here = table.iter().find(|(name, value)| name.span() == *span || value.span() == *span);
    if let Some(name) = here.map(|(name, _)| name.get_ref().to_string()) {
        return table.remove(name.as_str()).is_some();
    }
    table.iter_mut().any(|(_, value)| remove_in(value.get_mut(), span))
}

fn remove_in(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    match value {
        DeValue::Table(table) => remove_at(table, span),
        DeValue::Array(items) => items.iter_mut().any(|item| remove_in(item.get_mut(), span)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only the shape matters here")]
        listen: Option<String>,
        #[expect(dead_code, reason = "only the shape matters here")]
        upstream: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only the shape matters here")]
        name: String,
    }

    #[test]
    fn every_unknown_key_is_reported_with_its_line_and_the_nearest_valid_one() {
        let text = "lissten = 'a'\n\n[[upstream]]\nname = 'x'\n[[upstream]]\nname = 'y'\nnme = 3\n";
        let document = Document { file: "c.toml", text };
        let Faults(faults) = read::<Outer>(document).unwrap_err();
        let shown: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(
            shown[0].starts_with("c.toml:1: lissten: unknown key `lissten`; did you mean `listen`?"),
            "{shown:?}"
        );
        assert!(
            shown[1].starts_with("c.toml:7: upstream.1.nme: unknown key `nme`; did you mean `name`?"),
            "{shown:?}"
        );
    }

    #[test]
    fn syntax_and_type_faults_have_a_line() {
        let Faults(faults) = read::<Outer>(Document { file: "c", text: "a = 1\nb = = 2\n" }).unwrap_err();
        assert_eq!(faults[0].line, 2);
        let Faults(faults) =
            read::<Outer>(Document { file: "c", text: "\nlisten = 5\nupstream = []\n" }).unwrap_err();
        assert_eq!((faults[0].line, faults[0].key.as_str()), (2, "listen"));
    }

    #[test]
    fn paths_lead_back_to_lines() {
        let text = "[a]\nb = 1\n[[c]]\nd = 1\n[[c]]\nd = 2\n";
        let document = Document { file: "c", text };
        assert_eq!(document.fault("a.b", "x").line, 2);
        assert_eq!(document.fault("c.1.d", "x").line, 6);
        assert_eq!(document.fault("c.1.zzz", "x").line, 5);
    }
}
