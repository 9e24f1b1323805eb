//! One linear pass over a text: counts for the hand features and hashes for the word features.
//!
//! No backtracking and no allocation that grows with more than the number of words of the window.

use super::hash::{self, Fnv};
use super::lexicon::{CLASSES, Lexicon};

/// A piece of the text that counts as one word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    /// Stable hash of the word in lower case.
    pub(super) hash: u64,
    /// Whether a sentence, an option or a line break separates it from the word before.
    pub(super) starts_unit: bool,
}

/// What was counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) chars: f32,
    pub(super) letters: f32,
    pub(super) words: f32,
    pub(super) long_words: f32,
    pub(super) scholarly_words: f32,
    pub(super) sentences: f32,
    pub(super) sentence_words_max: f32,
    pub(super) capitalised: f32,
    pub(super) acronyms: f32,
    pub(super) numbers: f32,
    pub(super) digits_max: f32,
    pub(super) decimals: f32,
    pub(super) operators: f32,
    pub(super) latex: f32,
    pub(super) money: f32,
    pub(super) code_marks: f32,
    pub(super) brackets: f32,
    pub(super) commas: f32,
    pub(super) quotes: f32,
    pub(super) questions: f32,
    pub(super) blanks: f32,
    pub(super) fences: f32,
    pub(super) lines: f32,
    pub(super) indented: f32,
    pub(super) bullets: f32,
    pub(super) options: f32,
    pub(super) option_words: f32,
    pub(super) option_numbers: f32,
    pub(super) stem_words: f32,
    pub(super) cjk: f32,
    pub(super) non_latin: f32,
    pub(super) non_ascii: f32,
    pub(super) classes: [f32; CLASSES],
    pub(super) head_classes: u32,
    pub(super) tail_classes: u32,
    pub(super) number_hashes: Vec<u64>,
    pub(super) word_list: Vec<Word>,
}

/// Words at the start whose classes are looked at apart: the verb of a request stands there.
const HEAD_WORDS: usize = 4;
/// Words at the end whose classes are looked at apart.
const TAIL_WORDS: usize = 12;

/// State of the pass.
pub(super) struct Scanner<'a> {
    lexicon: &'a Lexicon,
    counts: Counts,
    classes_seen: Vec<u32>,
    sentence_words: f32,
    unit_starts: bool,
    in_option: bool,
    recent: [char; 5],
    recent_len: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(lexicon: &'a Lexicon) -> Self {
        Self {
            lexicon,
            counts: Counts::default(),
            classes_seen: Vec::new(),
            sentence_words: 0.0,
            unit_starts: true,
            in_option: false,
            recent: ['\0'; 5],
            recent_len: 0,
        }
    }

    /// Reads one more piece of the text.
    pub(super) fn read(&mut self, piece: &str) {
        for line in piece.split('\n') {
            self.line(line);
        }
    }

    /// What was counted in all pieces.
    pub(super) fn finish(mut self) -> Counts {
        self.end_sentence();
        let tail = self.classes_seen.len().saturating_sub(TAIL_WORDS);
        let union = |bits: &[u32]| bits.iter().fold(0, |all, bits| all | bits);
        self.counts.head_classes = union(&self.classes_seen[..self.classes_seen.len().min(HEAD_WORDS)]);
        self.counts.tail_classes = union(&self.classes_seen[tail..]);
        if self.counts.options == 0.0 {
            self.counts.stem_words = self.counts.words;
        }
        self.counts
    }

    fn line(&mut self, line: &str) {
        let body = line.trim_start();
        if body.is_empty() {
            return;
        }
        self.counts.lines += 1.0;
        self.unit_starts = true;
        self.recent_len = 0;
        if body.starts_with("```") {
            self.counts.fences += 1.0;
        }
        if line.len() - body.len() >= 2 || line.starts_with('\t') {
            self.counts.indented += 1.0;
        }
        let text = match option_letter(body) {
            Some(skip) => {
                self.begin_option();
                &body[skip..]
            }
            None => {
                self.in_option = false;
                self.counts.bullets += f32::from(is_bullet(body));
                body
            }
        };
        self.tokens(text);
    }

    fn begin_option(&mut self) {
        if self.counts.options == 0.0 {
            self.counts.stem_words = self.counts.words;
        }
        self.counts.options += 1.0;
        self.in_option = true;
        self.unit_starts = true;
    }

    fn tokens(&mut self, text: &str) {
        let mut rest = text.char_indices().peekable();
        while let Some((at, c)) = rest.next() {
            self.counts.chars += 1.0;
            if !c.is_ascii() {
                self.counts.non_ascii += 1.0;
            }
            if is_cjk(c) {
                self.cjk(c);
            } else if c.is_ascii_digit() {
                self.number(c, &mut rest);
            } else if c.is_alphabetic() {
                self.recent_len = 0;
                self.word(text, at, c, &mut rest);
            } else {
                self.recent_len = 0;
                self.mark(c, rest.peek().map(|&(_, next)| next));
            }
        }
    }

    fn word(&mut self, text: &str, start: usize, first: char, rest: &mut Letters<'_>) {
        let mut fnv = Fnv::default();
        let (mut length, mut upper) = (0_u32, 0_u32);
        let mut ending = 0_u64;
        let mut end = start + first.len_utf8();
        let mut next = Some(first);
        while let Some(c) = next {
            length += 1;
            if c.is_ascii() {
                let lower = c.to_ascii_lowercase();
                upper += u32::from(c.is_ascii_uppercase());
                fnv.push(lower);
                ending = (ending << 8) | u64::from(lower as u8);
            } else {
                upper += u32::from(c.is_uppercase());
                self.counts.non_latin += f32::from(u8::from(c > '\u{24f}'));
                c.to_lowercase().for_each(|lower| fnv.push(lower));
                ending = 0;
            }
            next = take_letter(rest, &mut end);
            if next.is_some_and(|c| !c.is_ascii()) {
                self.counts.non_ascii += 1.0;
            }
        }
        self.counts.chars += f32::from(u16::try_from(length - 1).unwrap_or(u16::MAX));
        // "B)" inside a line names an option; the letter itself means nothing.
        if length == 1 && upper == 1 && first <= 'J' && text[end..].starts_with(')') {
            self.begin_option();
            return;
        }
        let counts = &mut self.counts;
        counts.letters += length as f32;
        counts.long_words += f32::from(u8::from(length >= 7));
        counts.scholarly_words += f32::from(u8::from(length >= 7 && has_scholarly_ending(ending)));
        counts.acronyms += f32::from(u8::from(length >= 2 && upper == length));
        counts.capitalised += f32::from(u8::from(upper >= 1 && !self.unit_starts && upper < length));
        self.push(fnv.finish(), 1.0);
    }

    fn number(&mut self, first: char, rest: &mut Letters<'_>) {
        let (mut digits, mut decimal) = (0_u32, false);
        let mut fnv = Fnv::default();
        let mut next = Some(first);
        while let Some(c) = next {
            fnv.push(c);
            digits += u32::from(c.is_ascii_digit());
            next = rest.next_if(|&(_, c)| c.is_ascii_digit() || c == '.' || c == ',').map(|(_, c)| c);
            decimal |= next == Some('.') && rest.peek().is_some_and(|&(_, c)| c.is_ascii_digit());
        }
        let counts = &mut self.counts;
        counts.numbers += 1.0;
        counts.chars += digits.saturating_sub(1) as f32;
        counts.digits_max = counts.digits_max.max(digits as f32);
        counts.decimals += f32::from(u8::from(decimal));
        counts.option_numbers += f32::from(u8::from(self.in_option));
        counts.number_hashes.push(fnv.finish());
        // Numbers count by their size class, so that a changed number is the same question.
        let mut class = Fnv::default();
        class.push('#');
        class.push(if decimal { '.' } else { char::from(b'0' + digits.min(5) as u8) });
        self.push(class.finish(), 0.0);
    }

    fn cjk(&mut self, c: char) {
        if self.recent_len == 5 {
            self.recent.copy_within(1.., 0);
            self.recent_len = 4;
        }
        self.recent[self.recent_len] = c;
        self.recent_len += 1;
        self.counts.cjk += 1.0;
        self.counts.letters += 2.0;
        let mut bits = 0;
        let mut single = 0;
        for length in 1..=self.recent_len {
            let mut fnv = Fnv::default();
            self.recent[self.recent_len - length..self.recent_len].iter().for_each(|&c| fnv.push(c));
            bits |= self.lexicon.classes(fnv.finish());
            if length == 1 {
                single = fnv.finish();
            }
        }
        self.push_with(single, bits, 0.6);
    }

    fn push(&mut self, hash: u64, weight: f32) {
        let mut bits = self.lexicon.classes(hash);
        if let (false, Some(before)) = (self.unit_starts, self.counts.word_list.last()) {
            bits |= self.lexicon.classes(hash::pair(before.hash, hash));
        }
        self.push_with(hash, bits, weight);
    }

    fn push_with(&mut self, hash: u64, bits: u32, weight: f32) {
        self.counts.word_list.push(Word { hash, starts_unit: self.unit_starts });
        self.unit_starts = false;
        self.classes_seen.push(bits);
        for class in 0..CLASSES {
            self.counts.classes[class] += ((bits >> class) & 1) as f32;
        }
        self.counts.words += weight;
        self.sentence_words += weight;
        if self.in_option {
            self.counts.option_words += weight;
        }
    }

    fn mark(&mut self, c: char, next: Option<char>) {
        let counts = &mut self.counts;
        match c {
            '.' | '!' | '。' | '！' => self.end_sentence(),
            '?' | '？' | '؟' => {
                counts.questions += 1.0;
                self.end_sentence();
            }
            ',' | '，' | '、' | '،' => counts.commas += 1.0,
            '+' | '*' | '/' | '=' | '<' | '>' | '^' | '×' | '÷' | '≤' | '≥' | '−' => {
                counts.operators += 1.0
            }
            '\\' | '$' if next.is_some_and(|c| c.is_alphabetic() || c == '(' || c == '\\') => {
                counts.latex += 1.0
            }
            '$' | '%' | '€' | '£' => counts.money += 1.0,
            '{' | '}' | ';' | '[' | ']' | '|' | '&' | '#' | '@' | '~' => counts.code_marks += 1.0,
            '(' | ')' => counts.brackets += 1.0,
            '"' | '“' | '”' | '«' | '»' | '„' | '`' => counts.quotes += 1.0,
            '_' => counts.blanks += 1.0,
            _ => {}
        }
    }

    fn end_sentence(&mut self) {
        if self.sentence_words > 0.0 {
            self.counts.sentences += 1.0;
            self.counts.sentence_words_max = self.counts.sentence_words_max.max(self.sentence_words);
        }
        self.sentence_words = 0.0;
        self.unit_starts = true;
    }
}

type Letters<'t> = std::iter::Peekable<std::str::CharIndices<'t>>;

/// The next letter of the current word; an apostrophe counts as one where a letter follows it.
fn take_letter(rest: &mut Letters<'_>, end: &mut usize) -> Option<char> {
    let (at, c) =
        rest.next_if(|&(_, c)| (c.is_alphabetic() && !is_cjk(c)) || c == '\'' || c == '’' || is_mark(c))?;
    *end = at + c.len_utf8();
    Some(if c == '’' { '\'' } else { c })
}

/// Combining marks of Arabic, Hebrew, Devanagari and Thai, which stand inside words.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5c7}' | '\u{64b}'..='\u{65f}' | '\u{900}'..='\u{963}' | '\u{e31}'..='\u{e4e}')
}

/// Ideographs and hiragana, which are read one by one. Katakana and hangul form words of their own.
fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{309f}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3134f}')
}

fn is_bullet(line: &str) -> bool {
    if line.starts_with("- ") || line.starts_with("* ") || line.starts_with('•') {
        return true;
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    (1..=3).contains(&digits)
        && matches!(line.as_bytes().get(digits), Some(b'.' | b')'))
        && line.as_bytes().get(digits + 1) == Some(&b' ')
}

/// Length of an option mark (`A.`, `(B)`, `C)`, `d:`) at the start of a line, with the blanks after it.
fn option_letter(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let from = usize::from(bytes.first() == Some(&b'('));
    if !matches!(bytes.get(from)?.to_ascii_uppercase(), b'A'..=b'J')
        || !matches!(bytes.get(from + 1)?, b'.' | b')' | b':')
    {
        return None;
    }
    match bytes.get(from + 2) {
        None => Some(from + 2),
        Some(b' ' | b'\t') => Some(from + 3),
        Some(_) => None,
    }
}

/// Endings of abstract, mostly Latinate nouns and adjectives; `ending` holds the last eight ASCII letters.
fn has_scholarly_ending(ending: u64) -> bool {
    const FOUR: [&[u8; 4]; 8] = [b"tion", b"sion", b"ment", b"logy", b"ance", b"ence", b"ical", b"ness"];
    const THREE: [&[u8; 3]; 6] = [b"ism", b"ity", b"ous", b"ive", b"ist", b"ics"];
    let last = (ending as u32).to_be_bytes();
    FOUR.iter().any(|end| **end == last) || THREE.iter().any(|end| end[..] == last[1..])
}
