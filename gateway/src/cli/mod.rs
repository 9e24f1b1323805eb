//! The command line.
//!
//! Exit codes: 0 ok, 1 found a fault, 2 wrong usage. Results go to standard output, everything else to
//! standard error.

mod audit;
mod chat;
mod check;
mod classify;
mod demo;
mod eval;
mod explain;
mod export;
mod keys;
mod lines;
mod models;
mod plot;
mod replay;
mod report;
mod serve;
mod tune;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Overrides};
use crate::gateway::Clock;

/// File that is read when none is named.
const DEFAULT_CONFIG: &str = "sluicegate.toml";

/// A hybrid SLM/LLM routing gateway: answers what it can on an embedded model, keeps what must stay, accounts
/// for everything.
#[derive(Debug, Parser)]
#[command(name = "sluicegate", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes that reads a configuration.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Configuration file [default: sluicegate.toml if there is one, else the built-in configuration].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Never download; say which file is missing and which command gets it.
    #[arg(long, env = "SLUICEGATE_OFFLINE", action = clap::ArgAction::SetTrue, value_parser = clap::builder::FalseyValueParser::new())]
    offline: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(serve::Options),
    /// Write a commented configuration.
    Init(check::InitOptions),
    /// Validate configuration and policy: every fault with its line.
    Check(check::Options),
    /// Profile, decision and price of each alternative for a prompt; sends nothing.
    Explain(explain::Options),
    /// Classify a batch: one JSON object a line in, one a line out.
    Classify(classify::Options),
    /// Ask the local model.
    Chat(chat::Options),
    /// How good it is, on questions whose answers can be checked.
    #[command(subcommand)]
    Eval(eval::Command),
    /// Local models.
    #[command(subcommand)]
    Models(models::Command),
    /// Virtual keys: shown once, stored hashed.
    #[command(subcommand)]
    Keys(keys::Command),
    /// The audit chain: what was decided about each request and where its data went.
    #[command(subcommand)]
    Audit(audit::Command),
    /// What was spent, and what it would have cost.
    Report(report::Options),
    /// Requests as JSON lines: graded ones to tune and train on, or all of them; no text.
    Export(export::Options),
    /// What a policy would have cost, kept and leaked, from stored profiles; sends nothing.
    Replay(replay::Options),
    /// Thresholds with a stated guarantee, from graded rows.
    Tune(tune::Options),
    /// Play example traffic through a gateway and print each decision.
    Demo(demo::Options),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A fault, said in full.
    #[error("{0}")]
    Fault(String),
    /// The same, where the command line itself is wrong.
    #[error("{0}")]
    Usage(String),
    /// Output could not be written; a closed pipe is no fault.
    #[error("output could not be written")]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// From any error, with its sources.
    pub(crate) fn fault(error: &dyn std::error::Error) -> Self {
        Self::Fault(crate::local::explain(error))
    }
}

type Outcome = Result<ExitCode, CliError>;

/// Runs the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    quiet_panics();
    let outcome = match Cli::parse().command {
        Command::Serve(options) => serve::run(&options),
        Command::Init(options) => check::init(&options),
        Command::Check(options) => check::run(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Classify(options) => classify::run(&options),
        Command::Chat(options) => chat::run(&options),
        Command::Eval(command) => eval::run(&command),
        Command::Models(command) => models::run(&command),
        Command::Keys(command) => keys::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Report(options) => report::run(&options),
        Command::Export(options) => export::run(&options),
        Command::Replay(options) => replay::run(&options),
        Command::Tune(options) => tune::run(&options),
        Command::Demo(options) => demo::run(&options),
    };
    match outcome {
        Ok(code) => code,
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("sluicegate: {error}"));
            ExitCode::from(if matches!(error, CliError::Usage(_)) { 2 } else { 1 })
        }
    }
}

/// Panics say where they happened and not what about: a message may quote a prompt.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        say(&format!("sluicegate: bug: panic in thread {} at {place}", thread.name().unwrap_or("unnamed")));
    }));
}

/// A line on standard error.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A line on standard output.
fn print(line: impl std::fmt::Display) -> Result<(), CliError> {
    writeln!(std::io::stdout(), "{line}").map_err(CliError::Output)
}

impl Common {
    /// Reads the configuration that these options name.
    fn load(&self, overrides: Overrides) -> Result<Config, CliError> {
        let overrides = Overrides { offline: overrides.offline || self.offline, ..overrides };
        let named = self.config.clone().or_else(|| {
            let default = PathBuf::from(DEFAULT_CONFIG);
            default.is_file().then_some(default)
        });
        let read = match &named {
            Some(path) => Config::load(path, &overrides),
            None => Config::built_in(&overrides),
        };
        read.map_err(|error| CliError::fault(&error))
    }

    /// What configuration is in force, for people.
    fn source(&self) -> String {
        match &self.config {
            Some(path) => path.display().to_string(),
            None if PathBuf::from(DEFAULT_CONFIG).is_file() => DEFAULT_CONFIG.to_owned(),
            None => String::from("built-in configuration (write your own with `sluicegate init`)"),
        }
    }
}

/// The classifier of a configuration with both rungs, as far as they are to be had.
fn whole_classifier(config: &Config) -> Result<router_model::Classifier, CliError> {
    let (classifier, lacking) =
        crate::router::whole_classifier(config).map_err(|error| CliError::fault(&error))?;
    if let Some(why) = lacking.encoder {
        say(&format!("complexity is judged by features alone, without the encoder: {why}"));
    }
    if let Some(why) = lacking.names {
        say(&format!("names are not looked for, and where they are required every text is in doubt: {why}"));
    }
    Ok(classifier)
}

/// The system's clock.
fn system_clock() -> Clock {
    Arc::new(|| jiff::Timestamp::now().as_millisecond())
}

/// The asynchronous runtime of the commands that serve.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::Output)
}
