//! From scores of tokens to findings.
//!
//! A word is a run of letters, marks, digits and underscores. Its chance of being of a kind is the highest among its tokens
//! (the sum of "begins" and "goes on"), so that one sure piece carries the whole word: half a name is no cover. A word is
//! of its likeliest kind, if that chance reaches the kind's threshold. Words of one kind join when little stands between
//! them and the later one rather goes on than begins. A finding at its threshold scores 0.5, from where policies count
//! findings: a kind's threshold is where it counts, whatever chance that is. The thresholds were chosen on the development data for F2
//! (`train/ner/thresholds.py`, which computes the same; a test holds both together).

use std::collections::BTreeMap;
use std::ops::Range;

use local_runtime::TaggedToken;
use policies::{EntityKind, FindingSource};
use serde::Deserialize;

use super::KINDS;
use crate::Error;
use crate::sensitivity::LocalFinding;

/// Most characters between two words of one name.
const GAP_CHARS_MAX: usize = 4;
/// Score of a finding at its threshold, and of a certain one: never as sure as a value with a valid check digit.
const SCORES: (f32, f32) = (0.5, 0.95);

#[derive(Deserialize)]
struct RawThresholds {
    thresholds: BTreeMap<String, f32>,
}

/// Reads tagged tokens.
#[derive(Debug)]
pub(super) struct Reader {
    kinds: Vec<Kind>,
    labels: usize,
}

#[derive(Debug)]
struct Kind {
    kind: EntityKind,
    threshold: f32,
    begins: usize,
    goes_on: usize,
}

/// A word with the chance of each kind.
struct Word {
    at: Range<usize>,
    best: usize,
    chance: f32,
    begins: bool,
}

impl Reader {
    /// For the labels of a network (`O`, `B-PERSON`, `I-PERSON`, ...) and the thresholds beside it.
    ///
    /// # Errors
    /// [`Error::Weights`] when they do not fit together.
    pub(super) fn new(labels: &[String], thresholds: &[u8]) -> Result<Self, Error> {
        let RawThresholds { thresholds } = serde_json::from_slice(thresholds)
            .map_err(|_| Error::Weights("thresholds.json is not what the names model needs"))?;
        let place = |label: String| labels.iter().position(|known| *known == label);
        let mut kinds = Vec::new();
        for (name, threshold) in thresholds {
            let known = name.parse().ok().filter(|kind| KINDS.contains(kind));
            let kind = known.ok_or(Error::Weights("thresholds.json names a kind that is not looked for"))?;
            let (Some(begins), Some(goes_on)) = (place(format!("B-{name}")), place(format!("I-{name}")))
            else {
                return Err(Error::Weights("thresholds.json names a kind that the names model has not"));
            };
            if !(0.0..=1.0).contains(&threshold) {
                return Err(Error::Weights("a threshold of the names model is not between 0 and 1"));
            }
            kinds.push(Kind { kind, threshold, begins, goes_on });
        }
        Ok(Self { kinds, labels: labels.len() })
    }

    /// Findings in a text, in its code points, sorted.
    pub(super) fn read(&self, text: &str, tokens: &[TaggedToken]) -> Vec<LocalFinding> {
        let chars: Vec<char> = text.chars().collect();
        let mut found: Vec<(usize, Range<usize>, Vec<f32>)> = Vec::new();
        for word in self.words(&chars, tokens) {
            if let Some((kind, at, chances)) = found.last_mut()
                && *kind == word.best
                && !word.begins
                && joins(&chars[at.end..word.at.start])
            {
                at.end = word.at.end;
                chances.push(word.chance);
            } else {
                found.push((word.best, word.at, vec![word.chance]));
            }
        }
        let finding = |(kind, at, chances): (usize, Range<usize>, Vec<f32>)| {
            let Kind { kind, threshold, .. } = self.kinds[kind];
            let mean = chances.iter().sum::<f32>() / chances.len() as f32;
            LocalFinding {
                start: with_sign(kind, &chars, at.start),
                end: at.end,
                kind,
                subtype: None,
                score: score(mean, threshold),
                source: FindingSource::Ner,
            }
        };
        found.into_iter().map(finding).collect()
    }

    /// Words that are of some kind.
    fn words(&self, chars: &[char], tokens: &[TaggedToken]) -> Vec<Word> {
        let mut all = Vec::new();
        let mut first = 0;
        for at in runs(chars) {
            while first < tokens.len() && tokens[first].end <= at.start {
                first += 1;
            }
            let inside = tokens[first..].iter().take_while(|token| token.start < at.end);
            let mut chances = vec![0.0_f32; self.kinds.len()];
            let mut begins = vec![None; self.kinds.len()];
            for token in inside.filter(|token| token.end > token.start && token.logits.len() == self.labels) {
                let shares = softmax(&token.logits);
                for (index, kind) in self.kinds.iter().enumerate() {
                    let (begin, go_on) = (shares[kind.begins], shares[kind.goes_on]);
                    chances[index] = chances[index].max(begin + go_on);
                    begins[index].get_or_insert(begin > go_on);
                }
            }
            let likeliest = chances.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            if let Some((best, &chance)) = likeliest
                && chance >= self.kinds[best].threshold
            {
                all.push(Word { at, best, chance, begins: begins[best].unwrap_or(true) });
            }
        }
        all
    }
}

fn score(chance: f32, threshold: f32) -> f32 {
    let (least, most) = SCORES;
    let above = (chance - threshold) / (1.0 - threshold).max(f32::EPSILON);
    least + (most - least) * above.clamp(0.0, 1.0)
}

/// Whether what stands between two words leaves them one name.
fn joins(between: &[char]) -> bool {
    between.len() <= GAP_CHARS_MAX && !between.contains(&'\n')
}

/// A handle is found with the sign before it.
fn with_sign(kind: EntityKind, chars: &[char], start: usize) -> usize {
    let signed = kind == EntityKind::Username && start > 0 && chars[start - 1] == '@';
    start - usize::from(signed)
}

/// Runs of word characters.
fn runs(chars: &[char]) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    for (at, &c) in chars.iter().enumerate() {
        if !(c.is_alphanumeric() || c == '_' || is_mark(c)) {
            continue;
        }
        match all.last_mut() {
            Some(run) if run.end == at => run.end = at + 1,
            _ => all.push(at..at + 1),
        }
    }
    all
}

/// Combining marks of the scripts whose letters carry them, by block.
const fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5c7}' | '\u{64b}'..='\u{65f}' | '\u{93a}'..='\u{94f}' | '\u{e31}'..='\u{e4e}')
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let raised: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let total: f32 = raised.iter().sum();
    raised.into_iter().map(|value| value / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> Reader {
        let labels = ["O", "B-PERSON", "I-PERSON", "B-USERNAME", "I-USERNAME"].map(str::to_owned);
        Reader::new(&labels, br#"{"thresholds":{"PERSON":0.5,"USERNAME":0.5}}"#).expect("fits")
    }

    fn token(start: usize, end: usize, label: usize) -> TaggedToken {
        let mut logits = vec![0.0; 5];
        logits[label] = 6.0;
        TaggedToken { start, end, logits }
    }

    #[test]
    fn one_sure_piece_carries_its_word_and_names_join() {
        let text = "An Jo Wałęsa, Bo";
        let tokens = [
            token(0, 2, 0),
            token(3, 5, 1),
            token(6, 8, 0),
            token(8, 12, 2),
            token(12, 13, 0),
            token(14, 16, 1),
        ];
        let found = reader().read(text, &tokens);
        let spans: Vec<_> = found.iter().map(|f| (f.start, f.end)).collect();
        assert_eq!(spans, [(3, 12), (14, 16)]);
    }

    #[test]
    fn a_handle_has_its_sign_and_lines_part_names() {
        let found = reader().read("hi @jo_x", &[token(0, 2, 0), token(3, 8, 3)]);
        assert_eq!((found[0].start, found[0].end), (3, 8));
        let found = reader().read("Jo\nBo", &[token(0, 2, 1), token(3, 5, 2)]);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_finding_counts_from_its_threshold_on() {
        for threshold in [0.1, 0.35, 0.95] {
            assert!((score(threshold, threshold) - 0.5).abs() < 1e-6);
            assert!((score(1.0, threshold) - 0.95).abs() < 1e-6);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let labels = ["O".to_owned()];
        for bad in ["{}", "[", r#"{"thresholds":{"PERSON":0.5}}"#, r#"{"thresholds":{"CAT":0.5}}"#] {
            assert!(Reader::new(&labels, bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
