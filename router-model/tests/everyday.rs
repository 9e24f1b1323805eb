//! Everyday requests must come out clearly easier than hard ones, in several languages.

use policies::Profile;
use router_model::{Classifier, ClassifierConfig, Prompt};

#[derive(serde::Deserialize)]
struct Row {
    id: String,
    hard: bool,
    prompt: String,
}

/// P(a random hard prompt scores above a random routine one) on the development file. The file was written by hand
/// for this test, beside the templates that the model was trained on, so this guards against regressions and
/// says little about strangers' prompts.
const AUROC_MIN: f64 = 0.9;

#[test]
fn routine_prompts_are_easier_than_hard_ones() {
    let classifier = Classifier::new(ClassifierConfig::default()).expect("builds");
    let rows: Vec<Row> = include_str!("data/everyday.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("row"))
        .collect();
    let profiles: Vec<(&Row, Profile)> =
        rows.iter().map(|row| (row, classifier.classify(&Prompt::from_text(&row.prompt)))).collect();
    for (row, profile) in &profiles {
        println!(
            "{:.3} conf {:.2} {:12} {} {:4} {} {:.50}",
            profile.complexity,
            profile.confidence,
            profile.task.as_str(),
            profile.language,
            profile.input_tokens,
            row.id,
            row.prompt
        );
    }
    let scores = |hard: bool| {
        profiles
            .iter()
            .filter(|(row, _)| row.hard == hard)
            .map(|(_, profile)| profile.complexity)
            .collect::<Vec<_>>()
    };
    let (routine, hard) = (scores(false), scores(true));
    let wins: f64 = hard
        .iter()
        .flat_map(|h| {
            routine.iter().map(move |r| f64::from(u8::from(h > r)) + 0.5 * f64::from(u8::from(h == r)))
        })
        .sum();
    let auroc = wins / (hard.len() * routine.len()) as f64;
    let low = routine.iter().filter(|&&p| p < 0.35).count() as f64 / routine.len() as f64;
    let high = hard.iter().filter(|&&p| p > 0.5).count() as f64 / hard.len() as f64;
    println!("auroc {auroc:.3}, routine below 0.35: {low:.2}, hard above 0.5: {high:.2}");
    assert!(auroc >= AUROC_MIN, "auroc {auroc}");
    assert!(low >= 0.6, "share of routine prompts below 0.35: {low}");
    assert!(high >= 0.7, "share of hard prompts above 0.5: {high}");
}
