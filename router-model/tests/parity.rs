//! The service computes what training computed.

use router_model::complexity::ComplexityModel;
use router_model::{Classifier, ClassifierConfig, Prompt};

#[derive(serde::Deserialize)]
struct Case {
    prompt: String,
    complexity: f32,
    task: String,
}

#[test]
fn scores_equal_those_of_training() {
    let model = ComplexityModel::embedded().expect("weights load");
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../src/complexity/weights/parity.json")).expect("cases");
    assert!(cases.len() >= 5);
    for case in cases {
        let found = model.assess(&Prompt::from_text(&case.prompt));
        let difference = (found.complexity - case.complexity).abs();
        assert!(difference < 1e-5, "{}: {} for {}", case.prompt, found.complexity, case.complexity);
        assert_eq!(found.task.as_str(), case.task, "{}", case.prompt);
    }
}

/// The same question in different frames; the options of the last differ only in how they are marked.
#[test]
fn frames_hardly_matter() {
    let classifier = Classifier::new(ClassifierConfig::default()).expect("builds");
    let score = |text: &str| classifier.classify(&Prompt::from_text(text)).complexity;
    let question =
        "A tank holds 240 litres and loses 3 litres every 5 minutes. After how many hours is it empty?";
    let frames = [
        format!("Question: {question}\nAnswer:"),
        format!("Q: {question}\nA:"),
        format!("{question}\nLet's think step by step."),
        format!("Please answer the following question: {question}"),
        format!("Solve the following math problem: {question}\nShow your work."),
        format!("### Instruction:\n{question}\n\n### Response:"),
        format!("Q: What is 2 + 2?\nA: 4\n\nQ: {question}\nA:"),
        format!("  {question}  \n\n"),
        format!("Problem: {question}\n\nPlease reason step by step."),
        format!("{question}\nPut your final answer in a box."),
    ];
    let bare = score(question);
    for framed in frames {
        assert!((score(&framed) - bare).abs() < 0.03, "{bare} became {} for {framed:?}", score(&framed));
    }
    let stem = "Which planet has the most moons?";
    let marks = [
        format!("{stem}\nA. Mars\nB. Venus\nC. Saturn\nD. Earth"),
        format!("{stem}\nA) Mars\nB) Venus\nC) Saturn\nD) Earth"),
        format!("{stem}\n(A) Mars\n(B) Venus\n(C) Saturn\n(D) Earth\nAnswer:"),
    ];
    for marked in &marks[1..] {
        assert!((score(marked) - score(&marks[0])).abs() < 0.03, "{marked:?}");
    }
}
