//! Putting the questions to a model and scoring what comes back.
//!
//! Greedy, each question without what came before it. Several may be under way at once: the model answers them as it
//! would alone. A multiple-choice question is answered by the probabilities of its first token, so that a model is not
//! marked down for talking round the letter.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use local_runtime::{
    Finish, FinishReason, GenerateRequest, Runtime, Sampling, TOP_LOGPROBS_MAX, Token, TokenEvent,
};

use super::code::Python;
use super::item::{Fault, Item, Questions, Task};
use super::report::{Answered, Signals, Work};
use super::score;
use crate::cli::{CliError, say};
use crate::local;

/// Off a terminal, a line is printed after this many questions.
const PROGRESS_EVERY: usize = 25;

/// What the questions are put to.
pub(super) struct Exam<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) python: Option<&'a Python>,
    pub(super) max_tokens: u32,
    /// Questions under way at once.
    pub(super) concurrency: usize,
}

/// An answer as it came.
struct Raw {
    text: String,
    first: Option<Token>,
    signals: Signals,
    finish: Finish,
}

/// What came of the questions so far, each with its place among them.
struct Marked<'a> {
    answered: Vec<(usize, Answered)>,
    faults: Vec<Fault>,
    out: Option<&'a mut File>,
    stopped: Option<CliError>,
}

impl Marked<'_> {
    /// Notes an answer. An error that ends the run is kept for its end.
    fn note(&mut self, place: usize, item: &Item, answer: local_runtime::Result<Answered>) {
        match answer {
            Ok(one) => {
                let written = self.out.as_deref_mut().map_or(Ok(()), |out| write_line(out, &one));
                self.stopped = self.stopped.take().or(written.err().map(CliError::Output));
                self.answered.push((place, one));
            }
            Err(error @ local_runtime::Error::WorkerGone) => self.stopped = Some(CliError::fault(&error)),
            Err(error) => {
                let error = local::explain(&error);
                self.faults.push(Fault { line: item.line, id: Some(item.id.clone()), error });
            }
        }
    }
}

fn write_line(out: &mut File, one: &Answered) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(one)?;
    line.push(b'\n');
    out.write_all(&line)
}

impl Exam<'_> {
    /// Asks every question; one that cannot be asked becomes a fault of its line. Answers are written as they come, and
    /// returned in the order of the questions.
    pub(super) fn ask_all(
        &self,
        questions: &mut Questions,
        out: Option<&mut File>,
    ) -> Result<Vec<Answered>, CliError> {
        let items = std::mem::take(&mut questions.items);
        let bar = progress(items.len());
        let marked = Mutex::new(Marked { answered: Vec::new(), faults: Vec::new(), out, stopped: None });
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.concurrency.clamp(1, items.len().max(1)) {
                scope.spawn(|| self.ask_in_turn(&items, &next, &marked, &bar));
            }
        });
        bar.finish_and_clear();
        let mut marked = marked.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = marked.stopped {
            return Err(error);
        }
        marked.faults.into_iter().for_each(|fault| questions.fault(fault));
        marked.answered.sort_by_key(|(place, _)| *place);
        Ok(marked.answered.into_iter().map(|(_, answered)| answered).collect())
    }

    /// Takes question after question until none is left or the run has to stop.
    fn ask_in_turn(&self, items: &[Item], next: &AtomicUsize, marked: &Mutex<Marked<'_>>, bar: &ProgressBar) {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else { return };
            let answer = self.ask(item);
            let mut marked = marked.lock().unwrap_or_else(PoisonError::into_inner);
            marked.note(place, item, answer);
            if marked.stopped.is_some() {
                return;
            }
            bar.inc(1);
            let done = marked.answered.len() + marked.faults.len();
            if bar.is_hidden() && done.is_multiple_of(PROGRESS_EVERY) {
                say(&format!("{done} of {} questions", items.len()));
            }
        }
    }

    fn ask(&self, item: &Item) -> local_runtime::Result<Answered> {
        let raw = self.generate(item)?;
        let text = raw.text.trim();
        let (correct, confidence) = match &item.task {
            Task::Choice { choices, answer } => {
                let (chosen, probability) = likeliest_letter(*choices, raw.first.as_ref());
                (Some(chosen == Some(*answer)), probability)
            }
            task => (self.score(task, text), f64::from(raw.finish.mean_logprob).exp()),
        };
        let mentioned = match &item.task {
            Task::Exact { accepted } => Some(score::mentions(accepted, text)),
            _ => correct,
        };
        let is_choice = matches!(item.task, Task::Choice { .. });
        let cut_short = !is_choice && raw.finish.reason == FinishReason::Length;
        let decode = raw.finish.total.saturating_sub(raw.finish.time_to_first_token);
        Ok(Answered {
            id: item.id.clone(),
            kind: item.task.kind(),
            category: item.category.clone(),
            language: item.language.clone(),
            correct,
            mentioned,
            confidence: if raw.finish.output_tokens == 0 { 0.0 } else { confidence },
            refused: !is_choice && score::is_refusal(text),
            empty: text.is_empty(),
            looped: cut_short && score::is_loop(text),
            cut_short,
            answer: text.to_owned(),
            prompt_tokens: raw.finish.input_tokens,
            signals: raw.signals,
            work: Work {
                input_tokens: u64::from(raw.finish.input_tokens),
                output_tokens: u64::from(raw.finish.output_tokens),
                decoded_tokens: u64::from(raw.finish.output_tokens.saturating_sub(1)),
                prefill: raw.finish.time_to_first_token,
                decode,
            },
        })
    }

    fn generate(&self, item: &Item) -> local_runtime::Result<Raw> {
        let input = self.runtime.render(&item.prompt)?;
        let mut request = GenerateRequest::new(input, item.max_tokens.unwrap_or(self.max_tokens));
        request.sampling = Sampling::greedy();
        if matches!(item.task, Task::Choice { .. }) {
            request.max_tokens = 1;
            request.top_logprobs = Some(TOP_LOGPROBS_MAX);
        }
        let (mut text, mut first, mut signals) = (String::new(), None, Signals::default());
        for event in self.runtime.generate(request)?.blocking() {
            match event? {
                TokenEvent::Token(token) => {
                    text.push_str(&token.text);
                    signals.logprob.push(token.logprob);
                    signals.entropy.push(token.entropy);
                    first.get_or_insert(token);
                }
                TokenEvent::Done(finish) => {
                    text.push_str(&finish.text);
                    return Ok(Raw { text, first, signals, finish });
                }
            }
        }
        Err(local_runtime::Error::WorkerGone)
    }

    /// Whether an answer is right; `None` where that must not be found out.
    fn score(&self, task: &Task, answer: &str) -> Option<bool> {
        match task {
            Task::Exact { accepted } => Some(score::exact(accepted, answer)),
            Task::Number { value, tolerance } => Some(score::number(*value, *tolerance, answer)),
            Task::Json { schema, answer: expected } => {
                Some(score::json(schema.as_deref(), expected.as_ref(), answer))
            }
            Task::Rules { rules, .. } => Some(score::rules(rules, answer)),
            Task::Code { tests } => self.python?.passes(answer, tests).ok(),
            Task::Choice { .. } => None,
        }
    }
}

/// The letter with the highest probability, all its spellings (`B`, ` B`, `(B`) together, among the likeliest
/// first tokens.
fn likeliest_letter(choices: usize, first: Option<&Token>) -> (Option<usize>, f64) {
    let mut probabilities = vec![0.0; choices];
    for token in first.map(|token| &*token.top).unwrap_or_default() {
        let mut letters = token.text.trim_matches(|c: char| c.is_whitespace() || "()*.:".contains(c)).chars();
        let (Some(letter), None) = (letters.next(), letters.next()) else { continue };
        if let Some(place) = ('A'..).take(choices).position(|candidate| candidate == letter) {
            probabilities[place] += f64::from(token.logprob).exp();
        }
    }
    let best = probabilities.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    match best {
        Some((place, probability)) if probability > 0.0 => (Some(place), probability),
        _ => (None, 0.0),
    }
}

fn progress(total: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("questions [{bar:30}] {pos}/{len} {elapsed} of {duration}");
    ProgressBar::new(total as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use local_runtime::TopToken;

    fn token(top: &[(&str, f32)]) -> Token {
        let top = top.iter().map(|(text, probability)| TopToken {
            id: 0,
            text: (*text).to_owned(),
            logprob: probability.ln(),
            bytes: text.as_bytes().to_vec(),
        });
        Token {
            id: 0,
            text: String::new(),
            bytes: Vec::new(),
            logprob: 0.0,
            top: top.collect(),
            entropy: 0.0,
        }
    }

    #[test]
    fn spellings_of_a_letter_count_together() {
        let first =
            token(&[("The", 0.4), ("A", 0.2), ("B", 0.15), (" B", 0.1), ("Because", 0.05), ("D", 0.3)]);
        let (chosen, probability) = likeliest_letter(3, Some(&first));
        assert_eq!(chosen, Some(1));
        assert!((probability - 0.25).abs() < 1e-6);
        assert_eq!(likeliest_letter(3, Some(&token(&[("The", 0.9)]))), (None, 0.0));
        assert_eq!(likeliest_letter(3, None), (None, 0.0));
    }
}
