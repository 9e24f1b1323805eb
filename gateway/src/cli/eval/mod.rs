//! `sluicegate eval`: how good is it, on questions whose answers can be checked.
//!
//! Every question is asked greedily and alone, so that a run can be repeated; figures come with
//! their uncertainty and their conditions. Left out: comparing models by preference, and judging by a model.

mod code;
mod exam;
mod item;
mod privacy;
mod report;
mod router;
mod score;

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use local_runtime::{ModelDir, ONNX_RUNTIME_VERSION, Runtime};
use sha2::{Digest as _, Sha256};

use super::{CliError, Common, Outcome, print, say};
use crate::config::{Config, Overrides};
use crate::local;
use code::Python;
use exam::Exam;
use item::{Fault, Item, Questions};
use report::{Conditions, Report};

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
              English articles and surplus space (as SQuAD's exact match). The column
              "mentioned" also takes those that stand somewhere in a longer answer.
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
    /// How well complexity tells which requests need the strong model: RouteLLM's figures, calibration and latency, beside
    /// what chance and prompt length reach.
    #[command(after_long_help = router::CONTRACT)]
    Router(router::Options),
    /// What the detectors find and miss in marked records: precision, recall, documents that leak, look-alikes, labels.
    #[command(after_long_help = privacy::CONTRACT)]
    Privacy(privacy::Options),
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
    /// Questions under way at once. The answers are the same; their times are not those of a question alone.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    concurrency: u8,
    /// Write each answer, its score and its tokens' log-probabilities to this file, one JSON object a line.
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
    Markdown,
    Json,
}

pub(super) fn run(command: &Command) -> Outcome {
    match command {
        Command::Model(options) => model(options),
        Command::Router(options) => router::run(options),
        Command::Privacy(options) => privacy::run(options),
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
    let settings = config.local().ok_or_else(|| CliError::Fault(String::from("local.enabled is false")))?;
    // Made before the hours of work whose results it is for.
    let mut answers = options.answers.as_deref().map(create).transpose()?;
    let runtime = local::load(&config, settings).map_err(CliError::Fault)?;
    let _stop = local::StopOnDrop(runtime.clone());

    let exam = Exam {
        runtime: &runtime,
        python: python.as_ref(),
        max_tokens: options.max_tokens,
        concurrency: usize::from(options.concurrency),
    };
    let mut conditions = conditions(&config, options, &runtime, python.as_ref())?;
    conditions.sample = sample(options, questions.items.len(), found);
    let answered = exam.ask_all(&mut questions, answers.as_mut())?;
    conditions.finished = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();

    report_faults(&questions);
    let all_well = questions.faults.is_empty();
    let report = Report::new(conditions, &answered, questions.faults, questions.faults_beyond);
    match options.format {
        Format::Table => print(report.as_table())?,
        Format::Markdown => print(report.as_markdown())?,
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
    let settings = config.local();
    let installed = settings.and_then(|settings| local::store(config).locate(&settings.model));
    let manifest = installed.and_then(|ModelDir { manifest, .. }| manifest);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    Ok(Conditions {
        model: runtime.info().name.clone(),
        family: runtime.info().family.clone(),
        source_sha256: manifest.map(|manifest| manifest.source_sha256),
        sluicegate: env!("CARGO_PKG_VERSION"),
        onnxruntime: ONNX_RUNTIME_VERSION,
        threads: runtime.threads(),
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

#[cfg(test)]
mod tests {
    use super::*;

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
