//! Masking end to end: what leaves, what comes back, and what stays because a mask cannot help.

use harness::client::{Reply, chat_with, get};
use harness::process::Gateway;
use harness::python;
use harness::upstream::{Behaviour, Upstream};
use serde_json::{Value, json};

const CARD: &str = "4539 1488 0343 6467";
const EMAIL: &str = "greta.lindqvist@nordhafen.example";
const TEXT: &str =
    "Please confirm the refund to card 4539 1488 0343 6467 and write to greta.lindqvist@nordhafen.example.";

const POLICY: &str = r#"
name = "masking"
on_doubt = "restricted"
[labels]
CREDIT_CARD = "confidential"
EMAIL = "confidential"
US_SSN = "confidential"
SECRET = "restricted"
[topics]
health = { label = "confidential", at = 0.6 }
[actions]
confidential = "mask"
[[rule]]
name = "out"
route = "cloud"
"#;

/// A gateway that masks, with the directory of its policy, and an upstream that says again what it is told.
async fn masking(more: &str) -> (Gateway, Upstream, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("masking.toml");
    std::fs::write(&path, format!("{POLICY}{more}")).unwrap();
    let cloud = Upstream::start().await;
    cloud.behave(Behaviour::Echo);
    let config = format!("[policy]\nfile = \"{}\"\n{}", path.display(), cloud.config());
    (Gateway::without_model(&config).await, cloud, directory)
}

fn ask(text: &str) -> Value {
    json!({"model": "auto", "messages": [{"role": "user", "content": text}]})
}

/// The content of the last message that the upstream was sent.
fn last_sent(cloud: &Upstream) -> String {
    let body: Value = serde_json::from_slice(cloud.bodies().last().unwrap()).unwrap();
    body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned()
}

fn assert_nothing_left(cloud: &Upstream) {
    let captured = String::from_utf8_lossy(&cloud.captured()).into_owned();
    for value in [CARD, EMAIL, "4539", "lindqvist"] {
        assert!(!captured.contains(value), "{value} has left: {captured}");
    }
}

/// The arguments of the first call, however the answer came.
fn arguments(reply: &Reply) -> String {
    if reply.header("content-type").starts_with("text/event-stream") {
        let chunks =
            reply.events().into_iter().filter_map(|event| serde_json::from_str::<Value>(&event).ok());
        let path = "/choices/0/delta/tool_calls/0/function/arguments";
        return chunks.filter_map(|chunk| chunk.pointer(path)?.as_str().map(str::to_owned)).collect();
    }
    reply.json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_leave_as_words_and_come_back_as_values() {
    let (gateway, cloud, _policy) = masking("").await;
    for stream in [false, true] {
        let mut body = ask(TEXT);
        body["stream"] = stream.into();
        body["user"] = EMAIL.into();
        let reply = chat_with(gateway.data, &[], &body).await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, TEXT), "{reply:?}");
        assert_eq!(reply.header("x-sluicegate-label"), "confidential");
        let reason = reply.header("x-sluicegate-reason");
        assert!(reason.starts_with("masked 2 EMAIL, 1 CREDIT_CARD: confidential to public"), "{reason}");
        let row = gateway.row(reply.header("x-request-id")).await;
        assert_eq!(
            (row.number("declassified"), row.get("label"), row.get("route")),
            (1, "confidential", "cloud:cloud")
        );
        assert!(!reply.events().concat().contains("\"content\":\"[") || !stream, "{reply:?}");

        body["tools"] = json!([{"type": "function", "function": {"name": "note", "parameters": {"type": "object",
            "properties": {"text": {"type": "string", "description": format!("as in {CARD}")}}}}}]);
        let reply = chat_with(gateway.data, &[], &body).await;
        let said: Value = serde_json::from_str(&arguments(&reply)).unwrap();
        assert_eq!(said["text"], TEXT, "{reply:?}");
    }
    assert!(last_sent(&cloud).contains("[CREDIT_CARD_") && last_sent(&cloud).contains("[EMAIL_"));
    assert_nothing_left(&cloud);
    assert!(!gateway.log().contains(CARD) && !gateway.log().contains("lindqvist"));
    let metrics = String::from_utf8(get(gateway.admin, "/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains("sluicegate_masks_total{outcome=\"masked\"} 4"), "{metrics}");
    assert!(metrics.contains("sluicegate_mask_unrestored_total 0"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_words_come_back_and_unknown_ones_are_counted() {
    let (gateway, cloud, _policy) = masking("").await;
    cloud.behave(Behaviour::EchoAltered);
    for stream in [false, true] {
        let mut body = ask(TEXT);
        body["stream"] = stream.into();
        let reply = chat_with(gateway.data, &[], &body).await;
        let text = reply.text();
        assert!(text.contains(&format!("card {CARD}s")) && text.contains(&format!("to {EMAIL}s")), "{text}");
        assert!(text.ends_with("_99]"), "{text}");
    }
    assert_nothing_left(&cloud);
    let metrics = String::from_utf8(get(gateway.admin, "/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains("sluicegate_mask_unrestored_total 2"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_keeps_its_words_and_shares_none() {
    let (gateway, cloud, _policy) = masking("").await;
    let turns = |more: &str| {
        json!({"model": "auto", "messages": [{"role": "user", "content": TEXT},
            {"role": "assistant", "content": TEXT}, {"role": "user", "content": more}]})
    };
    for session in ["", "s-1"] {
        let headers = [("x-session-id", session)];
        let headers = if session.is_empty() { &headers[..0] } else { &headers[..] };
        chat_with(gateway.data, headers, &ask(TEXT)).await;
        let first = last_sent(&cloud);
        let more = format!("and {} too, for 078-05-1120 (ssn)", EMAIL.to_uppercase());
        let reply = chat_with(gateway.data, headers, &turns(&more)).await;
        let sent: Value = serde_json::from_slice(cloud.bodies().last().unwrap()).unwrap();
        assert_eq!(sent["messages"][0]["content"], first.as_str());
        assert_eq!(sent["messages"][1]["content"], first.as_str());
        let email = first.split_whitespace().last().unwrap().trim_end_matches('.');
        assert!(last_sent(&cloud).starts_with(&format!("and {email} too")), "{}", last_sent(&cloud));
        assert_eq!(reply.text(), more.replace(&EMAIL.to_uppercase(), EMAIL));
    }
    let mut seen = Vec::new();
    for team in ["a", "b"] {
        chat_with(gateway.data, &[("x-sluicegate-team", team)], &ask(TEXT)).await;
        seen.push(last_sent(&cloud));
    }
    assert_ne!(seen[0], seen[1]);
    // A word of another team is no word here.
    let foreign = seen[0].split_whitespace().last().unwrap().trim_end_matches('.').to_owned();
    let text = format!("{TEXT} {foreign}");
    let reply = chat_with(gateway.data, &[("x-sluicegate-team", "b")], &ask(&text)).await;
    assert_eq!(reply.text(), text);
    assert_nothing_left(&cloud);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mask_cannot_lower_stays() {
    let (gateway, cloud, _policy) = masking("").await;
    let reason = |reply: &Reply| format!("{} {}", reply.status.as_u16(), reply.header("x-sluicegate-reason"));
    let ill = "The patient was diagnosed with metastatic breast cancer and started chemotherapy; the oncologist prescribed \
        tamoxifen 20 mg after the biopsy. Her symptoms include fatigue and nausea. Write to greta.lindqvist@nordhafen.example";
    let reply = chat_with(gateway.data, &[], &ask(ill)).await;
    assert!(
        reason(&reply).starts_with("403") && reason(&reply).contains("not masked: what is left"),
        "{reply:?}"
    );

    let numbered = json!({"model": "auto", "seed": 4539148803436467u64, "messages": [{"role": "user", "content": "hi"}]});
    let reply = chat_with(gateway.data, &[], &numbered).await;
    assert!(reason(&reply).starts_with("403") && reason(&reply).contains("own JSON"), "{reply:?}");

    let secret = format!("{TEXT} password: hunter2-Tr0ub4dor&3");
    let reply = chat_with(gateway.data, &[], &ask(&secret)).await;
    assert!(reason(&reply).starts_with("403") && !reason(&reply).contains("masked"), "{reply:?}");

    let mut image = ask(TEXT);
    image["messages"][0]["content"] = json!([{"type": "text", "text": TEXT}, {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]);
    let reply = chat_with(gateway.data, &[], &image).await;
    assert!(reason(&reply).starts_with("403"), "{reply:?}");

    let session = ("x-session-id", "s-1");
    let asked = ("x-sluicegate-label", "confidential");
    let reply = chat_with(gateway.data, &[session, asked], &ask(TEXT)).await;
    assert!(reason(&reply).starts_with("403"), "{reply:?}");
    let reply = chat_with(gateway.data, &[session], &ask(TEXT)).await;
    assert!(reason(&reply).starts_with("403"), "the caller's word stays with the session: {reply:?}");
    assert!(cloud.bodies().is_empty());
    let reply = chat_with(gateway.data, &[("x-session-id", "s-2")], &ask(TEXT)).await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, TEXT), "{reply:?}");
    let embedded =
        harness::client::embed(gateway.data, &json!({"model": "cloud/gpt-4o", "input": TEXT})).await;
    assert_eq!(embedded.status.as_u16(), 403, "{embedded:?}");
    assert_nothing_left(&cloud);
}

#[tokio::test(flavor = "multi_thread")]
async fn surrogates_leave_instead_where_the_policy_says_so() {
    let (gateway, cloud, _policy) = masking("[mask]\nstyle = \"surrogate\"\n").await;
    let mut body = ask(TEXT);
    body["stream"] = true.into();
    let reply = chat_with(gateway.data, &[], &body).await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, TEXT), "{reply:?}");
    let sent = last_sent(&cloud);
    assert!(sent.contains("@example.com") && !sent.contains('['), "{sent}");
    assert_nothing_left(&cloud);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_back_where_the_policy_says_so() {
    let (gateway, cloud, _policy) = masking("[mask]\nrestore = false\n").await;
    let reply = chat_with(gateway.data, &[], &ask(TEXT)).await;
    assert_eq!(reply.text(), last_sent(&cloud));
    assert_nothing_left(&cloud);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdk_sees_values() {
    let (gateway, cloud, _policy) = masking("").await;
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("it/mask_sdk.py");
    let address = gateway.data;
    let printed = tokio::task::spawn_blocking(move || python::run(&script, address, &[TEXT])).await.unwrap();
    assert!(printed.trim_end().ends_with("values came back"), "{printed}");
    assert_nothing_left(&cloud);
}
