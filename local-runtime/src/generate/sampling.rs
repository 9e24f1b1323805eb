//! From logits to a token.
//!
//! Ties go to the lower id, so that greedy decoding is a function of the logits. The order of what is applied: the
//! constraint's mask (by the caller), `logit_bias`, the repetition penalty, the frequency and presence penalties, the
//! temperature, `top_k`, `min_p`, `top_p`. Not-a-number and infinities count as impossible.
//!
//! The same seed gives the same tokens for the same logits. Whether the logits are the same is the
//! network's business. Networks that this crate converted give the same on one machine with one library, whatever else is computed
//! beside them and whether or not a prefix was remembered. Other machines may differ in the last bits, networks in the layouts
//! of others also with the number of threads, and one different token changes all that follow.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Sampling;
use super::distribution::{for_each_above, maximum, most_likely_id};
use crate::exponential::exponential;

/// Tokens whose weight relative to the best is below e^-30 are never drawn: together they have less than
/// 1e-8 of the probability, which is below the weights' resolution.
const NEVER: f32 = -30.0;

/// Draws tokens for one answer.
#[derive(Debug)]
pub(crate) struct Sampler {
    settings: Sampling,
    random: SplitMix64,
    /// How often the answer has each token.
    seen: HashMap<u32, u32>,
    candidates: Vec<(u32, f32)>,
    /// Logits that were changed, as they were.
    original: Vec<(u32, f32)>,
}

impl Sampler {
    pub(crate) fn new(settings: Sampling) -> Self {
        let seed = settings.seed.unwrap_or_else(clock_seed);
        let random = SplitMix64(seed);
        Self { settings, random, seen: HashMap::new(), candidates: Vec::new(), original: Vec::new() }
    }

    /// Chooses the next token and remembers it for the penalties; also gives its logit as it was. Changes logits in place.
    /// `None` if no logit is finite.
    pub(crate) fn choose(&mut self, logits: &mut [f32]) -> Option<(u32, f32)> {
        self.original.clear();
        self.bias(logits);
        self.penalise(logits);
        let id = if self.settings.temperature <= 0.0 || self.settings.top_k == 1 {
            most_likely_id(logits)?
        } else {
            self.draw(logits)?
        };
        *self.seen.entry(id).or_default() += 1;
        // The first entry is from before all changes.
        let original = self.original.iter().find(|(changed, _)| *changed == id);
        Some((id, original.map_or(logits[id as usize], |&(_, logit)| logit)))
    }

    fn bias(&mut self, logits: &mut [f32]) {
        for &(id, bias) in &self.settings.logit_bias {
            let logit = &mut logits[id as usize];
            self.original.push((id, *logit));
            *logit += bias;
        }
    }

    /// Keskar et al. 2019 for the repetition penalty (arXiv 1909.05858; divides what is above 0, multiplies what is below), and
    /// OpenAI's definition for the others: `logit - count * frequency_penalty - (count > 0) * presence_penalty`.
    fn penalise(&mut self, logits: &mut [f32]) {
        let Sampling { repetition_penalty, frequency_penalty, presence_penalty, .. } = self.settings;
        if repetition_penalty == 1.0 && frequency_penalty == 0.0 && presence_penalty == 0.0 {
            return;
        }
        for (&id, &count) in &self.seen {
            let logit = &mut logits[id as usize];
            self.original.push((id, *logit));
            let repeated =
                if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            *logit = repeated - count as f32 * frequency_penalty - presence_penalty;
        }
    }

    fn draw(&mut self, logits: &[f32]) -> Option<u32> {
        let temperature = self.settings.temperature.max(1e-4);
        let maximum = maximum(logits)?;
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        let least = maximum + self.least_distance() * temperature;
        for_each_above(logits, least, |id, logit| {
            let distance = ((logit - maximum) / temperature).max(NEVER);
            candidates.push((id, exponential(distance)));
            least
        });
        self.cut(&mut candidates);
        let total: f64 = candidates.iter().map(|&(_, weight)| f64::from(weight)).sum();
        let mut left = self.random.unit() * total;
        let mut chosen = None;
        for &(id, weight) in &candidates {
            chosen = Some(id);
            left -= f64::from(weight);
            if left < 0.0 {
                break;
            }
        }
        self.candidates = candidates;
        chosen
    }

    /// How far below the best a scaled logit may lie: `min_p` is a share of the best one's probability (Nguyen et al. 2024,
    /// arXiv 2407.01082).
    fn least_distance(&self) -> f32 {
        if self.settings.min_p > 0.0 { self.settings.min_p.ln().max(NEVER) } else { NEVER }
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

    fn choose(sampler: &mut Sampler, logits: &[f32]) -> Option<u32> {
        sampler.choose(&mut logits.to_vec()).map(|(id, logit)| {
            assert_eq!(logit, logits[id as usize], "the logit as it was");
            id
        })
    }

    #[test]
    fn nothing_finite_is_refused_and_nan_is_never_chosen() {
        assert_eq!(choose(&mut sampler(Sampling::greedy()), &[f32::NAN, f32::NAN]), None);
        for settings in [Sampling::greedy(), Sampling::default()] {
            for _ in 0..50 {
                let logits = [f32::NAN, -3.0, f32::NEG_INFINITY, f32::INFINITY];
                assert_eq!(choose(&mut sampler(settings.clone()), &logits), Some(1));
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_id() {
        assert_eq!(choose(&mut sampler(Sampling::greedy()), &[0.0, 2.0, 2.0]), Some(1));
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let mut sampler = sampler(Sampling::default());
        let mut counts = [0_u32; 3];
        for _ in 0..20_000 {
            counts[choose(&mut sampler, &logits).expect("finite") as usize] += 1;
        }
        for (count, expected) in counts.iter().zip([10_000.0, 6_000.0, 4_000.0]) {
            assert!((f64::from(*count) - expected).abs() < 300.0, "{counts:?}");
        }
    }

    #[test]
    fn the_tail_is_cut() {
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        for settings in [
            Sampling { top_p: 0.75, ..Default::default() },
            Sampling { top_k: 2, ..Default::default() },
            Sampling { min_p: 0.5, ..Default::default() },
        ] {
            let mut sampler = sampler(settings);
            let drawn: Vec<_> = (0..500).map(|_| choose(&mut sampler, &logits)).collect();
            assert!(!drawn.contains(&Some(2)) && drawn.contains(&Some(0)) && drawn.contains(&Some(1)));
        }
        let mut nucleus = sampler(Sampling { top_p: 0.0, ..Default::default() });
        assert!((0..50).all(|_| choose(&mut nucleus, &logits) == Some(0)));
    }

    #[test]
    fn penalties_discourage_repetition() {
        for settings in [
            Sampling { frequency_penalty: 1.0, ..Sampling::greedy() },
            Sampling { repetition_penalty: 1.9, frequency_penalty: 0.4, ..Sampling::greedy() },
        ] {
            let mut sampler = sampler(settings);
            let chosen: Vec<_> = (0..4).map(|_| choose(&mut sampler, &[1.0, 0.5])).collect();
            assert_eq!(chosen[..2], [Some(0), Some(1)]);
            assert!(chosen[2..].contains(&Some(1)) || chosen[2..].contains(&Some(0)));
        }
        let mut sampler = sampler(Sampling { repetition_penalty: 3.0, ..Sampling::greedy() });
        let chosen: Vec<_> = (0..2).map(|_| choose(&mut sampler, &[-0.5, -1.0])).collect();
        assert_eq!(chosen, [Some(0), Some(1)], "what is below 0 is pushed down too");
    }

    #[test]
    fn biases_move_the_choice_and_not_the_report() {
        let biased = Sampling { logit_bias: vec![(2, 5.0), (0, -100.0)], ..Sampling::greedy() };
        assert_eq!(choose(&mut sampler(biased), &[3.0, 2.0, 0.0]), Some(2));
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let draw = |seed| {
            let mut sampler = Sampler::new(Sampling { seed: Some(seed), ..Default::default() });
            (0..40).map(|_| choose(&mut sampler, &[0.1, 0.2, 0.3, 0.0])).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
