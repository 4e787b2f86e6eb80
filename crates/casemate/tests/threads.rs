//! Threads inside: many, and such as wait for each other all the time. They say what they say natively.

#[expect(dead_code, reason = "programs here are in C")]
mod programs;

use std::path::Path;
use std::process::{Command, Output};

use programs::c;

const CASEMATE: &str = env!("CARGO_BIN_EXE_casemate");

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn natively(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().expect("the program starts")
}

fn inside(mode: &[&str], program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(CASEMATE);
    command.args(["run", "--platform", "emulated"]).args(mode).arg("--").arg(program).args(arguments);
    command.output().expect("casemate starts")
}

#[track_caller]
fn same(modes: &[&[&str]], program: &Path, arguments: &[&str]) {
    let native = natively(program, arguments);
    assert!(native.status.success(), "{}", text(&native.stderr));
    for mode in modes {
        let shielded = inside(mode, program, arguments);
        assert_eq!(text(&shielded.stdout), text(&native.stdout), "{mode:?}: {}", text(&shielded.stderr));
        assert_eq!(shielded.status.code(), native.status.code(), "{mode:?}: {}", text(&shielded.stderr));
    }
}

#[test]
fn ten_thousand_threads_on_two_vcpus() {
    let output = inside(&["--vcpus", "2"], &c("many", &[]), &["10000"]);
    assert_eq!(text(&output.stdout), "10000 threads, 0 wrong sums\n", "{}", text(&output.stderr));
}

#[test]
fn threads_without_pages_on_demand() {
    same(&[&["--no-edmm", "--vcpus", "2"]], &c("many", &[]), &["900"]);
}

#[test]
fn locks_of_every_kind() {
    same(&[&["--vcpus", "1"], &["--vcpus", "2"], &["--vcpus", "4"]], &c("locks", &[]), &[]);
}

#[test]
fn work_is_handed_on() {
    let program = c("futexes", &[]);
    for threads in ["2", "32"] {
        same(&[&["--vcpus", "1"], &["--vcpus", "2"], &["--vcpus", "8"]], &program, &[threads, "5000"]);
    }
}
