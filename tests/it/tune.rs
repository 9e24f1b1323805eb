//! Tuning thresholds and evaluating the router: files in, figures out, exit codes.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;

use harness::client::{ask, chat, send};
use harness::process::{Gateway, run};
use harness::upstream::Upstream;
use hyper::Method;
use serde_json::{Value, json};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// 1,000 rows whose local answer is good exactly below a complexity of 0.6 or from a confidence of 0.5.
fn graded() -> String {
    (0..1000).fold(String::new(), |mut text, n| {
        let complexity = f64::from((n * 37) % 1000) / 1000.0;
        let confidence = f64::from((n * 91) % 1000) / 1000.0;
        let good = u8::from(complexity < 0.6 || confidence >= 0.5);
        let _ = writeln!(
            text,
            r#"{{"id":"r{n}","complexity":{complexity},"confidence":{confidence},"good":{good},"good_source":"check","strong":1,"local_cost_nanos":0,"cloud_cost_nanos":1000}}"#
        );
        text
    })
}

fn tune(directory: &Path, more: &[&str]) -> Output {
    let arguments = ["tune", "--data", "rows.jsonl", "--target-quality", "0.95", "--risk", "0.05"];
    run(&[&arguments, more].concat(), directory, "")
}

#[test]
fn thresholds_come_with_their_guarantee_and_as_a_rule() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("rows.jsonl"), graded()).unwrap();
    let policy =
        "name = \"p\"\n[[rule]]\nname = \"easy\"\nwhen = \"profile.complexity < 0.9\"\nroute = \"local\"\n";
    std::fs::write(directory.path().join("policy.toml"), policy).unwrap();
    let output =
        tune(directory.path(), &["--format", "json", "--policy", "policy.toml", "--svg", "curve.svg"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let found = parsed(&output);
    // Half of what lies above 0.6 fails, so 0.70 loses exactly 5 %, which is too much to be certified.
    let threshold = found["chosen"]["complexity_below"].as_f64().unwrap();
    assert!((0.6..0.7).contains(&threshold), "{threshold}");
    assert!(found["chosen"]["p_value"].as_f64().unwrap() <= 0.05);
    assert!(found["chosen"]["quality_at_least"].as_f64().unwrap() >= 0.95);
    assert_eq!(
        (&found["binary"], &found["data"]["sources"]["check"]),
        (&Value::from(true), &Value::from(1000))
    );
    assert!(found["in_force"]["quality"].as_f64().unwrap() < 0.9, "{}", found["in_force"]);
    assert_eq!(found["chains"][0].as_array().unwrap().len(), 101);
    // The rule can be used as it is printed.
    let rule = format!("name = \"p\"\n{}", found["snippet"].as_str().unwrap());
    assert!(rule.contains(&format!("profile.complexity < {threshold:.2}")), "{rule}");
    std::fs::write(directory.path().join("policy.toml"), rule).unwrap();
    std::fs::write(directory.path().join("sluicegate.toml"), "[policy]\nfile = \"policy.toml\"\n").unwrap();
    let check = run(&["check"], directory.path(), "");
    assert!(check.status.success(), "{}", stderr(&check));
    let svg = std::fs::read_to_string(directory.path().join("curve.svg")).unwrap();
    assert!(
        svg.starts_with("<svg ") && svg.contains("prefers-color-scheme:dark") && svg.ends_with("</svg>\n")
    );
}

#[test]
fn cascades_and_pairs_are_tuned_too() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("rows.jsonl"), graded()).unwrap();
    let cascade = parsed(&tune(directory.path(), &["--format", "json", "--mode", "cascade"]));
    let escalate = cascade["chosen"]["confidence_from"].as_f64().unwrap();
    assert!((0.35..0.5).contains(&escalate), "{escalate}");
    assert!(cascade["snippet"].as_str().unwrap().contains("escalate_below = 0."));
    let pair = parsed(&tune(directory.path(), &["--format", "json", "--mode", "pair"]));
    assert_eq!(pair["chains"].as_array().unwrap().len(), 10);
    assert!(pair["chosen"]["complexity_below"].is_number() && pair["chosen"]["confidence_from"].is_number());
    let people = stdout(&tune(directory.path(), &[]));
    for said in [
        "With 95.0 % confidence",
        "[[rule]]",
        "exact binomial",
        "independent draws",
        "certified",
        "0.001000 USD",
    ] {
        assert!(people.contains(said), "{said} in {people}");
    }
    let document = stdout(&tune(directory.path(), &["--format", "markdown"]));
    assert!(document.starts_with('|') && document.contains("```toml\n[[rule]]"), "{document}");
}

#[test]
fn exit_codes_tell_how_tuning_went() {
    let directory = tempfile::tempdir().unwrap();
    let rows: String = graded().lines().take(20).flat_map(|line| [line, "\n"]).collect();
    std::fs::write(directory.path().join("rows.jsonl"), &rows).unwrap();
    let output = tune(directory.path(), &[]);
    assert_eq!(output.status.code(), Some(1), "nothing is certified with 20 rows");
    assert!(stdout(&output).contains("59 such rows would be needed"), "{}", stdout(&output));
    let broken =
        format!("{}{{\"id\":\"x\",\"complexity\":7}}\n{}", graded(), graded().lines().next().unwrap());
    std::fs::write(directory.path().join("rows.jsonl"), broken).unwrap();
    let output = tune(directory.path(), &[]);
    assert_eq!(output.status.code(), Some(1), "bad lines are told by the exit code");
    assert!(stderr(&output).contains("line 1001: complexity: 7 is not from 0 to 1"), "{}", stderr(&output));
    assert!(stderr(&output).contains("line 1002: id: stands on an earlier line too"), "{}", stderr(&output));
    assert!(stdout(&output).contains("With 95.0 % confidence"), "the rest goes on");
    std::fs::write(directory.path().join("rows.jsonl"), "{\"id\":\"a\",\"complexity\":0.5}\n").unwrap();
    let output = tune(directory.path(), &["--mode", "cascade"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no row has `good` and `confidence`"), "{}", stderr(&output));
    for wrong in [&["--target-quality", "1", "--risk", "0.1"][..], &["--target-quality", "0.9"]] {
        let arguments = [&["tune", "--data", "rows.jsonl"], wrong].concat();
        assert_eq!(run(&arguments, directory.path(), "").status.code(), Some(2), "{wrong:?}");
    }
}

const EASY: &str = "What is the capital of France?";
const HARD: &str = "Prove that every bounded sequence of real numbers has a convergent subsequence, derive the \
                    analogous statement for compact metric spaces, and discuss why it fails in general.";

/// Easy questions that the small model gets right and hard ones that it does not, by the names of a public data set.
fn scored() -> String {
    (0..60).fold(String::new(), |mut text, n| {
        let (prompt, small, source) = if n % 2 == 0 { (EASY, 1, "facts") } else { (HARD, 0, "proofs") };
        let _ = writeln!(
            text,
            r#"{{"id":"q{n}","source":"{source}","prompt":"{prompt} ({n})","small_score":{small},"large_score":1,"scores":{{"x":1}}}}"#
        );
        text
    })
}

#[test]
fn a_router_is_measured_on_prompts() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("rows.jsonl"), scored()).unwrap();
    let evaluate = |more: &[&str]| {
        run(
            &[&["eval", "router", "--data", "rows.jsonl", "--boot", "50"], more].concat(),
            directory.path(),
            "",
        )
    };
    let output = evaluate(&["--format", "json", "--rung", "features", "--svg", "curve.svg"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let found = parsed(&output);
    let all = &found["total"];
    // Half of the rows fail and all of them are harder: the best order there is, and length finds it too.
    assert!((all["router"]["apgr"]["value"].as_f64().unwrap() - 0.75).abs() < 1e-9, "{}", all["router"]);
    assert!((all["router"]["cpt50"]["value"].as_f64().unwrap() - 0.25).abs() < 1e-9);
    assert!((all["router"]["auroc"]["value"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    assert!((all["random"]["apgr"]["value"].as_f64().unwrap() - 0.5).abs() < 1e-9);
    assert!(all["random"]["ece"].is_null() && all["router"]["ece"]["high"].is_number());
    assert_eq!(all["curve"].as_array().unwrap().len(), 11);
    assert_eq!(found["groups"].as_array().unwrap().len(), 2);
    assert_eq!(found["conditions"]["encoder_share"], 0.0);
    harness::process::ensure_library();
    let encoder = evaluate(&["--format", "json", "--rung", "encoder", "--by", "rung"]);
    assert_eq!(encoder.status.code(), Some(0), "{}", stderr(&encoder));
    let encoder = parsed(&encoder);
    assert_eq!(encoder["conditions"]["encoder_share"], 1.0);
    let spoke: Vec<_> = encoder["latency"].as_array().unwrap().iter().map(|rung| &rung["rung"]).collect();
    assert_eq!(spoke, ["encoder", "features", "whole classification"]);
    assert_ne!(encoder["total"]["reliability"], found["total"]["reliability"], "it has a say");
    let rungs: Vec<_> = found["latency"].as_array().unwrap().iter().map(|rung| &rung["rung"]).collect();
    assert_eq!(rungs, ["features", "whole classification"]);
    assert!(found["latency"][0]["p99_ms"].as_f64().unwrap() > 0.0);
    let svg = std::fs::read_to_string(directory.path().join("curve.svg")).unwrap();
    assert!(svg.contains("longer prompts first") && svg.ends_with("</svg>\n"));
    assert_eq!(found["conditions"]["router"].as_str().map(str::len), Some(12));
    let missing = evaluate(&["--router", "nowhere"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("nowhere"), "{}", stderr(&missing));
    let people = stdout(&evaluate(&["--rung", "features"]));
    for said in [
        "APGR",
        "CPT(80 %)",
        "all, prompt length",
        "all, random",
        "100 %",
        "p99",
        "needed the encoder: 0.0 %",
    ] {
        assert!(people.contains(said), "{said} in {people}");
    }
    assert!(stdout(&evaluate(&["--format", "markdown"])).starts_with("## "));
}

#[test]
fn the_same_complexity_as_of_classify_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let line = format!("{{\"id\":\"1\",\"text\":\"{HARD}\"}}\n");
    let classified = parsed(&run(&["classify", "--jsonl"], directory.path(), &line));
    let row = format!("{{\"id\":\"1\",\"prompt\":\"{HARD}\",\"good\":0}}\n");
    let found = parsed(&run(
        &["eval", "router", "--data", "-", "--boot", "0", "--format", "json"],
        directory.path(),
        &row,
    ));
    let mean = found["total"]["reliability"][0]["score"].as_f64().unwrap();
    assert!((mean - classified["complexity"].as_f64().unwrap()).abs() < 1e-6, "{mean} {classified}");
    assert_eq!(found["conditions"]["strong_assumed"], 1);
}

#[test]
fn graded_rows_are_measured_as_they_were_served() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("rows.jsonl"), format!("{}oops\n", graded())).unwrap();
    let arguments =
        ["eval", "router", "--data", "rows.jsonl", "--boot", "20", "--seed", "3", "--format", "json"];
    let first = run(&arguments, directory.path(), "");
    assert_eq!(first.status.code(), Some(1), "one line is bad");
    assert!(stderr(&first).contains("line 1001: "), "{}", stderr(&first));
    let found = parsed(&first);
    assert!(found["total"]["router"]["auroc"]["value"].as_f64().unwrap() > 0.7);
    assert!(found["total"]["by_length"].is_null(), "no prompt, no length");
    assert!(found["latency"].as_array().unwrap().is_empty(), "nothing was classified");
    assert_eq!(stdout(&first), stdout(&run(&arguments, directory.path(), "")), "the seed decides");
    let nothing =
        run(&["eval", "router", "--data", "-"], directory.path(), "{\"id\":\"a\",\"prompt\":\"x\"}\n");
    assert_eq!(nothing.status.code(), Some(1));
    assert!(stderr(&nothing).contains("no row has a grade"), "{}", stderr(&nothing));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_from_the_ledger_where_no_file_is_named() {
    let cloud = Upstream::start().await;
    let gateway = Gateway::with_model(&cloud.config()).await;
    let config = gateway.config();
    let tune = |more: &[&str]| {
        let arguments = [
            "tune",
            "--target-quality",
            "0.5",
            "--risk",
            "0.5",
            "--format",
            "json",
            "--config",
            config.to_str().unwrap(),
        ];
        run(&[&arguments, more].concat(), gateway.directory(), "")
    };
    let nothing = tune(&[]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(stderr(&nothing).contains("the ledger: no row has `good`"), "{}", stderr(&nothing));
    let id = chat(gateway.data, &ask("auto", EASY)).await.header("x-request-id").to_owned();
    let rating = json!({"request_id": id, "score": 1}).to_string();
    assert_eq!(send(Method::POST, gateway.data, "/v1/feedback", &[], rating).await.status, 200);
    // One good answer of one: as likely as the risk allows if half of them were bad.
    let output = tune(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let found = parsed(&output);
    assert_eq!((&found["data"]["sources"]["feedback"], &found["data"]["priced"]), (&json!(1), &json!(true)));
    assert!(found["warnings"][0].as_str().unwrap().contains("no random sample"), "{}", found["warnings"]);
    assert_eq!(tune(&["--team", "nobody"]).status.code(), Some(1));
    assert_eq!(tune(&["--data", "x", "--from", "2026-01-01"]).status.code(), Some(2));
}
