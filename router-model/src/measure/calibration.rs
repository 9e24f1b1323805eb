//! Whether a score tells failures from successes (AUROC), and whether it is the probability that it says it is
//! (expected calibration error, Brier score, reliability bins).

use super::Ranking;

/// Number of bins of [`reliability`] that figures are quoted with.
pub const BINS: usize = 10;

/// Chance that a failing row has a higher score than another, ties counting half (Mann and Whitney's U).
///
/// `None` if all fail or none does.
#[must_use]
pub fn auroc(ranking: &Ranking, failing: &[bool], weights: &[u32]) -> Option<f64> {
    let (mut failed_above, mut failed, mut wins) = (0.0, 0.0, 0.0);
    let mut passed = 0.0;
    for tie in ranking.ties() {
        let (mut failed_here, mut passed_here) = (0.0, 0.0);
        for &row in tie {
            *(if failing[row] { &mut failed_here } else { &mut passed_here }) += f64::from(weights[row]);
        }
        wins += passed_here * (failed_above + failed_here / 2.0);
        failed_above += failed_here;
        failed += failed_here;
        passed += passed_here;
    }
    (failed > 0.0 && passed > 0.0).then(|| wins / (failed * passed))
}

/// One bin of a reliability plot.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Bin {
    /// Scores from here, inclusive.
    pub low: f64,
    /// Scores up to here, exclusive but in the last bin.
    pub high: f64,
    /// Rows in it.
    pub rows: f64,
    /// Mean score of its rows.
    pub score: f64,
    /// Mean outcome of its rows.
    pub outcome: f64,
}

/// Bins of equal width over `[0, 1]`; empty ones are left out. `scores` and `outcomes` lie in `[0, 1]`.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a handful of bins, and scores are in [0, 1]"
)]
pub fn reliability(scores: &[f64], outcomes: &[f64], weights: &[u32], bins: usize) -> Vec<Bin> {
    let width = 1.0 / bins.max(1) as f64;
    let mut sums = vec![(0.0, 0.0, 0.0); bins.max(1)];
    for ((&score, &outcome), &weight) in scores.iter().zip(outcomes).zip(weights) {
        let at = ((score / width) as usize).min(sums.len() - 1);
        let weight = f64::from(weight);
        let sum = &mut sums[at];
        *sum = (sum.0 + weight, sum.1 + weight * score, sum.2 + weight * outcome);
    }
    let filled = sums.into_iter().enumerate().filter(|(_, (rows, ..))| *rows > 0.0);
    filled
        .map(|(at, (rows, score, outcome))| Bin {
            low: at as f64 * width,
            high: (at + 1) as f64 * width,
            rows,
            score: score / rows,
            outcome: outcome / rows,
        })
        .collect()
}

/// Expected calibration error: the distance of mean score and mean outcome in [`BINS`] bins of equal width, each
/// weighted by its number of rows (Guo et al. 2017, with equal-width bins). `None` without rows.
#[must_use]
pub fn ece(scores: &[f64], outcomes: &[f64], weights: &[u32]) -> Option<f64> {
    let bins = reliability(scores, outcomes, weights, BINS);
    let rows: f64 = bins.iter().map(|bin| bin.rows).sum();
    let sum: f64 = bins.iter().map(|bin| bin.rows * (bin.score - bin.outcome).abs()).sum();
    (rows > 0.0).then(|| sum / rows)
}

/// Brier score: the mean squared distance of score and outcome. `None` without rows.
#[must_use]
pub fn brier(scores: &[f64], outcomes: &[f64], weights: &[u32]) -> Option<f64> {
    let (mut rows, mut sum) = (0.0, 0.0);
    for ((score, outcome), &weight) in scores.iter().zip(outcomes).zip(weights) {
        rows += f64::from(weight);
        sum += f64::from(weight) * (score - outcome).powi(2);
    }
    (rows > 0.0).then(|| sum / rows)
}
