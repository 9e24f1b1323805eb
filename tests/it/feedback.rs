//! What callers say about answers, and the rows that are made of it.

use harness::client::{Reply, ask, chat, chat_with, get, send};
use harness::eventually;
use harness::process::{Gateway, run};
use harness::upstream::Upstream;
use hyper::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

const ROUTINE: &str = "What is the capital of France?";
const HARD: &str = "Derive the asymptotic distribution of the maximum likelihood estimator under misspecification, state every \
    regularity condition, and show how the sandwich estimator follows; then discuss small-sample corrections in detail.";

async fn rate(gateway: &Gateway, headers: &[(&str, &str)], body: impl ToString) -> Reply {
    send(Method::POST, gateway.data, "/v1/feedback", headers, body.to_string()).await
}

fn stored(gateway: &Gateway) -> Vec<(String, String, f64, Option<String>)> {
    let connection = Connection::open(gateway.directory().join("sluicegate.db")).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    let mut statement =
        connection.prepare("SELECT request_id, team, score, label FROM feedback ORDER BY rowid").unwrap();
    let rows =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn sluicegate(gateway: &Gateway, arguments: &[&str]) -> String {
    let config = gateway.config();
    let mut all = arguments.to_vec();
    all.extend(["--config", config.to_str().unwrap()]);
    let output = run(&all, gateway.directory(), "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_rates_its_own_teams_requests_and_has_one_opinion() {
    let cloud = Upstream::start().await;
    let gateway =
        Gateway::without_model(&format!("[identity]\nrequire_key = \"always\"\n{}", cloud.config())).await;
    let bearer =
        |team: &str| format!("Bearer {}", sluicegate(&gateway, &["keys", "create", "--team", team]).trim());
    let (own, other) = (bearer("finance"), bearer("research"));
    let (own, other) = ([("authorization", own.as_str())], [("authorization", other.as_str())]);
    let id = chat_with(gateway.data, &own, &ask("gpt-4o", HARD)).await.header("x-request-id").to_owned();

    let good = json!({"request_id": id, "score": 1});
    let without = rate(&gateway, &[], &good).await;
    assert_eq!(
        (without.status.as_u16(), without.json()["error"]["code"].as_str()),
        (401, Some("invalid_api_key"))
    );
    // At once: the row may still be on its way to the disk.
    let first = rate(&gateway, &own, &good).await;
    assert_eq!((first.status.as_u16(), first.json()["status"].as_str()), (200, Some("recorded")));
    let strangers = rate(&gateway, &other, &good).await;
    let nobodys = rate(&gateway, &own, json!({"request_id": "req_x", "score": 1})).await;
    assert_eq!((strangers.status.as_u16(), nobodys.status.as_u16()), (404, 404));
    assert_eq!(strangers.json(), nobodys.json(), "another team's request is as unknown as none");
    let error = &nobodys.json()["error"];
    assert_eq!(
        (error["type"].as_str(), error["code"].as_str(), error["param"].as_str()),
        (Some("invalid_request_error"), Some("request_not_found"), Some("request_id"))
    );
    assert_eq!(stored(&gateway), [(id.clone(), String::from("finance"), 1.0, None)]);

    let worse = json!({"request_id": id, "score": -0.5, "label": "too_short"});
    for _ in 0..2 {
        assert_eq!(rate(&gateway, &own, &worse).await.status, 200);
    }
    let replaced = (id, String::from("finance"), -0.5, Some(String::from("too_short")));
    assert_eq!(stored(&gateway), [replaced]);
    let metrics = String::from_utf8(get(gateway.admin, "/metrics").await.body.to_vec()).unwrap();
    for line in
        ["sluicegate_feedback_total{sign=\"positive\"} 1", "sluicegate_feedback_total{sign=\"negative\"} 2"]
    {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faulty_feedback_is_refused_by_field_and_bounded() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::without_model(&cloud.config()).await;
    let id = chat(gateway.data, &ask("gpt-4o", HARD)).await.header("x-request-id").to_owned();
    for (body, field) in [
        (json!({"request_id": id, "score": 7}), "score"),
        (json!({"request_id": id, "score": "1"}), "score"),
        (json!({"request_id": id}), "score"),
        (json!({"score": 1}), "request_id"),
        (json!({"request_id": 7, "score": 1}), "request_id"),
        (json!({"request_id": id, "score": 1, "label": "my phone is 030 1234567"}), "label"),
        (json!({"request_id": id, "score": 1, "comment": "nice"}), "comment"),
    ] {
        let reply = rate(&gateway, &[], &body).await;
        assert_eq!(
            (reply.status.as_u16(), reply.json()["error"]["param"].as_str()),
            (400, Some(field)),
            "{body}"
        );
    }
    for body in ["", "NaN", "{\"request_id\": \"r\", \"score\": NaN}", "[]", "\u{0}"] {
        assert_eq!(rate(&gateway, &[], body).await.status, 400, "{body:?}");
    }
    let long = json!({"request_id": id, "score": 1, "label": "x".repeat(100_000)});
    assert_eq!(rate(&gateway, &[], &long).await.status, 413);
    assert_eq!(get(gateway.data, "/v1/feedback").await.status, 405);
    assert!(stored(&gateway).is_empty());
    let page = [("origin", "http://evil.example"), ("content-type", "text/plain")];
    assert_eq!(rate(&gateway, &page, json!({"request_id": id, "score": 1})).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn rated_local_answers_become_rows_to_train_on() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_model(&format!("[ledger]\nfeatures = true\n{}", cloud.config())).await;
    let local = chat(gateway.data, &ask("auto", ROUTINE)).await.header("x-request-id").to_owned();
    let away = chat(gateway.data, &ask("gpt-4o", HARD)).await.header("x-request-id").to_owned();
    let judged = chat(gateway.data, &ask("gpt-4o", HARD)).await.header("x-request-id").to_owned();
    for (id, score) in [(&local, 0.5), (&away, 1.0)] {
        assert_eq!(rate(&gateway, &[], json!({"request_id": id, "score": score})).await.status, 200);
    }
    let row = gateway.row(&judged).await;
    let profile: Value = serde_json::from_str(row.get("profile")).unwrap();
    assert_eq!(profile["task"], row.get("task"));
    let situation: Value = serde_json::from_str(row.get("situation")).unwrap();
    assert_eq!((&situation["operation"], &situation["request"]["model"]), (&json!("chat"), &json!("gpt-4o")));
    // A judgement such as the gateway writes for a shadow.
    let connection = Connection::open(gateway.directory().join("sluicegate.db")).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    connection.execute("INSERT INTO judgements VALUES (?1, 'shadow', 0.25, 1)", [&judged]).unwrap();
    drop(connection);

    let graded = sluicegate(&gateway, &["export", "--what", "graded"]);
    let rows: Vec<Value> = graded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<_> = rows.iter().map(|row| (&row["id"], &row["good"], &row["good_source"])).collect();
    let (local_row, judged_row) =
        ((json!(local), json!(0.75), json!("feedback")), (json!(judged), json!(0.25), json!("shadow")));
    assert_eq!(
        said,
        [(&local_row.0, &local_row.1, &local_row.2), (&judged_row.0, &judged_row.1, &judged_row.2)],
        "feedback on an answer from the cloud says nothing about the local model"
    );
    for row in &rows {
        assert!((0.0..=1.0).contains(&row["complexity"].as_f64().unwrap()), "{row}");
        assert!(row["cloud_cost_nanos"].as_i64().unwrap() > 0 && row["local_cost_nanos"] == 0, "{row}");
        assert!(row["features"].as_array().unwrap().len() > 50 && row.get("prompt").is_none(), "{row}");
    }
    assert!(rows[0]["confidence"].is_f64(), "what the local answer said about itself");
    assert_eq!(rows[0]["model"], harness::process::MODEL);
    assert!(sluicegate(&gateway, &["export", "--what", "graded", "--team", "nobody"]).is_empty());
    assert!(sluicegate(&gateway, &["export", "--what", "graded", "--to", "2001-01-01"]).is_empty());

    let whole = sluicegate(&gateway, &["export", "--what", "requests"]);
    let requests: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(requests.len(), 3);
    assert_eq!((&requests[0]["id"], &requests[0]["profile"]["language"]), (&json!(local), &json!("en")));
    assert!(!whole.contains("capital") && !whole.contains("sandwich"), "no words of any request");
    eventually("the ledger to be free of text", async || {
        let dump = std::fs::read(gateway.directory().join("sluicegate.db")).unwrap();
        (!dump.windows(8).any(|window| window == b"sandwich")).then_some(())
    })
    .await;
}
