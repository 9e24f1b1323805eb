//! What can go wrong while a classifier is built.
//!
//! Classification itself has no error: whatever fails there becomes a doubt in the profile, which raises the
//! label instead of losing the request.

/// A fault found while building a [`Classifier`](crate::Classifier) or one of its parts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is outside its range.
    #[error("`{field}` is out of range: {requirement}")]
    Setting {
        /// Name of the setting.
        field: &'static str,
        /// What the value has to satisfy.
        requirement: &'static str,
    },
    /// A file of an artifact cannot be read.
    #[error("{} cannot be read", path.display())]
    Artifact {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The weights do not have the shape that this build expects.
    #[error("weights do not fit this build: {0}")]
    Weights(&'static str),
    /// The artifact has no encoder.
    #[error("the artifact has no encoder")]
    NoEncoder,
    /// The encoder cannot be loaded, or cannot answer now.
    #[error("the encoder of the router model cannot be used")]
    Encoder(#[source] local_runtime::Error),
    /// A pattern does not compile.
    #[error("pattern does not compile")]
    Pattern(#[from] regex::Error),
    /// A word list cannot be turned into an automaton.
    #[error("word list cannot be compiled")]
    WordList(#[from] aho_corasick::BuildError),
}
