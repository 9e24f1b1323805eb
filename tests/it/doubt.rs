//! What cannot be read is doubt: it has the policy's label, stays, and says why, in the header and in the metrics.

use harness::client::{self, Reply};
use harness::process::Gateway;
use harness::upstream::Upstream;
use hyper::Method;
use serde_json::{Value, json};

/// A user message of these parts.
fn parts(parts: Value) -> Value {
    json!({"model": "gpt-4o", "max_tokens": 8, "messages": [{"role": "user", "content": parts}]})
}

fn text(text: &str) -> Value {
    parts(json!([{"type": "text", "text": text}]))
}

/// Base64, so many times over.
fn wrapped(text: &str, times: usize) -> String {
    const SIGNS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..times).fold(text.to_owned(), |inner, _| {
        let mut out = String::new();
        for three in inner.as_bytes().chunks(3) {
            let bits =
                three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            for place in 0..4 {
                let sign = SIGNS[(bits >> (18 - 6 * place)) as usize & 63] as char;
                out.push(if place <= three.len() { sign } else { '=' });
            }
        }
        out
    })
}

/// Everything that nobody here can read, with the reason that is given.
fn unreadable() -> Vec<(&'static str, Value)> {
    let pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    vec![
        ("unread_image", parts(json!([{"type": "image_url", "image_url": {"url": pixel}}]))),
        (
            "unread_image",
            parts(json!([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}])),
        ),
        (
            "unread_audio",
            parts(json!([{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}])),
        ),
        ("unread_file", parts(json!([{"type": "file", "file": {"file_id": "file-7bQ1"}}]))),
        (
            "unread_file",
            json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "blob": pixel}),
        ),
        ("unknown_part", parts(json!([{"type": "hologram", "hologram": {"depth": 3}}]))),
        (
            "opaque_reference",
            json!({"model": "gpt-4o", "messages": [
                {"role": "assistant", "audio": {"id": "audio_7bQ1"}}, {"role": "user", "content": "go on"}]}),
        ),
        ("text_too_long", text(&"water boils ".repeat(100_000))),
        (
            "encoded_too_deep",
            text(&wrapped("an ordinary sentence about the weather of last week in Lyon", 5)),
        ),
    ]
}

async fn counted(gateway: &Gateway, reason: &str) -> u64 {
    let metrics = client::get(gateway.admin, "/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let name = format!("sluicegate_doubt_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or_default()
}

fn assert_kept(reply: &Reply, reason: &str) {
    assert!(reply.status.is_client_error() || reply.status.is_server_error(), "{reason}: {}", reply.status);
    assert_eq!(reply.header("x-sluicegate-label"), "restricted", "{reason}");
    assert!(
        reply.header("x-sluicegate-reason").contains(reason),
        "{reason}: {}",
        reply.header("x-sluicegate-reason")
    );
}

#[tokio::test]
async fn what_cannot_be_read_stays_and_says_why() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::without_model(&upstream.config()).await;
    for (reason, body) in unreadable() {
        let before = counted(&gateway, reason).await;
        assert_kept(&client::chat(gateway.data, &body).await, reason);
        assert_eq!(counted(&gateway, reason).await, before + 1, "{reason}");
    }
    let ids =
        client::embed(gateway.data, &json!({"model": "text-embedding-3-small", "input": [[1, 2, 3]]})).await;
    assert_kept(&ids, "unknown_part");
    assert!(upstream.captured().is_empty(), "{}", String::from_utf8_lossy(&upstream.captured()));
}

#[tokio::test]
async fn what_takes_too_long_to_read_stays_and_says_why() {
    let upstream = Upstream::start().await;
    let config = format!("{}[detection]\nnames = \"off\"\ndeadline_ms = 1\n", upstream.config());
    let gateway = Gateway::without_model(&config).await;
    let long = "What is the boiling point of water at sea level? ".repeat(10_000);
    let body = json!({"model": "gpt-4o", "messages": [
        {"role": "user", "content": long}, {"role": "user", "content": "and of milk?"}]});
    assert_kept(&client::chat(gateway.data, &body).await, "detector_timeout");
    assert_eq!(counted(&gateway, "detector_timeout").await, 1);
    assert!(upstream.captured().is_empty());
}

#[tokio::test]
async fn a_body_that_cannot_be_parsed_is_refused_and_goes_nowhere() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::without_model(&upstream.config()).await;
    let deep = format!(
        r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":"hi"}}],"x":{}1{}}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    for body in [r#"{"model": "gpt-4o", "messages": ["#, "not JSON", "", "\u{0}", &deep] {
        let headers = [("content-type", "application/json")];
        let reply =
            client::send(Method::POST, gateway.data, "/v1/chat/completions", &headers, body.to_owned()).await;
        assert_eq!(reply.status, 400, "{body}");
    }
    assert!(upstream.captured().is_empty());
}

#[tokio::test]
async fn a_model_name_that_tells_something_is_refused_and_not_written_down() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::without_model(&upstream.config()).await;
    for model in ["jane.doe@example.com", "cloud/536-90-4399", "gpt-4111 1111 1111 1111"] {
        let reply = client::chat(gateway.data, &client::ask(model, "hello")).await;
        assert_eq!(reply.status, 400, "{model}");
        assert!(!String::from_utf8_lossy(&reply.body).contains(model) && !gateway.log().contains(model));
    }
    assert!(client::chat(gateway.data, &client::ask("gpt-4o-2024-08-06", "hello")).await.status.is_success());
    assert_eq!(upstream.bodies().len(), 1);
}

#[tokio::test]
async fn failing_open_is_what_somebody_wrote_down() {
    let upstream = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("open.toml");
    let rule = "[[rule]]\nname = 'all'\nroute = 'cloud'\n";
    std::fs::write(&policy, format!("name = 'open'\non_doubt = 'public'\n{rule}")).unwrap();
    let config = format!("{}[policy]\nfile = '{}'\n", upstream.config(), policy.display());
    let gateway = Gateway::without_model(&config).await;
    let (reason, body) = &unreadable()[0];
    let reply = client::chat(gateway.data, body).await;
    assert!(reply.status.is_success(), "{}", reply.status);
    assert_eq!(reply.header("x-sluicegate-label"), "public");
    assert!(reply.header("x-sluicegate-reason").contains(reason), "doubt is told all the same");
    assert_eq!(upstream.bodies().len(), 1);
}
