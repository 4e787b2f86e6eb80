//! Threads inside: many, and such as wait for each other all the time. They say what they say natively.

use std::path::Path;
use std::process::{Command, Output};

use crate::command::{shielded, text};
use crate::programs::c;

fn natively(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().expect("the program starts")
}

fn inside(mode: &[&str], program: &Path, arguments: &[&str]) -> Output {
    let mut command = shielded(mode, &[program]);
    command.args(arguments).output().expect("casemate starts")
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

#[test]
fn calls_give_the_same_by_worker_and_by_exit() {
    let program = c("preads", &[]);
    let modes: [&[&str]; 4] =
        [&["--calls", "sync"], &["--calls", "async"], &["--calls", "async", "--vcpus", "1"], &["--strict"]];
    same(&modes, &program, &["20000"]);
}

#[test]
fn synchronous_calls_use_no_worker() {
    let output = inside(&["--calls", "sync", "--stats"], &c("preads", &[]), &["5000"]);
    let said = text(&output.stderr);
    assert!(said.contains("0 host calls by slot, "), "{said}");
}

#[test]
fn unknown_calls_are_counted_by_number() {
    let output = inside(&["--stats"], &c("unknown", &[]), &[]);
    assert_eq!(text(&output.stdout), "not there\n");
    let said = text(&output.stderr);
    assert!(said.contains("unknown numbers: 335x1 600x2\n"), "{said}");
}
