//! The monitor as a whole: what it says of traffic that stays, moves and comes back.

use std::path::Path;

use policies::{Rung, Sensitivity, Task};

use super::*;

const WINDOW: usize = 400;

fn profile(complexity: f32, task: Task) -> Profile {
    Profile {
        sensitivity: Sensitivity::default(),
        complexity,
        confidence: 1.0,
        task,
        language: "en".into(),
        input_tokens: 20,
        output_tokens: 100,
        rung: Rung::Features,
    }
}

fn drift_in(folder: &Path, max: f32, given: Option<Reference>, router: &str) -> Drift {
    let settings = Settings { psi_alert: 0.25, max, target: 0.65 };
    Drift::new(Setup { window: WINDOW, settings, given, file: folder.join("l.drift.json") }, router)
}

/// A window of everyday requests, spread over the lower complexities.
fn easy(drift: &Drift, count: usize) {
    for turn in 0..count {
        let complexity = [0.05, 0.15, 0.15, 0.25][turn % 4];
        drift.observe(&profile(complexity, Task::OpenQa), Label::Public);
    }
}

/// Hard ones.
fn hard(drift: &Drift, count: usize) {
    for turn in 0..count {
        drift.observe(&profile([0.65, 0.75, 0.85][turn % 3], Task::Math), Label::Public);
    }
}

fn verdict(drift: &Drift, dimension: &str) -> String {
    drift.to_json()["dimensions"][dimension]["verdict"].as_str().unwrap().to_owned()
}

#[test]
fn the_first_full_window_is_the_reference_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let drift = drift_in(folder.path(), 0.0, None, "one");
    easy(&drift, WINDOW - 1);
    drift.review(1_000, None);
    assert!(drift.to_json()["reference"].is_null(), "the window is not full");
    easy(&drift, 1);
    drift.review(2_000, None);
    let shown = drift.to_json();
    assert_eq!(shown["verdict"], "stable");
    assert_eq!(shown["reference"]["taken_ms"], 2_000);
    assert_eq!(shown["reference"]["router"], "one");
    assert_eq!(shown["reference"]["histograms"]["task"]["open_qa"], WINDOW);

    let restarted = drift_in(folder.path(), 0.0, None, "one");
    assert_eq!(verdict(&restarted, "complexity"), "waiting", "nothing was seen yet");
    hard(&restarted, WINDOW);
    restarted.review(3_000, None);
    assert_eq!(verdict(&restarted, "complexity"), "drifted", "compared with what was before the restart");
    assert_eq!(restarted.to_json()["reference"]["taken_ms"], 2_000);

    let other = drift_in(folder.path(), 0.0, None, "two");
    assert!(other.to_json()["reference"].is_null(), "another router model's complexities are no measure");
    std::fs::write(folder.path().join("l.drift.json"), "{").unwrap();
    assert!(
        drift_in(folder.path(), 0.0, None, "one").to_json()["reference"].is_null(),
        "a broken file is none"
    );
}

#[test]
fn traffic_that_moves_is_told_by_what_moved_and_forgotten_when_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let drift = drift_in(folder.path(), 0.0, None, "one");
    easy(&drift, WINDOW);
    drift.review(0, None);
    easy(&drift, WINDOW / 2);
    drift.review(0, None);
    assert_eq!(drift.to_json()["verdict"], "stable");
    hard(&drift, WINDOW);
    drift.review(0, None);
    assert_eq!(verdict(&drift, "complexity"), "drifted");
    assert_eq!(verdict(&drift, "task"), "drifted");
    assert_eq!(verdict(&drift, "label"), "stable");
    assert_eq!(verdict(&drift, "language"), "stable");
    assert_eq!(verdict(&drift, "confidence"), "waiting");
    easy(&drift, WINDOW);
    drift.review(0, None);
    assert_eq!(drift.to_json()["verdict"], "stable");
}

#[test]
fn a_new_reference_makes_the_traffic_of_now_the_measure() {
    let folder = tempfile::tempdir().unwrap();
    let drift = drift_in(folder.path(), 0.0, None, "one");
    easy(&drift, WINDOW);
    drift.review(0, None);
    hard(&drift, WINDOW);
    drift.review(0, None);
    drift.reset(9).unwrap();
    assert_eq!(drift.to_json()["verdict"], "stable");
    assert_eq!(Reference::read(&folder.path().join("l.drift.json")).unwrap().taken_ms, Some(9));
    let fresh = drift_in(tempfile::tempdir().unwrap().path(), 0.0, None, "one");
    easy(&fresh, 7);
    assert_eq!(fresh.reset(0), Err(ResetError::TooFew(7)));
}

#[test]
fn an_operator_s_reference_counts_from_the_first_hundred_and_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut given = Reference::default();
    given.set(Dimension::Complexity, vec![250, 500, 250, 0, 0, 0, 0, 0, 0, 0]);
    let drift = drift_in(folder.path(), 0.0, Some(given.clone()), "one");
    hard(&drift, 99);
    drift.review(0, None);
    assert_eq!(verdict(&drift, "complexity"), "waiting");
    hard(&drift, WINDOW);
    drift.review(0, None);
    assert_eq!(verdict(&drift, "complexity"), "drifted");
    assert_eq!(verdict(&drift, "task"), "waiting", "the file has no histogram of it");
    assert_eq!(drift.reset(0), Err(ResetError::Given));
    assert!(!folder.path().join("l.drift.json").exists());

    given.router = Some(String::from("other"));
    let drift = drift_in(folder.path(), 0.15, Some(given), "one");
    hard(&drift, WINDOW);
    drift.review(0, None);
    assert_eq!(drift.to_json()["verdict"], "waiting", "measured with another router model");
    assert!(drift.tightening().abs() < f32::EPSILON);
}

#[test]
fn another_router_model_starts_afresh() {
    let folder = tempfile::tempdir().unwrap();
    let drift = drift_in(folder.path(), 0.0, None, "one");
    easy(&drift, WINDOW);
    drift.review(0, None);
    drift.exchanged("one");
    assert_eq!(drift.to_json()["window"]["requests"], WINDOW, "the same model changes nothing");
    drift.exchanged("two");
    drift.review(0, None);
    assert_eq!(drift.to_json()["window"]["requests"], 0);
    assert!(drift.to_json()["reference"].is_null());
    hard(&drift, WINDOW);
    drift.review(5, None);
    assert_eq!(drift.to_json()["reference"]["router"], "two");
    assert_eq!(drift.to_json()["verdict"], "stable");
}

#[test]
fn thresholds_are_tightened_while_it_lasts_and_only_where_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let (asked, watched) =
        (drift_in(folder.path(), 0.15, None, "one"), drift_in(folder.path(), 0.0, None, "one"));
    for drift in [&asked, &watched] {
        easy(drift, WINDOW);
        drift.review(0, None);
        hard(drift, WINDOW);
        drift.review(1_000, None);
    }
    assert!((asked.tightening() - 0.15).abs() < 1e-6);
    assert!(watched.tightening().abs() < f32::EPSILON, "only reported");
    let raised = Drift::tightened(&profile(0.4, Task::Math), asked.tightening()).into_owned();
    assert!((raised.complexity - 0.55).abs() < 1e-6);
    assert_eq!(raised, Profile { complexity: raised.complexity, ..profile(0.4, Task::Math) });

    easy(&asked, WINDOW);
    asked.review(61_000, None);
    assert!((asked.tightening() - 0.075).abs() < 1e-3, "half of it after a minute");
    asked.review(1_000_000, None);
    assert!(asked.tightening().abs() < f32::EPSILON);
}

#[test]
fn answers_have_a_window_of_their_own_and_ratings_tighten_too() {
    let folder = tempfile::tempdir().unwrap();
    let drift = drift_in(folder.path(), 0.1, None, "one");
    (0..WINDOW).for_each(|_| drift.answered(0.8));
    drift.review(0, None);
    assert_eq!(drift.to_json()["reference"]["histograms"]["confidence"]["0.8"], WINDOW);
    assert_eq!(verdict(&drift, "complexity"), "waiting");
    easy(&drift, WINDOW);
    drift.review(0, None);
    assert_eq!(verdict(&drift, "complexity"), "stable", "the reference is completed");
    (0..WINDOW).for_each(|_| drift.answered(0.2));
    drift.review(0, None);
    assert_eq!(verdict(&drift, "confidence"), "drifted");
    (0..WINDOW).for_each(|_| drift.answered(0.8));
    drift.review(1_000_000, None);
    assert!(drift.tightening().abs() < f32::EPSILON);

    let bad = [Rated { confidence: 0.8, good: 0.0 }; 60];
    drift.review(1_000_000, Some(&bad));
    assert!((drift.tightening() - 0.1).abs() < 1e-6);
    let shown = drift.to_json();
    assert_eq!(shown["ratings"]["rated"], 60);
    assert!((shown["ratings"]["ece"].as_f64().unwrap() - 0.8).abs() < 1e-6);
    assert_eq!(shown["tightening"]["enabled"], true);
}
