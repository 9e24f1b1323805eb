//! Several answers to one prompt, as one stream of events.
//!
//! Each choice is a generation of its own with the next seed. No more than a few are queued at a time, so that one
//! request cannot fill the model's queue; dropping this stops them all.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::Stream as _;
use local_runtime::{
    Finish, FinishReason, GenerateRequest, OutputFlag, Runtime, Token, TokenEvent, TokenStream,
};
use policies::{Profile, Usage, UsageSource};
use router_model::AnswerModel;
use router_model::confidence::Gathering;

use crate::error::Error;
use crate::settlement::{Tally, Wasted};

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

/// Judges answers for one request: the answer model and what is known of the prompt.
#[derive(Debug, Clone)]
pub(super) struct Assessor {
    pub(super) model: Arc<AnswerModel>,
    pub(super) profile: Arc<Profile>,
    /// The answer must be JSON.
    pub(super) demands_json: bool,
}

/// What was generated so far, all choices together.
#[derive(Debug)]
pub(super) struct Count {
    assessor: Assessor,
    input_tokens: u64,
    threads: usize,
    started: Instant,
    output_tokens: u64,
    /// One for each choice.
    gathered: Vec<Gathering>,
    /// From the beginning to the last end of a choice.
    busy: Duration,
    flags: Vec<OutputFlag>,
    /// Tokens of further samples, and the time that they took.
    samples: (u64, Duration),
}

impl Count {
    pub(super) fn new(assessor: Assessor, input_tokens: u64, threads: usize, choices: u32) -> Self {
        let gathering = Gathering::new(assessor.demands_json);
        Self {
            assessor,
            input_tokens,
            threads,
            started: Instant::now(),
            output_tokens: 0,
            gathered: vec![gathering; choices.max(1) as usize],
            busy: Duration::ZERO,
            flags: Vec::new(),
            samples: (0, Duration::ZERO),
        }
    }

    pub(super) fn token(&mut self, index: u32, token: &Token) {
        self.output_tokens += 1;
        self.gathered[index as usize].token(token.logprob, token.entropy, &token.text);
    }

    pub(super) fn done(&mut self, index: u32, finish: &Finish) {
        self.busy = self.started.elapsed();
        self.flags.extend(&finish.flags);
        self.flags.sort_unstable();
        self.flags.dedup();
        let gathering = &mut self.gathered[index as usize];
        gathering.text(&finish.text);
        gathering.finish(finish.reason == FinishReason::Length, &finish.flags);
    }

    /// Takes what a further sample of the first choice came to.
    pub(super) fn sample(&mut self, agreement: f32, tokens: u64) {
        self.gathered[0].sample(agreement);
        self.samples.0 += tokens;
    }

    /// Notes how long further samples took.
    pub(super) fn sampled_for(&mut self, time: Duration) {
        self.samples.1 += time;
    }

    /// Does every choice have so many tokens, or its end?
    pub(super) fn has(&self, tokens: usize) -> bool {
        self.gathered.iter().all(|choice| choice.is_finished() || choice.tokens() >= tokens)
    }

    /// Has every choice ended?
    pub(super) fn is_finished(&self) -> bool {
        self.gathered.iter().all(Gathering::is_finished)
    }

    /// The least confidence of the choices that have said something; `None` while none has.
    pub(super) fn confidence(&self) -> Option<f32> {
        let begun = self.gathered.iter().filter(|choice| choice.is_finished() || choice.tokens() > 0);
        let assess =
            |choice: &Gathering| self.assessor.model.assess(&choice.evidence(), &self.assessor.profile);
        begun.map(assess).reduce(f32::min)
    }

    /// Signs of a bad answer; the next call tells none of them again.
    pub(super) fn take_flags(&mut self) -> Vec<OutputFlag> {
        std::mem::take(&mut self.flags)
    }

    pub(super) fn usage(&self) -> Usage {
        Usage { input_tokens: self.input_tokens, output_tokens: self.output_tokens, ..Usage::default() }
    }

    pub(super) fn tally(&self) -> Tally {
        let busy = if self.is_finished() { self.busy } else { self.started.elapsed() };
        #[expect(clippy::cast_precision_loss, reason = "a handful of threads")]
        let core_seconds = |time: Duration| time.as_secs_f64() * self.threads as f64;
        Tally {
            confidence: self.confidence(),
            flags: self.flags.clone(),
            busy_core_seconds: core_seconds(busy),
            wasted: Wasted { output_tokens: self.samples.0, core_seconds: core_seconds(self.samples.1) },
            ..Tally::new(self.usage(), UsageSource::Counted)
        }
    }
}
