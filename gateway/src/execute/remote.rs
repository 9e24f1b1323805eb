//! Answers from upstreams: passed on as they are, read only for what accounting needs.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use hyper::{HeaderMap, Response};
use policies::{Plan, Target, Usage, UsageSource};
use tokio::time::Sleep;

use super::Call;
use super::answer::{Answer, Item, StreamSource, Whole};
use crate::ask::Ask;
use crate::error::{Error, UpstreamFault};
use crate::gateway::Gateway;
use crate::settlement::Tally;
use crate::upstream::Outgoing;
use crate::upstream::openai::{WireAnswer, WireChunk, estimate_tokens};
use crate::upstream::sse::{self, Splitter};

/// A whole answer larger than this is given up.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Upstream headers that the client may see, besides those that start with a prefix of [`PREFIXES_KEPT`].
const HEADERS_KEPT: &[HeaderName] = &[CONTENT_TYPE, RETRY_AFTER];
const PREFIXES_KEPT: &[&str] = &["openai-", "x-ratelimit-", "retry-after-", "x-should-retry"];

/// Calls the upstream of a target.
pub(super) async fn answer<R: Ask>(
    gateway: &Gateway,
    call: &Call<'_, R>,
    plan: &Plan,
    target: &Target,
    is_last: bool,
) -> Result<Answer, Error> {
    let name = target.upstream.clone();
    let fail = |fault| Error::Upstream { upstream: name.clone(), fault };
    let upstream = gateway
        .portfolio
        .upstream(&target.upstream)
        .ok_or_else(|| fail(UpstreamFault::Unreachable(String::from("not configured"))))?;
    let outgoing = |request: &R| Outgoing {
        body: request.outgoing(&target.model),
        headers: call.headers.clone(),
        traceparent: call.traceparent.clone(),
    };
    let cleared = call.request.clear(plan, outgoing, target)?;
    let response = upstream.send(cleared, target, R::ENDPOINT).await?;
    let status = response.status();
    match status.as_u16() {
        401 | 403 => return Err(fail(UpstreamFault::Credentials(status.as_u16()))),
        408 | 429 | 500..=599 if !is_last => return Err(fail(UpstreamFault::Status(status.as_u16()))),
        _ => {}
    }
    let idle = upstream.config.idle_timeout;
    if status.is_success() && is_event_stream(&response) {
        return Ok(Answer::Stream(StreamSource::Remote(Box::new(RemoteStream::new(
            response, call, target, idle,
        )))));
    }
    let headers = kept(response.headers());
    let body = collect(response.into_body(), upstream.config.response_timeout).await.map_err(fail)?;
    let tally = status.is_success().then(|| whole_tally(&body, call));
    Ok(Answer::Whole(Whole { status, headers, body, tally }))
}

fn is_event_stream(response: &Response<Incoming>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let keep = |name: &HeaderName| {
        HEADERS_KEPT.contains(name) || PREFIXES_KEPT.iter().any(|prefix| name.as_str().starts_with(prefix))
    };
    headers.iter().filter(|(name, _)| keep(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

async fn collect(mut body: Incoming, patience: Duration) -> Result<Bytes, UpstreamFault> {
    let mut whole = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(patience, body.frame()).await {
            Err(_) => return Err(UpstreamFault::Timeout),
            Ok(None) => return Ok(whole.freeze()),
            Ok(Some(Err(_))) => return Err(UpstreamFault::BrokenOff),
            Ok(Some(Ok(frame))) => frame,
        };
        if let Ok(data) = frame.into_data() {
            if whole.is_empty() && body.is_end_stream() {
                return Ok(data);
            }
            if whole.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(UpstreamFault::TooLarge(ANSWER_BYTES_MAX));
            }
            whole.extend_from_slice(&data);
        }
    }
}

fn whole_tally<R: Ask>(body: &[u8], call: &Call<'_, R>) -> Tally {
    let wire: WireAnswer = serde_json::from_slice(body).unwrap_or_default();
    let (usage, source) = match wire.usage.and_then(|usage| usage.read()) {
        Some(usage) => (usage, UsageSource::Provider),
        None => {
            let usage = Usage {
                input_tokens: u64::from(call.input_tokens),
                output_tokens: match call.request.output_tokens_max() {
                    Some(0) => 0,
                    _ => estimate_tokens(body.len() / 2),
                },
                ..Usage::default()
            };
            (usage, UsageSource::Estimated)
        }
    };
    Tally::new(usage, source)
}

/// A stream from an upstream.
#[derive(Debug)]
pub struct RemoteStream {
    body: Incoming,
    /// Headers that the client may see.
    pub headers: HeaderMap,
    upstream: std::sync::Arc<str>,
    splitter: Splitter,
    strip_usage: bool,
    usage: Option<Usage>,
    written_chars: usize,
    input_tokens: u32,
    body_ended: bool,
    done: bool,
    /// The upstream told of an error in mid-stream.
    told_error: bool,
    idle: Duration,
    idle_timer: Pin<Box<Sleep>>,
    heard_at: Instant,
}

impl RemoteStream {
    fn new<R: Ask>(
        response: Response<Incoming>,
        call: &Call<'_, R>,
        target: &Target,
        idle: Duration,
    ) -> Self {
        Self {
            headers: kept(response.headers()),
            body: response.into_body(),
            upstream: target.upstream.clone(),
            splitter: Splitter::default(),
            strip_usage: !call.request.shows_usage(),
            usage: None,
            written_chars: 0,
            input_tokens: call.input_tokens,
            body_ended: false,
            done: false,
            told_error: false,
            idle,
            idle_timer: Box::pin(tokio::time::sleep(idle)),
            heard_at: Instant::now(),
        }
    }

    fn fail(&self, fault: UpstreamFault) -> Error {
        Error::Upstream { upstream: self.upstream.clone(), fault }
    }

    /// Did the upstream tell of an error in mid-stream?
    pub(super) const fn told_error(&self) -> bool {
        self.told_error
    }

    /// What was used so far: the provider's own figures, or an estimate from what passed through.
    pub(super) fn tally(&self) -> Tally {
        let estimate = Usage {
            input_tokens: u64::from(self.input_tokens),
            output_tokens: estimate_tokens(self.written_chars),
            ..Usage::default()
        };
        let source = if self.usage.is_some() { UsageSource::Provider } else { UsageSource::Estimated };
        Tally::new(self.usage.unwrap_or(estimate), source)
    }

    pub(super) fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Item, Error>>> {
        loop {
            while let Some(event) = self.splitter.next_event() {
                if let Some(item) = self.read(event) {
                    return Poll::Ready(Some(Ok(item)));
                }
            }
            if self.body_ended {
                return Poll::Ready(self.end());
            }
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.heard_at = Instant::now();
                    if let Ok(data) = frame.into_data() {
                        self.splitter.push(&data);
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    return Poll::Ready(Some(Err(self.fail(UpstreamFault::BrokenOff))));
                }
                Poll::Ready(None) => self.body_ended = true,
                Poll::Pending => return self.poll_idle(context),
            }
        }
    }

    /// The stream ended: a remainder without its empty line is still passed on, and a stream that never said
    /// `[DONE]` was broken off.
    fn end(&mut self) -> Option<Result<Item, Error>> {
        if let Some(rest) = self.splitter.rest()
            && let Some(item) = self.read(rest)
        {
            return Some(Ok(item));
        }
        (!self.done).then(|| Err(self.fail(UpstreamFault::BrokenOff)))
    }

    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Item, Error>>> {
        while self.idle_timer.as_mut().poll(context).is_ready() {
            let silent = self.heard_at.elapsed();
            if silent >= self.idle {
                return Poll::Ready(Some(Err(self.fail(UpstreamFault::Timeout))));
            }
            let next = tokio::time::Instant::now() + (self.idle - silent);
            self.idle_timer.as_mut().reset(next);
        }
        Poll::Pending
    }

    /// Reads an event for accounting; `None` for one that the client did not ask for.
    fn read(&mut self, event: Bytes) -> Option<Item> {
        let Some(data) = sse::data(&event) else { return Some(Item::Event(event)) };
        if data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return Some(Item::Done(event.clone()));
        }
        let Ok(chunk) = serde_json::from_slice::<WireChunk<'_>>(&data) else {
            return Some(Item::Event(event.clone()));
        };
        self.written_chars += chunk.written_chars();
        if let Some(usage) = chunk.usage.and_then(|usage| usage.read()) {
            self.usage = Some(usage);
        }
        if chunk.error.is_some() {
            self.done = true;
            self.told_error = true;
        }
        let strip = self.strip_usage && chunk.is_usage_only();
        (!strip).then(|| Item::Event(event.clone()))
    }
}
