//! How hard a prompt is, and what kind of work it asks for.
//!
//! **What the number means.** [`Assessment::complexity`] is the probability that a small model (a few billion
//! parameters) fails where a strong one is expected to do better. Below 0.35 a small local model usually suffices; from
//! 0.35 to 0.5 it is worth trying it and checking its answer; above 0.5 a strong model is usually needed. The
//! scale was fitted to measured failures of small models (mostly 2 to 13 billion parameters) on public questions, and, where
//! no failures were measured (everyday requests, requests picked for being hard), to assigned levels:
//! `MODEL_CARD.md` says which. Re-fit it to the model that is shipped.
//!
//! **What confidence means.** [`Assessment::confidence`] is the share of the words that training knew, times how
//! usual the shape of the text is (1 within the spread of 95 % of the training prompts, falling as 1/x outside). It
//! is about the text, not about the answer: a clear score for a text in an unknown language is not confident.
//!
//! **Two rungs.** A linear model over features answers in microseconds. Where its answer does not settle the decision, an
//! encoder reads the text itself (module `encoder`), and both together give the answer. A conversation is looked at once
//! ([`View`]) and weighed with or without the encoder's word, so that turns, shape and calibration work alike in both.

mod calibration;
mod context;
pub(crate) mod encoder;
mod features;
mod hash;
mod lexicon;
mod model;
mod reading;
mod scan;
mod view;
mod window;
mod wrappers;

use std::borrow::Cow;

use policies::{Rung, Task};

use local_runtime::Classification;

use crate::artifact::Artifact;
use crate::{Error, Prompt, Role, Segment, language};
use model::{Blend, Linear};
use view::Turn;

pub(crate) use calibration::Curve;
pub use encoder::RungConfig;
pub use features::{BUCKETS, DENSE, Extractor, Features, VOCABULARY_BITS, Vocabulary};
pub use reading::reading;
pub use view::View;

/// Expected length of an answer to a prompt without a word, in tokens.
const UNKNOWN_OUTPUT_TOKENS: f32 = 256.0;

/// What the model says about one prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assessment {
    /// P(a strong model is needed), in `[0, 1]`.
    pub complexity: f32,
    /// How sure the model is that it knows this kind of text, in `[0, 1]`.
    pub confidence: f32,
    /// Coarse type of work.
    pub task: Task,
    /// Expected length of an answer, in tokens.
    pub output_tokens: f32,
}

/// The complexity model with its weights.
pub struct ComplexityModel {
    linear: Linear,
}

impl std::fmt::Debug for ComplexityModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ComplexityModel").finish_non_exhaustive()
    }
}

impl ComplexityModel {
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
        Ok(Self { linear: Linear::read_from(&artifact.weights)? })
    }

    /// Assesses a conversation by its features: the last user turn in its context. Without a user turn the last segment
    /// counts.
    ///
    /// Texts without a word (an image alone, say) have the complexity of an unknown prompt, 0.5, and no confidence.
    #[must_use]
    pub fn assess(&self, prompt: &Prompt<'_>) -> Assessment {
        self.weigh(&self.view(prompt))
    }

    /// Looks at a conversation.
    #[must_use]
    pub fn view(&self, prompt: &Prompt<'_>) -> View {
        let mut view = View { turns: Vec::new(), shape: 0.0, language: language::of_prompt(prompt) };
        let mut texts = turns_newest_first(prompt).into_iter();
        let Some(last) = texts.next().filter(|text| text.chars().any(char::is_alphanumeric)) else {
            return view;
        };
        view.shape = context::shape(prompt);
        let features = self.linear.extractor.extract(&last);
        let mut share = context::lean(&features);
        view.turns.push(Turn {
            reading: self.linear.read(&features),
            text: reading(&last).into_owned(),
            share: 1.0,
        });
        for text in texts.take(context::USER_TURNS_MAX - 1) {
            share *= context::AGE_DECAY;
            if share < context::SHARE_MIN {
                break;
            }
            let read = self.linear.read(&self.linear.extractor.extract(&text));
            view.turns.push(Turn { reading: read, text: reading(&text).into_owned(), share });
        }
        view
    }

    /// What the features say of a conversation.
    #[must_use]
    pub fn weigh(&self, view: &View) -> Assessment {
        inherit(view, |_, turn| self.linear.curve.at(turn.reading.score + view.shape))
    }

    /// The same with the encoder's word on every turn; `None` when its answer does not fit the view.
    #[must_use]
    pub fn weigh_with(&self, view: &View, said: &[Classification]) -> Option<Assessment> {
        let blend = &self.linear.blend;
        let scores = view.turns.iter().zip(said);
        let scores: Option<Vec<f32>> =
            scores.map(|(turn, said)| Blend::score(&turn.reading, &said.logits)).collect();
        let scores = scores.filter(|scores| scores.len() == view.turns.len())?;
        Some(inherit(view, |index, _| blend.curve.at(scores[index] + view.shape)))
    }

    /// The hand-made features of what [`ComplexityModel::assess`] looks at first, the last turn; `None` without a word.
    /// They are counts and shares: no word can be told from them.
    #[must_use]
    pub fn dense_features(&self, prompt: &Prompt<'_>) -> Option<Vec<f32>> {
        let last = turns_newest_first(prompt).into_iter().next()?;
        let spoken = last.chars().any(char::is_alphanumeric);
        spoken.then(|| self.linear.extractor.extract(&last).dense.to_vec())
    }

    /// The complexity that this model would give to a prompt to which `before` gave `complexity`, as far as its
    /// hand-made features tell: what words, context and encoder added to the score then is taken to stay. `None` when
    /// the features are not of this version.
    #[must_use]
    pub fn complexity_after(
        &self,
        before: &Self,
        features: &[f32],
        complexity: f32,
        rung: Rung,
    ) -> Option<f32> {
        let dense: &[f32; DENSE] = features.try_into().ok()?;
        let rest = before.curve_of(rung).score_at(complexity) - before.linear.shape_score(dense);
        Some(self.curve_of(rung).at(self.linear.shape_score(dense) + rest))
    }

    fn curve_of(&self, rung: Rung) -> &Curve {
        if rung == Rung::Encoder { &self.linear.blend.curve } else { &self.linear.curve }
    }

    /// By how much the encoder may move the probability that the features give: what nine in ten prompts stay within.
    #[must_use]
    pub fn encoder_reach(&self) -> f32 {
        self.linear.blend.reach
    }
}

/// A turn inherits from earlier ones as far as it leans on them, and only what makes it harder.
fn inherit(view: &View, complexity: impl Fn(usize, &Turn) -> f32) -> Assessment {
    let Some(last) = view.turns.first() else {
        let task = Task::Instruction;
        return Assessment { complexity: 0.5, confidence: 0.0, task, output_tokens: UNKNOWN_OUTPUT_TOKENS };
    };
    let assessment = |index: usize, turn: &Turn| Assessment {
        complexity: complexity(index, turn),
        confidence: turn.reading.familiarity,
        task: turn.reading.task,
        output_tokens: turn.reading.output_tokens,
    };
    let mut found = assessment(0, last);
    for (index, turn) in view.turns.iter().enumerate().skip(1) {
        let earlier = assessment(index, turn);
        let inherited = found.complexity + turn.share * (earlier.complexity - found.complexity);
        if inherited > found.complexity {
            found = Assessment {
                complexity: inherited,
                confidence: found.confidence.max(turn.share * earlier.confidence),
                task: earlier.task,
                output_tokens: found.output_tokens.max(turn.share * earlier.output_tokens),
            };
        }
    }
    found
}

/// The user's turns, newest first. Neighbouring segments are parts of one turn: a document and the question about
/// it belong together.
fn turns_newest_first<'p>(prompt: &'p Prompt<'_>) -> Vec<Cow<'p, str>> {
    let has_user = prompt.segments.iter().any(|segment| segment.role == Role::User);
    let speaks = |segment: &&Segment<'_>| !has_user || segment.role == Role::User;
    let mut turns: Vec<Vec<&'p str>> = Vec::new();
    let mut open = false;
    for segment in prompt.segments.iter().rev() {
        if !speaks(&segment) {
            open = false;
            if turns.len() == context::USER_TURNS_MAX {
                break;
            }
            continue;
        }
        match turns.last_mut() {
            Some(parts) if open => parts.push(&segment.text),
            _ => turns.push(vec![&segment.text]),
        }
        open = true;
    }
    let joined = |mut parts: Vec<&'p str>| {
        parts.reverse();
        if let [one] = parts[..] { Cow::Borrowed(one) } else { Cow::Owned(parts.join("\n")) }
    };
    turns.into_iter().map(joined).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The embedded weights with a little of something added to the bias and to the first feature's weight.
    fn retrained(bias: f32, weight: f32) -> ComplexityModel {
        let mut bytes = Artifact::embedded().weights.into_owned();
        let head = 28;
        for (at, more) in [(head + 4 * 3 * DENSE, bias), (head + 4 * 2 * DENSE, weight)] {
            let value = f32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
            bytes[at..at + 4].copy_from_slice(&(value + more).to_le_bytes());
        }
        ComplexityModel { linear: Linear::read_from(&bytes).expect("the layout is the same") }
    }

    #[test]
    fn features_tell_what_another_model_would_have_said() {
        let before = ComplexityModel::embedded().expect("loads");
        let texts = [
            "What is the capital of France?",
            "Prove that the square root of two is irrational, and generalise the argument to all primes.",
            "Write a haiku about autumn rain.",
            "Fix this: fn main() { let x = vec![1, 2, 3]; println!(\"{}\", x[3]); }",
            "Wie hoch ist der Eiffelturm, und wann wurde er gebaut?",
        ];
        let mut moved = 0;
        for (bias, weight) in [(0.0, 0.0), (0.7, 0.0), (-0.7, 0.0), (0.0, 0.4), (0.3, -0.4)] {
            let after = retrained(bias, weight);
            for text in texts {
                let prompt = Prompt::from_text(text);
                let features = before.dense_features(&prompt).expect("has words");
                assert_eq!(features.len(), DENSE);
                let (was, is) = (before.assess(&prompt).complexity, after.assess(&prompt).complexity);
                let said =
                    after.complexity_after(&before, &features, was, Rung::Features).expect("of this version");
                assert!((said - is).abs() < 2e-3, "{text}: {was} -> {is}, and {said} from features");
                moved += usize::from((is - was).abs() > 0.02);
            }
        }
        assert!(moved >= 10, "{moved}");
        assert_eq!(before.complexity_after(&before, &[0.0; 3], 0.5, Rung::Features), None);
        assert_eq!(before.dense_features(&Prompt::from_text("?!")), None);
    }
}
