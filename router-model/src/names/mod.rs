//! Names in free text: a small network that labels every token, for what no pattern can tell.
//!
//! Persons, places, organisations, addresses and their like have no check digit and no fixed form. The network (how it was
//! trained: `train/ner`; its figures: `PRIVACY.md`) reads the *whole* text in overlapping windows, in the canonical view of
//! the pattern recognisers, so that hidden characters hide nothing from it either. It runs on a thread of its own; whoever
//! asks waits no longer than a deadline, and what was not read by then is a doubt.
//!
//! ```text
//! artifact  the trained files
//! spans     scores of tokens -> words -> findings
//! ask       one request: which texts are known, which are asked about, and what came of it
//! ```
//!
//! Findings are remembered by the keyed hash of the text that they were found in, like those of the patterns. Left out:
//! text that no letter is in, which has no names.

mod artifact;
mod ask;
mod spans;

use std::path::Path;
use std::sync::Arc;

use local_runtime::{Encoder, EncoderConfig};
use policies::EntityKind;

pub use artifact::NamesArtifact;
pub use ask::{AskedNames, FoundNames, TaggedNames, UnreadNames};

use crate::Error;
use crate::artifact::unpack;
use crate::memo::Memo;
use crate::sensitivity::LocalFinding;
use spans::Reader;

/// Tokens of a window, markers included: the longer of the two lengths that the network was trained on.
const WINDOW_TOKENS: u32 = 256;

/// What the model can find.
pub const KINDS: &[EntityKind] = &[
    EntityKind::Person,
    EntityKind::Org,
    EntityKind::Location,
    EntityKind::Address,
    EntityKind::Date,
    EntityKind::DateOfBirth,
    EntityKind::Age,
    EntityKind::Gender,
    EntityKind::Nrp,
    EntityKind::Profession,
    EntityKind::Family,
    EntityKind::Username,
    EntityKind::MedicalId,
];

/// What names are looked for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NamesMode {
    /// A request that the model cannot read is in doubt. The default: nothing fails open unless somebody writes it down.
    #[default]
    Required,
    /// Names are found where the model can be used, and nothing is said where it cannot.
    WhenAvailable,
    /// Patterns only.
    Off,
}

/// Settings of the model's thread.
#[derive(Debug, Clone)]
pub struct NamesConfig {
    /// Threads that compute, 1 to 256; default 1.
    pub threads: usize,
    /// Requests that may wait for it, 0 to 4096; default 64. A request beyond is in doubt.
    pub max_queue: usize,
    /// Tokens of one request that are read, 16 to 16777216; default 300,000. A request with more is in doubt.
    pub request_tokens: u32,
}

impl Default for NamesConfig {
    fn default() -> Self {
        Self { threads: 1, max_queue: 64, request_tokens: 300_000 }
    }
}

/// A loaded model with its memory.
#[derive(Debug)]
pub(crate) struct Names {
    encoder: Encoder,
    reader: Arc<Reader>,
    memo: Arc<Memo<[LocalFinding]>>,
    revision: String,
}

impl Names {
    /// Writes the files below `cache`, unless they are there, and loads them. Blocks for about a second.
    ///
    /// # Errors
    /// [`Error::Artifact`], [`Error::Encoder`], [`Error::Weights`].
    pub(crate) fn load(
        artifact: &NamesArtifact,
        library: &Path,
        cache: &Path,
        config: &NamesConfig,
        memo_entries: u64,
    ) -> Result<Self, Error> {
        let folder = unpack(artifact.files(), artifact.revision(), cache)?;
        let settings = EncoderConfig {
            threads: Some(config.threads),
            max_queue: config.max_queue,
            max_tokens: Some(WINDOW_TOKENS),
            request_tokens: config.request_tokens,
            ..EncoderConfig::new(folder)
        };
        let encoder = Encoder::load(library, settings).map_err(Error::Encoder)?;
        match Reader::new(&encoder.info().labels, artifact.thresholds()) {
            Ok(reader) => {
                let memo = Arc::new(Memo::new(memo_entries));
                Ok(Self { encoder, reader: Arc::new(reader), memo, revision: artifact.revision().to_owned() })
            }
            Err(error) => {
                encoder.shutdown();
                Err(error)
            }
        }
    }

    /// Which files it was loaded from.
    pub(crate) fn revision(&self) -> &str {
        &self.revision
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // The library must not be unloaded under a running batch.
        self.encoder.shutdown();
    }
}
