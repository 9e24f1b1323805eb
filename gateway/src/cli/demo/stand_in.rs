//! A stand-in for the cloud, for the demo alone: it speaks the protocol and says in every answer what it is.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Starts it on a free loopback port; it runs until `stop`.
pub(super) async fn start(stop: CancellationToken) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    #[expect(
        clippy::disallowed_methods,
        reason = "belongs to the demo, not to a gateway; ends with its token"
    )]
    tokio::spawn(async move {
        loop {
            let socket = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let Ok((socket, _)) = socket else { continue };
            let _ = socket.set_nodelay(true);
            let stop = stop.clone();
            #[expect(clippy::disallowed_methods, reason = "as above")]
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let connection = builder.serve_connection(TokioIo::new(socket), service_fn(answer));
                tokio::select! {
                    _ = connection => {}
                    () = stop.cancelled() => {}
                }
            });
        }
    });
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let model = asked["model"].as_str().unwrap_or("unknown").to_owned();
    let text = format!("[STAND-IN for {model}: no cloud key is set, so this is not an LLM's answer]");
    let usage = json!({
        "prompt_tokens": body.len() / 5, "completion_tokens": 220, "total_tokens": body.len() / 5 + 220,
    });
    let (kind, bytes) = if asked["stream"] == true {
        ("text/event-stream", stream(&model, &text, &usage))
    } else {
        let message = json!({"role": "assistant", "content": text});
        let whole = json!({
            "id": "chatcmpl-stand-in", "object": "chat.completion", "created": 0, "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage,
        });
        ("application/json", whole.to_string())
    };
    let mut response = Response::new(Full::new(Bytes::from(bytes)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

fn stream(model: &str, text: &str, usage: &Value) -> String {
    let chunk = |choices: Value, usage: &Value| {
        let chunk = json!({
            "id": "chatcmpl-stand-in", "object": "chat.completion.chunk", "created": 0, "model": model,
            "choices": choices, "usage": usage,
        });
        format!("data: {chunk}\n\n")
    };
    let mut out = chunk(json!([{"index": 0, "delta": {"role": "assistant", "content": ""}}]), &Value::Null);
    for word in text.split_inclusive(' ') {
        out += &chunk(json!([{"index": 0, "delta": {"content": word}}]), &Value::Null);
    }
    out += &chunk(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]), &Value::Null);
    out += &chunk(json!([]), usage);
    out += "data: [DONE]\n\n";
    out
}
