//! From a prompt to a [`Profile`](policies::Profile): how hard it is, what it is about, and what sensitive data
//! it carries.
//!
//! Everything here is a function of the prompt and of weights that are part of the build; nothing is fetched
//! and no text is kept. The crate knows nothing of providers, money or HTTP.

pub mod complexity;
pub mod language;
pub mod tokens;

mod classifier;
mod config;
mod error;
mod memo;
mod prompt;

pub use classifier::Classifier;
pub use config::{ClassifierConfig, MEMO_ENTRIES, TEXT_BYTES_MAX};
pub use error::Error;
pub use prompt::{Prompt, Role, Segment};

/// Placeholder of the sensitivity detector.
pub mod sensitivity {
    use policies::{Doubt, EntityKind, FindingSource, Topic};

    /// Settings of the detector.
    #[derive(Debug, Clone, Default)]
    pub struct DetectorConfig {}

    /// One finding in one text.
    #[derive(Debug, Clone, PartialEq)]
    pub struct LocalFinding {
        /// Start in code points.
        pub start: usize,
        /// End (exclusive) in code points.
        pub end: usize,
        /// What it is.
        pub kind: EntityKind,
        /// A finer name.
        pub subtype: Option<std::borrow::Cow<'static, str>>,
        /// Confidence in `[0, 1]`.
        pub score: f32,
        /// Which detector reported it.
        pub source: FindingSource,
    }

    /// What was found in one text.
    #[derive(Debug, Clone, PartialEq, Default)]
    pub struct Scan {
        /// Entities in order.
        pub findings: Vec<LocalFinding>,
        /// Topic scores.
        pub topics: Vec<(Topic, f32)>,
        /// Why something may have been missed.
        pub doubt: Vec<Doubt>,
    }

    /// Finds nothing yet.
    #[derive(Debug)]
    pub struct Detector {}

    impl Detector {
        /// Builds it.
        ///
        /// # Errors
        /// None yet.
        pub fn new(_config: DetectorConfig) -> Result<Self, crate::Error> {
            Ok(Self {})
        }

        /// Finds nothing yet.
        #[must_use]
        pub fn scan(&self, _text: &str) -> Scan {
            Scan::default()
        }
    }
}
