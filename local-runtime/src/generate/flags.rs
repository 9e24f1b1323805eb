//! Signs of a bad answer, found while it grows.
//!
//! All are cheap (a few hundred operations a token) and none reads the model's mind: they are inputs for a
//! decision about the answer, made elsewhere. Each errs on the side of silence except [`OutputFlag::LanguageSwitch`], which is
//! also raised by an answer that was asked to be in another script, such as a translation.

use std::collections::HashMap;

use unicode_script::{Script, UnicodeScript};

/// A sign that an answer is not what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutputFlag {
    /// No text, or nothing but whitespace.
    Empty,
    /// The answer ended in a cycle: its last tokens repeat a group of 1 to 64 tokens, four times or more in a row and for 24
    /// tokens or more.
    Loop,
    /// The answer begins as a refusal does: one of a list of phrases in ten languages lies in its first 160 characters.
    Refusal,
    /// At least 30 % of the answer's letters, and 16 of them, are of a script that less than 2 % of the prompt's letters
    /// are of. Languages that share a script are not told apart; Han and Kana count as one.
    LanguageSwitch,
    /// The answer was cut off for its length.
    Truncated,
}

impl OutputFlag {
    /// A short static name, for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Loop => "loop",
            Self::Refusal => "refusal",
            Self::LanguageSwitch => "language_switch",
            Self::Truncated => "truncated",
        }
    }

    /// Does an answer that begins like this refuse? What [`OutputFlag::Refusal`] says at the end, for those who want to
    /// know before it.
    #[must_use]
    pub fn refuses(beginning: &str) -> bool {
        begins_as_refusal(beginning)
    }
}

const PERIOD_MAX: usize = 64;
const CYCLES_MIN: usize = 4;
const LOOP_TOKENS_MIN: usize = 24;
const HEAD_CHARACTERS: usize = 160;
const FOREIGN_LETTERS_MIN: u32 = 16;
/// Shares in percent.
const FOREIGN_SHARE: u32 = 30;
const KNOWN_SHARE: u32 = 2;

/// Lower case, with straight apostrophes. Beginnings that a person would hardly use in an answer of substance.
const REFUSALS: &[&str] = &[
    // English
    "i can't assist",
    "i cannot assist",
    "i can't help with",
    "i cannot help with",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "i am not able to",
    "i can't provide",
    "i cannot provide",
    "i can't fulfill",
    "i cannot fulfill",
    "i'm sorry, but i can",
    "i am sorry, but i can",
    "sorry, but i can't",
    "as an ai language model",
    "as an ai, i",
    "i must decline",
    // German
    "ich kann ihnen dabei nicht",
    "ich kann dir dabei nicht",
    "dabei kann ich nicht helfen",
    "tut mir leid, aber ich kann",
    "als ki-sprachmodell",
    // French
    "je ne peux pas vous aider",
    "je ne peux pas t'aider",
    "je ne suis pas en mesure",
    "désolé, mais je ne",
    // Spanish
    "no puedo ayudarte con",
    "no puedo ayudarle con",
    "lo siento, pero no puedo",
    "como modelo de lenguaje",
    // Italian
    "non posso aiutarti con",
    "mi dispiace, ma non posso",
    // Portuguese
    "não posso ajudar com",
    "desculpe, mas não posso",
    "sinto muito, mas não",
    // Dutch
    "ik kan je daar niet",
    "het spijt me, maar ik kan",
    // Russian
    "я не могу помочь",
    "извините, но я не могу",
    // Chinese
    "我无法",
    "我不能提供",
    "抱歉，我",
    "对不起，我",
    "作为一个人工智能",
    // Japanese
    "申し訳ありませんが",
    "申し訳ございませんが",
    "お手伝いできません",
];

/// Watches one answer.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The newest last; no more than are needed to look back.
    recent: Vec<u32>,
    /// For each period, how many of the last tokens equal the one that many places before.
    matching: [u32; PERIOD_MAX],
    head: String,
    has_text: bool,
    letters: HashMap<Script, u32>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            recent: Vec::new(),
            matching: [0; PERIOD_MAX],
            head: String::new(),
            has_text: false,
            letters: HashMap::new(),
        }
    }

    /// Takes a token and the text that became certain with it.
    pub(crate) fn token(&mut self, id: u32, text: &str) {
        for (period, matching) in (1..).zip(&mut self.matching) {
            let before = self.recent.len().checked_sub(period).map(|at| self.recent[at]);
            *matching = if before == Some(id) { *matching + 1 } else { 0 };
        }
        if self.recent.len() >= 4 * PERIOD_MAX {
            self.recent.drain(..3 * PERIOD_MAX);
        }
        self.recent.push(id);
        self.text(text);
    }

    /// Takes text that came without a token.
    pub(crate) fn text(&mut self, text: &str) {
        self.has_text |= text.chars().any(|character| !character.is_whitespace());
        if self.head.len() < HEAD_CHARACTERS * 4 {
            self.head.push_str(text);
        }
        count_letters(text, &mut self.letters);
    }

    /// What was seen; `prompt` gives the prompt's text and is asked only if that matters.
    pub(crate) fn flags(&self, truncated: bool, prompt: impl FnOnce() -> String) -> Vec<OutputFlag> {
        let found = [
            (OutputFlag::Empty, !self.has_text),
            (OutputFlag::Loop, self.is_looping()),
            (OutputFlag::Refusal, begins_as_refusal(&self.head)),
            (OutputFlag::LanguageSwitch, self.has_switched(prompt)),
            (OutputFlag::Truncated, truncated),
        ];
        found.into_iter().filter_map(|(flag, is_so)| is_so.then_some(flag)).collect()
    }

    fn is_looping(&self) -> bool {
        (1..).zip(&self.matching).any(|(period, &matching)| {
            let repeated = matching as usize;
            repeated >= (CYCLES_MIN - 1) * period && repeated + period >= LOOP_TOKENS_MIN
        })
    }

    fn has_switched(&self, prompt: impl FnOnce() -> String) -> bool {
        let total: u32 = self.letters.values().sum();
        let foreign = |count: u32| count >= FOREIGN_LETTERS_MIN && count * 100 >= total * FOREIGN_SHARE;
        let suspects: Vec<Script> =
            self.letters.iter().filter(|(_, count)| foreign(**count)).map(|(script, _)| *script).collect();
        // Every prompt has the chat template's Latin words, so Latin answers need no look at it.
        if suspects.iter().all(|script| *script == Script::Latin) {
            return false;
        }
        let mut known = HashMap::new();
        count_letters(&prompt(), &mut known);
        let total: u32 = known.values().sum();
        suspects.iter().any(|script| {
            *script != Script::Latin && known.get(script).copied().unwrap_or(0) * 100 < total * KNOWN_SHARE
        })
    }
}

fn begins_as_refusal(text: &str) -> bool {
    let head = text.chars().take(HEAD_CHARACTERS).flat_map(char::to_lowercase);
    let head: String = head.map(|character| if character == '\u{2019}' { '\'' } else { character }).collect();
    REFUSALS.iter().any(|phrase| head.contains(phrase))
}

fn count_letters(text: &str, letters: &mut HashMap<Script, u32>) {
    for character in text.chars().filter(|character| character.is_alphabetic()) {
        let script = match character.script() {
            Script::Hiragana | Script::Katakana => Script::Han,
            Script::Common | Script::Inherited | Script::Unknown => continue,
            other => other,
        };
        *letters.entry(script).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(answer: &str, prompt: &str) -> Vec<OutputFlag> {
        let mut watch = Watch::new();
        for (id, word) in (0..).zip(answer.split_inclusive(' ')) {
            watch.token(id, word);
        }
        watch.flags(false, || prompt.to_owned())
    }

    fn loops(ids: impl IntoIterator<Item = u32>) -> bool {
        let mut watch = Watch::new();
        ids.into_iter().for_each(|id| watch.token(id, "x"));
        watch.flags(false, String::new).contains(&OutputFlag::Loop)
    }

    #[test]
    fn a_plain_answer_has_no_flags() {
        assert_eq!(flags("Paris is the capital of France.", "What is the capital of France?"), []);
        assert_eq!(flags("可以，首都是巴黎。", "法国的首都是什么？请用中文回答。"), []);
    }

    #[test]
    fn whitespace_is_empty() {
        assert_eq!(flags(" \n ", "hi"), [OutputFlag::Empty]);
        assert_eq!(Watch::new().flags(true, String::new), [OutputFlag::Empty, OutputFlag::Truncated]);
    }

    #[test]
    fn cycles_at_the_end_are_loops() {
        assert!(loops((0..10).chain(std::iter::repeat_n(7, 24))));
        assert!(!loops((0..10).chain(std::iter::repeat_n(7, 23))));
        for period in [2, 5, 33, 64] {
            let cycles = |count: u32| (100..140).chain((0..count * period).map(move |at| at % period));
            assert!(loops(cycles(24_u32.div_ceil(period).max(4))), "{period}");
            assert!(!loops(cycles(3)), "{period}");
        }
        assert!(!loops((0..2000).map(|at| at % 65)), "longer cycles are not looked for");
        assert!(!loops(std::iter::repeat_n(7, 60).chain([1, 2])), "it found a way out");
        let mut counter = 0;
        assert!(
            !loops(std::iter::from_fn(|| {
                counter += 1;
                (counter < 400).then_some(if counter % 4 == 0 { counter } else { counter % 4 })
            })),
            "a list's items differ"
        );
    }

    #[test]
    fn refusals_are_known_by_how_they_begin() {
        for text in [
            "I’m sorry, but I can’t help with that request.",
            "Unfortunately, I am unable to browse the internet.",
            "Es tut mir leid, aber ich kann das nicht tun.",
            "Lo siento, pero no puedo hacer eso.",
            "Je ne suis pas en mesure de répondre.",
            "抱歉，我不能回答这个问题。",
        ] {
            assert!(flags(text, "法国 ответ").contains(&OutputFlag::Refusal), "{text}");
        }
        let late = format!("{} As an AI language model", "The answer is forty-two. ".repeat(10));
        assert_eq!(flags(&late, "hi"), []);
        assert_eq!(flags("You can refuse by saying: no thanks.", "How do I refuse?"), []);
    }

    #[test]
    fn a_script_that_the_prompt_lacks_is_a_switch() {
        let chinese = "法国的首都是巴黎，它位于塞纳河畔，是一座美丽的城市。";
        assert_eq!(flags(chinese, "What is the capital of France?"), [OutputFlag::LanguageSwitch]);
        assert_eq!(flags(chinese, "法国的首都是什么"), []);
        assert_eq!(flags("Париж — столица Франции, это знают все.", "Скажи, какая столица у Франции?"), []);
        let mixed = "The capital of France is Paris, which lies on the Seine (巴黎).";
        assert_eq!(flags(mixed, "What is the capital of France?"), []);
        assert_eq!(
            flags("Paris is the capital of France.", "法国的首都是什么"),
            [],
            "Latin is never foreign"
        );
    }
}
