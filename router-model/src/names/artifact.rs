//! The trained files of the names model.

use std::borrow::Cow;
use std::path::Path;

use crate::Error;
use crate::artifact::{read_file, revision_of};

/// Files, as `train/ner/export.py` and `train/ner/thresholds.py` write them.
const FILES: [&str; 4] = ["model.onnx", "config.json", "tokenizer.json", "thresholds.json"];

/// Trained files.
#[derive(Clone)]
pub struct NamesArtifact {
    files: [(&'static str, Cow<'static, [u8]>); FILES.len()],
    revision: String,
}

impl std::fmt::Debug for NamesArtifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamesArtifact").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl NamesArtifact {
    /// The files that are part of this build.
    #[must_use]
    pub fn embedded() -> Self {
        let bytes: [&'static [u8]; FILES.len()] = [
            include_bytes!("weights/model.onnx"),
            include_bytes!("weights/config.json"),
            include_bytes!("weights/tokenizer.json"),
            include_bytes!("weights/thresholds.json"),
        ];
        Self::new(bytes.map(Cow::Borrowed))
    }

    /// Reads the folder that training wrote.
    ///
    /// # Errors
    /// [`Error::Artifact`] when a file cannot be read or is too large.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let [model, config, tokenizer, thresholds] = FILES;
        let file = |name| read_file(&folder.join(name));
        Ok(Self::new([file(model)?, file(config)?, file(tokenizer)?, file(thresholds)?]))
    }

    fn new(bytes: [Cow<'static, [u8]>; FILES.len()]) -> Self {
        let mut names = FILES.into_iter();
        let files = bytes.map(|bytes| (names.next().unwrap_or_default(), bytes));
        let revision = revision_of(&files);
        Self { files, revision }
    }

    pub(super) const fn files(&self) -> &[(&'static str, Cow<'static, [u8]>)] {
        &self.files
    }

    /// The thresholds, as JSON.
    pub(super) fn thresholds(&self) -> &[u8] {
        &self.files[FILES.len() - 1].1
    }

    /// Which files these are: the beginning of a hash of them.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }
}
