//! A conversation is as hard as the work that its last turn asks for.
//!
//! "ok, continue" is three easy words and may ask for the second half of a proof. So a turn that leans on what was
//! said before inherits from earlier user turns: each older turn counts less by [`AGE_DECAY`], and only as far as
//! the last turn *leans* on it. A closing word ("thanks") leans on nothing.
//!
//! The shape of the request is added on the scale of the score. These weights are judgement, not training: the
//! labelled data holds single turns only. They are small, so that shape moves a borderline prompt and no other.

use crate::Prompt;
use crate::Role;

use super::features::Features;
use super::lexicon::Class;

/// How many user turns are looked at, the last one included.
pub(super) const USER_TURNS_MAX: usize = 4;
/// Share of an older turn's probability that is left after each turn.
pub(super) const AGE_DECAY: f32 = 0.92;
/// An older turn that counts for less than this is not looked at.
pub(super) const SHARE_MIN: f32 = 0.05;
/// Words up to which a turn leans wholly on what was said before.
const SHORT_WORDS: f32 = 6.0;
/// Words from which a turn stands for itself.
const LONG_WORDS: f32 = 40.0;

/// How far a turn leans on the turns before it, in `[0, 1]`.
pub(super) fn lean(features: &Features) -> f32 {
    let count = |class: Class| features.classes[class as usize];
    let refers = count(Class::FollowUp);
    let closes = count(Class::Closer) + count(Class::Greeting);
    if closes > 0.0 && refers == 0.0 && features.words <= SHORT_WORDS {
        return 0.0;
    }
    let short = 1.0 - (features.words - SHORT_WORDS) / (LONG_WORDS - SHORT_WORDS);
    let asks_afresh = count(Class::Fact) + count(Class::Routine) > 0.0 && refers == 0.0;
    short.clamp(0.0, 1.0) * if asks_afresh { 0.5 } else { 1.0 }
}

/// What the shape of the request adds to the score.
pub(super) fn shape(prompt: &Prompt<'_>) -> f32 {
    let bytes = |role: Role| {
        prompt.segments.iter().filter(|s| s.role == role).map(|s| s.text.len()).sum::<usize>() as f32
    };
    let tools = 0.25 * (prompt.tools as f32).ln_1p();
    let schema = if prompt.wants_schema { 0.2 } else { 0.0 };
    let turns = 0.1 * (prompt.turns.saturating_sub(1) as f32).ln_1p();
    let instructions = 0.1 * ((bytes(Role::System) / 1000.0).ln_1p());
    let results = 0.15 * ((bytes(Role::Tool) / 1000.0).ln_1p());
    let answer = 0.1 * prompt.max_output_tokens.map_or(0.0, |tokens| (tokens as f32 / 2000.0).max(1.0).ln());
    (tools + schema + turns + instructions + results + answer).min(1.5)
}
