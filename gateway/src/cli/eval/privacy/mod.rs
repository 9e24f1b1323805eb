//! `sluicegate eval privacy`: what the detectors find, what they miss, and what would leak.
//!
//! A figure is only as good as the marks it is measured against, so sources are told apart, synthetic ones from those that
//! people marked, and a kind that nobody marked in a record is unknown there: neither missed nor found wrongly.

mod item;
mod report;
mod tally;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use policies::{CallerFacts, PolicySet};
use router_model::names::NamesMode;
use router_model::{Classifier, Prompt};

use super::super::lines::Lines;
use super::super::{CliError, Common, Outcome, print};
use crate::config::Overrides;
use item::Item;
use report::Report;
use tally::Tally;

pub(super) const CONTRACT: &str = r#"DATA: one JSON object a line, plain or gzip (.gz); unknown fields are ignored.

  id             text                                                            required
  text           what is classified                                              required
  spans          [{"start", "end", "type"}], in Unicode code points              default: none
  annotated      the types that were marked in this record; others are unknown   default: those of spans
  source, lang   what figures are grouped by
  level          public, internal, confidential or restricted: the label that is right
  hard_negative  true, or what it looks like: nothing in it is sensitive

A line that is none of this is reported with its number, the run goes on, and the exit code is 1.

FIGURES. A span is found when a finding of its type shares a character with it; "exact" asks for the
same ends. Micro figures sum over types. A document leaks when a direct identifier in it (not ORG,
LOCATION, DATE, NRP, URL, AGE, GENDER, PROFESSION, FAMILY) is covered to less than 90 % by findings
of whatever type. Brackets are exact (Clopper and Pearson) 95 % intervals. Levels: the share of
documents whose label is below or above the right one, by policy.
"#;

#[derive(Debug, Args)]
pub(in super::super) struct Options {
    #[command(flatten)]
    common: Common,
    /// Records, one JSON object a line; `--help` describes them.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Policy whose labels are compared with `level`: a preset or a file [default: every preset].
    #[arg(long, value_name = "NAME_OR_FILE")]
    policy: Option<String>,
    /// Beginnings of the names of sources that are made by programs; the others were marked by people.
    #[arg(
        long,
        value_name = "PREFIX",
        value_delimiter = ',',
        default_value = "synth,hn_synth,evasion,presidio"
    )]
    synthetic: Vec<String>,
    /// Leave out the model that finds names in free text: patterns, secrets and topics alone.
    #[arg(long)]
    no_names: bool,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Outcome {
    let overrides = Overrides { policy: options.policy.clone(), ..Overrides::default() };
    let mut config = options.common.load(overrides)?;
    // How hard a text is to answer is not the question here.
    config.router.encoder = false;
    if options.no_names {
        config.detection.names = NamesMode::Off;
    }
    let classifier = super::super::whole_classifier(&config)?;
    let presets = presets(options.policy.is_some())?;
    let mut policies: Vec<&PolicySet> = presets.iter().collect();
    if options.policy.is_some() {
        policies.push(&config.policy);
    }
    let mut report = Report::default();
    let mut all_well = true;
    for path in &options.data {
        let lines = Lines::read(path, item::read)?;
        lines.report_faults();
        all_well &= lines.all_well();
        for item in &lines.items {
            let groups = groups(item, &options.synthetic);
            measure(&classifier, &policies, item, &groups, &mut report);
        }
    }
    if report.documents() == 0 {
        return Err(CliError::Fault(String::from("--data: no file has a usable record")));
    }
    if options.json {
        print(serde_json::to_string_pretty(&report.as_json()).map_err(|error| CliError::fault(&error))?)?;
    } else {
        print(report.as_text())?;
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Every preset, unless a policy is named.
fn presets(named: bool) -> Result<Vec<PolicySet>, CliError> {
    let names = PolicySet::presets().filter(|_| !named);
    names.map(PolicySet::preset).collect::<Result<_, _>>().map_err(|error| CliError::fault(&error))
}

/// What a record counts towards.
fn groups(item: &Item, synthetic: &[String]) -> [String; 4] {
    let source = item.source.as_deref().unwrap_or("?");
    let is_synthetic = synthetic.iter().any(|prefix| source.starts_with(prefix.as_str()));
    let made = if is_synthetic { "synthetic" } else { "marked by people" };
    let lang = item.lang.as_deref().unwrap_or("?");
    [String::from("all"), made.to_owned(), format!("source {source}"), format!("language {lang}")]
}

fn measure(
    classifier: &Classifier,
    policies: &[&PolicySet],
    item: &Item,
    groups: &[String],
    report: &mut Report,
) {
    let started = Instant::now();
    let sensitivity = classifier.classify_fully(&Prompt::from_text(&item.text)).sensitivity;
    report.took(item.text.len(), started.elapsed());
    let mut tally = Tally::of(item, &sensitivity.findings);
    if let Some(level) = item.level {
        let labelled = |policy: &&PolicySet| {
            let label = policy.label(&sensitivity, &CallerFacts::default()).label;
            (policy.name().to_owned(), tally::Levels::of(label, level))
        };
        tally.levels = policies.iter().map(labelled).collect::<BTreeMap<_, _>>();
    }
    groups.iter().for_each(|group| report.add(group, &tally));
}
