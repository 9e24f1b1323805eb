//! The binary's own contract that needs no gateway: version, help, usage.
#![allow(clippy::unwrap_used, reason = "a failed expectation is the point of a test")]

use std::process::{Command, Output};

fn sluicegate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluicegate")).args(arguments).output().unwrap()
}

#[test]
fn help_names_every_command() {
    let help = String::from_utf8(sluicegate(&["--help"]).stdout).unwrap();
    for command in
        ["serve", "init", "check", "explain", "classify", "chat", "eval", "models", "keys", "report", "demo"]
    {
        assert!(help.contains(&format!("  {command} ")), "{command}");
    }
}

#[test]
fn wrong_usage_exits_with_two() {
    for arguments in [
        &["nonsense"][..],
        &["keys"],
        &["classify"],
        &["eval"],
        &["eval", "model"],
        &["report", "--by", "moon"],
    ] {
        assert_eq!(sluicegate(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
