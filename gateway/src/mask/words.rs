//! The words that stand for values, and how they are recognised again in what a model writes.
//!
//! A placeholder is `[PERSON_k7f2_1]`: the kind, the conversation's tag, a number. Models do not always repeat it as it was:
//! they change its case, lose or escape brackets, put spaces in, add an ending. [`Words::read`] reads all of those, at one
//! place of a text, and says when the text ends before it can tell.
//!
//! Invariants: reading looks at no more than [`REACH`] characters (a surrogate's length for surrogates), and takes time that
//! is bounded by it; only words of this conversation are recognised.

use std::collections::HashMap;
use std::sync::Arc;

use policies::EntityKind;

use super::vault::Entry;

/// Characters of a placeholder at most, however it was altered: see `Reader`.
pub const REACH: usize = 64;
/// Separators in a row.
const JOINTS_MAX: usize = 4;
const DIGITS_MAX: usize = 6;
/// Letters of an ending within the brackets.
const ENDING_MAX: usize = 3;

/// What stands at one place of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// No word of this conversation.
    None,
    /// The text ends before that can be told.
    Unfinished,
    /// A word.
    Word(Found),
    /// The tag of this conversation in a word that it does not have; the bytes of it.
    Unknown(usize),
}

/// A word in a text. All lengths are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Index of the entry.
    pub entry: usize,
    /// What stands before the word and is not part of it.
    pub before: usize,
    /// Everything, `before` included.
    pub length: usize,
    /// An ending within the brackets, which is kept.
    pub ending: (usize, usize),
}

/// The words of one conversation.
#[derive(Debug, Default)]
pub struct Words {
    tag: String,
    /// Kinds of the entries that have placeholders.
    kinds: Vec<EntityKind>,
    entries: Vec<Arc<Entry>>,
    /// Surrogates by their first character in lower case.
    surrogates: HashMap<char, Vec<usize>>,
    surrogate_chars_max: usize,
}

impl Words {
    /// The words of entries that share a tag.
    #[must_use]
    pub fn new(tag: &str, entries: Vec<Arc<Entry>>) -> Self {
        let mut words = Self { tag: tag.to_owned(), ..Self::default() };
        for (index, entry) in entries.iter().enumerate() {
            match &entry.surrogate {
                Some(surrogate) => {
                    let first = surrogate.chars().next().map_or(' ', lower);
                    words.surrogates.entry(first).or_default().push(index);
                    words.surrogate_chars_max = words.surrogate_chars_max.max(surrogate.chars().count());
                }
                None if !words.kinds.contains(&entry.kind) => words.kinds.push(entry.kind),
                None => {}
            }
        }
        // The longer of two that begin alike is tried first.
        for indices in words.surrogates.values_mut() {
            indices
                .sort_by_key(|index| std::cmp::Reverse(entries[*index].surrogate.as_ref().map(String::len)));
        }
        Self { entries, ..words }
    }

    /// The entry of a word.
    #[must_use]
    pub fn entry(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    /// Characters that a text is held back at most.
    #[must_use]
    pub fn reach(&self) -> usize {
        REACH.max(self.surrogate_chars_max + 1)
    }

    /// May a word begin with this character? `before` is the one in front of it.
    #[must_use]
    pub fn may_begin(&self, c: char, before: Option<char>) -> bool {
        if matches!(c, '[' | '\\') && !self.kinds.is_empty() {
            return true;
        }
        let apart = !before.is_some_and(|before| before.is_alphanumeric() || before == '_');
        let first = c.to_ascii_lowercase();
        apart
            && (self.kinds.iter().any(|kind| kind.as_str().starts_with(c.to_ascii_uppercase()))
                || self.surrogates.contains_key(&first)
                || !c.is_ascii() && self.surrogates.contains_key(&lower(c)))
    }

    /// Reads at the beginning of `text`, which goes on unless `ends`.
    #[must_use]
    pub fn read(&self, text: &str, ends: bool) -> Reading {
        let mut unfinished = false;
        for kind in &self.kinds {
            match (Reader { text, at: 0, ends, escaped: false, tagged: false })
                .placeholder(kind.as_str(), &self.tag)
            {
                Part::No => {}
                Part::Open => unfinished = true,
                Part::Broken(length) => return Reading::Unknown(length),
                Part::Done(read) => return self.known(read),
            }
        }
        match self.surrogate(text, ends) {
            Reading::None if unfinished => Reading::Unfinished,
            reading => reading,
        }
    }

    fn known(&self, read: Placeholder) -> Reading {
        let entry = read
            .number
            .checked_sub(1)
            .filter(|index| self.entries.get(*index).is_some_and(|entry| entry.surrogate.is_none()));
        match entry {
            None => Reading::Unknown(read.length),
            Some(entry) => {
                // A backslash in front belongs to the text, unless more of the word is escaped as well.
                let before =
                    read.backslashes.filter(|_| !read.escaped || self.entries[entry].after_backslash);
                let (length, ending) = (read.length, read.ending);
                Reading::Word(Found { entry, before: before.unwrap_or(0), length, ending })
            }
        }
    }

    fn surrogate(&self, text: &str, ends: bool) -> Reading {
        let Some(first) = text.chars().next() else { return Reading::None };
        let Some(candidates) = self.surrogates.get(&lower(first)) else { return Reading::None };
        let mut unfinished = false;
        for &entry in candidates {
            let word = self.entries[entry].surrogate.as_deref().unwrap_or_default();
            match common(word, text) {
                // The names that stand in are words in other languages, in small letters.
                Common::Whole(length)
                    if self.entries[entry].kind == EntityKind::Person
                        && text[..length] != *word
                        && text[..length] != word.to_uppercase() => {}
                Common::Whole(length) => match text[length..].chars().next() {
                    Some(next) if next.is_alphanumeric() => {}
                    None if !ends => unfinished = true,
                    _ => return Reading::Word(Found { entry, before: 0, length, ending: (0, 0) }),
                },
                Common::TextEnds => unfinished |= !ends,
                Common::Differs => {}
            }
        }
        if unfinished { Reading::Unfinished } else { Reading::None }
    }
}

fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

enum Common {
    Whole(usize),
    TextEnds,
    Differs,
}

/// How far a text begins with a word, whatever the case.
fn common(word: &str, text: &str) -> Common {
    let mut rest = text.char_indices();
    for expected in word.chars() {
        match rest.next() {
            None => return Common::TextEnds,
            Some((_, c)) if lower(c) == lower(expected) => {}
            Some(_) => return Common::Differs,
        }
    }
    Common::Whole(rest.next().map_or(text.len(), |(at, _)| at))
}

/// A placeholder as it was written.
struct Placeholder {
    number: usize,
    length: usize,
    /// Bytes of backslashes in front of the bracket.
    backslashes: Option<usize>,
    /// Is anything after the bracket escaped?
    escaped: bool,
    ending: (usize, usize),
}

enum Part<T> {
    No,
    /// The text ends first.
    Open,
    /// It has the tag, and no number that could be one; bytes.
    Broken(usize),
    Done(T),
}

/// Reads `\\* [ space? KIND joint TAG joint DIGITS ( ending? space? \\* ] )?`. ASCII throughout, so bytes are characters.
struct Reader<'t> {
    text: &'t str,
    at: usize,
    ends: bool,
    escaped: bool,
    /// Has it got as far as the tag?
    tagged: bool,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, max: usize, wanted: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        while self.at - start < max && self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
        self.at - start
    }

    /// At the end of the text: is it the end for good?
    fn stop<T>(&self) -> Part<T> {
        match (self.peek().is_none() && !self.ends, self.tagged) {
            (true, _) => Part::Open,
            (false, true) => Part::Broken(self.at),
            (false, false) => Part::No,
        }
    }

    fn placeholder(mut self, kind: &str, tag: &str) -> Part<Placeholder> {
        let backslashes = self.skip(JOINTS_MAX, |b| b == b'\\');
        let is_open = self.skip(1, |b| b == b'[') == 1;
        if backslashes > 0 && !is_open {
            return self.stop();
        }
        if is_open {
            self.skip(2, |b| b == b' ');
        }
        for (index, word) in kind.split('_').enumerate() {
            if index > 0 && !self.joint() || !self.word(word) {
                return self.stop();
            }
        }
        if !self.joint() {
            return self.stop();
        }
        let start = self.at;
        let is_tag = self.word(tag);
        // Cut off in the middle, it is a word of the conversation all the same; a letter of it can be any word's.
        self.tagged = is_tag || self.at > start + 1 && self.peek().is_none();
        if !is_tag || !self.joint() {
            return self.stop();
        }
        let digits = self.at;
        self.skip(DIGITS_MAX, |b| b.is_ascii_digit());
        let Ok(number) = self.text[digits..self.at].parse() else { return self.stop() };
        if self.peek().is_none() && !self.ends {
            return Part::Open;
        }
        let mut read = Placeholder {
            number,
            length: self.at,
            backslashes: is_open.then_some(backslashes),
            escaped: self.escaped,
            ending: (0, 0),
        };
        if is_open {
            return self.close(read);
        }
        read.backslashes = None;
        Part::Done(read)
    }

    /// The closing bracket, if there is one.
    fn close(mut self, read: Placeholder) -> Part<Placeholder> {
        let ending = self.at;
        self.skip(1, |b| b == b'\'');
        self.skip(ENDING_MAX, |b| b.is_ascii_alphabetic());
        let ending = (ending, self.at);
        self.skip(2, |b| b == b' ');
        let backslashes = self.skip(JOINTS_MAX, |b| b == b'\\');
        match self.peek() {
            Some(b']') => {
                let escaped = read.escaped || backslashes > 0;
                Part::Done(Placeholder { length: self.at + 1, escaped, ending, ..read })
            }
            None if !self.ends => Part::Open,
            _ => Part::Done(read),
        }
    }

    /// What stands between the parts.
    fn joint(&mut self) -> bool {
        let start = self.at;
        let joined = self.skip(JOINTS_MAX, |b| matches!(b, b'_' | b'-' | b' ' | b'\\')) > 0;
        self.escaped |= self.text[start..self.at].contains('\\');
        joined
    }

    /// A word in any case. At the end of the text, its beginning will do: then nothing is left to peek at.
    fn word(&mut self, word: &str) -> bool {
        let bytes = word.as_bytes();
        let matched =
            self.text.as_bytes()[self.at..].iter().zip(bytes).take_while(|(a, b)| a.eq_ignore_ascii_case(b));
        let matched = matched.count();
        self.at += matched;
        matched == bytes.len()
    }
}
