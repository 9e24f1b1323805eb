//! `sluicegate eval router`: how well complexity tells which requests need the strong model.
//!
//! Rows either carry the complexity that was given when they were served, or a prompt, which is then scored as
//! `sluicegate classify` would. Every figure stands beside what chance and the length of the prompt would reach:
//! published routers often reach little more.

mod item;
mod report;
mod rungs;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use router_model::measure::{Sampling, Scored, evaluate};

use super::super::lines::Lines;
use super::super::{CliError, Common, Outcome, print};
use super::Format;
use crate::config::Overrides;
use item::{Item, Reader};
use report::{Conditions, Group, Report};

pub(super) const CONTRACT: &str = r#"DATA: one JSON object a line; unknown fields are ignored.

  id                   text                                                     required
  good                 0..1, how good the small model's answer was; also `small` or `small_score`.
                       Rows without it are not used
  strong               0..1, the same for the strong model; also `large` or `large_score`.
                       1 where it is not given
  complexity           0..1, as the router said; or else one of
  prompt               the question, which is then scored now
  messages             [{"role": ..., "content": ...}, ...], the same
  group                what --by group goes by; also `source`
  task, language, label, rung, model   what else --by can go by

A line that is none of this is reported with its number, the run goes on, and the exit code is 1.

FIGURES, as RouteLLM defines them (arXiv 2406.18665). The score sends the hardest requests to the
strong model first. PGR is the part of the quality gap between the models that is recovered so;
APGR its mean over all shares of strong calls, exactly integrated; CPT(x) the least share of strong
calls with which PGR reaches x. Equal scores count as their expectation over random order: straight
lines. AUROC is of failing (good < 0.5). ECE (10 bins of equal width, weighted by rows) and Brier
compare complexity with 1 - good. Brackets are 95 % bootstrap intervals; resamples that do not
define a figure (no gap between the models, say) are left out, and resampling lifts ECE, so its
interval may lie above its value. The interval of random is how far single random orders spread.
"#;

#[derive(Debug, Args)]
pub(in super::super) struct Options {
    #[command(flatten)]
    common: Common,
    /// Rows, one JSON object a line (`-` for standard input); `--help` describes them.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// What to group by.
    #[arg(long, value_enum, default_value = "group")]
    by: By,
    /// Folder with a trained artifact, to score with instead of the built-in one; every row with a prompt is then scored.
    #[arg(long, value_name = "DIR")]
    router: Option<PathBuf>,
    /// Highest rung that scores prompts; every row with a prompt is then scored anew. Default: the encoder where it is to be
    /// had, for rows without a complexity.
    #[arg(long, value_enum)]
    rung: Option<Highest>,
    /// How to print the figures.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Draw the curve of quality against the share of strong calls into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Seed of the resampling.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Resamples for the intervals; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=100_000))]
    boot: u32,
}

/// The highest rung that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Highest {
    /// The linear model over features.
    Features,
    /// The encoder, which needs the ONNX Runtime.
    Encoder,
}

/// What rows are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// `group` or `source`.
    Group,
    /// `task`.
    Task,
    /// `language`.
    Language,
    /// `label`.
    Label,
    /// `rung`.
    Rung,
    /// `model`.
    Model,
}

/// Name of what has none.
const NO_GROUP: &str = "(none)";

pub(super) fn run(options: &Options) -> Outcome {
    let mut config = options.common.load(Overrides::default())?;
    if let Some(rung) = options.rung {
        config.router.encoder = rung == Highest::Encoder;
    }
    let mut reader = Reader::new(options.by, config, options.router.as_deref(), options.rung.is_some())?;
    let lines = Lines::read(&options.data, |line| reader.read(line))?;
    lines.report_faults();
    let items: Vec<&Item> = lines.items.iter().flatten().collect();
    let sampling = Sampling { resamples: options.boot, seed: options.seed };
    let rows: Vec<Scored> = items.iter().map(|item| item.scored).collect();
    let Some(all) = evaluate(&rows, sampling) else {
        return Err(CliError::Fault(format!("{}: no row has a grade", options.data.display())));
    };
    let conditions = Conditions::new(options, &lines, &reader);
    let report = Report {
        conditions,
        total: Group::new("all", &rows, all),
        groups: groups(&items, sampling),
        latency: reader.latency(),
        faults: lines.faults.clone(),
        faults_beyond: lines.faults_beyond,
    };
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
    Ok(if lines.all_well() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// One group after the other by name; none where all rows would be in the same.
fn groups(items: &[&Item], sampling: Sampling) -> Vec<Group> {
    let mut groups = BTreeMap::<&str, Vec<Scored>>::new();
    for item in items {
        groups.entry(item.group.as_deref().unwrap_or(NO_GROUP)).or_default().push(item.scored);
    }
    if groups.len() < 2 {
        return Vec::new();
    }
    let evaluated = |(name, rows): (&str, Vec<Scored>)| {
        let found = evaluate(&rows, sampling)?;
        Some(Group::new(name, &rows, found))
    };
    groups.into_iter().filter_map(evaluated).collect()
}
