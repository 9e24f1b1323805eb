//! Settings of the classifier, with their bounds.

use std::path::PathBuf;
use std::time::Duration;

use crate::Error;
use crate::names::NamesMode;
use crate::sensitivity::DetectorConfig;

/// Default of [`ClassifierConfig::memo_entries`].
pub const MEMO_ENTRIES: u64 = 65_536;
/// Default of [`ClassifierConfig::text_bytes_max`].
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Default of [`ClassifierConfig::detection_deadline`].
pub const DETECTION_DEADLINE: Duration = Duration::from_secs(5);
/// Texts shorter than this are scanned afresh: that costs less than hashing and a lookup.
pub(crate) const MEMO_TEXT_BYTES_MIN: usize = 64;

/// Settings of a [`Classifier`](crate::Classifier).
#[derive(Debug, Clone)]
pub struct ClassifierConfig {
    /// How many scanned segments are remembered. Unit: entries; 0 remembers none; default 65,536. A remembered
    /// segment holds positions and kinds, never text, so an entry is a few hundred bytes.
    pub memo_entries: u64,
    /// Longest segment that is scanned whole. Unit: bytes; at least 1,024; default 1 MiB. What lies beyond is
    /// not scanned, and the profile carries `Doubt::TextTooLong`.
    pub text_bytes_max: usize,
    /// How long the detectors may read one prompt. Default 5 s. It is looked at before each segment, so what overruns it is
    /// one segment at most; segments after that are not scanned, and the profile carries `Doubt::DetectorTimeout`.
    pub detection_deadline: Duration,
    /// Folder with a trained artifact. Default: the one that is part of this build.
    pub artifact: Option<PathBuf>,
    /// Settings of the sensitivity detector.
    pub detector: DetectorConfig,
    /// Whether names in free text are looked for by a model, and what it means when that cannot be done.
    pub names: NamesMode,
    /// Folder with a trained names model. Default: the one that is part of this build.
    pub names_artifact: Option<PathBuf>,
}

impl Default for ClassifierConfig {
    fn default() -> Self {
        Self {
            memo_entries: MEMO_ENTRIES,
            text_bytes_max: TEXT_BYTES_MAX,
            detection_deadline: DETECTION_DEADLINE,
            artifact: None,
            detector: DetectorConfig::default(),
            names: NamesMode::default(),
            names_artifact: None,
        }
    }
}

impl ClassifierConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        if self.text_bytes_max < 1024 {
            return Err(Error::Setting { field: "text_bytes_max", requirement: "at least 1024 bytes" });
        }
        Ok(())
    }
}
