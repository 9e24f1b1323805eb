//! What a generation says about its own answer, gathered token by token in bounded memory.

use local_runtime::OutputFlag;

/// Tokens at the beginning, and at the end, that are looked at apart.
pub const OPENING_TOKENS: usize = 8;
/// Log-probabilities that quantiles are taken of; later tokens count in the sums only. 8 KiB an answer.
const KEPT_TOKENS: usize = 2_048;
/// A shorter answer that was cut off was cut by a limit that no answer would have kept to: that says nothing of this one.
const CUT_TOKENS_MIN: usize = 64;
/// Bytes of an answer that are kept to see whether they are JSON, where JSON was demanded.
const JSON_BYTES_MAX: usize = 1 << 18;
/// Bytes at the beginning that are looked at for a refusal.
const HEAD_BYTES_MAX: usize = 640;
/// Bytes of a line's beginning that are looked at for a code fence.
const LINE_BYTES_MAX: usize = 32;
/// A log-probability lower than this, or none at all, counts as this.
const LOGPROB_MIN: f32 = -20.0;
/// An entropy higher than this, or none at all, counts as this: no vocabulary has more nats.
const ENTROPY_MAX: f32 = 13.0;
/// Tokens of at least this log-probability (0.99) are certain, those below the other (0.5) are doubtful.
const CERTAIN: f32 = -0.010_050_336;
const DOUBTFUL: f32 = -std::f32::consts::LN_2;

/// What a generation says about its own answer. Log-probabilities are natural logarithms at temperature 1; entropies are
/// in nats.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Evidence {
    /// Generated tokens.
    pub tokens: u32,
    /// Mean log-probability.
    pub logprob_mean: f32,
    /// Least log-probability.
    pub logprob_min: f32,
    /// Quantiles of the log-probabilities: 10, 25 and 50 %.
    pub logprob_quantiles: [f32; 3],
    /// Mean log-probability of the first [`OPENING_TOKENS`].
    pub logprob_opening: f32,
    /// Mean log-probability of the last [`OPENING_TOKENS`].
    pub logprob_closing: f32,
    /// Sum of the log-probabilities over the root of their number: between the sum, which punishes length, and the
    /// mean, which forgives a single doubt in a long answer.
    pub logprob_normalised: f32,
    /// Mean entropy.
    pub entropy_mean: f32,
    /// Greatest entropy.
    pub entropy_max: f32,
    /// Mean entropy of the first [`OPENING_TOKENS`].
    pub entropy_opening: f32,
    /// Share of tokens with a probability of 0.99 or more.
    pub certain_share: f32,
    /// Share of tokens with a probability below 0.5.
    pub doubtful_share: f32,
    /// The answer has ended.
    pub is_finished: bool,
    /// It was cut off for its length, and is long.
    pub is_cut: bool,
    /// Its script is not the prompt's.
    pub switched_language: bool,
    /// It is empty, goes in circles or refuses.
    pub is_flagged: bool,
    /// A code fence was opened and not closed.
    pub has_open_fence: bool,
    /// Whether it is JSON, where JSON was demanded and the answer has ended.
    pub is_json: Option<bool>,
    /// What further samples said, where some were taken.
    pub samples: Option<Samples>,
}

impl Evidence {
    /// Is the answer worth nothing, however sure the model was of it?
    #[must_use]
    pub fn is_worthless(&self) -> bool {
        self.is_flagged || self.is_json == Some(false) || (self.is_finished && self.tokens == 0)
    }
}

/// How far further samples agree with the answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Samples {
    /// How many there are.
    pub count: u32,
    /// Sum of their agreements, each in `[0, 1]`.
    pub agreement: f32,
}

impl Samples {
    /// The answer's own confidence is one vote, and every sample is one: their mean. Not fitted to data; the share of
    /// agreeing samples is the usual estimate (Wang et al. 2022, arXiv 2203.11171), and the own confidence keeps a few
    /// samples that agree by chance from meaning certainty.
    pub(super) fn vote(self, own: f32) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "a handful of samples")]
        let votes = self.count as f32 + 1.0;
        ((own + self.agreement) / votes).clamp(0.0, 1.0)
    }
}

/// Gathers evidence while an answer is generated. Can be asked at any time.
#[derive(Debug, Clone)]
pub struct Gathering {
    tokens: usize,
    logprobs: f64,
    least: f32,
    entropies: f64,
    entropy_max: f32,
    opening: (f64, f64),
    certain: usize,
    doubtful: usize,
    kept: Vec<f32>,
    /// The last log-probabilities, in a ring.
    last: [f32; OPENING_TOKENS],
    is_finished: bool,
    is_cut: bool,
    switched_language: bool,
    is_flagged: bool,
    text: Text,
    samples: Option<Samples>,
}

impl Gathering {
    /// Begins. `demands_json`: the answer must be JSON.
    #[must_use]
    pub fn new(demands_json: bool) -> Self {
        Self {
            tokens: 0,
            logprobs: 0.0,
            least: 0.0,
            entropies: 0.0,
            entropy_max: 0.0,
            opening: (0.0, 0.0),
            certain: 0,
            doubtful: 0,
            kept: Vec::new(),
            last: [0.0; OPENING_TOKENS],
            is_finished: false,
            is_cut: false,
            switched_language: false,
            is_flagged: false,
            text: Text { json: demands_json.then(String::new), ..Text::default() },
            samples: None,
        }
    }

    /// Takes a token: its log-probability, the entropy of its distribution, and the text that became certain with it.
    pub fn token(&mut self, logprob: f32, entropy: f32, text: &str) {
        let logprob = if logprob.is_nan() { LOGPROB_MIN } else { logprob.clamp(LOGPROB_MIN, 0.0) };
        let entropy = if entropy.is_nan() { ENTROPY_MAX } else { entropy.clamp(0.0, ENTROPY_MAX) };
        if self.tokens < OPENING_TOKENS {
            self.opening.0 += f64::from(logprob);
            self.opening.1 += f64::from(entropy);
        }
        if self.kept.len() < KEPT_TOKENS {
            self.kept.push(logprob);
        }
        self.last[self.tokens % OPENING_TOKENS] = logprob;
        self.tokens += 1;
        self.logprobs += f64::from(logprob);
        self.entropies += f64::from(entropy);
        self.least = self.least.min(logprob);
        self.entropy_max = self.entropy_max.max(entropy);
        self.certain += usize::from(logprob >= CERTAIN);
        self.doubtful += usize::from(logprob < DOUBTFUL);
        self.text.push(text);
    }

    /// Takes text that came without a token.
    pub fn text(&mut self, text: &str) {
        self.text.push(text);
    }

    /// Notes the end. `is_cut`: for its length.
    pub fn finish(&mut self, is_cut: bool, flags: &[OutputFlag]) {
        let worthless = [OutputFlag::Empty, OutputFlag::Loop, OutputFlag::Refusal];
        self.is_finished = true;
        self.is_cut = is_cut && self.tokens >= CUT_TOKENS_MIN;
        self.switched_language = flags.contains(&OutputFlag::LanguageSwitch);
        self.is_flagged = worthless.iter().any(|flag| flags.contains(flag));
    }

    /// Takes what a further sample's agreement with this answer was, in `[0, 1]`.
    pub fn sample(&mut self, agreement: f32) {
        let samples = self.samples.get_or_insert(Samples { count: 0, agreement: 0.0 });
        samples.count += 1;
        samples.agreement += if agreement.is_nan() { 0.0 } else { agreement.clamp(0.0, 1.0) };
    }

    /// Tokens so far.
    #[must_use]
    pub const fn tokens(&self) -> usize {
        self.tokens
    }

    /// Has the answer ended?
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// What is known by now.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "shares and means")]
    pub fn evidence(&self) -> Evidence {
        let count = self.tokens.max(1) as f64;
        let edge = self.tokens.clamp(1, OPENING_TOKENS);
        let closing = &self.last[..self.tokens.min(OPENING_TOKENS)];
        Evidence {
            tokens: u32::try_from(self.tokens).unwrap_or(u32::MAX),
            logprob_mean: (self.logprobs / count) as f32,
            logprob_min: self.least,
            logprob_quantiles: quantiles(&self.kept),
            logprob_opening: (self.opening.0 / edge as f64) as f32,
            logprob_closing: closing.iter().sum::<f32>() / edge as f32,
            logprob_normalised: (self.logprobs / count.sqrt()) as f32,
            entropy_mean: (self.entropies / count) as f32,
            entropy_max: self.entropy_max,
            entropy_opening: (self.opening.1 / edge as f64) as f32,
            certain_share: (self.certain as f64 / count) as f32,
            doubtful_share: (self.doubtful as f64 / count) as f32,
            is_finished: self.is_finished,
            is_cut: self.is_cut,
            switched_language: self.switched_language,
            is_flagged: self.is_flagged || OutputFlag::refuses(&self.text.head),
            has_open_fence: self.is_finished && self.text.has_open_fence(),
            is_json: if self.is_finished { self.text.is_json() } else { None },
            samples: self.samples,
        }
    }
}

/// The 10, 25 and 50 % quantiles, each the value at its rounded place.
fn quantiles(values: &[f32]) -> [f32; 3] {
    if values.is_empty() {
        return [0.0; 3];
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    [10, 25, 50].map(|percent| sorted[((sorted.len() - 1) * percent + 50) / 100])
}

/// What is looked at in the text itself.
#[derive(Debug, Clone, Default)]
struct Text {
    head: String,
    /// The beginning of the line that is being written.
    line: String,
    fences: usize,
    /// The answer, where it must be JSON.
    json: Option<String>,
    /// The answer is longer than what is kept of it.
    is_long: bool,
}

impl Text {
    fn push(&mut self, text: &str) {
        if self.head.len() < HEAD_BYTES_MAX {
            self.head.push_str(&text[..text.floor_char_boundary(HEAD_BYTES_MAX - self.head.len())]);
        }
        for piece in text.split_inclusive('\n') {
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
            self.line.push_str(&piece[..piece.floor_char_boundary(room)]);
            if piece.ends_with('\n') {
                self.fences += usize::from(is_fence(&self.line));
                self.line.clear();
            }
        }
        if let Some(json) = &mut self.json {
            self.is_long |= json.len() + text.len() > JSON_BYTES_MAX;
            if !self.is_long {
                json.push_str(text);
            }
        }
    }

    fn has_open_fence(&self) -> bool {
        (self.fences + usize::from(is_fence(&self.line))) % 2 == 1
    }

    fn is_json(&self) -> Option<bool> {
        let text = self.json.as_ref().filter(|_| !self.is_long)?.trim();
        let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
        let inner = inner.map(|inner| inner.strip_prefix("json").unwrap_or(inner)).unwrap_or(text);
        Some(serde_json::from_str::<serde::de::IgnoredAny>(inner).is_ok())
    }
}

fn is_fence(line: &str) -> bool {
    line.trim_start().starts_with("```")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_tokens() {
        let mut gathering = Gathering::new(false);
        for index in 0..20_u8 {
            gathering.token(-f32::from(index) / 10.0, f32::from(index), "x");
        }
        let found = gathering.evidence();
        assert_eq!(found.tokens, 20);
        for (value, expected) in [
            (found.logprob_mean, -0.95),
            (found.logprob_min, -1.9),
            (found.logprob_quantiles[0], -1.7),
            (found.logprob_quantiles[1], -1.4),
            (found.logprob_quantiles[2], -0.9),
            (found.logprob_opening, -0.35),
            (found.logprob_closing, -1.55),
            (found.logprob_normalised, -19.0 / 20f32.sqrt()),
            (found.entropy_max, ENTROPY_MAX),
            (found.entropy_opening, 3.5),
            (found.certain_share, 0.05),
            (found.doubtful_share, 0.65),
        ] {
            assert!((value - expected).abs() < 1e-4, "{value} is not {expected}");
        }
        assert!(!found.is_finished && !found.is_worthless());
    }

    #[test]
    fn nothing_is_kept_without_bound() {
        let mut gathering = Gathering::new(true);
        for _ in 0..400_000 {
            gathering.token(-0.5, 1.0, "a line without end ");
        }
        assert_eq!(gathering.kept.len(), KEPT_TOKENS);
        assert!(gathering.text.head.len() <= HEAD_BYTES_MAX && gathering.text.line.len() <= LINE_BYTES_MAX);
        assert!(gathering.text.json.as_ref().is_some_and(|json| json.len() <= JSON_BYTES_MAX));
        gathering.finish(false, &[]);
        assert_eq!(gathering.evidence().is_json, None, "what was not kept is not called invalid");
    }

    #[test]
    fn an_open_fence_is_seen_however_the_text_is_cut() {
        for (text, open) in [
            ("```rust\nfn main() {}\n```\n", false),
            ("```rust\nfn main() {}\n", true),
            ("  ```\nx", true),
            ("in `code` and ``` inline", false),
            ("```\na\n```", false),
        ] {
            for size in 1..5 {
                let mut gathering = Gathering::new(false);
                let letters: Vec<char> = text.chars().collect();
                for piece in letters.chunks(size) {
                    gathering.token(-0.1, 0.1, &piece.iter().collect::<String>());
                }
                gathering.finish(false, &[]);
                assert_eq!(gathering.evidence().has_open_fence, open, "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn samples_are_votes() {
        let samples = Samples { count: 3, agreement: 3.0 };
        assert!((samples.vote(0.6) - 0.9).abs() < 1e-6);
        assert!((Samples { count: 1, agreement: 0.0 }.vote(0.6) - 0.3).abs() < 1e-6);
    }
}
