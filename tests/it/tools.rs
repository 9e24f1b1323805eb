//! Tool calls by the embedded model, through the real binary.

use harness::client::{Reply, ask, chat};
use harness::process::Gateway;
use harness::upstream::Upstream;
use serde_json::{Value, json};

fn tools() -> Value {
    json!([
        {"type": "function", "function": {
            "name": "get_weather",
            "description": "The weather in a town.",
            "parameters": {
                "type": "object",
                "properties": {"town": {"type": "string", "maxLength": 12}, "unit": {"enum": ["celsius", "fahrenheit"]}},
                "required": ["town", "unit"],
                "additionalProperties": false,
            },
        }},
        {"type": "function", "function": {"name": "get_time", "parameters": {
            "type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"],
            "additionalProperties": false,
        }}},
    ])
}

fn request(choice: &Value) -> Value {
    let mut body = ask("local/default", "What is the weather in Rome?");
    body["tools"] = tools();
    body["tool_choice"] = choice.clone();
    body["max_tokens"] = json!(150);
    body
}

/// Name and arguments of a call, checked against the declared schemas.
fn check(call: &Value) -> (String, Value) {
    assert!(call["id"].as_str().is_some_and(|id| id.len() == 9), "{call}");
    assert_eq!(call["type"], "function");
    let name = call["function"]["name"].as_str().unwrap().to_owned();
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    match name.as_str() {
        "get_weather" => {
            assert!(arguments["town"].as_str().is_some_and(|town| town.chars().count() <= 12), "{call}");
            assert!(["celsius", "fahrenheit"].contains(&arguments["unit"].as_str().unwrap()), "{call}");
        }
        "get_time" => assert!(["UTC", "CET"].contains(&arguments["zone"].as_str().unwrap()), "{call}"),
        other => panic!("{other} was not declared"),
    }
    (name, arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn forced_calls_are_valid_whole_and_streamed_and_results_go_back() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_model(&cloud.config()).await;
    let named = json!({"type": "function", "function": {"name": "get_weather"}});

    let reply = chat(gateway.data, &request(&named)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("x-sluicegate-route"), "local");
    let choice = &reply.json()["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&"tool_calls".into(), &Value::Null)
    );
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!((calls.len(), check(&calls[0]).0.as_str()), (1, "get_weather"));

    let mut streamed = request(&named);
    streamed["stream"] = json!(true);
    let (merged, finish) = merge(&chat(gateway.data, &streamed).await);
    assert_eq!(finish, "tool_calls");
    assert_eq!(check(&merged).1, check(&calls[0]).1, "greedy streams say the same");

    let mut one = request(&json!("required"));
    one["parallel_tool_calls"] = json!(false);
    let reply = chat(gateway.data, &one).await.json();
    let list = reply["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(list.len(), 1);
    check(&list[0]);

    let mut answer = request(&json!("none"));
    answer["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": null, "tool_calls": calls}),
        json!({"role": "tool", "tool_call_id": calls[0]["id"], "content": "{\"sky\": \"clear\"}"}),
    ]);
    let reply = chat(gateway.data, &answer).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.json()["choices"][0]["message"].get("tool_calls").is_none());
    assert!(!reply.text().is_empty());
    assert!(cloud.captured().is_empty());
}

/// The first call of a stream, put together, and the reason at its end.
fn merge(reply: &Reply) -> (Value, String) {
    let (mut call, mut finish) = (Value::Null, String::new());
    for event in reply.events().iter().filter(|event| event.starts_with('{')) {
        let chunk: Value = serde_json::from_str(event).unwrap();
        let Some(choice) = chunk["choices"].get(0) else { continue };
        finish.push_str(choice["finish_reason"].as_str().unwrap_or_default());
        for delta in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            assert_eq!(delta["index"], 0);
            if call.is_null() {
                call = delta.clone();
            } else {
                let more = delta["function"]["arguments"].as_str().unwrap();
                let arguments = call["function"]["arguments"].as_str().unwrap().to_owned() + more;
                call["function"]["arguments"] = arguments.into();
            }
        }
    }
    (call, finish)
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tools_are_refused_by_name() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::without_model(&cloud.config()).await;
    for (field, value, param) in [
        ("tools", json!("f"), "tools"),
        ("tools", json!([{"type": "function"}]), "tools[0].function"),
        ("tools", json!([{"type": "function", "function": {"name": ""}}]), "tools[0].function.name"),
        ("tool_choice", json!("often"), "tool_choice"),
        ("tool_choice", json!({"type": "function", "function": {"name": "f"}}), "tool_choice.function.name"),
        ("parallel_tool_calls", json!(1), "parallel_tool_calls"),
    ] {
        let mut body = request(&json!("auto"));
        body[field] = value;
        let reply = chat(gateway.data, &body).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        assert_eq!(reply.json()["error"]["param"], json!(param), "{reply:?}");
    }
    assert!(cloud.captured().is_empty());
}
