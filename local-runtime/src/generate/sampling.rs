//! From logits to a token.
//!
//! Reported probabilities are those of the model itself (temperature 1, no penalties); choosing works on a copy
//! that is scaled, penalised, and cut. Not-a-number and minus infinity count as impossible. Ties go to
//! the lower id, so that greedy decoding is a function of the logits.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Sampling;

/// The model's own view of the next token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Distribution {
    /// log of the sum of exponentials of all logits.
    log_total: f64,
    /// Shannon entropy in nats.
    pub(crate) entropy: f32,
}

impl Distribution {
    /// `None` if no logit is finite, which only a broken model does.
    pub(crate) fn of(logits: &[f32]) -> Option<Self> {
        let maximum =
            logits.iter().copied().filter(|logit| logit.is_finite()).fold(f32::NEG_INFINITY, f32::max);
        if maximum == f32::NEG_INFINITY {
            return None;
        }
        let (mut total, mut weighted) = (0.0_f64, 0.0_f64);
        for &logit in logits {
            let distance = logit - maximum;
            // e^-40 is below the resolution of what is reported.
            if distance > -40.0 && distance <= 0.0 {
                let weight = f64::from(distance.exp());
                total += weight;
                weighted += weight * f64::from(distance);
            }
        }
        let entropy = (total.ln() - weighted / total).max(0.0) as f32;
        Some(Self { log_total: f64::from(maximum) + total.ln(), entropy })
    }

    /// Natural logarithm of a token's probability.
    pub(crate) fn logprob(&self, logit: f32) -> f32 {
        if logit.is_nan() { f32::NEG_INFINITY } else { (f64::from(logit) - self.log_total).min(0.0) as f32 }
    }
}

/// The `count` most likely ids with their logits, best first.
pub(crate) fn most_likely(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    for (id, &logit) in logits.iter().enumerate() {
        let worst = best.last().map_or(f32::NEG_INFINITY, |&(_, worst)| worst);
        if logit.is_finite() && (best.len() < count || logit > worst) {
            let at = best.partition_point(|&(_, other)| other >= logit);
            best.insert(at, (id as u32, logit));
            best.truncate(count);
        }
    }
    best
}

/// Draws tokens for one answer.
#[derive(Debug)]
pub(crate) struct Sampler {
    settings: Sampling,
    random: SplitMix64,
    seen: HashMap<u32, u32>,
    scratch: Vec<(u32, f32)>,
}

impl Sampler {
    pub(crate) fn new(settings: Sampling) -> Self {
        let seed = settings.seed.unwrap_or_else(clock_seed);
        Self { settings, random: SplitMix64(seed), seen: HashMap::new(), scratch: Vec::new() }
    }

    /// Chooses the next token and remembers it for the penalties. `None` if no logit is finite.
    pub(crate) fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        let id = if self.settings.temperature <= 0.0 || self.settings.top_k == 1 {
            self.greedy(logits)?
        } else {
            self.draw(logits)?
        };
        *self.seen.entry(id).or_default() += 1;
        Some(id)
    }

    /// OpenAI's definition: `logit - count * frequency_penalty - (count > 0) * presence_penalty`.
    fn penalised(&self, id: u32, logit: f32) -> f32 {
        let Some(&count) = self.seen.get(&id) else { return logit };
        logit - count as f32 * self.settings.frequency_penalty - self.settings.presence_penalty
    }

    fn has_penalties(&self) -> bool {
        self.settings.frequency_penalty != 0.0 || self.settings.presence_penalty != 0.0
    }

    fn greedy(&self, logits: &[f32]) -> Option<u32> {
        let penalties = self.has_penalties() && !self.seen.is_empty();
        let mut best: Option<(u32, f32)> = None;
        for (id, &logit) in logits.iter().enumerate() {
            let logit = if penalties { self.penalised(id as u32, logit) } else { logit };
            if logit.is_finite() && best.is_none_or(|(_, most)| logit > most) {
                best = Some((id as u32, logit));
            }
        }
        best.map(|(id, _)| id)
    }

    fn draw(&mut self, logits: &[f32]) -> Option<u32> {
        let temperature = self.settings.temperature.max(1e-4);
        let mut candidates = std::mem::take(&mut self.scratch);
        candidates.clear();
        let scaled = logits
            .iter()
            .enumerate()
            .map(|(id, &logit)| (id as u32, self.penalised(id as u32, logit) / temperature));
        candidates.extend(scaled.filter(|(_, logit)| logit.is_finite()));
        let maximum = candidates.iter().map(|&(_, logit)| logit).fold(f32::NEG_INFINITY, f32::max);
        for (_, logit) in &mut candidates {
            *logit = (*logit - maximum).exp();
        }
        self.cut(&mut candidates);
        let total: f64 = candidates.iter().map(|&(_, weight)| f64::from(weight)).sum();
        let mut left = self.random.unit() * total;
        let mut chosen = None;
        for &(id, weight) in candidates.iter().filter(|(_, weight)| *weight > 0.0) {
            chosen = Some(id);
            left -= f64::from(weight);
            if left < 0.0 {
                break;
            }
        }
        self.scratch = candidates;
        chosen
    }

    /// Keeps what `top_k` and `top_p` allow.
    fn cut(&self, candidates: &mut Vec<(u32, f32)>) {
        let (top_k, top_p) = (self.settings.top_k as usize, f64::from(self.settings.top_p));
        if top_k == 0 && top_p >= 1.0 {
            return;
        }
        let by_weight = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, by_weight);
            candidates.truncate(top_k);
        }
        let total: f64 = candidates.iter().map(|&(_, weight)| f64::from(weight)).sum();
        // Candidates that together cannot reach 1 - top_p are never kept, so they need no sorting.
        let negligible = (1.0 - top_p) * total / candidates.len().max(1) as f64;
        if top_p < 1.0 {
            let most = candidates.iter().map(|&(_, weight)| weight).fold(0.0, f32::max);
            candidates.retain(|&(_, weight)| f64::from(weight) >= negligible || weight == most);
        }
        candidates.sort_unstable_by(by_weight);
        let mut sum = 0.0;
        let kept = candidates.iter().position(|&(_, weight)| {
            sum += f64::from(weight);
            sum >= top_p * total
        });
        candidates.truncate(kept.map_or(candidates.len(), |last| last + 1));
    }
}

fn clock_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_nanos() as u64)
}

/// Steele, Lea, and Flood 2014, "Fast splittable pseudorandom number generators". Not for secrets.
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(settings: Sampling) -> Sampler {
        Sampler::new(Sampling { seed: Some(7), ..settings })
    }

    #[test]
    fn distribution_of_equal_logits_is_uniform() {
        let distribution = Distribution::of(&[1.0; 8]).expect("finite");
        assert!((distribution.entropy - 8.0_f32.ln()).abs() < 1e-6);
        assert!((distribution.logprob(1.0) + 8.0_f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn nothing_finite_is_refused_and_nan_is_never_chosen() {
        assert!(Distribution::of(&[f32::NAN, f32::NEG_INFINITY]).is_none());
        assert_eq!(sampler(Sampling::greedy()).choose(&[f32::NAN, f32::NAN]), None);
        assert_eq!(sampler(Sampling::greedy()).choose(&[f32::NAN, -3.0, f32::NEG_INFINITY]), Some(1));
        for _ in 0..50 {
            assert_eq!(sampler(Sampling::default()).choose(&[f32::NAN, -3.0, f32::NEG_INFINITY]), Some(1));
        }
    }

    #[test]
    fn ties_go_to_the_lower_id() {
        assert_eq!(sampler(Sampling::greedy()).choose(&[0.0, 2.0, 2.0]), Some(1));
        assert_eq!(most_likely(&[0.0, 2.0, 2.0, 1.0], 3), [(1, 2.0), (2, 2.0), (3, 1.0)]);
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let mut sampler = sampler(Sampling::default());
        let mut counts = [0_u32; 3];
        for _ in 0..20_000 {
            counts[sampler.choose(&logits).expect("finite") as usize] += 1;
        }
        for (count, expected) in counts.iter().zip([10_000.0, 6_000.0, 4_000.0]) {
            assert!((f64::from(*count) - expected).abs() < 300.0, "{counts:?}");
        }
    }

    #[test]
    fn top_p_and_top_k_cut_the_tail() {
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        for settings in
            [Sampling { top_p: 0.75, ..Default::default() }, Sampling { top_k: 2, ..Default::default() }]
        {
            let mut sampler = sampler(settings);
            assert!((0..500).all(|_| sampler.choose(&logits) != Some(2)));
        }
        let mut nucleus = sampler(Sampling { top_p: 0.0, ..Default::default() });
        assert!((0..50).all(|_| nucleus.choose(&logits) == Some(0)));
    }

    #[test]
    fn penalties_discourage_repetition() {
        let mut sampler = sampler(Sampling { frequency_penalty: 1.0, ..Sampling::greedy() });
        let chosen: Vec<_> = (0..4).map(|_| sampler.choose(&[1.0, 0.5])).collect();
        assert_eq!(chosen, [Some(0), Some(1), Some(0), Some(1)]);
    }
}
