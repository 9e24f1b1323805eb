//! How hard a prompt is, and what kind of work it asks for.

use policies::Task;

use crate::{Error, Prompt, Role};

/// What the model says about one prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assessment {
    /// P(a strong model is needed), in `[0, 1]`.
    pub complexity: f32,
    /// How sure the model is that it knows this kind of text, in `[0, 1]`.
    pub confidence: f32,
    /// Coarse type of work.
    pub task: Task,
}

/// The complexity model with its weights.
#[derive(Debug)]
pub struct ComplexityModel {}

impl ComplexityModel {
    /// Loads the weights that are part of this build.
    ///
    /// # Errors
    /// [`Error::Weights`] when they do not have the expected shape.
    pub fn embedded() -> Result<Self, Error> {
        Ok(Self {})
    }

    /// Assesses a conversation: the last user turn in its context.
    #[must_use]
    pub fn assess(&self, prompt: &Prompt<'_>) -> Assessment {
        let last = prompt
            .segments
            .iter()
            .rev()
            .find(|segment| segment.role == Role::User);
        let length = last.map_or(0, |segment| segment.text.len());
        let complexity = (length as f32).ln_1p() / 12.0;
        Assessment {
            complexity: complexity.clamp(0.0, 1.0),
            confidence: 0.0,
            task: Task::Instruction,
        }
    }
}
