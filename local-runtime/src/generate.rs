//! What a caller asks for and what it gets back.
//!
//! [`GenerateRequest`] goes in; a [`TokenStream`] of [`TokenEvent`]s comes out. The sub-modules are
//! the pure parts of the loop that the worker runs: choosing a token, holding back bytes, finding
//! stop sequences. Nothing here knows of ONNX Runtime.

pub(crate) mod distribution;
pub(crate) mod emit;
pub(crate) mod flags;
pub(crate) mod sampling;
pub(crate) mod sequence;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use crate::constrain::Constraint;
use crate::error::{Error, Result};

pub use flags::OutputFlag;
pub use stream::TokenStream;
pub(crate) use stream::{EventSink, channel};

/// The most alternatives that [`GenerateRequest::top_logprobs`] may ask for (OpenAI's own limit).
pub const TOP_LOGPROBS_MAX: u8 = 20;
/// The most stop sequences of one request.
pub const STOP_SEQUENCES_MAX: usize = 64;
/// The most entries of [`Sampling::logit_bias`].
pub const LOGIT_BIAS_MAX: usize = 1024;
/// How many tokens [`Finish::opening_logprob`] is the mean of.
pub const OPENING_TOKENS: usize = 8;

/// How the next token is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 takes the most likely token; up to 2 flattens the distribution. Default 1.
    pub temperature: f32,
    /// Keep the smallest set of tokens whose probabilities add up to this, above 0 to 1. Default 1 (all).
    /// Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration".
    pub top_p: f32,
    /// Keep this many of the most likely tokens; 0 keeps all. Default 0.
    pub top_k: u32,
    /// Keep tokens whose probability is at least this share of the most likely one's, 0 to 1. Default 0 (all).
    pub min_p: f32,
    /// Makes the draw repeatable on the same machine for the same model, library, thread count and company in a batch.
    /// Elsewhere the logits' last bits may differ, and then so may the answer. Default: from the clock.
    pub seed: Option<u64>,
    /// Subtracted from a token's logit once for each time that the answer already has it, -2 to 2. Default 0.
    pub frequency_penalty: f32,
    /// Subtracted once from the logit of each token that the answer already has, -2 to 2. Default 0.
    pub presence_penalty: f32,
    /// Divides the logits above 0 of tokens that the answer already has, and multiplies those below; above 0 to 2. Default 1
    /// (none). The prompt's tokens are not counted.
    pub repetition_penalty: f32,
    /// Added to the logits of these token ids, -100 to 100 each; at most 1024, no id twice. Default none.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            seed: None,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            repetition_penalty: 1.0,
            logit_bias: Vec::new(),
        }
    }
}

impl Sampling {
    /// Always the most likely token.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    fn validate(&self, vocabulary: usize) -> Result<()> {
        let fault = |reason: String| Err(Error::InvalidRequest { reason });
        let ranges = [
            ("temperature", self.temperature, 0.0, 2.0),
            ("top_p", self.top_p, 0.0, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            ("frequency_penalty", self.frequency_penalty, -2.0, 2.0),
            ("presence_penalty", self.presence_penalty, -2.0, 2.0),
            ("repetition_penalty", self.repetition_penalty, f32::MIN_POSITIVE, 2.0),
        ];
        for (name, value, low, high) in ranges {
            // Not-a-number is in no range.
            if !(low..=high).contains(&value) {
                let low = if low == f32::MIN_POSITIVE { "above 0".to_owned() } else { format!("from {low}") };
                return fault(format!("{name} must be {low} to {high}"));
            }
        }
        let mut ids: Vec<u32> = self.logit_bias.iter().map(|&(id, _)| id).collect();
        ids.sort_unstable();
        if ids.len() > LOGIT_BIAS_MAX || ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return fault(format!("logit_bias takes at most {LOGIT_BIAS_MAX} token ids, none of them twice"));
        }
        if let Some(id) = ids.last().filter(|&&id| id as usize >= vocabulary) {
            return fault(format!("logit_bias names token {id}, and the vocabulary has {vocabulary}"));
        }
        if self.logit_bias.iter().any(|(_, bias)| !(-100.0..=100.0).contains(bias)) {
            return fault("logit_bias must be from -100 to 100".to_owned());
        }
        Ok(())
    }
}

/// One generation.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// The prompt as token ids, from [`crate::Runtime::render`] or [`crate::Runtime::tokenize`]. Not empty.
    pub input: Vec<u32>,
    /// The most tokens to generate, 1 or more; capped by the configuration and by what the context leaves.
    pub max_tokens: u32,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Texts that end the answer; no part of one is ever emitted. At most 64, none empty.
    pub stop: Vec<String>,
    /// With each token, this many alternatives, at most 20. `None` gives none.
    pub top_logprobs: Option<u8>,
    /// Generate on past the end-of-turn token, for benchmarks. Has no effect under a constraint.
    pub ignore_eos: bool,
    /// Who asks. Requests of one tenant share computed prefixes, and the tenants that wait get equal shares of the model. `None`
    /// shares nothing and counts as one tenant.
    pub tenant: Option<Arc<str>>,
    /// Requests of a higher priority start first. Default 0.
    pub priority: i8,
    /// Whether tokens may be guessed from the text ([`crate::RuntimeConfig::guessing`]). Default `true`; benchmarks switch it off.
    pub guessing: bool,
    /// The form that the answer must have, from [`crate::Runtime::constrain`]. An answer that ends with
    /// [`FinishReason::Stop`] and no stop sequence has it; one that ends for its length may be incomplete.
    pub constraint: Option<Constraint>,
}

impl GenerateRequest {
    /// A request with default sampling.
    #[must_use]
    pub fn new(input: Vec<u32>, max_tokens: u32) -> Self {
        Self {
            input,
            max_tokens,
            sampling: Sampling::default(),
            stop: Vec::new(),
            top_logprobs: None,
            ignore_eos: false,
            tenant: None,
            priority: 0,
            guessing: true,
            constraint: None,
        }
    }

    /// Checks everything that does not depend on the model's state.
    pub(crate) fn validate(&self, vocabulary: usize) -> Result<()> {
        let fault = |reason: &str| Err(Error::InvalidRequest { reason: reason.to_owned() });
        if self.input.is_empty() {
            return fault("the prompt has no tokens");
        }
        if self.input.iter().any(|&id| id as usize >= vocabulary) {
            return fault("the prompt has a token id outside the vocabulary");
        }
        if self.max_tokens == 0 {
            return fault("max_tokens must be at least 1");
        }
        if self.top_logprobs.is_some_and(|n| n > TOP_LOGPROBS_MAX) {
            return fault("top_logprobs must be at most 20");
        }
        if self.stop.len() > STOP_SEQUENCES_MAX || self.stop.iter().any(String::is_empty) {
            return fault("stop takes at most 64 sequences, none of them empty");
        }
        self.sampling.validate(vocabulary)
    }
}

/// An alternative to a generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct TopToken {
    /// The token's id.
    pub id: u32,
    /// The token's text; bytes that are not UTF-8 by themselves are shown as U+FFFD.
    pub text: String,
    /// Natural logarithm of the token's probability at temperature 1.
    pub logprob: f32,
    /// The token's bytes.
    pub bytes: Vec<u8>,
}

/// One generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// The token's id.
    pub id: u32,
    /// Text that became certain with this token: whole characters, never part of a stop sequence. Empty while bytes or a possible
    /// stop sequence are held back; the deltas of one stream add up to the answer.
    pub text: String,
    /// The token's own bytes, whatever is held back; empty for control tokens.
    pub bytes: Vec<u8>,
    /// Natural logarithm of the token's probability at temperature 1, before biases, penalties and constraints.
    pub logprob: f32,
    /// The most likely tokens, best first, as many as asked for.
    pub top: Vec<TopToken>,
    /// Shannon entropy of the distribution at temperature 1, in nats.
    pub entropy: f32,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model ended its turn, or a stop sequence came.
    Stop,
    /// `max_tokens`, the configured limit or the context was used up.
    Length,
    /// The runtime is shutting down.
    Cancelled,
}

/// The last event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// Why it ended.
    pub reason: FinishReason,
    /// The stop sequence that ended it.
    pub stop_sequence: Option<String>,
    /// Text that had been held back in case it became a stop sequence, and did not. Part of the answer.
    pub text: String,
    /// Prompt tokens.
    pub input_tokens: u32,
    /// Of those, tokens whose computation was reused from the request before.
    pub reused_tokens: u32,
    /// Generated tokens, the end-of-turn token not counted.
    pub output_tokens: u32,
    /// From the call of `generate` to the first token, waiting included. Equal to `total` if no token came.
    pub time_to_first_token: Duration,
    /// From the call of `generate` to the end.
    pub total: Duration,
    /// Mean of the generated tokens' log-probabilities, 0 if there are none. All of these are at temperature 1, before
    /// biases, penalties and constraints; the end-of-turn token is not counted.
    pub mean_logprob: f32,
    /// The same of the first [`OPENING_TOKENS`] tokens alone, where answers mostly go astray.
    pub opening_logprob: f32,
    /// Least of the generated tokens' log-probabilities, 0 if there are none.
    pub min_logprob: f32,
    /// Mean of [`Token::entropy`], 0 if there are no tokens.
    pub mean_entropy: f32,
    /// Signs of a bad answer, without duplicates.
    pub flags: Vec<OutputFlag>,
}

/// What a [`TokenStream`] yields: any number of tokens, then one `Done`.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenEvent {
    /// A token.
    Token(Token),
    /// The end. Nothing follows.
    Done(Finish),
}
