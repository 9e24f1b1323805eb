//! The model's own view of the next token, computed for every token of every answer.
//!
//! A vocabulary has up to 260 000 entries and this runs on the inference thread, so the passes are written in
//! chunks without branches, which the compiler turns into vector instructions: one for the maximum, and one that sums the
//! exponentials and the entropy's terms together. For 151 936 logits and SSE2 alone, 15 and 130 microseconds were measured on a
//! busy 2-core machine (`passes_over_a_large_vocabulary_are_fast`). Not-a-number and both infinities count as impossible tokens.

use archmage::prelude::*;

use crate::exponential::exponential;

/// Logits summed in `f32` before they go into an `f64`; keeps the relative error below 1e-6.
const CHUNK: usize = 512;
/// Independent sums, so that additions need not wait for each other.
const LANES: usize = 16;
/// Logits that are passed over together if all are too small.
const SKIPPED: usize = 256;
/// Where exponentials are taken for nothing: e^-80 is 2e-35.
const NEGLIGIBLE: f32 = -80.0;

/// What is reported of a prediction: that of the model itself, at temperature 1, before biases, penalties and masks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Distribution {
    /// log of the sum of exponentials of all logits.
    log_total: f64,
    /// Shannon entropy in nats: with distances `d` to the greatest logit and weights `e^d` that add up to `w`,
    /// `ln(w) - sum(e^d d) / w`.
    pub(crate) entropy: f32,
}

impl Distribution {
    /// `None` if no logit is finite, which only a broken model does.
    pub(crate) fn of(logits: &[f32]) -> Option<Self> {
        let maximum = maximum(logits)?;
        let (total, weighted) = totals(logits, maximum);
        let entropy = (total.ln() - weighted / total).max(0.0) as f32;
        Some(Self { log_total: f64::from(maximum) + total.ln(), entropy })
    }

    /// Natural logarithm of a token's probability.
    pub(crate) fn logprob(&self, logit: f32) -> f32 {
        if logit.is_nan() { f32::NEG_INFINITY } else { (f64::from(logit) - self.log_total).min(0.0) as f32 }
    }
}

/// The sums of all weights, and of weights times distances; compiled for each instruction set.
#[autoversion(v4, v3, neon)]
fn totals(logits: &[f32], maximum: f32) -> (f64, f64) {
    let (mut total, mut weighted) = (0.0_f64, 0.0_f64);
    for chunk in logits.chunks(CHUNK) {
        let (mut sums, mut products) = ([0.0_f32; LANES], [0.0_f32; LANES]);
        let (lanes, rest) = chunk.as_chunks::<LANES>();
        for lane in lanes {
            for at in 0..LANES {
                let (weight, product) = terms(lane[at], maximum);
                sums[at] += weight;
                products[at] += product;
            }
        }
        for &logit in rest {
            let (weight, product) = terms(logit, maximum);
            sums[0] += weight;
            products[0] += product;
        }
        total += f64::from(sums.iter().sum::<f32>());
        weighted += f64::from(products.iter().sum::<f32>());
    }
    (total, weighted)
}

/// A logit's weight, and the weight times its distance to the greatest.
#[inline(always)]
fn terms(logit: f32, maximum: f32) -> (f32, f32) {
    let distance = logit - maximum;
    // Comparisons with not-a-number are false. Only infinity lies above the maximum.
    let distance = if distance > NEGLIGIBLE { distance } else { NEGLIGIBLE };
    let distance = if distance <= 0.0 { distance } else { NEGLIGIBLE };
    let weight = exponential(distance);
    (weight, weight * distance)
}

/// The greatest finite logit.
pub(crate) fn maximum(logits: &[f32]) -> Option<f32> {
    let most = greatest(logits);
    let most = if most == f32::INFINITY {
        logits.iter().copied().filter(|logit| logit.is_finite()).fold(f32::NEG_INFINITY, f32::max)
    } else {
        most
    };
    (most > f32::NEG_INFINITY).then_some(most)
}

/// The greatest number, infinities included.
#[autoversion(v4, v3, neon)]
fn greatest(logits: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (lanes, rest) = logits.as_chunks::<LANES>();
    for lane in lanes {
        for at in 0..LANES {
            most[at] = if lane[at] > most[at] { lane[at] } else { most[at] };
        }
    }
    most.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, f32::max)
}

/// The lowest id of those with the greatest finite logit.
pub(crate) fn most_likely_id(logits: &[f32]) -> Option<u32> {
    let maximum = maximum(logits)?;
    let (chunks, _) = logits.as_chunks::<64>();
    let before = chunks
        .iter()
        .take_while(|chunk| !chunk.iter().fold(false, |found, &logit| found | (logit == maximum)))
        .count()
        * 64;
    logits[before..].iter().position(|&logit| logit == maximum).map(|at| (before + at) as u32)
}

/// The `count` most likely ids with their logits, best first, ties by id.
pub(crate) fn most_likely(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    if count == 0 {
        return best;
    }
    for_each_above(logits, f32::MIN, |id, logit| {
        if best.len() < count || logit > best[count - 1].1 {
            let at = best.partition_point(|&(_, other)| other >= logit);
            best.insert(at, (id, logit));
            best.truncate(count);
        }
        if best.len() < count { f32::MIN } else { best[count - 1].1 }
    });
    best
}

/// Calls `visit` with each finite logit that is at least as great as a threshold, in the order of ids. What it returns is the
/// threshold from there on. Chunks that lie below it as a whole are passed over quickly.
pub(crate) fn for_each_above(logits: &[f32], threshold: f32, mut visit: impl FnMut(u32, f32) -> f32) {
    let mut threshold = threshold;
    for (at, chunk) in logits.chunks(SKIPPED).enumerate() {
        if greatest(chunk) < threshold {
            continue;
        }
        for (offset, &logit) in chunk.iter().enumerate() {
            if logit >= threshold && logit < f32::INFINITY {
                threshold = visit((at * SKIPPED + offset) as u32, logit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spread as a language model's logits are.
    fn logits(count: usize) -> Vec<f32> {
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        (0..count).map(|_| (next() + next() + next() + next() - 2.0) * 8.0).collect()
    }

    #[test]
    fn sums_agree_with_those_in_double_precision() {
        for count in [1, 15, 16, 513, 49_152, 151_936] {
            let logits = logits(count);
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights = logits.iter().map(|&logit| f64::from(logit - most).exp());
            let total: f64 = weights.sum();
            let entropy: f64 = logits
                .iter()
                .map(|&logit| (f64::from(logit - most)).exp() / total)
                .map(|p| if p > 0.0 { -p * p.ln() } else { 0.0 })
                .sum();
            let distribution = Distribution::of(&logits).expect("finite");
            assert!((f64::from(distribution.entropy) - entropy).abs() < 1e-5, "{count}");
            assert!((f64::from(distribution.logprob(most)) + total.ln()).abs() < 1e-5, "{count}");
        }
    }

    #[test]
    fn distribution_of_equal_logits_is_uniform() {
        let distribution = Distribution::of(&[1.0; 8]).expect("finite");
        assert!((distribution.entropy - 8.0_f32.ln()).abs() < 1e-6);
        assert!((distribution.logprob(1.0) + 8.0_f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn what_is_not_finite_has_no_part() {
        assert!(Distribution::of(&[f32::NAN, f32::NEG_INFINITY, f32::INFINITY]).is_none());
        let odd = [f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY, 1.0];
        let distribution = Distribution::of(&odd).expect("two are finite");
        assert!((distribution.entropy - 2.0_f32.ln()).abs() < 1e-6);
        assert_eq!(most_likely(&odd, 9), [(1, 1.0), (4, 1.0)]);
        assert_eq!(most_likely_id(&odd), Some(1));
    }

    #[test]
    fn the_most_likely_are_those_of_a_sort() {
        let logits = logits(5_000);
        let mut sorted: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for count in [0, 1, 5, 20] {
            assert_eq!(most_likely(&logits, count), sorted[..count]);
        }
        assert_eq!(most_likely(&[0.0, 2.0, 2.0, 1.0], 3), [(1, 2.0), (2, 2.0), (3, 1.0)]);
    }

    /// Prints what the passes cost; run it by hand with `--ignored --nocapture` on an idle machine.
    #[test]
    #[ignore = "a measurement, not a test of behaviour"]
    fn passes_over_a_large_vocabulary_are_fast() {
        let logits = logits(151_936);
        let time = |name: &str, pass: &dyn Fn() -> u64| {
            let mut times: Vec<_> = (0..200)
                .map(|_| {
                    let started = std::time::Instant::now();
                    std::hint::black_box(pass());
                    started.elapsed()
                })
                .collect();
            times.sort();
            println!("{name}: {:?} at the median, {:?} at best", times[100], times[0]);
        };
        time("distribution", &|| Distribution::of(&logits).map_or(0, |found| found.entropy.to_bits().into()));
        time("most likely id", &|| most_likely_id(&logits).map_or(0, u64::from));
        time("20 most likely", &|| most_likely(&logits, 20).len() as u64);
    }
}
