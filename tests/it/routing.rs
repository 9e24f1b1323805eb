//! Where requests go, and that nothing goes where it must not.

use harness::client::{ask, chat, chat_with, get};
use harness::process::{Gateway, MODEL};
use harness::upstream::Upstream;
use serde_json::{Value, json};

const ROUTINE: &str = "What is the capital of France?";
const HARD: &str = "Prove rigorously that every continuous function on a compact metric space is uniformly continuous, \
    then construct a counterexample on a non-compact space, derive an explicit modulus of continuity for the \
    Lipschitz case, and discuss how the argument changes for nets in general uniform spaces step by step.";
const CARD: &str = "4111 1111 1111 1111";

fn assert_not_captured(upstream: &Upstream, canaries: &[&str]) {
    let captured = upstream.captured();
    for canary in canaries {
        let found = captured.windows(canary.len()).any(|window| window == canary.as_bytes());
        assert!(!found, "`{canary}` reached the upstream");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routine_is_answered_here_hard_in_the_cloud_and_sensitive_never_leaves() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_model(&cloud.config()).await;

    let routine = chat(gateway.data, &ask("auto", ROUTINE)).await;
    assert_eq!(routine.status, 200, "{routine:?}");
    assert_eq!(routine.header("x-sluicegate-route"), "local");
    assert_eq!(routine.header("x-sluicegate-model"), MODEL);
    assert_eq!(routine.header("x-sluicegate-label"), "public");
    assert_eq!(routine.header("x-sluicegate-cost-usd"), "0.000000");
    assert!(routine.header("x-request-id").starts_with("req_"));
    assert!(!routine.text().is_empty());
    let answer = routine.json();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["choices"][0]["message"]["role"], "assistant");
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() <= 12);
    assert!(cloud.captured().is_empty(), "nothing was sent for a local answer");

    let hard = chat(gateway.data, &ask("auto", HARD)).await;
    assert_eq!(hard.header("x-sluicegate-route"), "cloud:cloud", "{hard:?}");
    assert_eq!(hard.text(), "from the cloud");
    // 600 fresh tokens at 2.50, 400 cached at 1.25, 100 output at 10.00 dollars a million.
    assert_eq!(hard.header("x-sluicegate-cost-usd"), "0.003000");
    assert_eq!(cloud.bodies().len(), 1);

    let sensitive = format!("{HARD} My card number is {CARD} and my mail is canary.person@example.com");
    let kept = chat(gateway.data, &ask("auto", &sensitive)).await;
    assert_eq!(kept.header("x-sluicegate-route"), "local", "{kept:?}");
    assert_eq!(kept.header("x-sluicegate-label"), "restricted");
    assert!(kept.header("x-sluicegate-reason").contains("CREDIT_CARD"), "{kept:?}");
    assert_eq!(cloud.bodies().len(), 1);
    assert_not_captured(&cloud, &[CARD, "canary.person"]);
    assert!(!gateway.log().contains(CARD) && !gateway.log().contains("canary.person"), "the log is clean");
}

#[tokio::test(flavor = "multi_thread")]
async fn sensitive_data_is_found_wherever_it_hides_in_a_request() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::without_model(&cloud.config()).await;
    let hide = |field: Value| {
        let mut body = ask("auto", HARD);
        body.as_object_mut().unwrap().extend(field.as_object().unwrap().clone());
        body
    };
    let message = |message: Value| {
        let mut body = ask("auto", HARD);
        body["messages"].as_array_mut().unwrap().insert(0, message);
        body
    };
    let call = |arguments: &str| {
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function",
            "function": {"name": "pay", "arguments": arguments}}]})
    };
    let bodies = [
        message(json!({"role": "system", "content": format!("The customer's card is {CARD}.")})),
        message(json!({"role": "user", "content": [{"type": "text", "text": format!("card {CARD}")}]})),
        message(call(&format!("{{\"card\":\"{CARD}\"}}"))),
        message(json!({"role": "tool", "tool_call_id": "c1", "content": format!("card on file: {CARD}")})),
        message(json!({"role": "user", "name": "x", "content": "my card: 4111111111111111"})),
        hide(json!({"metadata": {"card": CARD}})),
        hide(json!({"metadata": {CARD: "x"}})),
        hide(json!({"metadata": {"card": 4_111_111_111_111_111_u64}})),
        hide(json!({"unknown_field": {"deep": [[{"deeper": CARD}]]}})),
        hide(
            json!({"tools": [{"type": "function", "function": {"name": "f", "description": format!("card {CARD}")}}]}),
        ),
        hide(json!({"metadata": {"ssn": "536228145"}})),
        hide(json!({"metadata": {"ssn": 536_228_145}})),
        hide(json!({"metadata": {"db_password": "Xk29!vQz7Lm"}})),
        hide(json!({"messages": [
            {"role": "user", "content": "I cannot log in."},
            {"role": "assistant", "content": "What is your social security number?"},
            {"role": "user", "content": "536228145"}]})),
        hide(json!({"messages": [{"role": "user", "content": [
            {"type": "text", "text": "my card is 4111 1111"}, {"type": "text", "text": "1111 1111"}]}]})),
        hide(json!({"messages": [{"role": "user", "content": [
            {"type": "text", "text": format!("data:image/png;base64,AA card {CARD}")}]}]})),
        hide(json!({"user": CARD})),
        hide(json!({"model": "cloud/gpt-4o", "stop": [CARD]})),
        hide(json!({"model": "gpt-4o", "stream": true, "prediction": {"content": CARD}})),
    ];
    for body in &bodies {
        let reply = chat(gateway.data, body).await;
        assert_eq!(reply.header("x-sluicegate-label"), "restricted", "{body}");
        assert!(reply.status == 403, "{} {body}", reply.status);
        let error = reply.json();
        assert_eq!(error["error"]["code"], "refused_by_policy");
        assert!(!error.to_string().contains("4111"), "values are never named: {error}");
        assert_eq!(reply.header("x-should-retry"), "false");
    }
    let header = chat_with(gateway.data, &[("openai-project", CARD)], &ask("auto", HARD)).await;
    assert_eq!(header.header("x-sluicegate-label"), "restricted");
    assert!(cloud.captured().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn doubt_sessions_and_callers_raise_the_label() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::without_model(&cloud.config()).await;
    let image = json!({"model": "auto", "messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}]});
    let doubtful = chat(gateway.data, &image).await;
    assert_eq!((doubtful.status.as_u16(), doubtful.header("x-sluicegate-label")), (403, "restricted"));
    assert!(doubtful.header("x-sluicegate-reason").contains("unread_image"), "{doubtful:?}");

    let raised = chat_with(gateway.data, &[("x-sluicegate-label", "restricted")], &ask("auto", HARD)).await;
    assert_eq!(raised.status, 403);
    let lowered = [("x-sluicegate-label", "public")];
    let card = format!("card {CARD}");
    assert_eq!(chat_with(gateway.data, &lowered, &ask("auto", &card)).await.status, 403);

    let session = [("x-session-id", "s-1")];
    assert_eq!(chat_with(gateway.data, &session, &ask("auto", HARD)).await.status, 200);
    assert_eq!(chat_with(gateway.data, &session, &ask("auto", &card)).await.status, 403);
    let next = chat_with(gateway.data, &session, &ask("auto", "ok, continue")).await;
    assert_eq!((next.status.as_u16(), next.header("x-sluicegate-label")), (403, "restricted"));
    let other = chat_with(gateway.data, &[("x-session-id", "s-2")], &ask("auto", HARD)).await;
    assert_eq!(other.status, 200);
    assert_eq!(cloud.bodies().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_forwarded_as_they_are_and_credentials_stay_apart() {
    let directory = tempfile::tempdir().unwrap();
    let (cloud, ca) = Upstream::start_tls(directory.path()).await;
    let config =
        cloud.config().replace("location = ", &format!("ca_file = \"{}\"\nlocation = ", ca.display()));
    let gateway = Gateway::without_model(&config).await;
    let body = format!(
        "{{ \"x_vendor\":{{\"a\":[1,2.50,null]}},\n\"model\" : \"gpt-4o\",\"messages\":[{{\"role\":\"user\",\"content\":\"{HARD}\"}}] }}"
    );
    let reply = harness::client::send(
        hyper::Method::POST,
        gateway.data,
        "/v1/chat/completions",
        &[
            ("authorization", "Bearer client-secret"),
            ("x-custom", "client-header"),
            ("openai-project", "proj_1"),
        ],
        body.clone(),
    )
    .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(cloud.bodies(), [body.as_bytes()]);
    let head = &cloud.heads()[0];
    let header = |name: &str| head.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(header("authorization"), Some("Bearer test-upstream-key"));
    assert_eq!(header("openai-project"), Some("proj_1"));
    assert_eq!(header("x-custom"), None);
    assert_not_captured(&cloud, &["client-secret", "client-header"]);
    assert!(!gateway.log().contains("client-secret") && !gateway.log().contains("test-upstream-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_pass_through_and_usage_is_read_without_being_shown() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_model(&cloud.config()).await;
    let mut body = ask("auto", HARD);
    body["stream"] = true.into();
    let plain = chat(gateway.data, &body).await;
    assert_eq!(plain.header("content-type"), "text/event-stream");
    assert_eq!(plain.text(), "from the cloud");
    let events = plain.events();
    assert_eq!((events.len(), events.last().map(String::as_str)), (4, Some("[DONE]")), "{events:?}");
    let row = gateway.row(plain.header("x-request-id")).await;
    assert_eq!((row.get("usage_source"), row.number("cost_nanos")), ("provider", 3_000_000));

    body["stream_options"] = json!({"include_usage": true});
    let with_usage = chat_with(gateway.data, &[("x-sluicegate-usage", "1")], &body).await;
    let events = with_usage.events();
    assert_eq!(events.len(), 6, "{events:?}");
    let usage: Value = serde_json::from_str(&events[3]).unwrap();
    assert_eq!(usage["usage"]["prompt_tokens"], 1000);
    let trailer: Value = serde_json::from_str(&events[4]).unwrap();
    assert_eq!(trailer["sluicegate"]["route"], "cloud:cloud");
    assert_eq!(trailer["sluicegate"]["cost_usd"], "0.003000");

    let mut local = ask("local/default", ROUTINE);
    local["stream"] = true.into();
    local["stream_options"] = json!({"include_usage": true});
    let streamed = chat(gateway.data, &local).await;
    assert_eq!(streamed.header("x-sluicegate-route"), "local", "{streamed:?}");
    let events = streamed.events();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let usage: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
    assert!(usage["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    let first: Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
    local["stream"] = false.into();
    local.as_object_mut().unwrap().remove("stream_options");
    assert_eq!(
        chat(gateway.data, &local).await.text(),
        streamed.text(),
        "greedy answers are the same streamed and whole"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_and_names_force_a_route() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_model(&cloud.config()).await;
    let models = get(gateway.data, "/v1/models").await.json();
    let ids: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["auto", &format!("local/{MODEL}"), "cloud/gpt-4o"]);
    assert_eq!(get(gateway.data, "/v1/models/auto").await.json()["id"], "auto");
    assert_eq!(get(gateway.data, "/v1/models/cloud%2Fgpt-4o").await.json()["id"], "cloud/gpt-4o");
    assert_eq!(get(gateway.data, "/v1/models/nope").await.status, 404);
    let forced = chat(gateway.data, &ask("cloud/gpt-4o-mini", ROUTINE)).await;
    assert_eq!(forced.header("x-sluicegate-route"), "cloud:cloud");
    let sent: Value = serde_json::from_slice(&cloud.bodies()[0]).unwrap();
    assert_eq!(sent["model"], "gpt-4o-mini", "the prefix is the gateway's");
    let unknown = chat(gateway.data, &ask("local/other", ROUTINE)).await;
    assert_eq!(
        (unknown.status.as_u16(), unknown.json()["error"]["code"].as_str()),
        (404, Some("model_not_found"))
    );
    assert_eq!(unknown.json()["error"]["param"], "model");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cloud_hard_requests_are_served_here_and_say_so() {
    let gateway = Gateway::with_model(
        "[[upstream]]\nname = \"cloud\"\nprotocol = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n\
         api_key = \"env:NO_SUCH_KEY_IS_SET\"\nclearance = \"internal\"\n",
    )
    .await;
    let reply = chat(gateway.data, &ask("auto", HARD)).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-sluicegate-route")), (200, "local"), "{reply:?}");
    assert!(reply.header("x-sluicegate-reason").contains("NO_SUCH_KEY_IS_SET is not set"), "{reply:?}");
    assert_eq!(gateway.row(reply.header("x-request-id")).await.number("degraded"), 1);
    assert!(gateway.log().contains("no cloud is configured"));
}

#[tokio::test(flavor = "multi_thread")]
async fn observing_forwards_as_asked_and_records_what_it_saw() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_model_in(None, &cloud.config(), &["--observe"]).await;
    let reply = chat(gateway.data, &ask("gpt-4o", &format!("Is {CARD} a valid card?"))).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("x-sluicegate-route")),
        (200, "cloud:cloud"),
        "{reply:?}"
    );
    let row = gateway.row(reply.header("x-request-id")).await;
    assert_eq!(
        (row.get("label"), row.number("declassified"), row.get("kinds")),
        ("restricted", 1, "CREDIT_CARD=1")
    );
    assert!(gateway.log().contains("NOTHING IS KEPT BACK"));
}
