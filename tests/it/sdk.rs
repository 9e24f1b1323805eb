//! The official Python SDK and the example clients, unmodified but for the base URL.

use std::process::Command;

use harness::process::Gateway;
use harness::python;
use harness::upstream::Upstream;

#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_sdk_works_unmodified() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_model(&cloud.config()).await;
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("it/sdk_contract.py");
    let address = gateway.data;
    let printed = tokio::task::spawn_blocking(move || python::run(&script, address, &[])).await.unwrap();
    assert!(printed.trim_end().ends_with("contract holds"), "{printed}");
    let captured = String::from_utf8_lossy(&cloud.captured()).into_owned();
    assert!(!captured.contains("4111") && !captured.contains("not-a-real-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_clients_run() {
    let cloud = Upstream::start().await;
    let gateway =
        Gateway::with_model(&cloud.config().replace("\"cloud\"\nprotocol", "\"openai\"\nprotocol")).await;
    let address = gateway.data;
    let printed = tokio::task::spawn_blocking(move || {
        let python = python::run(&examples::clients().join("openai_client.py"), address, &[]);
        let curl = Command::new("bash")
            .arg(examples::clients().join("curl.sh"))
            .env("SLUICEGATE_BASE_URL", format!("http://{address}/v1"))
            .output()
            .unwrap();
        assert!(curl.status.success(), "{}", String::from_utf8_lossy(&curl.stderr));
        (python, String::from_utf8_lossy(&curl.stdout).into_owned())
    })
    .await
    .unwrap();
    assert!(!printed.0.is_empty() && !printed.1.is_empty());
}
