//! The answer model computes in the service what it computed in training.

use policies::{Profile, Sensitivity, Task};
use router_model::AnswerModel;
use router_model::confidence::Gathering;

#[derive(serde::Deserialize)]
struct Case {
    answer: String,
    logprob: Vec<f32>,
    entropy: Vec<f32>,
    #[serde(default)]
    json: bool,
    #[serde(default)]
    cut_short: bool,
    profile: Given,
    whole: f32,
    prefix: std::collections::BTreeMap<String, f32>,
}

#[derive(serde::Deserialize)]
struct Given {
    complexity: f32,
    confidence: f32,
    task: Task,
    input_tokens: u32,
}

#[test]
fn probabilities_equal_those_of_training() {
    let model = AnswerModel::embedded().expect("weights load");
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../src/confidence/weights/parity.json")).expect("cases");
    assert!(cases.len() >= 5 && cases.iter().any(|case| !case.prefix.is_empty()));
    for case in cases {
        let profile = Profile {
            sensitivity: Sensitivity::default(),
            complexity: case.profile.complexity,
            confidence: case.profile.confidence,
            task: case.profile.task,
            language: "en".into(),
            input_tokens: case.profile.input_tokens,
            output_tokens: 100,
            rung: policies::Rung::Features,
        };
        let mut gathering = Gathering::new(case.json);
        for (index, (logprob, entropy)) in case.logprob.iter().zip(&case.entropy).enumerate() {
            if let Some(expected) = case.prefix.get(&index.to_string()) {
                let found = model.assess(&gathering.evidence(), &profile);
                assert!((found - expected).abs() < 1e-4, "{}: {found} after {index} tokens", case.answer);
            }
            gathering.token(*logprob, *entropy, "");
        }
        gathering.text(&case.answer);
        gathering.finish(case.cut_short, &[]);
        let found = model.assess(&gathering.evidence(), &profile);
        assert!((found - case.whole).abs() < 1e-4, "{}: {found} is not {}", case.answer, case.whole);
    }
}
