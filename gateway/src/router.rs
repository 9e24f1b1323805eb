//! The classifier in service, which can be exchanged while requests run.
//!
//! Another one takes over only when it was read, checked and built whole; whoever classifies with the one before
//! finishes with that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use router_model::{Classifier, Error, Prompt};
use serde_json::{Value, json};

use crate::config::Router;

/// A classifier with where and when it came from.
#[derive(Debug)]
struct Loaded {
    classifier: Arc<Classifier>,
    artifact: Option<PathBuf>,
    since_ms: i64,
}

/// The classifier in service.
#[derive(Debug)]
pub struct RouterModel(ArcSwap<Loaded>);

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
    pub fn load(settings: &Router, now_ms: i64) -> Result<Self, LoadError> {
        Ok(Self(ArcSwap::from_pointee(Loaded::read(settings, now_ms)?)))
    }

    /// The classifier for one request.
    #[must_use]
    pub fn classifier(&self) -> Arc<Classifier> {
        self.0.load().classifier.clone()
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
        let next = Loaded::read(settings, now_ms)?;
        let revision = next.classifier.revision().to_owned();
        let now = self.0.load();
        if revision == now.classifier.revision() && next.artifact == now.artifact {
            return Ok(Exchanged::Unchanged);
        }
        self.0.store(Arc::new(next));
        Ok(Exchanged::To(revision))
    }

    /// For people: revision, folder, since when.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let now = self.0.load();
        json!({
            "revision": now.classifier.revision(),
            "artifact": now.artifact.as_deref().map_or(String::from("built-in"), shown),
            "since_ms": now.since_ms,
        })
    }
}

impl Loaded {
    fn read(settings: &Router, since_ms: i64) -> Result<Self, LoadError> {
        let classifier = Classifier::new(settings.classifier())?;
        let complexity = classifier.classify(&Prompt::from_text("What is the capital of France?")).complexity;
        if !(0.0..=1.0).contains(&complexity) {
            return Err(LoadError::Absurd(complexity));
        }
        Ok(Self { classifier: Arc::new(classifier), artifact: settings.artifact.clone(), since_ms })
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
