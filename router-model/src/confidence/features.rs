//! Evidence and profile as numbers. The only implementation: training reads them from the example `answers`.
//!
//! Of the prompt only its complexity is among them, and the weights of this build leave it at 0, since the complexity model was
//! fitted to the same answers. The prompt's length and kind of task were tried too: they let the weights learn which source a
//! training row is from, and ranked answers of sources that were left out worse than no prompt side at all.

use policies::Profile;

use super::evidence::Evidence;

/// Number of features.
pub const FEATURES: usize = NAMES.len();

/// Names of the features, in order.
pub const NAMES: [&str; 21] = [
    "tokens_log",
    "logprob_mean",
    "logprob_min",
    "logprob_q10",
    "logprob_q25",
    "logprob_q50",
    "logprob_opening",
    "logprob_closing",
    "logprob_normalised",
    "probability_mean",
    "entropy_mean",
    "entropy_max",
    "entropy_opening",
    "certain_share",
    "doubtful_share",
    "is_cut",
    "switched_language",
    "has_open_fence",
    "has_json",
    "complexity",
    "is_one_token",
];

/// The features of an answer, or of its beginning.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "token counts as logarithms")]
pub fn features(evidence: &Evidence, profile: &Profile) -> [f32; FEATURES] {
    let flag = |is_so: bool| f32::from(u8::from(is_so));
    let unit = |value: f32| if value.is_nan() { 0.5 } else { value.clamp(0.0, 1.0) };
    let [q10, q25, q50] = evidence.logprob_quantiles;
    [
        (evidence.tokens as f32).ln_1p(),
        evidence.logprob_mean,
        evidence.logprob_min,
        q10,
        q25,
        q50,
        evidence.logprob_opening,
        evidence.logprob_closing,
        evidence.logprob_normalised,
        evidence.logprob_mean.exp(),
        evidence.entropy_mean,
        evidence.entropy_max,
        evidence.entropy_opening,
        evidence.certain_share,
        evidence.doubtful_share,
        flag(evidence.is_cut),
        flag(evidence.switched_language),
        flag(evidence.has_open_fence),
        flag(evidence.is_json == Some(true)),
        unit(profile.complexity),
        flag(evidence.tokens <= 1),
    ]
}
