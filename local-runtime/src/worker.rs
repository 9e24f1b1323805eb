//! The one thread that computes.
//!
//! Takes jobs in order and runs each to its end: prompt in chunks, then token by token, looking between steps whether
//! the caller has left or the runtime shuts down. A panic ends the thread, not the process, and not
//! silently: the panicking job and all that wait get [`Error::WorkerGone`], and readiness turns false. The network's
//! state after a panic is unknown, so the thread does not go on.

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::generate::emit::TextEmitter;
use crate::generate::sampling::{Distribution, Sampler, most_likely};
use crate::generate::{Finish, FinishReason, GenerateRequest, Token, TokenEvent, TopToken};
use crate::queue::{Job, Queue};
use crate::tokenizer::TextCodec;

/// What the worker needs besides the network.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Prompt and answer together.
    pub(crate) context_tokens: usize,
    pub(crate) max_output_tokens: usize,
    pub(crate) prefill_chunk_tokens: usize,
    pub(crate) prefix_reuse: bool,
    pub(crate) eos_ids: Vec<u32>,
}

/// The thread's state.
pub(crate) struct Worker<B> {
    pub(crate) backend: B,
    pub(crate) codec: Arc<TextCodec>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) healthy: Arc<AtomicBool>,
    /// Whole prefill chunks whose state the backend still has.
    pub(crate) computed: Vec<u32>,
}

/// Why a job ended without a last event.
enum Ended {
    /// The caller left; nobody listens.
    Abandoned,
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<B: Backend> Worker<B> {
    /// Works until the queue closes or something panics.
    pub(crate) fn run(mut self) {
        while let Some(job) = self.queue.pop() {
            let started = Instant::now();
            let outcome = catch_unwind(AssertUnwindSafe(|| self.serve(&job)));
            self.queue.done(started.elapsed());
            match outcome {
                Ok(()) => {}
                Err(_) => {
                    tracing::error!("the inference thread panicked; the local model is out of service");
                    job.sink.send(Err(Error::WorkerGone));
                    break;
                }
            }
        }
        self.healthy.store(false, Ordering::Release);
        for job in self.queue.close() {
            job.sink.send(Err(Error::WorkerGone));
        }
    }

    fn serve(&mut self, job: &Job) {
        match self.generate(job) {
            Ok(finish) => job.sink.send(Ok(TokenEvent::Done(finish))),
            Err(Ended::Abandoned) => {}
            Err(Ended::Failed(error)) => {
                // A step that failed may have left half a state behind.
                self.computed.clear();
                job.sink.send(Err(error));
            }
        }
    }

    fn generate(&mut self, job: &Job) -> Result<Finish, Ended> {
        let request = &job.request;
        let budget = self.budget(request);
        let mut logits = Vec::with_capacity(self.backend.vocabulary());
        let mut answer = Answer::new(job);
        answer.reused = self.prefill(job, budget, &mut logits)?;
        let mut sampler = Sampler::new(request.sampling.clone());
        let mut emitter = TextEmitter::new(request.stop.clone());
        loop {
            let id = sampler.choose(&logits).ok_or_else(nothing_finite)?;
            let distribution = Distribution::of(&logits).ok_or_else(nothing_finite)?;
            if !request.ignore_eos && self.limits.eos_ids.contains(&id) {
                return Ok(answer.finish(FinishReason::Stop, &mut emitter));
            }
            let bytes = self.codec.piece(id).to_vec();
            let emitted = emitter.push(&bytes);
            let logprob = distribution.logprob(logits[id as usize]);
            answer.count(logprob);
            let top = self.alternatives(request, &logits, distribution);
            let token = Token { id, text: emitted.text, bytes, logprob, top, entropy: distribution.entropy };
            job.sink.send(Ok(TokenEvent::Token(token)));
            if emitted.stop.is_some() {
                return Ok(answer.finish_at(emitted.stop));
            }
            if answer.tokens >= budget {
                return Ok(answer.finish(FinishReason::Length, &mut emitter));
            }
            if self.queue.is_closed() {
                return Ok(answer.finish(FinishReason::Cancelled, &mut emitter));
            }
            if job.sink.is_abandoned() {
                return Err(Ended::Abandoned);
            }
            self.backend.step(&[id], &mut logits)?;
        }
    }

    /// How many tokens may be generated; at least one, since longer prompts were refused.
    fn budget(&self, request: &GenerateRequest) -> usize {
        let room = self.limits.context_tokens.saturating_sub(request.input.len());
        (request.max_tokens as usize).min(self.limits.max_output_tokens).min(room).max(1)
    }

    /// Computes the prompt and returns how many of its tokens were already there.
    fn prefill(&mut self, job: &Job, budget: usize, logits: &mut Vec<f32>) -> Result<u32, Ended> {
        let (input, chunk) = (&job.request.input, self.limits.prefill_chunk_tokens);
        let shared = input.iter().zip(&self.computed).take_while(|(a, b)| a == b).count();
        // The last token is always computed, for its logits.
        let keep = if self.limits.prefix_reuse { shared.min(input.len() - 1) / chunk * chunk } else { 0 };
        let kept = self.backend.begin(input.len() + budget, keep)?;
        self.computed.truncate(kept);
        for tokens in input[kept..].chunks(chunk) {
            if job.sink.is_abandoned() || self.queue.is_closed() {
                return Err(if job.sink.is_abandoned() {
                    Ended::Abandoned
                } else {
                    Ended::Failed(Error::WorkerGone)
                });
            }
            self.backend.step(tokens, logits)?;
            if tokens.len() == chunk {
                self.computed.extend_from_slice(tokens);
            }
        }
        Ok(kept as u32)
    }

    fn alternatives(
        &self,
        request: &GenerateRequest,
        logits: &[f32],
        distribution: Distribution,
    ) -> Vec<TopToken> {
        let count = usize::from(request.top_logprobs.unwrap_or(0));
        let best = most_likely(logits, count).into_iter();
        best.map(|(id, logit)| {
            let bytes = self.codec.piece(id).to_vec();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            TopToken { id, text, logprob: distribution.logprob(logit), bytes }
        })
        .collect()
    }
}

fn nothing_finite() -> Ended {
    let source = ort::Error::new("no logit is finite; the model's weights are corrupt");
    Ended::Failed(Error::Onnx { action: "predict a token", source })
}

/// What is counted while an answer grows.
struct Answer<'a> {
    job: &'a Job,
    reused: u32,
    tokens: usize,
    first: Option<Duration>,
    logprobs: f64,
    least: f32,
}

impl<'a> Answer<'a> {
    fn new(job: &'a Job) -> Self {
        Self { job, reused: 0, tokens: 0, first: None, logprobs: 0.0, least: 0.0 }
    }

    fn count(&mut self, logprob: f32) {
        self.first.get_or_insert_with(|| self.job.submitted.elapsed());
        self.tokens += 1;
        self.logprobs += f64::from(logprob);
        self.least = self.least.min(logprob);
    }

    /// Ends for another reason than a stop sequence, unless the held-back rest completes one.
    fn finish(&self, reason: FinishReason, emitter: &mut TextEmitter) -> Finish {
        let rest = emitter.finish();
        let reason = if rest.stop.is_some() { FinishReason::Stop } else { reason };
        self.end(reason, rest.stop, rest.text)
    }

    fn finish_at(&self, stop: Option<String>) -> Finish {
        self.end(FinishReason::Stop, stop, String::new())
    }

    fn end(&self, reason: FinishReason, stop_sequence: Option<String>, text: String) -> Finish {
        let total = self.job.submitted.elapsed();
        Finish {
            reason,
            stop_sequence,
            text,
            input_tokens: self.job.request.input.len() as u32,
            reused_tokens: self.reused,
            output_tokens: self.tokens as u32,
            time_to_first_token: self.first.unwrap_or(total),
            total,
            mean_logprob: (self.logprobs / self.tokens.max(1) as f64) as f32,
            min_logprob: self.least,
        }
    }
}
