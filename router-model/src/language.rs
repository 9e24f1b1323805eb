//! Which language a text is written in.

use crate::{Prompt, Role};

/// What is reported when the language is not known.
pub const UNKNOWN: &str = "und";

/// ISO 639-1 code of the main language of `text`, or [`UNKNOWN`].
#[must_use]
pub fn detect(_text: &str) -> &'static str {
    UNKNOWN
}

/// Language of the last user turn that says enough, else of the longest text.
#[must_use]
pub fn of_prompt(prompt: &Prompt<'_>) -> &'static str {
    let users = prompt
        .segments
        .iter()
        .rev()
        .filter(|segment| segment.role == Role::User);
    for segment in users {
        let found = detect(&segment.text);
        if found != UNKNOWN {
            return found;
        }
    }
    prompt
        .segments
        .iter()
        .max_by_key(|segment| segment.text.len())
        .map_or(UNKNOWN, |segment| detect(&segment.text))
}
