//! How far one histogram is from another: the population stability index.
//!
//! `PSI = sum over bins of (p - q) ln(p / q)`, with `p` the share of the current and `q` that of the reference
//! traffic: the symmetric Kullback-Leibler divergence of the two. Every bin gets half an observation more on both sides, so
//! that an empty one is improbable and not impossible. The usual reading is that of credit scoring (N. Siddiqi, *Credit
//! Risk Scorecards*, Wiley 2006): below 0.1 nothing moved, from 0.1 something did, from 0.25 much did.
//!
//! Two samples of the same traffic differ as well: then PSI is distributed like `(1/n + 1/m)` times chi-squared with one
//! degree of freedom less than there are bins (B. Yurdakul and J. Naranjo, *Statistical properties of the population
//! stability index*, Journal of Risk Model Validation 14(4), 2020). What stays below the 99.9 % quantile of that is
//! called stable, whatever its size. That holds for independent requests; traffic in bursts varies more.

use serde::Serialize;

use super::window::total;

/// From here on something moved.
pub(super) const MOVED: f64 = 0.1;
/// Observations on either side below which nothing is compared.
pub(super) const OBSERVATIONS_MIN: u64 = 100;
/// Added to each bin on both sides.
const SMOOTHING: f64 = 0.5;
/// 99.9 % quantile of the standard normal distribution.
const Z_999: f64 = 3.0902;

/// What a comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There is too little traffic, or no reference yet.
    Waiting,
    /// Nothing that chance would not explain.
    Stable,
    /// It moved, and not far.
    Moved,
    /// It moved far.
    Drifted,
}

impl Verdict {
    /// The word on every interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Stable => "stable",
            Self::Moved => "moved",
            Self::Drifted => "drifted",
        }
    }
}

/// Two histograms of one dimension, compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Comparison {
    /// Population stability index; 0 while nothing is compared.
    pub(super) psi: f64,
    /// What chance alone exceeds once in a thousand times.
    pub(super) chance: f64,
    /// What it means.
    pub(super) verdict: Verdict,
}

impl Comparison {
    pub(super) const WAITING: Self = Self { psi: 0.0, chance: 0.0, verdict: Verdict::Waiting };

    /// Compares; `alert` is the index from which a dimension has drifted.
    pub(super) fn new(current: &[u32], reference: &[u32], alert: f64) -> Self {
        let (n, m) = (total(current), total(reference));
        if n.min(m) < OBSERVATIONS_MIN || current.len() != reference.len() {
            return Self::WAITING;
        }
        let (psi, chance) = (psi(current, reference), chance(n, m, current.len()));
        let verdict = if psi <= chance || psi < MOVED.min(alert) {
            Verdict::Stable
        } else if psi < alert {
            Verdict::Moved
        } else {
            Verdict::Drifted
        };
        Self { psi, chance, verdict }
    }
}

/// The population stability index of two histograms with the same bins.
fn psi(current: &[u32], reference: &[u32]) -> f64 {
    let share = |histogram: &[u32], count: u32| {
        (f64::from(count) + SMOOTHING) / (exact(total(histogram)) + SMOOTHING * exact(histogram.len() as u64))
    };
    let term = |(&current_count, &reference_count): (&u32, &u32)| {
        let (p, q) = (share(current, current_count), share(reference, reference_count));
        (p - q) * (p / q).ln()
    };
    current.iter().zip(reference).map(term).sum()
}

/// The index that samples of `n` and `m` observations of the same traffic exceed once in a thousand times.
///
/// The quantile of chi-squared is Wilson and Hilferty's approximation (PNAS 17, 1931), good to 2 % from 3 degrees of
/// freedom on.
fn chance(n: u64, m: u64, bins: usize) -> f64 {
    let freedom = exact(bins.saturating_sub(1).max(1) as u64);
    let spread = 2.0 / (9.0 * freedom);
    let quantile = freedom * (1.0 - spread + Z_999 * spread.sqrt()).powi(3);
    quantile * (1.0 / exact(n) + 1.0 / exact(m))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
const fn exact(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_equals_what_a_hand_computes() {
        // Shares (100.5, 200.5, 700.5) / 1001.5 and (300.5, 300.5, 400.5) / 1001.5.
        let expected = (100.5 - 300.5) / 1001.5 * (100.5_f64 / 300.5).ln()
            + (200.5 - 300.5) / 1001.5 * (200.5_f64 / 300.5).ln()
            + (700.5 - 400.5) / 1001.5 * (700.5_f64 / 400.5).ln();
        let found = psi(&[100, 200, 700], &[300, 300, 400]);
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        // The same to four places, worked out with a calculator.
        assert!((found - 0.4266).abs() < 5e-5, "{found}");
    }

    #[test]
    fn it_is_symmetric_zero_for_equals_and_finite_for_empty_bins() {
        let (a, b) = ([500, 0, 500], [0, 900, 100]);
        assert!((psi(&a, &b) - psi(&b, &a)).abs() < 1e-12);
        assert!(psi(&a, &a).abs() < 1e-15);
        assert!(psi(&a, &b).is_finite() && psi(&a, &b) > 5.0);
    }

    #[test]
    fn the_bound_of_chance_is_that_of_the_tables() {
        // Chi-squared, 99.9 %: 27.877 for 9 degrees of freedom, 16.266 for 3 (any table of the distribution).
        for (bins, quantile) in [(10, 27.877), (4, 16.266)] {
            let ratio = chance(1_000, 1_000, bins) / (quantile * 2e-3);
            assert!((ratio - 1.0).abs() < 0.02, "{bins} bins: {ratio}");
        }
    }

    #[test]
    fn samples_of_the_same_traffic_are_hardly_ever_more_than_chance() {
        // A linear congruential generator (Knuth's MMIX constants) is random enough for counts in ten bins.
        let mut state = 7_u64;
        let mut bin = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Unequal shares: 19, 17, ... 1 of a hundred.
            let place = (state >> 33) % 100;
            (0..10_u64).find(|bin| place < (bin + 1) * (20 - (bin + 1))).unwrap_or(9)
        };
        let mut sample = |count| {
            let mut histogram = [0_u32; 10];
            (0..count).for_each(|_| histogram[usize::try_from(bin()).unwrap()] += 1);
            histogram
        };
        let beyond = |n, m, sample: &mut dyn FnMut(u32) -> [u32; 10]| {
            let tries =
                (0..2_000).map(|_| psi(&sample(n), &sample(m)) > chance(u64::from(n), u64::from(m), 10));
            tries.filter(|beyond| *beyond).count()
        };
        // Two of two thousand are expected.
        for (n, m) in [(100, 2_000), (500, 500)] {
            let count = beyond(n, m, &mut sample);
            assert!(count <= 10, "{count} of 2000 for {n} and {m}");
        }
    }

    #[test]
    fn words_follow_from_index_and_number() {
        let verdict = |current: &[u32], reference: &[u32]| Comparison::new(current, reference, 0.25).verdict;
        assert_eq!(verdict(&[50, 49], &[500, 500]), Verdict::Waiting, "99 observations");
        assert_eq!(verdict(&[500, 500], &[500, 500]), Verdict::Stable);
        assert_eq!(verdict(&[680, 320], &[500, 500]), Verdict::Moved);
        assert_eq!(verdict(&[900, 100], &[500, 500]), Verdict::Drifted);
        // The same shares from a hundred observations may be chance.
        let few = Comparison::new(&[66, 34], &[50, 50], 0.25);
        assert!(few.psi > MOVED && few.verdict == Verdict::Stable, "{few:?}");
    }
}
