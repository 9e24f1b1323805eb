//! Answers from the embedded model.

mod choices;
mod shape;

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, StatusCode};
use local_runtime::{ChatPrompt, Error as LocalError, GenerateRequest, Runtime, TokenEvent};
use policies::{Plan, Target};
use serde_json::{Value, json};

use super::Call;
use super::answer::{Answer, Item, StreamSource, Whole};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::http::chat::ChatRequest;
use crate::settlement::Tally;
use choices::{Choices, Count};
use shape::{Choice, Shape, finish_word, logprobs, token_logprob};

/// Asks the embedded model.
pub(super) async fn answer(
    gateway: &Gateway,
    call: &Call<'_>,
    plan: &Plan,
    target: &Target,
    request_id: &Arc<str>,
) -> Result<Answer, Error> {
    let gone = || Error::Local(LocalError::WorkerGone);
    let local = gateway.portfolio.local.as_ref().ok_or_else(gone)?;
    let runtime = local.runtime().ok_or_else(gone)?;
    let request = plan.clear(call.request, target)?.open(target)?;
    let generate = prepare(&runtime, request, local.config().max_output_tokens).await?;
    let threads =
        local.config().threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let count = Count::new(generate.input.len() as u64, threads);
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
        let phase = Phase::Role(0);
        let stream = LocalStream { choices, shape, count, phase, choices_count: request.choices };
        return Ok(Answer::Stream(StreamSource::Local(Box::new(stream))));
    }
    whole(choices, shape, count, request).await
}

/// Renders the prompt and compiles the form: milliseconds of work that does not belong on a thread that moves other
/// requests' bytes.
async fn prepare(
    runtime: &Runtime,
    request: &ChatRequest,
    default_max: u32,
) -> Result<GenerateRequest, Error> {
    let vocabulary = runtime.info().vocabulary;
    if let Some((id, _)) = request.sampling.logit_bias.iter().find(|(id, _)| *id as usize >= vocabulary) {
        let message =
            format!("`logit_bias` names the token {id}, and {} has {vocabulary}", runtime.info().name);
        return Err(Error::invalid("logit_bias", message));
    }
    let (prompt, runtime) = (ChatPrompt::new(request.local_messages()), runtime.clone());
    let grammar = request.format.as_ref().map(|format| format.grammar.clone());
    let prepared = tokio::task::spawn_blocking(move || {
        let constraint = grammar.map(|grammar| runtime.constrain(&grammar)).transpose()?;
        Ok((runtime.render(&prompt)?, constraint))
    });
    let prepared = prepared.await.map_err(|_| Error::Local(LocalError::WorkerGone))?;
    let (input, constraint) = prepared.map_err(|error| fault(error, request))?;
    let mut generate = GenerateRequest::new(input, request.output_tokens_max.unwrap_or(default_max));
    generate.sampling = request.sampling.clone();
    generate.stop = request.stop.clone();
    generate.top_logprobs = request.logprobs;
    generate.constraint = constraint;
    Ok(generate)
}

/// Names the field that demands a form which cannot be followed.
fn fault(error: LocalError, request: &ChatRequest) -> Error {
    match (error, &request.format) {
        (LocalError::InvalidConstraint { reason }, Some(format)) => {
            Error::Format { param: format.param, reason }
        }
        (error, _) => Error::Local(error),
    }
}

async fn whole(
    mut choices: Choices,
    shape: Shape,
    mut count: Count,
    request: &ChatRequest,
) -> Result<Answer, Error> {
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
                answer.finish = finish_word(finish.reason);
                answer.text.push_str(&finish.text);
                count.done(index, &finish);
            }
        }
    }
    let body = shape.whole(&answers, &count.usage());
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Answer::Whole(Whole { status: StatusCode::OK, headers, body, tally: Some(count.tally()) }))
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
    choices_count: u32,
    shape: Shape,
    count: Count,
    phase: Phase,
}

impl LocalStream {
    pub(super) fn tally(&self) -> Tally {
        self.count.tally()
    }

    pub(super) fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Item, Error>>> {
        let item = match self.phase {
            Phase::Role(index) => {
                let next = index + 1;
                self.phase = if next < self.choices_count { Phase::Role(next) } else { Phase::Tokens };
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
            let (index, event) = match std::task::ready!(self.choices.poll_event(context)) {
                Some(Ok(event)) => event,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            match event {
                TokenEvent::Token(token) => {
                    self.count.token(index, &token);
                    if token.text.is_empty() && !self.shape.logprobs {
                        continue;
                    }
                    let logprobs = logprobs(&[token_logprob(&token)]);
                    let delta = json!({"content": token.text});
                    return Poll::Ready(Some(Ok(self.shape.chunk(index, &delta, None, logprobs))));
                }
                TokenEvent::Done(finish) => {
                    let word = finish_word(finish.reason);
                    let delta =
                        if finish.text.is_empty() { json!({}) } else { json!({"content": finish.text}) };
                    self.count.done(index, &finish);
                    return Poll::Ready(Some(Ok(self.shape.chunk(index, &delta, Some(word), Value::Null))));
                }
            }
        }
    }
}
