//! Answers from the embedded model, in OpenAI's shapes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::{Stream as _, StreamExt as _};
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, StatusCode};
use local_runtime::{Finish, FinishReason, GenerateRequest, Token, TokenEvent, TokenStream};
use policies::{Plan, Target, Usage, UsageSource};
use serde_json::{Value, json};

use super::Call;
use super::answer::{Answer, Item, StreamSource, Whole};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::http::chat::ChatRequest;
use crate::settlement::Tally;

/// Asks the embedded model.
pub(super) async fn answer(
    gateway: &Gateway,
    call: &Call<'_>,
    plan: &Plan,
    target: &Target,
    request_id: &Arc<str>,
) -> Result<Answer, Error> {
    let gone = || Error::Local(local_runtime::Error::WorkerGone);
    let local = gateway.portfolio.local.as_ref().ok_or_else(gone)?;
    let runtime = local.runtime().ok_or_else(gone)?;
    let request = plan.clear(call.request, target)?.open(target)?;
    let messages = request.local_messages();
    let tokenizer = runtime.clone();
    // Tokenizing a long conversation takes milliseconds: not on a thread that moves other requests' bytes.
    let input = tokio::task::spawn_blocking(move || tokenizer.render(&messages))
        .await
        .map_err(|_| gone())?
        .map_err(Error::Local)?;
    let input_tokens = input.len();
    let generate = generate_request(request, input, local.config().max_output_tokens);
    let tokens = runtime.generate(generate).map_err(Error::Local)?;
    gateway.metrics.local_queue.set(i64::try_from(runtime.queue_depth()).unwrap_or(i64::MAX));
    let threads =
        local.config().threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let shape = Shape {
        id: format!("chatcmpl-{request_id}"),
        created: call.created,
        model: target.id.clone(),
        logprobs: request.logprobs.is_some(),
        include_usage: request.include_usage,
    };
    let count = Count {
        input_tokens: input_tokens as u64,
        output_tokens: 0,
        started: Instant::now(),
        threads,
        finish: None,
        logprob_sum: 0.0,
    };
    if request.stream {
        return Ok(Answer::Stream(StreamSource::Local(Box::new(LocalStream {
            tokens,
            shape,
            count,
            phase: Phase::Role,
        }))));
    }
    whole(tokens, shape, count).await
}

fn generate_request(request: &ChatRequest, input: Vec<u32>, default_max: u32) -> GenerateRequest {
    let mut generate = GenerateRequest::new(input, request.output_tokens_max.unwrap_or(default_max));
    generate.sampling = request.sampling.clone();
    generate.stop = request.stop.clone();
    generate.top_logprobs = request.logprobs;
    generate
}

/// What every chunk of one answer has in common.
#[derive(Debug)]
struct Shape {
    id: String,
    created: i64,
    model: Arc<str>,
    logprobs: bool,
    include_usage: bool,
}

/// What was generated so far.
#[derive(Debug)]
struct Count {
    input_tokens: u64,
    output_tokens: u64,
    started: Instant,
    threads: usize,
    finish: Option<Finish>,
    logprob_sum: f64,
}

impl Count {
    fn token(&mut self, token: &Token) {
        self.output_tokens += 1;
        self.logprob_sum += f64::from(token.logprob);
    }

    fn done(&mut self, finish: Finish) {
        self.output_tokens = u64::from(finish.output_tokens);
        self.finish = Some(finish);
    }

    fn usage(&self) -> Usage {
        Usage { input_tokens: self.input_tokens, output_tokens: self.output_tokens, ..Usage::default() }
    }

    /// The geometric mean of the tokens' probabilities: exp of the mean log-probability, in `[0, 1]`.
    ///
    /// Length-normalised sequence likelihood, the usual first confidence signal of a cascade (Gupta et al.
    /// 2024, "Language Model Cascades: Token-level uncertainty and beyond", arXiv 2404.10136). Not calibrated.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a share of one")]
    fn confidence(&self) -> Option<f32> {
        let mean = match &self.finish {
            Some(finish) => f64::from(finish.mean_logprob),
            None => self.logprob_sum / self.output_tokens as f64,
        };
        (self.output_tokens > 0).then(|| mean.exp() as f32)
    }

    fn tally(&self) -> Tally {
        let busy = self.finish.as_ref().map_or_else(|| self.started.elapsed(), |finish| finish.total);
        #[expect(clippy::cast_precision_loss, reason = "a handful of threads")]
        let busy_core_seconds = busy.as_secs_f64() * self.threads as f64;
        Tally {
            usage: self.usage(),
            source: UsageSource::Counted,
            confidence: self.confidence(),
            busy_core_seconds,
        }
    }
}

impl Shape {
    fn head(&self, object: &str) -> Value {
        json!({"id": self.id, "object": object, "created": self.created, "model": &*self.model})
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>, logprobs: Value) -> Bytes {
        let mut chunk = self.head("chat.completion.chunk");
        let mut choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        if self.logprobs {
            choice["logprobs"] = logprobs;
        }
        chunk["choices"] = json!([choice]);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        Bytes::from(format!("data: {chunk}\n\n"))
    }
}

fn usage_object(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    })
}

fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        // Cancelled ends in an error before this word is asked for.
        FinishReason::Stop | FinishReason::Cancelled => "stop",
    }
}

fn token_logprob(token: &Token) -> Value {
    let alternatives: Vec<Value> = token
        .top
        .iter()
        .map(|top| json!({"token": top.text, "logprob": top.logprob, "bytes": top.bytes}))
        .collect();
    json!({
        "token": String::from_utf8_lossy(&token.bytes), "logprob": token.logprob, "bytes": token.bytes, "top_logprobs": alternatives,
    })
}

async fn whole(mut tokens: TokenStream, shape: Shape, mut count: Count) -> Result<Answer, Error> {
    let mut text = String::new();
    let mut logprobs = Vec::new();
    let mut reason = FinishReason::Stop;
    while let Some(event) = tokens.next().await {
        match event.map_err(Error::Local)? {
            TokenEvent::Token(token) => {
                count.token(&token);
                if shape.logprobs {
                    logprobs.push(token_logprob(&token));
                }
                text.push_str(&token.text);
            }
            TokenEvent::Done(finish) if finish.reason == FinishReason::Cancelled => {
                return Err(Error::Draining);
            }
            TokenEvent::Done(finish) => {
                reason = finish.reason;
                text.push_str(&finish.text);
                count.done(finish);
            }
        }
    }
    let mut body = shape.head("chat.completion");
    let logprobs = if shape.logprobs { json!({"content": logprobs, "refusal": null}) } else { Value::Null };
    body["choices"] = json!([{
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": null},
        "logprobs": logprobs,
        "finish_reason": finish_word(reason),
    }]);
    body["usage"] = usage_object(&count.usage());
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = Bytes::from(body.to_string());
    Ok(Answer::Whole(Whole { status: StatusCode::OK, headers, body, tally: Some(count.tally()) }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Role,
    Tokens,
    Usage,
    Done,
    Ended,
}

/// A stream from the embedded model. Dropping it stops the generation.
#[derive(Debug)]
pub struct LocalStream {
    tokens: TokenStream,
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
            Phase::Role => {
                self.phase = Phase::Tokens;
                let delta = json!({"role": "assistant", "content": ""});
                Item::Event(self.shape.chunk(&delta, None, Value::Null))
            }
            Phase::Tokens => match std::task::ready!(self.poll_token(context)) {
                Ok(item) => item,
                Err(error) => {
                    self.phase = Phase::Ended;
                    return Poll::Ready(Some(Err(error)));
                }
            },
            Phase::Usage => {
                self.phase = Phase::Done;
                let mut chunk = self.shape.head("chat.completion.chunk");
                chunk["choices"] = json!([]);
                chunk["usage"] = usage_object(&self.count.usage());
                Item::Event(Bytes::from(format!("data: {chunk}\n\n")))
            }
            Phase::Done => {
                self.phase = Phase::Ended;
                Item::Done(Bytes::from_static(b"data: [DONE]\n\n"))
            }
            Phase::Ended => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(item)))
    }

    fn poll_token(&mut self, context: &mut Context<'_>) -> Poll<Result<Item, Error>> {
        loop {
            match std::task::ready!(Pin::new(&mut self.tokens).poll_next(context)) {
                Some(Ok(TokenEvent::Token(token))) => {
                    self.count.token(&token);
                    if token.text.is_empty() && !self.shape.logprobs {
                        continue;
                    }
                    let logprobs = json!({"content": [token_logprob(&token)], "refusal": null});
                    let chunk = self.shape.chunk(&json!({"content": token.text}), None, logprobs);
                    return Poll::Ready(Ok(Item::Event(chunk)));
                }
                Some(Ok(TokenEvent::Done(finish))) if finish.reason == FinishReason::Cancelled => {
                    return Poll::Ready(Err(Error::Draining));
                }
                Some(Ok(TokenEvent::Done(finish))) => {
                    let word = finish_word(finish.reason);
                    let delta =
                        if finish.text.is_empty() { json!({}) } else { json!({"content": finish.text}) };
                    self.count.done(finish);
                    self.phase = if self.shape.include_usage { Phase::Usage } else { Phase::Done };
                    return Poll::Ready(Ok(Item::Event(self.shape.chunk(&delta, Some(word), Value::Null))));
                }
                Some(Err(error)) => return Poll::Ready(Err(Error::Local(error))),
                None => return Poll::Ready(Err(Error::Local(local_runtime::Error::WorkerGone))),
            }
        }
    }
}
