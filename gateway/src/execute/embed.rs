//! Embeddings from the embedded encoder, in OpenAI's shape.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use local_runtime::{EmbedOptions, Embeddings};
use policies::{Plan, Target, Usage, UsageSource};
use serde::{Serialize, Serializer};

use super::Call;
use super::answer::{Answer, Attempt, Whole};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::http::embeddings::EmbeddingRequest;
use crate::settlement::Tally;

/// Asks the embedded encoder.
pub(crate) async fn embed_locally(
    gateway: &Gateway,
    call: &Call<'_, EmbeddingRequest>,
    plan: &Plan,
    target: &Target,
) -> Result<Attempt, Error> {
    let gone = || Error::Local(local_runtime::Error::WorkerGone);
    let local = gateway.portfolio.encoder.as_ref().ok_or_else(gone)?;
    let encoder = local.encoder().ok_or_else(gone)?;
    let request = call.request.clear(plan, |request| request, target)?.open(target)?;
    let (inputs, options) = (request.inputs.clone(), EmbedOptions { dimensions: request.dimensions });
    // Tokenizing many texts takes milliseconds: not on a thread that moves other requests' bytes.
    let pending = tokio::task::spawn_blocking(move || encoder.embed(&inputs, &options))
        .await
        .map_err(|_| gone())?
        .map_err(refused)?;
    let found = pending.await.map_err(Error::Local)?;
    #[expect(clippy::cast_precision_loss, reason = "a handful of threads")]
    let busy_core_seconds = found.busy.as_secs_f64() * local.threads() as f64;
    let usage = Usage { input_tokens: u64::from(found.tokens), ..Usage::default() };
    let tally = Tally { busy_core_seconds, ..Tally::new(usage, UsageSource::Counted) };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = Bytes::from(body(request, target, &found));
    Ok(Answer::Whole(Whole { status: StatusCode::OK, headers, body, tally: Some(tally) }).into())
}

/// An encoder's refusal, with the field to blame where there is one.
fn refused(error: local_runtime::Error) -> Error {
    match error {
        local_runtime::Error::InvalidRequest { reason } => Error::invalid("dimensions", reason),
        other => Error::Local(other),
    }
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Entry<'a>>,
    model: &'a str,
    usage: ListUsage,
}

#[derive(Serialize)]
struct Entry<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

#[derive(Serialize)]
struct ListUsage {
    prompt_tokens: u32,
    total_tokens: u32,
}

/// A vector in one of the protocol's two forms.
enum Vector<'a> {
    Floats(&'a [f32]),
    Base64(&'a [f32]),
}

impl Serialize for Vector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Floats(values) => values.serialize(serializer),
            Self::Base64(values) => {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                serializer.serialize_str(&STANDARD.encode(bytes))
            }
        }
    }
}

fn body(request: &EmbeddingRequest, target: &Target, found: &Embeddings) -> Vec<u8> {
    let data = found.vectors.iter().enumerate().map(|(index, vector)| Entry {
        object: "embedding",
        index,
        embedding: if request.base64 { Vector::Base64(vector) } else { Vector::Floats(vector) },
    });
    let usage = ListUsage { prompt_tokens: found.tokens, total_tokens: found.tokens };
    let list = List { object: "list", data: data.collect(), model: &target.id, usage };
    serde_json::to_vec(&list).expect("numbers and plain text")
}
