//! What each rung of the classifier says of a prompt, and how long it takes over it.
//!
//! [`Rungs::score`] is the one place that knows which rungs there are.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use router_model::measure::quantile;
use router_model::{Classifier, Prompt};
use serde::Serialize;

use crate::cli::CliError;
use crate::config::Config;
use crate::refine;

/// Everything before a decision: complexity, sensitivity, language, size.
const WHOLE: &str = "whole classification";
/// The first rung.
const FEATURES: &str = "features";
/// The second rung.
const ENCODER: &str = "encoder";

/// The classifier, and its rungs one by one.
#[derive(Debug)]
pub(super) struct Rungs {
    classifier: Classifier,
    times: BTreeMap<&'static str, Vec<Duration>>,
}

/// What was said of one prompt.
pub(super) struct Scoring {
    pub(super) complexity: f64,
    pub(super) task: &'static str,
    pub(super) language: String,
    /// The rung whose word it is.
    pub(super) rung: &'static str,
}

/// How long one rung takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) rung: &'static str,
    pub(super) prompts: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Rungs {
    /// The configured classifier, or that of a folder, with its encoder where it is to be had.
    pub(super) fn new(mut config: Config, artifact: Option<&Path>) -> Result<Self, CliError> {
        if let Some(folder) = artifact {
            config.router.artifact = Some(folder.to_owned());
        }
        Ok(Self { classifier: crate::cli::whole_classifier(&config)?, times: BTreeMap::new() })
    }

    /// Which trained artifact it is.
    pub(super) fn revision(&self) -> &str {
        self.classifier.revision()
    }

    pub(super) fn score(&mut self, prompt: &Prompt<'_>) -> Scoring {
        let (mut profile, view) = self.timed(WHOLE, |rungs| rungs.classifier.look(prompt));
        self.timed(FEATURES, |rungs| std::hint::black_box(rungs.classifier.view(prompt)));
        if self.classifier.has_encoder() && self.classifier.can_ask(&view) {
            self.timed(ENCODER, |rungs| refine::refine_now(&rungs.classifier, &mut profile, &view));
        }
        Scoring {
            complexity: f64::from(profile.complexity),
            task: profile.task.as_str(),
            language: profile.language.to_string(),
            rung: profile.rung.as_str(),
        }
    }

    /// Prompts that were scored.
    pub(super) fn scored(&self) -> usize {
        self.times.get(WHOLE).map_or(0, Vec::len)
    }

    fn timed<T>(&mut self, rung: &'static str, work: impl FnOnce(&Self) -> T) -> T {
        let started = Instant::now();
        let done = work(self);
        self.times.entry(rung).or_default().push(started.elapsed());
        done
    }

    pub(super) fn latency(&self) -> Vec<Latency> {
        let latency = |(&rung, times): (&&'static str, &Vec<Duration>)| {
            let mut ms: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
            ms.sort_by(f64::total_cmp);
            let (p50_ms, p99_ms) = (quantile(&ms, 0.5)?, quantile(&ms, 0.99)?);
            Some(Latency { rung, prompts: ms.len(), p50_ms, p99_ms })
        };
        self.times.iter().filter_map(latency).collect()
    }
}

/// Did this request need more than the first rung? An encoder that came too late was needed too.
pub(super) fn needed_encoder(rung: &str) -> bool {
    rung == ENCODER || rung == "late"
}
