//! `sluicegate audit`: does the chain hold, and what is in it.

mod export;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;

use super::{CliError, Outcome};
use crate::config::Config;
use crate::ledger::Store;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Walk the audit chain and tell its first fault: exit code 0 if it holds, 1 if it does not.
    Verify(verify::Options),
    /// Write audit records, as lines that can be verified by themselves or as a table.
    Export(export::Options),
}

pub(super) fn run(command: &Command) -> Outcome {
    match command {
        Command::Verify(options) => verify::run(options),
        Command::Export(options) => export::run(options),
    }
}

/// Opens the ledger that is named, or else the configured one, without changing it.
fn open(named: Option<&str>, config: &Config) -> Result<Store, CliError> {
    let path = match named {
        None => config.ledger.clone(),
        Some(url) => match url.strip_prefix("sqlite://") {
            Some(path) if !path.is_empty() => PathBuf::from(path),
            _ => return Err(CliError::Usage(String::from("--ledger is written as sqlite://PATH"))),
        },
    };
    Store::open_reading(&path).map_err(|error| CliError::fault(&error))
}
