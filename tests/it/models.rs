//! The life of embedded models: several at once, company in a batch, exchange, and sleep.

use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::client::{ask, chat, get};
use harness::eventually;
use harness::process::{Gateway, MODEL, ensure_model};
use harness::upstream::Upstream;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// The small model under another name.
async fn twin(directory: &Path, name: &str) -> PathBuf {
    tokio::task::spawn_blocking(ensure_model).await.unwrap();
    let cache = std::env::var_os("SLUICEGATE_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        base.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"))
            .join("sluicegate")
    });
    let (from, to) = (cache.join("models").join(MODEL), directory.join(name));
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(&from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let manifest = to.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap().replace(MODEL, name);
    std::fs::write(&manifest, text).unwrap();
    to
}

async fn models(gateway: &Gateway) -> Vec<Value> {
    get(gateway.admin, "/admin/v1/models").await.json()["models"].as_array().unwrap().clone()
}

fn answer(reply: &Value) -> (String, String) {
    let text = reply["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    (reply["model"].as_str().unwrap().to_owned(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn company_in_a_batch_changes_no_answer() {
    let gateway = Gateway::with_model("").await;
    let questions: Vec<Value> =
        ["What is a lake?", "Name a colour.", "Count to five.", "Write one line about rain."]
            .iter()
            .map(|question| ask("local/default", question))
            .collect();
    let mut alone = Vec::new();
    for question in &questions {
        alone.push(answer(&chat(gateway.data, question).await.json()));
    }
    let address = gateway.data;
    let mut running = JoinSet::new();
    for (index, question) in questions.into_iter().enumerate() {
        running.spawn(async move { (index, chat(address, &question).await) });
    }
    let mut together = running.join_all().await;
    together.sort_by_key(|(index, _)| *index);
    let together: Vec<_> = together.iter().map(|(_, reply)| answer(&reply.json())).collect();
    assert_eq!(alone, together);
    eventually("the last answer's end", async || (models(&gateway).await[0]["running"] == 0).then_some(()))
        .await;
    let model = &models(&gateway).await[0];
    assert_eq!((&model["state"], &model["healthy"]), (&"ready".into(), &true.into()));
    assert!(model["cache_bytes_max"].as_u64().unwrap() > model["cache_bytes"].as_u64().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_model_has_its_own_name_and_clearance() {
    let directory = tempfile::tempdir().unwrap();
    let path = twin(directory.path(), "twin").await;
    let config = format!(
        "[[local_model]]\nmodel = \"{}\"\nclearance = \"internal\"\nmax_concurrency = 1\n",
        path.display()
    );
    let gateway = Gateway::with_model(&config).await;
    let (first, _) = answer(&chat(gateway.data, &ask("local/default", "Say hi.")).await.json());
    let (second, _) = answer(&chat(gateway.data, &ask("local/twin", "Say hi.")).await.json());
    assert_eq!((first, second), (format!("local/{MODEL}"), String::from("local/twin")));
    // A card number is more than the second model may see, though it is in this process too.
    let card = "Is 4111 1111 1111 1111 a card number? It belongs to Maria Keller.";
    let reply = chat(gateway.data, &ask("local/twin", card)).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert_eq!(answer(&chat(gateway.data, &ask("auto", card)).await.json()).0, format!("local/{MODEL}"));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_exchanged_without_dropping_a_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = twin(directory.path(), "successor").await;
    let gateway = Gateway::with_model("").await;
    let mut long = ask("local/default", "Write a very long story about a river.");
    (long["max_tokens"], long["stream"]) = (json!(400), json!(true));
    let mut running = JoinSet::new();
    let address = gateway.data;
    running.spawn(async move { chat(address, &long).await });
    eventually("the request to run", async || (models(&gateway).await[0]["running"] == 1).then_some(()))
        .await;

    let text = std::fs::read_to_string(gateway.config()).unwrap();
    std::fs::write(gateway.config(), text.replace(MODEL, &path.display().to_string())).unwrap();
    gateway.hang_up();
    eventually("the exchange", async || (models(&gateway).await[0]["id"] == "local/successor").then_some(()))
        .await;
    let (model, _) = answer(&chat(gateway.data, &ask("local/default", "Say hi.")).await.json());
    assert_eq!(model, "local/successor");

    let events = running.join_next().await.unwrap().unwrap().events();
    assert_eq!(events.last().unwrap(), "[DONE]", "the old model finished what it had begun");
    let finish = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    let finish = finish
        .filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str().map(str::to_owned))
        .next_back();
    assert!(matches!(finish.as_deref(), Some("stop" | "length")), "{finish:?}");

    // A file that does not load changes nothing.
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    std::fs::write(gateway.config(), text.replace("successor", "nowhere")).unwrap();
    gateway.hang_up();
    eventually("the failure", async || gateway.log().contains("cannot be used").then_some(())).await;
    assert_eq!(
        answer(&chat(gateway.data, &ask("local/default", "Say hi.")).await.json()).0,
        "local/successor"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_model_sleeps_and_wakes_for_the_next_request() {
    let gateway = Gateway::with_model_and("unload_after_s = 1\n").await;
    let (_, before) = answer(&chat(gateway.data, &ask("local/default", "What is a lake?")).await.json());
    eventually("sleep", async || (models(&gateway).await[0]["state"] == "asleep").then_some(())).await;
    assert_eq!(get(gateway.data, "/readyz").await.status, 200, "a sleeping model is no fault");
    let question = ask("local/default", "What is a lake?");
    let waiting = chat(gateway.data, &question);
    let reply = tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap();
    assert_eq!(answer(&reply.json()).1, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_needs_too_much_memory_is_not_loaded() {
    let gateway = Gateway::with_unusable_model("memory_mib = 64\ncache_mib = 32\n").await;
    let log = gateway.log();
    assert!(log.contains("local.memory_mib is 64") && log.contains("a cache of 32 MiB"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_would_wait_too_long_goes_elsewhere_at_once() {
    let cloud = Upstream::start().await;
    // Before anything was measured a request is taken to need two seconds.
    let server =
        "[server]\nlisten = \"127.0.0.1:0\"\nrequest_timeout_s = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n";
    let config = format!("{server}{}", cloud.config());
    let gateway = Gateway::with_model_in_and(&config, "max_concurrency = 1\n").await;
    let mut long = ask("local/default", "Write a very long story about a river.");
    (long["max_tokens"], long["stream"]) = (json!(2000), json!(true));
    let mut running = JoinSet::new();
    let address = gateway.data;
    running.spawn(async move { chat(address, &long).await });
    eventually("the request to run", async || (models(&gateway).await[0]["running"] == 1).then_some(()))
        .await;
    let reply = chat(gateway.data, &ask("auto", "What is the capital of France?")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("x-sluicegate-route"), "cloud:cloud", "{reply:?}");
    let reply = chat(gateway.data, &ask("local/default", "What is a lake?")).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.header("retry-after").parse::<u64>().unwrap() >= 2);
}
