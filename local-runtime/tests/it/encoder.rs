//! Encoders: vectors, labels and tags against references, and directories that must be refused.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use local_runtime::{Accelerator, EmbedOptions, Encoder, EncoderConfig, EncoderTask, Error, Pooling};
use serde_json::Value;

use crate::library;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/encoders")
}

fn reference() -> Value {
    let bytes = std::fs::read(fixtures().join("reference.json")).expect("committed");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn texts() -> Vec<String> {
    serde_json::from_value(reference()["texts"].clone()).expect("texts")
}

fn load(name: &str, adjust: impl FnOnce(&mut EncoderConfig)) -> Result<Encoder, Error> {
    let mut config = EncoderConfig { threads: Some(1), ..EncoderConfig::new(fixtures().join(name)) };
    adjust(&mut config);
    Encoder::load(&library(), config)
}

fn encoder(name: &str) -> Encoder {
    load(name, |_| {}).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn embed(encoder: &Encoder, texts: &[String]) -> Vec<Vec<f32>> {
    let pending = encoder.embed(texts, &EmbedOptions::default()).expect("accepted");
    pending.wait().expect("computed").vectors
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).expect("numbers")
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let furthest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(furthest <= tolerance, "{what}: off by {furthest}");
}

#[test]
fn vectors_are_those_of_the_reference_for_every_pooling() {
    let (reference, texts) = (reference(), texts());
    for name in ["tiny-bert", "tiny-xlmr"] {
        for (word, column) in [("mean", "mean"), ("cls", "cls"), ("max", "max"), ("last-token", "last_token")]
        {
            for (normalize, form) in [(true, "unit"), (false, "raw")] {
                let encoder = load(name, |config| {
                    config.pooling = Some(Pooling::from_str(word).expect("known"));
                    config.normalize = Some(normalize);
                });
                let encoder = encoder.expect("it loads");
                assert_eq!((encoder.info().dimensions, encoder.info().task), (Some(32), EncoderTask::Embed));
                for (row, vector) in embed(&encoder, &texts).iter().enumerate() {
                    let expected = floats(&reference[name][row][form][column]);
                    assert_close(vector, &expected, 1e-4, &format!("{name} {word} {form} {row}"));
                }
            }
        }
    }
}

#[test]
fn the_models_own_files_say_how_it_pools() {
    let (reference, texts) = (reference(), texts());
    for (name, column) in [("tiny-bert", "mean"), ("tiny-xlmr", "cls")] {
        for (row, vector) in embed(&encoder(name), &texts).iter().enumerate() {
            assert_close(
                vector,
                &floats(&reference[name][row]["unit"][column]),
                1e-4,
                &format!("{name} {row}"),
            );
        }
    }
}

#[test]
fn a_text_gets_the_same_vector_alone_and_in_a_ragged_batch() {
    let texts: Vec<String> = texts().into_iter().cycle().take(50).collect();
    for name in ["tiny-bert", "tiny-xlmr"] {
        for batch_tokens in [16, 100, 4096] {
            let encoder = load(name, |config| config.batch_tokens = batch_tokens).expect("it loads");
            let together = embed(&encoder, &texts);
            for (text, vector) in texts.iter().zip(&together).take(6) {
                let alone = embed(&encoder, std::slice::from_ref(text));
                assert_close(vector, &alone[0], 1e-5, name);
            }
        }
    }
}

#[test]
fn half_precision_and_quantised_graphs_are_read() {
    let (reference, texts) = (reference(), texts());
    for (file, tolerance) in [("onnx/model_fp16.onnx", 2e-3), ("onnx/model_quantized.onnx", 0.2)] {
        let encoder = load("tiny-bert", |config| config.file = Some(file.to_owned())).expect("it loads");
        let together = embed(&encoder, &texts);
        for (row, vector) in together.iter().enumerate() {
            assert_close(vector, &floats(&reference["tiny-bert"][row]["unit"]["mean"]), tolerance, file);
        }
        // A quantised text must not depend on its neighbours at all.
        let alone: Vec<_> =
            texts.iter().map(|text| embed(&encoder, std::slice::from_ref(text)).remove(0)).collect();
        if file.contains("quantized") {
            assert_eq!(together, alone);
        }
    }
}

#[test]
fn shorter_vectors_are_the_beginnings_of_whole_ones_at_length_one() {
    let encoder = encoder("tiny-bert");
    let texts = texts();
    let whole = embed(&encoder, &texts);
    let options = EmbedOptions { dimensions: Some(8) };
    let short = encoder.embed(&texts, &options).expect("accepted").wait().expect("computed");
    for (short, whole) in short.vectors.iter().zip(&whole) {
        let length = whole[..8].iter().map(|value| value * value).sum::<f32>().sqrt();
        let expected: Vec<f32> = whole[..8].iter().map(|value| value / length).collect();
        assert_close(short, &expected, 1e-6, "dimensions");
    }
    let ids: usize = reference()["tiny-bert"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["ids"].as_array().expect("ids").len())
        .sum();
    assert_eq!(short.tokens as usize, ids, "tokens are counted as the reference counts them");
    for wrong in [0, 33] {
        match encoder.embed(&texts, &EmbedOptions { dimensions: Some(wrong) }) {
            Err(Error::InvalidRequest { reason }) => assert!(reason.contains("from 1 to 32"), "{reason}"),
            other => panic!("{wrong}: {other:?}"),
        }
    }
}

#[test]
fn prompts_stand_before_each_text() {
    let prompted = load("tiny-bert", |config| config.prompt = Some("query".to_owned())).expect("it loads");
    let by_hand = embed(&encoder("tiny-bert"), &["one two: the moon".to_owned()]);
    assert_eq!(embed(&prompted, &["the moon".to_owned()]), by_hand);
    match load("tiny-bert", |config| config.prompt = Some("passage".to_owned())) {
        Err(Error::InvalidConfig { field: "prompt", reason }) => {
            assert!(reason.contains("query"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_too_long_is_refused_by_its_place_and_never_cut() {
    let encoder = encoder("tiny-bert");
    assert_eq!(encoder.info().max_tokens, 32, "sentence_bert_config.json says so");
    let texts = ["the cat".to_owned(), "dog ".repeat(31)];
    match encoder.embed(&texts, &EmbedOptions::default()) {
        Err(Error::InputTooLong { index: 1, tokens: 33, limit: 32 }) => {}
        other => panic!("{other:?}"),
    }
    embed(&encoder, &["dog ".repeat(30)]);
    let longer = load("tiny-bert", |config| config.max_tokens = Some(40)).expect("it has 40 positions");
    embed(&longer, &["dog ".repeat(38)]);
    assert!(matches!(
        load("tiny-bert", |config| config.max_tokens = Some(41)),
        Err(Error::InvalidConfig { field: "max_tokens", .. })
    ));
    let narrow = load("tiny-bert", |config| config.request_tokens = 16).expect("it loads");
    match narrow.embed(&["the cat"; 5], &EmbedOptions::default()) {
        Err(Error::RequestTooLong { tokens: 20, limit: 16 }) => {}
        other => panic!("{other:?}"),
    }
    // Its positions begin after the padding id: 50 of them serve 48 tokens.
    assert_eq!(self::encoder("tiny-xlmr").info().max_tokens, 48);
}

#[test]
fn markers_in_a_text_stay_text() {
    let encoder = encoder("tiny-tagger");
    let tagged = encoder.tag(&["a [SEP] b"]).expect("accepted").wait().expect("computed").remove(0);
    assert!(tagged.tokens.len() > 3, "spelled out and not one marker: {:?}", tagged.tokens);
    // A Unigram vocabulary has `</s>` as a piece; in a text it is an unknown word like any other.
    let xlmr = self::encoder("tiny-xlmr");
    let vectors = embed(&xlmr, &["the </s> cat".to_owned(), "the <s> cat".to_owned()]);
    assert_close(&vectors[0], &vectors[1], 1e-6, "both are unknown words");
}

#[test]
fn tags_and_offsets_are_those_of_the_reference() {
    let encoder = encoder("tiny-tagger");
    assert_eq!(encoder.info().labels[1], "B-PERSON");
    let reference = reference();
    let rows = reference["tiny-tagger"].as_array().expect("rows");
    assert!(rows.len() >= 3);
    for row in rows {
        let text = row["text"].as_str().expect("text");
        let tagged = encoder.tag(&[text]).expect("accepted").wait().expect("computed").remove(0);
        assert_eq!(tagged.windows, 1);
        let offsets: Vec<(usize, usize)> = serde_json::from_value(row["offsets"].clone()).expect("pairs");
        assert_eq!(tagged.tokens.iter().map(|token| (token.start, token.end)).collect::<Vec<_>>(), offsets);
        for (token, logits) in tagged.tokens.iter().zip(row["logits"].as_array().expect("rows")) {
            assert_close(&token.logits, &floats(logits), 1e-4, text);
        }
    }
}

#[test]
fn long_texts_are_tagged_in_windows_to_the_last_token() {
    let encoder = encoder("tiny-tagger");
    let words: Vec<&str> =
        "the cat ran with a dog and the big red sun".split(' ').cycle().take(100).collect();
    let text = words.join(" ");
    let tagged = encoder.tag(&[&text]).expect("accepted").wait().expect("computed").remove(0);
    assert!(tagged.windows > 8);
    let found: Vec<String> = tagged
        .tokens
        .iter()
        .map(|token| text.chars().skip(token.start).take(token.end - token.start).collect())
        .collect();
    assert_eq!(found, words, "every word once, in order");
    // The first token's answer is that of the first window alone.
    let first = encoder.tag(&[&words[..14].join(" ")]).expect("accepted").wait().expect("computed").remove(0);
    assert_eq!(first.windows, 1);
    assert_close(&tagged.tokens[0].logits, &first.tokens[0].logits, 1e-5, "first token");
    assert!(encoder.tag(&[""]).expect("accepted").wait().expect("computed").remove(0).tokens.is_empty());
}

#[tokio::test]
async fn texts_are_labelled_as_the_reference_labels_them() {
    let encoder = encoder("tiny-sorter");
    assert_eq!(encoder.info().task, EncoderTask::Classify);
    assert_eq!(*encoder.info().labels, ["easy".to_owned(), "middling".to_owned(), "hard".to_owned()]);
    let found = encoder.classify(&texts()).expect("accepted").await.expect("computed");
    for (row, found) in found.iter().enumerate() {
        assert_close(&found.logits, &floats(&reference()["tiny-sorter"][row]["logits"]), 1e-4, "logits");
    }
}

#[test]
fn a_model_is_not_used_for_what_it_is_not_made_for() {
    let refused = |error: Error| {
        assert!(matches!(error, Error::UnusableEncoder { .. }), "{error:?}");
        error.to_string()
    };
    let embeds = encoder("tiny-bert");
    assert!(refused(embeds.tag(&["x"]).expect_err("refused")).contains("it embeds texts"));
    assert!(refused(embeds.classify(&["x"]).expect_err("refused")).contains("labels whole texts"));
    let tags = encoder("tiny-tagger");
    refused(tags.embed(&["x"], &EmbedOptions::default()).expect_err("refused"));
}

#[test]
fn many_callers_at_once_get_their_own_answers() {
    let encoder = load("tiny-bert", |config| config.batch_tokens = 64).expect("it loads");
    let texts = texts();
    let alone: Vec<_> =
        texts.iter().map(|text| embed(&encoder, std::slice::from_ref(text)).remove(0)).collect();
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let (encoder, texts, alone) = (&encoder, &texts, &alone);
            scope.spawn(move || {
                for round in 0..10 {
                    let first = (caller + round) % texts.len();
                    let order: Vec<usize> = (0..texts.len()).map(|n| (n + first) % texts.len()).collect();
                    let asked: Vec<String> = order.iter().map(|&n| texts[n].clone()).collect();
                    for (vector, &n) in embed(encoder, &asked).iter().zip(&order) {
                        assert_close(vector, &alone[n], 1e-5, "interleaved");
                    }
                }
            });
        }
    });
    assert_eq!(encoder.queue_depth(), 0);
    encoder.shutdown();
    assert!(!encoder.is_healthy());
    assert!(matches!(encoder.embed(&texts, &EmbedOptions::default()), Err(Error::WorkerGone)));
}

#[test]
fn an_accelerator_that_the_library_lacks_is_refused_by_name() {
    for name in ["cuda", "coreml", "directml", "openvino:GPU"] {
        let accelerator = Accelerator::from_str(name).expect("known");
        match load("tiny-bert", |config| config.accelerator = accelerator) {
            Err(error @ Error::AcceleratorUnavailable { .. }) => {
                let text = error.to_string();
                assert!(
                    text.contains(name) && text.contains("cpu") && text.contains("local.onnxruntime"),
                    "{text}"
                );
            }
            // A library that has it may still load it, on a machine that has the device.
            Ok(_) => {}
            Err(other) => panic!("{name}: {other:?}"),
        }
    }
    #[cfg(target_os = "linux")]
    assert!(load("tiny-bert", |config| config.accelerator = Accelerator::DirectMl { device: 0 }).is_err());
}

/// A copy of a fixture with something changed.
fn altered(name: &str, change: impl FnOnce(&Path)) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("made");
        for entry in std::fs::read_dir(from).expect("listed").map(|entry| entry.expect("entry").path()) {
            let to = to.join(entry.file_name().expect("named"));
            if entry.is_dir() {
                copy(&entry, &to);
            } else {
                std::fs::copy(&entry, &to).expect("copied");
            }
        }
    }
    let directory = tempfile::tempdir().expect("made");
    copy(&fixtures().join(name), directory.path());
    change(directory.path());
    directory
}

#[test]
fn faulty_directories_are_refused_with_the_reason() {
    let edit = |path: &Path, from: &str, to: &str| {
        let text = std::fs::read_to_string(path).expect("read");
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replace(from, to)).expect("written");
    };
    type Change<'a> = Box<dyn Fn(&Path) + 'a>;
    let cases: Vec<(&str, &str, Change<'_>)> = vec![
        (
            "tiny-bert",
            "none of model.onnx",
            Box::new(|d| std::fs::remove_dir_all(d.join("onnx")).expect("gone")),
        ),
        (
            "tiny-bert",
            "config.json is missing",
            Box::new(|d| std::fs::remove_file(d.join("config.json")).expect("gone")),
        ),
        (
            "tiny-bert",
            "tokenizer.json",
            Box::new(|d| std::fs::remove_file(d.join("tokenizer.json")).expect("gone")),
        ),
        (
            "tiny-bert",
            "pooling that its model card names",
            Box::new(|d| {
                std::fs::remove_file(d.join("modules.json")).expect("gone");
                std::fs::remove_dir_all(d.join("1_Pooling")).expect("gone");
            }),
        ),
        (
            "tiny-bert",
            "`Dense` layer",
            Box::new(|d| edit(&d.join("modules.json"), "models.Normalize", "models.Dense")),
        ),
        (
            "tiny-bert",
            "pooling by",
            Box::new(|d| {
                edit(
                    &d.join("1_Pooling/config.json"),
                    "\"pooling_mode_max_tokens\": false",
                    "\"pooling_mode_max_tokens\": true",
                );
            }),
        ),
        (
            "tiny-bert",
            "network knows 70",
            Box::new(|d| {
                let config = std::fs::read_to_string(d.join("config.json")).expect("read");
                let size = config
                    .split("\"vocab_size\": ")
                    .nth(1)
                    .expect("stated")
                    .split(['\n', ','])
                    .next()
                    .expect("a number");
                edit(&d.join("config.json"), &format!("\"vocab_size\": {size}"), "\"vocab_size\": 70");
            }),
        ),
        (
            "tiny-bert",
            "expected",
            Box::new(|d| std::fs::write(d.join("config.json"), "{\"model_type\": 5}").expect("written")),
        ),
        (
            "tiny-bert",
            "ONNX Runtime refuses it",
            Box::new(|d| {
                let path = d.join("onnx/model.onnx");
                let bytes = std::fs::read(&path).expect("read");
                std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
            }),
        ),
        (
            "tiny-tagger",
            "4 labels",
            Box::new(|d| {
                edit(&d.join("config.json"), ",\n    \"4\": \"I-PLACE\"", "");
            }),
        ),
    ];
    for (name, expected, change) in cases {
        let directory = altered(name, change);
        let config = EncoderConfig { threads: Some(1), ..EncoderConfig::new(directory.path()) };
        let error = Encoder::load(&library(), config).expect_err(expected).to_string();
        assert!(error.contains(expected), "`{expected}` expected: {error}");
    }
    let outside = load("tiny-bert", |config| config.file = Some("../tiny-xlmr/model.onnx".to_owned()));
    assert!(outside.expect_err("outside").to_string().contains("not a path inside"));
}
