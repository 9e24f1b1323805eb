//! When a local answer is judged, and what it is asked besides: the local half of cascades.
//!
//! Where a weak answer goes is the policy's word (`policies::review`), asked by the caller for everything that is handed back
//! whole or held. Only what must happen while the model still works happens here: giving up an answer whose beginning is
//! weak, so that the model is free at once, and asking the model again to see whether it agrees with itself.

use std::time::{Duration, Instant};

use local_runtime::{GenerateRequest, Runtime, TokenEvent};
use policies::{Mode, Plan, Target, Task};
use router_model::confidence::agreement;

use super::LocalStream;
use super::calls::Reader;
use super::choices::{Choices, Count};
use crate::error::Error;
use crate::execute::Call;
use crate::execute::answer::{Answer, Attempt, StreamSource};

/// Least temperature of further samples: without any they would all be the same (Wang et al. 2022 sample at 0.5 to 0.7).
const SAMPLE_TEMPERATURE: f32 = 0.7;
/// Longest wait for further samples. What is not there by then does not vote.
const SAMPLES_WAIT: Duration = Duration::from_secs(60);

/// How one local answer is judged.
pub(super) enum Judgement {
    /// Not at all: it is served as it comes.
    None,
    /// When it has ended; with further samples to compare it with, if any.
    Whole(Option<Box<Samples>>),
    /// When it has so many tokens, against this confidence.
    Prefix { hold_tokens: usize, escalate_below: f32 },
}

/// Further answers to be sampled.
pub(super) struct Samples {
    runtime: Runtime,
    request: GenerateRequest,
    count: u32,
    task: Task,
    /// When the request's time is up.
    until: Instant,
}

impl Judgement {
    /// What the plan's mode asks for. Nothing is judged where a weak answer could go nowhere else.
    pub(super) fn of(
        plan: &Plan,
        target: &Target,
        runtime: &Runtime,
        request: &GenerateRequest,
        call: &Call<'_>,
        reader: &Reader,
    ) -> Self {
        match plan.mode {
            _ if plan.escalation(target).is_none() => Self::None,
            Mode::Route | Mode::Shadow { .. } => Self::None,
            Mode::Prefix { escalate_below, hold_tokens } => {
                Self::Prefix { hold_tokens: hold_tokens as usize, escalate_below }
            }
            // Calls and several choices are not compared.
            Mode::Cascade { self_consistency: 0, .. } => Self::Whole(None),
            Mode::Cascade { .. } if call.request.choices > 1 || !reader.is_text() => Self::Whole(None),
            Mode::Cascade { self_consistency: count, .. } => {
                let mut request = request.clone();
                request.sampling.temperature = request.sampling.temperature.max(SAMPLE_TEMPERATURE);
                request.sampling.seed = Some(request.sampling.seed.unwrap_or_default().wrapping_add(1));
                request.top_logprobs = None;
                let (runtime, task) = (runtime.clone(), call.profile.task);
                Self::Whole(Some(Box::new(Samples { runtime, request, count, task, until: call.until })))
            }
        }
    }

    /// Is the beginning of the answer there, and too weak to go on? Says so once; an answer that has ended by then is not
    /// given up, since there is nothing left to save.
    pub(super) fn gives_up(&mut self, count: &Count) -> bool {
        let Self::Prefix { hold_tokens, escalate_below } = *self else { return false };
        if !count.has(hold_tokens) {
            return false;
        }
        *self = Self::None;
        !count.is_finished() && is_weak(count, escalate_below)
    }

    /// Asks for further samples and compares them with the answer. An answer that is worth nothing is not asked about.
    pub(super) async fn consult(&self, answer: &str, count: &mut Count) {
        let Self::Whole(Some(samples)) = self else { return };
        if count.confidence().is_none_or(|confidence| confidence == 0.0) {
            return;
        }
        let started = Instant::now();
        let taking = samples.take(answer, count);
        // Half of the time that is left, so that the answer, or an escalation, can still be served.
        let left = samples.until.saturating_duration_since(started);
        match tokio::time::timeout(SAMPLES_WAIT.min(left / 2), taking).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%error, "samples for self-consistency could not be taken"),
            Err(_) => tracing::info!("samples for self-consistency were not there in time"),
        }
        count.sampled_for(started.elapsed());
    }

    /// Judges a stream before a byte of it is sent.
    pub(super) async fn of_stream(self, mut stream: LocalStream) -> Result<Attempt, Error> {
        match &self {
            Self::None => {}
            Self::Whole(samples) => {
                stream.said = samples.is_some().then(String::new);
                stream.hold(usize::MAX).await?;
                let answer = stream.said.take().unwrap_or_default();
                self.consult(&answer, &mut stream.count).await;
                stream.judged = stream.count.confidence();
            }
            Self::Prefix { hold_tokens, escalate_below } => {
                stream.hold(*hold_tokens).await?;
                if !stream.count.is_finished() && is_weak(&stream.count, *escalate_below) {
                    return Ok(Attempt::GivenUp(stream.tally()));
                }
                stream.judged = stream.count.confidence();
            }
        }
        Ok(Attempt::Answer(Answer::Stream(StreamSource::Local(Box::new(stream)))))
    }
}

fn is_weak(count: &Count, escalate_below: f32) -> bool {
    count.confidence().is_some_and(|confidence| confidence < escalate_below)
}

impl Samples {
    async fn take(&self, answer: &str, count: &mut Count) -> Result<(), Error> {
        let mut choices =
            Choices::start(self.runtime.clone(), self.request.clone(), self.count).map_err(Error::Local)?;
        let mut texts = vec![(String::new(), 0_u64); self.count as usize];
        while let Some(event) = std::future::poll_fn(|context| choices.poll_event(context)).await {
            let (index, event) = event?;
            let (text, tokens) = &mut texts[index as usize];
            match event {
                TokenEvent::Token(token) => {
                    text.push_str(&token.text);
                    *tokens += 1;
                }
                TokenEvent::Done(finish) => {
                    text.push_str(&finish.text);
                    count.sample(agreement(answer, text, self.task), *tokens);
                }
            }
        }
        Ok(())
    }
}
