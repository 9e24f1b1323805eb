//! One answer while it grows: everything about a request that outlives a step of the network.
//!
//! The scheduler owns any number of these and knows only tokens and logits; what a request asked for (sampling,
//! stop sequences, a form, limits) and how its answer ends lives here. Invariants: the caller gets exactly
//! one last event ([`Step::Ended`], [`Step::Failed`], [`Sequence::cancel`], or [`Sequence::fail`] sent it), unless
//! it has left; a token's event is sent before the token is computed on. Left out: the network's state for this
//! sequence, and when its turn is.

use std::sync::Arc;
use std::time::Duration;

use super::distribution::{Distribution, most_likely};
use super::emit::TextEmitter;
use super::flags::Watch;
use super::sampling::Sampler;
use super::{Finish, FinishReason, OPENING_TOKENS, OutputFlag, Token, TokenEvent, TopToken};
use crate::constrain::{Constraint, GrammarCompiler, Guide};
use crate::error::{Error, Result};
use crate::queue::Job;
use crate::tokenizer::TextCodec;

/// What all sequences of one model share.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(crate) codec: Arc<TextCodec>,
    /// Tokens that end a turn.
    pub(crate) eos_ids: Vec<u32>,
    pub(crate) grammars: GrammarCompiler,
}

impl Vocabulary {
    pub(crate) fn new(codec: Arc<TextCodec>, eos_ids: Vec<u32>) -> Self {
        let grammars = GrammarCompiler::new(Arc::clone(&codec), eos_ids.clone());
        Self { codec, eos_ids, grammars }
    }
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
    guide: Option<Guide>,
    sampler: Sampler,
    emitter: TextEmitter,
    watch: Watch,
    answer: Tally,
}

/// A token that was drawn, and what is reported of it.
struct Drawn {
    id: u32,
    logprob: f32,
    top: Vec<TopToken>,
    entropy: f32,
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
        let guide = job.request.constraint.as_ref().map(Constraint::start);
        let sampler = Sampler::new(job.request.sampling.clone());
        let emitter = TextEmitter::new(job.request.stop.clone());
        let (watch, answer) = (Watch::new(), Tally::default());
        Self { job, vocabulary, budget: budget.max(1), guide, sampler, emitter, watch, answer }
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
        let drawn = match self.draw(logits) {
            Ok(drawn) => drawn,
            Err(error) => {
                let broken = matches!(error, Error::NothingFinite);
                self.job.sink.send(Err(error));
                return if broken { Step::Failed } else { Step::Ended };
            }
        };
        let id = drawn.id;
        // Under a constraint the end of the turn is the grammar's end, and nothing can follow it.
        let honours_eos = !self.job.request.ignore_eos || self.guide.is_some();
        if honours_eos && self.vocabulary.eos_ids.contains(&id) {
            return self.end(FinishReason::Stop);
        }
        if let Some(stop) = self.tell(drawn) {
            let ending =
                Ending { reason: FinishReason::Stop, stop_sequence: Some(stop), text: String::new() };
            return self.send_done(ending);
        }
        match self.guide.as_mut().map(|guide| guide.advance(id)) {
            Some(Ok(true)) => return self.end(FinishReason::Stop),
            Some(Err(error)) => {
                self.job.sink.send(Err(error));
                return Step::Ended;
            }
            Some(Ok(false)) | None => {}
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

    /// Draws a token. What is reported of it is read from the logits before they are masked.
    fn draw(&mut self, logits: &mut [f32]) -> Result<Drawn> {
        let distribution = Distribution::of(logits).ok_or(Error::NothingFinite)?;
        let top = self.alternatives(logits, distribution);
        if let Some(guide) = &mut self.guide {
            guide.mask(logits)?;
        }
        let (id, logit) = self.sampler.choose(logits).ok_or(Error::NothingFinite)?;
        Ok(Drawn { id, logprob: distribution.logprob(logit), top, entropy: distribution.entropy })
    }

    /// Sends a token; the stop sequence that it completed, if it did.
    fn tell(&mut self, drawn: Drawn) -> Option<String> {
        let Drawn { id, logprob, top, entropy } = drawn;
        let bytes = self.vocabulary.codec.piece(id).to_vec();
        let emitted = self.emitter.push(&bytes);
        self.answer.count(logprob, entropy, &self.job);
        self.watch.token(id, &emitted.text);
        let token = Token { id, text: emitted.text, bytes, logprob, top, entropy };
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
        self.watch.text(&ending.text);
        let truncated = ending.reason == FinishReason::Length;
        let flags = self.watch.flags(truncated, || self.vocabulary.codec.decode(&self.job.request.input));
        let finish = self.answer.finish(&self.job, ending, flags);
        self.job.sink.send(Ok(TokenEvent::Done(finish)));
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
    opening: f64,
    entropies: f64,
    least: f32,
}

impl Tally {
    fn count(&mut self, logprob: f32, entropy: f32, job: &Job) {
        self.first.get_or_insert_with(|| job.submitted.elapsed());
        if self.tokens < OPENING_TOKENS {
            self.opening += f64::from(logprob);
        }
        self.tokens += 1;
        self.logprobs += f64::from(logprob);
        self.entropies += f64::from(entropy);
        self.least = self.least.min(logprob);
    }

    fn finish(&self, job: &Job, ending: Ending, flags: Vec<OutputFlag>) -> Finish {
        let total = job.submitted.elapsed();
        let mean = |sum: f64, count: usize| (sum / count.max(1) as f64) as f32;
        Finish {
            reason: ending.reason,
            stop_sequence: ending.stop_sequence,
            text: ending.text,
            input_tokens: job.request.input.len() as u32,
            reused_tokens: self.reused,
            output_tokens: self.tokens as u32,
            time_to_first_token: self.first.unwrap_or(total),
            total,
            mean_logprob: mean(self.logprobs, self.tokens),
            opening_logprob: mean(self.opening, self.tokens.min(OPENING_TOKENS)),
            min_logprob: self.least,
            mean_entropy: mean(self.entropies, self.tokens),
            flags,
        }
    }
}
