//! Drift of traffic, tightened thresholds, and the exchange of the router model under load.

use harness::client::{Reply, ask, chat, get, send};
use harness::eventually;
use harness::process::{Gateway, run};
use harness::upstream::Upstream;
use harness::weights::retrained;
use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const WINDOW: usize = 100;
const HARD: &str = "Prove rigorously that every continuous function on a compact metric space is uniformly continuous, \
    then derive an explicit modulus of continuity for the Lipschitz case step by step";

/// Everyday questions of several kinds.
fn easy(turn: usize) -> String {
    let places = ["France", "Italy", "Japan", "Peru", "Kenya"];
    let place = places[turn % places.len()];
    match turn % 3 {
        0 => format!("What is the capital of {place}?"),
        1 => format!("Hi, please say hello to {place}."),
        _ => format!("List three foods from {place}."),
    }
}

fn hard(turn: usize) -> String {
    format!("{HARD}, in dimension {turn}.")
}

async fn traffic(gateway: &Gateway, count: usize, prompt: fn(usize) -> String) {
    for turn in 0..count {
        let reply = chat(gateway.data, &ask("auto", &prompt(turn))).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

async fn drift(gateway: &Gateway) -> Value {
    get(gateway.admin, "/admin/v1/drift").await.json()
}

async fn post_reference(gateway: &Gateway, headers: &[(&str, &str)]) -> Reply {
    send(Method::POST, gateway.admin, "/admin/v1/drift/reference", headers, "").await
}

async fn metric(gateway: &Gateway, name: &str) -> f64 {
    let text = String::from_utf8(get(gateway.admin, "/metrics").await.body.to_vec()).unwrap();
    let line = text.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with(' '));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// What the ledger says of a request: the complexity that was measured, and the rule that fired.
async fn decided(gateway: &Gateway, reply: &Reply) -> (f64, String) {
    let row = gateway.row(reply.header("x-request-id")).await;
    (row.get("complexity").parse().unwrap(), row.get("rule").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shift_of_traffic_is_seen_tightens_thresholds_and_can_be_accepted() {
    let cloud = Upstream::start().await;
    let router = format!("[router]\ndrift_window = {WINDOW}\ntighten = true\ntighten_max = 0.5\n");
    let gateway = Gateway::without_model(&format!("{router}{}", cloud.config())).await;
    let refused = post_reference(&gateway, &[]).await;
    assert_eq!(refused.status, 409, "nothing was seen yet: {refused:?}");

    traffic(&gateway, WINDOW, easy).await;
    eventually("the reference", async || (!drift(&gateway).await["reference"].is_null()).then_some(())).await;
    let before = drift(&gateway).await;
    assert_eq!(before["verdict"], "stable", "{before:#}");
    assert_eq!(before["tightening"]["now"], 0.0);
    let question = ask("auto", "What is the capital of Peru?");
    let usual = decided(&gateway, &chat(gateway.data, &question).await).await;

    traffic(&gateway, WINDOW, hard).await;
    let after = drift(&gateway).await;
    assert_eq!(after["verdict"], "drifted", "{after:#}");
    assert_eq!(after["dimensions"]["complexity"]["verdict"], "drifted", "{after:#}");
    assert_eq!(after["dimensions"]["language"]["verdict"], "stable", "{after:#}");
    assert_eq!(after["window"]["requests"], WINDOW);
    assert!((after["tightening"]["now"].as_f64().unwrap() - 0.5).abs() < 1e-6, "{after:#}");
    assert!(metric(&gateway, "sluicegate_drift_psi{dimension=\"complexity\"}").await > 0.25);
    assert!(
        (metric(&gateway, "sluicegate_drift_verdict{dimension=\"complexity\"}").await - 3.0).abs() < 1e-9
    );
    let stricter = chat(gateway.data, &question).await;
    let reason = stricter.header("x-sluicegate-reason");
    assert!(reason.contains("tightened by 0.50"), "{reason}");
    assert_eq!(stricter.header("x-sluicegate-label"), "public", "labels are not touched");
    let (complexity, rule) = decided(&gateway, &stricter).await;
    assert!((complexity - usual.0).abs() < 1e-6, "the ledger has what was measured");
    assert_eq!((usual.1.as_str(), rule.as_str()), ("routine", "hard"), "the rules saw it raised: {reason}");

    let foreign = post_reference(&gateway, &[("origin", "http://evil.example")]).await;
    assert_eq!(foreign.status, 403, "{foreign:?}");
    let accepted = post_reference(&gateway, &[]).await;
    assert_eq!((accepted.status.as_u16(), &accepted.json()["verdict"]), (200, &json!("stable")));
    assert!(gateway.directory().join("sluicegate.drift.json").is_file());
}

async fn revision(gateway: &Gateway) -> String {
    let models = get(gateway.admin, "/admin/v1/models").await.json();
    models["router"]["revision"].as_str().unwrap().to_owned()
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_router_model_is_exchanged_under_load_and_a_damaged_one_is_not() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::without_model(&cloud.config()).await;
    let (built_in, question) = (revision(&gateway).await, ask("auto", &easy(0)));
    let (usual, _) = decided(&gateway, &chat(gateway.data, &question).await).await;

    let folder = tempfile::tempdir().unwrap();
    retrained(folder.path(), 3.0);
    let file = folder.path().join("weights.bin");
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    let router = format!("\n[router]\nartifact = \"{}\"\n", folder.path().display());
    std::fs::write(gateway.config(), text + &router).unwrap();
    let mut load = JoinSet::new();
    for worker in 0..4 {
        let address = gateway.data;
        load.spawn(async move {
            for turn in 0..50 {
                let reply = chat(address, &ask("auto", &easy(worker + turn))).await;
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        });
    }
    gateway.hang_up();
    let other =
        eventually("the exchange", async || Some(revision(&gateway).await).filter(|now| *now != built_in))
            .await;
    load.join_all().await;
    let (changed, _) = decided(&gateway, &chat(gateway.data, &question).await).await;
    assert!((changed - usual).abs() > 0.005, "other weights say something else: {usual} {changed}");
    let info = format!("sluicegate_router_info{{revision=\"{other}\"}}");
    assert!((metric(&gateway, &info).await - 1.0).abs() < 1e-9);

    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    gateway.hang_up();
    let failed = "sluicegate_router_reloads_total{outcome=\"failed\"}";
    eventually("the failure", async || (metric(&gateway, failed).await >= 1.0).then_some(())).await;
    assert!(gateway.log().contains("the router model was not exchanged"), "{}", gateway.log());
    assert_eq!(revision(&gateway).await, other, "the one before goes on serving");
    let (still, _) = decided(&gateway, &chat(gateway.data, &question).await).await;
    assert!((still - changed).abs() < 1e-9);
    let check = run(&["check", "--config", gateway.config().to_str().unwrap()], folder.path(), "");
    assert!(!check.status.success(), "check finds the damage before a restart does");
}

#[tokio::test(flavor = "multi_thread")]
async fn ratings_of_local_answers_are_set_against_their_confidence() {
    let gateway = Gateway::with_model("").await;
    let reply = chat(gateway.data, &ask("local/default", "What is the capital of France?")).await;
    let id = reply.header("x-request-id");
    gateway.row(id).await;
    assert!(drift(&gateway).await["ratings"].is_null());
    let rating = json!({"request_id": id, "score": 1.0}).to_string();
    let rated =
        send(Method::POST, gateway.data, "/v1/feedback", &[("content-type", "application/json")], rating)
            .await;
    assert!(rated.status.is_success(), "{rated:?}");
    let shown = drift(&gateway).await;
    assert_eq!(shown["ratings"]["rated"], 1, "{shown:#}");
    assert_eq!(shown["ratings"]["good"]["share"], 1.0, "{shown:#}");
    let confidence = shown["ratings"]["confidence"].as_f64().unwrap();
    let error = shown["ratings"]["ece"].as_f64().unwrap();
    assert!((error - (1.0 - confidence)).abs() < 1e-6, "{shown:#}");
    assert_eq!(shown["window"]["answers"], 1);
    assert!((metric(&gateway, "sluicegate_rated_answers").await - 1.0).abs() < 1e-9);
}
