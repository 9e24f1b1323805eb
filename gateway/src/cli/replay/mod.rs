//! `sluicegate replay`: what a policy would have done with the requests that the ledger holds.
//!
//! Sends nothing and writes nothing. What cannot be told is counted and said.

mod again;
mod summary;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table};
use policies::Money;
use router_model::{Classifier, ClassifierConfig};

use self::again::{Bench, Routers};
use self::summary::{Coverage, Pair, Share, Step, Summary, Tally};
use super::{CliError, Common, Outcome, print};
use crate::config::{Config, Overrides};
use crate::ledger::{LedgerError, Period, Store, parse_day};
use crate::portfolio::Portfolio;

#[derive(Debug, Args)]
#[command(
    after_help = "Profiles come from the ledger, targets and prices from the configuration. Costs of moved requests are \
    estimates: their real token counts at the new target's price; of requests that stay, what was settled. A leak is a \
    request that would go to a target which today's policy had not cleared for it. Shares have exact 95 % intervals, \
    for those who take the period for a sample of what is to come."
)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
    /// The policy to try: a file, or the name of a preset.
    #[arg(long, value_name = "FILE")]
    policy: String,
    /// A folder with a trained router model: complexities are computed anew where the ledger holds features.
    #[arg(long, value_name = "DIR")]
    router: Option<std::path::PathBuf>,
    /// First day or timestamp (UTC), inclusive.
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    from: Option<i64>,
    /// Last day or timestamp (UTC), exclusive.
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    to: Option<i64>,
    /// Requests of this team only.
    #[arg(long)]
    team: Option<String>,
    /// How to print it.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(super) fn run(options: &Options) -> Outcome {
    let overrides = Overrides { policy: Some(options.policy.clone()), ..Overrides::default() };
    let config = options.common.load(overrides)?;
    let bench = Bench {
        policy: config.policy.clone(),
        portfolio: Portfolio::new(&config).map_err(|error| CliError::fault(&error))?,
        routers: options.router.as_ref().map(|folder| routers(&config, folder)).transpose()?,
    };
    let period = Period {
        from_ms: options.from.unwrap_or(0),
        to_ms: options.to.unwrap_or(i64::MAX),
        team: options.team.clone(),
    };
    let fault = |error: LedgerError| CliError::fault(&error);
    let store = Store::open(&config.ledger).map_err(fault)?;
    let mut tally = Tally::default();
    store
        .recorded::<LedgerError>(&period, false, |row| {
            tally.add(&row.id, &bench.again(&row));
            Ok(())
        })
        .map_err(fault)?;
    let router = options.router.as_ref().map(|folder| folder.display().to_string());
    let summary = tally.summary(config.policy.revision(), router);
    match options.format {
        Format::Json => print(serde_json::to_string_pretty(&summary).map_err(|e| CliError::fault(&e))?)?,
        Format::Table => for_people(&summary)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn routers(config: &Config, folder: &std::path::Path) -> Result<Routers, CliError> {
    let load = |settings: ClassifierConfig| {
        Classifier::new(settings).map_err(|error| {
            CliError::Fault(format!("{}: {}", folder.display(), crate::local::explain(&error)))
        })
    };
    Ok(Routers {
        before: load(config.classifier())?,
        after: load(ClassifierConfig { artifact: Some(folder.to_owned()), ..ClassifierConfig::default() })?,
    })
}

fn for_people(summary: &Summary) -> Result<(), CliError> {
    let Coverage { rows, replayed, .. } = summary.coverage;
    print(format_args!("policy {}: {replayed} of {rows} requests decided again", summary.policy))?;
    for line in caveats(summary) {
        print(format_args!("  {line}"))?;
    }
    if replayed == 0 {
        return Ok(());
    }
    let (before, after) = (summary.cost_before, summary.cost_after);
    let sign = if after > before { "+" } else { "" };
    print(format_args!("\ncost $ {before} -> {after} ({sign}{})\n", after - before))?;
    print(shares(summary))?;
    print(format_args!("\n{}", routes(summary)))?;
    for (heading, steps) in [("moved", &summary.moves), ("label", &summary.labels)] {
        if !steps.is_empty() {
            print(format_args!("\n{}", steps_table(heading, steps)))?;
        }
    }
    if !summary.leaks.named.is_empty() {
        print(format_args!("\nleaks: {}", summary.leaks.named.join(" ")))?;
    }
    Ok(())
}

/// What the figures do not tell, in words; only what applies.
fn caveats(summary: &Summary) -> Vec<String> {
    let Coverage { undecided, unstored, estimated, unpriced, unjudged, reassessed, replayed, .. } =
        summary.coverage;
    let router = summary.router.as_ref();
    let counted = [
        (undecided, "were faulty: no policy saw them"),
        (unstored, "cannot be replayed: they were written by a version that did not store profiles"),
        (estimated, "had no token counts: their cost after is estimated from the profile"),
        (unpriced, "have no known price on one side: they are not in the cost"),
        (unjudged, "would be answered here and judged, but no confidence is known: taken for good enough"),
        (router.map_or(0, |_| reassessed), "have features: their complexity is the other router model's"),
        (
            router.map_or(0, |_| replayed - reassessed),
            "have no features, or another router model than today's: their complexity is as it was",
        ),
    ];
    counted.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
}

fn shares(summary: &Summary) -> String {
    let mut table = plain(&["requests", "before", "after"]);
    let pairs = [
        ("answered here", summary.local),
        ("escalated after a weak answer", summary.escalations),
        ("refused, budgets apart", summary.refusals),
        ("let pass above their label", summary.declassified),
        ("moved", Pair { before: Share::default(), after: summary.moved }),
        (
            "LEAKED: to a place not cleared today",
            Pair { before: Share::default(), after: summary.leaks.would },
        ),
        ("leaked where others fail", Pair { before: Share::default(), after: summary.leaks.could }),
    ];
    for (what, pair) in pairs {
        table.add_row([what.to_owned(), percent(pair.before), percent(pair.after)]);
    }
    right(table)
}

fn percent(share: Share) -> String {
    if share == Share::default() {
        return String::from("-");
    }
    let Share { requests, share, low, high } = share;
    format!("{requests} ({:.1} %, {:.1} to {:.1})", 100.0 * share, 100.0 * low, 100.0 * high)
}

fn routes(summary: &Summary) -> String {
    let mut table = plain(&["route", "before", "after", "cost $ before", "cost $ after"]);
    for (route, sums) in &summary.routes {
        table.add_row([
            route.clone(),
            sums.requests_before.to_string(),
            sums.requests_after.to_string(),
            sums.cost_before.to_string(),
            sums.cost_after.to_string(),
        ]);
    }
    right(table)
}

fn steps_table(heading: &str, steps: &[Step]) -> String {
    let mut table = plain(&[heading, "requests", "cost $ before", "cost $ after"]);
    for Step { from, to, requests, cost_before, cost_after } in steps {
        let money = |money: &Money| money.to_string();
        table.add_row([
            format!("{from} -> {to}"),
            requests.to_string(),
            money(cost_before),
            money(cost_after),
        ]);
    }
    right(table)
}

fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header);
    table
}

fn right(mut table: Table) -> String {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}
