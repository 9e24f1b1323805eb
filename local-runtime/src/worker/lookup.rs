//! Guessing tokens that the text has already shown.
//!
//! Where an answer copies from the prompt (extraction, editing, code) the tokens that followed the same few tokens before are a
//! good guess for what follows now (prompt-lookup decoding, a form of Leviathan et al. 2023, "Fast Inference from
//! Transformers via Speculative Decoding"). The network checks all guesses in one step for little more than the price of one token,
//! and every accepted token is the one that would have been chosen anyway: the output does not change. Guessing
//! stops where it does not pay.

/// Lengths of the ends that are looked up, the longest first.
const MATCH_TOKENS: std::ops::RangeInclusive<usize> = 2..=3;
/// Guesses in one step.
const GUESSES_MAX: usize = 4;
/// How far back is looked.
const LOOK_BACK: usize = 4096;
/// Below this share of accepted guesses, a step costs more than it gains.
const WORTHWHILE: f32 = 0.3;
/// Weight of the newest step in the share.
const SMOOTHING: f32 = 0.2;
/// After guessing stopped, one step in so many tries again.
const RETRY_STEPS: u32 = 32;

/// What was learnt about guessing for one answer.
#[derive(Debug)]
pub(super) struct Lookup {
    accepted: f32,
    idle: u32,
}

impl Default for Lookup {
    fn default() -> Self {
        Self { accepted: 0.6, idle: 0 }
    }
}

impl Lookup {
    /// What might follow `tokens`.
    pub(super) fn guess(&mut self, tokens: &[u32]) -> Vec<u32> {
        if self.accepted < WORTHWHILE {
            self.idle += 1;
            if !self.idle.is_multiple_of(RETRY_STEPS) {
                return Vec::new();
            }
        }
        let from = tokens.len().saturating_sub(LOOK_BACK);
        let text = &tokens[from..];
        for length in MATCH_TOKENS.rev() {
            if text.len() <= length {
                continue;
            }
            let (earlier, end) = (&text[..text.len() - 1], &text[text.len() - length..]);
            if let Some(at) = earlier.windows(length).rposition(|window| window == end) {
                let following = &text[at + length..];
                return following[..following.len().min(GUESSES_MAX)].to_vec();
            }
        }
        Vec::new()
    }

    /// Notes how many tokens a step with that many guesses yielded.
    pub(super) fn learn(&mut self, guesses: usize, generated: usize) {
        if guesses > 0 {
            let share = generated.saturating_sub(1) as f32 / guesses as f32;
            self.accepted += SMOOTHING * (share - self.accepted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_occurrence_of_the_longest_end_is_continued() {
        let mut lookup = Lookup::default();
        assert_eq!(lookup.guess(&[1, 2, 3, 9, 9, 2, 3, 5, 6, 1, 2, 3]), [9, 9, 2, 3]);
        assert_eq!(lookup.guess(&[7, 2, 3, 8, 4, 2, 3]), [8, 4, 2, 3]);
        assert!(lookup.guess(&[1, 2, 3]).is_empty());
        assert_eq!(lookup.guess(&[5, 5, 5, 5]), [5], "a run may overlap itself");
    }

    #[test]
    fn guessing_that_fails_stops_and_tries_again_later() {
        let mut lookup = Lookup::default();
        let tokens = [1, 2, 3, 1, 2];
        for _ in 0..10 {
            lookup.learn(4, 1);
        }
        let tried = (0..64).filter(|_| !lookup.guess(&tokens).is_empty()).count();
        assert_eq!(tried, 2);
        for _ in 0..10 {
            lookup.learn(4, 5);
        }
        assert!(!lookup.guess(&tokens).is_empty());
    }
}
