//! Classification as a stage: what a checked request is found to hold.
//!
//! A body is classified whenever it is about to be decided on: once as the client sent it, and again after something in it
//! was replaced. Both go through the one function here, so that a body that was changed is looked at no less than one that
//! was not. Large bodies are read off the threads that move bytes.
//!
//! Left out: the encoder that judges difficulty, which is asked only where the policy's answer hangs on it (`refine`).

use std::sync::Arc;

use policies::Profile;
use router_model::Classifier;
use router_model::complexity::View;
use tracing::Instrument as _;

use crate::ask::Ask;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::http::inbound::Inbound;

/// Bodies larger than this are parsed and classified off the threads that move bytes.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// A request with what was found out about it.
#[derive(Debug)]
pub struct Classified<R> {
    /// The request.
    pub inbound: Inbound<R>,
    /// What it holds.
    pub profile: Profile,
    /// What the encoder can be asked about.
    pub view: View,
    /// Dense features of the complexity model, where the configuration asks for them.
    pub features: Option<Arc<[f32]>>,
    /// The classifier that said so: another may take over meanwhile.
    pub classifier: Arc<Classifier>,
}

/// Finds out what a request holds. Where the end user's name is itself a finding, the request withholds it.
///
/// # Errors
/// [`Error::Invalid`] for a body that is nested too deeply, [`Error::Panicked`].
///
/// # Cancel safety
/// Dropping the future loses the request; work that has begun on another thread is finished for nothing.
pub async fn classify<R: Ask>(gateway: &Arc<Gateway>, inbound: Inbound<R>) -> Result<Classified<R>, Error> {
    let bytes = inbound.request.body().len();
    let looking = gateway.clone();
    apart(bytes, move || look(&looking, inbound)).instrument(tracing::debug_span!("classification")).await
}

/// Computes, on a thread of its own where there is much to read.
///
/// # Errors
/// Those of the work, and [`Error::Panicked`].
pub async fn apart<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if bytes > INLINE_BYTES_MAX {
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::Panicked)?
    } else {
        work()
    }
}

/// Patterns and features: pure computing.
fn look<R: Ask>(gateway: &Gateway, mut inbound: Inbound<R>) -> Result<Classified<R>, Error> {
    let classifier = gateway.classifier();
    let prompt = inbound.prompt()?;
    let (profile, view) = classifier.look(&prompt);
    let findings = profile.sensitivity.findings.iter();
    let withheld =
        findings.map(|found| &prompt.segments[found.segment]).any(|segment| segment.path == "user");
    let stores = gateway.config.ledger_features && R::ROUTED;
    let features = stores.then(|| classifier.dense_features(&prompt)).flatten().map(Arc::from);
    drop(prompt);
    if withheld {
        // What was found to be sensitive is not stored, whatever field it came in.
        inbound.request.withhold_user();
    }
    Ok(Classified { inbound, profile, view, features, classifier })
}
