//! The options of `casemate run`. What programs do inside is in the other modules.

use std::process::{Command, Output};

use tempfile::TempDir;

use crate::command::{casemate, text};

/// `casemate run` with a state directory of its own, on the emulated platform.
struct Runner {
    state: TempDir,
}

impl Runner {
    fn new() -> Self {
        Self { state: tempfile::tempdir().expect("a directory") }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = casemate();
        command.env("XDG_STATE_HOME", self.state.path());
        command.args(["run", "--platform", "emulated"]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("casemate starts")
    }
}

#[test]
fn nothing_of_the_hosts_environment_is_passed_unasked() {
    let runner = Runner::new();
    let mut command = runner.command(&["--env", "GIVEN", "--env", "UNSET", "--env", "NAME=a=b", "env"]);
    command.env("GIVEN", "1").env("SECRET", "2").env_remove("UNSET");
    let output = command.output().expect("casemate starts");
    let mut variables: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    variables.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(variables, ["GIVEN=1", "HOME=/root", "NAME=a=b", path]);
}

#[test]
fn options_behind_the_program_are_the_programs() {
    let output = Runner::new().run(&["echo", "--heap", "1G", "--", "-x"]);
    assert_eq!(text(&output.stdout), "--heap 1G -- -x\n");
}

#[test]
fn options_that_there_are_not_are_refused_with_our_own_code() {
    let run = |arguments: &[&str]| casemate().arg("run").args(arguments).output().expect("casemate starts");
    for (arguments, word) in [
        (["--no-such-option", "true"].as_slice(), "--no-such-option"),
        (&["--platform", "abacus", "true"], "no platform is called \"abacus\""),
        (&["--heap", "much", "true"], "\"much\" is no size"),
        (&[], "PROGRAM"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        assert!(text(&output.stderr).contains(word), "{}", text(&output.stderr));
    }
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}

#[test]
fn cost_is_told_where_asked() {
    let output = Runner::new().run(&["--stats", "true"]);
    let said = text(&output.stderr);
    assert!(said.contains("casemate: built in ") && said.contains(" entries, "), "{said}");
}

#[test]
fn key_and_secret_stay_the_users_own() {
    use std::os::unix::fs::MetadataExt as _;
    let runner = Runner::new();
    for _ in 0..2 {
        assert_eq!(runner.run(&["true"]).status.code(), Some(0));
    }
    let folder = runner.state.path().join("casemate");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("a directory") {
        let entry = entry.expect("an entry");
        assert_eq!(entry.metadata().expect("known").mode() & 0o077, 0, "{entry:?}");
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(
        names[0].ends_with(".sigstruct") && names[1] == "platform-secret" && names[2] == "signing-key.pem"
    );
}
