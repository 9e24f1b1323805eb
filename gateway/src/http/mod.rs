//! The data plane's HTTP: accepting, dispatching, draining.

pub mod body;
pub mod chat;
pub mod embeddings;
pub mod feedback;
pub mod format;
pub mod inbound;
pub mod models;
pub mod respond;
pub mod texts;
pub mod tools;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::body::ResponseBody;
use self::chat::ChatRequest;
use self::embeddings::EmbeddingRequest;
use crate::config::Server;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::pipeline;

/// How a plane answers requests.
pub trait Plane: Send + Sync + 'static {
    /// Answers one request.
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<ResponseBody>> + Send;
}

/// Accepts connections until `stop` completes, then waits for running requests, at most `server.drain_timeout`.
pub async fn accept<P: Plane>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    server: Server,
    plane: Arc<P>,
    stop: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let (connections, cut_off) = (TaskTracker::new(), CancellationToken::new());
    let places = Arc::new(Semaphore::new(server.connections_max));
    tokio::pin!(stop);
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = &mut stop => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (Ok(place), Ok((socket, _))) = (place, accepted) else {
            // Out of file descriptors, or a connection that broke at once: let others finish first.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let _ = socket.set_nodelay(true);
        let connection = serve_connection(socket, tls.clone(), &server, plane.clone(), graceful.watcher());
        let cut_off = cut_off.clone();
        connections.spawn(async move {
            tokio::select! {
                () = connection => {}
                () = cut_off.cancelled() => {}
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(server.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time and are cut off");
    }
    // Whatever still runs is dropped here, and so settles before the ledger stops.
    cut_off.cancel();
    connections.close();
    connections.wait().await;
}

fn serve_connection<P: Plane>(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    server: &Server,
    plane: Arc<P>,
    watcher: hyper_util::server::graceful::Watcher,
) -> impl Future<Output = ()> + Send + use<P> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(server.header_timeout)
        .max_buf_size(128 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    let handshake_timeout = server.header_timeout;
    async move {
        // The protocol is told from the first bytes, and hyper waits for those without a limit.
        if !matches!(tokio::time::timeout(handshake_timeout, socket.peek(&mut [0])).await, Ok(Ok(1..))) {
            return;
        }
        let service = service_fn(move |request| {
            let plane = plane.clone();
            async move { Ok::<_, Infallible>(plane.answer(request).await) }
        });
        match tls {
            None => {
                let connection =
                    builder.serve_connection_with_upgrades(TokioIo::new(socket), service).into_owned();
                log_end(watcher.watch(connection).await);
            }
            Some(tls) => match tokio::time::timeout(handshake_timeout, tls.accept(socket)).await {
                Ok(Ok(socket)) => {
                    let connection =
                        builder.serve_connection_with_upgrades(TokioIo::new(socket), service).into_owned();
                    log_end(watcher.watch(connection).await);
                }
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            },
        }
    }
}

fn log_end<E: std::fmt::Display>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}

/// The data plane.
#[derive(Debug)]
pub struct DataPlane(pub Arc<Gateway>);

impl Plane for DataPlane {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<ResponseBody> {
        let gateway = self.0.clone();
        let id = request_id();
        dispatch(&gateway, request, &id).await
    }
}

/// A new request id; ids sort by time.
pub(crate) fn request_id() -> Arc<str> {
    format!("req_{}", uuid::Uuid::now_v7().simple()).into()
}

async fn dispatch(
    gateway: &Arc<Gateway>,
    request: Request<Incoming>,
    id: &Arc<str>,
) -> Response<ResponseBody> {
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let known: Option<&'static str> = match path.as_str() {
        "/v1/chat/completions" | "/v1/embeddings" | "/v1/feedback" => Some("POST"),
        "/v1/models" | "/healthz" | "/readyz" => Some("GET"),
        _ if path.starts_with("/v1/models/") => Some("GET"),
        _ => None,
    };
    let Some(allow) = known else {
        let error = Error::NoSuchPath { method: request.method().to_string(), path };
        return respond::error_response(&error, id);
    };
    let fits = request.method().as_str() == allow || (allow == "GET" && *request.method() == Method::HEAD);
    if !fits {
        return respond::error_response(&Error::Method { path, allow }, id);
    }
    match path.as_str() {
        "/v1/chat/completions" => {
            return pipeline::answer::<ChatRequest>(gateway.clone(), request, id.clone()).await;
        }
        "/v1/embeddings" => {
            return pipeline::answer::<EmbeddingRequest>(gateway.clone(), request, id.clone()).await;
        }
        "/healthz" => return models::health(),
        "/readyz" => return models::readiness(gateway).await,
        _ => {}
    }
    let outcome = match path.as_str() {
        "/v1/feedback" => feedback::record(gateway, request).await,
        "/v1/models" => models::list(gateway, request.headers()).await,
        one => {
            models::one(
                gateway,
                request.headers(),
                &one.trim_start_matches("/v1/models/").replace("%2F", "/").replace("%2f", "/"),
            )
            .await
        }
    };
    outcome.unwrap_or_else(|error| respond::error_response(&error, id))
}
