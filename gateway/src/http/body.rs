//! Response bodies.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, SizeHint};

/// A response body was broken off; the connection is closed so that the client notices.
#[derive(Debug, thiserror::Error)]
#[error("the answer was broken off")]
pub struct BrokenOff;

/// Body of every response.
pub struct ResponseBody(Inner);

enum Inner {
    Full(Full<Bytes>),
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = BrokenOff> + Send>>),
}

impl ResponseBody {
    /// A body that is known as a whole.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Inner::Full(Full::new(bytes.into())))
    }

    /// A body that arrives in pieces.
    pub fn stream(body: impl Body<Data = Bytes, Error = BrokenOff> + Send + 'static) -> Self {
        Self(Inner::Stream(Box::pin(body)))
    }

    /// The whole body, for callers in this process.
    ///
    /// # Errors
    /// [`BrokenOff`].
    pub async fn collect_bytes(self) -> Result<Bytes, BrokenOff> {
        Ok(self.collect().await?.to_bytes())
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Inner::Full(_) => "ResponseBody::full",
            Inner::Stream(_) => "ResponseBody::stream",
        })
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.0 {
            Inner::Full(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Inner::Stream(body) => body.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Full(body) => body.is_end_stream(),
            Inner::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Full(body) => body.size_hint(),
            Inner::Stream(body) => body.size_hint(),
        }
    }
}
