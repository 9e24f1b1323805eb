//! From answers to figures with their uncertainty.
//!
//! Shares come with Wilson's 95 % interval (Wilson 1927), which stays honest at small counts and near 0 and 1.
//! The AUROC says how often a right answer had more confidence than a wrong one; 0.5 is guessing. Skipped
//! questions count nowhere but in their own column.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, TableStyle, presets};
use router_model::measure;
use serde::Serialize;

use super::item::Fault;

/// An interval holds the truth but for this share of cases.
const RISK: f64 = 0.05;

/// How one question went.
#[derive(Debug, Serialize)]
pub(super) struct Answered {
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) category: String,
    pub(super) language: String,
    /// `None` where it could not be scored: code that was not to be run.
    pub(super) correct: Option<bool>,
    /// Whether a right answer stands in it, of kind `exact`; the same as `correct` for other kinds.
    pub(super) mentioned: Option<bool>,
    /// Exponential of the mean log-probability of the answer's tokens; for a choice, the letter's probability.
    pub(super) confidence: f64,
    pub(super) refused: bool,
    pub(super) empty: bool,
    pub(super) looped: bool,
    pub(super) cut_short: bool,
    pub(super) answer: String,
    pub(super) prompt_tokens: u32,
    pub(super) signals: Signals,
    #[serde(skip)]
    pub(super) work: Work,
}

/// What the model's own probabilities say about an answer, token by token: what confidence is trained on.
#[derive(Debug, Default, Serialize)]
pub(super) struct Signals {
    /// Natural logarithm of the probability of each token of the answer.
    pub(super) logprob: Vec<f32>,
    /// Entropy of the distribution that each was drawn from, in nats.
    pub(super) entropy: Vec<f32>,
}

/// What one answer, or all of them, took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    /// Tokens after the first of each answer, which are those that `decode` was spent on.
    pub(super) decoded_tokens: u64,
    pub(super) prefill: Duration,
    pub(super) decode: Duration,
}

/// Under what conditions the figures were made.
#[derive(Debug, Serialize)]
pub(super) struct Conditions {
    pub(super) model: String,
    pub(super) family: String,
    pub(super) source_sha256: Option<String>,
    pub(super) sluicegate: &'static str,
    pub(super) onnxruntime: &'static str,
    pub(super) threads: usize,
    pub(super) decoding: &'static str,
    pub(super) max_tokens: u32,
    pub(super) data: String,
    pub(super) data_sha256: String,
    pub(super) sample: String,
    pub(super) code_execution: String,
    pub(super) platform: String,
    pub(super) finished: String,
}

/// The whole result.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) conditions: Conditions,
    pub(super) total: Group,
    pub(super) kinds: Vec<Group>,
    pub(super) categories: Vec<Group>,
    pub(super) languages: Vec<Group>,
    pub(super) speed: Speed,
    pub(super) faults: Vec<Fault>,
    pub(super) faults_beyond: usize,
}

/// Figures of the questions that have something in common.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    name: String,
    questions: usize,
    skipped: usize,
    correct: usize,
    accuracy: Option<f64>,
    accuracy_low: Option<f64>,
    accuracy_high: Option<f64>,
    mentioned: Option<f64>,
    refused: f64,
    empty: f64,
    looped: f64,
    cut_short: f64,
    mean_confidence: f64,
    auroc: Option<f64>,
}

/// Speed over the whole run, for orientation: nothing was kept from disturbing it.
#[derive(Debug, Serialize)]
pub(super) struct Speed {
    input_tokens: u64,
    output_tokens: u64,
    prefill_tokens_per_second: Option<f64>,
    decode_tokens_per_second: Option<f64>,
}

impl Report {
    pub(super) fn new(
        conditions: Conditions,
        answered: &[Answered],
        faults: Vec<Fault>,
        faults_beyond: usize,
    ) -> Self {
        Self {
            conditions,
            total: Group::new("all", &answered.iter().collect::<Vec<_>>()),
            kinds: groups(answered, |one| one.kind),
            categories: groups(answered, |one| &one.category),
            languages: groups(answered, |one| &one.language),
            speed: Speed::new(answered),
            faults,
            faults_beyond,
        }
    }

    /// For people.
    pub(super) fn as_table(&self) -> String {
        let conditions = self.conditions().map(|(name, value)| format!("{name:<10}{value}"));
        format!("{}\n\n{}", self.table(presets::NOTHING), conditions.join("\n"))
    }

    /// For documents.
    pub(super) fn as_markdown(&self) -> String {
        let conditions = self.conditions().map(|(name, value)| format!("- {name}: {value}"));
        format!("{}\n\n{}", self.table(presets::ASCII_MARKDOWN), conditions.join("\n"))
    }

    fn table(&self, style: TableStyle) -> String {
        let mut table = Table::new();
        table.load_style(style);
        table.set_header([
            "",
            "questions",
            "skipped",
            "right",
            "accuracy",
            "95 % interval",
            "mentioned",
            "refused",
            "empty",
            "loop",
            "cut short",
            "confidence",
            "AUROC",
        ]);
        for (title, groups) in
            [("kind", &self.kinds), ("category", &self.categories), ("language", &self.languages)]
        {
            for group in groups {
                table.add_row(group.cells(&format!("{title} {}", group.name)));
            }
        }
        table.add_row(self.total.cells("all"));
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.trim_fmt()
    }

    fn conditions(&self) -> [(&'static str, String); 10] {
        let on = &self.conditions;
        let speed = |speed: Option<f64>| speed.map_or_else(|| String::from("-"), |n| format!("{n:.1}"));
        [
            ("model", format!("{} ({})", on.model, on.family)),
            ("from GGUF", on.source_sha256.clone().unwrap_or_else(|| String::from("not known"))),
            ("versions", format!("sluicegate {}, ONNX Runtime {}", on.sluicegate, on.onnxruntime)),
            ("threads", format!("{} on {}", on.threads, on.platform)),
            ("decoding", format!("{}, at most {} tokens", on.decoding, on.max_tokens)),
            ("data", format!("{} (SHA-256 {})", on.data, on.data_sha256)),
            ("sample", on.sample.clone()),
            ("code", on.code_execution.clone()),
            (
                "speed",
                format!(
                    "prefill {} tok/s, decode {} tok/s, {} tokens in, {} out",
                    speed(self.speed.prefill_tokens_per_second),
                    speed(self.speed.decode_tokens_per_second),
                    self.speed.input_tokens,
                    self.speed.output_tokens
                ),
            ),
            ("finished", on.finished.clone()),
        ]
    }
}

fn groups<'a>(answered: &'a [Answered], name: impl Fn(&'a Answered) -> &'a str) -> Vec<Group> {
    let mut groups = BTreeMap::<&str, Vec<&Answered>>::new();
    for one in answered {
        groups.entry(name(one)).or_default().push(one);
    }
    groups.into_iter().map(|(name, members)| Group::new(name, &members)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of questions")]
impl Group {
    fn new(name: &str, members: &[&Answered]) -> Self {
        let scored: Vec<_> = members.iter().filter_map(|one| Some((one.confidence, one.correct?))).collect();
        let correct = scored.iter().filter(|(_, correct)| *correct).count();
        let interval = wilson(correct, scored.len());
        let share = |is: fn(&Answered) -> bool| {
            members.iter().filter(|one| is(one)).count() as f64 / members.len().max(1) as f64
        };
        let confidence: f64 = members.iter().map(|one| one.confidence).sum();
        Self {
            name: name.to_owned(),
            questions: members.len(),
            skipped: members.len() - scored.len(),
            correct,
            accuracy: (!scored.is_empty()).then(|| correct as f64 / scored.len() as f64),
            accuracy_low: interval.map(|(low, _)| low),
            accuracy_high: interval.map(|(_, high)| high),
            mentioned: (!scored.is_empty()).then(|| {
                members.iter().filter(|one| one.mentioned == Some(true)).count() as f64 / scored.len() as f64
            }),
            refused: share(|one| one.refused),
            empty: share(|one| one.empty),
            looped: share(|one| one.looped),
            cut_short: share(|one| one.cut_short),
            mean_confidence: confidence / members.len().max(1) as f64,
            auroc: auroc(&scored),
        }
    }

    fn cells(&self, name: &str) -> Vec<String> {
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let dash = || String::from("-");
        vec![
            name.to_owned(),
            self.questions.to_string(),
            self.skipped.to_string(),
            self.correct.to_string(),
            self.accuracy.map_or_else(dash, percent),
            match (self.accuracy_low, self.accuracy_high) {
                (Some(low), Some(high)) => format!("{:.0} to {:.0} %", 100.0 * low, 100.0 * high),
                _ => dash(),
            },
            self.mentioned.map_or_else(dash, percent),
            percent(self.refused),
            percent(self.empty),
            percent(self.looped),
            percent(self.cut_short),
            format!("{:.2}", self.mean_confidence),
            self.auroc.map_or_else(dash, |auroc| format!("{auroc:.2}")),
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of tokens")]
impl Speed {
    fn new(answered: &[Answered]) -> Self {
        let work = answered.iter().fold(Work::default(), |sum, one| Work {
            input_tokens: sum.input_tokens + one.work.input_tokens,
            output_tokens: sum.output_tokens + one.work.output_tokens,
            decoded_tokens: sum.decoded_tokens + one.work.decoded_tokens,
            prefill: sum.prefill + one.work.prefill,
            decode: sum.decode + one.work.decode,
        });
        let rate =
            |tokens: u64, time: Duration| (!time.is_zero()).then(|| tokens as f64 / time.as_secs_f64());
        Self {
            input_tokens: work.input_tokens,
            output_tokens: work.output_tokens,
            prefill_tokens_per_second: rate(work.input_tokens, work.prefill),
            decode_tokens_per_second: rate(work.decoded_tokens, work.decode),
        }
    }
}

/// Wilson's score interval of a share, at 95 %.
#[expect(clippy::cast_precision_loss, reason = "counts of questions")]
fn wilson(successes: usize, trials: usize) -> Option<(f64, f64)> {
    measure::bounds::wilson(successes as f64 / trials as f64, trials as u64, RISK)
}

/// Chance that a right answer has more confidence than a wrong one, ties counting half (Mann and Whitney's U);
/// `None` if there are only right or only wrong ones.
fn auroc(scored: &[(f64, bool)]) -> Option<f64> {
    let confidences: Vec<f64> = scored.iter().map(|(confidence, _)| *confidence).collect();
    let correct: Vec<bool> = scored.iter().map(|(_, correct)| *correct).collect();
    measure::auroc(&measure::Ranking::new(&confidences), &correct, &vec![1; scored.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_gives_the_published_values() {
        // Newcombe 1998, table I, method 3.
        for (successes, trials, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let (l, h) = wilson(successes, trials).unwrap();
            assert!((l - low).abs() < 1e-4 && (h - high).abs() < 1e-4, "{successes}/{trials}: {l} {h}");
        }
        assert_eq!(wilson(0, 0), None);
    }

    #[test]
    fn auroc_is_the_chance_of_the_right_order() {
        assert_eq!(auroc(&[(0.9, true), (0.8, true), (0.1, false)]), Some(1.0));
        assert_eq!(auroc(&[(0.9, false), (0.8, true), (0.1, false)]), Some(0.5));
        assert_eq!(auroc(&[(0.5, false), (0.5, true)]), Some(0.5));
        assert_eq!(auroc(&[(0.5, true)]), None);
    }

    #[test]
    fn skipped_questions_are_in_no_denominator() {
        let one = |correct, kind| Answered {
            id: String::new(),
            kind,
            category: String::from("c"),
            language: String::from("en"),
            correct,
            mentioned: correct,
            confidence: 0.5,
            refused: false,
            empty: correct.is_none(),
            looped: false,
            cut_short: false,
            answer: String::new(),
            prompt_tokens: 0,
            signals: Signals::default(),
            work: Work::default(),
        };
        let answered = [one(Some(true), "exact"), one(None, "code"), one(Some(false), "exact")];
        let total = Group::new("all", &answered.iter().collect::<Vec<_>>());
        assert_eq!((total.questions, total.skipped, total.correct), (3, 1, 1));
        assert_eq!(total.accuracy, Some(0.5));
        let kinds = groups(&answered, |one| one.kind);
        assert_eq!(kinds.iter().map(|group| &*group.name).collect::<Vec<_>>(), ["code", "exact"]);
        assert_eq!((kinds[0].accuracy, kinds[1].accuracy), (None, Some(0.5)));
    }
}
