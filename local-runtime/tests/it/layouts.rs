//! Model directories that other tools wrote, loaded by path.

use std::path::{Path, PathBuf};

use local_runtime::{
    Error, FinishReason, GenerateRequest, NoProgress, PipFetcher, Runtime, RuntimeConfig, Sampling, Store,
    TokenEvent,
};

/// A copy of a family's fixture with the tokenizer that all of them share.
fn model(family: &str, layout: &str) -> tempfile::TempDir {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families");
    let (from, directory) = (fixtures.join(family).join(layout), tempfile::tempdir().expect("a directory"));
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(from.join(&folder)).expect("readable") {
            let entry = entry.expect("readable");
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                std::fs::create_dir(directory.path().join(&path)).expect("made");
                folders.push(path);
            } else {
                std::fs::copy(entry.path(), directory.path().join(&path)).expect("copied");
            }
        }
    }
    std::fs::copy(fixtures.join("tokenizer.json"), directory.path().join("tokenizer.json")).expect("copied");
    directory
}

fn answer(runtime: &Runtime) -> (Vec<u32>, FinishReason) {
    let input = runtime.tokenize("the cat and the dog").expect("encodes");
    let request =
        GenerateRequest { sampling: Sampling::greedy(), ignore_eos: true, ..GenerateRequest::new(input, 8) };
    let mut ids = Vec::new();
    for event in runtime.generate(request).expect("is queued").blocking() {
        match event.expect("computes") {
            TokenEvent::Token(token) => ids.push(token.id),
            TokenEvent::Done(finish) => return (ids, finish.reason),
        }
    }
    panic!("the stream ends with Done");
}

#[test]
fn a_model_directory_is_loaded_by_its_path() {
    let store = tempfile::tempdir().expect("a directory");
    let store = Store::open(store.path());
    let mut answers = Vec::new();
    for (family, layout) in [("granite", "hf"), ("granite", "genai"), ("llama3", "hf"), ("llama3", "genai")] {
        let directory = model(family, layout);
        let path = directory.path().display().to_string();
        let found = store.ensure_model(&path, &PipFetcher::default(), &NoProgress, true).expect("is found");
        assert_eq!(found.manifest, None);
        let config = RuntimeConfig { threads: Some(1), ..RuntimeConfig::new(&found.path) };
        let runtime = Runtime::load(&crate::library(), config).expect("loads");
        assert_eq!((runtime.info().context_tokens, runtime.info().vocabulary), (64, 320));
        assert_eq!(runtime.info().family, if family == "granite" { "granite" } else { "llama" });
        answers.push(answer(&runtime));
        runtime.shutdown();
    }
    assert_eq!(answers[0].0.len(), 8);
    assert_eq!(answers[0].1, FinishReason::Length);
    assert_eq!(answers[0], answers[1], "the layouts hold the same weights");
    assert_eq!(answers[2], answers[3], "the layouts hold the same weights");
}

#[test]
fn a_directory_that_lacks_something_says_what() {
    let store = tempfile::tempdir().expect("a directory");
    let store = Store::open(store.path());
    let directory = model("granite", "hf");
    let refusal = |lacks: &str| {
        std::fs::remove_file(directory.path().join(lacks)).expect("removed");
        let path = directory.path().display().to_string();
        let outcome = store.ensure_model(&path, &PipFetcher::default(), &NoProgress, true);
        let error = outcome.expect_err("it is not complete");
        assert!(matches!(error, Error::CorruptModel { .. }), "{error:?}");
        error.to_string()
    };
    assert!(refusal("tokenizer.json").contains("no tokenizer.json"));
    assert!(refusal("onnx/model.onnx").contains("no .onnx file"));
    assert!(refusal("config.json").contains("neither"));
}
