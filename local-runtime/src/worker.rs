//! The one thread that computes: continuous batching.
//!
//! Requests join and leave between steps of the network (Yu et al. 2022, Orca). A step has one token (and perhaps guesses,
//! see [`lookup`]) of every answer that is being generated, and a piece of the prompts that are being read: a small piece
//! while answers are growing, so that they do not stall (Agrawal et al. 2024, Sarathi-Serve), shared equally, so that short prompts
//! need not wait for long ones. Whether a request can start is decided by the memory that it may grow to; the queue
//! decides which is next. Between steps the worker looks whether callers have left or the runtime shuts down.
//!
//! What an answer is and when it ends is the [`Sequence`]'s business. A panic ends the thread, not the process, and not
//! silently: all that run and wait get [`Error::WorkerGone`], and readiness turns false. The network's state after a panic
//! is unknown, so the thread does not go on.

mod lookup;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::backend::{Backend, Chunk, Opened, Opening, SequenceId};
use crate::error::Error;
use crate::generate::GenerateRequest;
use crate::generate::sequence::{Sequence, Step, Vocabulary};
use crate::queue::{Job, OUTPUT_WEIGHT, Queue};
use lookup::Lookup;

/// How long reading prompts may hold up answers that are being generated, in one step.
const STALL: Duration = Duration::from_millis(200);
/// The least prompt tokens in a step.
const PREFILL_MIN: usize = 16;
/// In one step of so many the oldest prompt comes first instead of the shortest, so that none waits for ever.
const OLDEST_FIRST: u64 = 4;
/// Prompt tokens a second that are assumed before any were measured.
const FIRST_PREFILL_RATE: f64 = 100.0;
/// Weight of the newest measurement of the same.
const SMOOTHING: f64 = 0.3;
/// With more answers than this in a step, guessing costs more than it gains: the step is no longer bound by reading weights.
const GUESSING_MAX: usize = 2;

/// What the worker needs besides the network.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Prompt and answer together.
    pub(crate) context_tokens: usize,
    pub(crate) max_output_tokens: usize,
    pub(crate) prefill_chunk_tokens: usize,
    pub(crate) max_concurrency: usize,
    pub(crate) prefix_reuse: bool,
    pub(crate) guessing: bool,
}

/// The thread's state.
pub(crate) struct Worker<B> {
    backend: B,
    vocabulary: Arc<Vocabulary>,
    limits: Arc<Limits>,
    queue: Arc<Queue>,
    healthy: Arc<AtomicBool>,
    running: Vec<Running>,
    opened: u64,
    turns: u64,
    prefill_rate: f64,
    logits: Vec<f32>,
}

/// A request that is being computed.
struct Running {
    id: SequenceId,
    sequence: Sequence,
    tenant: Option<Arc<str>>,
    started: Instant,
    /// Tokens that the network has computed.
    computed: usize,
    /// Prompt and answer.
    tokens: Vec<u32>,
    prompt: usize,
    /// The most tokens that prompt and answer come to.
    capacity: usize,
    guessing: bool,
    lookup: Lookup,
    /// Guesses in the current step.
    guesses: Vec<u32>,
}

impl Running {
    fn is_reading(&self) -> bool {
        self.computed + 1 < self.tokens.len() || self.tokens.len() == self.prompt
    }
}

/// What one running request contributes to a step.
#[derive(Debug, Clone, Copy)]
struct Share {
    index: usize,
    count: usize,
    outputs: usize,
}

impl<B: Backend> Worker<B> {
    pub(crate) fn new(
        backend: B,
        vocabulary: Arc<Vocabulary>,
        limits: Arc<Limits>,
        queue: Arc<Queue>,
        healthy: Arc<AtomicBool>,
    ) -> Self {
        Self {
            backend,
            vocabulary,
            limits,
            queue,
            healthy,
            running: Vec::new(),
            opened: 0,
            turns: 0,
            prefill_rate: FIRST_PREFILL_RATE,
            logits: Vec::new(),
        }
    }

    /// Works until the queue closes or something panics.
    pub(crate) fn run(mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            while !self.queue.is_closed() && !self.queue.is_drained() {
                self.turn(true);
            }
        }));
        self.healthy.store(false, Ordering::Release);
        for running in std::mem::take(&mut self.running) {
            // Those whose prompt was being read have no answer that could be cut short.
            if outcome.is_err() || running.is_reading() {
                running.sequence.fail(Error::WorkerGone);
            } else {
                running.sequence.cancel();
            }
        }
        if outcome.is_err() {
            tracing::error!("the inference thread panicked; the local model is out of service");
        }
        for job in self.queue.close() {
            job.sink.send(Err(Error::WorkerGone));
        }
    }

    /// Starts what can start and computes one step. Returns whether there was anything to do.
    fn turn(&mut self, wait: bool) -> bool {
        self.admit(wait);
        self.drop_abandoned();
        if !self.running.is_empty() {
            self.step();
            self.queue.note_step(self.backend.cache_bytes());
            return true;
        }
        false
    }

    /// Starts requests as long as there are places and memory; may wait for one if none runs.
    fn admit(&mut self, wait: bool) {
        while self.running.len() < self.limits.max_concurrency {
            let Some(job) = self.queue.pop(wait && self.running.is_empty()) else { return };
            let tenant = job.request.tenant.clone();
            let capacity = job.request.input.len() + self.budget(&job.request);
            let scope = if self.limits.prefix_reuse { tenant.clone() } else { None };
            self.opened += 1;
            let id = SequenceId(self.opened);
            let opening = Opening { prompt: &job.request.input, capacity, scope };
            match self.backend.open(id, &opening) {
                Ok(Opened::Ready { reused }) => self.start(id, job, reused),
                // With nothing else open there is nothing to wait for.
                Ok(Opened::NoRoom) if self.running.is_empty() => {
                    let limit = self.limits.context_tokens;
                    job.sink
                        .send(Err(Error::ContextExceeded { prompt_tokens: job.request.input.len(), limit }));
                    self.queue.done(&tenant, None);
                }
                Ok(Opened::NoRoom) => return self.queue.put_back(job),
                Err(error) => {
                    job.sink.send(Err(error));
                    self.queue.done(&tenant, None);
                }
            }
        }
    }

    fn start(&mut self, id: SequenceId, job: Job, reused: usize) {
        let (tenant, tokens) = (job.request.tenant.clone(), job.request.input.clone());
        let (budget, guessing) = (self.budget(&job.request), job.request.guessing);
        self.queue.charge(&tenant, (tokens.len() - reused) as u64);
        let mut sequence = Sequence::new(job, budget, Arc::clone(&self.vocabulary));
        sequence.note_reused(reused);
        let prompt = tokens.len();
        self.running.push(Running {
            id,
            sequence,
            tenant,
            started: Instant::now(),
            computed: reused,
            tokens,
            prompt,
            capacity: prompt + budget,
            guessing,
            lookup: Lookup::default(),
            guesses: Vec::new(),
        });
    }

    /// How many tokens may be generated; at least one, since longer prompts were refused.
    fn budget(&self, request: &GenerateRequest) -> usize {
        let room = self.limits.context_tokens.saturating_sub(request.input.len());
        (request.max_tokens as usize).min(self.limits.max_output_tokens).min(room).max(1)
    }

    fn drop_abandoned(&mut self) {
        for index in (0..self.running.len()).rev() {
            if self.running[index].sequence.is_abandoned() {
                let running = self.running.swap_remove(index);
                self.close(&running, false, false);
            }
        }
    }

    fn close(&mut self, running: &Running, in_doubt: bool, complete: bool) {
        self.backend.close(running.id, in_doubt);
        self.queue.done(&running.tenant, complete.then(|| running.started.elapsed()));
    }

    /// One run of the network.
    fn step(&mut self) {
        let shares = self.plan();
        let chunks: Vec<Vec<u32>> = shares
            .iter()
            .map(|share| {
                let running = &self.running[share.index];
                let known = &running.tokens[running.computed..];
                known.iter().chain(&running.guesses).take(share.count).copied().collect()
            })
            .collect();
        let work: Vec<Chunk<'_>> = shares
            .iter()
            .zip(&chunks)
            .map(|(share, tokens)| Chunk {
                sequence: self.running[share.index].id,
                tokens,
                outputs: share.outputs,
            })
            .collect();
        let started = Instant::now();
        let mut logits = std::mem::take(&mut self.logits);
        let outcome = self.backend.step(&work, &mut logits);
        self.measure(&shares, started.elapsed());
        match outcome {
            Ok(()) => self.distribute(&shares, &mut logits),
            Err(error) => self.fail(&shares, &error),
        }
        self.logits = logits;
    }

    /// Who computes how many tokens in the next step.
    fn plan(&mut self) -> Vec<Share> {
        let (mut reading, growing): (Vec<usize>, Vec<usize>) =
            (0..self.running.len()).partition(|&index| self.running[index].is_reading());
        let guess = self.limits.guessing
            && self.backend.can_truncate()
            && reading.is_empty()
            && growing.len() <= GUESSING_MAX;
        let mut shares = Vec::new();
        for &index in &growing {
            let running = &mut self.running[index];
            running.guesses =
                if guess && running.guessing { running.lookup.guess(&running.tokens) } else { Vec::new() };
            // Nothing is computed beyond what the sequence reserved.
            running.guesses.truncate(running.capacity.saturating_sub(running.tokens.len()));
            let count = 1 + running.guesses.len();
            shares.push(Share { index, count, outputs: count });
        }
        let most = self.limits.prefill_chunk_tokens;
        let mut left = match growing.is_empty() {
            true => most,
            false => {
                ((self.prefill_rate * STALL.as_secs_f64()) as usize).clamp(PREFILL_MIN, most.max(PREFILL_MIN))
            }
        };
        let rest = |running: &Running| running.tokens.len() - running.computed;
        self.turns += 1;
        if self.turns.is_multiple_of(OLDEST_FIRST) {
            reading.sort_by_key(|&index| self.running[index].id);
        } else {
            reading.sort_by_key(|&index| rest(&self.running[index]));
        }
        let mut readers = reading.len();
        for index in reading {
            let rest = rest(&self.running[index]);
            let count = (left / readers).max(PREFILL_MIN).min(rest).min(left);
            readers -= 1;
            if count == 0 {
                break;
            }
            left -= count;
            self.running[index].guesses.clear();
            shares.push(Share { index, count, outputs: usize::from(count == rest) });
        }
        shares
    }

    /// Learns how fast prompts are read, from steps that mostly do that.
    fn measure(&mut self, shares: &[Share], took: Duration) {
        let tokens: usize = shares.iter().map(|share| share.count).sum();
        let read =
            shares.iter().filter(|share| self.running[share.index].is_reading()).map(|share| share.count);
        if 2 * read.sum::<usize>() > tokens && tokens >= PREFILL_MIN && took > Duration::ZERO {
            let rate = tokens as f64 / took.as_secs_f64();
            self.prefill_rate += SMOOTHING * (rate - self.prefill_rate);
        }
    }

    /// Hands logits to the answers.
    fn distribute(&mut self, shares: &[Share], logits: &mut [f32]) {
        let mut rows = logits.chunks_exact_mut(self.backend.vocabulary());
        let mut ended = Vec::new();
        for share in shares {
            let running = &mut self.running[share.index];
            let guesses = std::mem::take(&mut running.guesses);
            running.computed += share.count;
            let mut generated = 0;
            for output in 0..share.outputs {
                let Some(row) = rows.next() else { break };
                generated += 1;
                // A fault in what one request asked for must not end the others.
                let accepted = catch_unwind(AssertUnwindSafe(|| running.sequence.accept(row)));
                match accepted.unwrap_or_else(|_| {
                    tracing::error!("choosing a token panicked; the request is given up");
                    Step::Failed
                }) {
                    Step::Next(token) => {
                        running.tokens.push(token);
                        if guesses.get(output).is_some_and(|&guess| guess == token) {
                            continue;
                        }
                    }
                    Step::Ended => ended.push((share.index, false)),
                    Step::Failed => ended.push((share.index, true)),
                }
                // What was computed for wrong guesses is forgotten; their logits are skipped.
                let surplus = share.outputs - 1 - output;
                if surplus > 0 {
                    rows.nth(surplus - 1);
                }
                running.computed -= surplus;
                if surplus > 0 {
                    self.backend.truncate(running.id, running.computed);
                }
                break;
            }
            running.lookup.learn(guesses.len(), generated);
            self.queue.charge(&running.tenant, OUTPUT_WEIGHT * generated as u64);
        }
        ended.sort_unstable_by_key(|&(index, _)| std::cmp::Reverse(index));
        for (index, in_doubt) in ended {
            let running = self.running.swap_remove(index);
            self.close(&running, in_doubt, true);
        }
    }

    /// A step that failed may have left half a state behind in all that took part.
    fn fail(&mut self, shares: &[Share], error: &Error) {
        let mut indices: Vec<usize> = shares.iter().map(|share| share.index).collect();
        indices.sort_unstable_by_key(|&index| std::cmp::Reverse(index));
        for index in indices {
            let running = self.running.swap_remove(index);
            self.close(&running, true, false);
            let source = ort::Error::new(error.to_string());
            running.sequence.fail(Error::Onnx { action: "compute a step", source });
        }
    }
}
