//! What a sample says for certain: exact binomial tails, p-values for a mean in `[0, 1]`, and bounds of a share.
//!
//! Everything that a guarantee rests on holds for every number of rows, not only for many: the binomial tail is
//! summed, and the p-value for graded losses is Hoeffding's and Bentkus' (Bates et al., "Distribution-free,
//! risk-controlling prediction sets", J. ACM 68, 2021, section 3.1). Wilson's interval is for showing only.

use std::f64::consts::E;

/// P(X ≤ `successes`) for X binomial with `trials` trials of chance `chance`.
///
/// Terms are summed from the nearest one outwards until they no longer count, so the cost grows with the square
/// root of `trials`; relative error about 1e-9 at a million trials.
#[must_use]
pub fn binomial_cdf(successes: u64, trials: u64, chance: f64) -> f64 {
    if successes >= trials || chance <= 0.0 {
        return 1.0;
    }
    if chance >= 1.0 {
        return 0.0;
    }
    let below_mean = real(successes) < real(trials) * chance;
    let tail = if below_mean {
        lower_tail(successes, trials, chance)
    } else {
        1.0 - lower_tail(trials - successes - 1, trials, 1.0 - chance)
    };
    tail.clamp(0.0, 1.0)
}

/// The tail itself, for `successes` not far above the mean, where terms fall towards 0.
fn lower_tail(successes: u64, trials: u64, chance: f64) -> f64 {
    let log_choose = log_factorial(trials) - log_factorial(successes) - log_factorial(trials - successes);
    let log_term = log_choose + real(successes) * chance.ln() + real(trials - successes) * (-chance).ln_1p();
    let mut term = log_term.exp();
    let mut sum = term;
    for at in (1..=successes).rev() {
        term *= real(at) * (1.0 - chance) / (real(trials - at + 1) * chance);
        if term <= sum * 1e-17 {
            break;
        }
        sum += term;
    }
    sum
}

fn log_factorial(n: u64) -> f64 {
    libm::lgamma(real(n) + 1.0)
}

/// p-value of "the failure rate is above `allowed`", exact, for losses that are 0 or 1: the chance of seeing so few
/// failures at a rate of `allowed`.
#[must_use]
pub fn binomial_p_value(failures: u64, rows: u64, allowed: f64) -> f64 {
    if rows == 0 { 1.0 } else { binomial_cdf(failures, rows, allowed) }
}

/// p-value of "the mean loss is above `allowed`" for any losses in `[0, 1]` with this mean: the smaller of
/// Hoeffding's (relative-entropy form) and Bentkus' bound.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the number of rows"
)]
pub fn hoeffding_bentkus_p_value(mean_loss: f64, rows: u64, allowed: f64) -> f64 {
    if rows == 0 || mean_loss >= allowed {
        return 1.0;
    }
    let hoeffding = (-real(rows) * relative_entropy(mean_loss, allowed)).exp();
    // A fraction of a failure counts as a whole one; noise of the division does not count as a fraction.
    let failures = (real(rows) * mean_loss - 1e-9).ceil().max(0.0) as u64;
    let bentkus = E * binomial_cdf(failures, rows, allowed);
    hoeffding.min(bentkus).min(1.0)
}

/// Kullback and Leibler's divergence between coins of chance `p` and `q`.
fn relative_entropy(p: f64, q: f64) -> f64 {
    let term = |p: f64, q: f64| if p <= 0.0 { 0.0 } else { p * (p / q).ln() };
    term(p, q) + term(1.0 - p, 1.0 - q)
}

/// Clopper and Pearson's exact lower bound of a share: it is above the true one with a chance of `risk` at most.
#[must_use]
pub fn share_at_least(successes: u64, trials: u64, risk: f64) -> f64 {
    if successes == 0 || trials == 0 {
        return 0.0;
    }
    // P(X ≥ successes) rises with the chance.
    bisect(|chance| 1.0 - binomial_cdf(successes - 1, trials, chance) > risk)
}

/// The matching upper bound.
#[must_use]
pub fn share_at_most(successes: u64, trials: u64, risk: f64) -> f64 {
    1.0 - share_at_least(trials.saturating_sub(successes), trials, risk)
}

/// Clopper and Pearson's two-sided interval: each end is wrong with a chance of half of `risk` at most.
#[must_use]
pub fn clopper_pearson(successes: u64, trials: u64, risk: f64) -> (f64, f64) {
    (share_at_least(successes, trials, risk / 2.0), share_at_most(successes, trials, risk / 2.0))
}

/// Wilson's score interval of a share (Wilson 1927), for showing: about 1 - `risk` of such intervals hold the truth.
/// `share` may be a mean of grades, for which it is wider than need be. `None` without trials.
#[must_use]
pub fn wilson(share: f64, trials: u64, risk: f64) -> Option<(f64, f64)> {
    if trials == 0 {
        return None;
    }
    let (n, z) = (real(trials), normal_quantile(1.0 - risk / 2.0));
    let middle = share + z * z / (2.0 * n);
    let reach = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    Some((((middle - reach) / scale).max(0.0), ((middle + reach) / scale).min(1.0)))
}

/// Lower bound of a mean quality in `[0, 1]`: the highest target whose p-value is still at most `risk`.
///
/// Exact where every row is 0 or 1 (`binary`), else by Hoeffding's and Bentkus' p-value.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the number of rows"
)]
pub fn mean_at_least(mean: f64, rows: u64, binary: bool, risk: f64) -> f64 {
    if binary {
        return share_at_least((mean * real(rows)).round() as u64, rows, risk);
    }
    bisect(|target| hoeffding_bentkus_p_value(1.0 - mean, rows, 1.0 - target) > risk)
}

/// Least number in `[0, 1]` from which `holds`, which must go from false to true once; 1 if never.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..48 {
        let middle = f64::midpoint(low, high);
        if holds(middle) { high = middle } else { low = middle }
    }
    // The low end is the side on which the bound still holds.
    low
}

/// Quantile of the standard normal distribution, for `chance` in `(0, 1)`.
#[must_use]
pub fn normal_quantile(chance: f64) -> f64 {
    const REACH: f64 = 40.0;
    let cdf = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
    2.0 * REACH * bisect(|at| cdf(2.0 * REACH * at - REACH) >= chance) - REACH
}

/// A count as a number.
#[expect(clippy::cast_precision_loss, reason = "counts of rows are far below 2^53")]
const fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64, by: f64) {
        assert!((got - want).abs() <= by, "{got} is not {want}");
    }

    #[test]
    fn the_tail_is_the_sum_of_its_terms() {
        // 10 fair coins: 386 of 1024 outcomes have at most 4 heads.
        close(binomial_cdf(4, 10, 0.5), 386.0 / 1024.0, 1e-12);
        close(binomial_cdf(6, 10, 0.5), 848.0 / 1024.0, 1e-12);
        close(binomial_cdf(0, 59, 0.05), 0.95_f64.powi(59), 1e-12);
        assert!(binomial_cdf(10, 10, 0.5) >= 1.0 && binomial_cdf(3, 10, 1.0) <= 0.0);
        for trials in [7_u64, 40, 300] {
            for successes in 0..trials {
                let other = 1.0 - binomial_cdf(trials - successes - 1, trials, 0.7);
                close(binomial_cdf(successes, trials, 0.3), other, 1e-11);
            }
        }
    }

    #[test]
    fn a_million_trials_agree_with_the_normal_limit() {
        let (trials, chance) = (1_000_000_u64, 0.1);
        let sd = (1e6 * 0.1 * 0.9_f64).sqrt();
        // Half a standard deviation and more, either side, with the continuity correction.
        for (successes, z) in [(99_500_u64, -499.5 / sd), (100_300, 300.5 / sd)] {
            let normal = 0.5 * libm::erfc(-z / std::f64::consts::SQRT_2);
            close(binomial_cdf(successes, trials, chance), normal, 1e-4);
        }
    }

    #[test]
    fn exact_bounds_are_the_published_ones() {
        // Newcombe 1998, table I, method 5 (Clopper and Pearson), and method 3 (Wilson).
        for (successes, trials, exact, score) in [
            (81, 263, (0.2527, 0.3676), (0.2553, 0.3662)),
            (15, 148, (0.0578, 0.1617), (0.0624, 0.1605)),
            (0, 20, (0.0, 0.1684), (0.0, 0.1611)),
            (1, 29, (0.0009, 0.1776), (0.0061, 0.1718)),
        ] {
            let (low, high) = clopper_pearson(successes, trials, 0.05);
            close(low, exact.0, 6e-5);
            close(high, exact.1, 6e-5);
            let (low, high) = wilson(real(successes) / real(trials), trials, 0.05).unwrap();
            close(low, score.0, 6e-5);
            close(high, score.1, 6e-5);
        }
        assert_eq!(wilson(0.5, 0, 0.05), None);
        // The rule of three, exactly: no failure in 59 rows says at least 95 % with 95 % confidence.
        close(share_at_least(59, 59, 0.05), 0.05_f64.powf(1.0 / 59.0), 1e-9);
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        close(normal_quantile(0.975), 1.959_963_984_540, 1e-9);
        close(normal_quantile(0.5), 0.0, 1e-9);
        close(normal_quantile(0.05), -1.644_853_626_951, 1e-9);
    }

    #[test]
    fn graded_losses_never_look_safer_than_binary_ones() {
        for (failures, rows, allowed) in
            [(3_u64, 100_u64, 0.1), (0, 40, 0.1), (50, 1000, 0.08), (10, 100, 0.1)]
        {
            let exact = binomial_p_value(failures, rows, allowed);
            let any = hoeffding_bentkus_p_value(real(failures) / real(rows), rows, allowed);
            assert!(any >= exact * (1.0 - 1e-9), "{failures}/{rows}: {any} < {exact}");
        }
        assert!(hoeffding_bentkus_p_value(0.02, 1000, 0.05) < 1e-4, "and still they have power");
        assert!(hoeffding_bentkus_p_value(0.0, 0, 0.05) >= 1.0 && binomial_p_value(0, 0, 0.05) >= 1.0);
    }

    #[test]
    fn a_bound_and_its_p_value_agree() {
        let bound = mean_at_least(0.93, 400, true, 0.05);
        close(binomial_p_value(28, 400, 1.0 - bound), 0.05, 1e-6);
        let wider = mean_at_least(0.93, 400, false, 0.05);
        assert!(wider < bound && wider > 0.85, "{wider} {bound}");
    }
}
