//! What an answer is worth: pure functions over text, each with its rule stated.
//!
//! Left out: judging by a model, and anything that needs judgement. Code is run elsewhere, see `code`.

use serde_json::Value;

use super::item::Rules;

/// Shortest repetition at the end of an answer that counts as a loop, in characters.
const LOOP_CHARS_MIN: usize = 40;
/// How often the end must repeat to be a loop.
const LOOP_TIMES: usize = 3;
/// How far from its start an answer is searched for a refusal, in characters.
const REFUSAL_CHARS: usize = 120;
/// How small models begin when they decline, lower case. Only languages of the shipped questions.
const REFUSALS: [&str; 18] = [
    "i'm sorry",
    "i am sorry",
    "sorry, but",
    "i cannot",
    "i can't",
    "i am unable",
    "i'm unable",
    "i'm not able",
    "as an ai",
    "es tut mir leid",
    "ich kann nicht",
    "lo siento",
    "je suis désolé",
    "mi dispiace",
    "desculpe",
    "抱歉",
    "对不起",
    "申し訳",
];

/// Lower case, without punctuation, English articles and surplus space: the normalisation of SQuAD's exact match
/// (Rajpurkar et al. 2016), with the punctuation of every script. Signs go as well, so numbers have a kind of their own.
pub(super) fn normalise(text: &str) -> String {
    let letters: String =
        text.to_lowercase().chars().filter(|c| c.is_alphanumeric() || c.is_whitespace()).collect();
    let words = letters.split_whitespace().filter(|word| !matches!(*word, "a" | "an" | "the"));
    words.collect::<Vec<_>>().join(" ")
}

pub(super) fn exact(accepted: &[String], answer: &str) -> bool {
    let answer = normalise(answer);
    !answer.is_empty() && accepted.iter().any(|one| normalise(one) == answer)
}

/// Whether one of them stands somewhere in the answer, as whole words: an upper bound for answers that are right but
/// wordier than was asked for. An answer that names several possibilities passes too.
pub(super) fn mentions(accepted: &[String], answer: &str) -> bool {
    let answer = normalise(answer);
    accepted.iter().map(|one| normalise(one)).any(|one| !one.is_empty() && has(&answer, &one))
}

/// The numbers of a text in order: a sign where no word or number stands before it, commas that part thousands,
/// a point before decimals, and no exponents.
pub(super) fn numbers(text: &str) -> Vec<f64> {
    let chars: Vec<char> = text.chars().map(|c| if c == '\u{2212}' { '-' } else { c }).collect();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        if !chars[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let start = at;
        let mut digits = String::new();
        while at < chars.len() {
            match chars[at] {
                digit if digit.is_ascii_digit() => digits.push(digit),
                ',' if !digits.contains('.') && parts_thousands(&chars, start, at) => {}
                '.' if !digits.contains('.') && chars.get(at + 1).is_some_and(char::is_ascii_digit) => {
                    digits.push('.');
                }
                _ => break,
            }
            at += 1;
        }
        let is_negative =
            start > 0 && chars[start - 1] == '-' && (start < 2 || !chars[start - 2].is_alphanumeric());
        if let Ok(value) = digits.parse::<f64>() {
            found.push(if is_negative { -value } else { value });
        }
    }
    found
}

/// Whether the comma at `at` has at most three digits before it and exactly three after.
fn parts_thousands(chars: &[char], start: usize, at: usize) -> bool {
    let digits = |range: &[char]| range.iter().take_while(|c| c.is_ascii_digit()).count();
    let before = chars[start..at].iter().rev().take_while(|c| c.is_ascii_digit()).count();
    (1..=3).contains(&before) && digits(&chars[at + 1..]) == 3
}

/// Whether the last number of the answer is the value.
pub(super) fn number(value: f64, tolerance: f64, answer: &str) -> bool {
    let rounding = 1e-9 * value.abs().max(1.0);
    numbers(answer).last().is_some_and(|last| (last - value).abs() <= tolerance + rounding)
}

/// Whether the answer is JSON that is valid and says at least what is expected.
pub(super) fn json(schema: Option<&jsonschema::Validator>, expected: Option<&Value>, answer: &str) -> bool {
    let Ok(found) = serde_json::from_str::<Value>(fenced(answer).unwrap_or(answer).trim()) else {
        return false;
    };
    schema.is_none_or(|schema| schema.is_valid(&found))
        && expected.is_none_or(|expected| says(expected, &found))
}

/// Every member that is expected is there with the same value; texts are compared as in [`exact`].
fn says(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            expected.iter().all(|(key, value)| found.get(key).is_some_and(|found| says(value, found)))
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len()
                && expected.iter().zip(found).all(|(expected, found)| says(expected, found))
        }
        (Value::Number(expected), Value::Number(found)) => expected.as_f64() == found.as_f64(),
        (Value::String(expected), Value::String(found)) => normalise(expected) == normalise(found),
        _ => expected == found,
    }
}

/// The contents of the first fenced block, if there is one.
pub(super) fn fenced(answer: &str) -> Option<&str> {
    let (_, rest) = answer.split_once("```")?;
    let (_, body) = rest.split_once('\n')?;
    Some(body.split_once("```").map_or(body, |(body, _)| body))
}

pub(super) fn rules(rules: &Rules, answer: &str) -> bool {
    let answer = answer.trim();
    let folded = fold(answer);
    let words = answer.split_whitespace().count();
    rules.contains.iter().all(|some| some.iter().any(|text| has(&folded, &fold(text))))
        && !rules.absent.iter().any(|text| has(&folded, &fold(text)))
        && rules.pattern.as_ref().is_none_or(|pattern| pattern.is_match(answer))
        && words >= rules.words_min
        && rules.words_max.is_none_or(|most| words <= most)
}

fn fold(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a text holds another as whole words, or anywhere in scripts that put no space between words.
fn has(text: &str, wanted: &str) -> bool {
    let spaceless = wanted.chars().any(|c| matches!(c, '\u{0E00}'..='\u{0E7F}' | '\u{3040}'..='\u{9FFF}'));
    text.match_indices(wanted).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + wanted.len()..].chars().next();
        spaceless || ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    })
}

/// Whether an answer begins as one that declines does.
pub(super) fn is_refusal(answer: &str) -> bool {
    let start: String = answer.chars().take(REFUSAL_CHARS).collect();
    let start = start.to_lowercase().replace('\u{2019}', "'");
    REFUSALS.iter().any(|phrase| start.contains(phrase))
}

/// Whether an answer ends in the same words over and over. Only for answers that ran into their limit.
pub(super) fn is_loop(answer: &str) -> bool {
    let chars: Vec<char> = answer.chars().rev().take(2000).collect();
    (1..=chars.len() / LOOP_TIMES).any(|period| {
        let length = (period * LOOP_TIMES).max(LOOP_CHARS_MIN);
        length <= chars.len() && (period..length).all(|at| chars[at] == chars[at - period])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_ignores_case_punctuation_and_articles() {
        let accepted = [String::from("The Nile"), String::from("São Paulo")];
        for answer in ["nile", "the  Nile.", "\"Nile\"\n", "são paulo!"] {
            assert!(exact(&accepted, answer), "{answer}");
        }
        for answer in ["", "...", "the", "river Nile", "nil", "Sao Paulo"] {
            assert!(!exact(&accepted, answer), "{answer}");
        }
        assert!(mentions(&accepted, "It is the river Nile, I think."));
        assert!(!mentions(&accepted, "Nilesh"));
        assert!(!mentions(&[String::from("...")], "anything"));
    }

    #[test]
    fn the_last_number_counts() {
        for (text, expected) in [
            ("It is 1,234.50 dollars.", Some(1234.5)),
            ("3 + 4 = 7", Some(7.0)),
            ("10-5", Some(5.0)),
            ("about -5 degrees", Some(-5.0)),
            ("\u{2212}5", Some(-5.0)),
            ("**42**", Some(42.0)),
            ("1, 2, 3", Some(3.0)),
            ("1,2", Some(2.0)),
            ("12,345,678", Some(12_345_678.0)),
            ("version 1.2.3", Some(3.0)),
            ("none", None),
        ] {
            assert_eq!(numbers(text).last().copied(), expected, "{text}");
        }
        assert!(number(0.3, 0.0, "0.1 + 0.2 = 0.3"));
        assert!(number(2.5, 0.01, "about 2.507"));
        assert!(!number(2.5, 0.001, "about 2.507"));
        assert!(!number(3.0, 0.0, ""));
    }

    #[test]
    fn json_must_parse_be_valid_and_say_what_is_expected() {
        let schema = serde_json::json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
        let schema = jsonschema::validator_for(&schema).unwrap();
        let expected = serde_json::json!({"name": "Ann Lee", "n": 2});
        let check = |answer: &str| json(Some(&schema), Some(&expected), answer);
        assert!(check(r#"{"n": 2.0, "name": "ann lee", "more": []}"#));
        assert!(check("Here:\n```json\n{\"n\": 2, \"name\": \"Ann Lee\"}\n```\nDone."));
        for answer in [
            "",
            "{",
            r#"{"n": 2}"#,
            r#"{"n": 3, "name": "Ann Lee"}"#,
            r#"{"n": "2", "name": "Ann Lee"}"#,
            r#"So: {"n": 2, "name": "Ann Lee"}"#,
        ] {
            assert!(!check(answer), "{answer}");
        }
    }

    #[test]
    fn rules_look_for_whole_words() {
        let contains = vec![vec![String::from("cat"), String::from("dog")], vec![String::from("東京")]];
        let with =
            Rules { contains, absent: vec![String::from("bird")], words_max: Some(6), ..Rules::default() };
        assert!(rules(&with, "A Dog, in東京都."));
        for answer in ["cats 東京", "cat", "cat bird 東京", "cat one two three four five 東京"] {
            assert!(!rules(&with, answer), "{answer}");
        }
        let pattern = Some(regex::Regex::new("^(- .+\n?){3}$").unwrap());
        let with = Rules { pattern, words_min: 4, ..Rules::default() };
        assert!(rules(&with, "- a\n- b\n- c\n"));
        assert!(!rules(&with, "- a\n- b\n"));
    }

    #[test]
    fn loops_and_refusals_are_seen() {
        assert!(is_loop(&format!("So it goes. {}", "again and again ".repeat(5))));
        assert!(is_loop(&"a".repeat(60)));
        assert!(!is_loop("10000000000"));
        assert!(!is_loop(
            "One thing after another, and never the same thing twice, until the very end of it."
        ));
        assert!(is_refusal("I\u{2019}m sorry, but I cannot help."));
        assert!(is_refusal("抱歉，我不能"));
        assert!(!is_refusal("Paris"));
    }
}
