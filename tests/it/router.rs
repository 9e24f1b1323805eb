//! The second rung of the router model: what it says, when it is asked, and what stands when it is not there.

use std::fmt::Write as _;

use harness::client::{ask, chat, get};
use harness::eventually;
use harness::process::{Gateway, ensure_library, run};
use harness::upstream::Upstream;
use serde_json::{Value, json};

/// What training computed: with ONNX Runtime and, beside it, with PyTorch in 32 bits.
const PARITY: &str = include_str!("../../router-model/src/complexity/weights/parity.json");

fn classify(lines: &str, arguments: &[&str]) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let output = run(&[&["classify", "--jsonl"], arguments].concat(), directory.path(), lines);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_encoder_says_what_training_computed() {
    ensure_library();
    let cases: Vec<Value> = serde_json::from_str(PARITY).unwrap();
    let lines = cases.iter().enumerate().fold(String::new(), |mut lines, (id, case)| {
        let _ = writeln!(lines, "{}", json!({"id": id.to_string(), "text": case["prompt"]}));
        lines
    });
    let mut moved = 0;
    for (case, found) in cases.iter().zip(classify(&lines, &[])) {
        let is_read = matches!(found["language"].as_str().unwrap(), "en" | "und");
        let expected = if is_read { &case["with_encoder"] } else { &case["complexity"] };
        let difference = (found["complexity"].as_f64().unwrap() - expected.as_f64().unwrap()).abs();
        assert!(difference < 2e-3, "{found} for {case}");
        moved += usize::from(case["with_encoder"] != case["complexity"]);
        // Eight bits come near to 32: within a fifth of a head's spread on the mean, each within half.
        for (graph, exact) in
            std::iter::zip(case["encoder"].as_array().unwrap(), case["pytorch"].as_array().unwrap())
        {
            assert!((graph.as_f64().unwrap() - exact.as_f64().unwrap()).abs() < 0.5, "{case}");
        }
    }
    assert!(moved >= 5);
}

async fn rungs(gateway: &Gateway) -> [u64; 3] {
    let text = String::from_utf8_lossy(&get(gateway.admin, "/metrics").await.body).into_owned();
    ["features", "encoder", "late"].map(|rung| {
        let name = format!("sluicegate_router_rung_total{{rung=\"{rung}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
    })
}

/// A policy whose border lies at a complexity.
fn policy(border: f64) -> String {
    format!(
        "name = \"border\"\n[[rule]]\nname = \"easy\"\nwhen = \"profile.complexity < {border}\"\nroute = \"local\"\n\
         [[rule]]\nname = \"hard\"\nroute = \"cloud\"\n"
    )
}

const QUESTION: &str = "Which gas do plants take up during photosynthesis, and which gas do they give off?";

#[tokio::test(flavor = "multi_thread")]
async fn it_is_asked_only_where_it_could_change_the_decision() {
    let line = json!({"id": "a", "text": QUESTION}).to_string() + "\n";
    ensure_library();
    let complexity = classify(&line, &[])[0]["complexity"].as_f64().unwrap();
    for (border, asked) in [(complexity + 0.01, 1), ((complexity + 0.4).min(0.99), 0)] {
        let cloud = Upstream::start().await;
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("policy.toml"), policy(border)).unwrap();
        let config = format!(
            "[policy]\nfile = \"policy.toml\"\n[router]\nencoder_deadline_ms = 5000\n{}",
            cloud.config()
        );
        let gateway = Gateway::with_model_in(Some(directory.path()), &config, &[]).await;
        eventually("the encoder to be ready", async || {
            gateway.log().contains("ready: the router model's encoder").then_some(())
        })
        .await;
        let reply = chat(gateway.data, &ask("auto", QUESTION)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("x-sluicegate-route"), "local", "it decides as it says: {reply:?}");
        assert_eq!(rungs(&gateway).await, [1 - asked, asked, 0], "border {border}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_features_decide_alone_where_the_encoder_is_switched_off() {
    let cloud = Upstream::start().await;
    let config = format!("[router]\nencoder = false\n{}", cloud.config());
    let gateway = Gateway::with_model(&config).await;
    let reply = chat(gateway.data, &ask("auto", QUESTION)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(rungs(&gateway).await, [1, 0, 0]);
    assert!(!gateway.log().contains("encoder"), "{}", gateway.log());
}

/// One question in frames that make it no harder: each is decided like the bare one.
#[test]
fn a_question_is_decided_alike_in_any_frame() {
    ensure_library();
    let question =
        "A tank holds 240 litres and loses 3 litres every 5 minutes. After how many hours is it empty?";
    let user = |text: String| json!([{"role": "user", "content": text}]);
    let mut frames = vec![user(question.to_owned())];
    frames.extend(
        [
            "Question: {}\nAnswer:",
            "Q: {}\nA:",
            "{}\nLet's think step by step.",
            "Please answer the following question: {}",
            "Solve the following math problem: {}\nShow your work.",
            "### Instruction:\n{}\n\n### Response:",
            "Q: What is 2 + 2?\nA: 4\n\nQ: {}\nA:",
            "  {}  \n\n",
            "{}\nPut your final answer in a box.",
        ]
        .map(|frame| user(frame.replace("{}", question))),
    );
    frames.push(json!([{"role": "system", "content": "You are a helpful assistant. Be brief and polite."},
                       {"role": "user", "content": question}]));
    frames.push(
        json!([{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello, how can I help?"},
                       {"role": "user", "content": question}]),
    );
    let directory = tempfile::tempdir().unwrap();
    let decided = |messages: &Value| {
        let file = directory.path().join("request.json");
        std::fs::write(&file, json!({"model": "auto", "messages": messages}).to_string()).unwrap();
        let output = run(&["explain", "--json", "--file", "request.json"], directory.path(), "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        (told["rule"].clone(), told["profile"]["complexity"].as_f64().unwrap())
    };
    let (rule, complexity) = decided(&frames[0]);
    for frame in &frames[1..] {
        let found = decided(frame);
        assert_eq!(found.0, rule, "{frame}");
        assert!((found.1 - complexity).abs() < 0.04, "{complexity} became {} in {frame}", found.1);
    }
}
