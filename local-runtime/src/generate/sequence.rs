//! One answer while it grows: everything about a request that outlives a step of the network.
//!
//! The scheduler owns any number of these and knows only tokens and logits; what a request asked for (sampling,
//! stop sequences, limits) and how its answer ends lives here. Invariants: the caller gets exactly
//! one last event ([`Step::Ended`], [`Step::Failed`], [`Sequence::cancel`], or [`Sequence::fail`] sent it), unless
//! it has left; a token's event is sent before the token is computed on. Left out: the network's state for this
//! sequence, and when its turn is.

use std::sync::Arc;
use std::time::Duration;

use super::emit::TextEmitter;
use super::sampling::{Distribution, Sampler, most_likely};
use super::{Finish, FinishReason, Token, TokenEvent, TopToken};
use crate::error::Error;
use crate::queue::Job;
use crate::tokenizer::TextCodec;

/// What all sequences of one model share.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(crate) codec: Arc<TextCodec>,
    /// Tokens that end a turn.
    pub(crate) eos_ids: Vec<u32>,
}

/// What follows from a step's logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Append this token and hand in the logits that follow it.
    Next(u32),
    /// The answer is complete and its last event was sent.
    Ended,
    /// The logits were unusable; an error was sent, and the network's state is not to be trusted.
    Failed,
}

/// A request and its answer so far.
#[derive(Debug)]
pub(crate) struct Sequence {
    job: Job,
    vocabulary: Arc<Vocabulary>,
    budget: usize,
    sampler: Sampler,
    emitter: TextEmitter,
    answer: Tally,
}

/// Why the answer is over.
struct Ending {
    reason: FinishReason,
    stop_sequence: Option<String>,
    text: String,
}

impl Sequence {
    /// A sequence that ends after `budget` tokens at the latest; at least one.
    pub(crate) fn new(job: Job, budget: usize, vocabulary: Arc<Vocabulary>) -> Self {
        let sampler = Sampler::new(job.request.sampling.clone());
        let emitter = TextEmitter::new(job.request.stop.clone());
        Self { job, vocabulary, budget: budget.max(1), sampler, emitter, answer: Tally::default() }
    }

    /// Notes how many of the prompt's tokens were not computed anew.
    pub(crate) fn note_reused(&mut self, tokens: usize) {
        self.answer.reused = tokens as u32;
    }

    /// Whether the caller has left.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.job.sink.is_abandoned()
    }

    /// Chooses the token that follows, from the logits `[vocabulary]` after the last one, and tells the caller. The
    /// logits are worked on in place and mean nothing afterwards.
    pub(crate) fn accept(&mut self, logits: &mut [f32]) -> Step {
        let chosen = self.sampler.choose(logits).zip(Distribution::of(logits));
        let Some((id, distribution)) = chosen else {
            self.job.sink.send(Err(Error::NothingFinite));
            return Step::Failed;
        };
        if !self.job.request.ignore_eos && self.vocabulary.eos_ids.contains(&id) {
            return self.end(FinishReason::Stop);
        }
        if let Some(stop) = self.tell(id, logits, distribution) {
            let ending =
                Ending { reason: FinishReason::Stop, stop_sequence: Some(stop), text: String::new() };
            return self.send_done(ending);
        }
        if self.answer.tokens >= self.budget {
            return self.end(FinishReason::Length);
        }
        Step::Next(id)
    }

    /// Ends the answer where it is, because the runtime shuts down.
    pub(crate) fn cancel(mut self) {
        self.end(FinishReason::Cancelled);
    }

    /// Ends the answer with an error.
    pub(crate) fn fail(self, error: Error) {
        self.job.sink.send(Err(error));
    }

    /// Sends a token; the stop sequence that it completed, if it did.
    fn tell(&mut self, id: u32, logits: &[f32], distribution: Distribution) -> Option<String> {
        let bytes = self.vocabulary.codec.piece(id).to_vec();
        let emitted = self.emitter.push(&bytes);
        let logprob = distribution.logprob(logits[id as usize]);
        self.answer.count(logprob, &self.job);
        let top = self.alternatives(logits, distribution);
        let token = Token { id, text: emitted.text, bytes, logprob, top, entropy: distribution.entropy };
        self.job.sink.send(Ok(TokenEvent::Token(token)));
        emitted.stop
    }

    fn alternatives(&self, logits: &[f32], distribution: Distribution) -> Vec<TopToken> {
        let count = usize::from(self.job.request.top_logprobs.unwrap_or(0));
        let best = most_likely(logits, count).into_iter();
        best.map(|(id, logit)| {
            let bytes = self.vocabulary.codec.piece(id).to_vec();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            TopToken { id, text, logprob: distribution.logprob(logit), bytes }
        })
        .collect()
    }

    /// Ends for another reason than a stop sequence, unless the held-back rest completes one.
    fn end(&mut self, reason: FinishReason) -> Step {
        let rest = self.emitter.finish();
        let reason = if rest.stop.is_some() { FinishReason::Stop } else { reason };
        self.send_done(Ending { reason, stop_sequence: rest.stop, text: rest.text })
    }

    fn send_done(&mut self, ending: Ending) -> Step {
        self.job.sink.send(Ok(TokenEvent::Done(self.answer.finish(&self.job, ending))));
        Step::Ended
    }
}

/// What is counted while an answer grows.
#[derive(Debug, Default)]
struct Tally {
    reused: u32,
    tokens: usize,
    first: Option<Duration>,
    logprobs: f64,
    least: f32,
}

impl Tally {
    fn count(&mut self, logprob: f32, job: &Job) {
        self.first.get_or_insert_with(|| job.submitted.elapsed());
        self.tokens += 1;
        self.logprobs += f64::from(logprob);
        self.least = self.least.min(logprob);
    }

    fn finish(&self, job: &Job, ending: Ending) -> Finish {
        let total = job.submitted.elapsed();
        Finish {
            reason: ending.reason,
            stop_sequence: ending.stop_sequence,
            text: ending.text,
            input_tokens: job.request.input.len() as u32,
            reused_tokens: self.reused,
            output_tokens: self.tokens as u32,
            time_to_first_token: self.first.unwrap_or(total),
            total,
            mean_logprob: (self.logprobs / self.tokens.max(1) as f64) as f32,
            min_logprob: self.least,
        }
    }
}
