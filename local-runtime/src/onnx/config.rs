//! What is beside a network's file: names, sizes, and ids, whichever tool wrote them.
//!
//! A directory is onnxruntime-genai's if it has a `genai_config.json`, and otherwise the one of Hugging Face (optimum,
//! transformers.js) if it has a `config.json`. Both become one [`NetworkConfig`]. Sizes that the network's own inputs
//! state are taken from there (see [`super::interface`]); what is here fills the gaps.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{genai, transformers};
use crate::error::{Error, Result};

/// A model directory's description, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetworkConfig {
    /// The network's file.
    pub(crate) file: PathBuf,
    /// The architecture's name, as the directory gives it.
    pub(crate) family: String,
    pub(crate) vocabulary: usize,
    pub(crate) context_tokens: usize,
    pub(crate) eos_ids: Vec<u32>,
    /// Layers with a cache; counted from the network's inputs where it is not stated.
    pub(crate) layers: Option<usize>,
    pub(crate) kv_heads: Option<usize>,
    pub(crate) head_size: Option<usize>,
    /// Whether each cache is one buffer, given as input and as output.
    pub(crate) share_buffer: bool,
    /// Set for two sets of rotary frequencies: sequences longer than this use the second one from their beginning.
    pub(crate) long_rope_from: Option<usize>,
    pub(crate) names: Names,
}

/// Names of inputs and outputs; `%d` stands for the layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) input_ids: String,
    pub(crate) attention_mask: String,
    pub(crate) position_ids: String,
    pub(crate) logits: String,
    pub(crate) past: [String; 2],
    pub(crate) present: [String; 2],
}

impl Default for Names {
    fn default() -> Self {
        let own = str::to_owned;
        Self {
            input_ids: own("input_ids"),
            attention_mask: own("attention_mask"),
            position_ids: own("position_ids"),
            logits: own("logits"),
            past: [own("past_key_values.%d.key"), own("past_key_values.%d.value")],
            present: [own("present.%d.key"), own("present.%d.value")],
        }
    }
}

impl Names {
    /// A layer's cache inputs, and the outputs that continue them.
    pub(crate) fn cache(&self, layer: usize) -> [(String, String); 2] {
        let name = |pattern: &str| pattern.replace("%d", &layer.to_string());
        [0, 1].map(|part| (name(&self.past[part]), name(&self.present[part])))
    }
}

impl NetworkConfig {
    /// Reads a model directory's description.
    ///
    /// # Errors
    /// [`Error::CorruptModel`] names the file and the field.
    pub(crate) fn load(directory: &Path) -> Result<Self> {
        let (file, read): (_, fn(&Path) -> Result<Self>) = if directory.join(genai::FILE).is_file() {
            (genai::FILE, genai::load)
        } else if directory.join(transformers::FILE).is_file() {
            (transformers::FILE, transformers::load)
        } else {
            let reason = format!("it has neither {} nor {}", genai::FILE, transformers::FILE);
            return Err(Error::CorruptModel { path: directory.to_path_buf(), reason });
        };
        let config = read(directory)?;
        let corrupt = |reason: String| Error::CorruptModel { path: directory.join(file), reason };
        config.check().map_err(corrupt)?;
        Ok(config)
    }

    /// With two sets of rotary frequencies, a sequence must use one throughout. That takes position ids to choose by; a network
    /// without them can only stay with the first set. With them, long sequences are numbered from the threshold on.
    pub(super) fn limit_long_rope(&mut self, has_positions: bool) {
        if let Some(most) = self.long_rope_from {
            let longest = if has_positions { self.context_tokens.saturating_sub(most) } else { 0 };
            self.context_tokens = self.context_tokens.min(longest.max(most));
        }
    }

    /// Layers, key-value heads, and head size, where all of them are stated.
    pub(crate) fn cache_shape(&self) -> Option<[usize; 3]> {
        Some([self.layers?, self.kv_heads?, self.head_size?])
    }

    /// Whether a directory has the files of one of the layouts, without reading them.
    pub(crate) fn is_in(directory: &Path) -> bool {
        directory.join(genai::FILE).is_file()
            || (directory.join(transformers::FILE).is_file() && transformers::network_file(directory).is_ok())
    }

    fn check(&self) -> Result<(), String> {
        let numbers = [
            ("vocab_size", Some(self.vocabulary), 1 << 22),
            ("the context length", Some(self.context_tokens), 1 << 24),
            ("the head size", self.head_size, 4096),
            ("the number of hidden layers", self.layers, 1024),
            ("the number of key-value heads", self.kv_heads, 4096),
        ];
        for (name, value, most) in numbers {
            if let Some(value) = value.filter(|value| !(1..=most).contains(value)) {
                return Err(format!("{name} is {value}, not from 1 to {most}"));
            }
        }
        if self.eos_ids.is_empty() {
            return Err("no token ends an answer: eos_token_id is missing or empty".to_owned());
        }
        match self.eos_ids.iter().find(|&&id| id as usize >= self.vocabulary) {
            Some(id) => Err(format!("eos_token_id {id} is outside the vocabulary of {}", self.vocabulary)),
            None => Ok(()),
        }
    }
}

/// A token id or a list of them.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl OneOrMany {
    pub(super) fn ids(&self) -> &[u32] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

/// Reads a JSON file of a model directory.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let corrupt = |reason: String| Error::CorruptModel { path: path.to_path_buf(), reason };
    let bytes = std::fs::read(path).map_err(|error| corrupt(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))
}
