//! The model that finds names: what it sees stays, and what it cannot see is in doubt.

use std::path::Path;

use harness::client::{ask, chat, get};
use harness::eventually;
use harness::process::{Gateway, ensure_library, run};
use harness::upstream::Upstream;
use serde_json::Value;

/// Names of a person and a place, which no pattern finds.
const NAMED: &str =
    "Please translate into French: we met Katarzyna Wiśniewska and her lawyer in Gdańsk yesterday.";
const STRICT: &str = "[policy]\npreset = \"strict-privacy\"\n";

async fn with_names(config: &str, detection: &str) -> Gateway {
    tokio::task::spawn_blocking(ensure_library).await.unwrap();
    Gateway::without_model(&format!("{config}\n[detection]\n{detection}")).await
}

/// A folder of a names model whose graph is damaged.
fn damaged(folder: &Path) -> String {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../router-model/src/names/weights");
    for name in ["config.json", "tokenizer.json", "thresholds.json"] {
        std::fs::copy(shipped.join(name), folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("model.onnx"), b"no graph").unwrap();
    format!("names_artifact = \"{}\"\n", folder.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_pattern_finds_stays() {
    let cloud = Upstream::start().await;
    let gateway = with_names(&format!("{STRICT}{}", cloud.config()), "names = \"required\"\n").await;
    gateway.wait_ready().await;
    let refused = chat(gateway.data, &ask("auto", NAMED)).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("PERSON"), "{refused:?}");
    assert!(cloud.captured().is_empty());
    let metrics = get(gateway.admin, "/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body);
    assert!(metrics.contains("sluicegate_names_seconds_count 1"), "{metrics}");
    // The same text again is known.
    chat(gateway.data, &ask("auto", NAMED)).await;
    let metrics = get(gateway.admin, "/metrics").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("sluicegate_names_seconds_count 1"));
    let free = chat(gateway.data, &ask("auto", "Explain how a bubble sort works.")).await;
    assert_eq!(free.status, 200, "{free:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_names_model_that_does_not_load_leaves_every_request_in_doubt() {
    let cloud = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let damaged = damaged(folder.path());
    let gateway = with_names(&cloud.config(), &format!("names = \"required\"\n{damaged}")).await;
    eventually("the refusal", async || gateway.log().contains("the names model is missing").then_some(()))
        .await;
    let kept = chat(gateway.data, &ask("auto", "What is the capital of France?")).await;
    assert_eq!(kept.status, 403, "{kept:?}");
    assert_eq!(kept.header("x-sluicegate-label"), "restricted");
    assert!(kept.header("x-sluicegate-reason").contains("model_missing"), "{kept:?}");
    assert!(cloud.captured().is_empty());
    let ready = get(gateway.data, "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(String::from_utf8_lossy(&ready.body).contains("names model"));

    // Failing open is what somebody writes down.
    let open = with_names(&cloud.config(), &format!("names = \"when-available\"\n{damaged}")).await;
    let served = chat(open.data, &ask("auto", "What is the capital of France?")).await;
    assert_eq!(served.status, 200, "{served:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_read_in_time_is_in_doubt() {
    let cloud = Upstream::start().await;
    let gateway = with_names(&cloud.config(), "names = \"required\"\nnames_deadline_ms = 1\n").await;
    gateway.wait_ready().await;
    let long = "The weather was fine and the harvest was good that year. ".repeat(600);
    let kept = chat(gateway.data, &ask("auto", &long)).await;
    assert_eq!(kept.status, 403, "{kept:?}");
    assert!(kept.header("x-sluicegate-reason").contains("detector_timeout"), "{kept:?}");
    assert!(cloud.captured().is_empty());
}

#[test]
fn long_texts_are_read_to_their_end() {
    ensure_library();
    let folder = tempfile::tempdir().unwrap();
    let filler = "The weather was fine and the harvest was good that year. ".repeat(80);
    let text = format!("{filler}Then Katarzyna Wiśniewska came. {filler}");
    let line = serde_json::json!({"id": "long", "text": text}).to_string();
    let output = run(&["classify", "--jsonl"], folder.path(), &line);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let at = text[..text.find("Katarzyna").unwrap()].chars().count() as u64;
    let spans = result["spans"].as_array().unwrap();
    let found = spans.iter().find(|span| span["type"] == "PERSON" && span["start"] == at).unwrap();
    assert_eq!((found["end"].as_u64().unwrap(), &found["source"]), (at + 20, &Value::from("ner")));
}

/// What `train/ner/thresholds.py` found in a few texts with the same files, the service finds.
#[test]
fn the_service_reads_as_training_did() {
    ensure_library();
    let folder = tempfile::tempdir().unwrap();
    let reference: Vec<Value> =
        serde_json::from_str(include_str!("../../router-model/src/names/weights/reference.json")).unwrap();
    let line = |(index, case): (usize, &Value)| {
        serde_json::json!({"id": index.to_string(), "text": case["text"]}).to_string() + "\n"
    };
    let lines: String = reference.iter().enumerate().map(line).collect();
    let output = run(&["classify", "--jsonl"], folder.path(), &lines);
    let results = String::from_utf8(output.stdout).unwrap();
    let mut compared = 0;
    for (case, line) in reference.iter().zip(results.lines()) {
        let result: Value = serde_json::from_str(line).unwrap();
        for span in case["spans"].as_array().unwrap() {
            let at = |value: &Value| value.as_u64().unwrap();
            // A pattern that found more of the same kind there has the name in it.
            let same = |found: &&Value| {
                let ours = found["score"].as_f64().unwrap();
                let theirs = span[3].as_f64().unwrap();
                at(&found["start"]) <= at(&span[0])
                    && at(&found["end"]) >= at(&span[1])
                    && found["type"] == span[2]
                    && (found["source"] != "ner" || (ours - theirs).abs() < 0.02)
            };
            assert!(
                result["spans"].as_array().unwrap().iter().any(|found| same(&found)),
                "{span} in {result}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 8, "{compared} spans compared");
}
