//! The first stage: bytes from a socket become a checked request, or a fault.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderValue;
use policies::Doubt;
use router_model::{Prompt, Role, Segment};

use super::texts::{Text, texts};
use crate::ask::Ask;
use crate::error::Error;
use crate::gateway::Gateway;

/// Client headers that travel to an upstream. Their values are classified like the body.
const HEADERS_FORWARDED: &[&str] = &["openai-organization", "openai-project", "openai-beta"];

/// A checked request with everything that classification must see.
#[derive(Debug)]
pub struct Inbound<R> {
    /// The request.
    pub request: R,
    /// Headers that travel.
    pub headers: HeaderMap,
    /// The client opted in to the trailing usage chunk.
    pub trailer: bool,
}

/// Reads a body up to the limit.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::SlowBody`], [`Error::Invalid`] when it breaks off.
pub async fn read_body(gateway: &Gateway, body: Incoming) -> Result<Bytes, Error> {
    read_body_of(gateway, body, gateway.config.server.body_bytes_max).await
}

/// Reads a body up to a limit of its own.
///
/// # Errors
/// Like [`read_body`].
pub async fn read_body_of(gateway: &Gateway, body: Incoming, limit_bytes: usize) -> Result<Bytes, Error> {
    let server = &gateway.config.server;
    if body.size_hint().lower() > limit_bytes as u64 {
        return Err(Error::TooLarge { limit_bytes });
    }
    let patience = server.header_timeout.max(std::time::Duration::from_secs(30));
    tokio::time::timeout(patience, collect(body, limit_bytes)).await.map_err(|_| Error::SlowBody)?
}

async fn collect(mut body: Incoming, limit_bytes: usize) -> Result<Bytes, Error> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::Invalid {
            param: None,
            message: String::from("the request body broke off"),
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + whole.len() + data.len() > limit_bytes {
            return Err(Error::TooLarge { limit_bytes });
        }
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                whole.reserve(first.len() + data.len());
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

impl<R: Ask> Inbound<R> {
    /// Checks a body with its headers.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the field.
    pub fn parse(body: Bytes, headers: &HeaderMap) -> Result<Self, Error> {
        let request = R::parse(body)?;
        let forwarded = HEADERS_FORWARDED
            .iter()
            .filter_map(|name| headers.get(*name).map(|value| (*name, value.clone())))
            .map(|(name, value)| (hyper::header::HeaderName::from_static(name), value));
        let trailer = headers.get("x-sluicegate-usage").is_some_and(is_yes);
        Ok(Self { headers: forwarded.collect(), trailer, request })
    }

    /// The prompt for the classifier: every text of the body and of the headers that travel.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a body that is nested too deeply.
    pub fn prompt(&self) -> Result<Prompt<'_>, Error> {
        let request = &self.request;
        let mut prompt: Prompt<'_> = request.prompt();
        let found = texts(request.body())
            .map_err(|error| Error::Invalid { param: None, message: format!("the request body: {error}") })?;
        for text in found {
            if is_media(&text) {
                prompt.doubt.push(Doubt::UnreadFile);
                continue;
            }
            let role = request.role_of(&text.path);
            prompt.segments.push(Segment { role, path: text.path.into(), text: text.text });
        }
        for (name, value) in &self.headers {
            let text = String::from_utf8_lossy(value.as_bytes());
            prompt.segments.push(Segment { role: Role::Other, path: name.as_str().into(), text });
        }
        Ok(prompt)
    }
}

fn is_yes(value: &HeaderValue) -> bool {
    ["1", "true", "yes"].iter().any(|yes| value.as_bytes().eq_ignore_ascii_case(yes.as_bytes()))
}

/// Characters from which on an unbroken run of base64 is taken for a file: nobody here can read it.
const BLOB_CHARS_MIN: usize = 2_048;

/// Binary content, bare or in a data URL: not scanned, but doubt. Anything that is not wholly base64 is text.
pub(crate) fn is_media(text: &Text<'_>) -> bool {
    let value = text.text.split_once(": ").map_or(&*text.text, |(_, value)| value);
    let (in_url, blob) = match value.split_once(";base64,") {
        Some((head, blob)) if head.starts_with("data:") && head.len() < 128 => (true, blob),
        _ => (false, value),
    };
    let base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_');
    (in_url || blob.len() >= BLOB_CHARS_MIN) && blob.as_bytes().iter().all(base64)
}
