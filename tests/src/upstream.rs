//! An upstream that captures every byte on every connection, and misbehaves on request.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// How an upstream answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// As it should.
    Well,
    /// As it should, without usage.
    NoUsage,
    /// With what the last message says; a streamed answer in pieces of three characters. With tools, by calling the first one
    /// with that as its argument `text`.
    Echo,
    /// The same, with every bracketed word altered as models do, and one appended that nobody gave it.
    EchoAltered,
    /// With this status and an error body.
    Status(u16),
    /// It closes the connection before answering.
    Reset,
    /// It streams two chunks and breaks off.
    BreakOff,
    /// It streams slowly until the client leaves.
    Endless,
    /// It takes the request and never answers.
    Silent,
    /// It streams one chunk and then nothing; what is not streamed is never finished.
    Stalls,
    /// It answers with what is no JSON, and streams what are no events.
    Garbled,
}

/// Headers of one request, in order.
pub type Head = Vec<(String, String)>;

/// A running upstream.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    captured: Arc<Mutex<Vec<u8>>>,
    bodies: Arc<Mutex<Vec<Bytes>>>,
    heads: Arc<Mutex<Vec<Head>>>,
    paths: Arc<Mutex<Vec<String>>>,
    behaviour: Arc<Mutex<Behaviour>>,
    cut_off: Arc<AtomicUsize>,
    tls: bool,
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

impl Upstream {
    /// Starts one over plain HTTP.
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// Starts one over TLS; the certificate authority to trust is written into the directory.
    pub async fn start_tls(directory: &Path) -> (Self, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec![String::from("localhost")]).unwrap();
        let path = directory.join("ca.pem");
        std::fs::write(&path, made.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        (Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await, path)
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            captured: Arc::default(),
            bodies: Arc::default(),
            heads: Arc::default(),
            paths: Arc::default(),
            behaviour: Arc::new(Mutex::new(Behaviour::Well)),
            cut_off: Arc::default(),
            tls: tls.is_some(),
        };
        let serving = upstream.clone();
        #[expect(clippy::disallowed_methods, reason = "a test's own server ends with the test")]
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (upstream, tls) = (serving.clone(), tls.clone());
                #[expect(clippy::disallowed_methods, reason = "as above")]
                tokio::spawn(async move {
                    match tls {
                        None => upstream.serve(socket).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                upstream.serve(socket).await;
                            }
                        }
                    }
                });
            }
        });
        upstream
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, socket: S) {
        let socket = Capturing { socket, captured: self.captured.clone() };
        let service = service_fn(move |request| {
            let upstream = self.clone();
            async move { upstream.answer(request).await }
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(socket), service).await;
    }

    /// Its part of a configuration: one cloud upstream `cloud`, cleared for `internal`.
    #[must_use]
    pub fn config(&self) -> String {
        self.config_as("cloud", "internal", "cloud")
    }

    /// Its part of a configuration.
    #[must_use]
    pub fn config_as(&self, name: &str, clearance: &str, location: &str) -> String {
        let (scheme, host) = if self.tls { ("https", "localhost") } else { ("http", "127.0.0.1") };
        format!(
            "[[upstream]]\nname = \"{name}\"\nprotocol = \"openai\"\nbase_url = \"{scheme}://{host}:{}/v1\"\n\
             api_key = \"env:TEST_UPSTREAM_KEY\"\nclearance = \"{clearance}\"\nlocation = \"{location}\"\n\
             response_timeout_s = 20\nidle_timeout_s = 20\n\
             [[upstream.models]]\nname = \"gpt-4o\"\nstrength = 1.0\n",
            self.address.port()
        )
    }

    /// Answers like this from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Every byte that any connection has received, after TLS.
    #[must_use]
    pub fn captured(&self) -> Vec<u8> {
        self.captured.lock().unwrap().clone()
    }

    /// Request bodies, in order.
    #[must_use]
    pub fn bodies(&self) -> Vec<Bytes> {
        self.bodies.lock().unwrap().clone()
    }

    /// Request headers, in order.
    #[must_use]
    pub fn heads(&self) -> Vec<Head> {
        self.heads.lock().unwrap().clone()
    }

    /// Request paths, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.paths.lock().unwrap().clone()
    }

    /// Streams whose client left.
    #[must_use]
    pub fn cut_off(&self) -> usize {
        self.cut_off.load(Ordering::SeqCst)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
        let head = request.headers().iter();
        let head =
            head.map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect();
        self.heads.lock().unwrap().push(head);
        let path = request.uri().path().to_owned();
        self.paths.lock().unwrap().push(path.clone());
        let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
        self.bodies.lock().unwrap().push(body.clone());
        let behaviour = *self.behaviour.lock().unwrap();
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let model = asked["model"].as_str().unwrap_or_default().to_owned();
        let stream = asked["stream"] == true;
        match behaviour {
            Behaviour::Silent => std::future::pending().await,
            Behaviour::Reset => Err(std::io::Error::other("reset on request")),
            Behaviour::Stalls => {
                let body = StalledBody { first: Some(chunk(&model, "and then")) };
                Ok(event_stream(body.boxed_unsync()))
            }
            Behaviour::Garbled => {
                let body = Full::new(Bytes::from_static(b"data: {\"choices\": [\n\n{]\xff\xfe\n"));
                Ok(event_stream(body.map_err(|never: Infallible| match never {}).boxed_unsync()))
            }
            Behaviour::Status(status) => {
                let error =
                    json!({"error": {"message": "upstream says no", "type": "server_error", "code": null}});
                Ok(json_response(status, &error))
            }
            Behaviour::Well | Behaviour::NoUsage if path.ends_with("/embeddings") => {
                let mut answer = json!({"object": "list", "model": model,
                    "data": [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}]});
                if behaviour == Behaviour::Well {
                    answer["usage"] = json!({"prompt_tokens": 1000, "total_tokens": 1000});
                }
                Ok(json_response(200, &answer))
            }
            Behaviour::Echo | Behaviour::EchoAltered => {
                Ok(echo(&model, &asked, stream, behaviour == Behaviour::EchoAltered))
            }
            Behaviour::Well | Behaviour::NoUsage if !stream => {
                let mut answer = json!({
                    "id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": model,
                    "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null,
                        "message": {"role": "assistant", "content": "from the cloud", "refusal": null}}],
                });
                if behaviour == Behaviour::Well {
                    answer["usage"] = usage();
                }
                Ok(json_response(200, &answer))
            }
            Behaviour::Well | Behaviour::NoUsage => {
                let wants_usage =
                    asked["stream_options"]["include_usage"] == true && behaviour == Behaviour::Well;
                let mut frames: Vec<_> = ["from", " the", " cloud"]
                    .iter()
                    .map(|text| Ok(Frame::data(chunk(&model, text))))
                    .collect();
                if wants_usage {
                    let last = json!({"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1,
                        "model": model, "choices": [], "usage": usage()});
                    frames.push(Ok(Frame::data(Bytes::from(format!("data: {last}\n\n")))));
                }
                frames.push(Ok(Frame::data(Bytes::from_static(b"data: [DONE]\n\n"))));
                Ok(event_stream(Frames::boxed(frames)))
            }
            Behaviour::BreakOff => {
                let frames = vec![
                    Ok(Frame::data(chunk(&model, "half"))),
                    Ok(Frame::data(chunk(&model, " an answer"))),
                    Err(std::io::Error::other("broken off on request")),
                ];
                Ok(event_stream(Frames::boxed(frames)))
            }
            Behaviour::Endless => {
                let body = EndlessBody {
                    chunk: chunk(&model, "and on "),
                    timer: None,
                    cut_off: self.cut_off.clone(),
                };
                Ok(event_stream(body.boxed_unsync()))
            }
        }
    }
}

/// The last message again, said or as the argument of a call.
fn echo(model: &str, asked: &Value, stream: bool, alters: bool) -> Response<Body> {
    let last = asked["messages"].as_array().and_then(|messages| messages.last());
    let mut said = last.and_then(|message| message["content"].as_str()).unwrap_or_default().to_owned();
    if alters {
        let unknown: String = said.chars().skip_while(|c| *c != '[').take_while(|c| *c != ']').collect();
        let tag = unknown.rsplit('_').nth(1).unwrap_or_default().to_owned();
        said = said.replace('[', "\\[").replace(']', "s\\]").replace('_', "\\_").to_lowercase();
        said.push_str(&format!(" [EMAIL_{tag}_99]"));
    }
    let tool = asked.pointer("/tools/0/function/name").and_then(Value::as_str);
    let arguments = json!({ "text": said }).to_string();
    let delta = |index: usize, piece: &str| match tool {
        None => json!({ "content": piece }),
        Some(name) if index == 0 => json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
            "function": {"name": name, "arguments": piece}}]}),
        Some(_) => json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}),
    };
    let finish = if tool.is_some() { "tool_calls" } else { "stop" };
    let text = if tool.is_some() { &arguments } else { &said };
    let chunk = |choice: Value| {
        let chunk = json!({"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": model,
            "choices": [choice]});
        Ok(Frame::data(Bytes::from(format!("data: {chunk}\n\n"))))
    };
    if stream {
        let characters: Vec<char> = text.chars().collect();
        let pieces = characters.chunks(3).enumerate();
        let mut frames: Vec<_> = pieces
            .map(|(index, piece)| {
                let delta = delta(index, &piece.iter().collect::<String>());
                chunk(json!({"index": 0, "delta": delta, "finish_reason": null}))
            })
            .collect();
        frames.push(chunk(json!({"index": 0, "delta": {}, "finish_reason": finish})));
        frames.push(Ok(Frame::data(Bytes::from_static(b"data: [DONE]\n\n"))));
        return event_stream(Frames::boxed(frames));
    }
    let mut message = json!({"role": "assistant", "content": said, "refusal": null});
    if let Some(name) = tool {
        message["content"] = Value::Null;
        message["tool_calls"] = json!([{"id": "call_1", "type": "function",
            "function": {"name": name, "arguments": arguments}}]);
    }
    json_response(
        200,
        &json!({
            "id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": model, "usage": usage(),
            "choices": [{"index": 0, "finish_reason": finish, "logprobs": null, "message": message}],
        }),
    )
}

fn usage() -> Value {
    json!({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
        "prompt_tokens_details": {"cached_tokens": 400}})
}

fn chunk(model: &str, text: &str) -> Bytes {
    let chunk = json!({"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": model,
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    Bytes::from(format!("data: {chunk}\n\n"))
}

fn json_response(status: u16, value: &Value) -> Response<Body> {
    let body =
        Full::new(Bytes::from(value.to_string())).map_err(|never: Infallible| match never {}).boxed_unsync();
    Response::builder().status(status).header("content-type", "application/json").body(body).unwrap()
}

fn event_stream(body: Body) -> Response<Body> {
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}

/// Frames one after the other; an error only once what came before it was sent.
struct Frames {
    frames: VecDeque<Result<Frame<Bytes>, std::io::Error>>,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Frames {
    fn boxed(frames: Vec<Result<Frame<Bytes>, std::io::Error>>) -> Body {
        Self { frames: frames.into(), pause: None }.boxed_unsync()
    }
}

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = &mut *self;
        if matches!(this.frames.front(), Some(Err(_))) {
            let pause =
                this.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(100))));
            std::task::ready!(pause.as_mut().poll(context));
        }
        Poll::Ready(this.frames.pop_front())
    }
}

/// A stream that never ends by itself and counts when it is dropped.
struct EndlessBody {
    chunk: Bytes,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    cut_off: Arc<AtomicUsize>,
}

impl hyper::body::Body for EndlessBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = &mut *self;
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(10))));
        std::task::ready!(timer.as_mut().poll(context));
        this.timer = None;
        Poll::Ready(Some(Ok(Frame::data(this.chunk.clone()))))
    }
}

impl Drop for EndlessBody {
    fn drop(&mut self) {
        self.cut_off.fetch_add(1, Ordering::SeqCst);
    }
}

/// A stream that ends neither well nor badly.
struct StalledBody {
    first: Option<Bytes>,
}

impl hyper::body::Body for StalledBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Poll::Pending,
        }
    }
}

/// Captures what is read.
struct Capturing<S> {
    socket: S,
    captured: Arc<Mutex<Vec<u8>>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Capturing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.socket).poll_read(context, buffer);
        self.captured.lock().unwrap().extend_from_slice(&buffer.filled()[before..]);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Capturing<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// A listener that nobody answers behind: for an upstream that cannot be reached.
pub async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    listener.local_addr().unwrap()
}

/// A raw connection.
pub async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}
