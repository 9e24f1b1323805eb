//! The trained files of the router model, and which ones they are.
//!
//! An artifact is read whole into memory before anything is built from it, so that a file that changes under a running
//! process changes nothing. Whether its numbers fit this build is checked where they are used.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Error;

/// File of the weights, inside the folder that training writes.
const WEIGHTS_FILE: &str = "weights.bin";
/// Folder of the encoder in there. An artifact without it has the features alone.
const ENCODER_FOLDER: &str = "encoder";
/// The encoder's files.
const ENCODER_FILES: [&str; 3] = ["model.onnx", "config.json", "tokenizer.json"];
/// File of the answer model's weights, if the folder has one.
const CONFIDENCE_FILE: &str = "confidence.json";
const EMBEDDED_CONFIDENCE: &[u8] = include_bytes!("confidence/weights/confidence.json");
/// Largest file that is read. The weights of this build have 0.6 MiB.
const BYTES_MAX: u64 = 64 << 20;
/// Digits of a revision.
const REVISION_DIGITS: usize = 12;

/// Files with their names.
pub(crate) type Files = [(&'static str, Cow<'static, [u8]>); ENCODER_FILES.len()];

/// Trained files.
#[derive(Clone)]
pub struct Artifact {
    /// Weights of the linear model.
    pub(crate) weights: Cow<'static, [u8]>,
    encoder: Option<Files>,
    /// Weights of the answer model.
    pub(crate) confidence: Cow<'static, [u8]>,
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
        let encoder = [
            (ENCODER_FILES[0], Cow::Borrowed(&include_bytes!("complexity/weights/encoder/model.onnx")[..])),
            (ENCODER_FILES[1], Cow::Borrowed(&include_bytes!("complexity/weights/encoder/config.json")[..])),
            (
                ENCODER_FILES[2],
                Cow::Borrowed(&include_bytes!("complexity/weights/encoder/tokenizer.json")[..]),
            ),
        ];
        let weights = Cow::Borrowed(&include_bytes!("complexity/weights/weights.bin")[..]);
        Self::new(weights, Cow::Borrowed(EMBEDDED_CONFIDENCE), Some(encoder))
    }

    /// Reads the folder that training wrote. Without weights of the answer model those of this build are taken.
    ///
    /// # Errors
    /// [`Error::Artifact`] when a file cannot be read or is too large.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let weights = read_file(&folder.join(WEIGHTS_FILE))?;
        let confidence = match read_file(&folder.join(CONFIDENCE_FILE)) {
            Err(Error::Artifact { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Cow::Borrowed(EMBEDDED_CONFIDENCE)
            }
            read => read?,
        };
        let encoder = folder.join(ENCODER_FOLDER);
        let encoder = if encoder.is_dir() {
            let [graph, config, tokenizer] = ENCODER_FILES;
            let file = |name| Ok::<_, Error>((name, read_file(&encoder.join(name))?));
            Some([file(graph)?, file(config)?, file(tokenizer)?])
        } else {
            None
        };
        Ok(Self::new(weights, confidence, encoder))
    }

    fn new(weights: Cow<'static, [u8]>, confidence: Cow<'static, [u8]>, encoder: Option<Files>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&weights).update(&confidence);
        for (name, bytes) in encoder.iter().flatten() {
            hasher.update(name.as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        }
        let revision = hasher.finalize().to_hex()[..REVISION_DIGITS].to_owned();
        Self { weights, confidence, encoder, revision }
    }

    /// The files of the encoder, if there is one.
    pub(crate) const fn encoder(&self) -> Option<&Files> {
        self.encoder.as_ref()
    }

    /// Which files these are: the beginning of a hash of them.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

pub(crate) fn read_file(path: &Path) -> Result<Cow<'static, [u8]>, Error> {
    let fail = |source| Error::Artifact { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(fail)?.len() > BYTES_MAX {
        return Err(fail(std::io::Error::other("larger than 64 MiB")));
    }
    Ok(Cow::Owned(std::fs::read(path).map_err(fail)?))
}

/// The beginning of a hash of files with their names.
pub(crate) fn revision_of(files: &[(&'static str, Cow<'static, [u8]>)]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in files {
        hasher.update(name.as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }
    hasher.finalize().to_hex()[..REVISION_DIGITS].to_owned()
}

/// Puts files into a folder of their own below `cache`, named by their revision. Complete or not there: it is renamed into
/// place.
pub(crate) fn unpack(
    files: &[(&'static str, Cow<'static, [u8]>)],
    revision: &str,
    cache: &Path,
) -> Result<PathBuf, Error> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let folder = cache.join(revision);
    let whole = |folder: &Path| {
        files.iter().all(|(name, bytes)| std::fs::read(folder.join(name)).is_ok_and(|found| found == **bytes))
    };
    if whole(&folder) {
        return Ok(folder);
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = cache.join(format!(".{revision}-{}-{number}", std::process::id()));
    let fail = |source| Error::Artifact { path: temporary.clone(), source };
    std::fs::create_dir_all(&temporary).map_err(fail)?;
    for (name, bytes) in files {
        std::fs::write(temporary.join(name), bytes).map_err(fail)?;
    }
    // A damaged folder makes way; another process may have been faster, which is as good.
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(fail)?;
    }
    let renamed = std::fs::rename(&temporary, &folder);
    if renamed.is_err() {
        std::fs::remove_dir_all(&temporary).map_err(fail)?;
    }
    if whole(&folder) { Ok(folder) } else { renamed.map(|()| folder).map_err(fail) }
}
