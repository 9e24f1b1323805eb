//! The small endpoints: models, health, readiness, feedback.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode};
use policies::{Availability, Label, Target};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::ResponseBody;
use super::inbound::read_body;
use super::respond::json_response;
use crate::encoder::LocalEncoder;
use crate::error::Error;
use crate::gateway::Gateway;

/// `GET /healthz`: the process answers.
pub fn health() -> Response<ResponseBody> {
    json_response(StatusCode::OK, &json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

/// `GET /readyz`: models are loaded and the ledger can be written.
pub async fn readiness(gateway: &Gateway) -> Response<ResponseBody> {
    let faults = gateway.readiness().await;
    let (status, word) = if faults.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    json_response(status, &json!({"status": word, "faults": faults}))
}

/// `GET /v1/models`: what the caller may ask for.
///
/// # Errors
/// [`Error::Unauthorized`].
pub async fn list(gateway: &Gateway, headers: &HeaderMap) -> Result<Response<ResponseBody>, Error> {
    gateway.callers.identify(headers, &gateway.config, &gateway.ledger).await?;
    Ok(json_response(StatusCode::OK, &json!({"object": "list", "data": all(gateway)})))
}

/// `GET /v1/models/{id}`.
///
/// # Errors
/// [`Error::Refused`] when there is no such model.
pub async fn one(gateway: &Gateway, headers: &HeaderMap, id: &str) -> Result<Response<ResponseBody>, Error> {
    gateway.callers.identify(headers, &gateway.config, &gateway.ledger).await?;
    let found = all(gateway).into_iter().find(|model| model["id"] == id);
    found.map(|model| json_response(StatusCode::OK, &model)).ok_or_else(|| Error::Refused {
        refusal: policies::Refusal::UnknownModel,
        text: format!("no model is called `{id}`"),
    })
}

fn all(gateway: &Gateway) -> Vec<Value> {
    let created = 1_767_225_600; // 2026-01-01: the protocol wants a time, and these have none.
    let mut models = vec![json!({
        "id": "auto", "object": "model", "created": created, "owned_by": "sluicegate",
        "description": "the gateway chooses",
    })];
    let local = gateway.portfolio.locals.iter().map(|local| local.target());
    let now = Instant::now();
    let remote = gateway.portfolio.upstreams.iter().flat_map(|upstream| upstream.targets(now));
    let encoder = gateway.portfolio.encoder.iter().map(LocalEncoder::target);
    models.extend(local.chain(encoder).chain(remote).map(|target| describe(&target, created)));
    models
}

fn describe(target: &Arc<Target>, created: i64) -> Value {
    let unavailable = match &target.availability {
        Availability::Ready => None,
        Availability::Unavailable(why) => Some(why.to_string()),
    };
    json!({
        "id": &*target.id, "object": "model", "created": created, "owned_by": &*target.upstream,
        "location": target.location, "clearance": target.clearance, "context_tokens": target.capabilities.context_tokens,
        "available": unavailable.is_none(), "unavailable_because": unavailable,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFeedback {
    request_id: String,
    score: f64,
    #[serde(default)]
    label: Option<Label>,
}

/// `POST /v1/feedback`: how good an answer was.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Ledger`].
pub async fn feedback(
    gateway: &Gateway,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Error> {
    let (head, body) = request.into_parts();
    let identity = gateway.callers.identify(&head.headers, &gateway.config, &gateway.ledger).await?;
    let body = read_body(gateway, body).await?;
    let feedback: RawFeedback = serde_json::from_slice(&body)
        .map_err(|error| Error::Invalid { param: None, message: format!("the request body: {error}") })?;
    if !(-1.0..=1.0).contains(&feedback.score) {
        return Err(Error::invalid("score", format!("`score` must be from -1 to 1, not {}", feedback.score)));
    }
    let RawFeedback { request_id, score, label } = feedback;
    let (key, team, time_ms) = (identity.facts.key, identity.facts.team, gateway.now_ms());
    let label = label.map(|label| label.as_str().to_owned());
    let feedback = crate::ledger::Feedback { request_id, key, team, time_ms, score, label };
    let known = gateway.ledger.query(move |store| store.rate(&feedback)).await.map_err(Error::Ledger)?;
    if !known {
        return Err(Error::invalid("request_id", "no request has this id"));
    }
    Ok(json_response(StatusCode::OK, &json!({"status": "recorded"})))
}
