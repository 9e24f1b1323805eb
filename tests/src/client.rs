//! A plain HTTP client.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// A whole response.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Reply {
    /// A header's text, empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The data of every event of a stream, `[DONE]` included.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        let text = String::from_utf8(self.body.to_vec()).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("data: ").map(str::to_owned)).collect()
    }

    /// The text of an answer, plain or streamed.
    #[must_use]
    pub fn text(&self) -> String {
        if self.header("content-type").starts_with("text/event-stream") {
            let chunks =
                self.events().into_iter().filter_map(|event| serde_json::from_str::<Value>(&event).ok());
            return chunks
                .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
                .collect();
        }
        self.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends a request, whose answer may break off or never end: `None` where there is no whole answer in time.
pub async fn attempt(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
    patience: Duration,
) -> Option<Reply> {
    let mut request = Request::post(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).ok()?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let whole = async {
        let (head, body) = client.request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some(Reply { status: head.status, headers: head.headers, body })
    };
    tokio::time::timeout(patience, whole).await.ok()?
}

/// Sends a request.
pub async fn send(
    method: Method,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Reply {
    let mut request = Request::new(Full::new(body.into()));
    *request.method_mut() = method;
    *request.uri_mut() = format!("http://{address}{path}").parse().unwrap();
    for (name, value) in headers {
        let name: hyper::header::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply { status: head.status, headers: head.headers, body }
}

/// `GET`.
pub async fn get(address: SocketAddr, path: &str) -> Reply {
    send(Method::GET, address, path, &[], Bytes::new()).await
}

/// `POST /v1/chat/completions` with a JSON body.
pub async fn chat(address: SocketAddr, body: &Value) -> Reply {
    chat_with(address, &[], body).await
}

/// The same, with headers.
pub async fn chat_with(address: SocketAddr, headers: &[(&str, &str)], body: &Value) -> Reply {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    send(Method::POST, address, "/v1/chat/completions", &all, body.to_string()).await
}

/// `POST /v1/embeddings` with a JSON body.
pub async fn embed(address: SocketAddr, body: &Value) -> Reply {
    let headers = [("content-type", "application/json")];
    send(Method::POST, address, "/v1/embeddings", &headers, body.to_string()).await
}

/// A request of one user message.
#[must_use]
pub fn ask(model: &str, text: &str) -> Value {
    json!({"model": model, "max_tokens": 12, "temperature": 0, "messages": [{"role": "user", "content": text}]})
}
