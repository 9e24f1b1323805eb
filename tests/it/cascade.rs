//! Local first: cascades, prefixes and shadows, with a real model and capturing upstreams.

use harness::client::{Reply, ask, chat_with, get};
use harness::eventually;
use harness::process::{Gateway, run};
use harness::upstream::{Behaviour, Upstream};
use serde_json::{Value, json};

/// One rule for each mode, chosen by the request's tag.
const POLICY: &str = r#"
name = "modes"
named_models_locally = true
[labels]
CREDIT_CARD = "restricted"
[[rule]]
name = "cascade-always"
when = '"cascade-always" in caller.tags'
route = "local"
mode = "cascade"
escalate_below = 1.0
[[rule]]
name = "cascade-never"
when = '"cascade-never" in caller.tags'
route = "local"
mode = "cascade"
escalate_below = 0.0
[[rule]]
name = "cascade-sampled"
when = '"cascade-sampled" in caller.tags'
route = "local"
mode = "cascade"
escalate_below = 0.0
self_consistency = 2
[[rule]]
name = "prefix-always"
when = '"prefix-always" in caller.tags'
route = "local"
mode = "prefix"
escalate_below = 1.0
hold_tokens = 4
[[rule]]
name = "prefix-never"
when = '"prefix-never" in caller.tags'
route = "local"
mode = "prefix"
escalate_below = 0.0
hold_tokens = 4
[[rule]]
name = "shadow-of-local"
when = '"shadow-of-local" in caller.tags'
route = "local"
mode = "shadow"
shadow_rate = 1.0
[[rule]]
name = "shadow-of-cloud"
when = '"shadow-of-cloud" in caller.tags'
route = "cloud"
mode = "shadow"
shadow_rate = 1.0
"#;
const QUESTION: &str = "Tell me a long story about a river and a small boat.";
const CARD: &str = "My card is 4111 1111 1111 1111, is that number valid?";

async fn gateway(cloud: &Upstream, teams: &str) -> (Gateway, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("policy.toml"), POLICY).unwrap();
    let config = format!("[policy]\nfile = \"policy.toml\"\n{teams}{}", cloud.config());
    let gateway = Gateway::with_model_in(Some(directory.path()), &config, &[]).await;
    (gateway, directory)
}

async fn tagged(gateway: &Gateway, tag: &str, body: &Value) -> Reply {
    let headers = [("x-sluicegate-tags", tag), ("x-sluicegate-usage", "1")];
    chat_with(gateway.data, &headers, body).await
}

fn streamed(text: &str) -> Value {
    let mut body = ask("auto", text);
    body["stream"] = json!(true);
    body
}

async fn metrics(gateway: &Gateway) -> String {
    String::from_utf8(get(gateway.admin, "/metrics").await.body.to_vec()).unwrap()
}

/// The trailing object of a stream whose client opted in.
fn trailer(reply: &Reply) -> Value {
    let events = reply.events();
    let chunks = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    chunks.map(|chunk| chunk["sluicegate"].clone()).find(|object| !object.is_null()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cascade_escalates_below_its_threshold_whole_and_streamed() {
    let cloud = Upstream::start().await;
    let (gateway, _directory) = gateway(&cloud, "").await;
    for body in [ask("auto", QUESTION), streamed(QUESTION)] {
        let stream = body["stream"] == true;
        let kept = tagged(&gateway, "cascade-never", &body).await;
        assert_eq!((kept.status.as_u16(), kept.header("x-sluicegate-route")), (200, "local"));
        assert!(!kept.text().is_empty() && !kept.text().contains("from the cloud"), "{kept:?}");
        assert!(kept.header("x-sluicegate-reason").contains("confidence 0."), "{kept:?}");
        let row = gateway.row(kept.header("x-request-id")).await;
        assert_eq!((row.number("attempts"), row.get("mode"), row.get("degraded")), (1, "cascade", "0"));
        assert_eq!((row.number("wasted_output_tokens"), row.get("wasted_joules")), (0, ""));
        let local_text = kept.text();

        let escalated = tagged(&gateway, "cascade-always", &body).await;
        assert_eq!(escalated.header("x-sluicegate-route"), "cloud:cloud", "{escalated:?}");
        assert_eq!(escalated.text(), "from the cloud", "nothing of the local answer is shown");
        let reason = escalated.header("x-sluicegate-reason").to_owned();
        assert!(
            reason.contains("had a confidence of 0.") && reason.contains("escalated to cloud/gpt-4o"),
            "{reason}"
        );
        let row = gateway.row(escalated.header("x-request-id")).await;
        assert_eq!((row.number("attempts"), row.number("output_tokens")), (2, 100));
        assert_eq!(row.number("cost_nanos"), 3_000_000);
        assert!(row.number("wasted_output_tokens") > 4, "{}", row.get("wasted_output_tokens"));
        let joules = |column: &str| row.get(column).parse::<f64>().unwrap();
        assert!(joules("wasted_joules") > 0.0 && joules("energy_joules") == joules("wasted_joules"));
        assert!((0.0..1.0).contains(&row.get("confidence").parse::<f64>().unwrap()));
        if stream {
            assert_eq!(kept.events().last().map(String::as_str), Some("[DONE]"));
            let first: Value = serde_json::from_str(&kept.events()[0]).unwrap();
            assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
            assert!((0.0..1.0).contains(&trailer(&kept)["confidence"].as_f64().unwrap()), "{kept:?}");
        } else {
            assert!(!local_text.is_empty());
        }
    }
    let text = metrics(&gateway).await;
    for line in [
        "sluicegate_escalations_total{mode=\"cascade\",outcome=\"answered\"} 2",
        "sluicegate_escalations_total{mode=\"cascade\",outcome=\"not_needed\"} 2",
        "sluicegate_answer_confidence_count{mode=\"cascade\"} 4",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_held_back_and_judged_early() {
    let cloud = Upstream::start().await;
    let (gateway, _directory) = gateway(&cloud, "").await;
    for mut body in [ask("auto", QUESTION), streamed(QUESTION)] {
        body["max_tokens"] = json!(300);
        let kept = tagged(&gateway, "prefix-never", &body).await;
        assert_eq!((kept.status.as_u16(), kept.header("x-sluicegate-route")), (200, "local"));
        assert!(kept.text().len() > 40, "what was held back is sent, and the rest after it: {kept:?}");

        let escalated = tagged(&gateway, "prefix-always", &body).await;
        assert_eq!(escalated.text(), "from the cloud");
        let reason = escalated.header("x-sluicegate-reason").to_owned();
        assert!(reason.contains("the beginning of the local answer had a confidence of 0."), "{reason}");
        let row = gateway.row(escalated.header("x-request-id")).await;
        let wasted = row.number("wasted_output_tokens");
        assert!((4..60).contains(&wasted), "the model is free at once: {wasted} tokens of 300");
        assert_eq!((row.number("attempts"), row.get("mode")), (2, "prefix"));
    }
    eventually("the model to be free", async || {
        let models = get(gateway.admin, "/admin/v1/models").await.json();
        (models["models"][0]["running"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weak_answer_is_served_where_nothing_better_is_to_be_had() {
    let cloud = Upstream::start().await;
    cloud.behave(Behaviour::Status(500));
    let (gateway, _directory) = gateway(&cloud, "").await;
    for body in [ask("auto", QUESTION), streamed(QUESTION)] {
        for (tag, attempts) in [("cascade-always", 2), ("prefix-always", 3)] {
            let reply = tagged(&gateway, tag, &body).await;
            assert_eq!((reply.status.as_u16(), reply.header("x-sluicegate-route")), (200, "local"), "{tag}");
            assert!(!reply.text().is_empty(), "{tag}: {reply:?}");
            let reason = reply.header("x-sluicegate-reason").to_owned();
            assert!(reason.contains("the weak local answer is served"), "{tag}: {reason}");
            let row = gateway.row(reply.header("x-request-id")).await;
            assert_eq!((row.number("attempts"), row.number("degraded")), (attempts, 1), "{tag}");
            assert_eq!((row.number("cost_nanos"), row.get("outcome")), (0, "completed"), "{tag}");
            let joules: f64 = row.get("energy_joules").parse().unwrap();
            if tag == "cascade-always" {
                assert_eq!(
                    (row.number("wasted_output_tokens"), row.get("wasted_joules")),
                    (0, ""),
                    "it was used"
                );
                // Once: two cores at the configured watts for the time of one answer, which the request's time bounds.
                let bound = row.get("total_ms").parse::<f64>().unwrap() / 1e3 * 64.0 * 10.0;
                assert!(joules > 0.0 && joules < bound, "{joules}");
            } else {
                assert!(row.number("wasted_output_tokens") >= 4, "the beginning that was given up");
                assert!(row.get("wasted_joules").parse::<f64>().unwrap() < joules);
            }
        }
    }
    let text = metrics(&gateway).await;
    assert!(text.contains("sluicegate_escalations_total{mode=\"cascade\",outcome=\"failed\"} 2"), "{text}");
    assert!(text.contains("sluicegate_escalations_total{mode=\"prefix\",outcome=\"failed\"} 2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_mode_takes_a_restricted_request_to_the_cloud() {
    let cloud = Upstream::start().await;
    let (gateway, _directory) = gateway(&cloud, "").await;
    for tag in ["cascade-always", "prefix-always", "cascade-sampled", "shadow-of-local", "shadow-of-cloud"] {
        for body in [ask("auto", CARD), streamed(CARD)] {
            let reply = tagged(&gateway, tag, &body).await;
            assert_eq!((reply.status.as_u16(), reply.header("x-sluicegate-route")), (200, "local"), "{tag}");
            assert_eq!(reply.header("x-sluicegate-label"), "restricted");
            let row = gateway.row(reply.header("x-request-id")).await;
            assert_eq!((row.number("attempts"), row.number("cost_nanos")), (1, 0), "{tag}");
        }
    }
    assert!(cloud.captured().is_empty(), "not a byte");
    assert_eq!(gateway.rows("settled"), 10, "and no shadows");
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_are_taken_where_the_policy_asks_for_them_and_accounted_apart() {
    let cloud = Upstream::start().await;
    let (gateway, _directory) = gateway(&cloud, "").await;
    for body in [ask("auto", QUESTION), streamed(QUESTION)] {
        let plain = tagged(&gateway, "cascade-never", &body).await;
        let sampled = tagged(&gateway, "cascade-sampled", &body).await;
        assert_eq!(sampled.text(), plain.text(), "samples change nothing that is served");
        let row = gateway.row(sampled.header("x-request-id")).await;
        assert!(row.number("wasted_output_tokens") > 0, "{row:?}");
        assert!(row.number("wasted_output_tokens") <= 2 * 12);
        let joules = |column: &str| row.get(column).parse::<f64>().unwrap();
        assert!(joules("wasted_joules") > 0.0 && joules("wasted_joules") < joules("energy_joules"));
        let plain = gateway.row(plain.header("x-request-id")).await;
        assert_eq!(plain.get("output_tokens"), row.get("output_tokens"), "of the served answer alone");
        assert_ne!(plain.get("confidence"), row.get("confidence"), "what they say counts");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_has_a_row_of_its_own_and_is_never_shown() {
    let cloud = Upstream::start().await;
    let (gateway, _directory) = gateway(&cloud, "").await;
    let mut expected = 0;
    for body in [ask("auto", QUESTION), streamed(QUESTION)] {
        let reply = tagged(&gateway, "shadow-of-cloud", &body).await;
        assert_eq!(
            (reply.text().as_str(), reply.header("x-sluicegate-route")),
            ("from the cloud", "cloud:cloud")
        );
        expected += 3_000_000;
        let id = reply.header("x-request-id").to_owned();
        let shadow = gateway.shadow_of(&id).await;
        assert_eq!(
            (shadow.get("route"), shadow.get("rule"), shadow.get("outcome")),
            ("local", "shadow", "completed")
        );
        assert_eq!((shadow.number("cost_nanos"), shadow.get("baseline_nanos")), (0, ""));
        assert!(shadow.number("output_tokens") > 0 && shadow.get("id") != id);
        assert!(shadow.get("confidence").parse::<f64>().unwrap() >= 0.0);
        assert!((0.0..0.9).contains(&gateway.judgement(&id, "shadow").await));

        let asked = cloud.bodies().len();
        let reply = tagged(&gateway, "shadow-of-local", &body).await;
        assert_eq!(reply.header("x-sluicegate-route"), "local");
        assert!(!String::from_utf8_lossy(&reply.body).contains("from the cloud"), "{reply:?}");
        expected += 3_000_000;
        let id = reply.header("x-request-id").to_owned();
        let shadow = gateway.shadow_of(&id).await;
        assert_eq!((shadow.get("route"), shadow.number("cost_nanos")), ("cloud:cloud", 3_000_000));
        assert_eq!(shadow.get("team"), gateway.row(&id).await.get("team"));
        assert_eq!(gateway.row(&id).await.number("cost_nanos"), 0, "the served answer cost nothing");
        gateway.judgement(&id, "shadow").await;
        let bodies = cloud.bodies();
        assert_eq!(bodies.len(), asked + 1);
        let sent: Value = serde_json::from_slice(bodies.last().unwrap()).unwrap();
        assert!(sent.get("stream").is_none() && sent["messages"][0]["content"] == QUESTION, "{sent}");
    }
    let spend = get(gateway.admin, "/admin/v1/spend?by=team").await.json();
    assert_eq!(spend["total"]["cost"], expected, "the ledger adds up to the invoice: {spend}");
    let text = metrics(&gateway).await;
    assert!(text.contains("sluicegate_shadows_total{outcome=\"judged\"} 4"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_keeps_to_the_teams_budget() {
    let cloud = Upstream::start().await;
    let teams = "[[team]]\nname = \"poor\"\nmonthly_budget_usd = 0.000001\n\
                 [[team]]\nname = \"rich\"\nmonthly_budget_usd = 10.0\n";
    let (gateway, _directory) = gateway(&cloud, teams).await;
    let mut ids = Vec::new();
    for team in ["poor", "rich"] {
        let headers = [("x-sluicegate-team", team), ("x-sluicegate-tags", "shadow-of-local")];
        let reply = chat_with(gateway.data, &headers, &ask("auto", QUESTION)).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-sluicegate-route")), (200, "local"), "{reply:?}");
        ids.push(reply.header("x-request-id").to_owned());
    }
    let shadow = gateway.shadow_of(&ids[1]).await;
    assert_eq!((shadow.get("team"), shadow.number("cost_nanos")), ("rich", 3_000_000));
    assert!(shadow.number("reserved_nanos") > 0);
    assert_eq!(cloud.bodies().len(), 1, "only the team that can pay for it");
    assert_eq!((gateway.rows("settled"), gateway.rows("open")), (3, 0));
}

#[test]
fn check_names_each_rules_mode() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("policy.toml"), POLICY).unwrap();
    std::fs::write(directory.path().join("c.toml"), "[policy]\nfile = \"policy.toml\"\n").unwrap();
    let check = || run(&["check", "--config", "c.toml"], directory.path(), "");
    let output = check();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in [
        "rule cascade-always: cascade, escalates below 1",
        "rule cascade-sampled: cascade, escalates below 0, 2 further samples",
        "rule prefix-always: prefix of 4 tokens, escalates below 1",
        "rule shadow-of-cloud: shadow of a share of 1",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    let faulty = POLICY.replace("hold_tokens = 4", "hold_tokens = 4000");
    std::fs::write(directory.path().join("policy.toml"), faulty).unwrap();
    let output = check();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("policy.toml:31: rule.3.hold_tokens: 4000 is not between 1 and 256"), "{said}");
}
