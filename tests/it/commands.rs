//! The command line: faults with their lines, exit codes, formats.

use harness::process::run;
use serde_json::Value;

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_example_configuration_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    for path in examples::configurations().unwrap() {
        let output = run(&["check", "--config", path.to_str().unwrap()], path.parent().unwrap(), "");
        assert!(output.status.success(), "{}: {}", path.display(), stderr(&output));
    }
    let written = run(&["init"], directory.path(), "");
    assert!(written.status.success());
    assert!(run(&["check"], directory.path(), "").status.success());
    let again = run(&["init"], directory.path(), "");
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten unasked");
}

#[test]
fn a_bad_configuration_names_file_line_key_and_the_nearest_valid_key() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[server]\nlissten = \"127.0.0.1:1\"\n[policy]\npreset = \"balancd\"\n";
    std::fs::write(directory.path().join("sluicegate.toml"), text).unwrap();
    let output = run(&["check"], directory.path(), "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output)
            .contains("sluicegate.toml:2: server.lissten: unknown key `lissten`; did you mean `listen`?"),
        "{}",
        stderr(&output)
    );
    let text = "[server]\nlisten = \"nowhere\"\n[policy]\npreset = \"balancd\"\n[[upstream]]\nname = \"a\"\nprotocol = \"openia\"\n\
                base_url = \"ftp://x\"\nclearance = \"secret\"\napi_key = \"sk-plain\"\n";
    std::fs::write(directory.path().join("sluicegate.toml"), text).unwrap();
    let output = run(&["check"], directory.path(), "");
    for fault in [
        "toml:2: server.listen:",
        "toml:4: policy.preset: no preset is called `balancd`; did you mean `balanced`?",
        "toml:7: upstream.0.protocol:",
        "toml:8: upstream.0.base_url:",
        "toml:9: upstream.0.clearance:",
        "toml:10: upstream.0.api_key:",
    ] {
        assert!(stderr(&output).contains(fault), "{fault} in {}", stderr(&output));
    }
    assert_eq!(run(&["serve"], directory.path(), "").status.code(), Some(1));
    assert_eq!(run(&["nonsense"], directory.path(), "").status.code(), Some(2));
}

#[test]
fn a_bad_policy_file_is_reported_with_its_own_lines() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("sluicegate.toml"), "[policy]\nfile = \"p.toml\"\n").unwrap();
    let policy = "name = \"p\"\n[labels]\nEMIAL = \"internal\"\n[[rule]]\nname = \"r\"\nwhen = \"profile.complexty < 1.0\"\nroute = \"local\"\n";
    std::fs::write(directory.path().join("p.toml"), policy).unwrap();
    let said = stderr(&run(&["check"], directory.path(), ""));
    assert!(said.contains("p.toml:3: labels.EMIAL: unknown name `EMIAL`; did you mean `EMAIL`?"), "{said}");
    assert!(said.contains("p.toml:6: rule.0.when:"), "{said}");
}

#[test]
fn classification_follows_its_contract() {
    let directory = tempfile::tempdir().unwrap();
    let lines = concat!(
        "{\"id\":\"1\",\"text\":\"Bonjour \u{1F44B}, écrivez à jean.dupont@example.com\"}\n",
        "{\"id\":\"2\",\"text\":7}\n",
        "{\"id\":\"3\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}\n",
        "\n",
        "broken\n",
        "{\"id\":\"4\",\"text\":\"\"}\n",
    );
    let output = run(&["classify", "--jsonl"], directory.path(), lines);
    assert_eq!(output.status.code(), Some(1), "malformed lines are told by the exit code");
    let out: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(out.len(), 5);
    let span = &out[0]["spans"][0];
    let text: Vec<char> = "Bonjour \u{1F44B}, écrivez à jean.dupont@example.com".chars().collect();
    let (start, end) = (span["start"].as_u64().unwrap() as usize, span["end"].as_u64().unwrap() as usize);
    assert_eq!(text[start..end].iter().collect::<String>(), "jean.dupont@example.com");
    assert_eq!((out[1]["id"].as_str(), out[1]["error"].is_string()), (Some("2"), true));
    assert_eq!(out[2]["label"], "public");
    assert!(out[3]["error"].is_string());
    assert_eq!(out[4]["id"], "4");
    for result in [&out[0], &out[2], &out[4]] {
        let complexity = result["complexity"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&complexity));
        for field in ["label", "spans", "topics", "task", "language", "tokens", "doubt", "ms"] {
            assert!(result.get(field).is_some(), "{field}");
        }
    }
    let well = run(&["classify", "--jsonl"], directory.path(), "{\"id\":\"1\",\"text\":\"x\"}\n");
    assert!(well.status.success());
}

#[test]
fn explaining_sends_nothing_and_prices_each_alternative() {
    let directory = tempfile::tempdir().unwrap();
    let prompt = "Charge 4111 1111 1111 1111 please";
    let output = run(&["explain", "--json", prompt], directory.path(), "");
    assert!(output.status.success(), "{}", stderr(&output));
    let explained: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(explained["label"], "restricted");
    let alternatives = explained["alternatives"].as_array().unwrap();
    assert_eq!(alternatives.len(), 3);
    assert!(alternatives[1]["estimate"]["priced"].as_i64().unwrap() > 0, "{explained}");
    assert_eq!(alternatives[1]["standing"], "not_cleared");
    assert!(!directory.path().join("sluicegate.db").exists(), "nothing is accounted");
    let people = stdout(&run(&["explain", prompt], directory.path(), ""));
    assert!(people.contains("not cleared for the label"), "{people}");
    assert!(!people.contains("4111"), "values are not repeated");
}

#[test]
fn reports_come_in_three_formats() {
    let directory = tempfile::tempdir().unwrap();
    for (format, start) in [("table", " team"), ("csv", "team,requests"), ("json", "{")] {
        let output = run(&["report", "--by", "team", "--format", format], directory.path(), "");
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).starts_with(start), "{format}: {}", stdout(&output));
    }
    assert_eq!(run(&["report", "--from", "yesterday"], directory.path(), "").status.code(), Some(2));
}
