//! The embedded encoder's place in the gateway: loading, ready, or failed, as [`crate::local`] has it for the chat model.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use local_runtime::{Encoder, EncoderConfig, EncoderTask};
use policies::{Availability, Capabilities, Location, Price, Target};

use crate::config::{Config, Embedding};
use crate::local::{explain, store};
use crate::provision::{HttpFetcher, ProgressBars};

/// State of the encoder.
#[derive(Debug, Clone)]
enum State {
    Loading,
    Ready(Encoder),
    Failed(Arc<str>),
}

/// The embedded encoder, once and while it is there.
#[derive(Debug)]
pub struct LocalEncoder {
    config: Embedding,
    state: RwLock<State>,
}

impl LocalEncoder {
    /// An encoder that is still to be loaded.
    #[must_use]
    pub const fn new(config: Embedding) -> Self {
        Self { config, state: RwLock::new(State::Loading) }
    }

    /// Its settings.
    #[must_use]
    pub const fn config(&self) -> &Embedding {
        &self.config
    }

    /// Threads that compute for it.
    #[must_use]
    pub fn threads(&self) -> usize {
        settings(&self.config, Path::new("")).effective_threads()
    }

    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The loaded encoder.
    #[must_use]
    pub fn encoder(&self) -> Option<Encoder> {
        match self.state() {
            State::Ready(encoder) if encoder.is_healthy() => Some(encoder),
            _ => None,
        }
    }

    /// Why it cannot be used, if it cannot.
    #[must_use]
    pub fn fault(&self) -> Option<Arc<str>> {
        match self.state() {
            State::Loading => Some(Arc::from("the local embedding model is still loading")),
            State::Failed(why) => Some(why),
            State::Ready(encoder) if !encoder.is_healthy() => {
                Some(Arc::from("the local embedding model's worker has stopped"))
            }
            State::Ready(_) => None,
        }
    }

    /// Sets the outcome of loading. Why it failed is for the operator's log.
    pub fn set(&self, loaded: Result<Encoder, String>) {
        let state = match loaded {
            Ok(encoder) => State::Ready(encoder),
            Err(_) => {
                State::Failed("the local embedding model cannot be used; the gateway's log says why".into())
            }
        };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The target, as available as it is now.
    #[must_use]
    pub fn target(&self) -> Arc<Target> {
        let named = Path::new(&self.config.model).file_name();
        let name =
            named.map_or_else(|| self.config.model.clone(), |name| name.to_string_lossy().into_owned());
        let longest = match self.state() {
            State::Ready(encoder) => encoder.info().max_tokens,
            State::Loading | State::Failed(_) => 0,
        };
        let capabilities = Capabilities {
            tools: false,
            schema: false,
            vision: false,
            choices: false,
            context_tokens: u32::try_from(longest).unwrap_or(u32::MAX),
        };
        Arc::new(Target {
            id: format!("local/{name}").into(),
            location: Location::Local,
            upstream: "local".into(),
            model: name.into(),
            clearance: self.config.clearance,
            capabilities,
            price: Some(Price::FREE),
            strength: 0.0,
            availability: self.fault().map_or(Availability::Ready, Availability::Unavailable),
        })
    }
}

fn settings(config: &Embedding, directory: &Path) -> EncoderConfig {
    EncoderConfig {
        file: config.file.clone(),
        threads: config.threads,
        accelerator: config.accelerator.clone(),
        max_queue: config.max_queue,
        max_tokens: config.max_tokens,
        batch_tokens: config.batch_tokens,
        pooling: config.pooling,
        normalize: Some(config.normalize),
        prompt: config.prompt.clone(),
        ..EncoderConfig::new(directory)
    }
}

/// Obtains the library if it is missing and loads the encoder. Blocks for as long as that takes.
///
/// # Errors
/// A sentence that says what is missing and which setting mends it.
pub fn load(config: &Config, embedding: &Embedding) -> Result<Encoder, String> {
    let store = store(config);
    let (fetcher, progress) = (HttpFetcher::default(), ProgressBars::default());
    let library = store
        .ensure_onnx_runtime(config.store.onnxruntime.as_deref(), &fetcher, &progress, config.store.offline)
        .map_err(|error| explain(&error))?;
    let directory = store.encoder_path(&embedding.model);
    let encoder =
        Encoder::load(&library, settings(embedding, &directory)).map_err(|error| explain(&error))?;
    if encoder.info().task != EncoderTask::Embed {
        encoder.shutdown();
        return Err(format!(
            "{} labels texts and does not embed them: set local.embedding.model to another",
            embedding.model
        ));
    }
    Ok(encoder)
}
