//! Memory that processes share: with `--shared-memory host` it is as natively, and without the program is told.

use std::path::Path;
use std::process::{Command, Output};

use crate::command::{CASEMATE, text};
use crate::programs::c;

/// What a program is told whose shared memory is the host's.
const UNPROTECTED: &str = "NOT PROTECTED";

fn inside(mode: &[&str], program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["120", CASEMATE, "run", "--platform", "emulated"]).args(mode).arg("--");
    command.arg(program).args(arguments).output().expect("casemate starts")
}

#[test]
fn shared_in_the_hosts_memory() {
    let program = c("shared", &[]);
    let native = Command::new(&program).output().expect("the program starts");
    assert!(native.status.success(), "{}", text(&native.stderr));
    for mode in [&["--vcpus", "2"][..], &["--no-edmm", "--heap", "64M"], &["--vcpus", "1", "--calls", "sync"]]
    {
        let shielded = inside(&[mode, &["--shared-memory", "host"]].concat(), &program, &[]);
        let stderr = text(&shielded.stderr);
        assert_eq!(text(&shielded.stdout), text(&native.stdout), "{mode:?}: {stderr}");
        assert_eq!(shielded.status.code(), Some(0), "{mode:?}: {stderr}");
        assert_eq!(stderr.matches(UNPROTECTED).count(), 1, "{mode:?}: {stderr}");
    }
}

#[test]
fn who_shares_nothing_is_told_nothing() {
    let mode = ["--shared-memory", "host"];
    let output = inside(&mode, Path::new("/bin/sh"), &["-c", "echo a | cat"]);
    assert_eq!(text(&output.stdout), "a\n", "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains(UNPROTECTED), "{}", text(&output.stderr));
}

#[test]
fn copies_are_the_default_and_said_once() {
    let script = "import mmap, os\n\
        word = mmap.mmap(-1, 4096)\n\
        for n in range(3):\n\
        \x20   pid = os.fork()\n\
        \x20   if pid == 0:\n\
        \x20       word[0] = 7\n\
        \x20       os._exit(word[0])\n\
        \x20   print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), word[0])\n";
    for (mode, expected) in [("private", "7 0\n7 0\n7 0\n"), ("host", "7 7\n7 7\n7 7\n")] {
        let arguments = ["--shared-memory", mode];
        let output = inside(&arguments, Path::new("/usr/bin/python3"), &["-c", script]);
        let stderr = text(&output.stderr);
        assert_eq!(text(&output.stdout), expected, "{mode}: {stderr}");
        let copies = stderr.matches("a copy in each process after fork").count();
        assert_eq!(
            (copies, stderr.matches(UNPROTECTED).count()),
            if mode == "host" { (0, 1) } else { (1, 0) }
        );
    }
}

#[test]
fn pythons_processes_share_values_locks_and_queues() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lab/programs/processes.py");
    let program = program.canonicalize().expect("the program");
    let native = Command::new("/usr/bin/python3").arg(&program).output().expect("python starts");
    assert!(native.status.success(), "{}", text(&native.stderr));
    let mode = ["--shared-memory", "host"];
    let python = Path::new("/usr/bin/python3");
    let shielded = inside(&mode, python, &[program.to_str().expect("a path of text")]);
    assert_eq!(text(&shielded.stdout), text(&native.stdout), "{}", text(&shielded.stderr));
}
