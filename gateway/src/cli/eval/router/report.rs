//! The figures of an evaluation, for people, documents, programs and the eye.

use comfy_table::{CellAlignment, Table, TableStyle, presets};
use router_model::measure::{BINS, Bin, Estimate, Evaluation, Figures, Scored, reliability};
use serde::Serialize;

use super::super::super::lines::{LineFault, Lines};
use super::super::super::plot::{Axis, Line, Plot, Role};
use super::Options;
use super::item::{Item, Reader};
use super::rungs::Latency;

/// Under what conditions the figures were made.
#[derive(Debug, Serialize)]
pub(super) struct Conditions {
    pub(super) data: String,
    pub(super) rows: usize,
    pub(super) ungraded: usize,
    /// Rows whose strong answer counts as 1 because nobody graded it.
    pub(super) strong_assumed: usize,
    /// Rows whose prompt was scored now rather than when it was served.
    pub(super) scored_now: usize,
    /// Share of rows that needed the encoder, among those that say.
    pub(super) encoder_share: Option<f64>,
    pub(super) resamples: u32,
    pub(super) seed: u64,
    /// Revision of the artifact that scores now.
    pub(super) router: String,
    pub(super) sluicegate: &'static str,
}

/// Figures of the rows that have something in common.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    name: String,
    #[serde(flatten)]
    found: Evaluation,
    reliability: Vec<Bin>,
}

/// The whole result.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) conditions: Conditions,
    pub(super) total: Group,
    pub(super) groups: Vec<Group>,
    pub(super) latency: Vec<Latency>,
    pub(super) faults: Vec<LineFault>,
    pub(super) faults_beyond: usize,
}

impl Conditions {
    #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
    pub(super) fn new(options: &Options, lines: &Lines<Option<Item>>, reader: &Reader) -> Self {
        let items: Vec<&Item> = lines.items.iter().flatten().collect();
        let said: Vec<bool> = items.iter().filter_map(|item| item.needed_encoder).collect();
        let needed = said.iter().filter(|needed| **needed).count();
        Self {
            data: options.data.display().to_string(),
            rows: items.len(),
            ungraded: lines.items.len() - items.len(),
            strong_assumed: items.iter().filter(|item| item.strong_assumed).count(),
            scored_now: reader.scored(),
            router: reader.revision().to_owned(),
            encoder_share: (!said.is_empty()).then(|| needed as f64 / said.len() as f64),
            resamples: options.boot,
            seed: options.seed,
            sluicegate: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl Group {
    pub(super) fn new(name: &str, rows: &[Scored], found: Evaluation) -> Self {
        let scores: Vec<f64> = rows.iter().map(|row| row.score).collect();
        let outcomes: Vec<f64> = rows.iter().map(|row| 1.0 - row.pair.good).collect();
        let reliability = reliability(&scores, &outcomes, &vec![1; rows.len()], BINS);
        Self { name: name.to_owned(), found, reliability }
    }
}

impl Report {
    /// For people.
    pub(super) fn as_table(&self) -> String {
        self.text(presets::NOTHING, "")
    }

    /// For documents.
    pub(super) fn as_markdown(&self) -> String {
        self.text(presets::ASCII_MARKDOWN, "## ")
    }

    fn text(&self, style: TableStyle, heading: &str) -> String {
        let sections = [
            ("The router's figures", self.figures(style)),
            ("APGR beside what chance and length reach", self.baselines(style)),
            ("Quality by share of strong calls, all rows", self.curve(style)),
            ("Complexity beside the share that failed, all rows", self.bins(style)),
        ];
        let sections = sections.map(|(title, table)| format!("{heading}{title}\n\n{table}\n"));
        format!("{}\n{}", sections.join("\n"), self.conditions().join("\n"))
    }

    fn everything(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().chain(std::iter::once(&self.total))
    }

    fn figures(&self, style: TableStyle) -> String {
        let header = ["", "rows", "APGR", "CPT(50 %)", "CPT(80 %)", "AUROC", "ECE", "Brier"];
        let rows =
            self.everything().map(|group| figure_cells(&group.name, group.found.rows, &group.found.router));
        let all = &self.total.found;
        let by_length = all.by_length.iter().map(|found| figure_cells("all, prompt length", all.rows, found));
        let random = std::iter::once(figure_cells("all, random", all.rows, &all.random));
        table(style, &header, rows.chain(by_length).chain(random))
    }

    fn baselines(&self, style: TableStyle) -> String {
        let header = ["", "rows", "small", "large", "router", "prompt length", "random", "router - length"];
        let rows = self.everything().map(|group| {
            let found = &group.found;
            vec![
                group.name.clone(),
                found.rows.to_string(),
                format!("{:.3}", found.weak),
                format!("{:.3}", found.strong),
                plain(found.router.apgr),
                plain(found.by_length.as_ref().and_then(|figures| figures.apgr)),
                plain(found.random.apgr),
                plain(found.apgr_over_length),
            ]
        });
        table(style, &header, rows)
    }

    fn curve(&self, style: TableStyle) -> String {
        let header = ["strong calls", "quality", "random", "prompt length"];
        let rows = self.total.found.curve.iter().map(|point| {
            vec![
                format!("{:.0} %", 100.0 * point.strong_share),
                plain(Some(point.quality)),
                format!("{:.3}", point.random),
                point.by_length.map_or_else(dash, |quality| format!("{quality:.3}")),
            ]
        });
        table(style, &header, rows)
    }

    fn bins(&self, style: TableStyle) -> String {
        let rows = self.total.reliability.iter().map(|bin| {
            vec![
                format!("{:.1} to {:.1}", bin.low, bin.high),
                format!("{:.0}", bin.rows),
                format!("{:.3}", bin.score),
                format!("{:.3}", bin.outcome),
            ]
        });
        table(style, &["complexity", "rows", "mean", "failed"], rows)
    }

    fn conditions(&self) -> Vec<String> {
        let on = &self.conditions;
        let mut lines = vec![
            format!(
                "- data: {} ({} graded rows, {} ungraded; {} scored now)",
                on.data, on.rows, on.ungraded, on.scored_now
            ),
            format!("- intervals: 95 %, {} resamples, seed {}", on.resamples, on.seed),
            format!("- router {} of sluicegate {}", on.router, on.sluicegate),
        ];
        if on.strong_assumed > 0 {
            lines.push(format!(
                "- WARNING: the strong model counts as always right on the {} rows that do not grade it",
                on.strong_assumed
            ));
        }
        if let Some(share) = on.encoder_share {
            lines.push(format!("- needed the encoder: {:.1} % of the rows that say", 100.0 * share));
        }
        for latency in &self.latency {
            lines.push(format!(
                "- {}: p50 {:.3} ms, p99 {:.3} ms over {} prompts",
                latency.rung, latency.p50_ms, latency.p99_ms, latency.prompts
            ));
        }
        lines
    }

    /// Quality against the share of strong calls.
    pub(super) fn as_plot(&self) -> Plot {
        let curve = &self.total.found.curve;
        let points = |of: &dyn Fn(usize) -> Option<f64>| -> Vec<(f64, f64)> {
            let points = curve.iter().enumerate();
            points.filter_map(|(at, point)| Some((point.strong_share, of(at)?))).collect()
        };
        let router = points(&|at| Some(curve[at].quality.value));
        let random = points(&|at| Some(curve[at].random));
        let length = points(&|at| curve[at].by_length);
        let band = curve.iter().filter_map(|p| Some((p.strong_share, p.quality.low?, p.quality.high?)));
        let band: Vec<_> = band.collect();
        let heights = [&router, &random, &length].into_iter().flatten().map(|point| point.1);
        let y = Axis::around("mean quality", heights.chain(band.iter().flat_map(|b| [b.1, b.2])));
        let apgr = plain(self.total.found.router.apgr);
        let mut lines = vec![line("random", Role::Chance, random)];
        if !length.is_empty() {
            lines.push(line("longer prompts first", Role::Other, length));
        }
        lines.push(line("router", Role::Main, router));
        Plot {
            title: format!("Router on {} rows, APGR {apgr}", self.total.found.rows),
            x: Axis { title: String::from("calls to the strong model"), low: 0.0, high: 1.0 },
            y,
            lines,
            band,
            band_name: String::from("95 % interval of the router"),
            mark: None,
        }
    }
}

fn line(name: &str, role: Role, points: Vec<(f64, f64)>) -> Line {
    Line { name: name.to_owned(), role, points }
}

fn figure_cells(name: &str, rows: usize, figures: &Figures) -> Vec<String> {
    vec![
        name.to_owned(),
        rows.to_string(),
        plain(figures.apgr),
        percent(figures.cpt50),
        percent(figures.cpt80),
        plain(figures.auroc),
        plain(figures.ece),
        plain(figures.brier),
    ]
}

fn plain(estimate: Option<Estimate>) -> String {
    written(estimate, |value| format!("{value:.3}"))
}

fn percent(estimate: Option<Estimate>) -> String {
    written(estimate, |value| format!("{:.1}", 100.0 * value))
}

fn written(estimate: Option<Estimate>, number: impl Fn(f64) -> String) -> String {
    let Some(Estimate { value, low, high }) = estimate else { return dash() };
    match (low, high) {
        (Some(low), Some(high)) => format!("{} [{}, {}]", number(value), number(low), number(high)),
        _ => number(value),
    }
}

fn dash() -> String {
    String::from("-")
}

fn table<const N: usize>(
    style: TableStyle,
    header: &[&str; N],
    rows: impl Iterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table.load_style(style);
    table.set_header(*header);
    rows.for_each(|row| {
        table.add_row(row);
    });
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}
