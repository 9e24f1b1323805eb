//! All figures of one router over one set of rows, beside two routers that know nothing and little.
//!
//! Invariants: *failing* means a local answer graded below 0.5; calibration compares the score with one minus the
//! grade, which for grades of 0 and 1 is the same thing; every figure of a set comes from the same resamples, so
//! a lead over prompt length is compared row by row. Resampling ECE adds noise to every bin, which lifts it: its
//! interval may lie above its value.

use serde::Serialize;

use super::bootstrap::{Estimate, resample};
use super::{Curve, Pair, Ranking, Rng, auroc, brier, ece};

/// Grade below which a local answer failed.
pub const GOOD_FROM: f64 = 0.5;

/// One request with the router's score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// P(a strong model is needed), in `[0, 1]`.
    pub score: f64,
    /// How good both answers are.
    pub pair: Pair,
    /// Length of the prompt, if known. Unit: characters.
    pub length: Option<f64>,
}

/// How much resampling, and from which seed.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// Resamples; 0 for figures without intervals.
    pub resamples: u32,
    /// Seed of everything random.
    pub seed: u64,
}

/// Figures of one router. A figure is `None` where the rows do not define it: RouteLLM's where the strong model is
/// no better than the local one, AUROC where all answers fail or none, calibration of what is no probability.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Average performance gap recovered; 0.5 is chance.
    pub apgr: Option<Estimate>,
    /// Share of strong calls that recovers half of the gap.
    pub cpt50: Option<Estimate>,
    /// Share of strong calls that recovers four fifths of the gap.
    pub cpt80: Option<Estimate>,
    /// Chance that a failing row has the higher score.
    pub auroc: Option<Estimate>,
    /// Expected calibration error.
    pub ece: Option<Estimate>,
    /// Brier score.
    pub brier: Option<Estimate>,
}

/// One share of strong calls and what is served with it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Share of strong calls.
    pub strong_share: f64,
    /// Mean quality that the router serves, with its interval.
    pub quality: Estimate,
    /// The same in random order: the diagonal.
    pub random: f64,
    /// The same in order of prompt length.
    pub by_length: Option<f64>,
}

/// The whole evaluation of one set of rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Rows.
    pub rows: usize,
    /// Mean quality of the local answers.
    pub weak: f64,
    /// Mean quality of the strong model's answers.
    pub strong: f64,
    /// The router.
    pub router: Figures,
    /// Random order: its expectation, with the spread of single random orders.
    pub random: Figures,
    /// Longer prompts to the strong model first; `None` where lengths are not known.
    pub by_length: Option<Figures>,
    /// By how much the router's APGR is above that of prompt length.
    pub apgr_over_length: Option<Estimate>,
    /// Quality at 0, 10, ... 100 % strong calls.
    pub curve: Vec<CurvePoint>,
}

/// Number of steps of [`Evaluation::curve`].
const STEPS: u32 = 10;

/// Evaluates a router. `None` without rows.
#[must_use]
pub fn evaluate(rows: &[Scored], sampling: Sampling) -> Option<Evaluation> {
    let set = Set::new(rows);
    let whole = Sample::of(&set, &vec![1; rows.len()])?;
    let diagonal = set.diagonal();
    let resampled = set.resamples(sampling);
    let random = set.random_orders(sampling);
    let by_length = whole.by_length.as_ref();
    Some(Evaluation {
        rows: rows.len(),
        weak: whole.router.steps[0],
        strong: whole.router.steps[STEPS as usize],
        router: figures(&whole.router, resampled.iter().map(|sample| &sample.router)),
        random: figures(&diagonal, random.iter()),
        by_length: by_length
            .map(|length| figures(length, resampled.iter().filter_map(|sample| sample.by_length.as_ref()))),
        apgr_over_length: estimate(whole.lead(), resampled.iter().map(Sample::lead)),
        curve: curve(&whole, &diagonal, &resampled),
    })
}

/// The rows in columns, ranked once.
struct Set {
    scores: Vec<f64>,
    pairs: Vec<Pair>,
    failing: Vec<bool>,
    outcomes: Vec<f64>,
    by_score: Ranking,
    by_length: Option<Ranking>,
}

/// Everything that is measured of one router on one resample; not the curve itself, which is as long as the rows.
struct Measured {
    /// Quality at each step of [`Evaluation::curve`].
    steps: Vec<f64>,
    apgr: Option<f64>,
    cpt50: Option<f64>,
    cpt80: Option<f64>,
    auroc: Option<f64>,
    ece: Option<f64>,
    brier: Option<f64>,
}

struct Sample {
    router: Measured,
    by_length: Option<Measured>,
}

impl Set {
    fn new(rows: &[Scored]) -> Self {
        let scores: Vec<f64> = rows.iter().map(|row| row.score).collect();
        let lengths: Option<Vec<f64>> = rows.iter().map(|row| row.length).collect();
        Self {
            by_score: Ranking::new(&scores),
            by_length: lengths.map(|lengths| Ranking::new(&lengths)),
            pairs: rows.iter().map(|row| row.pair).collect(),
            failing: rows.iter().map(|row| row.pair.good < GOOD_FROM).collect(),
            outcomes: rows.iter().map(|row| 1.0 - row.pair.good).collect(),
            scores,
        }
    }

    fn resamples(&self, sampling: Sampling) -> Vec<Sample> {
        let mut rng = Rng::new(sampling.seed);
        let mut weights = vec![0; self.scores.len()];
        (0..sampling.resamples)
            .filter_map(|_| {
                resample(&mut rng, &mut weights);
                Sample::of(self, &weights)
            })
            .collect()
    }

    /// Figures of single random orders: how far chance alone gets with these rows.
    fn random_orders(&self, sampling: Sampling) -> Vec<Measured> {
        let mut rng = Rng::new(!sampling.seed);
        let once = vec![1; self.scores.len()];
        (0..sampling.resamples)
            .filter_map(|_| {
                let scores: Vec<f64> = self.scores.iter().map(|_| rng.unit()).collect();
                self.measure(&Ranking::new(&scores), &once)
            })
            .collect()
    }

    /// The expectation over random orders: one tie of all rows.
    fn diagonal(&self) -> Measured {
        let tie = Ranking::new(&vec![0.0; self.scores.len()]);
        self.measure(&tie, &vec![1; self.scores.len()]).expect("`evaluate` has seen rows")
    }

    /// What can be said of any order.
    fn measure(&self, ranking: &Ranking, weights: &[u32]) -> Option<Measured> {
        let curve = Curve::new(ranking, &self.pairs, weights)?;
        Some(Measured {
            steps: steps().map(|share| curve.at(share)).collect(),
            apgr: curve.apgr(),
            cpt50: curve.cpt(0.5),
            cpt80: curve.cpt(0.8),
            auroc: auroc(ranking, &self.failing, weights),
            ece: None,
            brier: None,
        })
    }
}

/// The shares of [`Evaluation::curve`].
fn steps() -> impl Iterator<Item = f64> {
    (0..=STEPS).map(|step| f64::from(step) / f64::from(STEPS))
}

fn curve(whole: &Sample, random: &Measured, resampled: &[Sample]) -> Vec<CurvePoint> {
    steps()
        .enumerate()
        .map(|(step, strong_share)| CurvePoint {
            strong_share,
            quality: Estimate::new(
                whole.router.steps[step],
                resampled.iter().map(|sample| sample.router.steps[step]).collect(),
            ),
            random: random.steps[step],
            by_length: whole.by_length.as_ref().map(|length| length.steps[step]),
        })
        .collect()
}

impl Sample {
    fn of(set: &Set, weights: &[u32]) -> Option<Self> {
        let mut router = set.measure(&set.by_score, weights)?;
        router.ece = ece(&set.scores, &set.outcomes, weights);
        router.brier = brier(&set.scores, &set.outcomes, weights);
        let by_length = set.by_length.as_ref().and_then(|ranking| set.measure(ranking, weights));
        Some(Self { router, by_length })
    }

    fn lead(&self) -> Option<f64> {
        Some(self.router.apgr? - self.by_length.as_ref()?.apgr?)
    }
}

fn figures<'a>(whole: &Measured, resampled: impl Iterator<Item = &'a Measured> + Clone) -> Figures {
    let of = |figure: fn(&Measured) -> Option<f64>| estimate(figure(whole), resampled.clone().map(figure));
    Figures {
        apgr: of(|measured| measured.apgr),
        cpt50: of(|measured| measured.cpt50),
        cpt80: of(|measured| measured.cpt80),
        auroc: of(|measured| measured.auroc),
        ece: of(|measured| measured.ece),
        brier: of(|measured| measured.brier),
    }
}

/// Resamples that do not define the figure (all rows failing, say) are left out of its interval.
fn estimate(value: Option<f64>, resampled: impl Iterator<Item = Option<f64>>) -> Option<Estimate> {
    value.map(|value| Estimate::new(value, resampled.flatten().collect()))
}
