//! One text on its way through, in which words become values again.
//!
//! It arrives in pieces of any size and leaves as soon as it can: what is held back is the longest ending that may yet turn out
//! to be a word of the conversation. Values are written in the form that their place demands: as they are in plain text,
//! escaped within JSON strings as deep as they are nested.
//!
//! A value is never written into a URL that the conversation did not have it in: a model that was talked into it could carry
//! it away that way. Such a word stays, and is counted.

use super::words::{Found, Reading, Words};

/// Bytes of an unbroken run of characters that are remembered to tell a URL.
const RUN_BYTES_MAX: usize = 512;

/// What kind of text it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Plain text.
    Plain,
    /// JSON.
    Json,
}

/// A text on its way through.
pub struct Passage {
    form: Form,
    held: String,
    before: Option<char>,
    run: Run,
    nesting: Nesting,
    unrestored: u64,
}

impl std::fmt::Debug for Passage {
    /// Never the text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passage").field("form", &self.form).field("held_chars", &self.held_chars()).finish()
    }
}

impl Passage {
    /// A text of which nothing has arrived.
    #[must_use]
    pub fn new(form: Form) -> Self {
        let (run, nesting) = (Run::new(form), Nesting::default());
        Self { form, held: String::new(), before: None, run, nesting, unrestored: 0 }
    }

    /// Takes the next piece; what can leave is added to `out`.
    pub fn push(&mut self, words: &Words, piece: &str, out: &mut String) {
        self.held.push_str(piece);
        self.advance(words, false, out);
    }

    /// Ends the text; what was held back is added to `out`.
    pub fn finish(&mut self, words: &Words, out: &mut String) {
        self.advance(words, true, out);
    }

    /// Is anything held back?
    #[must_use]
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Characters that are held back.
    #[must_use]
    pub fn held_chars(&self) -> usize {
        self.held.chars().count()
    }

    /// Words that were met and could not be put back, since last asked.
    pub fn take_unrestored(&mut self) -> u64 {
        std::mem::take(&mut self.unrestored)
    }

    fn advance(&mut self, words: &Words, ends: bool, out: &mut String) {
        let held = std::mem::take(&mut self.held);
        let mut at = 0;
        while let Some(c) = held[at..].chars().next() {
            if words.may_begin(c, self.before) {
                match words.read(&held[at..], ends) {
                    Reading::Word(found) => {
                        self.word(words, &held[at..at + found.length], found, out);
                        at += found.length;
                        continue;
                    }
                    Reading::Unfinished => break,
                    Reading::Unknown(length) => {
                        self.unrestored += 1;
                        self.pass(&held[at..at + length], out);
                        at += length;
                        continue;
                    }
                    Reading::None => {}
                }
            }
            self.pass(&held[at..at + c.len_utf8()], out);
            at += c.len_utf8();
        }
        held[at..].clone_into(&mut self.held);
    }

    /// Passes text on as it is.
    fn pass(&mut self, text: &str, out: &mut String) {
        out.push_str(text);
        for c in text.chars() {
            self.run.hear(c);
            if self.form == Form::Json {
                self.nesting.hear(c);
            }
            self.before = Some(c);
        }
    }

    fn word(&mut self, words: &Words, written: &str, found: Found, out: &mut String) {
        let entry = words.entry(found.entry);
        let Some(value) = entry.restored() else { return self.pass(written, out) };
        self.pass(&written[..found.before], out);
        let word = &written[found.before..];
        if self.run.is_url() && !entry.was_in(self.run.url()) {
            self.unrestored += 1;
            return self.pass(word, out);
        }
        match self.form {
            Form::Plain => out.push_str(value),
            Form::Json => self.nesting.write(value, out),
        }
        // The run is remembered as the model wrote it, which is how URLs of the conversation are remembered.
        self.run.hear_word(word, value);
        self.before = value.chars().last().or(self.before);
        self.pass(&written[found.ending.0..found.ending.1], out);
    }
}

/// The characters since the last blank or quote, backslashes left out: where they do not escape something, whoever follows
/// a URL takes them for slashes or nothing.
pub struct Run {
    form: Form,
    text: String,
    /// The last character was a backslash.
    escapes: bool,
    /// Digits of a `\\u` escape so far.
    code: Option<String>,
    is_url: bool,
    /// Where a value that is a URL begins it.
    from: Option<usize>,
    /// It is a URL longer than is remembered.
    cut: bool,
}

impl Run {
    /// A run of which nothing has arrived.
    #[must_use]
    pub const fn new(form: Form) -> Self {
        Self { form, text: String::new(), escapes: false, code: None, is_url: false, from: None, cut: false }
    }

    /// Takes the next character, as whoever reads the text in the end will: escapes of JSON and of HTML are undone.
    pub fn hear(&mut self, c: char) {
        if let Some(mut code) = self.code.take() {
            code.push(c);
            if code.len() < 4 && c.is_ascii_hexdigit() {
                self.code = Some(code);
            } else if let Some(c) = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32) {
                self.take(c);
            }
            return;
        }
        if c == '\\' {
            self.escapes = !self.escapes;
            return;
        }
        let escaped = std::mem::take(&mut self.escapes) && self.form == Form::Json;
        match c {
            'u' if escaped => self.code = Some(String::new()),
            'n' | 'r' | 't' if escaped => self.take('\n'),
            _ => self.take(c),
        }
    }

    /// Takes a word that stands for a value. A value that is a URL begins one.
    pub fn hear_word(&mut self, word: &str, value: &str) {
        let start = self.text.len();
        word.chars().for_each(|c| self.hear(c));
        if url_start(value).is_some() && !self.is_url {
            (self.is_url, self.from) = (true, Some(start.min(self.text.len())));
        }
    }

    fn take(&mut self, c: char) {
        if c.is_whitespace() || matches!(c, '"' | '<' | '>' | '`' | '，' | '。' | '、' | '）' | '」') {
            self.text.clear();
            (self.is_url, self.from, self.cut) = (false, None, false);
            return;
        }
        if self.text.len() >= RUN_BYTES_MAX {
            if self.is_url {
                self.cut = true;
                return;
            }
            // Some scripts write no blanks: only the end of such a run can be the beginning of a URL.
            let kept = self.text.ceil_char_boundary(self.text.len() - RUN_BYTES_MAX / 4);
            self.text.drain(..kept);
        }
        self.text.push(c);
        if c == ';' {
            undo_entity(&mut self.text);
        }
        self.is_url = self.is_url || matches!(c, '/' | '.' | ':' | ';') && url_start(&self.text).is_some();
    }

    /// Is it, or does it hold, a URL?
    #[must_use]
    pub const fn is_url(&self) -> bool {
        self.is_url
    }

    /// The URL as far as it was written; empty where there is none, or where it is too long to tell.
    #[must_use]
    pub fn url(&self) -> &str {
        let start = url_start(&self.text).into_iter().chain(self.from).min();
        start.filter(|_| self.is_url && !self.cut).map_or("", |start| &self.text[start..])
    }
}

/// Replaces an HTML entity at the end of a run by what it stands for, where that can be part of a URL's beginning.
fn undo_entity(run: &mut String) {
    let Some(start) = run.rfind('&') else { return };
    let name = run[start + 1..run.len() - 1].to_ascii_lowercase();
    let number = match name.strip_prefix('#') {
        Some(code) => match code.strip_prefix('x') {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => code.parse().ok(),
        },
        None => match name.as_str() {
            "sol" => Some(u32::from('/')),
            "colon" => Some(u32::from(':')),
            "period" => Some(u32::from('.')),
            _ => None,
        },
    };
    if let Some(c) = number.and_then(char::from_u32) {
        run.truncate(start);
        run.push(c);
    }
}

/// Where the first URL of a run begins: at a scheme, or at a host without one (`www.`, `//example.`). What the web calls `http:`
/// is one whatever follows: browsers make up for the slashes.
fn url_start(run: &str) -> Option<usize> {
    let lowered = run.to_ascii_lowercase();
    let scheme = lowered.find("://").map(|at| {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        run[..at].char_indices().rev().take_while(|(_, c)| part(*c)).last().map_or(at, |(start, _)| start)
    });
    let bare = run.find("//").filter(|at| {
        let host = &run[at + 2..];
        host.starts_with(char::is_alphanumeric) && host.contains('.')
    });
    let marks = ["http:", "https:", "ftp:", "www."].into_iter().filter_map(|mark| lowered.find(mark));
    marks.chain(scheme).chain(bare).min()
}

/// How deep a place of a JSON text lies within strings: 1 in a string, 2 in a string of JSON that is itself in a string.
#[derive(Default)]
struct Nesting {
    depth: usize,
    backslashes: u32,
    /// Whether the string at each depth is JSON itself, once its first character is known.
    is_json: Vec<Option<bool>>,
}

impl Nesting {
    fn hear(&mut self, c: char) {
        match c {
            '\\' => {
                self.backslashes += 1;
                // A string that begins with an escape is no object and no list.
                if let Some(first @ None) = self.is_json.last_mut() {
                    *first = Some(false);
                }
            }
            '"' => {
                let level = level(std::mem::take(&mut self.backslashes));
                if level <= self.depth {
                    self.depth = level - 1;
                } else if level == self.depth + 1 && (level == 1 || self.inner()) {
                    self.depth = level;
                } else {
                    return;
                }
                self.is_json.truncate(self.depth);
                self.is_json.resize(self.depth, None);
            }
            _ => {
                self.backslashes = 0;
                if let Some(first @ None) = self.is_json.last_mut()
                    && !c.is_whitespace()
                {
                    *first = Some(matches!(c, '{' | '['));
                }
            }
        }
    }

    fn inner(&self) -> bool {
        self.is_json.last() == Some(&Some(true))
    }

    /// Writes a value so that it is one at this depth; outside of strings, as a string.
    fn write(&mut self, value: &str, out: &mut String) {
        self.backslashes = 0;
        if let Some(first @ None) = self.is_json.last_mut() {
            *first = Some(false);
        }
        let mut text = value.to_owned();
        for _ in 0..self.depth.max(1) {
            text = escaped(&text);
        }
        if self.depth == 0 {
            out.push('"');
            out.push_str(&text);
            out.push('"');
        } else {
            out.push_str(&text);
        }
    }
}

/// The depth of a quote by the backslashes in front of it: each level of strings doubles them and adds one.
fn level(backslashes: u32) -> usize {
    let (mut level, mut rest) = (1, backslashes);
    while rest % 2 == 1 {
        level += 1;
        rest /= 2;
    }
    level
}

/// A text as it stands within a JSON string.
pub(super) fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
