//! `sluicegate eval privacy`: how much of what is sensitive the gateway finds, and what it would let through.
//!
//! Texts are classified as `sluicegate classify` does. What people marked and what a program made up are never added together:
//! a detector does better on values that are made like those it was made for.

mod item;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use policies::{CallerFacts, EntityKind};
use router_model::measure::privacy::{Span, Tally};
use router_model::names::NamesMode;
use router_model::{Classifier, Prompt};

use super::super::lines::Lines;
use super::super::{Common, Outcome, print};
use super::Format;
use crate::cli::CliError;
use crate::config::Overrides;
use item::Item;
use report::{Group, Levels, Report, Speed};

pub(super) const CONTRACT: &str = r#"DATA: one JSON object a line; unknown fields are ignored.

  id, text             required
  spans                [{"start", "end", "type"}, ...], code points, end exclusive; types as `classify` has them
  annotated            the types that the source marks at all: one that is not here is neither missed nor
                       a false alarm
  source, lang         what --by goes by
  level                public, internal, confidential, restricted: what the text should be labelled
  hard_negative        anything: nothing is in this text, though it looks as if; whatever is found is an alarm
  template, shape, evasion   anything: the text is made up, and counts apart from what people marked

A line that is none of this is reported with its number, the run goes on, and the exit code is 1.

FIGURES. A span is found when a finding of its type shares a character with it (exact: has the same
ends). F2 weighs recall twice. A document leaks when a direct identifier in it is covered by less than
90 % by findings of any type; ORG, LOCATION, DATE, NRP, URL, AGE, GENDER, PROFESSION and FAMILY are
not direct. Brackets are exact 95 % intervals (Clopper and Pearson).
"#;

#[derive(Debug, Args)]
pub(in super::super) struct Options {
    #[command(flatten)]
    common: Common,
    /// Records, one JSON object a line (`-` for standard input), in one or more files; `--help` describes them.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    /// What to group by.
    #[arg(long, value_enum, default_value = "source")]
    by: By,
    /// Policy whose labels are compared with `level`: a preset or a file [default: the configured one].
    #[arg(long, value_name = "NAME_OR_FILE")]
    policy: Option<String>,
    /// Findings below this score do not count, 0 to 1.
    #[arg(long, value_name = "SCORE", default_value_t = 0.0)]
    score_min: f32,
    /// Leave out the model that finds names in free text.
    #[arg(long)]
    no_names: bool,
    /// How to print the figures.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// What records are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// `source`.
    Source,
    /// `lang`.
    Language,
}

pub(super) fn run(options: &Options) -> Outcome {
    let overrides = Overrides { policy: options.policy.clone(), ..Overrides::default() };
    let mut config = options.common.load(overrides)?;
    if options.no_names {
        config.detection.names = NamesMode::Off;
    }
    if !(0.0..=1.0).contains(&options.score_min) {
        return Err(CliError::Usage(String::from("--score-min must be from 0 to 1")));
    }
    let classifier = crate::cli::whole_classifier(&config)?;
    let mut items = Vec::new();
    let mut faults = Vec::new();
    let mut all_well = true;
    for path in &options.data {
        let lines = Lines::read(path, Item::read)?;
        lines.report_faults();
        all_well &= lines.all_well();
        items.extend(lines.items);
        faults.extend(lines.faults);
    }
    if items.is_empty() {
        return Err(CliError::Fault(String::from("there is no record to evaluate")));
    }
    let mut measured = Measured::default();
    for item in &items {
        measured.add(&classifier, &config.policy, item, options);
    }
    let report = measured.report(&config.policy, &classifier, faults);
    match options.format {
        Format::Table => print(report.as_table())?,
        Format::Markdown => print(report.as_markdown())?,
        Format::Json => {
            print(serde_json::to_string_pretty(&report).map_err(|error| CliError::fault(&error))?)?;
        }
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What was measured so far.
#[derive(Debug, Default)]
struct Measured {
    annotated: Tally,
    synthetic: Tally,
    groups: BTreeMap<String, Tally>,
    levels: Levels,
    busy: Duration,
    bytes: u64,
}

impl Measured {
    fn add(&mut self, classifier: &Classifier, policy: &policies::PolicySet, item: &Item, options: &Options) {
        let started = Instant::now();
        let profile = classifier.classify_fully(&Prompt::from_text(&item.text));
        self.busy += started.elapsed();
        self.bytes += item.text.len() as u64;
        let counted = profile.sensitivity.findings.iter().filter(|found| found.score >= options.score_min);
        let found: Vec<Span> =
            counted.map(|found| Span { kind: found.kind, start: found.start, end: found.end }).collect();
        let name = match options.by {
            By::Source => &item.source,
            By::Language => &item.language,
        };
        let group = self.groups.entry(name.clone()).or_default();
        let origin = if item.is_synthetic { &mut self.synthetic } else { &mut self.annotated };
        for tally in [group, origin] {
            if item.is_look_alike {
                tally.add_look_alike(&found);
            } else {
                tally.add(&item.marked, &found, &item.annotated);
            }
        }
        if let Some(level) = item.level {
            self.levels.add(level, policy.label(&profile.sensitivity, &CallerFacts::default()).label);
        }
    }

    fn report(
        self,
        policy: &policies::PolicySet,
        classifier: &Classifier,
        faults: Vec<crate::cli::lines::LineFault>,
    ) -> Report {
        let documents = self.annotated.documents + self.synthetic.documents;
        let mut kinds: BTreeMap<EntityKind, _> = BTreeMap::new();
        for (kind, matches) in self.annotated.kinds.iter().chain(&self.synthetic.kinds) {
            *kinds.entry(*kind).or_default() += *matches;
        }
        let origins = [("marked by people", &self.annotated), ("made up", &self.synthetic)];
        let origins = origins.into_iter().filter(|(_, tally)| tally.documents > 0);
        Report {
            origins: origins.map(|(name, tally)| Group::new(name, tally)).collect(),
            groups: self.groups.iter().map(|(name, tally)| Group::new(name, tally)).collect(),
            kinds: kinds.into_iter().map(|(kind, matches)| report::Kind::new(kind, matches)).collect(),
            levels: self.levels,
            policy: policy.revision().to_string(),
            names: classifier.names_revision().map(str::to_owned),
            speed: Speed::new(documents, self.bytes, self.busy),
            faults,
        }
    }
}
