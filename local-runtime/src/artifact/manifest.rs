//! What a converted model says about itself.
//!
//! `manifest.json` is written last, so a directory that has one is whole. Directories made by other
//! tools have none and are described by their `genai_config.json` or `config.json` alone.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::onnx::NetworkConfig;

/// The version of the layout that this crate writes and reads. Older directories are converted again.
pub const FORMAT_VERSION: u32 = 2;
/// What every layout has.
const TOKENIZER: &str = "tokenizer.json";
/// The manifest's file name.
pub(crate) const MANIFEST: &str = "manifest.json";

/// Contents of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// The model's name.
    pub name: String,
    /// SHA-256 of the GGUF file that it was converted from.
    pub source_sha256: String,
    /// The weights' licence as the source states it, if it does.
    pub licence: Option<String>,
    /// The architecture's name, as GGUF files give it.
    pub family: String,
    /// Number of weights.
    pub parameters: u64,
    /// The longest sequence that the model was made for, in tokens.
    pub context_tokens: u32,
    /// Tokens that end a turn.
    pub eos_ids: Vec<u32>,
    /// Size of all files together, in bytes.
    pub installed_bytes: u64,
    /// Bytes of weights that a generated token reads: all but the rows of the table of embeddings that it does not need.
    pub weight_bytes: u64,
    /// Whether the network uses this crate's own operators, which only this crate can run.
    pub own_operators: bool,
}

/// An installed model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDir {
    /// The directory.
    pub path: PathBuf,
    /// The manifest, if the directory was made by this crate.
    pub manifest: Option<Manifest>,
}

impl ModelDir {
    /// Recognises a model directory: its manifest is of this version, or it has none and looks like onnxruntime-genai's or
    /// Hugging Face's.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        if !path.join(TOKENIZER).is_file() || !NetworkConfig::is_in(path) {
            return None;
        }
        let manifest = match std::fs::read(path.join(MANIFEST)) {
            Ok(bytes) => Some(serde_json::from_slice::<Manifest>(&bytes).ok()?),
            Err(_) => None,
        };
        let current = manifest.as_ref().is_none_or(|manifest| manifest.format_version == FORMAT_VERSION);
        current.then(|| Self { path: path.to_path_buf(), manifest })
    }

    /// The manifest's name, or the directory's.
    #[must_use]
    pub fn name(&self) -> String {
        let from_path =
            || self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        self.manifest.as_ref().map_or_else(from_path, |manifest| manifest.name.clone())
    }
}

impl Manifest {
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(MANIFEST);
        let bytes = serde_json::to_vec_pretty(self).expect("a manifest is plain data");
        std::fs::write(&path, bytes).map_err(Error::io("write", path))
    }
}
