//! Embeddings: vectors from the embedded encoder, the privacy path, and upstreams that get what was sent.

use harness::client::{embed, get, send};
use harness::process::{Gateway, encoders};
use harness::python;
use harness::upstream::{Behaviour, Upstream};
use hyper::Method;
use serde_json::{Value, json};

const CARD: &str = "4111 1111 1111 1111";

fn reference() -> Value {
    serde_json::from_slice(&std::fs::read(encoders().join("reference.json")).unwrap()).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let furthest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(furthest <= tolerance, "off by {furthest}");
}

/// The price of the upstream's embedding model, in the configuration's words.
fn priced(cloud: &Upstream) -> String {
    format!(
        "{}[[upstream.models]]\nname = \"vectors-1\"\ncontext_tokens = 16\nprice = {{ input = 0.02, output = 0.0 }}\n",
        cloud.config()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_computed_here_and_sensitive_texts_stay() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_encoder(&priced(&cloud), "").await;
    let reference = reference();
    let texts: Vec<&str> =
        reference["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let texts: Vec<&str> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    let rows: Vec<&Value> = reference["tiny-bert"].as_array().unwrap().iter().collect();
    let tokens: usize = rows.iter().map(|row| row["ids"].as_array().unwrap().len()).filter(|n| *n > 2).sum();
    for model in ["local/tiny-bert", "local/default", "auto"] {
        let reply = embed(gateway.data, &json!({"model": model, "input": texts})).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("x-sluicegate-route"), "local");
        assert_eq!(reply.header("x-sluicegate-cost-usd"), "0.000000");
        let answer = reply.json();
        assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("local/tiny-bert")));
        assert_eq!(answer["usage"], json!({"prompt_tokens": tokens, "total_tokens": tokens}));
        let wanted = rows.iter().filter(|row| row["ids"].as_array().unwrap().len() > 2);
        for (index, row) in wanted.enumerate() {
            let entry = &answer["data"][index];
            assert_eq!((&entry["object"], &entry["index"]), (&json!("embedding"), &json!(index)));
            assert_close(&floats(&entry["embedding"]), &floats(&row["unit"]["mean"]), 1e-4);
        }
    }
    let secret = format!("my card is {CARD}");
    let kept = embed(gateway.data, &json!({"model": "auto", "input": ["the cat", secret]})).await;
    assert_eq!((kept.status.as_u16(), kept.header("x-sluicegate-label")), (200, "restricted"), "{kept:?}");
    assert_eq!(kept.header("x-sluicegate-route"), "local");
    let row = gateway.row(kept.header("x-request-id")).await;
    assert_eq!(
        (row.get("route"), row.get("usage_source"), row.get("label")),
        ("local", "counted", "restricted")
    );
    assert_eq!((row.number("output_tokens"), row.number("cost_nanos")), (0, 0));
    assert!(row.number("input_tokens") > 0);
    assert_eq!(row.get("baseline_nanos"), "", "no chat model's price is held against it");
    assert!(cloud.captured().is_empty(), "nothing was sent");
    assert!(!gateway.log().contains(CARD), "the log is clean");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstreams_model_gets_the_bytes_and_never_a_sensitive_text() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_encoder(&priced(&cloud), "").await;
    let body = "{ \"x_vendor\":[1, 2.50],\"input\" : [\"the moon is far\", \"and the sun further away than that, by \
                quite a lot of miles\"],\n\"model\":\"vectors-1\",\"encoding_format\":\"base64\" }";
    let headers = [("content-type", "application/json"), ("authorization", "Bearer client-secret")];
    let reply = send(Method::POST, gateway.data, "/v1/embeddings", &headers, body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["data"][0]["embedding"], json!([0.6, 0.8]), "the upstream's answer is passed on");
    assert_eq!(reply.header("x-sluicegate-route"), "cloud:cloud");
    assert_eq!((cloud.paths(), cloud.bodies()), (vec![String::from("/v1/embeddings")], vec![body.into()]));
    let row = gateway.row(reply.header("x-request-id")).await;
    // A thousand tokens at 0.02 dollars a million.
    assert_eq!((row.get("usage_source"), row.number("cost_nanos")), ("provider", 20_000));
    assert_eq!((row.number("input_tokens"), row.number("output_tokens")), (1000, 0));

    let forced = embed(gateway.data, &json!({"model": "cloud/other-vectors", "input": "the sun"})).await;
    assert_eq!(forced.status, 200, "{forced:?}");
    let sent: Value = serde_json::from_slice(&cloud.bodies()[1]).unwrap();
    assert_eq!(sent, json!({"model": "other-vectors", "input": "the sun"}));

    // The encoder does not stand in for a model that was named: its vectors would be of another kind.
    for model in ["vectors-1", "cloud/vectors-1", "text-embedding-3-small"] {
        for input in
            [json!(format!("card {CARD}")), json!(["fine", format!("card {CARD}")]), json!([101, 2054, 7])]
        {
            let refused = embed(gateway.data, &json!({"model": model, "input": input})).await;
            assert_eq!(refused.status, 403, "{model} {input}: {refused:?}");
            assert_eq!(refused.json()["error"]["code"], "refused_by_policy");
            assert_eq!(refused.header("x-sluicegate-label"), "restricted");
        }
    }
    let hidden = json!({"model": "vectors-1", "input": "fine", "user": format!("card {CARD}")});
    assert_eq!(embed(gateway.data, &hidden).await.status, 403);
    assert_eq!(cloud.bodies().len(), 2);
    let captured = String::from_utf8_lossy(&cloud.captured()).into_owned();
    assert!(!captured.contains("4111") && !captured.contains("client-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_upstream_is_an_error_and_usage_is_estimated_without_output() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_encoder(&priced(&cloud), "").await;
    let body = json!({"model": "vectors-1", "input": "the moon is far"});
    cloud.behave(Behaviour::Status(500));
    let failed = embed(gateway.data, &body).await;
    assert_eq!(failed.status, 500, "{failed:?}");
    let row = gateway.row(failed.header("x-request-id")).await;
    assert_eq!((row.get("route"), row.number("attempts")), ("cloud:cloud", 1), "no other model was tried");
    cloud.behave(Behaviour::NoUsage);
    let reply = embed(gateway.data, &body).await;
    let row = gateway.row(reply.header("x-request-id")).await;
    assert_eq!((row.get("usage_source"), row.number("output_tokens")), ("estimated", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_name_the_field_and_the_setting() {
    let gateway = Gateway::with_encoder("", "max_tokens = 12\n").await;
    let ask = |more: Value| {
        let mut body = json!({"model": "auto", "input": "the cat"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let long = "dog ".repeat(11);
    for (body, param, code) in [
        (ask(json!({"input": 5})), "input", Value::Null),
        (ask(json!({"input": ["a", ""]})), "input[1]", Value::Null),
        (ask(json!({"input": [1, 2, 3]})), "input", Value::Null),
        (ask(json!({"input": ["fine", long]})), "input[1]", json!("context_length_exceeded")),
        (ask(json!({"dimensions": 33})), "dimensions", Value::Null),
        (ask(json!({"dimensions": -1})), "dimensions", Value::Null),
        (ask(json!({"encoding_format": "int8"})), "encoding_format", Value::Null),
    ] {
        let reply = embed(gateway.data, &body).await;
        let error = reply.json()["error"].clone();
        assert_eq!((reply.status.as_u16(), &error["param"]), (400, &json!(param)), "{body}: {error}");
        assert_eq!(error["code"], code, "{body}");
        assert_eq!(reply.header("x-should-retry"), "false");
    }
    let long = embed(gateway.data, &ask(json!({"input": "dog ".repeat(11)}))).await.json();
    assert!(long["error"]["message"].as_str().unwrap().contains("at most 12"), "{long}");
    let unknown = embed(gateway.data, &ask(json!({"model": "local/other"}))).await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["param"]), (404, &json!("model")));
    assert_eq!(get(gateway.data, "/v1/embeddings").await.status, 405);
    let listed = get(gateway.data, "/v1/models/local%2Ftiny-bert").await.json();
    assert_eq!((&listed["available"], &listed["context_tokens"]), (&json!(true), &json!(12)));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_encoder_the_setting_is_named() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::without_model(&cloud.config()).await;
    for model in ["auto", "local/default", "local/tiny-bert"] {
        let reply = embed(gateway.data, &json!({"model": model, "input": "the cat"})).await;
        assert_eq!(reply.status, 404, "{reply:?}");
        let error = reply.json()["error"].clone();
        assert!(error["message"].as_str().unwrap().contains("local.embedding.model"), "{error}");
    }
    assert!(cloud.captured().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_no_encoder_is_not_ready_and_says_why() {
    let gateway = Gateway::with_broken_encoder().await;
    let ready = get(gateway.data, "/readyz").await;
    assert_eq!(ready.status, 503);
    let reply = embed(gateway.data, &json!({"model": "auto", "input": "the cat"})).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "5"), "{reply:?}");
    assert!(gateway.log().contains("labels texts and does not embed them"), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_sdk_gets_the_same_vectors_in_both_encodings() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_encoder(&priced(&cloud), "").await;
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("it/sdk_embeddings.py");
    let reference = encoders().join("reference.json").display().to_string();
    let address = gateway.data;
    let printed =
        tokio::task::spawn_blocking(move || python::run(&script, address, &[&reference])).await.unwrap();
    assert!(printed.trim_end().ends_with("contract holds"), "{printed}");
    assert!(!String::from_utf8_lossy(&cloud.captured()).contains("4111"));
}
