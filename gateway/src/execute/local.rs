//! Answers from the embedded model.

mod calls;
mod choices;
mod judge;
mod shape;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, StatusCode};
use local_runtime::{Error as LocalError, Finish, GenerateRequest, OutputFlag, Runtime, Token, TokenEvent};
use policies::{Plan, Target};
use serde_json::{Value, json};

use super::Call;
use super::answer::{Answer, Attempt, Item, Whole};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::http::chat::ChatRequest;
use crate::settlement::Tally;
use calls::Reader;
use choices::{Assessor, Choices, Count};
use judge::Judgement;
use shape::{Choice, Shape, logprobs, token_logprob};

/// Asks the embedded model.
pub(crate) async fn answer(
    gateway: &Gateway,
    call: &Call<'_>,
    plan: &Plan,
    target: &Target,
    request_id: &Arc<str>,
) -> Result<Attempt, Error> {
    let gone = || Error::Local(LocalError::WorkerGone);
    let local = gateway.portfolio.local_of(target).ok_or_else(gone)?;
    let runtime = local.awake().await.ok_or_else(gone)?;
    // The model may have been exchanged since the decision, for one that may see less.
    if local.config().clearance != target.clearance {
        return Err(gone());
    }
    // A request that would wait for longer than it may take goes elsewhere now, or is told when to come back.
    let load = runtime.load_now();
    if load.estimated_wait > gateway.config.server.request_timeout {
        let retry_after = load.estimated_wait;
        return Err(Error::Local(LocalError::Busy { queued: load.waiting, retry_after }));
    }
    let request = call.request.clear(plan, |request| request, target)?.open(target)?;
    let (mut generate, reader) = prepare(&runtime, request, local.config().max_output_tokens).await?;
    // Teams share nothing: not what was computed for another's prompts, and not each other's turns.
    generate.tenant = Some(call.team.into());
    let priority = gateway.config.team(call.team).map_or(0, |team| team.local_priority);
    generate.priority = if call.is_shadow { i8::MIN } else { priority };
    let assessor = Assessor {
        model: call.answers.clone(),
        profile: call.profile.clone(),
        demands_json: request.format.is_some() && reader.is_text(),
    };
    let count = Count::new(assessor, generate.input.len() as u64, runtime.threads(), request.choices);
    let judgement = Judgement::of(plan, target, &runtime, &generate, call, &reader);
    let choices =
        Choices::start(runtime.clone(), generate, request.choices).map_err(|error| fault(error, request))?;
    gateway.metrics.local_queue.set(i64::try_from(runtime.load_now().waiting).unwrap_or(i64::MAX));
    let shape = Shape {
        id: format!("chatcmpl-{request_id}"),
        created: call.created,
        model: target.id.clone(),
        logprobs: request.logprobs.is_some(),
        include_usage: request.include_usage,
    };
    if request.stream {
        let readers = vec![reader; request.choices.max(1) as usize];
        let (phase, ready) = (Phase::Role(0), VecDeque::new());
        let (held, judged) = (VecDeque::new(), None);
        let stream = LocalStream { choices, readers, ready, held, shape, count, phase, judged, said: None };
        return judgement.of_stream(stream).await;
    }
    whole(choices, reader, shape, count, request, judgement).await
}

/// Renders the prompt and compiles the form: milliseconds of work that does not belong on a thread that moves other
/// requests' bytes.
async fn prepare(
    runtime: &Runtime,
    request: &ChatRequest,
    default_max: u32,
) -> Result<(GenerateRequest, Reader), Error> {
    let vocabulary = runtime.info().vocabulary;
    if let Some((id, _)) = request.sampling.logit_bias.iter().find(|(id, _)| *id as usize >= vocabulary) {
        let message =
            format!("`logit_bias` names the token {id}, and {} has {vocabulary}", runtime.info().name);
        return Err(Error::invalid("logit_bias", message));
    }
    let (runtime, asked) = (runtime.clone(), request.clone());
    let prepared = tokio::task::spawn_blocking(move || calls::prepare(&runtime, &asked));
    let prepared = prepared.await.map_err(|_| Error::Local(LocalError::WorkerGone))?;
    let calls::Prepared { input, constraint, reader } = prepared.map_err(|error| fault(error, request))?;
    let mut generate = GenerateRequest::new(input, request.output_tokens_max.unwrap_or(default_max));
    generate.sampling = request.sampling.clone();
    generate.stop = request.stop.clone();
    generate.top_logprobs = request.logprobs;
    generate.constraint = constraint;
    Ok((generate, reader))
}

/// Names the field that demands a form which cannot be followed.
fn fault(error: LocalError, request: &ChatRequest) -> Error {
    let param = if calls::is_forced(request) {
        Some("tools")
    } else {
        request.format.as_ref().map(|form| form.param)
    };
    match (error, param) {
        (LocalError::InvalidConstraint { reason }, Some(param)) => Error::Format { param, reason },
        (error, _) => Error::Local(error),
    }
}

async fn whole(
    mut choices: Choices,
    reader: Reader,
    shape: Shape,
    mut count: Count,
    request: &ChatRequest,
    mut judgement: Judgement,
) -> Result<Attempt, Error> {
    let mut answers: Vec<Choice> = (0..request.choices.max(1)).map(|_| Choice::default()).collect();
    while let Some(event) = std::future::poll_fn(|context| choices.poll_event(context)).await {
        let (index, event) = event.map_err(|error| match error {
            Error::Local(error) => fault(error, request),
            other => other,
        })?;
        let answer = &mut answers[index as usize];
        match event {
            TokenEvent::Token(token) => {
                count.token(index, &token);
                if shape.logprobs {
                    answer.logprobs.push(token_logprob(&token));
                }
                answer.text.push_str(&token.text);
            }
            TokenEvent::Done(finish) => {
                let text = std::mem::take(&mut answer.text) + &finish.text;
                (answer.text, answer.calls, answer.finish) = reader.clone().whole(&text, finish.reason);
                count.done(index, &finish);
            }
        }
        if judgement.gives_up(&count) {
            return Ok(Attempt::GivenUp(count.tally()));
        }
    }
    judgement.consult(&answers[0].text, &mut count).await;
    let body = shape.whole(&answers, &count.usage());
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let tally = Some(count.tally());
    Ok(Answer::Whole(Whole { status: StatusCode::OK, headers, body, tally }).into())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The choice of this index is to be opened.
    Role(u32),
    Tokens,
    Done,
    Ended,
}

/// A stream from the embedded model. Dropping it stops the generation.
#[derive(Debug)]
pub struct LocalStream {
    choices: Choices,
    /// One for each choice.
    readers: Vec<Reader>,
    /// Made with the last token and not sent yet.
    ready: VecDeque<Bytes>,
    /// Held back until the answer, or its beginning, was judged.
    held: VecDeque<Item>,
    shape: Shape,
    count: Count,
    phase: Phase,
    /// What the judgement found, once there was one.
    judged: Option<f32>,
    /// The first choice's text, where it is to be compared with others.
    said: Option<String>,
}

impl LocalStream {
    pub(super) fn tally(&self) -> Tally {
        self.count.tally()
    }

    /// Confidence of the answer, or of its beginning, where it was judged before anybody saw it.
    pub(super) fn judged(&self) -> Option<f32> {
        self.judged
    }

    /// Signs of a bad answer, told once.
    pub(super) fn take_flags(&mut self) -> Vec<OutputFlag> {
        self.count.take_flags()
    }

    /// Holds everything back until every choice has so many tokens or its end.
    ///
    /// # Errors
    /// What the model failed with; nothing was sent then.
    async fn hold(&mut self, tokens: usize) -> Result<(), Error> {
        while !(self.count.has(tokens) || self.phase == Phase::Ended) {
            match std::future::poll_fn(|context| self.poll_fresh(context)).await {
                Some(item) => self.held.push_back(item?),
                None => break,
            }
        }
        Ok(())
    }

    pub(super) fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Item, Error>>> {
        match self.held.pop_front() {
            Some(item) => Poll::Ready(Some(Ok(item))),
            None => self.poll_fresh(context),
        }
    }

    fn poll_fresh(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Item, Error>>> {
        let item = match self.phase {
            Phase::Role(index) => {
                let next = index + 1;
                self.phase =
                    if (next as usize) < self.readers.len() { Phase::Role(next) } else { Phase::Tokens };
                let delta = json!({"role": "assistant", "content": ""});
                Item::Event(self.shape.chunk(index, &delta, None, Value::Null))
            }
            Phase::Tokens => match std::task::ready!(self.poll_token(context)) {
                Some(Ok(bytes)) => Item::Event(bytes),
                Some(Err(error)) => {
                    self.phase = Phase::Ended;
                    return Poll::Ready(Some(Err(error)));
                }
                None if self.shape.include_usage => {
                    self.phase = Phase::Done;
                    Item::Event(self.shape.usage_chunk(&self.count.usage()))
                }
                None => self.done(),
            },
            Phase::Done => self.done(),
            Phase::Ended => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(item)))
    }

    fn done(&mut self) -> Item {
        self.phase = Phase::Ended;
        Item::Done(Bytes::from_static(b"data: [DONE]\n\n"))
    }

    /// The next chunk that says something.
    fn poll_token(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            let (index, event) = match std::task::ready!(self.choices.poll_event(context)) {
                Some(Ok(event)) => event,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            match event {
                TokenEvent::Token(token) => {
                    self.count.token(index, &token);
                    self.say(index, &token.text);
                    self.put(index, &token);
                }
                TokenEvent::Done(finish) => {
                    self.count.done(index, &finish);
                    self.say(index, &finish.text);
                    self.put_last(index, &finish);
                }
            }
        }
    }

    fn say(&mut self, index: u32, text: &str) {
        if let Some(said) = self.said.as_mut().filter(|_| index == 0) {
            said.push_str(text);
        }
    }

    /// Makes the chunks of a token. The first carries its log-probabilities.
    fn put(&mut self, index: u32, token: &Token) {
        let mut deltas = self.readers[index as usize].push(&token.text);
        if deltas.is_empty() && self.shape.logprobs {
            deltas.push(json!({"content": ""}));
        }
        let mut logprobs = Some(logprobs(&[token_logprob(token)]));
        for delta in deltas {
            let chunk = self.shape.chunk(index, &delta, None, logprobs.take().unwrap_or_default());
            self.ready.push_back(chunk);
        }
    }

    /// Makes the chunks of a choice's end: what was held back, and why it ended.
    fn put_last(&mut self, index: u32, finish: &Finish) {
        let reader = &mut self.readers[index as usize];
        let mut deltas = reader.finish(&finish.text);
        let word = reader.finish_word(finish.reason);
        let last = deltas.pop().unwrap_or_else(|| json!({}));
        for delta in deltas {
            self.ready.push_back(self.shape.chunk(index, &delta, None, Value::Null));
        }
        self.ready.push_back(self.shape.chunk(index, &last, Some(word), Value::Null));
    }
}
