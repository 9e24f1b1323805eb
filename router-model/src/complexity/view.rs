//! One look at a conversation: which turns count, what the features say of each, and what an encoder would read.
//!
//! Made once and weighed once or twice: with the features alone, and again when the encoder has answered.

use super::model::Reading;

/// The turns of a conversation that count, newest first.
#[derive(Debug, Clone)]
pub struct View {
    /// Empty when there is no word to judge by.
    pub(super) turns: Vec<Turn>,
    /// What the shape of the request adds to each score.
    pub(super) shape: f32,
    /// Main language of the prompt, ISO 639-1.
    pub(crate) language: &'static str,
}

/// One user turn.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    /// What the features say.
    pub(super) reading: Reading,
    /// What an encoder reads of it.
    pub(super) text: String,
    /// How much of it the last turn inherits; 1 for the last turn itself.
    pub(super) share: f32,
}

impl View {
    /// The texts that an encoder is asked about, newest turn first; empty when it has nothing to add.
    #[must_use]
    pub fn texts(&self) -> Vec<&str> {
        self.turns.iter().map(|turn| &*turn.text).collect()
    }
}
