//! The audit chain: what left is in it before it leaves, it holds after a crash, and nothing in it can be changed unnoticed.

use std::path::Path;

use harness::client::{ask, chat, chat_with, get};
use harness::eventually;
use harness::process::{Gateway, run};
use harness::upstream::{Behaviour, Upstream};
use rusqlite::Connection;
use serde_json::Value;

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";

fn records(gateway: &Gateway) -> Vec<Value> {
    let connection = Connection::open(gateway.directory().join("sluicegate.db")).unwrap();
    let mut statement = connection.prepare("SELECT record FROM audit ORDER BY sequence").unwrap();
    let lines = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

async fn settled(gateway: &Gateway, request: &str) -> Vec<Value> {
    eventually("the audit records of a request", async || {
        let mine: Vec<Value> = records(gateway).into_iter().filter(|one| one["request"] == request).collect();
        mine.iter().any(|one| one["event"] == "settled").then_some(mine)
    })
    .await
}

/// Exit code, and what it said on either side.
fn audit(gateway: &Gateway, arguments: &[&str]) -> (i32, String) {
    let config = gateway.config();
    let given = [&["audit"], arguments, &["--config", config.to_str().unwrap()]].concat();
    let output = run(&given, gateway.directory(), "");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// A key for the chain and a policy under which nothing leaves unrecorded.
fn strict(directory: &Path, cloud: &Upstream) -> String {
    let (key, policy) = (directory.join("audit.key"), directory.join("policy.toml"));
    std::fs::write(&key, KEY).unwrap();
    let text = "name = \"recorded\"\naudit = \"required\"\n[labels]\nCREDIT_CARD = \"restricted\"\n\
         [[rule]]\nname = \"all\"\nroute = \"cloud\"\n";
    std::fs::write(&policy, text).unwrap();
    format!(
        "[audit]\nkey = \"file:{}\"\n[policy]\nfile = \"{}\"\n{}",
        key.display(),
        policy.display(),
        cloud.config()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_recorded_with_every_place_that_got_the_data() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    first.behave(Behaviour::Status(500));
    let config =
        format!("{}{}", strict(directory.path(), &first), second.config_as("other", "internal", "cloud"));
    let mut gateway = Gateway::without_model(&config).await;
    let headers = [("x-sluicegate-team", "research"), ("x-session-id", "patient-4711")];
    let reply = chat_with(gateway.data, &headers, &ask("auto", "Write to jo.doe@example.com please")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let mine = settled(&gateway, reply.header("x-request-id")).await;
    let events: Vec<&str> = mine.iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["sending", "sending", "settled"], "{mine:?}");
    let last = &mine[2];
    assert_eq!(
        (&last["action"], &last["operation"], &last["outcome"]),
        (&"served".into(), &"chat".into(), &"completed".into())
    );
    assert_eq!((&last["team"], &last["kinds"]["EMAIL"]), (&"research".into(), &1.into()));
    let sent = |at: usize| {
        (last["sent"][at]["target"].as_str().unwrap(), last["sent"][at]["result"].as_str().unwrap())
    };
    assert_eq!((sent(0), sent(1)), (("cloud/gpt-4o", "upstream_status"), ("other/gpt-4o", "answered")));

    let refused = chat(gateway.data, &ask("auto", "My card is 4111 1111 1111 1111")).await;
    assert_eq!(refused.status, 403);
    let mine = settled(&gateway, refused.header("x-request-id")).await;
    assert_eq!(
        (mine.len(), &mine[0]["action"], &mine[0]["label"]),
        (1, &"refused".into(), &"restricted".into())
    );
    assert_eq!((mine[0].get("sent"), &mine[0]["kinds"]["CREDIT_CARD"]), (None, &1.into()));

    let head = get(gateway.admin, "/admin/v1/audit/head").await.json();
    let noted = format!("{}:{}", head["sequence"], head["hash"].as_str().unwrap());
    assert!(head["seal"].as_str().unwrap().starts_with("hmac-sha256:"), "{head}");
    let metrics = String::from_utf8(get(gateway.admin, "/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains(&format!("sluicegate_audit_sequence {}", head["sequence"])), "{metrics}");
    let status = gateway.stop();
    assert!(status.success(), "{status}: {}", gateway.log());
    let (code, said) = audit(&gateway, &["verify", "--head", &noted]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("intact: 6 records"), "started, three, one, stopped: {said}");
    assert!(
        gateway.log().contains(said.split("head: ").nth(1).unwrap().split(' ').next().unwrap()),
        "{said}"
    );
    let everything: String = records(&gateway).iter().map(Value::to_string).collect();
    for value in ["jo.doe", "4111", "patient-4711", KEY] {
        assert!(!everything.contains(value), "{value}");
    }
    tampering_is_seen(&gateway, &noted);
}

/// Exports verify by themselves; a changed file, a cut tail and a wrong key are told.
fn tampering_is_seen(gateway: &Gateway, noted: &str) {
    let (code, lines) = audit(gateway, &["export", "--team", "research"]);
    assert_eq!(code, 0, "{lines}");
    let lines: String =
        lines.lines().filter(|line| line.starts_with('{')).map(|line| format!("{line}\n")).collect();
    let path = gateway.directory().join("export.jsonl");
    let verify = |text: &str, more: &[&str]| {
        std::fs::write(&path, text).unwrap();
        audit(gateway, &[&["verify", "--file", path.to_str().unwrap()], more].concat())
    };
    let (code, said) = verify(&lines, &["--head", noted]);
    assert_eq!((code, said.contains("3 of them withheld")), (0, true), "{said}");
    let (code, said) = verify(&lines.replace("research", "finance"), &[]);
    assert_eq!((code, said.contains("does not match its hash")), (1, true), "{said}");
    let cut: String = lines.lines().take(4).map(|line| format!("{line}\n")).collect();
    assert_eq!(verify(&cut, &[]).0, 0, "what is left holds");
    let (code, said) = verify(&cut, &["--head", noted]);
    assert_eq!((code, said.contains("cut off")), (1, true), "{said}");
    assert_eq!(audit(gateway, &["verify", "--head", "nonsense"]).0, 2);
    let (_, table) = audit(gateway, &["export", "--format", "csv"]);
    assert!(table.starts_with("sequence,time,event,request,team"), "{table}");

    std::fs::write(gateway.directory().join("plain.toml"), "[local]\nenabled = false\n").unwrap();
    let plain = ["audit", "verify", "--config", "plain.toml"];
    let output = run(&plain, gateway.directory(), "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.contains("that key was not given")), (Some(1), true), "{said}");
    let connection = Connection::open(gateway.directory().join("sluicegate.db")).unwrap();
    let change = "DROP TRIGGER audit_is_not_changed; UPDATE audit SET record = replace(record, '500', '200'), \
         hash = (SELECT hash FROM audit WHERE sequence = 3) WHERE sequence = 4;";
    connection.execute_batch(change).unwrap();
    let (code, said) = audit(gateway, &["verify"]);
    assert_eq!((code, said.contains("BROKEN: record 4")), (1, true), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_leaves_a_whole_chain_that_knows_of_everything_that_left() {
    let directory = tempfile::tempdir().unwrap();
    let cloud = Upstream::start().await;
    let config = strict(directory.path(), &cloud);
    let mut gateway = Gateway::without_model(&config).await;
    let address = gateway.data;
    // The gateway dies under these: what becomes of them is not the question.
    let load = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for n in 0..5_000 {
                chat(address, &ask("auto", &format!("question {n}"))).await;
            }
        });
    });
    eventually("some load", async || (cloud.bodies().len() > 50).then_some(())).await;
    gateway.kill();
    assert!(load.join().is_err(), "it was cut off in the middle");
    let (code, said) = audit(&gateway, &["verify"]);
    assert_eq!(code, 0, "{said}");
    let recorded = records(&gateway).iter().filter(|one| one["event"] == "sending").count();
    let left = cloud.bodies().len();
    assert!(recorded >= left, "{left} requests left, {recorded} are recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_does_not_leave_where_the_policy_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let cloud = Upstream::start().await;
    let gateway = Gateway::without_model(&strict(directory.path(), &cloud)).await;
    assert_eq!(chat(gateway.data, &ask("auto", "before")).await.status, 200);
    let blocker = Connection::open(gateway.directory().join("sluicegate.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = chat(gateway.data, &ask("auto", "while it is locked")).await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()["error"]["code"].as_str()),
        (503, Some("ledger_unavailable")),
        "{refused:?}"
    );
    assert_eq!(cloud.bodies().len(), 1, "nothing left");
    blocker.execute_batch("ROLLBACK").unwrap();
    let mine = settled(&gateway, refused.header("x-request-id")).await;
    assert_eq!((mine.len(), &mine[0]["sent"][0]["result"]), (1, &"unauditable".into()), "{mine:?}");
    assert_eq!(audit(&gateway, &["verify"]).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_its_label_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let cloud = Upstream::start().await;
    let config = strict(directory.path(), &cloud);
    let files = directory.path().join("gateway");
    std::fs::create_dir(&files).unwrap();
    let headers = [("x-session-id", "s1")];
    let mut gateway = Gateway::without_model_in(&files, &config).await;
    let first = chat_with(gateway.data, &headers, &ask("auto", "My card is 4111 1111 1111 1111")).await;
    assert_eq!(first.status, 403);
    let status = gateway.stop();
    assert!(status.success(), "{status}: {}", gateway.log());
    let gateway = Gateway::without_model_in(&files, &config).await;
    let next = chat_with(gateway.data, &headers, &ask("auto", "ok, continue")).await;
    assert_eq!((next.status.as_u16(), next.header("x-sluicegate-label")), (403, "restricted"), "{next:?}");
    let other = chat_with(gateway.data, &[("x-session-id", "s2")], &ask("auto", "ok, continue")).await;
    assert_eq!((other.status.as_u16(), other.header("x-sluicegate-label")), (200, "public"));
    assert_eq!(audit(&gateway, &["verify"]).0, 0);
}
