//! Places that requests are forwarded to.
//!
//! [`UpstreamClient`] takes only [`Cleared`] bodies and opens them for the one target they were cleared for,
//! so no request can reach a socket without having passed the gate for it. Connections are pooled per
//! upstream; TLS is rustls with the public authorities and, where configured, one of the operator's own.

pub mod breaker;
pub mod openai;
pub mod sse;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use policies::{Availability, Capabilities, Cleared, PriceTable, Target};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use self::breaker::Breaker;
use crate::config::Upstream;
use crate::error::{Error, UpstreamFault};

/// How long an idle connection is kept. Below the usual 60 seconds of load balancers, so that a connection is
/// rarely closed at the moment it is used.
const POOL_IDLE: Duration = Duration::from_secs(50);

/// Where an upstream takes a kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/chat/completions`.
    Chat,
    /// `/embeddings`.
    Embeddings,
}

/// What is sent to an upstream.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// JSON body.
    pub body: Bytes,
    /// The client's headers that an upstream may see; they were classified with the body.
    pub headers: HeaderMap,
    /// W3C trace context of this request.
    pub traceparent: Option<HeaderValue>,
}

/// A pooled client of one upstream.
pub struct UpstreamClient {
    /// Its configuration.
    pub config: Upstream,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    chat_uri: Uri,
    embeddings_uri: Uri,
    authorization: Option<HeaderValue>,
    breaker: Breaker,
    targets: Vec<Arc<Target>>,
}

impl std::fmt::Debug for UpstreamClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamClient").field("name", &self.config.name).finish_non_exhaustive()
    }
}

/// An upstream could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("upstream `{name}`: {reason}")]
pub struct SetupError {
    name: Arc<str>,
    reason: String,
}

impl UpstreamClient {
    /// Sets a client up; opens no connection.
    ///
    /// # Errors
    /// [`SetupError`] when its authority file or URL cannot be used.
    pub fn new(config: Upstream, prices: &PriceTable, default_model: &str) -> Result<Self, SetupError> {
        let fail = |reason: String| SetupError { name: config.name.clone(), reason };
        let tls = tls_config(&config).map_err(fail)?;
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        http.set_connect_timeout(Some(config.connect_timeout));
        http.set_keepalive(Some(Duration::from_secs(30)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let uri = |path: &str| {
            let parsed = format!("{}{path}", config.base_url).parse();
            parsed
                .map_err(|error: hyper::http::uri::InvalidUri| fail(format!("{}: {error}", config.base_url)))
        };
        let (chat_uri, embeddings_uri) = (uri("/chat/completions")?, uri("/embeddings")?);
        let authorization = match &config.api_key {
            Ok(Some(secret)) => {
                let value = HeaderValue::from_str(&format!("Bearer {}", secret.expose()));
                let mut value = value
                    .map_err(|_| fail(String::from("its key has characters that a header cannot carry")))?;
                value.set_sensitive(true);
                Some(value)
            }
            _ => None,
        };
        let mut client = Self {
            client,
            chat_uri,
            embeddings_uri,
            authorization,
            breaker: Breaker::default(),
            targets: Vec::new(),
            config,
        };
        client.targets = if client.config.models.is_empty() {
            vec![Arc::new(client.target(default_model, prices))]
        } else {
            let names: Vec<Arc<str>> = client.config.models.iter().map(|m| m.name.clone()).collect();
            names.iter().map(|name| Arc::new(client.target(name, prices))).collect()
        };
        Ok(client)
    }

    /// The target for one model of this upstream, listed or not.
    fn target(&self, model: &str, prices: &PriceTable) -> Target {
        let listed = self.config.models.iter().find(|listed| &*listed.name == model);
        Target {
            id: format!("{}/{model}", self.config.name).into(),
            location: self.config.location,
            upstream: self.config.name.clone(),
            model: model.into(),
            clearance: self.config.clearance,
            // Of a model that is not listed nothing is known, so nothing is held against it.
            capabilities: listed
                .map_or(Capabilities { context_tokens: u32::MAX, ..Capabilities::ALL }, |m| m.capabilities),
            price: listed.and_then(|m| m.price).or_else(|| prices.price(model)),
            strength: listed.map_or(1.0, |m| m.strength),
            availability: Availability::Ready,
        }
    }

    /// Is this one of its listed models?
    #[must_use]
    pub fn lists(&self, model: &str) -> bool {
        self.config.models.iter().any(|listed| &*listed.name == model)
    }

    /// Its listed targets, as available as they are now.
    pub fn targets(&self, now: Instant) -> impl Iterator<Item = Arc<Target>> + '_ {
        let availability = self.availability(now);
        self.targets.iter().map(move |target| available(target, &availability))
    }

    /// The target for a model that the client names.
    #[must_use]
    pub fn named_target(&self, model: &str, prices: &PriceTable, now: Instant) -> Arc<Target> {
        let listed = self.targets.iter().find(|target| &*target.model == model);
        let target = listed.cloned().unwrap_or_else(|| Arc::new(self.target(model, prices)));
        available(&target, &self.availability(now))
    }

    fn availability(&self, now: Instant) -> Availability {
        if let Err(error) = &self.config.api_key {
            Availability::Unavailable(format!("{} has no key ({error})", self.config.name).into())
        } else if self.breaker.is_open(now) {
            Availability::Unavailable(
                format!("{} failed repeatedly and is left alone for a while", self.config.name).into(),
            )
        } else {
            Availability::Ready
        }
    }

    /// Sends a request and returns the response's head; the body follows as it arrives.
    ///
    /// Dropping the future or the response cancels the call.
    ///
    /// # Errors
    /// [`Error::Gate`] when the body was cleared for another target; [`Error::Upstream`].
    pub async fn send(
        &self,
        cleared: Cleared<Outgoing>,
        target: &Target,
        endpoint: Endpoint,
    ) -> Result<Response<Incoming>, Error> {
        let outgoing = cleared.open(target)?;
        let fail = |fault| Error::Upstream { upstream: self.config.name.clone(), fault };
        if !self.breaker.admits(Instant::now()) {
            return Err(fail(UpstreamFault::Unreachable(String::from("left alone after repeated failures"))));
        }
        let mut request = Request::new(Full::new(outgoing.body));
        *request.method_mut() = Method::POST;
        let uri = match endpoint {
            Endpoint::Chat => &self.chat_uri,
            Endpoint::Embeddings => &self.embeddings_uri,
        };
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        *headers = outgoing.headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        headers
            .insert(USER_AGENT, HeaderValue::from_static(concat!("sluicegate/", env!("CARGO_PKG_VERSION"))));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(traceparent) = outgoing.traceparent {
            headers.insert("traceparent", traceparent);
        }
        let sent = tokio::time::timeout(self.config.response_timeout, self.client.request(request)).await;
        let result = match sent {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(fail(UpstreamFault::Unreachable(root_cause(&error)))),
            Err(_) => Err(fail(UpstreamFault::Timeout)),
        };
        let worked = result.as_ref().is_ok_and(|response| !response.status().is_server_error());
        self.breaker.record(worked, Instant::now());
        result
    }
}

/// A target with another availability; the same one when nothing changes.
fn available(target: &Arc<Target>, availability: &Availability) -> Arc<Target> {
    if target.availability == *availability {
        target.clone()
    } else {
        Arc::new(Target { availability: availability.clone(), ..(**target).clone() })
    }
}

/// The innermost source of an error: what the system said.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn tls_config(config: &Upstream) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = &config.ca_file {
        let shown = path.display();
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|error| format!("{shown}: {error}"))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| format!("{shown}: {error}"))?;
            roots.add(certificate).map_err(|error| format!("{shown}: {error}"))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
