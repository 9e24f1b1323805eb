//! `sluicegate audit export`: records as lines that can be verified by themselves, or as a table for people.
//!
//! A record that was not asked for, but stands between two that were, goes along as its digest: so an export about one team
//! can be verified and tells nothing of the others.

use std::io::{BufWriter, Write as _};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::{CliError, Common, Outcome, say};
use crate::audit::Link;
use crate::audit::chain::Body;
use crate::config::Overrides;
use crate::ledger::{Extract, LedgerError, Store, parse_day};

/// Form of the lines.
const FORM: u32 = 1;
/// Columns of the table, after number and hash. `sent`, `kinds`, `topics` and `declassified` are JSON.
const COLUMNS: &[&str] = &[
    "time",
    "event",
    "request",
    "team",
    "key",
    "session",
    "operation",
    "label",
    "because",
    "kinds",
    "topics",
    "doubt",
    "action",
    "outcome",
    "status",
    "sent",
    "declassified",
    "policy",
    "rule",
    "shadow_of",
];

#[derive(Debug, Args)]
pub(in super::super) struct Options {
    #[command(flatten)]
    common: Common,
    /// Ledger to read (`sqlite://PATH`) instead of the configured one.
    #[arg(long, value_name = "URL")]
    ledger: Option<String>,
    /// `jsonl` can be verified by itself (`sluicegate audit verify --file`); `csv` is for people.
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    /// First day or timestamp (UTC), inclusive.
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    from: Option<i64>,
    /// Last day or timestamp (UTC), exclusive.
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    to: Option<i64>,
    /// Records of this team only; of the others only digests are written.
    #[arg(long)]
    team: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Csv,
}

/// The first line of an export: what the first record follows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Heading {
    /// Form of the lines.
    pub(super) form: u32,
    /// Number and hash of the record before the first one.
    pub(super) after: (u64, String),
}

/// One line of an export.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line<'a> {
    pub(super) sequence: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) record: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    pub(super) hash: String,
}

/// Why an export ended.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("record {0} is no JSON: run `sluicegate audit verify`")]
    Record(u64, #[source] serde_json::Error),
    #[error("a record cannot be written as a row")]
    Csv(#[from] csv::Error),
    #[error("output could not be written")]
    Output(#[from] std::io::Error),
}

pub(super) fn run(options: &Options) -> Outcome {
    let config = options.common.load(Overrides::default())?;
    let store = super::open(options.ledger.as_deref(), &config)?;
    let extract = Extract {
        from_ms: options.from.unwrap_or(i64::MIN),
        to_ms: options.to.unwrap_or(i64::MAX),
        team: options.team.clone(),
    };
    let written = match options.format {
        Format::Jsonl => lines(&store, &extract),
        Format::Csv => table(&store, &extract),
    };
    match written {
        Ok(records) => say(&format!("{records} audit records")),
        Err(ExportError::Output(error)) => return Err(CliError::Output(error)),
        Err(error) => return Err(CliError::fault(&error)),
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(store: &Store, extract: &Extract) -> Result<u64, ExportError> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (mut begun, mut records) = (false, 0);
    store.audit_extract::<ExportError>(extract, |link| {
        let sequence = link.sequence;
        let fail = |error| ExportError::Record(sequence, error);
        if !std::mem::replace(&mut begun, true) {
            let before = sequence.saturating_sub(1);
            let hash = store.audit_hash(before)?.unwrap_or_default();
            let heading = Heading { form: FORM, after: (before, hash.to_string()) };
            writeln!(out, "{}", serde_json::to_string(&heading).map_err(fail)?)?;
        }
        let hash = link.hash.to_string();
        let line = match &link.body {
            Body::Line(line) => {
                records += 1;
                let record = serde_json::from_str(line).map_err(fail)?;
                Line { sequence, record: Some(record), digest: None, hash }
            }
            Body::Withheld(digest) => Line { sequence, record: None, digest: Some(digest.to_string()), hash },
        };
        Ok(writeln!(out, "{}", serde_json::to_string(&line).map_err(fail)?)?)
    })?;
    out.flush()?;
    Ok(records)
}

fn table(store: &Store, extract: &Extract) -> Result<u64, ExportError> {
    let mut out = csv::Writer::from_writer(std::io::stdout().lock());
    out.write_record(["sequence"].iter().chain(COLUMNS).chain(&["hash"]))?;
    let mut records = 0;
    store.audit_extract::<ExportError>(extract, |link: &Link| {
        let Body::Line(line) = &link.body else { return Ok(()) };
        let record: Value =
            serde_json::from_str(line).map_err(|error| ExportError::Record(link.sequence, error))?;
        let cell = |column: &&str| match record.get(column) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        records += 1;
        let cells = COLUMNS.iter().map(cell);
        let row = std::iter::once(link.sequence.to_string()).chain(cells);
        Ok(out.write_record(row.chain(std::iter::once(link.hash.to_string())))?)
    })?;
    out.flush()?;
    Ok(records)
}
