//! `sluicegate export`: what the ledger knows, one JSON object a line.
//!
//! Graded rows are what thresholds are tuned on and the router model is trained on. Rows of requests are the whole
//! account, for tools that count on their own; `report` groups them. Neither holds a word of any request.

use std::io::{BufWriter, Write as _};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{CliError, Common, Outcome, say};
use crate::config::Overrides;
use crate::ledger::{LedgerError, Period, Store, parse_day};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
    /// What to write.
    #[arg(long, value_enum)]
    what: What,
    /// First day or timestamp (UTC), inclusive.
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    from: Option<i64>,
    /// Last day or timestamp (UTC), exclusive.
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    to: Option<i64>,
    /// Requests of this team only.
    #[arg(long)]
    team: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Requests of which it is known how good the local answer was, by feedback or by a shadow's judgement.
    Graded,
    /// Every settled row as it is stored, shadows included, features left out.
    Requests,
}

/// Why an export ended.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("a row cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("output could not be written")]
    Output(#[from] std::io::Error),
}

pub(super) fn run(options: &Options) -> Outcome {
    let config = options.common.load(Overrides::default())?;
    let store = Store::open(&config.ledger).map_err(|error| CliError::fault(&error))?;
    let period = Period {
        from_ms: options.from.unwrap_or(0),
        to_ms: options.to.unwrap_or(i64::MAX),
        team: options.team.clone(),
    };
    let written = match options.what {
        What::Graded => graded(&store, &period),
        What::Requests => requests(&store, &period),
    };
    match written {
        Ok(told) => say(&told),
        Err(ExportError::Output(error)) => return Err(CliError::Output(error)),
        Err(error) => return Err(CliError::fault(&error)),
    }
    Ok(ExitCode::SUCCESS)
}

fn graded(store: &Store, period: &Period) -> Result<String, ExportError> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (mut rows, mut without_features) = (0_u64, 0_u64);
    let silent = store.graded::<ExportError>(period, |row| {
        rows += 1;
        without_features += u64::from(row.features.is_none());
        serde_json::to_writer(&mut out, &row).map_err(writing)?;
        Ok(out.write_all(b"\n")?)
    })?;
    out.flush()?;
    let mut told = format!("{rows} graded requests");
    if silent > 0 {
        told.push_str(&format!(
            "; {silent} were rated and not answered here: that says nothing of the local model"
        ));
    }
    if without_features > 0 {
        told.push_str(&format!("; {without_features} have no features (ledger.features is off by default)"));
    }
    Ok(told)
}

fn requests(store: &Store, period: &Period) -> Result<String, ExportError> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut rows = 0_u64;
    store.settled::<ExportError>(period, |row| {
        rows += 1;
        serde_json::to_writer(&mut out, &row).map_err(writing)?;
        Ok(out.write_all(b"\n")?)
    })?;
    out.flush()?;
    Ok(format!("{rows} rows"))
}

/// A closed pipe is no fault of the row.
fn writing(error: serde_json::Error) -> ExportError {
    match error.io_error_kind() {
        Some(kind) => ExportError::Output(kind.into()),
        None => ExportError::Json(error),
    }
}
