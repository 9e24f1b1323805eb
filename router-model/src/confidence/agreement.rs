//! Whether two answers to one question say the same.
//!
//! Words and numbers are compared, not meaning: two good essays on one subject agree little. That is enough where
//! answers are short or end in a result, and a lower bound elsewhere. Used for self-consistency and for shadows.

use std::collections::{BTreeSet, HashMap};

use policies::Task;
use serde_json::Value;

/// Words up to which an answer counts as short: then what matters is whether the other one says it too.
const SHORT_WORDS: usize = 6;
/// Words of one answer that are compared.
const WORDS_MAX: usize = 4_096;

/// How far two answers agree, in `[0, 1]`.
///
/// Equal texts agree wholly. Structured ones (JSON) by the share of entries that both have. Sums and choices by their
/// last number or letter alone, since the way there may differ. All others by their words: F1 of the two bags, or,
/// where one is short, the share of its words that the other has.
#[must_use]
pub fn agreement(one: &str, other: &str, task: Task) -> f32 {
    let (one, other) = (one.trim(), other.trim());
    if one.is_empty() || other.is_empty() {
        return 0.0;
    }
    if one == other {
        return 1.0;
    }
    if let (Some(a), Some(b)) = (entries(one), entries(other)) {
        return share(a.intersection(&b).count(), a.union(&b).count());
    }
    if let (Some(a), Some(b)) = (final_answer(one, task), final_answer(other, task)) {
        return if a == b { 1.0 } else { 0.0 };
    }
    let (a, b) = (words(one), words(other));
    let (sum_a, sum_b) = (a.values().sum::<usize>(), b.values().sum::<usize>());
    let common =
        a.iter().map(|(word, count)| b.get(word).map_or(0, |there| *there.min(count))).sum::<usize>();
    match sum_a.min(sum_b) {
        0 => 0.0,
        least if least <= SHORT_WORDS => share(common, least),
        _ => share(2 * common, sum_a + sum_b),
    }
}

/// Whether [`agreement`] of these answers tells if one is as good as the other: results, entries or short answers were compared.
/// Otherwise it only counts words in common.
#[must_use]
pub fn compares_results(one: &str, other: &str, task: Task) -> bool {
    let (one, other) = (one.trim(), other.trim());
    let short = |text: &str| text.split_whitespace().nth(SHORT_WORDS).is_none();
    one == other
        || (entries(one).is_some() && entries(other).is_some())
        || (final_answer(one, task).is_some() && final_answer(other, task).is_some())
        || short(one)
        || short(other)
}

/// What an answer comes to, where the task is one that has a result: the last number of a sum, the letter of a choice.
#[must_use]
pub fn final_answer(text: &str, task: Task) -> Option<String> {
    match task {
        Task::Math => last_number(text),
        Task::KnowledgeMcq | Task::ReadingMcq => letter(text),
        _ => None,
    }
}

/// The last number, without grouping and trailing zeros.
fn last_number(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.' || c == ',';
    let end = text.rfind(|c: char| c.is_ascii_digit())? + 1;
    let length: usize = text[..end].chars().rev().take_while(|c| is_part(*c)).map(char::len_utf8).sum();
    let (before, run) = text[..end].split_at(end - length);
    let value: f64 = run.replace(',', "").parse().ok()?;
    let value = if before.ends_with(['-', '\u{2212}']) { -value } else { value };
    Some(format!("{value}"))
}

/// The letter of a choice: an answer that begins with one, or the last one that stands alone.
fn letter(text: &str) -> Option<String> {
    let alone = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        (word.len() == 1 && word.bytes().all(|b| b.is_ascii_uppercase())).then(|| word.to_owned())
    };
    let mut words = text.split_whitespace();
    words.next().and_then(alone).or_else(|| text.split_whitespace().rev().find_map(alone))
}

/// Paths and values of a JSON object or array; `None` for anything else.
fn entries(text: &str) -> Option<BTreeSet<String>> {
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let inner = inner.map(|inner| inner.strip_prefix("json").unwrap_or(inner)).unwrap_or(text);
    let value: Value = serde_json::from_str(inner).ok()?;
    if !(value.is_object() || value.is_array()) {
        return None;
    }
    let mut found = BTreeSet::new();
    collect(&value, String::new(), &mut found);
    Some(found)
}

fn collect(value: &Value, path: String, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                collect(value, format!("{path}/{key}"), found);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                collect(value, format!("{path}/{index}"), found);
            }
        }
        other => {
            found.insert(format!("{path}={other}"));
        }
    }
}

/// Words in lower case with their counts; a letter of a script without spaces counts as a word.
fn words(text: &str) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    let lower = text.to_lowercase();
    for run in lower.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty()).take(WORDS_MAX) {
        if run.chars().any(|c| c >= '\u{2e80}') {
            for letter in run.chars().take(WORDS_MAX) {
                *counts.entry(letter.to_string()).or_insert(0) += 1;
            }
        } else {
            *counts.entry(run.to_owned()).or_insert(0) += 1;
        }
    }
    counts
}

#[expect(clippy::cast_precision_loss, reason = "counts of words")]
fn share(part: usize, whole: usize) -> f32 {
    if whole == 0 { 0.0 } else { (part as f32 / whole as f32).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_agree_as_a_reader_would_say() {
        use Task::{ClosedQa, KnowledgeMcq, Math, OpenQa};
        for (one, other, task, low, high) in [
            ("Paris", "The capital of France is Paris.", OpenQa, 1.0, 1.0),
            ("Lyon", "The capital of France is Paris.", OpenQa, 0.0, 0.0),
            ("so it is 1,200.", "12 * 100 = 1200", Math, 1.0, 1.0),
            ("The result is -4", "4", Math, 0.0, 0.0),
            ("-1,200", "-1200.0 in all.", Math, 1.0, 1.0),
            ("3.50 euros", "She pays 3.5", Math, 1.0, 1.0),
            ("B", "The answer is (B), since A is wrong.", KnowledgeMcq, 0.0, 1.0),
            ("B) because", "B", KnowledgeMcq, 1.0, 1.0),
            ("A", "C", KnowledgeMcq, 0.0, 0.0),
            ("{\"a\": 1, \"b\": [2]}", "{\"b\":[2],\"a\":1}", ClosedQa, 1.0, 1.0),
            ("{\"a\": 1}", "{\"a\": 2}", ClosedQa, 0.0, 0.0),
            ("", "Paris", OpenQa, 0.0, 0.0),
            ("巴黎", "法国的首都是巴黎。", OpenQa, 1.0, 1.0),
        ] {
            let found = agreement(one, other, task);
            assert!((low..=high).contains(&found), "{one:?} and {other:?}: {found}");
            assert_eq!(found, agreement(other, one, task), "it does not matter which comes first");
        }
        let long = "A river is a natural stream of water that flows towards a sea, a lake or another river.";
        let near = "A river is a natural flow of water that runs towards an ocean, a lake or another river.";
        let far = "Bread is made of flour, water, salt and yeast, and it is baked in an oven for an hour.";
        assert!(agreement(long, near, OpenQa) > 0.6 && agreement(long, far, OpenQa) < 0.35);
    }
}
