//! Whether the confidence of local answers is worth what it says, by the ratings that came back.
//!
//! Expected calibration error and reliability are those of [`router_model::measure`], so that they compare with what
//! `sluicegate eval router` prints. The error is overstated where ratings are few, which is why numbers and Wilson
//! intervals stand beside it. A rating between 0 and 1 counts as that share of a good answer: its variance is at most that
//! of a yes or no with the same mean, so the interval is rather too wide than too narrow.
//!
//! Ratings are not a random sample: who is annoyed rates more often. The figures are about rated answers only.

use router_model::measure::{self, BINS, bounds};
use serde::Serialize;

/// An interval holds the truth but for this share of cases.
const RISK: f64 = 0.05;

/// A local answer that was rated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rated {
    /// Confidence that it was served with, in `[0, 1]`.
    pub confidence: f32,
    /// How good it was, in `[0, 1]`.
    pub good: f32,
}

/// Confidence against ratings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// Answers.
    pub rated: u64,
    /// Expected calibration error, in `[0, 1]`.
    pub ece: f64,
    /// Share of good answers, with its interval of 95 %.
    pub good: Share,
    /// Mean confidence.
    pub confidence: f64,
    /// The same for each bin that has answers.
    pub bins: Vec<Bin>,
}

/// A share with its interval of 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// The share.
    pub share: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Answers of like confidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bin {
    /// Lowest confidence of the bin; it is 0.1 wide.
    pub from: f64,
    /// Answers.
    pub rated: u64,
    /// Mean confidence.
    pub confidence: f64,
    /// Share of good ones.
    pub good: Share,
}

impl Calibration {
    /// Compares; `None` without ratings.
    #[must_use]
    pub fn of(answers: &[Rated]) -> Option<Self> {
        let confidences: Vec<f64> = answers.iter().map(|answer| f64::from(answer.confidence)).collect();
        let grades: Vec<f64> = answers.iter().map(|answer| f64::from(answer.good)).collect();
        let weights = vec![1; answers.len()];
        let bins = measure::reliability(&confidences, &grades, &weights, BINS);
        let of_bin = |bin: &measure::Bin| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of ones")]
            let rated = bin.rows as u64;
            // Written as people write it: 0.3 and not 0.30000000000000004.
            let from = (bin.low * 10.0).round() / 10.0;
            Some(Bin { from, rated, confidence: bin.score, good: Share::of(bin.outcome, rated)? })
        };
        let rated = answers.len() as u64;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        Some(Self {
            rated,
            ece: measure::ece(&confidences, &grades, &weights)?,
            good: Share::of(mean(&grades), rated)?,
            confidence: mean(&confidences),
            bins: bins.iter().filter_map(of_bin).collect(),
        })
    }

    /// The share of good answers that is exceeded with a confidence of 95 %.
    #[must_use]
    pub fn good_at_least(&self) -> f64 {
        // One end of an interval errs half as often as both.
        bounds::wilson(self.good.share, self.rated, 2.0 * RISK).map_or(0.0, |(low, _)| low)
    }
}

impl Share {
    fn of(share: f64, count: u64) -> Option<Self> {
        let (low, high) = bounds::wilson(share, count, RISK)?;
        Some(Self { share, low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(count: usize, confidence: f32, good: usize) -> Vec<Rated> {
        let rated = |index| Rated { confidence, good: f32::from(u8::from(index < good)) };
        (0..count).map(rated).collect()
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
    }

    #[test]
    fn the_error_is_the_weighted_distance_of_the_bins() {
        // 60 answers at 0.95 of which 48 (0.80) were good, and 40 at 0.35 of which 20 (0.50) were.
        let mut all = answers(60, 0.95, 48);
        all.extend(answers(40, 0.35, 20));
        let found = Calibration::of(&all).unwrap();
        near(found.ece, 0.6 * 0.15 + 0.4 * 0.15);
        near(found.good.share, 0.68);
        near(found.confidence, 0.6 * 0.95 + 0.4 * 0.35);
        let bins: Vec<_> = found.bins.iter().map(|bin| (bin.from, bin.rated)).collect();
        assert_eq!(bins, [(0.3, 40), (0.9, 60)]);
    }

    #[test]
    fn intervals_stand_beside_shares() {
        // 8 of 10 at 95 %: 0.4902 to 0.9433; 20 of 20, one-sided: 20 / (20 + 1.645^2).
        let found = Calibration::of(&answers(10, 0.5, 8)).unwrap();
        near(found.good.low, 0.4902);
        near(found.good.high, 0.9433);
        near(Calibration::of(&answers(20, 0.5, 20)).unwrap().good_at_least(), 20.0 / (20.0 + 1.645 * 1.645));
    }

    #[test]
    fn without_ratings_nothing_is_claimed() {
        assert_eq!(Calibration::of(&[]), None);
    }
}
