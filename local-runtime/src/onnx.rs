//! Networks on ONNX Runtime, in the layouts that others publish.
//!
//! ```text
//! config        a model directory's description -> names, sizes, ids; from
//!   genai         onnxruntime-genai's genai_config.json, or
//!   transformers  Hugging Face's config.json (optimum, transformers.js)
//! interface     what the network itself takes and gives, checked against the description
//! sequence      one sequence's cache, and a step of it
//! library       the ONNX Runtime library
//! ```
//!
//! Position ids start at 0 for every family. Some exports were made to be run from 1 (transformers.js does so for Gemma 3); since rotary
//! positions act only by their differences, the results are the same.
//!
//! Left out: hybrid caches (convolution, state space), and inputs other than ids, mask, and positions. They are refused
//! when loading. Sliding windows are the network's own business; the cache holds every token.

mod config;
mod genai;
mod interface;
mod library;
mod sequence;
#[cfg(test)]
mod tests;
mod transformers;

use std::collections::HashMap;
use std::path::Path;

use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use crate::accelerator::Accelerator;
use crate::backend::{Backend, Chunk, Opened, Opening, SequenceId};
use crate::config::RuntimeConfig;
use crate::error::{Error, Result};
pub(crate) use config::NetworkConfig;
use interface::{Fault, Interface};
pub(crate) use library::environment;
use sequence::{CAPACITY_STEP, Sequence};

/// A session, and a key-value cache for each sequence.
#[derive(Debug)]
pub(crate) struct OnnxBackend {
    session: Session,
    config: NetworkConfig,
    interface: Interface,
    sequences: HashMap<SequenceId, Sequence>,
    cache_bytes_max: usize,
}

impl OnnxBackend {
    /// Loads the network that `network` describes.
    pub(crate) fn load(library: &Path, config: &RuntimeConfig, mut network: NetworkConfig) -> Result<Self> {
        let path = network.file.clone();
        let corrupt = |reason: String| Error::CorruptModel { path: path.clone(), reason };
        if !path.is_file() {
            return Err(corrupt("the network's file is missing".to_owned()));
        }
        let session =
            session_builder(library, config.effective_threads(), config.spinning, &config.accelerator)?
                .commit_from_file(&path)
                .map_err(|error| corrupt(format!("ONNX Runtime refuses it: {error}")))?;
        let interface = Interface::read(&session, &network).map_err(|fault| match fault {
            Fault::Corrupt(reason) => corrupt(reason),
            Fault::Unsupported(reason) => Error::Unsupported { path: path.clone(), reason },
        })?;
        network.limit_long_rope(interface.positions.is_some());
        let (sequences, cache_bytes_max) = (HashMap::new(), config.cache_bytes());
        Ok(Self { session, config: network, interface, sequences, cache_bytes_max })
    }

    /// The description in force.
    pub(crate) fn config(&self) -> &NetworkConfig {
        &self.config
    }

    fn bytes_held(&self) -> usize {
        self.sequences.values().map(|sequence| self.interface.cache_bytes(sequence.capacity)).sum()
    }
}

impl Backend for OnnxBackend {
    fn vocabulary(&self) -> usize {
        self.interface.vocabulary
    }

    fn open(&mut self, id: SequenceId, opening: &Opening<'_>) -> Result<Opened> {
        let capacity = Sequence::rounded(&self.config, opening.capacity);
        let needed = self.interface.cache_bytes(capacity);
        if needed > self.cache_bytes_max {
            let limit = self.tokens_max();
            return Err(Error::ContextExceeded { prompt_tokens: opening.prompt.len(), limit });
        }
        if self.bytes_held() + needed > self.cache_bytes_max {
            return Ok(Opened::NoRoom);
        }
        let sequence = Sequence::open(&self.session, &self.interface, &self.config, opening.capacity)?;
        self.sequences.insert(id, sequence);
        Ok(Opened::Ready { reused: 0 })
    }

    fn step(&mut self, chunks: &[Chunk<'_>], logits: &mut Vec<f32>) -> Result<()> {
        logits.clear();
        for chunk in chunks {
            let sequence = self.sequences.get_mut(&chunk.sequence).ok_or_else(|| Error::Onnx {
                action: "compute a step",
                source: ort::Error::new("a sequence is not open"),
            })?;
            sequence.step(&mut self.session, &self.interface, chunk, logits)?;
        }
        Ok(())
    }

    fn can_truncate(&self) -> bool {
        false
    }

    fn truncate(&mut self, _: SequenceId, _: usize) {
        unreachable!("nothing is guessed for a cache that cannot forget")
    }

    fn tokens_max(&self) -> usize {
        // Lengths are rounded up to whole steps, so the last step may not fit.
        let step = self.interface.cache_bytes(CAPACITY_STEP).max(1);
        (self.cache_bytes_max / step * CAPACITY_STEP).min(self.config.context_tokens)
    }

    fn close(&mut self, sequence: SequenceId, _: bool) {
        self.sequences.remove(&sequence);
    }

    fn cache_bytes(&self) -> (usize, usize) {
        (self.bytes_held(), self.cache_bytes_max)
    }
}

/// What all sessions have in common.
pub(crate) fn session_builder(
    library: &Path,
    threads: usize,
    spinning: bool,
    accelerator: &Accelerator,
) -> Result<SessionBuilder> {
    let action = "set up a session";
    let builder = Session::builder(environment(library)?)
        .map_err(Error::onnx(action))?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(Error::onnx(action))?
        .with_intra_threads(threads)
        .map_err(Error::onnx(action))?
        .with_inter_threads(1)
        .map_err(Error::onnx(action))?
        .with_intra_op_spinning(spinning)
        .map_err(Error::onnx(action))?;
    accelerator.apply(builder, library)
}
