//! The one thread that computes.
//!
//! Takes jobs in order and runs each to its end: prompt in chunks, then token by token, looking between steps whether
//! the caller has left or the runtime shuts down. What an answer is and when it ends is the
//! [`Sequence`]'s business. A panic ends the thread, not the process, and not silently: the panicking job and all that
//! wait get [`Error::WorkerGone`], and readiness turns false. The network's state after a panic is unknown, so the
//! thread does not go on.

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::generate::GenerateRequest;
use crate::generate::sequence::{Sequence, Step, Vocabulary};
use crate::queue::{Job, Queue};

/// What the worker needs besides the network.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Prompt and answer together.
    pub(crate) context_tokens: usize,
    pub(crate) max_output_tokens: usize,
    pub(crate) prefill_chunk_tokens: usize,
    pub(crate) prefix_reuse: bool,
}

/// The thread's state.
pub(crate) struct Worker<B> {
    pub(crate) backend: B,
    pub(crate) vocabulary: Arc<Vocabulary>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) healthy: Arc<AtomicBool>,
    /// Whole prefill chunks whose state the backend still has.
    pub(crate) computed: Vec<u32>,
}

/// Why a sequence is no longer computed.
enum Ended {
    /// It said its last word itself.
    Told,
    /// The caller left; nobody listens.
    Abandoned,
    /// The runtime shuts down.
    Cancelled,
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
            let whole = self.serve(job);
            self.queue.done(started.elapsed());
            if !whole {
                tracing::error!("the inference thread panicked; the local model is out of service");
                break;
            }
        }
        self.healthy.store(false, Ordering::Release);
        for job in self.queue.close() {
            job.sink.send(Err(Error::WorkerGone));
        }
    }

    /// Answers one request; false if that panicked.
    fn serve(&mut self, job: Job) -> bool {
        let budget = self.budget(&job.request);
        let mut sequence = Sequence::new(job, budget, Arc::clone(&self.vocabulary));
        match catch_unwind(AssertUnwindSafe(|| self.generate(&mut sequence))) {
            Ok(Ended::Told | Ended::Abandoned) => true,
            Ok(Ended::Cancelled) => {
                sequence.cancel();
                true
            }
            Ok(Ended::Failed(error)) => {
                // A step that failed may have left half a state behind.
                self.computed.clear();
                sequence.fail(error);
                true
            }
            Err(_) => {
                sequence.fail(Error::WorkerGone);
                false
            }
        }
    }

    fn generate(&mut self, sequence: &mut Sequence) -> Ended {
        let mut logits = Vec::with_capacity(self.backend.vocabulary());
        if let Err(ended) = self.prefill(sequence, &mut logits) {
            return ended;
        }
        loop {
            let id = match sequence.accept(&mut logits) {
                Step::Next(id) => id,
                Step::Ended => return Ended::Told,
                Step::Failed => {
                    self.computed.clear();
                    return Ended::Told;
                }
            };
            if self.queue.is_closed() {
                return Ended::Cancelled;
            }
            if sequence.is_abandoned() {
                return Ended::Abandoned;
            }
            if let Err(error) = self.backend.step(&[id], &mut logits) {
                return Ended::Failed(error);
            }
        }
    }

    /// How many tokens may be generated; at least one, since longer prompts were refused.
    fn budget(&self, request: &GenerateRequest) -> usize {
        let room = self.limits.context_tokens.saturating_sub(request.input.len());
        (request.max_tokens as usize).min(self.limits.max_output_tokens).min(room).max(1)
    }

    /// Computes the prompt, but for what of it was already there.
    fn prefill(&mut self, sequence: &mut Sequence, logits: &mut Vec<f32>) -> Result<(), Ended> {
        let (input, chunk) = (sequence.input(), self.limits.prefill_chunk_tokens);
        let shared = input.iter().zip(&self.computed).take_while(|(a, b)| a == b).count();
        // The last token is always computed, for its logits.
        let keep = if self.limits.prefix_reuse { shared.min(input.len() - 1) / chunk * chunk } else { 0 };
        let kept = self.backend.begin(sequence.capacity(), keep)?;
        self.computed.truncate(kept);
        for tokens in input[kept..].chunks(chunk) {
            if sequence.is_abandoned() {
                return Err(Ended::Abandoned);
            }
            if self.queue.is_closed() {
                return Err(Ended::Failed(Error::WorkerGone));
            }
            self.backend.step(tokens, logits)?;
            if tokens.len() == chunk {
                self.computed.extend_from_slice(tokens);
            }
        }
        sequence.note_reused(kept);
        Ok(())
    }
}
