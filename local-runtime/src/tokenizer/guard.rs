//! How outside text stays plain.
//!
//! A *mark* is a Unicode noncharacter that no outside text of the conversation contains. It is put after every character
//! with which a control token could begin, and at the start of a text that could end a token of which the template writes
//! the beginning (`'<|' + name`). So no control token can be spelled by outside text, nor by outside text and
//! template together, however the template trims, splits, joins, changes case, or writes it as JSON. The template
//! runs on the marked texts; control tokens are looked for in its output; then the marks are removed.
//!
//! Most texts get no mark, so templates can still compare them (`name == 'python'`); markup in
//! angle brackets does get marks, and a template that looks for its own tags in user text does not find them. Roles
//! are not outside text. (The attack: "special token injection", e.g. OWASP LLM01.)
//!
//! Added tokens of white space only are spelling, not control, and are left alone.

use std::borrow::Cow;
use std::collections::HashSet;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::{Map, Value as Json};

/// The noncharacters of the Arabic block; Unicode reserves them for internal use such as this (section 23.7).
pub(super) const MARKS: std::ops::RangeInclusive<char> = '\u{FDD0}'..='\u{FDEF}';

/// The control tokens of a tokenizer, prepared for marking.
#[derive(Debug)]
pub(crate) struct ControlTokens {
    /// First characters of the tokens that begin with neither letter nor digit.
    firsts: Vec<char>,
    /// The tokens that begin with a letter or digit, in any case.
    lettered: Option<AhoCorasick>,
    /// Of the tokens that the template may begin without ending: each without its first character, without its
    /// first two, and so on.
    tails: HashSet<Box<str>>,
    /// The same tokens, separated by NUL.
    joined: String,
    longest: usize,
}

impl ControlTokens {
    /// `templates` are the sources that will write beside the outside texts.
    pub(crate) fn new(tokens: &[&str], templates: &[&str]) -> Result<Self, String> {
        let tokens: Vec<&str> = tokens.iter().copied().filter(|token| !token.trim().is_empty()).collect();
        let begins_plain = |token: &&str| token.starts_with(char::is_alphanumeric);
        let (lettered, others): (Vec<&str>, Vec<&str>) = tokens.iter().copied().partition(begins_plain);
        let mut firsts: Vec<char> = others.iter().filter_map(|token| token.chars().next()).collect();
        firsts.sort_unstable();
        firsts.dedup();
        let lettered = if lettered.is_empty() {
            None
        } else {
            let mut builder = AhoCorasick::builder();
            builder.ascii_case_insensitive(true).match_kind(MatchKind::LeftmostFirst);
            Some(builder.build(&lettered).map_err(|error| error.to_string())?)
        };
        let open = left_open(&tokens, templates);
        Ok(Self {
            firsts,
            lettered,
            tails: open.iter().flat_map(|token| cuts(token)).map(|at| Box::from(at.1)).collect(),
            joined: open.join("\0"),
            longest: open.iter().map(|token| token.len()).max().unwrap_or(0),
        })
    }

    /// Whether a text could be the middle or the end of a control token that begins before it.
    fn could_continue(&self, text: &str) -> bool {
        let ends = text.char_indices().map(|(at, character)| at + character.len_utf8());
        let begins_with_tail =
            ends.take_while(|&end| end < self.longest).any(|end| self.tails.contains(&text[..end]));
        begins_with_tail || (text.len() < self.longest && self.joined.contains(text))
    }
}

/// Every way to cut a token in two.
fn cuts(token: &str) -> impl Iterator<Item = (&str, &str)> {
    token.char_indices().skip(1).map(|(at, _)| token.split_at(at))
}

/// The tokens of which some template writes a beginning and not, in the same literal, the rest.
fn left_open<'t>(tokens: &[&'t str], templates: &[&str]) -> Vec<&'t str> {
    let heads: HashSet<&str> = tokens.iter().flat_map(|token| cuts(token)).map(|cut| cut.0).collect();
    let longest = heads.iter().map(|head| head.len()).max().unwrap_or(0);
    let mut open: HashSet<&str> = HashSet::new();
    for template in templates {
        for (end, _) in template.char_indices().skip(1).chain([(template.len(), ' ')]) {
            let rest = template[end..].trim_start();
            if !rest.is_empty() && !rest.starts_with(['\'', '"', '{']) {
                continue;
            }
            let from = end.saturating_sub(longest);
            let starts = (from..end).filter(|&at| template.is_char_boundary(at));
            open.extend(starts.filter_map(|at| heads.get(&template[at..end]).copied()));
        }
    }
    let begun = |token: &&str| cuts(token).any(|(head, _)| open.contains(head));
    tokens.iter().copied().filter(begun).collect()
}

/// Marks the texts of one conversation. Lives as long as one rendering.
pub(crate) struct Guard<'a> {
    tokens: &'a ControlTokens,
    mark: char,
}

impl<'a> Guard<'a> {
    /// `is_free` tells whether no outside text contains a character.
    pub(crate) fn new(tokens: &'a ControlTokens, is_free: impl Fn(char) -> bool) -> Self {
        // Where every one is taken, the last is removed from the texts: see `mark`.
        Self { tokens, mark: MARKS.clone().find(|&mark| is_free(mark)).unwrap_or(*MARKS.end()) }
    }

    /// The text with marks.
    pub(crate) fn mark<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let text = self.strip(text);
        let starts = self.starts(&text);
        let breaks = self.breaks(&text);
        if starts.is_empty() && breaks.is_empty() {
            return text;
        }
        let mut places: Vec<usize> = starts.into_iter().chain(breaks).collect();
        places.sort_unstable();
        places.dedup();
        let mut marked = String::with_capacity(text.len() + places.len() * self.mark.len_utf8());
        let mut position = 0;
        for place in places {
            marked.push_str(&text[position..place]);
            marked.push(self.mark);
            position = place;
        }
        marked.push_str(&text[position..]);
        Cow::Owned(marked)
    }

    /// Where the text begins, as it is and trimmed, if it could continue a token.
    fn starts(&self, text: &str) -> Vec<usize> {
        let inner = text.trim();
        let mut starts = Vec::new();
        if !inner.is_empty() && self.tokens.could_continue(inner) {
            starts.push(text.len() - text.trim_start().len());
        }
        if !text.is_empty() && self.tokens.could_continue(text) {
            starts.push(0);
        }
        starts
    }

    /// Behind each character with which a token could begin.
    fn breaks(&self, text: &str) -> Vec<usize> {
        let is_first = |&(_, character): &(usize, char)| self.tokens.firsts.contains(&character);
        let mut breaks: Vec<usize> =
            text.char_indices().filter(is_first).map(|(at, character)| at + character.len_utf8()).collect();
        if let Some(lettered) = &self.tokens.lettered {
            let mut position = 0;
            while let Some(found) = lettered.find(&text[position..]) {
                let start = position + found.start();
                position = start + text[start..].chars().next().map_or(1, char::len_utf8);
                breaks.push(position);
            }
        }
        breaks
    }

    /// The value with marks in all its texts, the names of members among them.
    pub(crate) fn mark_json(&self, value: &Json) -> Json {
        match value {
            Json::String(text) => Json::String(self.mark(text).into_owned()),
            Json::Array(items) => Json::Array(items.iter().map(|item| self.mark_json(item)).collect()),
            Json::Object(members) => {
                let pairs =
                    members.iter().map(|(key, value)| (self.mark(key).into_owned(), self.mark_json(value)));
                Json::Object(pairs.collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }

    /// Whether this place in a template's output is marked.
    pub(crate) fn is_marked(&self, rest: &str) -> bool {
        rest.starts_with(self.mark)
    }

    /// Text without marks.
    pub(crate) fn strip<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if text.contains(self.mark) { Cow::Owned(text.replace(self.mark, "")) } else { Cow::Borrowed(text) }
    }
}
