//! What each rung of the classifier says of a prompt, and how long it takes over it.
//!
//! [`Rungs::score`] is the one place that knows which rungs there are.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use policies::Rung;
use router_model::complexity::{ComplexityModel, RungConfig};
use router_model::measure::quantile;
use router_model::{Artifact, Classifier, ClassifierConfig, Prompt};
use serde::Serialize;

use super::super::super::CliError;

/// Everything before a decision but the encoder: features, sensitivity, language, size.
const WHOLE: &str = "whole classification";
/// The first rung.
const FEATURES: &str = Rung::Features.as_str();
/// The second rung.
const ENCODER: &str = Rung::Encoder.as_str();

/// The classifier, and its rungs one by one.
#[derive(Debug)]
pub(super) struct Rungs {
    classifier: Classifier,
    features: ComplexityModel,
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
    /// The classifier as it is built in, or with the artifact of a folder.
    pub(super) fn new(artifact: Option<&Path>) -> Result<Self, CliError> {
        let fault = |error: router_model::Error| CliError::fault(&error);
        let config =
            ClassifierConfig { artifact: artifact.map(Path::to_owned), ..ClassifierConfig::default() };
        let classifier = Classifier::new(config).map_err(fault)?;
        let trained = artifact.map_or_else(|| Ok(Artifact::embedded()), Artifact::read).map_err(fault)?;
        let features = ComplexityModel::from_artifact(&trained).map_err(fault)?;
        Ok(Self { classifier, features, times: BTreeMap::new() })
    }

    /// Which trained artifact it is.
    pub(super) fn revision(&self) -> &str {
        self.classifier.revision()
    }

    /// From here on every prompt is put to the encoder too.
    pub(super) fn load_encoder(&mut self, library: &Path, cache: &Path) -> Result<(), CliError> {
        let loaded = self.classifier.load_encoder(library, cache, &RungConfig::default());
        loaded.map_err(|error| CliError::fault(&error))
    }

    pub(super) fn score(&mut self, prompt: &Prompt<'_>) -> Scoring {
        let (mut profile, view) = self.timed(WHOLE, |rungs| rungs.classifier.look(prompt));
        self.timed(FEATURES, |rungs| std::hint::black_box(rungs.features.assess(prompt)));
        let started = Instant::now();
        if let Some(asked) = self.classifier.ask(&view) {
            match asked.and_then(|pending| pending.wait().map_err(router_model::Error::Encoder)) {
                Ok(said) => self.classifier.refine(&mut profile, &view, &said),
                Err(_) => profile.rung = Rung::Late,
            }
            self.times.entry(ENCODER).or_default().push(started.elapsed());
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
    rung == ENCODER || rung == Rung::Late.as_str()
}
