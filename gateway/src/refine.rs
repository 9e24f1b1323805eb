//! The second rung of classification, on the request's path.
//!
//! The encoder costs milliseconds and the features microseconds, so it is asked only where its answer could change the
//! decision: the policy decides for the least and the most that the encoder is expected to say, and where all
//! agree, there is nothing to ask. It runs on its own threads; a request waits for it no longer than the deadline, and then
//! the features' word stands.

use std::future::Future;
use std::time::{Duration, Instant};

use policies::{Decision, Outcome, Profile, Rung};
use router_model::Classifier;
use router_model::complexity::View;

use crate::telemetry::Metrics;

/// Points on either side at which the policy is asked. A rule about a band of complexities narrower than a step may be missed.
const STEPS: u8 = 3;

/// Whether the policy decides alike whatever the encoder is expected to say.
pub fn is_decisive(profile: &Profile, reach: f32, decide: impl Fn(&Profile) -> Decision) -> bool {
    let mut probe = profile.clone();
    let mut at = |moved: f32| {
        probe.complexity = (profile.complexity + moved).clamp(0.0, 1.0);
        outcome(&decide(&probe))
    };
    let usual = at(0.0);
    let steps = (1..=STEPS).map(|step| reach * f32::from(step) / f32::from(STEPS));
    reach <= 0.0 || steps.flat_map(|moved| [-moved, moved]).all(|moved| at(moved) == usual)
}

/// What matters of a decision: the rule, and the targets in their order.
fn outcome(decision: &Decision) -> (String, Vec<String>) {
    let targets = match &decision.outcome {
        Outcome::Serve(plan) => plan.targets().iter().map(|target| target.id.to_string()).collect(),
        Outcome::Refuse(refusal) => vec![format!("{refusal:?}")],
    };
    (decision.reason.rule.to_string(), targets)
}

/// Asks the encoder and puts its answer into the profile, or says that it was late.
pub async fn refine(
    classifier: &Classifier,
    profile: &mut Profile,
    view: &View,
    deadline: Duration,
    metrics: &Metrics,
) {
    let started = Instant::now();
    let Some(asked) = classifier.ask(view) else { return };
    let said = match asked {
        Ok(pending) => within(deadline, pending).await,
        Err(error) => {
            tracing::debug!(%error, "the router's encoder was not asked");
            None
        }
    };
    match said {
        Some(said) => classifier.refine(profile, view, &said),
        None => profile.rung = Rung::Late,
    }
    metrics.encoded(started.elapsed().as_secs_f64());
}

/// The same on this thread, without a deadline: for commands.
pub fn refine_now(classifier: &Classifier, profile: &mut Profile, view: &View) {
    match classifier.ask(view).map(|asked| asked.map(|pending| pending.wait())) {
        None => {}
        Some(Ok(Ok(said))) => classifier.refine(profile, view, &said),
        Some(_) => profile.rung = Rung::Late,
    }
}

/// What the future gives within the time; a failure and a late answer are the same to the request.
async fn within<T, E: std::fmt::Display>(
    deadline: Duration,
    pending: impl Future<Output = Result<T, E>>,
) -> Option<T> {
    match tokio::time::timeout(deadline, pending).await {
        Ok(Ok(said)) => Some(said),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the router's encoder failed");
            None
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_features_stand_when_the_encoder_is_late_or_fails() {
        let deadline = Duration::from_millis(5);
        let never = std::future::pending::<Result<u8, String>>();
        assert_eq!(within(deadline, never).await, None);
        assert_eq!(within(deadline, async { Err::<u8, _>("out of memory") }).await, None);
        assert_eq!(within(deadline, async { Ok::<_, String>(7) }).await, Some(7));
    }
}
