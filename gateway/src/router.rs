//! The classifier in service, which can be exchanged while requests run.
//!
//! Another one takes over only when it was read, checked and built whole, with its encoder where the one before has one;
//! whoever classifies with the one before finishes with that.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use router_model::complexity::RungConfig;
use router_model::names::{NamesConfig, NamesMode};
use router_model::{Classifier, ClassifierConfig, Error, Prompt};
use serde_json::{Value, json};

use crate::config::{Config, Router};
use crate::local::{explain, store};
use crate::provision::{HttpFetcher, ProgressBars};

/// A classifier with where and when it came from.
#[derive(Debug)]
struct Loaded {
    classifier: Arc<Classifier>,
    artifact: Option<PathBuf>,
    since_ms: i64,
}

/// What an artifact's encoder is loaded with.
#[derive(Debug, Clone)]
pub struct EncoderSource {
    /// The ONNX Runtime library.
    pub library: PathBuf,
    /// Folder that encoders are unpacked below.
    pub cache: PathBuf,
    /// Threads and queue.
    pub config: RungConfig,
}

/// The classifier in service.
#[derive(Debug)]
pub struct RouterModel {
    now: ArcSwap<Loaded>,
    /// Held while one is loaded, so that no exchange loses a model that is being loaded. Requests do not look here.
    encoder: Mutex<Option<EncoderSource>>,
    /// Settings of every classifier but for the router model's folder.
    settings: ClassifierConfig,
}

/// What an exchange came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchanged {
    /// Another model is in service, of this revision.
    To(String),
    /// The files are those that serve already.
    Unchanged,
}

/// Why an artifact does not go into service.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It does not load.
    #[error(transparent)]
    Classifier(#[from] Error),
    /// It loads, and says what cannot be.
    #[error("its complexity of a plain question is {0}, which is no probability")]
    Absurd(f32),
}

impl RouterModel {
    /// Loads the configured model.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(settings: ClassifierConfig, now_ms: i64) -> Result<Self, LoadError> {
        let loaded = Loaded::read(settings.clone(), now_ms)?;
        Ok(Self { now: ArcSwap::from_pointee(loaded), encoder: Mutex::default(), settings })
    }

    /// Loads the model that finds names, for the classifier in service and each one that takes its place. Blocks for about a
    /// second.
    ///
    /// # Errors
    /// As [`Classifier::load_names`]; then requests stay in doubt where the model is required.
    pub fn load_names(&self, source: &NamesSource) -> Result<(), Error> {
        let _held = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        self.classifier().load_names(&source.library, &source.cache, &source.config)
    }

    /// A classifier that was built elsewhere.
    #[must_use]
    pub fn of(classifier: Classifier, now_ms: i64) -> Self {
        let settings = classifier.config().clone();
        let loaded = Loaded { classifier: Arc::new(classifier), artifact: None, since_ms: now_ms };
        Self { now: ArcSwap::from_pointee(loaded), encoder: Mutex::default(), settings }
    }

    /// Loads the encoder of the model in service, and from then on that of each one that takes its place. Blocks for about
    /// a second.
    ///
    /// # Errors
    /// As [`Classifier::load_encoder`]; then the features go on serving alone.
    pub fn load_encoder(&self, source: EncoderSource) -> Result<(), Error> {
        let mut kept = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let EncoderSource { library, cache, config } = &source;
        let loaded = self.classifier().load_encoder(library, cache, config);
        *kept = Some(source);
        loaded
    }

    /// The classifier for one request.
    #[must_use]
    pub fn classifier(&self) -> Arc<Classifier> {
        self.now.load().classifier.clone()
    }

    /// Which trained files are in service.
    #[must_use]
    pub fn revision(&self) -> String {
        self.classifier().revision().to_owned()
    }

    /// Reads the configured files again and puts them into service if they are others. Blocks for the disk.
    ///
    /// # Errors
    /// [`LoadError`]; then everything is as it was.
    pub fn exchange(&self, settings: &Router, now_ms: i64) -> Result<Exchanged, LoadError> {
        let encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now.load();
        let artifact = settings.artifact.clone();
        let next = Loaded::read(ClassifierConfig { artifact, ..self.settings.clone() }, now_ms)?;
        let revision = next.classifier.revision().to_owned();
        if revision == now.classifier.revision() && next.artifact == now.artifact {
            return Ok(Exchanged::Unchanged);
        }
        if let Some(source) = encoder.as_ref().filter(|_| settings.encoder) {
            next.take_encoder(source)?;
        }
        next.classifier.share_names(&now.classifier);
        self.now.store(Arc::new(next));
        Ok(Exchanged::To(revision))
    }

    /// For people: revision, folder, since when.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let now = self.now.load();
        json!({
            "revision": now.classifier.revision(),
            "encoder": now.classifier.has_encoder(),
            "names": now.classifier.names_revision(),
            "artifact": now.artifact.as_deref().map_or(String::from("built-in"), shown),
            "since_ms": now.since_ms,
        })
    }
}

impl Loaded {
    fn read(settings: ClassifierConfig, since_ms: i64) -> Result<Self, LoadError> {
        let artifact = settings.artifact.clone();
        let classifier = Classifier::new(settings)?;
        let complexity = classifier.classify(&Prompt::from_text("What is the capital of France?")).complexity;
        if !(0.0..=1.0).contains(&complexity) {
            return Err(LoadError::Absurd(complexity));
        }
        Ok(Self { classifier: Arc::new(classifier), artifact, since_ms })
    }

    /// Loads its encoder, if it has one: an artifact may have features alone.
    fn take_encoder(&self, source: &EncoderSource) -> Result<(), Error> {
        match self.classifier.load_encoder(&source.library, &source.cache, &source.config) {
            Ok(()) | Err(Error::NoEncoder) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Folder of the store that the encoders of router models are unpacked below.
const ENCODERS_FOLDER: &str = "router";
/// Folder of the store that names models are unpacked below.
const NAMES_FOLDER: &str = "names";

/// What the names model is loaded with.
#[derive(Debug, Clone)]
pub struct NamesSource {
    /// The ONNX Runtime library.
    pub library: PathBuf,
    /// Folder that models are unpacked below.
    pub cache: PathBuf,
    /// Threads and queue.
    pub config: NamesConfig,
}

/// Obtains the ONNX Runtime library if it is missing, which can take a while.
fn library(config: &Config) -> Result<PathBuf, String> {
    let (fetcher, progress) = (HttpFetcher::default(), ProgressBars::default());
    store(config)
        .ensure_onnx_runtime(config.store.onnxruntime.as_deref(), &fetcher, &progress, config.store.offline)
        .map_err(|error| explain(&error))
}

/// What the configured encoder is loaded with; `None` when it is switched off. Obtains the library if it is missing, which
/// can take a while.
///
/// # Errors
/// A sentence that says what is missing.
pub fn encoder_source(config: &Config) -> Result<Option<EncoderSource>, String> {
    if !config.router.encoder {
        return Ok(None);
    }
    let rung = RungConfig { threads: config.router.encoder_threads, ..RungConfig::default() };
    let cache = store(config).root().join(ENCODERS_FOLDER);
    Ok(Some(EncoderSource { library: library(config)?, cache, config: rung }))
}

/// The same for the names model.
///
/// # Errors
/// A sentence that says what is missing.
pub fn names_source(config: &Config) -> Result<Option<NamesSource>, String> {
    if config.detection.names == NamesMode::Off {
        return Ok(None);
    }
    let names = NamesConfig { threads: config.detection.names_threads, ..NamesConfig::default() };
    let cache = store(config).root().join(NAMES_FOLDER);
    Ok(Some(NamesSource { library: library(config)?, cache, config: names }))
}

/// Why a command's classifier lacks a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lacking {
    /// Why the encoder is not there, if it should be.
    pub encoder: Option<String>,
    /// Why the names model is not there, if it should be.
    pub names: Option<String>,
}

/// The classifier of a configuration with its models, for commands; and why a model is not there, if it should be.
///
/// # Errors
/// [`Error`], when the classifier cannot be built.
pub fn whole_classifier(config: &Config) -> Result<(Classifier, Lacking), Error> {
    let classifier = Classifier::new(config.classifier())?;
    let encoder = encoder_source(config).and_then(|source| match source {
        None => Ok(()),
        Some(EncoderSource { library, cache, config }) => {
            match classifier.load_encoder(&library, &cache, &config) {
                Ok(()) | Err(Error::NoEncoder) => Ok(()),
                Err(error) => Err(explain(&error)),
            }
        }
    });
    let names = names_source(config).and_then(|source| match source {
        None => Ok(()),
        Some(NamesSource { library, cache, config }) => {
            classifier.load_names(&library, &cache, &config).map_err(|error| explain(&error))
        }
    });
    Ok((classifier, Lacking { encoder: encoder.err(), names: names.err() }))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
