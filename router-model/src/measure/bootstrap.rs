//! How far a figure could be off: percentile intervals from resampled rows (Efron 1979).
//!
//! A resample is a vector of how often each row counts, so that figures of one score are computed in one pass
//! over rows that were ranked once, and so that figures of two scores are compared on the same resamples.

use serde::Serialize;

use super::Rng;

/// Share of resamples outside an interval, both sides together.
pub const RISK: f64 = 0.05;

/// A figure and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure over all rows.
    pub value: f64,
    /// Lower end; `None` without resamples.
    pub low: Option<f64>,
    /// Upper end; `None` without resamples.
    pub high: Option<f64>,
}

/// Draws as many rows as there are, with replacement: how often each counts.
pub fn resample(rng: &mut Rng, weights: &mut [u32]) {
    weights.fill(0);
    for _ in 0..weights.len() {
        let row = rng.below(weights.len());
        weights[row] += 1;
    }
}

impl Estimate {
    /// The figure with the percentiles of its resamples.
    #[must_use]
    pub fn new(value: f64, mut resampled: Vec<f64>) -> Self {
        resampled.sort_by(f64::total_cmp);
        let at = |share| quantile(&resampled, share);
        Self { value, low: at(RISK / 2.0), high: at(1.0 - RISK / 2.0) }
    }
}

/// Quantile of sorted values, straight between neighbours.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "indices of a vector in memory"
)]
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let low = sorted[place.floor() as usize];
    let high = sorted[place.ceil() as usize];
    Some(low + (high - low) * place.fract())
}
