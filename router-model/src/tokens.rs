//! How many tokens a text will be, without a tokenizer.
//!
//! The estimate is used until the exact count of a loaded tokenizer replaces it: to reserve budget, to check
//! a context window, to show a price. Byte-pair tokenizers split a text into runs of letters, of up to three
//! digits, of marks and of blanks first, so the estimate walks the same runs and charges each by its script
//! and length. The rates were fitted to `o200k_base`; `MODEL_CARD.md` states the error.

use crate::Prompt;

/// Tokens that a chat template adds around each message.
const TOKENS_PER_MESSAGE: u32 = 4;

/// Letters of an ASCII word that its first token covers.
const WORD_LETTERS: f32 = 8.0;
/// Letters of every further token of a word.
const MORE_LETTERS: f32 = 4.5;

/// Kinds of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Blank,
    Word,
    Digits,
    Marks,
    /// Letters that are charged one by one.
    Letters,
}

/// Estimated tokens of one text.
#[must_use]
pub fn estimate(text: &str) -> u32 {
    let mut total = 0.0_f64;
    let mut run = Run::Blank;
    let mut length = 0_u32;
    for c in text.chars() {
        let (next, alone) = classify(c);
        total += f64::from(alone);
        if next != run {
            total += f64::from(cost(run, length));
            (run, length) = (next, 0);
        }
        length += 1;
        if next == Run::Blank && c == '\n' && length == 1 {
            total += 0.9;
        }
    }
    total += f64::from(cost(run, length));
    total.ceil() as u32
}

/// Estimated input tokens of a whole request, with the frame of each message.
#[must_use]
pub fn of_prompt(prompt: &Prompt<'_>) -> u32 {
    prompt.segments.iter().fold(0_u32, |sum, segment| {
        sum.saturating_add(estimate(&segment.text)).saturating_add(TOKENS_PER_MESSAGE)
    })
}

fn cost(run: Run, length: u32) -> f32 {
    let length = length as f32;
    match run {
        _ if length == 0.0 => 0.0,
        // A single blank belongs to the word after it.
        Run::Blank => f32::from(u8::from(length > 1.0)) * 0.9,
        Run::Word => 1.0 + ((length - WORD_LETTERS).max(0.0) / MORE_LETTERS),
        Run::Digits => (length / 3.0).ceil(),
        Run::Marks => 0.5 + 0.4 * length,
        Run::Letters => 0.0,
    }
}

/// The run that a character belongs to, and what it costs by itself.
fn classify(c: char) -> (Run, f32) {
    match c {
        'a'..='z' | 'A'..='Z' => (Run::Word, 0.0),
        '0'..='9' => (Run::Digits, 0.0),
        _ if c.is_whitespace() => (Run::Blank, 0.0),
        _ if c.is_ascii() => (Run::Marks, 0.0),
        '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => (Run::Word, 0.45),
        '\u{370}'..='\u{3ff}' => (Run::Letters, 0.45),
        '\u{400}'..='\u{52f}' => (Run::Letters, 0.29),
        '\u{590}'..='\u{6ff}' => (Run::Letters, 0.37),
        '\u{900}'..='\u{dff}' => (Run::Letters, 0.28),
        '\u{e00}'..='\u{eff}' => (Run::Letters, 0.27),
        '\u{3041}'..='\u{30ff}' => (Run::Letters, 0.62),
        '\u{3400}'..='\u{9fff}' => (Run::Letters, 0.78),
        '\u{ac00}'..='\u{d7af}' => (Run::Letters, 0.67),
        '\u{3000}'..='\u{303f}' | '\u{ff00}'..='\u{ffef}' => (Run::Letters, 0.9),
        _ if c.is_alphabetic() => (Run::Letters, 0.8),
        _ => (Run::Marks, 0.8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts of `o200k_base`.
    #[test]
    fn close_to_a_real_tokenizer() {
        let rows = include_str!("../tests/data/tokens.tsv").lines().filter_map(|line| line.split_once('\t'));
        for (count, text) in rows {
            let exact: f32 = count.parse().expect("count");
            let guess = estimate(text) as f32;
            assert!((guess - exact).abs() <= 2.0_f32.max(0.35 * exact), "{guess} for {exact}: {text}");
        }
    }

    #[test]
    fn grows_with_the_text() {
        assert_eq!(estimate(""), 0);
        let mut before = 0;
        for words in 1..50 {
            let now = estimate(&"word ".repeat(words));
            assert!(now >= before);
            before = now;
        }
    }
}
