//! The command line without a guard: help, texts and errors.

use std::process::{Command, Output};

fn casemate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate")).args(arguments).output().expect("casemate starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_invariant_is_explained() {
    let all = casemate(&["explain"]);
    assert!(all.status.success());
    for name in ["NS", "CRED", "FS", "SEC", "WR", "UMH", "PROC", "MNT", "CG", "SELF"] {
        assert!(stdout(&all).lines().any(|line| line.starts_with(name)), "{name} is not in the list");
        let one = casemate(&["explain", name]);
        assert!(stdout(&one).contains("Catches:") && stdout(&one).contains("[[exception]]"), "{name}");
    }
}

#[test]
fn an_unknown_invariant_names_the_known_ones() {
    let output = casemate(&["explain", "NOPE"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("NS, CRED, FS"), "{}", stderr(&output));
}

#[test]
fn a_bad_configuration_is_named_with_file_line_and_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("guard.toml");
    std::fs::write(&file, "policy = \"enforce\"\n[scope]\nsandbox = \"audit\"\n").expect("written");
    let output = casemate(&["guard", "--config", file.to_str().expect("a text path")]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("guard.toml:3"), "{said}");
    assert!(said.contains("sandbox"), "{said}");
}

#[test]
fn a_missing_configuration_is_named() {
    let output = casemate(&["guard", "--config", "/nonexistent/guard.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/nonexistent/guard.toml"), "{}", stderr(&output));
}

#[test]
fn stop_takes_no_other_option() {
    let output = casemate(&["guard", "--stop", "--audit"]);
    assert_eq!(output.status.code(), Some(2));
}

/// To somebody else the guard's files are not there, and "not running" would be a lie.
#[test]
fn another_user_is_told_that_root_is_needed() {
    for arguments in [&["ps"][..], &["guard"], &["guard", "--stop"]] {
        let program = env!("CARGO_BIN_EXE_casemate");
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--clear-groups", "--", "/proc/self/fd/0"]).args(arguments);
        let output = command.stdin(std::fs::File::open(program).expect("the program")).output();
        let output = output.expect("setpriv starts");
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("by root only"), "{}", stderr(&output));
    }
}
