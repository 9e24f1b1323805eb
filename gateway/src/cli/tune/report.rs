//! The result of tuning, for people, documents, programs and the eye.

use comfy_table::{CellAlignment, Table, TableStyle, presets};
use policies::Money;
use router_model::measure::{Candidate, Case, Family, GradedRow, Judged, Tuning};
use serde::Serialize;

use super::super::lines::{LineFault, Lines};
use super::super::plot::{Axis, Line, Plot, Role};
use super::rows::{Provenance, Usable};

/// Every how many candidates a chain is shown.
const SHOWN_EVERY: usize = 5;

/// Everything that is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    family: Family,
    data: Provenance,
    #[serde(flatten)]
    tuning: Tuning,
    /// What the policy's own thresholds do on these rows; its p-value stands by itself.
    in_force: Option<Judged>,
    /// What everything would cost from the strong model, in the unit of the rows; costs are shown as parts of it.
    strong_only_cost: f64,
    /// What the chosen thresholds cost, as part of that.
    chosen_relative_cost: Option<f64>,
    local_only: Only,
    strong_only: Only,
    snippet: Option<String>,
    verdict: String,
    warnings: Vec<String>,
    faults: Vec<LineFault>,
    faults_beyond: usize,
}

/// What one model alone would do.
#[derive(Debug, Clone, Copy, Serialize)]
struct Only {
    quality: f64,
    cost: f64,
}

impl Report {
    pub(super) fn new(
        family: Family,
        usable: Usable,
        tuning: Tuning,
        in_force: Option<Judged>,
        snippet: Option<String>,
        lines: &Lines<GradedRow>,
    ) -> Self {
        let mean = |of: fn(&Case) -> f64| usable.cases.iter().map(of).sum::<f64>() / real(usable.cases.len());
        let strong_only = Only { quality: mean(|case| case.strong), cost: mean(|case| case.cloud_cost) };
        let mut warnings = usable.warnings;
        if tuning.chosen.is_some_and(|chosen| chosen.local_share <= 0.0) {
            warnings.push(String::from(
                "only sending everything to the strong model is certified: these rows do not show that any local \
                 answer may be served",
            ));
        }
        let relative = |chosen: &Judged| relative(chosen.cost, strong_only.cost);
        Self {
            verdict: verdict(&tuning),
            chosen_relative_cost: tuning.chosen.as_ref().map(relative),
            family,
            data: usable.provenance,
            in_force,
            strong_only_cost: strong_only.cost,
            local_only: Only { quality: mean(|case| case.good), cost: mean(|case| case.local_cost) },
            strong_only,
            snippet,
            tuning,
            warnings,
            faults: lines.faults.clone(),
            faults_beyond: lines.faults_beyond,
        }
    }

    pub(super) const fn is_certified(&self) -> bool {
        self.tuning.chosen.is_some()
    }

    pub(super) fn as_table(&self) -> String {
        self.text(presets::NOTHING, "", "")
    }

    pub(super) fn as_markdown(&self) -> String {
        self.text(presets::ASCII_MARKDOWN, "```toml\n", "```\n")
    }

    fn text(&self, style: TableStyle, open: &str, close: &str) -> String {
        let mut text = format!("{}\n\n{}\n", self.table(style), self.verdict);
        if let Some(snippet) = &self.snippet {
            text.push_str(&format!("\n{open}{snippet}{close}"));
        }
        let known = self.known().into_iter().map(|line| format!("- {line}"));
        let warned = self.warnings.iter().map(|warning| format!("- WARNING: {warning}"));
        let lines: Vec<String> = known.chain(warned).collect();
        format!("{text}\n{}", lines.join("\n"))
    }

    /// What has to be known to read the figures.
    fn known(&self) -> Vec<String> {
        let rows = &self.data;
        let sources: Vec<_> = rows.sources.iter().map(|(name, rows)| format!("{rows} {name}")).collect();
        let p_value = if self.tuning.binary {
            "exact binomial (all grades are 0 or 1)"
        } else {
            "Hoeffding-Bentkus (grades lie between 0 and 1)"
        };
        let order = match self.family {
            Family::Route { .. } => "complexity thresholds from 0.00 to 1.00",
            Family::Cascade { .. } => "confidence thresholds from 1.00 down to 0.00",
            Family::Pair => {
                "confidence thresholds from 1.00 down to 0.00 for each of ten complexity thresholds, each chain at a \
                 tenth of the risk"
            }
        };
        vec![
            format!(
                "rows: {} of {} used ({}), {} ungraded",
                rows.used,
                rows.read,
                sources.join(", "),
                rows.ungraded
            ),
            format!("p-values: {p_value}; tested in a fixed order until the first failure: {order}"),
            String::from(
                "`at least` is each row's own lower bound; only `certified` holds for all of them at once",
            ),
            if rows.priced {
                format!(
                    "cost: part of {} USD a thousand requests, which the strong model alone costs",
                    thousand(self.strong_only_cost)
                )
            } else {
                String::from("cost: part of what the strong model alone costs; local answers count as free")
            },
            String::from(
                "holds if: rows are independent draws of what will be asked, graded whatever the answer was like; \
                 they are requests that the rule decides; local model, strong model and router stay the same; and \
                 for the mean, not for a group of requests",
            ),
        ]
    }

    fn table(&self, style: TableStyle) -> String {
        let mut table = Table::new();
        table.load_style(style);
        table.set_header([
            "",
            "complexity <",
            "escalate below",
            "tried",
            "local",
            "quality",
            "at least",
            "cost",
            "p-value",
            "certified",
        ]);
        for judged in self.shown() {
            let name = if self.tuning.chosen == Some(judged) { "chosen" } else { "" };
            table.add_row(self.cells(name, &judged));
        }
        if let Some(judged) = &self.in_force {
            let mut cells = self.cells("in force", judged);
            // Its p-value was not part of the procedure, so the word would promise what it does not.
            cells.pop();
            cells.push(String::from("-"));
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.trim_fmt()
    }

    /// One chain is thinned out; of several, each shows the cheapest that is certified, or its safest.
    fn shown(&self) -> Vec<Judged> {
        let last_certified =
            |chain: &[Judged]| chain.iter().rposition(|judged| judged.certified).unwrap_or(0);
        match &self.tuning.chains[..] {
            [chain] => {
                let limit = last_certified(chain);
                let shown = |&(at, judged): &(usize, &Judged)| {
                    at % SHOWN_EVERY == 0 || at == limit + 1 || self.tuning.chosen == Some(*judged)
                };
                chain.iter().enumerate().filter(shown).map(|(_, judged)| *judged).collect()
            }
            chains => chains.iter().filter_map(|chain| chain.get(last_certified(chain)).copied()).collect(),
        }
    }

    fn cells(&self, name: &str, judged: &Judged) -> Vec<String> {
        let Candidate { complexity_below, confidence_from } = judged.candidate;
        let threshold =
            |value: Option<f64>| value.map_or_else(|| String::from("-"), |value| format!("{value:.2}"));
        vec![
            name.to_owned(),
            threshold(complexity_below),
            threshold(confidence_from),
            percent(judged.tried_share),
            percent(judged.local_share),
            format!("{:.3}", judged.quality),
            format!("{:.3}", judged.quality_at_least),
            percent(self.relative(judged.cost)),
            if judged.p_value < 0.0001 { String::from("< 0.0001") } else { format!("{:.4}", judged.p_value) },
            String::from(if judged.certified { "yes" } else { "no" }),
        ]
    }

    fn relative(&self, cost: f64) -> f64 {
        relative(cost, self.strong_only_cost)
    }

    /// Quality against cost.
    pub(super) fn as_plot(&self) -> Plot {
        let point = |judged: &Judged| (self.relative(judged.cost), judged.quality);
        let shown = self.outline();
        let curve: Vec<_> = shown.iter().map(point).collect();
        let band: Vec<_> = shown
            .iter()
            .map(|judged| (self.relative(judged.cost), judged.quality_at_least, judged.quality))
            .collect();
        let ends = [self.local_only, self.strong_only].map(|only| (self.relative(only.cost), only.quality));
        let target = self.tuning.target.quality;
        let x = Axis::around(
            "cost, as part of the strong model alone",
            curve.iter().map(|p| p.0).chain([0.0, 1.0]),
        );
        let level = vec![(x.low, target), (x.high, target)];
        let qualities = band.iter().flat_map(|&(_, low, high)| [low, high]).chain(ends.map(|end| end.1));
        let line = |name: &str, role, points| Line { name: name.to_owned(), role, points };
        Plot {
            title: format!("Quality and cost of {} thresholds", family_name(self.family)),
            y: Axis::around("mean quality of what is served", qualities.chain([target])),
            x,
            lines: vec![
                line("at random", Role::Chance, ends.to_vec()),
                line(&format!("target {target}"), Role::Level, level),
                line("by threshold", Role::Main, curve),
            ],
            band,
            band_name: format!("down to the lower bound at {}", percent(1.0 - self.tuning.target.risk)),
            mark: self.tuning.chosen.as_ref().map(|chosen| (point(chosen), chosen_name(chosen.candidate))),
        }
    }

    /// What the curve goes through, cheapest first: the chain, or of several chains whatever no cheaper candidate
    /// matches in quality.
    fn outline(&self) -> Vec<Judged> {
        let mut all: Vec<Judged> = self.tuning.chains.iter().flatten().copied().collect();
        all.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(a.quality.total_cmp(&b.quality)));
        if self.tuning.chains.len() > 1 {
            let mut best = f64::NEG_INFINITY;
            all.retain(|judged| {
                let better = judged.quality > best;
                best = best.max(judged.quality);
                better
            });
        }
        all
    }
}

fn relative(cost: f64, strong_only: f64) -> f64 {
    if strong_only > 0.0 { cost / strong_only } else { 0.0 }
}

fn verdict(tuning: &Tuning) -> String {
    let (quality, sure) = (tuning.target.quality, percent(1.0 - tuning.target.risk));
    if let Some(chosen) = &tuning.chosen {
        return format!(
            "With {sure} confidence the mean quality is at least {quality}: {}. {} of the requests are served \
             locally, at a quality of {:.3} on these rows.",
            chosen_name(chosen.candidate),
            percent(chosen.local_share),
            chosen.quality,
        );
    }
    let safest = tuning.chains.iter().filter_map(|chain| chain.first()).map(|judged| judged.quality);
    let best = safest.fold(0.0, f64::max);
    match tuning.rows_needed {
        Some(rows) => format!(
            "No threshold is certified: the safest one has a quality of {best:.3} on these {} rows, and {rows} such \
             rows would be needed to say with {sure} confidence that it is at least {quality}.",
            tuning.rows
        ),
        None => format!(
            "No threshold is certified: the safest one has a quality of {best:.3} on these {} rows, which is {:.3} \
             short of being above {quality}. More rows alone would not help.",
            tuning.rows,
            quality - best
        ),
    }
}

fn chosen_name(candidate: Candidate) -> String {
    match (candidate.complexity_below, candidate.confidence_from) {
        (Some(complexity), Some(confidence)) => {
            format!("complexity below {complexity:.2}, escalation below a confidence of {confidence:.2}")
        }
        (Some(complexity), None) => format!("complexity below {complexity:.2}"),
        (None, Some(confidence)) => format!("escalation below a confidence of {confidence:.2}"),
        (None, None) => String::from("everything locally"),
    }
}

const fn family_name(family: Family) -> &'static str {
    match family {
        Family::Route { .. } => "routing",
        Family::Cascade { .. } => "cascade",
        Family::Pair => "routing and cascade",
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// What a thousand requests of this mean cost come to.
#[expect(clippy::cast_possible_truncation, reason = "sums of money that rows could hold")]
fn thousand(nanos: f64) -> Money {
    Money::from_nanos((nanos * 1000.0).round() as i64)
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows")]
const fn real(count: usize) -> f64 {
    count as f64
}
