//! Classification as a stage: what a checked request is found to hold.
//!
//! A body is classified whenever it is about to be decided on: once as the client sent it, and again after something in it
//! was replaced. Both go through the one function here, so that a body that was changed is looked at no less than one that
//! was not. Large bodies are read off the threads that move bytes.
//!
//! Left out: the encoder that judges difficulty, which is asked only where the policy's answer hangs on it (`refine`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use policies::{CallerFacts, Doubt, FindingSource, Profile, Sensitivity};
use router_model::Classifier;
use router_model::complexity::View;
use router_model::names::{AskedNames, FoundNames, KINDS};
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
    /// Place of the end user's name among the texts.
    user_segment: Option<usize>,
    /// Place of the model's name among the texts.
    model_segment: Option<usize>,
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
    let looked = apart(bytes, move || look(&looking, inbound));
    let (mut classified, asked) = looked.instrument(tracing::debug_span!("classification")).await?;
    let found = names(gateway, asked, bytes).instrument(tracing::debug_span!("names")).await?;
    Classifier::add_names(&mut classified.profile, found);
    withhold(&mut classified);
    refuse_telling_model(gateway, &classified)?;
    Ok(classified)
}

/// What the names model says, if it says so in time.
async fn names(gateway: &Gateway, asked: AskedNames, bytes: usize) -> Result<FoundNames, Error> {
    let AskedNames { known: mut found, unread } = asked;
    let Some(unread) = unread else { return Ok(found) };
    let started = Instant::now();
    let more = match tokio::time::timeout(gateway.config.detection.names_deadline, unread.tagged()).await {
        Ok(Ok(tagged)) => apart(bytes, move || Ok(tagged.found())).await?,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the names model failed");
            FoundNames::doubtful(Doubt::DetectorError)
        }
        Err(_) => FoundNames::doubtful(Doubt::DetectorTimeout),
    };
    gateway.metrics.named(started.elapsed().as_secs_f64());
    found.join(more);
    Ok(found)
}

/// What was found to be sensitive is not stored, whatever field it came in.
fn withhold<R: Ask>(classified: &mut Classified<R>) {
    let user = classified.user_segment;
    if classified.profile.sensitivity.findings.iter().any(|found| Some(found.segment) == user) {
        classified.inbound.request.withhold_user();
    }
}

/// A model's name is written down in many places: ledger, log, traces, alternatives. One that holds what the policy calls more than
/// public is refused before that. Guesses of the names model do not count, since models are called like people and places.
fn refuse_telling_model<R: Ask>(gateway: &Gateway, classified: &Classified<R>) -> Result<(), Error> {
    let findings = classified.profile.sensitivity.findings.iter();
    let told = findings.filter(|found| {
        Some(found.segment) == classified.model_segment && found.source != FindingSource::Ner
    });
    let told = Sensitivity { findings: told.cloned().collect(), ..Sensitivity::default() };
    if told.findings.is_empty() {
        return Ok(());
    }
    let nobody = CallerFacts::default();
    let least = gateway.policy.label(&Sensitivity::default(), &nobody).label;
    if gateway.policy.label(&told, &nobody).label > least {
        return Err(Error::invalid(
            "model",
            "`model` holds what may be sensitive, and models' names are written down",
        ));
    }
    Ok(())
}

/// Computes, on a thread of its own where there is much to read. A panic fails the request, which then goes nowhere, and not
/// the connection with every other request on it.
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
        catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Error::Panicked))
    }
}

/// Patterns and features: pure computing.
fn look<R: Ask>(gateway: &Gateway, inbound: Inbound<R>) -> Result<(Classified<R>, AskedNames), Error> {
    let classifier = gateway.classifier();
    let prompt = inbound.prompt()?;
    let (profile, view) = classifier.look(&prompt);
    // Names are looked for where the policy would make something of them: that costs milliseconds, and patterns microseconds.
    let heeded = gateway.policy.would_heed(&profile.sensitivity, KINDS);
    let asked = if heeded { classifier.ask_names(&prompt) } else { AskedNames::nothing() };
    let model_segment = prompt.segments.iter().position(|segment| segment.path == "model");
    let user_segment = prompt.segments.iter().position(|segment| segment.path == "user");
    let stores = gateway.config.ledger_features && R::ROUTED;
    let features = stores.then(|| classifier.dense_features(&prompt)).flatten().map(Arc::from);
    drop(prompt);
    Ok((Classified { inbound, profile, view, features, classifier, user_segment, model_segment }, asked))
}
