//! `/admin/v1/drift`: what the monitor sees, and a new reference for it.

use std::sync::Arc;

use hyper::header::{HOST, ORIGIN};
use hyper::{HeaderMap, Response, StatusCode};

use super::fault;
use crate::drift;
use crate::gateway::Gateway;
use crate::http::body::ResponseBody;
use crate::http::respond::json_response;

/// `GET /admin/v1/drift`.
pub(super) async fn show(gateway: &Arc<Gateway>) -> Response<ResponseBody> {
    drift::refresh(gateway).await;
    json_response(StatusCode::OK, &gateway.drift.to_json())
}

/// `POST /admin/v1/drift/reference`: what is seen now is what to compare with from here on.
pub(super) async fn reset(gateway: &Arc<Gateway>, headers: &HeaderMap) -> Response<ResponseBody> {
    if is_foreign(headers) {
        return fault(StatusCode::FORBIDDEN, "a page of another origin may not change anything here");
    }
    let resetting = gateway.clone();
    let reset = tokio::task::spawn_blocking(move || resetting.drift.reset(resetting.now_ms())).await;
    match reset {
        Ok(Ok(())) => {
            tracing::info!("the reference for drift was replaced by the traffic of now");
            show(gateway).await
        }
        Ok(Err(error)) => fault(StatusCode::CONFLICT, &error.to_string()),
        Err(_) => fault(StatusCode::INTERNAL_SERVER_ERROR, "the reference could not be replaced"),
    }
}

/// A web page of anybody's may send a plain POST to a loopback address; browsers say where it comes from.
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let own = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let from = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    from.is_none_or(|from| from != own)
}
