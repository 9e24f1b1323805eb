//! Another policy over the requests of a real gateway's ledger.

use harness::client::{ask, chat, chat_with};
use harness::process::{Gateway, run};
use harness::upstream::Upstream;
use harness::weights::retrained;
use rusqlite::Connection;
use serde_json::{Value, json};

const HARD: &str = "Prove rigorously that every continuous function on a compact metric space is uniformly continuous, \
    then construct a counterexample on a non-compact space, derive an explicit modulus of continuity for the \
    Lipschitz case, and discuss how the argument changes for nets in general uniform spaces step by step.";
/// Two rules of the balanced preset, with what counts here.
const TODAY: &str = "name = \"today\"\n[labels]\nEMAIL = \"restricted\"\n[[rule]]\nname = \"easy\"\n\
    when = \"profile.complexity < 0.45\"\nroute = \"local\"\n[[rule]]\nname = \"hard\"\nroute = \"cloud\"\n";

fn output(gateway: &Gateway, arguments: &[&str]) -> std::process::Output {
    let config = gateway.config();
    let mut all = vec!["replay", "--config", config.to_str().unwrap()];
    all.extend(arguments);
    run(&all, gateway.directory(), "")
}

fn replay(gateway: &Gateway, arguments: &[&str]) -> Value {
    let mut all = arguments.to_vec();
    all.extend(["--format", "json"]);
    let output = output(gateway, &all);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_tried_on_stored_requests_and_nothing_is_sent() {
    let cloud = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    file("today.toml", TODAY);
    file("lax.toml", &TODAY.replace("EMAIL = \"restricted\"", "EMAIL = \"public\""));
    file(
        "cloud.toml",
        "name = \"cloud\"\n[labels]\nEMAIL = \"restricted\"\n[[rule]]\nname = \"all\"\nroute = \"cloud\"\n",
    );
    file("refuse.toml", &format!("{TODAY}[actions]\nrestricted = \"refuse\"\n"));
    file("broken.toml", "name = \"p\"\n[labels]\nEMIAL = \"internal\"\n");
    let config = format!("[policy]\nfile = \"today.toml\"\n[ledger]\nfeatures = true\n{}", cloud.config());
    let gateway = Gateway::with_model_in(Some(directory.path()), &config, &[]).await;
    let sensitive = format!("{HARD} Write to canary.person@example.com.");
    for text in ["What is the capital of France?", HARD, &sensitive] {
        let reply = chat_with(gateway.data, &[("x-sluicegate-team", "lab")], &ask("auto", text)).await;
        gateway.row(reply.header("x-request-id")).await;
    }
    let other = chat(gateway.data, &ask("auto", HARD)).await;
    gateway.row(other.header("x-request-id")).await;
    let sent = cloud.bodies().len();
    assert_eq!(sent, 2);

    let same = replay(&gateway, &["--policy", "today.toml"]);
    assert_eq!((&same["coverage"]["replayed"], &same["moved"]["requests"]), (&json!(4), &json!(0)), "{same}");
    assert_eq!((&same["cost_before"], &same["cost_after"]), (&json!(6_000_000), &json!(6_000_000)));
    assert_eq!(same["labels"], json!([]));
    assert_eq!(
        (&same["leaks"]["would"]["requests"], &same["local"]["before"]),
        (&json!(0), &same["local"]["after"])
    );

    let lax = replay(&gateway, &["--policy", "lax.toml"]);
    assert_eq!(
        (&lax["leaks"]["would"]["requests"], &lax["moved"]["requests"]),
        (&json!(1), &json!(1)),
        "{lax}"
    );
    assert_eq!(lax["labels"][0]["from"], "restricted");
    assert_eq!((&lax["moves"][0]["from"], &lax["moves"][0]["to"]), (&json!("local"), &json!("cloud:cloud")));
    assert!(lax["cost_after"].as_i64() > lax["cost_before"].as_i64(), "{lax}");
    let [low, share, high] = ["low", "share", "high"].map(|end| lax["leaks"]["would"][end].as_f64().unwrap());
    assert!(low > 0.0 && low < share && share < high && high < 1.0, "{low} {share} {high}");

    let all = replay(&gateway, &["--policy", "cloud.toml"]);
    assert_eq!(
        (&all["moved"]["requests"], &all["leaks"]["would"]["requests"]),
        (&json!(1), &json!(0)),
        "{all}"
    );
    let refused = replay(&gateway, &["--policy", "refuse.toml", "--team", "lab"]);
    assert_eq!(
        (&refused["coverage"]["rows"], &refused["refusals"]["after"]["requests"]),
        (&json!(3), &json!(1))
    );
    let preset = replay(&gateway, &["--policy", "strict-privacy", "--to", "2001-01-01"]);
    assert_eq!(preset["coverage"]["rows"], 0);

    let people = output(&gateway, &["--policy", "lax.toml"]);
    let shown = String::from_utf8_lossy(&people.stdout).into_owned();
    for words in ["4 of 4 requests decided again", "LEAKED", "restricted -> public", "local -> cloud:cloud"] {
        assert!(shown.contains(words), "{words} in\n{shown}");
    }
    let broken = output(&gateway, &["--policy", "broken.toml"]);
    assert_eq!(broken.status.code(), Some(1));
    let said = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(
        said.contains("broken.toml:3: labels.EMIAL: unknown name `EMIAL`; did you mean `EMAIL`?"),
        "{said}"
    );
    assert_eq!(output(&gateway, &["--policy", "nowhere.toml"]).status.code(), Some(1));
    assert_eq!(output(&gateway, &["--policy", "today.toml", "--router", "nowhere"]).status.code(), Some(1));
    assert_eq!(output(&gateway, &[]).status.code(), Some(2));

    let harder = directory.path().join("router");
    retrained(&harder, 12.0);
    let retrained = replay(&gateway, &["--policy", "today.toml", "--router", harder.to_str().unwrap()]);
    assert_eq!(retrained["coverage"]["reassessed"], 4, "{retrained}");
    assert_eq!(
        (&retrained["moves"][0]["to"], &retrained["moved"]["requests"]),
        (&json!("cloud:cloud"), &json!(1))
    );
    assert_eq!(retrained["leaks"]["would"]["requests"], 0, "a label holds, however hard a request is");

    // A row of the first schema.
    let connection = Connection::open(gateway.directory().join("sluicegate.db")).unwrap();
    connection
        .execute("UPDATE requests SET profile = NULL, situation = NULL WHERE team = 'default'", [])
        .unwrap();
    let partly = replay(&gateway, &["--policy", "today.toml"]);
    assert_eq!((&partly["coverage"]["replayed"], &partly["coverage"]["unstored"]), (&json!(3), &json!(1)));
    assert_eq!(cloud.bodies().len(), sent, "nothing was sent");
}
