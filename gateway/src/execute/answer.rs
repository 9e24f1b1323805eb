//! Answers: whole ones and streams, and the body that settles a stream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::{HeaderMap, StatusCode};
use local_runtime::OutputFlag;
use serde_json::json;
use tokio::time::Sleep;

use super::local::LocalStream;
use super::remote::RemoteStream;
use crate::error::Error;
use crate::http::body::BrokenOff;
use crate::http::respond;
use crate::ledger::Finish;
use crate::mask::Unmasking;
use crate::settlement::{Account, Tally};

/// What a target answered.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each request, moved a few times")]
pub enum Answer {
    /// Everything at once.
    Whole(Whole),
    /// Piece by piece.
    Stream(StreamSource),
}

/// What an attempt at a target came to.
#[derive(Debug)]
pub enum Attempt {
    /// An answer.
    Answer(Answer),
    /// A local answer whose beginning was too weak to go on, and what it took. Nothing of it was kept.
    GivenUp(Tally),
}

impl From<Answer> for Attempt {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// An answer that is known as a whole.
#[derive(Debug)]
pub struct Whole {
    /// Status.
    pub status: StatusCode,
    /// Headers that the client may see.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Usage; `None` for an error answer, which costs nothing.
    pub tally: Option<Tally>,
}

impl Answer {
    /// Is it an upstream's error answer?
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Whole(whole) if !whole.status.is_success())
    }

    /// Confidence of a local answer; for a stream, only where it was judged before it was sent.
    #[must_use]
    pub fn confidence(&self) -> Option<f32> {
        match self {
            Self::Whole(whole) => whole.tally.as_ref().and_then(|tally| tally.confidence),
            Self::Stream(StreamSource::Local(stream)) => stream.judged(),
            Self::Stream(StreamSource::Remote(_)) => None,
        }
    }

    /// What was used so far; `None` for an error answer.
    #[must_use]
    pub fn tally(&self) -> Option<Tally> {
        match self {
            Self::Whole(whole) => whole.tally.clone(),
            Self::Stream(source) => Some(source.tally()),
        }
    }

    /// Signs of a bad answer, told once. A stream that is still running has told none yet.
    pub(super) fn take_flags(&mut self) -> Vec<OutputFlag> {
        match self {
            Self::Whole(whole) => {
                whole.tally.as_mut().map(|tally| std::mem::take(&mut tally.flags)).unwrap_or_default()
            }
            Self::Stream(StreamSource::Local(stream)) => stream.take_flags(),
            Self::Stream(StreamSource::Remote(_)) => Vec::new(),
        }
    }
}

/// A stream of server-sent events.
#[derive(Debug)]
pub enum StreamSource {
    /// From an upstream.
    Remote(Box<RemoteStream>),
    /// From the embedded model.
    Local(Box<LocalStream>),
}

/// One piece of a stream.
#[derive(Debug)]
pub enum Item {
    /// An event.
    Event(Bytes),
    /// The closing `[DONE]` event.
    Done(Bytes),
}

impl StreamSource {
    fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Item, Error>>> {
        match self {
            Self::Remote(stream) => stream.poll_item(context),
            Self::Local(stream) => stream.poll_item(context),
        }
    }

    fn tally(&self) -> Tally {
        match self {
            Self::Remote(stream) => stream.tally(),
            Self::Local(stream) => stream.tally(),
        }
    }

    /// Did the upstream tell of an error in mid-stream? The client has seen it.
    fn told_error(&self) -> bool {
        matches!(self, Self::Remote(stream) if stream.told_error())
    }

    /// Headers that the client may see.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        match self {
            Self::Remote(stream) => stream.headers.clone(),
            Self::Local(_) => HeaderMap::new(),
        }
    }
}

/// A stream on its way to the client, with the account that it settles when it ends, breaks or is dropped.
pub struct SettledBody {
    source: StreamSource,
    account: Option<Account>,
    trailer: bool,
    /// Puts values back that were masked in the request.
    unmasking: Option<Unmasking>,
    queued: Option<Bytes>,
    /// The client has the whole answer; the upstream's last bytes are awaited so that its connection is reused.
    done: bool,
    ended: bool,
    deadline: Pin<Box<Sleep>>,
    limit: Duration,
}

/// How long the end of an upstream's body is awaited after `[DONE]`.
const END_WAIT: Duration = Duration::from_millis(250);

impl SettledBody {
    /// Wraps a stream. With `trailer`, a last chunk tells route, label and cost. `limit` counts from the request's
    /// arrival.
    #[must_use]
    pub fn new(source: StreamSource, account: Account, trailer: bool, limit: Duration) -> Self {
        let deadline = Box::pin(tokio::time::sleep_until((account.started() + limit).into()));
        Self {
            source,
            account: Some(account),
            trailer,
            unmasking: None,
            queued: None,
            done: false,
            ended: false,
            deadline,
            limit,
        }
    }

    /// The same body with values put back that were masked in the request.
    #[must_use]
    pub fn unmasked(mut self, unmasking: Option<Unmasking>) -> Self {
        self.unmasking = unmasking;
        self
    }

    fn settle(&mut self, outcome: Finish, error: &str) {
        if let Some(mut account) = self.account.take() {
            let tally = self.source.tally();
            account.flagged(&tally.flags);
            account.used(&tally);
            account.unmasked(self.unmasking.as_ref());
            let status = if outcome == Finish::Aborted { 499 } else { 200 };
            account.finish(outcome, status, error);
        }
    }

    /// The chunk that a client gets who opted in: route, label, model and cost.
    fn trailer_chunk(&mut self) -> Option<Bytes> {
        let account = self.account.as_mut()?;
        let tally = self.source.tally();
        let cost = account.cost(&tally.usage).money();
        let row = account.row();
        let chunk = json!({
            "id": format!("chatcmpl-{}", row.id),
            "object": "chat.completion.chunk",
            "created": row.time_ms / 1000,
            "model": row.served_model,
            "choices": [],
            "sluicegate": {
                "request_id": row.id, "route": row.route, "model": row.served_model, "label": row.label,
                "reason": row.reason, "cost_usd": cost.map(|money| money.to_string()),
                "usage_source": tally.source, "input_tokens": tally.usage.input_tokens,
                "output_tokens": tally.usage.output_tokens, "confidence": tally.confidence,
            }
        });
        Some(Bytes::from(format!("data: {chunk}\n\n")))
    }

    /// What is still held back of the answer, with something after it.
    fn held_and(&mut self, last: Bytes) -> Bytes {
        let mut held = self.unmasking.as_mut().map(Unmasking::end).unwrap_or_default();
        if held.is_empty() {
            return last;
        }
        held.extend_from_slice(&last);
        Bytes::from(held)
    }

    fn fail(&mut self, error: &Error) -> Bytes {
        tracing::warn!(kind = error.kind(), %error, "a stream broke off");
        let last = Bytes::from(format!("data: {}\n\n", respond::error_object(error)));
        let last = self.held_and(last);
        self.settle(Finish::Failed, error.kind());
        last
    }
}

impl Body for SettledBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        if let Some(bytes) = this.queued.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        if this.deadline.as_mut().poll(context).is_ready() {
            this.ended = true;
            if this.done {
                return Poll::Ready(None);
            }
            let bytes = this.fail(&Error::Deadline(this.limit));
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match std::task::ready!(this.source.poll_item(context)) {
            _ if this.done => {
                this.ended = true;
                Poll::Ready(None)
            }
            Some(Ok(Item::Event(bytes))) => {
                if let Some(account) = &mut this.account {
                    account.first_byte();
                    account.hear_event(&bytes);
                }
                let bytes = match &mut this.unmasking {
                    Some(unmasking) => unmasking.event(bytes),
                    None => bytes,
                };
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Ok(Item::Done(bytes))) => {
                let trailer = if this.trailer { this.trailer_chunk() } else { None };
                let (first, second) = match trailer {
                    Some(trailer) => (trailer, Some(bytes)),
                    None => (bytes, None),
                };
                let first = this.held_and(first);
                this.done = true;
                this.deadline.as_mut().reset(tokio::time::Instant::now() + END_WAIT);
                this.settle(Finish::Completed, "");
                this.queued = second;
                Poll::Ready(Some(Ok(Frame::data(first))))
            }
            Some(Err(error)) => {
                this.ended = true;
                let bytes = this.fail(&error);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            None => {
                this.ended = true;
                let held = this.held_and(Bytes::new());
                if this.source.told_error() {
                    this.settle(Finish::Failed, "upstream_error_event");
                } else {
                    this.settle(Finish::Completed, "");
                }
                Poll::Ready((!held.is_empty()).then(|| Ok(Frame::data(held))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.queued.is_none()
    }
}

impl Drop for SettledBody {
    fn drop(&mut self) {
        self.settle(Finish::Aborted, "client_left");
    }
}
