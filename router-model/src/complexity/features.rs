//! Features of a text: about seventy hand-made ones and hashed words.
//!
//! This is the only implementation: training reads what this code writes (`examples/features.rs`), so a model
//! sees in service what it saw in training. Any change here asks for new weights; `tests/parity.rs` fails
//! until there are some.

use super::hash;
use super::lexicon::{CLASSES, Class, Lexicon};
use super::scan::{Counts, Scanner, Word};
use super::window::window;
use super::wrappers;

/// Number of buckets for hashed words and word pairs.
pub const BUCKETS: usize = 1 << 15;
/// Number of bits in the set of known words.
pub const VOCABULARY_BITS: usize = 1 << 17;
/// Number of hand-made features.
pub const DENSE: usize = SHAPE + CLASSES + EDGE.len() * 2 + GATES * GATED;

const SHAPE: usize = 44;
const GATES: usize = 4;
const GATED: usize = 5;

/// Classes that are also looked at in the first and in the last words alone.
const EDGE: [Class; 8] = [
    Class::Fact,
    Class::Why,
    Class::Hard,
    Class::Routine,
    Class::Creative,
    Class::Greeting,
    Class::Depth,
    Class::Quantity,
];

/// The set of words that training knows; words outside it are not looked up, so that a text in an unknown
/// language or vocabulary does not pick up the weights of words that share its buckets.
#[derive(Debug, Clone)]
pub struct Vocabulary(Box<[u8]>);

impl Vocabulary {
    /// A vocabulary from its bits; `None` unless there are exactly [`VOCABULARY_BITS`] of them.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() * 8 == VOCABULARY_BITS).then(|| Self(bytes.into()))
    }

    /// A vocabulary that knows every word.
    #[must_use]
    pub fn everything() -> Self {
        Self(vec![0xff; VOCABULARY_BITS / 8].into())
    }

    fn knows(&self, word: u64) -> bool {
        let slot = word as usize % VOCABULARY_BITS;
        self.0[slot / 8] >> (slot % 8) & 1 == 1
    }
}

/// The features of one text.
#[derive(Debug, Clone)]
pub struct Features {
    /// Hand-made features, not yet scaled.
    pub dense: [f32; DENSE],
    /// Buckets of known words and word pairs; ascending, each once.
    pub buckets: Vec<u32>,
    /// Slot of every word in the vocabulary, in order; for training.
    pub slots: Vec<u32>,
    /// Share of words that are known, in `[0, 1]`.
    pub coverage: f32,
    /// Number of words, for context rules.
    pub words: f32,
    /// Count of words of each class, for context rules.
    pub(super) classes: [f32; CLASSES],
}

/// Computes features.
#[derive(Debug)]
pub struct Extractor {
    lexicon: Lexicon,
    vocabulary: Vocabulary,
}

impl Extractor {
    /// An extractor for the given vocabulary.
    #[must_use]
    pub fn new(vocabulary: Vocabulary) -> Self {
        Self { lexicon: Lexicon::new(), vocabulary }
    }

    /// The features of one text, in time linear in its length.
    #[must_use]
    pub fn extract(&self, text: &str) -> Features {
        let question = wrappers::strip(text);
        let mut scanner = Scanner::new(&self.lexicon);
        let pieces = window(question);
        for piece in pieces {
            scanner.read(piece);
        }
        let counts = scanner.finish();
        let read = pieces.iter().map(|piece| piece.len()).sum::<usize>().max(1);
        let dense = dense(&counts, question.len() as f32 / read as f32);
        let (buckets, coverage) = self.hashed(&counts.word_list);
        let slots =
            counts.word_list.iter().map(|word| (word.hash as usize % VOCABULARY_BITS) as u32).collect();
        Features { dense, buckets, slots, coverage, words: counts.words, classes: counts.classes }
    }

    fn hashed(&self, words: &[Word]) -> (Vec<u32>, f32) {
        let mut buckets = Vec::with_capacity(2 * words.len());
        let mut known = 0_usize;
        let mut before = None;
        for word in words {
            if !self.vocabulary.knows(word.hash) {
                before = None;
                continue;
            }
            known += 1;
            buckets.push((word.hash >> 32) as u32 % BUCKETS as u32);
            if let (Some(first), false) = (before, word.starts_unit) {
                buckets.push((hash::pair(first, word.hash) >> 32) as u32 % BUCKETS as u32);
            }
            before = Some(word.hash);
        }
        buckets.sort_unstable();
        buckets.dedup();
        (buckets, known as f32 / words.len().max(1) as f32)
    }
}

/// `ln(1 + count)`: the tenth comma says less than the first.
fn ln(count: f32) -> f32 {
    count.ln_1p()
}

fn dense(c: &Counts, scale: f32) -> [f32; DENSE] {
    let words = c.words.max(1.0);
    let chars = (c.chars + 2.0 * c.cjk).max(1.0);
    let per_word = |count: f32| count / words;
    let mut distinct = c.number_hashes.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let mut seen: Vec<u64> = c.word_list.iter().map(|word| word.hash).collect();
    seen.sort_unstable();
    seen.dedup();
    let mcq = f32::from(u8::from(c.options >= 2.0));
    let code = f32::from(u8::from(c.fences > 0.0 || c.code_marks + c.indented > 0.08 * words + 4.0));
    let math = f32::from(u8::from(c.numbers >= 2.0 || c.latex >= 2.0)) * (1.0 - code);
    let length = ln(chars * scale);
    let shape: [f32; SHAPE] = [
        length,
        ln(words * scale),
        ln(c.sentences),
        c.letters / words,
        per_word(c.long_words),
        per_word(c.scholarly_words),
        seen.len() as f32 / c.word_list.len().max(1) as f32,
        ln(c.sentence_words_max),
        words / c.sentences.max(1.0) / 10.0,
        ln(c.numbers),
        ln(distinct.len() as f32),
        ln(c.digits_max),
        ln(c.decimals),
        ln(c.operators),
        ln(c.latex),
        ln(c.money),
        ln(c.code_marks),
        per_word(c.code_marks).min(2.0),
        ln(c.brackets),
        ln(c.commas),
        c.commas / c.sentences.max(1.0),
        ln(c.quotes),
        ln(c.questions),
        ln(c.blanks),
        ln(c.fences),
        ln(c.lines),
        ln(c.indented),
        ln(c.bullets),
        ln(c.options),
        ln(c.option_words / c.options.max(1.0)),
        ln(c.option_numbers),
        ln(c.stem_words),
        per_word(c.capitalised),
        per_word(c.acronyms),
        c.cjk / chars,
        c.non_latin / chars,
        c.non_ascii / chars,
        f32::from(u8::from(c.words <= 3.0)),
        f32::from(u8::from(c.words >= 60.0)),
        f32::from(u8::from(c.words >= 200.0)),
        (length - 4.0).max(0.0),
        (length - 6.0).max(0.0),
        per_word(c.numbers),
        f32::from(u8::from(scale > 1.0)),
    ];
    let gated: [f32; GATED] =
        [1.0, length, ln(c.stem_words), ln(distinct.len() as f32), per_word(c.scholarly_words)];
    let mut all = [0.0; DENSE];
    let mut out = all.iter_mut();
    let mut put = |value: f32| *out.next().expect("DENSE counts every feature") = value;
    shape.into_iter().for_each(&mut put);
    c.classes.into_iter().for_each(|count| put(ln(count)));
    for class in EDGE {
        put((c.head_classes >> class as usize & 1) as f32);
        put((c.tail_classes >> class as usize & 1) as f32);
    }
    for gate in [mcq, math, code, (1.0 - mcq) * (1.0 - math) * (1.0 - code)] {
        gated.iter().for_each(|value| put(gate * value));
    }
    all
}
