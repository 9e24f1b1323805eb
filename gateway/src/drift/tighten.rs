//! How much stricter the thresholds get while traffic is not what they were set for.
//!
//! One number: what is added to a request's complexity before the rules see it, and to the confidence that a local answer
//! must reach. It is never negative, so that it only ever moves requests to the side where quality is safe, and
//! never touches a label: what may not leave stays. It rises at once and falls with a half-life of a minute, so that a
//! signal that flickers does not make the thresholds flicker.

use std::time::Duration;

use policies::{Decision, Outcome};

use super::calibration::Calibration;

/// Rated answers below which ratings move nothing.
const RATED_MIN: u64 = 30;
/// Shortfall of the share of good answers at which ratings tighten in full.
const SHORTFALL_FULL: f64 = 0.2;
/// Time in which what is no longer called for falls to its half.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// What is below this is nothing.
const NOTHING: f32 = 0.001;

/// Bounds of the tightening.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Index from which a dimension has drifted, above 0.
    pub psi_alert: f64,
    /// Most that is added, in `[0, 1]`; 0 where thresholds stay as they are.
    pub max: f32,
    /// Share of good local answers that the policy promises, in `[0, 1]`.
    pub target: f64,
}

/// What is to be added while traffic looks like this: nothing up to the alert, the most from twice the alert on, and
/// a straight line between them; the same for the shortfall of good answers up to 0.2. The larger one counts.
///
/// `psi` is the larger index of complexity and of answer confidence, 0 where neither is known.
#[must_use]
pub fn tightening(psi: f64, rated: Option<&Calibration>, settings: &Settings) -> f32 {
    let moved = (psi - settings.psi_alert) / settings.psi_alert;
    let worse = rated
        .filter(|rated| rated.rated >= RATED_MIN)
        .map_or(0.0, |rated| (settings.target - rated.good_at_least()) / SHORTFALL_FULL);
    // `max` passes over what is no number, so an index that is none tightens nothing.
    let share = moved.max(worse).clamp(0.0, 1.0);
    #[expect(clippy::cast_possible_truncation, reason = "within 0 and 1")]
    let share = share as f32;
    settings.max.clamp(0.0, 1.0) * share
}

/// The amount in force after `elapsed`, when it was `now` and `aim` is called for.
#[must_use]
pub fn eased(now: f32, aim: f32, elapsed: Duration) -> f32 {
    let halves = elapsed.as_secs_f32() / HALF_LIFE.as_secs_f32();
    let eased = (now * 0.5_f32.powf(halves)).max(aim);
    if eased < NOTHING { 0.0 } else { eased }
}

/// Raises a value by the amount in force, within `[0, 1]`.
#[must_use]
pub fn raised(value: f32, amount: f32) -> f32 {
    if amount > 0.0 { (value + amount).min(1.0).max(value) } else { value }
}

/// Lets a decision that was made under tightened thresholds say so, and ask for more confidence.
pub fn tighten(decision: &mut Decision, amount: f32) {
    if amount <= 0.0 {
        return;
    }
    if let Outcome::Serve(plan) = &mut decision.outcome {
        plan.mode = plan.mode.tightened(amount);
    }
    let text = format!("; thresholds tightened by {amount:.2}: the traffic or its ratings have drifted");
    decision.reason.text.push_str(&text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::calibration::Rated;
    use super::*;

    const SETTINGS: Settings = Settings { psi_alert: 0.25, max: 0.15, target: 0.65 };

    fn rated(count: usize, good: usize) -> Option<Calibration> {
        let answers: Vec<_> = (0..count)
            .map(|index| Rated { confidence: 0.7, good: f32::from(u8::from(index < good)) })
            .collect();
        Calibration::of(&answers)
    }

    #[test]
    fn it_grows_with_the_excess_from_the_alert_to_twice_the_alert() {
        let amount = |psi| tightening(psi, None, &SETTINGS);
        for (psi, expected) in [(0.0, 0.0), (0.25, 0.0), (0.375, 0.075), (0.5, 0.15), (9.0, 0.15)] {
            assert!((amount(psi) - expected).abs() < 1e-6, "{psi}: {}", amount(psi));
        }
    }

    #[test]
    fn ratings_below_the_promise_tighten_and_few_ratings_do_not() {
        let amount = |count, good| tightening(0.0, rated(count, good).as_ref(), &SETTINGS);
        assert!(amount(29, 0) < f32::EPSILON, "too few");
        assert!(amount(200, 180) < f32::EPSILON, "as promised");
        assert!((amount(200, 20) - 0.15).abs() < 1e-6, "far below");
        let between = amount(200, 120);
        assert!(between > 0.0 && between < 0.15, "{between}");
    }

    #[test]
    fn it_rises_at_once_and_falls_by_half_in_a_minute() {
        let second = Duration::from_secs(1);
        assert!((eased(0.0, 0.1, second) - 0.1).abs() < 1e-6);
        assert!((eased(0.1, 0.0, HALF_LIFE) - 0.05).abs() < 1e-6);
        assert!((eased(0.1, 0.08, HALF_LIFE) - 0.08).abs() < 1e-6, "not below what is called for");
        let mut amount = 0.15;
        for _ in 0..600 {
            amount = eased(amount, 0.0, second);
        }
        assert!(amount.abs() < f32::EPSILON, "in the end it is gone, not small: {amount}");
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_never_lowers_anything(
            psi in prop_oneof![0.0..20.0_f64, Just(f64::NAN), Just(f64::INFINITY)],
            count in 0..300_usize, share in 0.0..=1.0_f64, max in 0.0..=1.0_f32, alert in 0.01..10.0_f64,
            target in 0.0..=1.0_f64, value in 0.0..=1.0_f32, now in 0.0..=1.0_f32,
        ) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
                reason = "at most 300")]
            let rated = rated(count, (count as f64 * share) as usize);
            let settings = Settings { psi_alert: alert, max, target };
            let amount = tightening(psi, rated.as_ref(), &settings);
            prop_assert!((0.0..=max).contains(&amount), "{amount}");
            prop_assert!(raised(value, amount) >= value && raised(value, amount) <= 1.0);
            let eased = eased(now, amount, Duration::from_secs(7));
            prop_assert!(eased <= now.max(amount) && eased >= 0.0);
        }

        #[test]
        fn more_drift_never_tightens_less(psi in 0.0..2.0_f64, more in 0.0..2.0_f64) {
            prop_assert!(tightening(psi + more, None, &SETTINGS) >= tightening(psi, None, &SETTINGS));
        }
    }
}
