//! `sluicegate models`: local models.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use comfy_table::Table;
use local_runtime::{BenchReport, DEFAULT_MODEL, ONNX_RUNTIME_VERSION, Operators, bench, catalogue, find};
use serde::Serialize;

use super::{CliError, Common, Outcome, print, say};
use crate::config::Overrides;
use crate::local;
use crate::provision::{HttpFetcher, ProgressBars};

/// What `pull` takes for the library alone.
const ONNX_RUNTIME: &str = "onnxruntime";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Models of the catalogue and those that are installed.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Download and convert a model of the catalogue, and the ONNX Runtime library.
    Pull {
        #[command(flatten)]
        common: Common,
        /// Name from `models list`; `onnxruntime` for the library alone.
        #[arg(default_value = DEFAULT_MODEL)]
        name: String,
        /// Write the verified GGUF file that the model is converted from here instead, for other programs; install nothing.
        #[arg(long, value_name = "FILE")]
        gguf: Option<PathBuf>,
    },
    /// Convert a GGUF file (from Ollama or LM Studio, say) of the Llama 3, Qwen 2 or Qwen 3 family into an installed
    /// model; others are refused with the reason.
    Convert {
        #[command(flatten)]
        common: Common,
        /// The GGUF file.
        file: PathBuf,
        /// Name to install it under [default: the file's name].
        #[arg(long)]
        name: Option<String>,
        /// Use only operators of ONNX Runtime itself: slower on a processor, but other runtimes and accelerators can load it.
        #[arg(long)]
        portable: bool,
    },
    /// Measure a model on this machine.
    Bench {
        #[command(flatten)]
        common: Common,
        /// Name or directory.
        #[arg(default_value = DEFAULT_MODEL)]
        model: String,
        /// How to print it.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

pub(super) fn run(command: &Command) -> Outcome {
    let fault = |error: local_runtime::Error| CliError::fault(&error);
    match command {
        Command::List { common } => list(common),
        Command::Pull { common, name, gguf } => pull(common, name, gguf.as_deref()),
        Command::Convert { common, file, name, portable } => {
            let config = common.load(Overrides::default())?;
            let name = match name {
                Some(name) => name.clone(),
                None => default_name(file),
            };
            let operators = if *portable { Operators::Portable } else { Operators::Fastest };
            let store = local::store(&config);
            let model = store.convert(file, &name, operators, &ProgressBars::default()).map_err(fault)?;
            print(format_args!("{name}: {}", model.path.display()))?;
            say(&format!("use it with: sluicegate serve --model {name}"));
            Ok(ExitCode::SUCCESS)
        }
        Command::Bench { common, model, format } => measure(common, model, *format),
    }
}

fn pull(common: &Common, name: &str, gguf: Option<&Path>) -> Outcome {
    let fault = |error: local_runtime::Error| CliError::fault(&error);
    let config = common.load(Overrides::default())?;
    let store = local::store(&config);
    let (fetcher, progress) = (HttpFetcher::default(), ProgressBars::default());
    let offline = config.store.offline;
    if let Some(path) = gguf {
        let entry = find(name).ok_or_else(|| {
            CliError::Fault(format!("{name}: is not in the catalogue, see `sluicegate models list`"))
        })?;
        store.fetch_gguf(entry, path, &fetcher, &progress, offline).map_err(fault)?;
        print(format_args!("{name}: {}", path.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let library = store
        .ensure_onnx_runtime(config.store.onnxruntime.as_deref(), &fetcher, &progress, offline)
        .map_err(fault)?;
    print(format_args!("onnxruntime: {}", library.display()))?;
    if name != ONNX_RUNTIME {
        let model = store.ensure_model(name, &fetcher, &progress, offline).map_err(fault)?;
        print(format_args!("{name}: {}", model.path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A model's name from its file's: lower case, with `-` for what a name cannot have.
fn default_name(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    stem.chars().map(plain).collect::<String>().trim_matches(['-', '.']).to_owned()
}

fn list(common: &Common) -> Outcome {
    let config = common.load(Overrides::default())?;
    let store = local::store(&config);
    let installed = store.models();
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["name", "installed", "download", "licence", "title"]);
    for entry in catalogue() {
        let here = installed.iter().any(|model| model.name() == entry.name);
        table.add_row([
            entry.name.to_owned(),
            if here { "yes" } else { "" }.to_owned(),
            gigabytes(entry.gguf_bytes),
            entry.licence.to_owned(),
            entry.title.to_owned(),
        ]);
    }
    for model in installed.iter().filter(|model| !catalogue().iter().any(|entry| entry.name == model.name()))
    {
        let licence = model.manifest.as_ref().and_then(|manifest| manifest.licence.clone());
        table.add_row([
            model.name(),
            String::from("yes"),
            String::new(),
            licence.unwrap_or_else(|| String::from("not stated")),
            model.path.display().to_string(),
        ]);
    }
    print(table.trim_fmt())?;
    say(&format!("kept in {}", store.root().display()));
    Ok(ExitCode::SUCCESS)
}

fn measure(common: &Common, model: &str, format: Format) -> Outcome {
    let overrides = Overrides { model: Some(model.to_owned()), ..Overrides::default() };
    let config = common.load(overrides)?;
    let settings = config.local().ok_or_else(|| CliError::Fault(String::from("local.enabled is false")))?;
    let started = std::time::Instant::now();
    let runtime = local::load(&config, settings).map_err(CliError::Fault)?;
    let loaded = started.elapsed().as_secs_f64();
    let _stop = local::StopOnDrop(runtime.clone());
    let report = bench(&runtime).map_err(|error| CliError::fault(&error))?;
    let name = &runtime.info().name;
    match format {
        Format::Text => print_report(name, loaded, &report)?,
        Format::Json => {
            let measured = Measured {
                model: name,
                sluicegate: env!("CARGO_PKG_VERSION"),
                onnxruntime: ONNX_RUNTIME_VERSION,
                load_seconds: loaded,
                report: &report,
            };
            print(serde_json::to_string_pretty(&measured).map_err(|error| CliError::fault(&error))?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_report(name: &str, loaded: f64, report: &BenchReport) -> Result<(), CliError> {
    let line = |name: &str, value: String| print(format_args!("{name:<28}{value}"));
    let speed = |rate: f64| format!("{rate:.1} tok/s");
    let wait = |seconds: f64, tokens: usize| format!("{:.0} ms ({tokens} tokens)", seconds * 1e3);
    line("model", name.to_owned())?;
    line("threads", report.threads.to_string())?;
    line("load", format!("{loaded:.1} s"))?;
    line(
        "prefill",
        format!("{} ({} tokens)", speed(report.prefill_tokens_per_second), report.prompt_tokens),
    )?;
    line("first token", wait(report.first_token_seconds, 64.min(report.prompt_tokens)))?;
    line("first token, known prefix", wait(report.first_token_again_seconds, report.prompt_tokens))?;
    line("decode", format!("{} ({} tokens)", speed(report.decode_tokens_per_second), report.output_tokens))?;
    line("decode, copying", speed(report.copying_tokens_per_second))?;
    for together in &report.aggregate {
        let name = format!("decode, {} at once", together.batch);
        line(&name, format!("{} together", speed(together.tokens_per_second)))?;
    }
    if let (Some(bytes), Some(share)) = (report.weight_bytes, report.bandwidth_share()) {
        line("weights read", format!("{} a token", gigabytes(bytes)))?;
        let bandwidth = report.bandwidth_bytes_per_second / 1e9;
        line("memory", format!("{bandwidth:.1} GB/s, {:.0} % used by decoding", share * 100.0))?;
    }
    if let Some(bytes) = report.peak_memory_bytes {
        line("peak memory", gigabytes(bytes))?;
    }
    Ok(())
}

/// The report as one object, with what it is of.
#[derive(Serialize)]
struct Measured<'a> {
    model: &'a str,
    sluicegate: &'static str,
    onnxruntime: &'static str,
    load_seconds: f64,
    #[serde(flatten)]
    report: &'a BenchReport,
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}
