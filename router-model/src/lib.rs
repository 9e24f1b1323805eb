//! From a prompt to a [`Profile`](policies::Profile): how hard it is, what it is about, and what sensitive data
//! it carries.
//!
//! Everything here is a function of the prompt and of weights that are part of the build or read from a folder; nothing is fetched
//! and no text is kept. The crate knows nothing of providers, money or HTTP.

pub mod complexity;
pub mod confidence;
pub mod language;
pub mod measure;
pub mod names;
pub mod sensitivity;
pub mod tokens;

mod artifact;
mod classifier;
mod config;
mod error;
mod memo;
mod prompt;

pub use artifact::Artifact;
pub use classifier::{Classifier, Scanner};
pub use confidence::{AnswerModel, Evidence};
pub use config::{ClassifierConfig, DETECTION_DEADLINE, MEMO_ENTRIES, TEXT_BYTES_MAX};
pub use error::Error;
pub use prompt::{Prompt, Role, Segment};
