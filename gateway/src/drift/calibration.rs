//! Whether the confidence of local answers is worth what it says, by the ratings that came back.
//!
//! Expected calibration error (M. Naeini et al., AAAI 2015; C. Guo et al., arXiv 1706.04599): ten bins of equal width; the
//! distance between mean confidence and mean rating of each, weighted by its number. It overstates the error of few
//! ratings, which is why numbers and intervals stand beside it. Intervals are Wilson's (E. B. Wilson, JASA 22, 1927). A
//! rating between 0 and 1 counts as that share of a good answer: its variance is at most that of a yes or no with the
//! same mean, so the interval is rather too wide than too narrow.
//!
//! Ratings are not a random sample: who is annoyed rates more often. The figures are about rated answers only.

use serde::Serialize;

use super::dimension::unit_bin;

/// Bins of confidence.
const BINS: usize = 10;
/// 97.5 % quantile of the standard normal distribution: an interval of 95 %.
const Z_TWO_SIDED: f64 = 1.96;
/// 95 % quantile: a bound that holds with 95 %.
pub(super) const Z_ONE_SIDED: f64 = 1.645;

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
    pub rated: usize,
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
    pub rated: usize,
    /// Mean confidence.
    pub confidence: f64,
    /// Share of good ones.
    pub good: Share,
}

impl Calibration {
    /// Compares; `None` without ratings.
    #[must_use]
    pub fn of(answers: &[Rated]) -> Option<Self> {
        if answers.is_empty() {
            return None;
        }
        let mut groups: [Vec<Rated>; BINS] = Default::default();
        for answer in answers {
            groups[usize::from(unit_bin(answer.confidence))].push(*answer);
        }
        let filled = groups.iter().enumerate().filter(|(_, group)| !group.is_empty());
        let bins: Vec<Bin> = filled.map(|(index, group)| Bin::of(index, group)).collect();
        let total = number(answers.len());
        let weighted = |bin: &Bin| number(bin.rated) / total * (bin.confidence - bin.good.share).abs();
        Some(Self {
            rated: answers.len(),
            ece: bins.iter().map(weighted).sum(),
            good: Share::of(mean(answers, |answer| answer.good), answers.len()),
            confidence: mean(answers, |answer| answer.confidence),
            bins,
        })
    }

    /// The share of good answers that is exceeded with a confidence of 95 %.
    #[must_use]
    pub fn good_at_least(&self) -> f64 {
        wilson(self.good.share, self.rated, Z_ONE_SIDED).0
    }
}

impl Bin {
    fn of(index: usize, answers: &[Rated]) -> Self {
        Self {
            from: number(index) / number(BINS),
            rated: answers.len(),
            confidence: mean(answers, |answer| answer.confidence),
            good: Share::of(mean(answers, |answer| answer.good), answers.len()),
        }
    }
}

impl Share {
    fn of(share: f64, count: usize) -> Self {
        let (low, high) = wilson(share, count, Z_TWO_SIDED);
        Self { share, low, high }
    }
}

fn mean(answers: &[Rated], value: impl Fn(&Rated) -> f32) -> f64 {
    answers.iter().map(|answer| f64::from(value(answer))).sum::<f64>() / number(answers.len())
}

/// Wilson's interval of a share of `count` observations.
fn wilson(share: f64, count: usize, z: f64) -> (f64, f64) {
    let n = number(count);
    let shrink = 1.0 + z * z / n;
    let centre = (share + z * z / (2.0 * n)) / shrink;
    let half = z / shrink * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
const fn number(count: usize) -> f64 {
    count as f64
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
    fn intervals_are_wilson_s() {
        // 8 of 10 at 95 %: 0.4902 to 0.9433 (the value of the usual tables of the score interval).
        let (low, high) = wilson(0.8, 10, Z_TWO_SIDED);
        near(low, 0.4902);
        near(high, 0.9433);
        let (low, high) = wilson(1.0, 20, Z_ONE_SIDED);
        near(low, 20.0 / (20.0 + 1.645 * 1.645));
        near(high, 1.0);
    }

    #[test]
    fn without_ratings_nothing_is_claimed() {
        assert_eq!(Calibration::of(&[]), None);
    }
}
