//! Whether traffic is still what the router was set for.
//!
//! A threshold is right for the prompts, the router model and the local model that it was chosen with. This module watches
//! what can be seen without anybody's help (complexity, label, task, language, rung, confidence of local answers: histograms of
//! the last requests against a reference) and what comes back from people (ratings against confidence), tells it in words
//! and numbers, and, where the operator allows that, makes the thresholds stricter for as long as it lasts.
//!
//! Invariants: memory is bounded; the request's path takes no lock; thresholds are only ever raised and labels never touched;
//! nothing of a prompt but its bins is kept. Left out: which requests moved (the ledger has them), and any conclusion about
//! single teams.

mod calibration;
mod dimension;
mod psi;
mod reference;
mod tighten;
mod watch;
mod window;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use policies::{Label, Profile};
use serde_json::{Map, Value, json};

pub use calibration::{Bin, Calibration, Rated, Share};
pub use dimension::Dimension;
pub use psi::Verdict;
pub use reference::{Reference, ReferenceError};
pub use tighten::{Settings, eased, raised, tighten, tightening};
pub use watch::{refresh, watch};

use psi::{Comparison, MOVED, OBSERVATIONS_MIN};
use window::Window;

/// Why the reference was not replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    /// There is too little to compare with later.
    #[error("only {0} requests were seen yet; a reference needs {OBSERVATIONS_MIN}")]
    TooFew(usize),
    /// The operator gave one.
    #[error("the reference is the file that `router.drift_reference` names")]
    Given,
}

/// What the monitor is built from.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Requests, and local answers, that are compared.
    pub window: usize,
    /// Alert, bound and promise.
    pub settings: Settings,
    /// The operator's reference, instead of the gateway's own traffic.
    pub given: Option<Reference>,
    /// Where the gateway's own reference is kept.
    pub file: PathBuf,
}

/// Watches traffic.
#[derive(Debug)]
pub struct Drift {
    setup: Setup,
    requests: Window,
    answers: Window,
    /// Bits of the amount in force.
    tightening: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    router: String,
    reference: Option<Reference>,
    calibration: Option<Calibration>,
    comparisons: Vec<(Dimension, Comparison)>,
    reviewed_ms: Option<i64>,
}

impl Drift {
    /// Starts to watch traffic that this router model classifies. A reference that was kept is used if it was measured
    /// with the same model.
    #[must_use]
    pub fn new(setup: Setup, router: &str) -> Self {
        let reference = setup.given.clone().or_else(|| kept(&setup, router));
        Self {
            requests: Window::new(setup.window, Dimension::OF_REQUESTS),
            answers: Window::new(setup.window, Dimension::OF_ANSWERS),
            tightening: AtomicU32::new(0),
            state: Mutex::new(State {
                router: router.to_owned(),
                reference,
                calibration: None,
                comparisons: waiting(),
                reviewed_ms: None,
            }),
            setup,
        }
    }

    /// Counts a classified request.
    pub fn observe(&self, profile: &Profile, label: Label) {
        self.requests.observe(dimension::bins_of_request(profile, label));
    }

    /// Counts the confidence of a local answer.
    pub fn answered(&self, confidence: f32) {
        self.answers.observe(dimension::bins_of_answer(confidence));
    }

    /// What is added to thresholds now, in `[0, 1]`.
    #[must_use]
    pub fn tightening(&self) -> f32 {
        f32::from_bits(self.tightening.load(Ordering::Relaxed))
    }

    /// The profile that rules are to see under a tightening: as it is but for a higher complexity.
    #[must_use]
    pub fn tightened<'p>(profile: &'p Profile, amount: f32) -> Cow<'p, Profile> {
        if amount <= 0.0 {
            return Cow::Borrowed(profile);
        }
        let complexity = raised(profile.complexity, amount);
        Cow::Owned(Profile { complexity, ..profile.clone() })
    }

    /// Takes note of another router model: what was measured with the one before cannot be compared.
    pub fn exchanged(&self, router: &str) {
        let mut state = self.state();
        if state.router == router {
            return;
        }
        router.clone_into(&mut state.router);
        self.requests.clear();
        self.answers.clear();
        state.comparisons = waiting();
        state.calibration = None;
        self.tightening.store(0.0_f32.to_bits(), Ordering::Relaxed);
        if self.setup.given.is_none() {
            state.reference = None;
        }
    }

    /// Replaces the reference by the traffic of now, and keeps it in its file. Blocks for the disk.
    ///
    /// # Errors
    /// [`ResetError`].
    pub fn reset(&self, now_ms: i64) -> Result<(), ResetError> {
        if self.setup.given.is_some() {
            return Err(ResetError::Given);
        }
        let seen = self.requests.len();
        if (seen as u64) < OBSERVATIONS_MIN {
            return Err(ResetError::TooFew(seen));
        }
        let mut state = self.state();
        let mut reference =
            Reference { router: Some(state.router.clone()), taken_ms: Some(now_ms), ..Reference::default() };
        let enough = self.histograms().filter(|(_, histogram)| window::total(histogram) >= OBSERVATIONS_MIN);
        enough.for_each(|(dimension, histogram)| reference.set(dimension, histogram));
        state.reference = Some(reference.clone());
        self.compare(&mut state);
        drop(state);
        self.keep(&reference);
        Ok(())
    }

    /// Compares, takes the first full window for the reference, and moves the tightening. `rated` holds the latest rated
    /// local answers, where they were read anew. Blocks for the disk when there is a new reference.
    pub fn review(&self, now_ms: i64, rated: Option<&[Rated]>) {
        let mut state = self.state();
        if let Some(rated) = rated {
            state.calibration = Calibration::of(rated);
        }
        let taken = self.first_reference(&mut state, now_ms);
        let before = worst(&state.comparisons);
        self.compare(&mut state);
        let after = worst(&state.comparisons);
        if before != after {
            self.tell(&state, after);
        }
        self.ease(&mut state, now_ms);
        drop(state);
        if let Some(reference) = taken {
            self.keep(&reference);
        }
    }

    /// The first full windows, where there is no reference for them yet.
    fn first_reference(&self, state: &mut State, now_ms: i64) -> Option<Reference> {
        if self.setup.given.is_some() {
            return None;
        }
        let full = [&self.requests, &self.answers].into_iter().filter(|window| window.len() == window.size());
        let known = |dimension| state.reference.as_ref().is_some_and(|kept| kept.get(dimension).is_some());
        let new: Vec<_> =
            full.flat_map(Window::histograms).filter(|(dimension, _)| !known(*dimension)).collect();
        if new.is_empty() {
            return None;
        }
        let mut reference = state.reference.clone().unwrap_or_default();
        reference.router = Some(state.router.clone());
        reference.taken_ms.get_or_insert(now_ms);
        new.into_iter().for_each(|(dimension, histogram)| reference.set(dimension, histogram));
        tracing::info!(window = self.setup.window, "the first full window is the reference for drift");
        state.reference = Some(reference.clone());
        Some(reference)
    }

    fn compare(&self, state: &mut State) {
        let comparable = state
            .reference
            .as_ref()
            .filter(|reference| reference.router.as_ref().is_none_or(|router| *router == state.router));
        let compared = |(dimension, current): (Dimension, Vec<u32>)| {
            let with = comparable.and_then(|reference| reference.get(dimension));
            let alert = self.setup.settings.psi_alert;
            (dimension, with.map_or(Comparison::WAITING, |with| Comparison::new(&current, with, alert)))
        };
        state.comparisons = self.histograms().map(compared).collect();
    }

    fn histograms(&self) -> impl Iterator<Item = (Dimension, Vec<u32>)> {
        self.requests.histograms().chain(self.answers.histograms())
    }

    /// Moves the tightening to where it is called for.
    fn ease(&self, state: &mut State, now_ms: i64) {
        let elapsed = state.reviewed_ms.replace(now_ms).map_or(0, |before| (now_ms - before).max(0));
        let psi = signal(&state.comparisons, self.tightening() > 0.0);
        let aim = tightening(psi, state.calibration.as_ref(), &self.setup.settings);
        let before = self.tightening();
        let now = eased(before, aim, Duration::from_millis(elapsed.unsigned_abs()));
        self.tightening.store(now.to_bits(), Ordering::Relaxed);
        if (before > 0.0) != (now > 0.0) || now > before {
            let rated = state.calibration.as_ref().map(Calibration::good_at_least);
            tracing::warn!(before, now, psi, good_at_least = rated, "the tightening of thresholds changed");
        }
    }

    fn tell(&self, state: &State, verdict: Verdict) {
        let moved = state.comparisons.iter().filter(|(_, found)| found.verdict >= Verdict::Moved);
        let moved: Vec<_> =
            moved.map(|(what, found)| format!("{}={:.3}", what.as_str(), found.psi)).collect();
        let (verdict, moved) = (verdict.as_str(), moved.join(" "));
        if moved.is_empty() {
            tracing::info!(verdict, "drift");
        } else {
            tracing::warn!(
                verdict,
                moved,
                alert = self.setup.settings.psi_alert,
                "traffic is not what it was"
            );
        }
    }

    /// Writes the reference. Without the file it is taken anew after a restart.
    fn keep(&self, reference: &Reference) {
        if let Err(error) = reference.write(&self.setup.file) {
            let file = self.setup.file.display();
            tracing::error!(%error, %file, "the reference for drift could not be kept");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What another thread left half done is compared anew at the next review.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers behind the gauges: verdict and index of each dimension, calibration, tightening.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let state = self.state();
        Figures {
            dimensions: state
                .comparisons
                .iter()
                .map(|(what, found)| (*what, found.psi, found.verdict))
                .collect(),
            requests: self.requests.len(),
            answers: self.answers.len(),
            calibration: state.calibration.clone(),
            tightening: self.tightening(),
        }
    }

    /// Everything, for `GET /admin/v1/drift`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let state = self.state();
        let settings = &self.setup.settings;
        let mut dimensions = Map::new();
        for ((dimension, current), (_, found)) in self.histograms().zip(&state.comparisons) {
            let with = state.reference.as_ref().and_then(|reference| reference.get(dimension));
            let compared = found.verdict != Verdict::Waiting;
            dimensions.insert(
                dimension.as_str().to_owned(),
                json!({
                    "verdict": found.verdict,
                    "psi": compared.then_some(found.psi), "psi_by_chance": compared.then_some(found.chance),
                    "observations": window::total(&current),
                    "current": reference::named(dimension, &current),
                    "reference": with.map(|with| reference::named(dimension, with)),
                }),
            );
        }
        let source = match (&self.setup.given, &state.reference) {
            (Some(_), _) => "file",
            (None, Some(_)) => "own traffic",
            (None, None) => "none yet: the first full window becomes it",
        };
        json!({
            "verdict": worst(&state.comparisons),
            "router": state.router,
            "window": {"size": self.setup.window, "requests": self.requests.len(), "answers": self.answers.len()},
            "psi_moved": MOVED.min(settings.psi_alert), "psi_alert": settings.psi_alert,
            "dimensions": dimensions,
            "reference_source": source,
            "reference": state.reference.as_ref().map(Reference::to_json),
            "ratings": state.calibration,
            "good_promised": settings.target,
            "good_at_least": state.calibration.as_ref().map(Calibration::good_at_least),
            "tightening": {"enabled": settings.max > 0.0, "now": self.tightening(), "max": settings.max},
        })
    }
}

/// What metrics show.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Index and verdict of each dimension.
    pub dimensions: Vec<(Dimension, f64, Verdict)>,
    /// Requests in the window.
    pub requests: usize,
    /// Local answers in the window.
    pub answers: usize,
    /// Ratings against confidence.
    pub calibration: Option<Calibration>,
    /// What is added to thresholds.
    pub tightening: f32,
}

fn waiting() -> Vec<(Dimension, Comparison)> {
    Dimension::ALL.into_iter().map(|dimension| (dimension, Comparison::WAITING)).collect()
}

fn worst(comparisons: &[(Dimension, Comparison)]) -> Verdict {
    comparisons.iter().map(|(_, found)| found.verdict).max().unwrap_or(Verdict::Waiting)
}

/// The larger index of complexity and confidence, where it is more than chance.
///
/// A tightening keeps harder prompts from the local model, which moves its confidence: while it is in force only complexity counts,
/// or it would keep itself alive.
fn signal(comparisons: &[(Dimension, Comparison)], is_tight: bool) -> f64 {
    comparisons
        .iter()
        .filter(|(dimension, found)| {
            (*dimension == Dimension::Complexity || (*dimension == Dimension::Confidence && !is_tight))
                && found.verdict == Verdict::Drifted
        })
        .map(|(_, found)| found.psi)
        .fold(0.0, f64::max)
}

/// The reference in the file, if it can be read and was measured with this router model.
fn kept(setup: &Setup, router: &str) -> Option<Reference> {
    let file = setup.file.display();
    match Reference::read(&setup.file) {
        Ok(reference) if reference.router.as_deref() == Some(router) => Some(reference),
        Ok(_) => {
            tracing::info!(%file, "the reference for drift is of another router model; a new one will be taken");
            None
        }
        Err(ReferenceError::File(error)) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(%file, "the reference for drift {error}; a new one will be taken");
            None
        }
    }
}

#[cfg(test)]
mod tests;
