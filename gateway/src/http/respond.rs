//! From outcomes to responses: the only place that knows status codes.

use std::time::Duration;

use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use policies::Refusal;
use serde_json::json;

use super::body::ResponseBody;
use crate::error::{Error, UpstreamFault};
use crate::ledger::BudgetError;

/// Response header names of the gateway.
pub mod header {
    use super::HeaderName;

    /// Request id.
    pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    /// `local`, `on-prem:<upstream>`, `cloud:<upstream>`.
    pub const ROUTE: HeaderName = HeaderName::from_static("x-sluicegate-route");
    /// Model that answered.
    pub const MODEL: HeaderName = HeaderName::from_static("x-sluicegate-model");
    /// Label.
    pub const LABEL: HeaderName = HeaderName::from_static("x-sluicegate-label");
    /// Why.
    pub const REASON: HeaderName = HeaderName::from_static("x-sluicegate-reason");
    /// Cost in dollars.
    pub const COST: HeaderName = HeaderName::from_static("x-sluicegate-cost-usd");
    /// Tells SDKs not to try again.
    pub const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
}

/// A response with a JSON body.
pub fn json_response(status: StatusCode, value: &serde_json::Value) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A header value from text: what a header cannot carry becomes `?`.
pub fn header_text(text: &str) -> HeaderValue {
    let clean: String = text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
    HeaderValue::from_str(&clean).unwrap_or_else(|_| HeaderValue::from_static("?"))
}

/// Status, OpenAI `type` and OpenAI `code` of an error.
fn classify(error: &Error) -> (StatusCode, &'static str, Option<&'static str>) {
    const INVALID: &str = "invalid_request_error";
    match error {
        Error::Invalid { .. } => (StatusCode::BAD_REQUEST, INVALID, None),
        Error::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, INVALID, Some("request_too_large")),
        Error::SlowBody => (StatusCode::REQUEST_TIMEOUT, INVALID, Some("request_timeout")),
        Error::Unauthorized(_) => (StatusCode::UNAUTHORIZED, "authentication_error", Some("invalid_api_key")),
        Error::NoSuchPath { .. } => (StatusCode::NOT_FOUND, INVALID, Some("unknown_url")),
        Error::NoSuchRequest => (StatusCode::NOT_FOUND, INVALID, Some("request_not_found")),
        Error::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, INVALID, Some("method_not_allowed")),
        Error::Refused { refusal, .. } => match refusal {
            Refusal::Policy => (StatusCode::FORBIDDEN, "permission_error", Some("refused_by_policy")),
            Refusal::Incapable("context length") => {
                (StatusCode::BAD_REQUEST, INVALID, Some("context_length_exceeded"))
            }
            Refusal::Incapable(_) => (StatusCode::BAD_REQUEST, INVALID, Some("unsupported_by_targets")),
            Refusal::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "server_error", Some("no_target_available"))
            }
            Refusal::UnknownModel => (StatusCode::NOT_FOUND, INVALID, Some("model_not_found")),
        },
        Error::Budget(BudgetError::Exhausted { .. }) => {
            (StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", Some("insufficient_quota"))
        }
        Error::Budget(BudgetError::Unpriced { .. }) => {
            (StatusCode::FORBIDDEN, "permission_error", Some("unpriced_model"))
        }
        Error::Unaccountable(_) | Error::Unauditable(_) | Error::Ledger(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "server_error", Some("ledger_unavailable"))
        }
        Error::Local(error) => match error {
            local_runtime::Error::Busy { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "server_error", Some("local_model_busy"))
            }
            local_runtime::Error::ContextExceeded { .. }
            | local_runtime::Error::InputTooLong { .. }
            | local_runtime::Error::RequestTooLong { .. } => {
                (StatusCode::BAD_REQUEST, INVALID, Some("context_length_exceeded"))
            }
            local_runtime::Error::InvalidRequest { .. }
            | local_runtime::Error::InvalidConstraint { .. }
            | local_runtime::Error::Template { .. } => (StatusCode::BAD_REQUEST, INVALID, None),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "server_error", Some("local_model_failed")),
        },
        Error::Format { .. } => (StatusCode::BAD_REQUEST, INVALID, Some("unsupported_format")),
        Error::Upstream { fault, .. } => match fault {
            UpstreamFault::Timeout => (StatusCode::GATEWAY_TIMEOUT, "server_error", Some("upstream_timeout")),
            UpstreamFault::Credentials(_) => {
                (StatusCode::BAD_GATEWAY, "server_error", Some("upstream_credentials"))
            }
            UpstreamFault::Unreachable(_)
            | UpstreamFault::BrokenOff
            | UpstreamFault::Status(_)
            | UpstreamFault::TooLarge(_) => (StatusCode::BAD_GATEWAY, "server_error", Some("upstream_error")),
        },
        Error::Deadline(_) => (StatusCode::GATEWAY_TIMEOUT, "server_error", Some("deadline_exceeded")),
        Error::Gate(_) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", Some("clearance_gate")),
        Error::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", Some("classification")),
        Error::Draining => (StatusCode::SERVICE_UNAVAILABLE, "server_error", Some("draining")),
    }
}

/// Seconds after which a retry makes sense, where that is known.
fn retry_after(error: &Error) -> Option<Duration> {
    match error {
        Error::Local(local_runtime::Error::Busy { retry_after, .. }) => Some(*retry_after),
        Error::Refused { refusal: Refusal::Unavailable(_), .. } => Some(Duration::from_secs(5)),
        Error::Unaccountable(_) | Error::Unauditable(_) | Error::Ledger(_) | Error::Draining => {
            Some(Duration::from_secs(5))
        }
        _ => None,
    }
}

/// Status of an error.
pub fn status(error: &Error) -> StatusCode {
    classify(error).0
}

/// The error object of OpenAI's protocol.
pub fn error_object(error: &Error) -> serde_json::Value {
    let (_, kind, code) = classify(error);
    let param = match error {
        Error::Invalid { param, .. } => param.clone(),
        Error::Format { param, .. } => Some((*param).to_owned()),
        Error::NoSuchRequest => Some(String::from("request_id")),
        Error::Refused { refusal: Refusal::UnknownModel, .. } => Some(String::from("model")),
        Error::Local(local_runtime::Error::ContextExceeded { .. }) => Some(String::from("messages")),
        Error::Local(local_runtime::Error::InputTooLong { index, .. }) => Some(format!("input[{index}]")),
        Error::Local(local_runtime::Error::RequestTooLong { .. }) => Some(String::from("input")),
        Error::Refused { refusal: Refusal::Incapable("context length"), .. } => {
            Some(String::from("messages"))
        }
        Error::Refused { refusal: Refusal::Incapable(what), .. } => Some((*what).to_owned()),
        _ => None,
    };
    json!({"error": {"message": error.to_string(), "type": kind, "param": param, "code": code}})
}

/// An error in OpenAI's shape; logged here and nowhere else.
pub fn error_response(error: &Error, request_id: &str) -> Response<ResponseBody> {
    let status = status(error);
    if status.is_server_error() {
        let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(request = request_id, kind = error.kind(), origin = ?error.origin(), %error, source, "request failed");
    } else {
        tracing::debug!(request = request_id, kind = error.kind(), "request refused");
    }
    let mut response = json_response(status, &error_object(error));
    let headers = response.headers_mut();
    headers.insert(header::REQUEST_ID, header_text(request_id));
    if !error.is_retryable() {
        headers.insert(header::SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    if let Some(after) = retry_after(error) {
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    if let Error::Method { allow, .. } = error {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}
