//! The caller's end of a generation.
//!
//! The channel has no bound of its own: its length is bounded by the request's token limit, and a
//! bound would let one slow reader hold up everybody behind it. Dropping the stream is how a
//! caller leaves; the worker looks between steps.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::TokenEvent;
use crate::error::{Error, Result};

/// The events of one generation, in order.
///
/// A [`Stream`] for asynchronous callers and, through [`TokenStream::blocking`], an iterator for the rest.
/// Every stream ends with [`TokenEvent::Done`] or an error; after that it is exhausted.
///
/// # Cancel safety
/// Polling is cancel-safe. Dropping the stream cancels the generation at the next step, or takes the
/// request out of the queue if it still waits.
#[derive(Debug)]
pub struct TokenStream {
    receiver: UnboundedReceiver<Result<TokenEvent>>,
    finished: bool,
}

/// The worker's end.
#[derive(Debug)]
pub(crate) struct EventSink(UnboundedSender<Result<TokenEvent>>);

pub(crate) fn channel() -> (EventSink, TokenStream) {
    let (sender, receiver) = unbounded_channel();
    (EventSink(sender), TokenStream { receiver, finished: false })
}

impl EventSink {
    /// Sends an event; a caller who has left is noticed by [`EventSink::is_abandoned`].
    pub(crate) fn send(&self, event: Result<TokenEvent>) {
        let _ = self.0.send(event);
    }

    /// Whether the caller has dropped the stream.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

impl TokenStream {
    fn note(&mut self, event: Option<Result<TokenEvent>>) -> Option<Result<TokenEvent>> {
        // A sender that vanished without a last word means that the worker died.
        let event = event.unwrap_or(Err(Error::WorkerGone));
        self.finished = matches!(event, Ok(TokenEvent::Done(_)) | Err(_));
        Some(event)
    }

    /// An iterator that blocks the calling thread.
    ///
    /// # Panics
    /// Iterating inside an asynchronous task panics; use the stream there.
    pub fn blocking(self) -> impl Iterator<Item = Result<TokenEvent>> {
        let mut stream = self;
        std::iter::from_fn(move || {
            if stream.finished {
                return None;
            }
            let event = stream.receiver.blocking_recv();
            stream.note(event)
        })
    }
}

impl Stream for TokenStream {
    type Item = Result<TokenEvent>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.finished {
            return Poll::Ready(None);
        }
        match self.receiver.poll_recv(context) {
            Poll::Ready(event) => Poll::Ready(self.note(event)),
            Poll::Pending => Poll::Pending,
        }
    }
}
