//! `sluicegate eval`: how good is it, on questions whose answers can be checked.
//!
//! Every question is asked greedily and alone, so that a run can be repeated; figures come with
//! their uncertainty and their conditions. Left out: comparing models by preference, and judging by a model.

mod code;
mod item;
mod report;
mod score;

use std::fs::File;
use std::io::{BufReader, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use local_runtime::{
    Finish, FinishReason, GenerateRequest, ModelDir, ONNX_RUNTIME_VERSION, Runtime, Sampling,
    TOP_LOGPROBS_MAX, Token, TokenEvent,
};
use sha2::{Digest as _, Sha256};

use super::{CliError, Common, Outcome, print, say};
use crate::config::{Config, Overrides};
use crate::local;
use code::Python;
use item::{Fault, Item, Questions, Task};
use report::{Answered, Conditions, Report, Work};

/// Off a terminal, a line is printed after this many questions.
const PROGRESS_EVERY: usize = 25;

const CONTRACT: &str = r#"DATA: one JSON object a line.

  id          text, unique                        required
  kind        how it is scored, see below         required
  prompt      the question; or instead
  messages    [{"role": "system|user|assistant", "content": text}, ...], the user's last
  category    what the figures are grouped by
  language    the same
  max_tokens  longest answer, instead of --max-tokens

  kind        fields of its own, and when an answer is right
  exact       answer: text or list of texts. Equal to one of them without case, punctuation,
              English articles and surplus space (as SQuAD's exact match).
  number      answer: number; tolerance: number, default 0. The last number of the answer is it;
              commas part thousands, the decimal sign is a point, exponents are not read.
  choice      choices: 2 to 10 texts; answer: letter. The choices are shown with their letters;
              the likeliest letter among the 20 likeliest first tokens is the right one.
  contains    answer: list of texts, or of lists of alternatives. Each is there, as whole words,
              whatever the case.
  rules       rules: {contains: as above, absent: [text], pattern: regular expression,
              words_min: n, words_max: n}. All of them hold.
  json        schema: JSON Schema; answer: JSON. The answer, or its first fenced block, is JSON,
              is valid, and has every member of `answer` with the same value.
  code        tests: Python statements, such as assert. The answer's first fenced block, or else
              all of it, runs with the tests after it and nothing fails. Skipped unless
              --allow-code-execution is given.

A line that is none of this is reported with its number, the run goes on, and the exit code is 1.
"#;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Ask a local model questions with known answers: accuracy by category with its uncertainty, refusals, loops, and
    /// what its confidence is worth.
    #[command(after_long_help = CONTRACT)]
    Model(Options),
}

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
    /// Questions, one JSON object a line; `--help` describes them.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Local model [default: the configured one].
    #[arg(long, value_name = "NAME_OR_DIR")]
    model: Option<String>,
    /// How to print the figures.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Ask only this many questions: the first, or a sample if there is a seed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Draw the questions of `--limit` by this seed. Answers are greedy and depend on no seed.
    #[arg(long, value_name = "N", requires = "limit")]
    seed: Option<u64>,
    /// Output tokens of an answer at most.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Write each answer and its score to this file, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Run the Python that the model writes, as you, on this machine. Limits on time, memory and processes keep mistakes
    /// cheap, but this is no sandbox: the code can read your files and reach the network. Use a container.
    #[arg(long)]
    allow_code_execution: bool,
    /// Python interpreter for that.
    #[arg(long, value_name = "COMMAND", default_value = "python3", requires = "allow_code_execution")]
    python: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(super) fn run(command: &Command) -> Outcome {
    match command {
        Command::Model(options) => model(options),
    }
}

fn model(options: &Options) -> Outcome {
    let python = options.allow_code_execution.then(|| Python::find(&options.python));
    let python = python.transpose().map_err(CliError::Fault)?;
    let mut questions = read(&options.data)?;
    let found = questions.items.len();
    choose(&mut questions.items, options.limit, options.seed);
    if questions.items.is_empty() {
        report_faults(&questions);
        let path = options.data.display();
        return Err(CliError::Fault(format!("{path}: has no usable question")));
    }
    let overrides = Overrides { model: options.model.clone(), ..Overrides::default() };
    let config = options.common.load(overrides)?;
    let settings =
        config.local.as_ref().ok_or_else(|| CliError::Fault(String::from("local.enabled is false")))?;
    // Made before the hours of work whose results it is for.
    let mut answers = options.answers.as_deref().map(create).transpose()?;
    let runtime = local::load(&config, settings).map_err(CliError::Fault)?;
    let _stop = local::StopOnDrop(runtime.clone());

    let exam = Exam { runtime: &runtime, python: python.as_ref(), max_tokens: options.max_tokens };
    let mut conditions = conditions(&config, options, &runtime, python.as_ref())?;
    conditions.sample = sample(options, questions.items.len(), found);
    let answered = exam.ask_all(&mut questions, answers.as_mut())?;
    conditions.finished = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();

    report_faults(&questions);
    let all_well = questions.faults.is_empty();
    let report = Report::new(conditions, &answered, questions.faults, questions.faults_beyond);
    match options.format {
        Format::Table => print(report.as_table())?,
        Format::Json => {
            print(serde_json::to_string_pretty(&report).map_err(|error| CliError::fault(&error))?)?;
        }
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn read(path: &Path) -> Result<Questions, CliError> {
    let fault = |error: std::io::Error| CliError::Fault(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(fault)?;
    item::read(BufReader::new(file)).map_err(fault)
}

fn create(path: &Path) -> Result<File, CliError> {
    File::create(path).map_err(|error| CliError::Fault(format!("{}: {error}", path.display())))
}

/// Keeps the first questions, or a sample: those with the least digest of seed and id, in the file's order.
fn choose(items: &mut Vec<Item>, limit: Option<u32>, seed: Option<u64>) {
    let Some(limit) = limit.map(|limit| limit as usize) else { return };
    if let Some(seed) = seed {
        let digest = |item: &Item| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&seed.to_le_bytes()).update(item.id.as_bytes());
            *hasher.finalize().as_bytes()
        };
        items.sort_by_cached_key(digest);
    }
    items.truncate(limit);
    items.sort_by_key(|item| item.line);
}

fn sample(options: &Options, asked: usize, found: usize) -> String {
    match options.seed {
        _ if asked == found => format!("all {found} questions"),
        Some(seed) => format!("{asked} of {found} questions, drawn by seed {seed}"),
        None => format!("the first {asked} of {found} questions"),
    }
}

fn report_faults(questions: &Questions) {
    for Fault { line, id, error } in &questions.faults {
        let id = id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
        say(&format!("line {line}{id}: {error}"));
    }
    if questions.faults_beyond > 0 {
        say(&format!("and {} more bad lines", questions.faults_beyond));
    }
}

fn conditions(
    config: &Config,
    options: &Options,
    runtime: &Runtime,
    python: Option<&Python>,
) -> Result<Conditions, CliError> {
    let settings = config.local.as_ref();
    let installed = settings.and_then(|settings| local::store(config).locate(&settings.model));
    let manifest = installed.and_then(|ModelDir { manifest, .. }| manifest);
    let threads = settings.and_then(|settings| settings.threads);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    Ok(Conditions {
        model: runtime.info().name.clone(),
        family: runtime.info().family.clone(),
        source_sha256: manifest.map(|manifest| manifest.source_sha256),
        sluicegate: env!("CARGO_PKG_VERSION"),
        onnxruntime: ONNX_RUNTIME_VERSION,
        threads: threads.map_or_else(|| String::from("chosen by the runtime"), |threads| threads.to_string()),
        decoding: "greedy, one question at a time",
        max_tokens: options.max_tokens,
        data: options.data.display().to_string(),
        data_sha256: sha256(&options.data)?,
        sample: String::new(),
        code_execution: python.map_or_else(
            || String::from("not run: such questions are skipped"),
            |python| format!("run by Python {}", python.version),
        ),
        platform: format!("{} {}, {cores} cores", std::env::consts::OS, std::env::consts::ARCH),
        finished: String::new(),
    })
}

fn sha256(path: &Path) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    let fault = |error: std::io::Error| CliError::Fault(format!("{}: {error}", path.display()));
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(fault)?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What the questions are put to.
struct Exam<'a> {
    runtime: &'a Runtime,
    python: Option<&'a Python>,
    max_tokens: u32,
}

/// An answer as it came.
struct Raw {
    text: String,
    first: Option<Token>,
    finish: Finish,
}

impl Exam<'_> {
    /// Asks every question; one that cannot be asked becomes a fault of its line.
    fn ask_all(
        &self,
        questions: &mut Questions,
        mut out: Option<&mut File>,
    ) -> Result<Vec<Answered>, CliError> {
        let items = std::mem::take(&mut questions.items);
        let bar = progress(items.len());
        let mut answered = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match self.ask(item) {
                Ok(one) => {
                    if let Some(out) = out.as_deref_mut() {
                        serde_json::to_writer(&mut *out, &one).map_err(std::io::Error::from)?;
                        out.write_all(b"\n")?;
                    }
                    answered.push(one);
                }
                Err(local_runtime::Error::WorkerGone) => {
                    return Err(CliError::fault(&local_runtime::Error::WorkerGone));
                }
                Err(error) => {
                    let error = local::explain(&error);
                    questions.fault(Fault { line: item.line, id: Some(item.id.clone()), error });
                }
            }
            bar.inc(1);
            if bar.is_hidden() && (index + 1) % PROGRESS_EVERY == 0 {
                say(&format!("{} of {} questions", index + 1, items.len()));
            }
        }
        bar.finish_and_clear();
        Ok(answered)
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
        let is_choice = matches!(item.task, Task::Choice { .. });
        let cut_short = !is_choice && raw.finish.reason == FinishReason::Length;
        let decode = raw.finish.total.saturating_sub(raw.finish.time_to_first_token);
        Ok(Answered {
            id: item.id.clone(),
            kind: item.task.kind(),
            category: item.category.clone(),
            language: item.language.clone(),
            correct,
            confidence: if raw.finish.output_tokens == 0 { 0.0 } else { confidence },
            refused: !is_choice && score::is_refusal(text),
            empty: text.is_empty(),
            looped: cut_short && score::is_loop(text),
            cut_short,
            answer: text.to_owned(),
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
        let input = self.runtime.render(&item.messages)?;
        let mut request = GenerateRequest::new(input, item.max_tokens.unwrap_or(self.max_tokens));
        request.sampling = Sampling::greedy();
        if matches!(item.task, Task::Choice { .. }) {
            request.max_tokens = 1;
            request.top_logprobs = Some(TOP_LOGPROBS_MAX);
        }
        let (mut text, mut first) = (String::new(), None);
        for event in self.runtime.generate(request)?.blocking() {
            match event? {
                TokenEvent::Token(token) => {
                    text.push_str(&token.text);
                    first.get_or_insert(token);
                }
                TokenEvent::Done(finish) => {
                    text.push_str(&finish.text);
                    return Ok(Raw { text, first, finish });
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

    #[test]
    fn a_sample_depends_on_the_seed_alone() {
        let line =
            |n: u32| format!("{{\"id\":\"q{n}\",\"kind\":\"number\",\"prompt\":\"p\",\"answer\":{n}}}\n");
        let text: String = (0..100).map(line).collect();
        let draw = |limit, seed| {
            let mut items = item::read(text.as_bytes()).unwrap().items;
            choose(&mut items, limit, seed);
            items.into_iter().map(|item| item.line).collect::<Vec<_>>()
        };
        assert_eq!(draw(None, None).len(), 100);
        assert_eq!(draw(Some(3), None), [1, 2, 3]);
        assert_eq!(draw(Some(10), Some(1)), draw(Some(10), Some(1)));
        assert_ne!(draw(Some(10), Some(1)), draw(Some(10), Some(2)));
        assert!(draw(Some(10), Some(1)).is_sorted());
    }
}
