//! Several answers to one prompt, as one stream of events.
//!
//! Each choice is a generation of its own with the next seed. No more than a few are queued at a time, so that one
//! request cannot fill the model's queue; dropping this stops them all.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::Stream as _;
use local_runtime::{
    Finish, FinishReason, GenerateRequest, OutputFlag, Runtime, Token, TokenEvent, TokenStream,
};
use policies::{Usage, UsageSource};

use crate::error::Error;
use crate::settlement::Tally;

/// Choices that are queued or generated at the same time.
const CONCURRENT: usize = 4;

/// The generations of one request.
#[derive(Debug)]
pub(super) struct Choices {
    runtime: Runtime,
    request: GenerateRequest,
    count: u32,
    started: u32,
    active: Vec<(u32, TokenStream)>,
}

impl Choices {
    /// Queues the first choices.
    pub(super) fn start(
        runtime: Runtime,
        request: GenerateRequest,
        count: u32,
    ) -> Result<Self, local_runtime::Error> {
        let mut choices = Self { runtime, request, count: count.max(1), started: 0, active: Vec::new() };
        choices.fill()?;
        Ok(choices)
    }

    fn fill(&mut self) -> Result<(), local_runtime::Error> {
        while self.active.len() < CONCURRENT && self.started < self.count {
            let mut request = self.request.clone();
            request.sampling.seed = request.sampling.seed.map(|seed| seed.wrapping_add(self.started.into()));
            self.active.push((self.started, self.runtime.generate(request)?));
            self.started += 1;
        }
        Ok(())
    }

    /// The next event of any choice, with the choice's index; `None` once all have ended.
    pub(super) fn poll_event(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<(u32, TokenEvent), Error>>> {
        for at in 0..self.active.len() {
            let (index, stream) = &mut self.active[at];
            let Poll::Ready(event) = Pin::new(stream).poll_next(context) else { continue };
            let index = *index;
            let event = event.unwrap_or(Err(local_runtime::Error::WorkerGone)).map_err(Error::Local);
            if let Ok(TokenEvent::Done(finish)) = &event {
                if finish.reason == FinishReason::Cancelled {
                    return Poll::Ready(Some(Err(Error::Draining)));
                }
                self.active.remove(at);
                if let Err(error) = self.fill() {
                    return Poll::Ready(Some(Err(Error::Local(error))));
                }
            } else {
                // The others get their turn first the next time.
                self.active[at..].rotate_left(1);
            }
            return Poll::Ready(Some(event.map(|event| (index, event))));
        }
        if self.active.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }
}

/// What was generated so far, all choices together.
#[derive(Debug)]
pub(super) struct Count {
    input_tokens: u64,
    threads: usize,
    started: Instant,
    output_tokens: u64,
    /// Of the choices that run: their tokens and the sum of these tokens' log-probabilities.
    running: BTreeMap<u32, (u64, f64)>,
    /// The least confidence of the choices that ended.
    least: Option<f32>,
    /// From the beginning to the last end of a choice.
    busy: Duration,
    flags: Vec<OutputFlag>,
}

impl Count {
    pub(super) fn new(input_tokens: u64, threads: usize) -> Self {
        Self {
            input_tokens,
            threads,
            started: Instant::now(),
            output_tokens: 0,
            running: BTreeMap::new(),
            least: None,
            busy: Duration::ZERO,
            flags: Vec::new(),
        }
    }

    pub(super) fn token(&mut self, index: u32, token: &Token) {
        self.output_tokens += 1;
        let (tokens, logprobs) = self.running.entry(index).or_default();
        *tokens += 1;
        *logprobs += f64::from(token.logprob);
    }

    pub(super) fn done(&mut self, index: u32, finish: &Finish) {
        self.running.remove(&index);
        self.busy = self.started.elapsed();
        self.flags.extend(&finish.flags);
        self.flags.sort_unstable();
        self.flags.dedup();
        self.least_of(confidence(finish));
    }

    fn least_of(&mut self, confidence: f32) {
        self.least = Some(self.least.map_or(confidence, |least| least.min(confidence)));
    }

    pub(super) fn usage(&self) -> Usage {
        Usage { input_tokens: self.input_tokens, output_tokens: self.output_tokens, ..Usage::default() }
    }

    pub(super) fn tally(&self) -> Tally {
        let busy =
            if self.running.is_empty() && self.least.is_some() { self.busy } else { self.started.elapsed() };
        #[expect(clippy::cast_precision_loss, reason = "a handful of threads")]
        let busy_core_seconds = busy.as_secs_f64() * self.threads as f64;
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a share of one")]
        let unfinished =
            self.running.values().map(|(tokens, logprobs)| (logprobs / *tokens as f64).exp() as f32);
        Tally {
            usage: self.usage(),
            source: UsageSource::Counted,
            confidence: unfinished.chain(self.least).reduce(f32::min),
            flags: self.flags.clone(),
            busy_core_seconds,
        }
    }
}

/// The geometric mean of the tokens' probabilities: exp of the mean log-probability, in `[0, 1]`; 0 for an answer that is
/// empty, goes in circles, or refuses, however sure the model was of it.
///
/// Length-normalised sequence likelihood, the usual first confidence signal of a cascade (Gupta et al.
/// 2024, "Language Model Cascades: Token-level uncertainty and beyond", arXiv 2404.10136). Not calibrated.
fn confidence(finish: &Finish) -> f32 {
    let worthless = [OutputFlag::Empty, OutputFlag::Loop, OutputFlag::Refusal];
    if worthless.iter().any(|flag| finish.flags.contains(flag)) { 0.0 } else { finish.mean_logprob.exp() }
}
