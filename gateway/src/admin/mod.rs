//! The admin plane: a listener of its own, with metrics, health, spend, models and drift.

mod drift;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use crate::gateway::Gateway;
use crate::http::Plane;
use crate::http::body::ResponseBody;
use crate::http::models;
use crate::http::respond::json_response;
use crate::ledger::{Grouping, parse_day};

/// The admin plane.
#[derive(Debug)]
pub struct AdminPlane(pub Arc<Gateway>);

impl Plane for AdminPlane {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<ResponseBody> {
        let gateway = &self.0;
        let path = request.uri().path();
        if path == "/healthz" {
            return models::health();
        }
        if !is_allowed(gateway, &request) {
            return fault(StatusCode::UNAUTHORIZED, "the admin token is missing or wrong");
        }
        if path == "/admin/v1/drift/reference" && *request.method() == Method::POST {
            return drift::reset(gateway, request.headers()).await;
        }
        if *request.method() != Method::GET && *request.method() != Method::HEAD {
            return fault(
                StatusCode::METHOD_NOT_ALLOWED,
                "the admin plane is read-only but for POST /admin/v1/drift/reference",
            );
        }
        match path {
            "/readyz" => models::readiness(gateway).await,
            "/metrics" => metrics(gateway),
            "/admin/v1/spend" => spend(gateway, request.uri().query().unwrap_or_default()).await,
            "/admin/v1/prices" => prices(gateway),
            "/admin/v1/models" => local_models(gateway),
            "/admin/v1/drift" => drift::show(gateway).await,
            "/admin/v1/audit/head" => audit_head(gateway),
            _ => fault(
                StatusCode::NOT_FOUND,
                "there is /metrics, /healthz, /readyz, /admin/v1/spend, /admin/v1/prices, /admin/v1/models, /admin/v1/audit/head and /admin/v1/drift",
            ),
        }
    }
}

fn is_allowed(gateway: &Gateway, request: &Request<Incoming>) -> bool {
    let Some(token) = &gateway.config.admin.token else { return true };
    let given = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.strip_prefix("Bearer "));
    // Hashes are compared, so that the time taken tells nothing about the token.
    given.is_some_and(|given| blake3::hash(given.as_bytes()) == blake3::hash(token.expose().as_bytes()))
}

fn fault(status: StatusCode, message: &str) -> Response<ResponseBody> {
    json_response(status, &json!({"error": {"message": message}}))
}

fn metrics(gateway: &Gateway) -> Response<ResponseBody> {
    let runtimes = gateway.portfolio.locals.iter().filter_map(|local| local.runtime());
    let queue: usize = runtimes.map(|runtime| runtime.load_now().waiting).sum();
    gateway.metrics.local_queue.set(i64::try_from(queue).unwrap_or(i64::MAX));
    gateway.metrics.kept(&gateway.ledger);
    gateway.metrics.watched(&gateway.drift.figures(), gateway.router.revision());
    let mut response = Response::new(ResponseBody::full(gateway.metrics.encode()));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// `GET /admin/v1/spend?by=team&from=2026-11-01&to=2026-12-01`.
async fn spend(gateway: &Gateway, query: &str) -> Response<ResponseBody> {
    let get = |name: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, v)| v.to_owned())
    };
    let by = get("by").unwrap_or_else(|| String::from("team"));
    let Ok(by) = <Grouping as clap::ValueEnum>::from_str(&by, true) else {
        return fault(StatusCode::BAD_REQUEST, "`by` is team, route, model, key, user, tag or day");
    };
    let period = |name: &str, default: i64| get(name).map_or(Ok(default), |text| parse_day(&text));
    let (from, to) = match (period("from", 0), period("to", i64::MAX)) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(message), _) | (_, Err(message)) => return fault(StatusCode::BAD_REQUEST, &message),
    };
    match gateway.ledger.query(move |store| store.report(by, from, to)).await {
        Ok(report) => json_response(StatusCode::OK, &json!(report)),
        Err(error) => fault(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

/// The last audit record on disk, for noting it elsewhere.
fn audit_head(gateway: &Gateway) -> Response<ResponseBody> {
    let head = gateway.ledger.audit_head();
    let told = json!({"sequence": head.sequence, "hash": head.hash.to_string(), "seal": gateway.config.audit.name(),
        "lost": gateway.ledger.audit_lost()});
    json_response(StatusCode::OK, &told)
}

/// The embedded models: state, load, memory; and the router model.
fn local_models(gateway: &Gateway) -> Response<ResponseBody> {
    let models: Vec<_> = gateway.portfolio.locals.iter().map(|local| local.describe()).collect();
    json_response(StatusCode::OK, &json!({"models": models, "router": gateway.router.to_json()}))
}

fn prices(gateway: &Gateway) -> Response<ResponseBody> {
    let table = &gateway.prices;
    let models: serde_json::Map<String, serde_json::Value> =
        table.iter().map(|(name, price)| (name.to_owned(), json!(price))).collect();
    let unit = "nano-dollars per million tokens";
    json_response(
        StatusCode::OK,
        &json!({"source": table.source, "version": table.version, "unit": unit, "models": models}),
    )
}
