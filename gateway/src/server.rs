//! Running a built gateway: both planes, until told to stop, then an orderly end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::admin::AdminPlane;
use crate::audit::{Entry, Event};
use crate::config::{Server, Tls};
use crate::gateway::{Gateway, Parts};
use crate::http::{DataPlane, accept};

/// How long the ledger may take to write what is left.
const LEDGER_PATIENCE: Duration = Duration::from_secs(10);

/// The server's certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("server.tls: {0}")]
pub struct TlsError(String);

/// Serves both planes until `stop` completes; then drains requests, tasks and the ledger.
///
/// # Errors
/// [`TlsError`] before anything is served.
pub async fn serve(
    gateway: Arc<Gateway>,
    parts: Parts,
    stop: impl Future<Output = ()>,
) -> Result<(), TlsError> {
    serve_planes(gateway.clone(), parts, stop).await?;
    finish(&gateway).await;
    Ok(())
}

/// Serves both planes until `stop` completes and running requests are done.
///
/// # Errors
/// [`TlsError`] before anything is served.
pub async fn serve_planes(
    gateway: Arc<Gateway>,
    parts: Parts,
    stop: impl Future<Output = ()>,
) -> Result<(), TlsError> {
    let server = gateway.config.server.clone();
    let tls = server.tls.as_ref().map(acceptor).transpose()?;
    let admin_server = Server { tls: None, ..server.clone() };
    let admin_stop = gateway.tasks.clone();
    let admin_plane = Arc::new(AdminPlane(gateway.clone()));
    crate::drift::watch(&gateway);
    gateway.tasks.spawn("admin", async move {
        accept(parts.admin, None, admin_server, admin_plane, admin_stop.stopping()).await;
    });
    accept(parts.data, tls, server, Arc::new(DataPlane(gateway)), stop).await;
    Ok(())
}

/// Drains background tasks and writes what is left to the ledger.
pub async fn finish(gateway: &Gateway) {
    gateway.tasks.drain().await;
    let ledger = gateway.ledger.clone();
    ledger.audit(Entry::of_gateway(Event::Stopped, gateway.now_ms(), gateway.policy.revision()));
    let _ = tokio::task::spawn_blocking(move || ledger.stop(LEDGER_PATIENCE)).await;
    let runtimes: Vec<_> = gateway.portfolio.locals.iter().flat_map(|local| local.runtimes()).collect();
    // Each waits for the end of a step.
    let ends = move || runtimes.iter().for_each(local_runtime::Runtime::shutdown);
    let _ = tokio::task::spawn_blocking(ends).await;
    if let Some(encoder) = gateway.portfolio.encoder.as_ref().and_then(crate::encoder::LocalEncoder::encoder)
    {
        encoder.shutdown();
    }
}

fn acceptor(files: &Tls) -> Result<TlsAcceptor, TlsError> {
    let fail = |path: &std::path::Path, error: &dyn std::fmt::Display| {
        TlsError(format!("{}: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fail(&files.cert, &error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| fail(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fail(&files.cert, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| fail(&files.cert, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
