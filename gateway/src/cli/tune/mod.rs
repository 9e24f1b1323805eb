//! `sluicegate tune`: thresholds with a stated guarantee, from graded rows.
//!
//! The statistics are `router_model::measure`'s; this reads rows, says what they cannot tell, and writes the
//! result in a form that can be pasted into a policy. Nothing is written to a policy by itself: whoever runs it
//! decides.

mod report;
mod rows;
mod snippet;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use router_model::measure::{Family, GradedRow, Target, judge, tune};

use super::lines::Lines;
use super::{CliError, Common, Outcome, print};
use crate::config::Overrides;
use crate::ledger::{LedgerError, Period, Store, parse_day};
use report::Report;
use rows::Usable;
use snippet::PolicyRule;

const CONTRACT: &str = r#"DATA: one JSON object a line; unknown fields are ignored.

  id                 text, unique                                              required
  complexity         0..1, P(a strong model is needed), as the router said     required
  good               0..1, how good the LOCAL answer was; rows without it are not used
  confidence         0..1, P(the local answer is good), needed for --mode cascade and pair
  strong             0..1, how good the strong model's answer was; 1 where it is not given
  good_source        feedback | shadow | check
  local_cost_nanos   what the local answer cost, in nano-dollars; 0 where it is not given
  cloud_cost_nanos   what the strong model's answer costs; without it costs are relative

A line that is none of this is reported with its number, the run goes on, and the exit code is 1.
Without --data the rows are those of the ledger that `sluicegate export --what graded` writes.

GUARANTEE: with probability 1 - RISK over the draw of these rows, the mean quality of what is served
is at least QUALITY. Quality of a request is `good` where the local answer is served and `strong`
where it is not. Method: Learn-then-Test (Angelopoulos et al., arXiv 2110.01052). A p-value for each
candidate, exact (binomial) if all grades are 0 or 1, else Hoeffding-Bentkus; candidates are tested
from the safest to the cheapest in an order that is fixed beforehand, and the first failure ends it:

  route     complexity thresholds 0.00, 0.01, ... 1.00
  cascade   confidence thresholds 1.00, 0.99, ... 0.00
  pair      for each complexity threshold 0.1, 0.2, ... 1.0 the cascade's order, each at a tenth of RISK

With --policy, a threshold of the rule that is not looked for stays as it is. The cheapest certified
candidate is printed. It holds if
  - rows are drawn as future requests will be: independently, from the same traffic;
  - rows were graded whatever their answer was like. Feedback comes from those who care to give it,
    which is no such draw; shadow judgements and checks of a random sample are;
  - rows are requests that the rule decides: its other conditions, and labels that keep a request in
    place, are not played;
  - local model, strong model and router stay the same;
  - the mean is what matters: a group of requests among them may fare worse.

EXIT CODE: 0 thresholds found, 1 none certified or bad lines, 2 wrong usage."#;

#[derive(Debug, Args)]
#[command(after_long_help = CONTRACT)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
    /// Graded rows, one JSON object a line (`-` for standard input); `--help` describes them [default: the ledger's].
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// First day or timestamp (UTC) of the ledger's rows, inclusive.
    #[arg(long, value_name = "DAY", value_parser = parse_day, conflicts_with = "data")]
    from: Option<i64>,
    /// Last day or timestamp (UTC) of the ledger's rows, exclusive.
    #[arg(long, value_name = "DAY", value_parser = parse_day, conflicts_with = "data")]
    to: Option<i64>,
    /// Rows of this team only.
    #[arg(long, conflicts_with = "data")]
    team: Option<String>,
    /// Mean quality of what is served that is to be guaranteed, between 0 and 1.
    #[arg(long, value_name = "QUALITY", value_parser = open_share)]
    target_quality: f64,
    /// Chance that the guarantee may fail, between 0 and 1.
    #[arg(long, value_name = "RISK", value_parser = open_share)]
    risk: f64,
    /// Which thresholds to look for.
    #[arg(long, value_enum, default_value = "route")]
    mode: Mode,
    /// Policy whose rule the thresholds are for; the rule is printed with them in it, and measured as it stands.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Name of that rule [default: the first that routes to `local`].
    #[arg(long, value_name = "NAME", requires = "policy")]
    rule: Option<String>,
    /// How to print the result.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Draw the curve of quality against cost into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// The complexity below which a request is answered locally.
    Route,
    /// The confidence below which a local answer is replaced.
    Cascade,
    /// Both.
    Pair,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Markdown,
    Json,
}

impl Mode {
    /// What is looked for; of a rule with two thresholds the other one stays.
    fn family(self, rule: Option<&PolicyRule>) -> Family {
        let stands = rule.and_then(PolicyRule::thresholds);
        match self {
            Self::Route => Family::Route { confidence_from: stands.and_then(|rule| rule.confidence_from) },
            Self::Cascade => {
                Family::Cascade { complexity_below: stands.and_then(|rule| rule.complexity_below) }
            }
            Self::Pair => Family::Pair,
        }
    }
}

/// A number between 0 and 1, both excluded: neither end can be tested.
fn open_share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if share > 0.0 && share < 1.0 { Ok(share) } else { Err(format!("{text} is not between 0 and 1")) }
}

pub(super) fn run(options: &Options) -> Outcome {
    let rule = match &options.policy {
        Some(path) => Some(PolicyRule::read(path, options.rule.as_deref())?),
        None => None,
    };
    let lines = match &options.data {
        Some(path) => read_file(path)?,
        None => read_ledger(options)?,
    };
    lines.report_faults();
    tune_rows(options, &lines, rule.as_ref())
}

fn read_file(path: &Path) -> Result<Lines<GradedRow>, CliError> {
    let mut ids = HashSet::new();
    Lines::read(path, |line| {
        let row = GradedRow::from_json(line).map_err(|error| error.to_string())?;
        if ids.insert(row.id.clone()) {
            Ok(row)
        } else {
            Err(String::from("id: stands on an earlier line too"))
        }
    })
}

/// The rows that `sluicegate export` would write.
fn read_ledger(options: &Options) -> Result<Lines<GradedRow>, CliError> {
    let config = options.common.load(Overrides::default())?;
    let fault = |error: LedgerError| CliError::fault(&error);
    let store = Store::open(&config.ledger).map_err(fault)?;
    let period = Period {
        from_ms: options.from.unwrap_or(0),
        to_ms: options.to.unwrap_or(i64::MAX),
        team: options.team.clone(),
    };
    let mut rows = Vec::new();
    let collect = |row| {
        rows.push(row);
        Ok(())
    };
    store.graded::<LedgerError>(&period, collect).map_err(fault)?;
    Ok(Lines::of(rows))
}

fn tune_rows(options: &Options, lines: &Lines<GradedRow>, rule: Option<&PolicyRule>) -> Outcome {
    let family = options.mode.family(rule);
    let needs_confidence = family != Family::Route { confidence_from: None };
    let mut usable = Usable::of(&lines.items, needs_confidence);
    if usable.cases.is_empty() {
        let path = options
            .data
            .as_ref()
            .map_or_else(|| String::from("the ledger"), |path| path.display().to_string());
        let lacking = if needs_confidence { "`good` and `confidence`" } else { "`good`" };
        return Err(CliError::Fault(format!("{path}: no row has {lacking}")));
    }
    usable.warnings.extend(rule.and_then(PolicyRule::other_conditions));
    let target = Target { quality: options.target_quality, risk: options.risk };
    let tuning = tune(&usable.cases, family, target);
    let in_force =
        rule.and_then(PolicyRule::thresholds).map(|candidate| judge(&usable.cases, candidate, target));
    let snippet = tuning.chosen.map(|chosen| snippet::write(chosen.candidate, rule));
    let report = Report::new(family, usable, tuning, in_force, snippet, lines);
    if let Some(path) = &options.svg {
        std::fs::write(path, report.as_plot().render())
            .map_err(|error| CliError::Fault(format!("{}: {error}", path.display())))?;
    }
    match options.format {
        Format::Table => print(report.as_table())?,
        Format::Markdown => print(report.as_markdown())?,
        Format::Json => {
            print(serde_json::to_string_pretty(&report).map_err(|error| CliError::fault(&error))?)?;
        }
    }
    Ok(if report.is_certified() && lines.all_well() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
