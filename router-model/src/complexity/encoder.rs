//! The encoder rung: a small network that reads the text itself.
//!
//! It answers with the logits of several heads (`train/encoder.py`): how much harder than its neighbours, how much a strong
//! model gains, and the kinds of work. What they are worth beside the features is part of
//! the weights. It knows English only; texts in other languages stay with the features.

use std::path::Path;

use local_runtime::{Classification, Encoder, EncoderConfig, Pending};

use super::View;
use crate::Error;
use crate::artifact::{Artifact, unpack};

/// Heads before those of the tasks: difficulty and gap, in units of the score.
pub(super) const SCORES: usize = 2;
/// Languages that it was trained on; `und` are texts too short to tell.
const LANGUAGES: [&str; 2] = ["en", "und"];

/// Settings of the encoder rung.
#[derive(Debug, Clone)]
pub struct RungConfig {
    /// Threads that compute, 1 to 256; default 1.
    pub threads: usize,
    /// Requests that may wait for it, 0 to 4096; default 32. A request beyond stays with the features.
    pub max_queue: usize,
}

impl Default for RungConfig {
    fn default() -> Self {
        Self { threads: 1, max_queue: 32 }
    }
}

/// A loaded encoder of the router model.
#[derive(Debug)]
pub(crate) struct Rung {
    encoder: Encoder,
}

impl Rung {
    /// Writes the artifact's encoder below `cache`, unless it is there, and loads it. Blocks for about a second.
    ///
    /// # Errors
    /// [`Error::NoEncoder`], [`Error::Artifact`], [`Error::Encoder`].
    pub(crate) fn load(
        artifact: &Artifact,
        library: &Path,
        cache: &Path,
        config: &RungConfig,
    ) -> Result<Self, Error> {
        let files = artifact.encoder().ok_or(Error::NoEncoder)?;
        let folder = unpack(files, artifact.revision(), cache)?;
        let settings = EncoderConfig {
            threads: Some(config.threads),
            max_queue: config.max_queue,
            ..EncoderConfig::new(folder)
        };
        let encoder = Encoder::load(library, settings).map_err(Error::Encoder)?;
        let labels = encoder.info().labels.len();
        if labels < SCORES {
            encoder.shutdown();
            return Err(Error::Weights("the encoder has too few heads"));
        }
        Ok(Self { encoder })
    }

    /// Asks about the turns of a conversation; `None` when it has nothing to add.
    pub(crate) fn ask(&self, view: &View) -> Option<Result<Pending<Vec<Classification>>, Error>> {
        reads(view).then(|| self.encoder.classify(&view.texts()).map_err(Error::Encoder))
    }
}

/// Whether the encoder has anything to say about a view.
pub(crate) fn reads(view: &View) -> bool {
    !view.turns.is_empty() && LANGUAGES.contains(&view.language)
}

impl Drop for Rung {
    fn drop(&mut self) {
        // The library must not be unloaded under a running batch.
        self.encoder.shutdown();
    }
}
