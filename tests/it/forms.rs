//! What a local answer may be asked to be: JSON of a schema, one of several choices, in several versions.

use harness::client::{Reply, ask, chat, get};
use harness::process::Gateway;
use harness::upstream::Upstream;
use serde_json::{Value, json};

/// A request for the embedded model with more fields.
fn local(text: &str, fields: Value) -> Value {
    let mut body = ask("local/default", text);
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 20},
            "population": {"type": "integer", "minimum": 0, "maximum": 99_999_999},
            "coastal": {"type": "boolean"},
        },
        "required": ["city", "population", "coastal"],
        "additionalProperties": false,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_form_that_was_asked_for() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_model(&cloud.config()).await;
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "city", "strict": true, "schema": schema()}});
    let fields = json!({"response_format": format, "max_tokens": 150, "n": 3, "temperature": 1, "seed": 5});
    let reply = chat(gateway.data, &local("Describe Lisbon as JSON.", fields)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 3);
    let mut tokens = 0;
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(index), &json!("stop")), "{choice}");
        let city: Value = serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
        assert!(
            city["city"].is_string() && city["population"].is_u64() && city["coastal"].is_boolean(),
            "{city}"
        );
        assert_eq!(city.as_object().unwrap().len(), 3, "{city}");
        tokens += city.to_string().len();
    }
    assert!(
        answer["usage"]["completion_tokens"].as_u64().unwrap() >= 30 && tokens > 0,
        "usage is summed: {answer}"
    );

    let choice = json!({"structured_outputs": {"choice": ["positive", "negative"]}, "logprobs": true});
    let reply = chat(gateway.data, &local("Is this review good? \"Lovely, would buy again.\"", choice)).await;
    assert!(["positive", "negative"].contains(&&*reply.text()), "{reply:?}");
    let logprobs = reply.json()["choices"][0]["logprobs"]["content"].clone();
    assert!(logprobs.as_array().unwrap().iter().all(|token| token["logprob"].as_f64().unwrap() <= 0.0));

    let regex =
        json!({"structured_outputs": {"regex": "[0-9]{4}-[0-9]{2}"}, "stream": true, "max_tokens": 40});
    let reply = chat(gateway.data, &local("Which month is it?", regex)).await;
    let text = reply.text();
    assert!(text.len() == 7 && text.as_bytes()[4] == b'-', "{text}");
    assert!(cloud.captured().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn streamed_choices_carry_their_index() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_model(&cloud.config()).await;
    let fields = json!({"n": 6, "stream": true, "temperature": 1.0, "seed": 11, "max_tokens": 6,
        "stream_options": {"include_usage": true}});
    let request = local("Name an animal.", fields);
    let collect = |reply: &Reply| {
        let mut texts = vec![String::new(); 6];
        let mut ends = vec![0; 6];
        let mut usage = Value::Null;
        for event in reply.events().iter().filter(|event| *event != "[DONE]") {
            let chunk: Value = serde_json::from_str(event).unwrap();
            if let Some(choice) = chunk["choices"].get(0) {
                let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
                texts[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
                ends[index] += usize::from(choice["finish_reason"].is_string());
            } else {
                usage = chunk["usage"].clone();
            }
        }
        assert_eq!(ends, [1; 6]);
        (texts, usage)
    };
    let (first, usage) = collect(&chat(gateway.data, &request).await);
    assert!(first.iter().all(|text| !text.is_empty()), "{first:?}");
    assert!(first.iter().any(|text| *text != first[0]), "each has its own seed: {first:?}");
    let completion = usage["completion_tokens"].as_u64().unwrap();
    assert!((12..=36).contains(&completion), "{usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn biases_move_local_answers() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_model(&cloud.config()).await;
    let plain = chat(gateway.data, &local("Say hello.", json!({"logprobs": true, "max_tokens": 1}))).await;
    let banned: serde_json::Map<String, Value> =
        (0..49_152).step_by(49).map(|id| (id.to_string(), json!(-100))).take(1_000).collect();
    let biased = json!({"logit_bias": {"28": 100}, "max_tokens": 3});
    let reply = chat(gateway.data, &local("Say hello.", biased)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let text = reply.text();
    assert!(text != plain.text() && text.chars().all(|c| c == text.chars().next().unwrap()), "{text}");
    let reply = chat(gateway.data, &local("Say hello.", json!({"logit_bias": banned}))).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let reply = chat(gateway.data, &local("Say hello.", json!({"logit_bias": {"999999": 1}}))).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["param"]), (400, &json!("logit_bias")));
    // Whose token ids are meant is unknown until a model is named.
    let mut auto = ask("auto", "Say hello.");
    auto["logit_bias"] = json!({"28": 100});
    assert_eq!(chat(gateway.data, &auto).await.header("x-sluicegate-route"), "cloud:cloud");
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_forms_name_their_field_or_go_elsewhere() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_model(&cloud.config()).await;
    let named = |schema: Value| json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}});
    let unsupported = json!({"type": "array", "items": {}, "uniqueItems": true});
    for (fields, param) in [
        (named(unsupported.clone()), "response_format"),
        (named(json!({"type": "integer", "minimum": 2, "maximum": 1})), "response_format"),
        (
            named(json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})),
            "response_format",
        ),
        (json!({"structured_outputs": {"regex": "(?=x)"}}), "structured_outputs"),
        (json!({"structured_outputs": {"grammar": "nonsense"}}), "structured_outputs"),
    ] {
        let reply = chat(gateway.data, &local("hi", fields)).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        let error = &reply.json()["error"];
        assert_eq!(
            (&error["param"], &error["type"]),
            (&json!(param), &json!("invalid_request_error")),
            "{error}"
        );
    }
    let mut auto = ask("auto", "What is the capital of France?");
    auto.as_object_mut().unwrap().extend(named(unsupported).as_object().unwrap().clone());
    let reply = chat(gateway.data, &auto).await;
    assert_eq!(reply.header("x-sluicegate-route"), "cloud:cloud", "another target may follow it: {reply:?}");
    assert!(reply.header("x-sluicegate-reason").contains("uniqueItems"), "{reply:?}");
    let long = chat(gateway.data, &local(&"word ".repeat(9_000), json!({}))).await;
    let error = long.json()["error"].clone();
    assert_eq!((long.status.as_u16(), &error["code"]), (400, &json!("context_length_exceeded")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn worthless_local_answers_escalate_however_sure_the_model_is() {
    let cloud = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    // Below any confidence but that of an answer that is worth nothing.
    let policy = "name = \"cascade\"\n[[rule]]\nname = \"local-first\"\nroute = \"local\"\nescalate_below = 0.000001\n";
    std::fs::write(directory.path().join("policy.toml"), policy).unwrap();
    let config = format!("[policy]\nfile = \"policy.toml\"\n{}", cloud.config());
    let gateway = Gateway::with_model_in(Some(directory.path()), &config, &[]).await;
    let plain = chat(gateway.data, &ask("auto", "What is the capital of France?")).await;
    assert_eq!(plain.header("x-sluicegate-route"), "local", "{plain:?}");
    for (regex, flag) in
        [("(no ){300}", "loop"), ("[ \\n]{1,2}", "empty"), ("I'm sorry, but I can't\\.", "refusal")]
    {
        let mut body = ask("auto", "What is the capital of France?");
        body["structured_outputs"] = json!({"regex": regex});
        body["max_tokens"] = json!(100);
        let reply = chat(gateway.data, &body).await;
        assert_eq!(reply.header("x-sluicegate-route"), "cloud:cloud", "{reply:?}");
        let reason = reply.header("x-sluicegate-reason").to_owned();
        assert!(reason.contains("was flagged") && reason.contains(flag), "{reason}");
    }
    let metrics = get(gateway.admin, "/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("sluicegate_local_answer_flags_total{kind=\"loop\"} 1"), "{metrics}");
}
