//! The ledger: every request once, exactly, also after crashes and with a broken disk.

use harness::client::{ask, chat, chat_with, get, send};
use harness::eventually;
use harness::process::{Gateway, run};
use harness::upstream::{Behaviour, Upstream};
use hyper::Method;
use serde_json::json;

const HARD: &str = "Derive the asymptotic distribution of the maximum likelihood estimator under misspecification, state every \
    regularity condition, and show how the sandwich estimator follows; then discuss small-sample corrections in detail.";

#[tokio::test(flavor = "multi_thread")]
async fn a_row_tells_who_where_why_and_how_much() {
    let cloud = Upstream::start().await;
    let mut gateway = Gateway::with_model(&cloud.config()).await;
    let headers = [("x-sluicegate-team", "research"), ("x-sluicegate-tags", "a, b"), ("x-session-id", "s1")];
    let mut body = ask("gpt-4o", HARD);
    body["user"] = "u1".into();
    let reply = chat_with(gateway.data, &headers, &body).await;
    let row = gateway.row(reply.header("x-request-id")).await;
    for (column, expected) in [
        ("team", "research"),
        ("tags", "a,b"),
        ("session", "s1"),
        ("user", "u1"),
        ("requested_model", "gpt-4o"),
        ("served_model", "gpt-4o"),
        ("route", "cloud:cloud"),
        ("label", "public"),
        ("input_tokens", "1000"),
        ("cached_tokens", "400"),
        ("output_tokens", "100"),
        ("usage_source", "provider"),
        ("price_source", "catalogue"),
        ("cost_nanos", "3000000"),
        ("baseline_nanos", "3000000"),
        ("outcome", "completed"),
        ("status", "200"),
        ("attempts", "1"),
    ] {
        assert_eq!(row.get(column), expected, "{column}");
    }
    // The request's limit of 12 output tokens at 10 dollars a million, and some input.
    assert!(row.number("reserved_nanos") > 120_000, "{}", row.get("reserved_nanos"));
    assert!(row.get("alternatives").contains("cloud/gpt-4o"));

    let local = chat(gateway.data, &ask("local/default", "Say hello.")).await;
    let row = gateway.row(local.header("x-request-id")).await;
    assert_eq!((row.get("usage_source"), row.number("cost_nanos")), ("counted", 0));
    assert!(
        row.number("baseline_nanos") > 0,
        "the baseline of a local answer is what the cloud would have cost"
    );
    assert!(row.get("confidence").parse::<f64>().unwrap() > 0.0);
    assert!(row.get("energy_method").starts_with("modelled"));

    assert!(gateway.stop().success());
    let dump = std::fs::read(gateway.directory().join("sluicegate.db")).unwrap();
    let holds = |text: &[u8]| dump.windows(text.len()).any(|window| window == text);
    assert!(holds(b"research"), "the file is the ledger");
    assert!(!holds(b"sandwich estimator"), "no prompt text in the ledger");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_survives_a_restart_and_a_crash() {
    let cloud = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let mut first = Gateway::with_model_in(Some(directory.path()), &cloud.config(), &[]).await;
    for _ in 0..3 {
        assert_eq!(chat(first.data, &ask("gpt-4o", HARD)).await.status, 200);
    }
    assert!(first.stop().success());
    assert_eq!(first.rows("settled"), 3);

    let mut second = Gateway::with_model_in(Some(directory.path()), &cloud.config(), &[]).await;
    cloud.behave(Behaviour::Endless);
    let mut body = ask("cloud/gpt-4o", HARD);
    body["stream"] = true.into();
    let address = second.data;
    let running = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            tokio::time::timeout(std::time::Duration::from_secs(60), chat(address, &body)).await.is_ok()
        })
    });
    eventually("the open row", async || (second.rows("open") == 1).then_some(())).await;
    second.kill();
    drop(running);

    let third = Gateway::with_model_in(Some(directory.path()), &cloud.config(), &[]).await;
    assert_eq!((third.rows("settled"), third.rows("open")), (4, 0));
    assert!(third.log().contains("were running when the process died"));
    let config = third.config();
    let report = run(
        &["report", "--config", config.to_str().unwrap(), "--by", "route", "--format", "json"],
        directory.path(),
        "",
    );
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    let total = report["total"]["cost"].as_i64().unwrap();
    let lines: i64 =
        report["lines"].as_array().unwrap().iter().map(|line| line["cost"].as_i64().unwrap()).sum();
    assert_eq!(total, lines);
    assert!(total > 9_000_000, "three answers and one reservation: {total}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_belong_to_teams_and_can_be_revoked() {
    let cloud = Upstream::start().await;
    let gateway =
        Gateway::without_model(&format!("[identity]\nrequire_key = \"always\"\n{}", cloud.config())).await;
    let config = gateway.config();
    let sluicegate = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--config", config.to_str().unwrap()]);
        let output = run(&all, gateway.directory(), "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let without = chat(gateway.data, &ask("auto", HARD)).await;
    assert_eq!(
        (without.status.as_u16(), without.json()["error"]["code"].as_str()),
        (401, Some("invalid_api_key"))
    );
    let secret = sluicegate(&["keys", "create", "--team", "finance"]);
    assert!(secret.starts_with("sk-sluice-"));
    let bearer = format!("Bearer {secret}");
    let headers = [("authorization", bearer.as_str()), ("x-sluicegate-team", "somebody-else")];
    let reply = chat_with(gateway.data, &headers, &ask("auto", HARD)).await;
    assert_eq!(reply.status, 200);
    let row = gateway.row(reply.header("x-request-id")).await;
    assert_eq!(row.get("team"), "finance", "a key's team is not the caller's to choose");
    assert!(!String::from_utf8_lossy(&cloud.captured()).contains("sk-sluice-"), "the key stays here");
    let listed = sluicegate(&["keys", "list"]);
    assert!(!listed.contains(&secret) && listed.contains("finance"));
    let id = row.get("key").to_owned();
    sluicegate(&["keys", "revoke", &id]);
    eventually("the revocation", async || {
        (chat_with(gateway.data, &headers, &ask("auto", HARD)).await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_holds_and_what_costs_nothing_is_still_served() {
    let cloud = Upstream::start().await;
    let config = format!("[[team]]\nname = \"small\"\nmonthly_budget_usd = 0.02\n{}", cloud.config());
    let gateway = Gateway::with_model(&config).await;
    let team = [("x-sluicegate-team", "small")];
    let mut body = ask("cloud/gpt-4o", HARD);
    body["max_tokens"] = 700.into();
    let mut body_for_auto = body.clone();
    body_for_auto["model"] = "auto".into();
    body_for_auto["messages"][0]["content"] = "What is the capital of France?".into();
    body_for_auto["max_tokens"] = 8.into();
    let mut served = 0;
    let refused = loop {
        let reply = chat_with(gateway.data, &team, &body).await;
        if reply.status != 200 {
            break reply;
        }
        served += 1;
        assert!(served < 20, "a budget of two cents is never used up");
    };
    assert_eq!(
        (refused.status.as_u16(), refused.json()["error"]["code"].as_str()),
        (429, Some("insufficient_quota"))
    );
    assert_eq!(refused.header("x-should-retry"), "false");
    assert!((3..=6).contains(&served), "{served}");
    let free = chat_with(gateway.data, &team, &body_for_auto).await;
    assert_eq!(
        (free.status.as_u16(), free.header("x-sluicegate-route")),
        (200, "local"),
        "what costs nothing is served"
    );
    let local = chat_with(gateway.data, &team, &ask("local/default", "Say hello.")).await;
    assert_eq!(local.status, 200, "{local:?}");
    assert_eq!(chat(gateway.data, &body).await.status, 200, "other teams are not affected");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unwritable_ledger_fails_readiness_and_refuses_what_must_be_accounted() {
    let cloud = Upstream::start().await;
    let config = format!("[[team]]\nname = \"hard\"\nmonthly_budget_usd = 100.0\n{}", cloud.config());
    let gateway = Gateway::without_model(&config).await;
    assert_eq!(get(gateway.data, "/readyz").await.status, 200);
    // A lock held by somebody else stands for a disk that takes no writes.
    let path = gateway.directory().join("sluicegate.db");
    let blocker = rusqlite::Connection::open(path).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (ready, hard, soft) = tokio::join!(
        get(gateway.data, "/readyz"),
        async { chat_with(gateway.data, &[("x-sluicegate-team", "hard")], &ask("auto", HARD)).await },
        async { chat(gateway.data, &ask("auto", HARD)).await },
    );
    assert_eq!(ready.status, 503, "{ready:?}");
    assert_eq!(
        (hard.status.as_u16(), hard.json()["error"]["code"].as_str()),
        (503, Some("ledger_unavailable"))
    );
    assert_eq!(soft.status, 200, "a team without a budget is served, and accounted later");
    blocker.execute_batch("ROLLBACK").unwrap();
    eventually("readiness again", async || {
        get(gateway.data, "/readyz").await.status.is_success().then_some(())
    })
    .await;
    gateway.row(soft.header("x-request-id")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_reach_a_collector_with_one_span_a_stage_and_no_text() {
    let (cloud, collector) = (Upstream::start().await, Upstream::start().await);
    let config = format!("[telemetry]\notlp_endpoint = \"http://{}\"\n{}", collector.address, cloud.config());
    let mut gateway = Gateway::without_model(&config).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let reply = chat_with(gateway.data, &[("traceparent", &parent)], &ask("auto", HARD)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let sent = cloud.heads()[0].iter().find(|(name, _)| name == "traceparent").unwrap().1.clone();
    assert!(sent.contains(trace) && sent != parent, "the trace goes on: {sent}");
    assert!(gateway.stop().success());
    let seen = String::from_utf8_lossy(&collector.captured()).into_owned();
    for name in [
        "identity",
        "inbound",
        "classification",
        "decision",
        "execution",
        "settlement",
        "gen_ai.request.model",
    ] {
        assert!(seen.contains(name), "{name} in what the collector got");
    }
    assert!(!seen.contains("sandwich estimator"), "no prompt text in traces");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_feedback_follow_the_requests() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::without_model(&cloud.config()).await;
    let reply = chat(gateway.data, &ask("auto", HARD)).await;
    let id = reply.header("x-request-id").to_owned();
    gateway.row(&id).await;
    let feedback = json!({"request_id": id, "score": 0.5}).to_string();
    assert_eq!(send(Method::POST, gateway.data, "/v1/feedback", &[], feedback).await.status, 200);
    let beyond = json!({"request_id": id, "score": 7}).to_string();
    let refused = send(Method::POST, gateway.data, "/v1/feedback", &[], beyond).await;
    assert_eq!((refused.status.as_u16(), refused.json()["error"]["param"].as_str()), (400, Some("score")));
    let unknown = json!({"request_id": "req_x", "score": 1}).to_string();
    assert_eq!(send(Method::POST, gateway.data, "/v1/feedback", &[], unknown).await.status, 404);
    let metrics = String::from_utf8(get(gateway.admin, "/metrics").await.body.to_vec()).unwrap();
    for line in [
        "sluicegate_requests_total{route=\"cloud:cloud\",outcome=\"completed\",label=\"public\"} 1",
        "gen_ai_client_token_usage_total{route=\"cloud:cloud\",gen_ai_token_type=\"input\"} 1000",
        "sluicegate_cost_usd_total{route=\"cloud:cloud\"} 0.003",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    let spend = get(gateway.admin, "/admin/v1/spend?by=route").await.json();
    assert_eq!(spend["total"]["cost"], 3_000_000);
}
