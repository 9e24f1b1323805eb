//! What happens when something is wrong: requests, upstreams, clients, disks.

use bytes::Bytes;
use harness::client::{ask, chat, get, send};
use harness::eventually;
use harness::process::Gateway;
use harness::upstream::{Behaviour, Upstream, closed_port, connect};
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const HARD: &str = "Design a linearizable multi-region key-value store with leases, analyse its behaviour under clock skew and \
    asymmetric partitions, prove safety, and give the complete reconfiguration protocol with pseudocode.";

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_the_openai_error_shape_and_names_the_field() {
    let cloud = Upstream::start().await;
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nbody_bytes_max = 100000\n[admin]\nlisten = \"127.0.0.1:0\"\n{}",
        cloud.config()
    );
    let gateway = Gateway::without_model(&config).await;
    let hello = r#""messages":[{"role":"user","content":"hi"}]"#;
    let deep = format!(r#"{{"model":"auto",{hello},"x":{}1{}}}"#, "[".repeat(100), "]".repeat(100));
    let cases: Vec<(String, u16, Option<&str>)> = vec![
        (String::new(), 400, None),
        ("not json".into(), 400, None),
        ("[]".into(), 400, None),
        (format!("{{{hello}}}"), 400, Some("model")),
        (r#"{"model":"auto"}"#.into(), 400, Some("messages")),
        (r#"{"model":"auto","messages":[]}"#.into(), 400, Some("messages")),
        (
            r#"{"model":"auto","messages":[{"role":"user","content":7}]}"#.into(),
            400,
            Some("messages[0].content"),
        ),
        (
            r#"{"model":"auto","messages":[{"role":"pope","content":"x"}]}"#.into(),
            400,
            Some("messages[0].role"),
        ),
        (format!(r#"{{"model":"auto",{hello},"temperature":9}}"#), 400, Some("temperature")),
        (format!(r#"{{"model":"auto",{hello},"max_tokens":-1}}"#), 400, Some("max_tokens")),
        (format!(r#"{{"model":"auto",{hello},"stream":"x"}}"#), 400, Some("stream")),
        (format!(r#"{{"model":"auto",{hello},"stop":["a","b",""]}}"#), 400, Some("stop")),
        (
            format!(r#"{{"model":"auto",{hello},"response_format":{{"type":"xml"}}}}"#),
            400,
            Some("response_format.type"),
        ),
        (format!(r#"{{"model":"auto",{hello},"temperature":NaN}}"#), 400, None),
        (format!(r#"{{"model":"auto",{hello},"stop":{}}}"#, json!(vec!["x"; 17])), 400, Some("stop")),
        (format!(r#"{{"model":"auto",{hello},"n":129}}"#), 400, Some("n")),
        (format!(r#"{{"model":"auto",{hello},"min_p":-1}}"#), 400, Some("min_p")),
        (format!(r#"{{"model":"auto",{hello},"repetition_penalty":"x"}}"#), 400, Some("repetition_penalty")),
        (format!(r#"{{"model":"auto",{hello},"logit_bias":{{"a":1}}}}"#), 400, Some("logit_bias")),
        (format!(r#"{{"model":"auto",{hello},"structured_outputs":{{}}}}"#), 400, Some("structured_outputs")),
        (format!(r#"{{"model":"auto",{hello},"model":"gpt-4o"}}"#), 400, None),
        (deep, 400, None),
        (
            format!(
                r#"{{"model":"auto","messages":[{{"role":"user","content":"{}"}}]}}"#,
                "x".repeat(200_000)
            ),
            413,
            None,
        ),
    ];
    for (body, status, param) in cases {
        let shown: String = body.chars().take(80).collect();
        let reply = send(Method::POST, gateway.data, "/v1/chat/completions", &[], body).await;
        assert_eq!(reply.status, status, "{shown}");
        let error = &reply.json()["error"];
        assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "{shown}");
        assert!(error["type"].is_string(), "{shown}");
        assert_eq!(error["param"].as_str(), param, "{shown}: {error}");
        assert_eq!(reply.header("x-should-retry"), "false", "{shown}");
        assert!(reply.header("x-request-id").starts_with("req_"), "{shown}");
    }
    let invalid_utf8 =
        Bytes::from_static(b"{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}");
    assert_eq!(send(Method::POST, gateway.data, "/v1/chat/completions", &[], invalid_utf8).await.status, 400);
    let bad_label = send(
        Method::POST,
        gateway.data,
        "/v1/chat/completions",
        &[("x-sluicegate-label", "top-secret")],
        ask("auto", "hi").to_string(),
    )
    .await;
    assert_eq!(
        (bad_label.status.as_u16(), bad_label.json()["error"]["param"].as_str()),
        (400, Some("x-sluicegate-label"))
    );
    let wrong_method = get(gateway.data, "/v1/chat/completions").await;
    assert_eq!((wrong_method.status.as_u16(), wrong_method.header("allow")), (405, "POST"));
    assert_eq!(get(gateway.data, "/v1/nothing").await.status, 404);
    assert!(cloud.captured().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_faults_fall_back_or_are_told() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_model(&cloud.config()).await;
    for behaviour in
        [Behaviour::Status(500), Behaviour::Status(429), Behaviour::Reset, Behaviour::Status(401)]
    {
        cloud.behave(behaviour);
        let reply = chat(gateway.data, &ask("auto", HARD)).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("x-sluicegate-route")),
            (200, "local"),
            "{behaviour:?} {reply:?}"
        );
        assert!(reply.header("x-sluicegate-reason").contains("fell back"), "{behaviour:?} {reply:?}");
        let row = gateway.row(reply.header("x-request-id")).await;
        assert_eq!((row.number("attempts"), row.number("degraded"), row.number("cost_nanos")), (2, 1, 0));
    }
    cloud.behave(Behaviour::Well);
    let served = chat(gateway.data, &ask("cloud/gpt-4o", HARD)).await;
    assert_eq!(served.status, 200);
    // A forced route has nothing to fall back to: the upstream's own answer is passed on, its key trouble is not.
    cloud.behave(Behaviour::Status(429));
    let passed = chat(gateway.data, &ask("cloud/gpt-4o", HARD)).await;
    assert_eq!(
        (passed.status.as_u16(), passed.json()["error"]["message"].as_str()),
        (429, Some("upstream says no"))
    );
    cloud.behave(Behaviour::Status(401));
    let credentials = chat(gateway.data, &ask("cloud/gpt-4o", HARD)).await;
    assert_eq!(
        (credentials.status.as_u16(), credentials.json()["error"]["code"].as_str()),
        (502, Some("upstream_credentials"))
    );
    let row = gateway.row(credentials.header("x-request-id")).await;
    assert_eq!((row.get("outcome"), row.number("cost_nanos")), ("failed", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_cannot_be_reached_is_told_and_then_left_alone() {
    let nobody = closed_port().await;
    let config = format!(
        "[[upstream]]\nname = \"cloud\"\nprotocol = \"openai\"\nbase_url = \"http://{nobody}/v1\"\nclearance = \"internal\"\n"
    );
    let gateway = Gateway::without_model(&config).await;
    for _ in 0..5 {
        let reply = chat(gateway.data, &ask("auto", HARD)).await;
        assert_eq!(
            (reply.status.as_u16(), reply.json()["error"]["code"].as_str()),
            (502, Some("upstream_error"))
        );
    }
    let left_alone = chat(gateway.data, &ask("auto", HARD)).await;
    assert_eq!(left_alone.status, 503, "{left_alone:?}");
    assert!(!left_alone.header("retry-after").is_empty());
    assert!(left_alone.json()["error"]["message"].as_str().unwrap().contains("left alone"), "{left_alone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_says_so_and_is_accounted() {
    let cloud = Upstream::start().await;
    cloud.behave(Behaviour::BreakOff);
    let gateway = Gateway::without_model(&cloud.config()).await;
    let mut body = ask("auto", HARD);
    body["stream"] = true.into();
    let reply = chat(gateway.data, &body).await;
    let events = reply.events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "upstream_error", "{events:?}");
    assert!(!events.iter().any(|event| event == "[DONE]"));
    let row = gateway.row(reply.header("x-request-id")).await;
    assert_eq!((row.get("outcome"), row.get("usage_source")), ("failed", "estimated"));
    assert!(row.number("output_tokens") > 0 && row.number("cost_nanos") > 0);
}

/// Opens a connection and sends a request on it.
async fn post(gateway: &Gateway, body: &Value) -> tokio::net::TcpStream {
    let mut socket = connect(gateway.data).await;
    let body = body.to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// Opens a streaming request, reads its beginning and hangs up.
async fn hang_up(gateway: &Gateway, body: &Value, after: &str) -> String {
    let mut socket = post(gateway, body).await;
    let mut seen = String::new();
    let mut buffer = [0u8; 4096];
    while !seen.contains(after) {
        let read = socket.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    let id = seen.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    id.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_stops_the_work_and_is_charged_for_what_was_made() {
    let cloud = Upstream::start().await;
    cloud.behave(Behaviour::Endless);
    let gateway = Gateway::with_model(&cloud.config()).await;
    let mut body = ask("cloud/gpt-4o", HARD);
    body["stream"] = true.into();
    let id = hang_up(&gateway, &body, "and on").await;
    eventually("the upstream call to be cut off", async || (cloud.cut_off() == 1).then_some(())).await;
    let row = gateway.row(&id).await;
    assert_eq!(
        (row.get("outcome"), row.get("usage_source"), row.number("status")),
        ("aborted", "estimated", 499)
    );
    assert!(row.number("cost_nanos") > 0);

    let mut local = json!({"model": "local/default", "stream": true, "max_tokens": 4000, "temperature": 0,
        "messages": [{"role": "user", "content": "Write a very long story about a river."}]});
    let id = hang_up(&gateway, &local, "\"content\":\"").await;
    let row = gateway.row(&id).await;
    assert_eq!(
        (row.get("outcome"), row.get("usage_source"), row.number("cost_nanos")),
        ("aborted", "counted", 0)
    );
    // The worker is free again: a short request is answered at once, not after four thousand tokens.
    local["stream"] = false.into();
    local["max_tokens"] = 2.into();
    assert_eq!(chat(gateway.data, &local).await.status, 200);
    assert!(row.number("output_tokens") < 2_000, "generation stopped: {}", row.get("output_tokens"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_that_nobody_waits_for_is_charged_as_sent() {
    let cloud = Upstream::start().await;
    cloud.behave(Behaviour::Silent);
    let gateway = Gateway::without_model(&cloud.config()).await;
    let socket = post(&gateway, &ask("auto", HARD)).await;
    eventually("the upstream to have the request", async || (cloud.bodies().len() == 1).then_some(())).await;
    eventually("the open row", async || (gateway.rows("open") == 1).then_some(())).await;
    drop(socket);
    eventually("the settled row", async || (gateway.rows("settled") == 1).then_some(())).await;
    let report = get(gateway.admin, "/admin/v1/spend?by=route").await.json();
    assert!(report["total"]["cost"].as_i64().unwrap() > 0, "the upstream may bill it: {report}");
    assert_eq!(report["total"]["completed"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weak_local_answer_escalates_and_an_error_does_not_replace_it() {
    let cloud = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let policy = "name = \"cascade\"\nnamed_models_locally = true\n[[rule]]\nname = \"local-first\"\nroute = \"local\"\nescalate_below = 1.0\n";
    std::fs::write(directory.path().join("policy.toml"), policy).unwrap();
    let config = format!("[policy]\nfile = \"policy.toml\"\n{}", cloud.config());
    let gateway = Gateway::with_model_in(Some(directory.path()), &config, &[]).await;
    let escalated = chat(gateway.data, &ask("auto", "Name a river.")).await;
    assert_eq!(
        (escalated.text().as_str(), escalated.header("x-sluicegate-route")),
        ("from the cloud", "cloud:cloud")
    );
    let row = gateway.row(escalated.header("x-request-id")).await;
    assert_eq!((row.number("attempts"), row.number("cost_nanos")), (2, 3_000_000));
    assert!(row.get("confidence").parse::<f64>().unwrap() < 1.0, "the local attempt is told");
    assert!(row.get("energy_joules").parse::<f64>().unwrap() > 0.0, "and its energy is not forgotten");
    cloud.behave(Behaviour::Status(500));
    let kept = chat(gateway.data, &ask("auto", "Name a river.")).await;
    assert_eq!((kept.status.as_u16(), kept.header("x-sluicegate-route")), (200, "local"));
    assert_eq!(gateway.row(kept.header("x-request-id")).await.number("cost_nanos"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_model_is_told_and_the_rest_works() {
    let cloud = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "{}\n[local]\nmodel = \"smollm2-135m-instruct\"\ncache_dir = \"{}\"\noffline = true\n",
        cloud.config(),
        directory.path().join("empty").display()
    );
    let path = directory.path().join("offline.toml");
    std::fs::write(&path, config).unwrap();
    let output = harness::process::run(
        &["chat", "--config", path.to_str().unwrap(), "--offline", "hello"],
        directory.path(),
        "",
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("sluicegate models pull"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_lets_running_requests_finish() {
    let mut gateway = Gateway::with_model("").await;
    let body = json!({"model": "auto", "max_tokens": 40, "temperature": 0,
        "messages": [{"role": "user", "content": "Tell me about rivers."}]});
    let address = gateway.data;
    let running = chat(address, &body);
    tokio::pin!(running);
    // Poll it until the gateway has it.
    let admin = gateway.admin;
    tokio::select! {
        reply = &mut running => panic!("answered before the stop: {reply:?}"),
        () = eventually("the request to be in flight", async || {
            let metrics = get(admin, "/metrics").await;
            String::from_utf8_lossy(&metrics.body).contains("sluicegate_in_flight 1").then_some(())
        }) => {}
    }
    let stopping = tokio::task::spawn_blocking(move || {
        let status = gateway.stop();
        (gateway, status)
    });
    let reply = running.await;
    assert_eq!(reply.status, 200);
    let (gateway, status) = stopping.await.unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(gateway.rows("settled"), 1);
    assert_eq!(gateway.rows("open"), 0);
}
