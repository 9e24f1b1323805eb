//! The facade: one prompt in, one profile out.
//!
//! Invariants: every segment is scanned for sensitive data, whatever its role; whatever fails or is cut off
//! leaves a doubt; classification neither blocks nor panics. Complexity looks only at text and shape; what
//! the profile means for routing is the policy's word.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use policies::{Doubt, Finding, Profile, Sensitivity};

use crate::complexity::ComplexityModel;
use crate::config::{ClassifierConfig, MEMO_TEXT_BYTES_MIN};
use crate::memo::Memo;
use crate::sensitivity::{Detector, Scan};
use crate::{Error, Prompt, language, tokens};

/// Turns prompts into profiles. Built once and shared; `classify` may run on any number of threads.
pub struct Classifier {
    config: ClassifierConfig,
    detector: Detector,
    model: ComplexityModel,
    memo: Memo,
}

impl std::fmt::Debug for Classifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Classifier").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Classifier {
    /// Builds the detector and loads the weights that are part of this build.
    ///
    /// # Errors
    /// When a setting is out of range, or when a pattern or the weights do not load.
    pub fn new(config: ClassifierConfig) -> Result<Self, Error> {
        config.validate()?;
        let detector = Detector::new(config.detector.clone())?;
        let model = ComplexityModel::embedded()?;
        let memo = Memo::new(config.memo_entries);
        Ok(Self { config, detector, model, memo })
    }

    /// What is in the prompt: entities, topics, doubts, complexity, task, language and size.
    #[must_use]
    pub fn classify(&self, prompt: &Prompt<'_>) -> Profile {
        let sensitivity = self.sensitivity(prompt);
        let assessment = self.model.assess(prompt);
        Profile {
            sensitivity,
            complexity: assessment.complexity,
            confidence: assessment.confidence,
            task: assessment.task,
            language: language::of_prompt(prompt).into(),
            input_tokens: tokens::of_prompt(prompt),
        }
    }

    /// Findings of every segment, with the strongest score of each topic and every doubt once.
    fn sensitivity(&self, prompt: &Prompt<'_>) -> Sensitivity {
        let mut all = Sensitivity { doubt: prompt.doubt.clone(), ..Sensitivity::default() };
        for (index, segment) in prompt.segments.iter().enumerate() {
            let text = clip(&segment.text, self.config.text_bytes_max);
            if text.len() < segment.text.len() {
                all.doubt.push(Doubt::TextTooLong);
            }
            match self.scan(text) {
                Some(scan) => merge(&mut all, index, &scan),
                None => all.doubt.push(Doubt::DetectorError),
            }
        }
        all.doubt.sort_unstable();
        all.doubt.dedup();
        all
    }

    fn scan(&self, text: &str) -> Option<Arc<Scan>> {
        if text.len() < MEMO_TEXT_BYTES_MIN || self.config.memo_entries == 0 {
            return self.guarded_scan(text).map(Arc::new);
        }
        self.memo.get_or_scan(text, || self.guarded_scan(text))
    }

    /// A panic in the detector is our own bug, but it must not lose the request or, worse, its label.
    fn guarded_scan(&self, text: &str) -> Option<Scan> {
        catch_unwind(AssertUnwindSafe(|| self.detector.scan(text))).ok()
    }
}

fn merge(all: &mut Sensitivity, segment: usize, scan: &Scan) {
    all.findings.extend(scan.findings.iter().map(|found| Finding {
        segment,
        start: found.start,
        end: found.end,
        kind: found.kind,
        subtype: found.subtype.clone(),
        score: found.score,
        source: found.source,
    }));
    for &(topic, score) in &scan.topics {
        let strongest = all.topics.entry(topic).or_insert(score);
        *strongest = strongest.max(score);
    }
    all.doubt.extend_from_slice(&scan.doubt);
}

/// The longest beginning of `text` that has at most `bytes_max` bytes and ends between characters.
fn clip(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max { text } else { &text[..text.floor_char_boundary(bytes_max)] }
}
