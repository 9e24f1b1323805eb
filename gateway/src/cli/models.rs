//! `sluicegate models`: local models.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::Table;
use local_runtime::{DEFAULT_MODEL, Operators, bench, catalogue};

use super::{CliError, Common, Outcome, print, say};
use crate::config::Overrides;
use crate::local;
use crate::provision::{HttpFetcher, ProgressBars};

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
    },
    /// Measure a model on this machine.
    Bench {
        #[command(flatten)]
        common: Common,
        /// Name or directory.
        #[arg(default_value = DEFAULT_MODEL)]
        model: String,
    },
}

pub(super) fn run(command: &Command) -> Outcome {
    let fault = |error: local_runtime::Error| CliError::fault(&error);
    match command {
        Command::List { common } => list(common),
        Command::Pull { common, name } => {
            let config = common.load(Overrides::default())?;
            let store = local::store(&config);
            let (fetcher, progress) = (HttpFetcher::default(), ProgressBars::default());
            let offline = config.store.offline;
            let library = store
                .ensure_onnx_runtime(config.store.onnxruntime.as_deref(), &fetcher, &progress, offline)
                .map_err(fault)?;
            print(format_args!("onnxruntime: {}", library.display()))?;
            if name != "onnxruntime" {
                let model = store.ensure_model(name, &fetcher, &progress, offline).map_err(fault)?;
                print(format_args!("{name}: {}", model.path.display()))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Convert { common, file, name } => {
            let config = common.load(Overrides::default())?;
            let name = match name {
                Some(name) => name.clone(),
                None => default_name(file),
            };
            let model = local::store(&config)
                .convert(file, &name, Operators::Fastest, &ProgressBars::default())
                .map_err(fault)?;
            print(format_args!("{name}: {}", model.path.display()))?;
            say(&format!("use it with: sluicegate serve --model {name}"));
            Ok(ExitCode::SUCCESS)
        }
        Command::Bench { common, model } => measure(common, model),
    }
}

/// A model's name from its file's: lower case, with `-` for what a name cannot have.
fn default_name(file: &std::path::Path) -> String {
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

fn measure(common: &Common, model: &str) -> Outcome {
    let overrides = Overrides { model: Some(model.to_owned()), ..Overrides::default() };
    let config = common.load(overrides)?;
    let settings = config.local().ok_or_else(|| CliError::Fault(String::from("local.enabled is false")))?;
    let started = std::time::Instant::now();
    let runtime = local::load(&config, settings).map_err(CliError::Fault)?;
    let loaded = started.elapsed();
    let _stop = local::StopOnDrop(runtime.clone());
    let report = bench(&runtime).map_err(|error| CliError::fault(&error))?;
    print(format_args!("model                {}", runtime.info().name))?;
    print(format_args!("load                 {:.1} s", loaded.as_secs_f64()))?;
    print(format_args!("prefill              {:.1} tok/s", report.prefill_tokens_per_second))?;
    print(format_args!("decode               {:.1} tok/s", report.decode_tokens_per_second))?;
    print(format_args!("time to first token  {:.0} ms", report.first_token_seconds * 1e3))?;
    if let Some(bytes) = report.peak_memory_bytes {
        print(format_args!("peak memory          {}", gigabytes(bytes)))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}
