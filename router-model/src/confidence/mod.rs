//! How sure a local answer is of itself: from what its generation gave away to P(good enough).
//!
//! **What the number means.** [`AnswerModel::assess`] is the calibrated probability that the answer would pass a
//! check, had there been one. It was fitted to answers of the shipped model to questions that can be checked by a
//! program; `weights/metrics.json` has the figures by kind. For open conversation there was nothing to check, so there
//! the number only ranks.
//!
//! **What goes in.** Log-probabilities and entropies of the tokens, how the answer ended, the runtime's signs of a bad
//! answer, whether demanded JSON parses and code fences close ([`Evidence`]), and the prompt's complexity, which the weights
//! of this build leave out. An answer that is empty, goes in circles, refuses, or is not the JSON that was demanded is worth 0
//! however sure the model was of it: that is a rule, not a weight.
//!
//! **Invariants.** The result lies in `[0, 1]` and is never NaN, whatever the evidence holds. No text is kept beyond the
//! bounds of [`Gathering`], and none leaves it. An unfinished answer is judged by weights of its own, fitted to
//! beginnings of answers.
//!
//! Left out: what to do with a weak answer (the policy's word) and judges that read the answer (another model's
//! business).

mod agreement;
mod evidence;
mod features;

use policies::Profile;
use serde::Deserialize;

use crate::Error;
use crate::artifact::Artifact;
use crate::complexity::Curve;

pub use agreement::{agreement, compares_results, final_answer};
pub use evidence::{Evidence, Gathering, OPENING_TOKENS};
pub use features::{FEATURES, NAMES, features};

/// Standardised features are cut here; training does the same.
const CLIP: f32 = 4.0;
const VERSION: u32 = 1;

/// The answer model with its weights.
#[derive(Debug, Clone)]
pub struct AnswerModel {
    whole: Weights,
    prefix: Weights,
}

impl AnswerModel {
    /// Loads the weights that are part of this build.
    ///
    /// # Errors
    /// [`Error::Weights`] when they do not have the expected shape.
    pub fn embedded() -> Result<Self, Error> {
        Self::from_artifact(&Artifact::embedded())
    }

    /// Loads the weights of an artifact.
    ///
    /// # Errors
    /// [`Error::Weights`] when they do not have the expected shape.
    pub fn from_artifact(artifact: &Artifact) -> Result<Self, Error> {
        Self::from_bytes(&artifact.confidence)
    }

    /// Reads weights as training writes them.
    ///
    /// # Errors
    /// [`Error::Weights`] when they do not have the expected shape.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let raw: Raw =
            serde_json::from_slice(bytes).map_err(|_| Error::Weights("confidence.json is not readable"))?;
        if raw.version != VERSION {
            return Err(Error::Weights("confidence.json is of another version"));
        }
        if raw.features != NAMES {
            return Err(Error::Weights("confidence.json was trained on other features"));
        }
        Ok(Self { whole: raw.whole.check()?, prefix: raw.prefix.check()? })
    }

    /// P(the answer is good enough), in `[0, 1]`.
    #[must_use]
    pub fn assess(&self, evidence: &Evidence, profile: &Profile) -> f32 {
        if evidence.is_worthless() {
            return 0.0;
        }
        let weights = if evidence.is_finished { &self.whole } else { &self.prefix };
        let own = weights.apply(&features(evidence, profile));
        match evidence.samples {
            None => own,
            Some(samples) => samples.vote(own),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: u32,
    features: Vec<String>,
    whole: Weights,
    prefix: Weights,
}

/// One logistic regression with its calibration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weights {
    mean: Vec<f32>,
    scale: Vec<f32>,
    weight: Vec<f32>,
    bias: f32,
    knots: Knots,
    #[serde(skip)]
    curve: Option<Curve>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Knots {
    score: Vec<f32>,
    probability: Vec<f32>,
}

impl Weights {
    fn check(mut self) -> Result<Self, Error> {
        let lists = [&self.mean, &self.scale, &self.weight];
        let whole = lists.iter().all(|list| list.len() == FEATURES && list.iter().all(|x| x.is_finite()));
        if !whole || !self.bias.is_finite() {
            return Err(Error::Weights(
                "confidence.json has lists of the wrong length or values that are no numbers",
            ));
        }
        let Knots { score, probability } = self.knots.clone();
        let curve = Curve::new(score, probability)
            .ok_or(Error::Weights("confidence.json: calibration does not rise"))?;
        self.curve = Some(curve);
        Ok(self)
    }

    fn apply(&self, values: &[f32; FEATURES]) -> f32 {
        let standard = values.iter().zip(&self.mean).zip(&self.scale);
        let terms = standard
            .zip(&self.weight)
            .map(|(((value, mean), scale), weight)| ((value - mean) * scale).clamp(-CLIP, CLIP) * weight);
        let score = self.bias + terms.sum::<f32>();
        self.curve.as_ref().map_or(0.0, |curve| curve.at(score))
    }
}

#[cfg(test)]
mod tests {
    use policies::{Sensitivity, Task};
    use proptest::prelude::*;

    use super::*;

    fn profile(complexity: f32) -> Profile {
        Profile {
            sensitivity: Sensitivity::default(),
            complexity,
            confidence: 0.8,
            task: Task::OpenQa,
            language: "en".into(),
            input_tokens: 30,
            output_tokens: 100,
            rung: policies::Rung::Features,
        }
    }

    fn gathered(logprobs: &[f32], text: &str) -> Gathering {
        let mut gathering = Gathering::new(false);
        for logprob in logprobs {
            gathering.token(*logprob, -logprob * 2.0, "");
        }
        gathering.text(text);
        gathering
    }

    #[test]
    fn a_sure_answer_is_worth_more_than_an_unsure_one() {
        let model = AnswerModel::embedded().unwrap();
        let assess = |logprob: f32, complexity: f32| {
            let mut gathering = gathered(&[logprob; 12], "The capital of France is Paris.");
            let beginning = model.assess(&gathering.evidence(), &profile(complexity));
            gathering.finish(false, &[]);
            (model.assess(&gathering.evidence(), &profile(complexity)), beginning)
        };
        let (sure, sure_beginning) = assess(-0.02, 0.2);
        let (unsure, unsure_beginning) = assess(-1.6, 0.2);
        assert!(sure > unsure + 0.1, "{sure} {unsure}");
        assert!(sure_beginning > unsure_beginning + 0.05, "{sure_beginning} {unsure_beginning}");
    }

    #[test]
    fn what_is_worthless_has_no_confidence() {
        use local_runtime::OutputFlag::{Empty, Loop, Refusal, Truncated};
        let model = AnswerModel::embedded().unwrap();
        for flag in [Empty, Loop, Refusal] {
            let mut gathering = gathered(&[-0.01; 8], "certain");
            gathering.finish(false, &[flag]);
            assert_eq!(model.assess(&gathering.evidence(), &profile(0.1)), 0.0, "{flag:?}");
        }
        let mut cut = gathered(&[-0.01; 8], "certain");
        cut.finish(true, &[Truncated]);
        assert!(model.assess(&cut.evidence(), &profile(0.1)) > 0.0);
        for (text, worthless) in [
            ("{\"a\": 1}", false),
            ("```json\n[1, 2]\n```", false),
            ("{\"a\": ", true),
            ("Sure! {\"a\": 1}", true),
        ] {
            let mut json = Gathering::new(true);
            json.token(-0.01, 0.1, text);
            json.finish(false, &[]);
            assert_eq!(json.evidence().is_worthless(), worthless, "{text}");
        }
        let refusing = gathered(&[-0.01; 8], "I'm sorry, but I can't assist with that");
        assert!(refusing.evidence().is_worthless(), "a refusal shows in the beginning already");
    }

    #[test]
    fn faulty_weights_are_refused() {
        let artifact = Artifact::embedded();
        let text = std::str::from_utf8(&artifact.confidence).unwrap();
        let refused = |text: String| AnswerModel::from_bytes(text.as_bytes()).unwrap_err().to_string();
        assert!(refused(text.replace("\"version\": 1", "\"version\": 2")).contains("another version"));
        assert!(refused(text.replace(NAMES[0], "something")).contains("other features"));
        assert!(refused(text[..text.len() / 2].to_owned()).contains("not readable"));
        assert!(refused(text.replacen("\"weight\": [", "\"weight\": [0.0, ", 1)).contains("wrong length"));
    }

    proptest! {
        #[test]
        fn it_is_a_probability_whatever_comes(
            tokens in prop::collection::vec((prop::num::f32::ANY, prop::num::f32::ANY, ".{0,6}"), 0..60),
            complexity in prop::num::f32::ANY, finished: bool, cut: bool, demands_json: bool,
        ) {
            let model = AnswerModel::embedded().unwrap();
            let mut gathering = Gathering::new(demands_json);
            for (logprob, entropy, text) in &tokens {
                gathering.token(*logprob, *entropy, text);
            }
            if finished {
                gathering.finish(cut, &[]);
            }
            let found = model.assess(&gathering.evidence(), &profile(complexity));
            prop_assert!((0.0..=1.0).contains(&found), "{found}");
        }
    }
}
