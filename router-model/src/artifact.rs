//! The trained files of the router model, and which ones they are.
//!
//! An artifact is read whole into memory before anything is built from it, so that a file that changes under a running
//! process changes nothing. Whether its numbers fit this build is checked where they are used.

use std::borrow::Cow;
use std::path::Path;

use crate::Error;

/// File of the weights, inside the folder that training writes.
const WEIGHTS_FILE: &str = "weights.bin";
/// Largest file that is read. The weights of this build have 0.6 MiB.
const BYTES_MAX: u64 = 64 << 20;
/// Digits of a revision.
const REVISION_DIGITS: usize = 12;

/// Trained files.
#[derive(Clone)]
pub struct Artifact {
    /// Weights of the linear model.
    pub(crate) weights: Cow<'static, [u8]>,
    revision: String,
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Artifact").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl Artifact {
    /// The files that are part of this build.
    #[must_use]
    pub fn embedded() -> Self {
        Self::new(Cow::Borrowed(include_bytes!("complexity/weights/weights.bin")))
    }

    /// Reads the folder that training wrote.
    ///
    /// # Errors
    /// [`Error::Artifact`] when a file cannot be read or is too large.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(WEIGHTS_FILE);
        let fail = |source| Error::Artifact { path: path.clone(), source };
        if std::fs::metadata(&path).map_err(fail)?.len() > BYTES_MAX {
            return Err(fail(std::io::Error::other("larger than 64 MiB")));
        }
        Ok(Self::new(Cow::Owned(std::fs::read(&path).map_err(fail)?)))
    }

    fn new(weights: Cow<'static, [u8]>) -> Self {
        let revision = blake3::hash(&weights).to_hex()[..REVISION_DIGITS].to_owned();
        Self { weights, revision }
    }

    /// Which files these are: the beginning of a hash of them.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }
}
