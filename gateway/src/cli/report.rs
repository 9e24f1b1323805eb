//! `sluicegate report`: what was spent, and what it would have cost.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table};

use super::{CliError, Common, Outcome, print};
use crate::config::Overrides;
use crate::ledger::{Grouping, Report, ReportLine, Store, parse_day};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
    /// What to group by.
    #[arg(long, value_enum, default_value = "team")]
    by: Grouping,
    /// First day or timestamp (UTC), inclusive.
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    from: Option<i64>,
    /// Last day or timestamp (UTC), exclusive.
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    to: Option<i64>,
    /// How to print it.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
}

pub(super) fn run(options: &Options) -> Outcome {
    let config = options.common.load(Overrides::default())?;
    let fault = |error: crate::ledger::LedgerError| CliError::fault(&error);
    let store = Store::open(&config.ledger).map_err(fault)?;
    let report =
        store.report(options.by, options.from.unwrap_or(0), options.to.unwrap_or(i64::MAX)).map_err(fault)?;
    match options.format {
        Format::Table => print(as_table(options.by, &report))?,
        Format::Csv => print(as_csv(options.by, &report)?.trim_end())?,
        Format::Json => {
            print(serde_json::to_string_pretty(&report).map_err(|error| CliError::fault(&error))?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A report as a table for people.
pub(super) fn as_table(by: Grouping, report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        by.heading(),
        "requests",
        "local",
        "tokens in",
        "tokens out",
        "cost $",
        "baseline $",
        "saving $",
        "unpriced",
    ]);
    for line in report.lines.iter().chain(std::iter::once(&report.total)) {
        table.add_row([
            if line.group.is_empty() { String::from("(none)") } else { line.group.clone() },
            line.requests.to_string(),
            share(line),
            line.input_tokens.to_string(),
            line.output_tokens.to_string(),
            line.cost.to_string(),
            line.baseline.to_string(),
            line.saving.to_string(),
            line.unpriced.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
fn share(line: &ReportLine) -> String {
    match line.requests {
        0 => String::from("-"),
        all => format!("{:.0} %", 100.0 * line.local as f64 / all as f64),
    }
}

fn as_csv(by: Grouping, report: &Report) -> Result<String, CliError> {
    let fail = |error: csv::Error| CliError::fault(&error);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer
        .write_record([
            by.heading(),
            "requests",
            "local_requests",
            "completed_requests",
            "input_tokens",
            "output_tokens",
            "cost_usd",
            "baseline_usd",
            "saving_usd",
            "cost_nanos",
            "baseline_nanos",
            "saving_nanos",
            "unpriced_requests",
            "energy_joules",
        ])
        .map_err(fail)?;
    for line in &report.lines {
        writer
            .write_record([
                line.group.clone(),
                line.requests.to_string(),
                line.local.to_string(),
                line.completed.to_string(),
                line.input_tokens.to_string(),
                line.output_tokens.to_string(),
                line.cost.to_string(),
                line.baseline.to_string(),
                line.saving.to_string(),
                line.cost.nanos().to_string(),
                line.baseline.nanos().to_string(),
                line.saving.nanos().to_string(),
                line.unpriced.to_string(),
                format!("{:.3}", line.energy_joules),
            ])
            .map_err(fail)?;
    }
    let bytes = writer.into_inner().map_err(|error| CliError::fault(&error))?;
    String::from_utf8(bytes).map_err(|error| CliError::fault(&error))
}
