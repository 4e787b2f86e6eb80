//! `casemate run`: real programs inside an emulated enclave say what they say natively, and end as they end natively.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::command::{casemate, end, text};
use crate::programs::{assembly, c, go};

const ENVIRONMENT: [(&str, &str); 3] =
    [("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/root"), ("CASEMATE_TEST", "seen")];

/// Ways to run an enclave: with pages on demand and without, ENCLU patched and trapped, on one vCPU and on more.
const MODES: [&[&str]; 4] =
    [&["--vcpus", "2"], &["--no-edmm", "--vcpus", "2"], &["--strict"], &["--vcpus", "1"]];

fn feed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // A program that does not read its input ends before it was written.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("the writer ends");
    output
}

fn natively<S: AsRef<OsStr>>(arguments: &[S], input: &[u8]) -> Output {
    let mut command = Command::new(arguments[0].as_ref());
    command.args(&arguments[1..]).env_clear().envs(ENVIRONMENT).current_dir("/");
    feed(&mut command, input)
}

fn inside<S: AsRef<OsStr>>(mode: &[&str], arguments: &[S], input: &[u8]) -> Output {
    let mut command = casemate();
    command.args(["run", "--platform", "emulated"]).args(mode);
    for (name, value) in ENVIRONMENT {
        command.arg("--env").arg(format!("{name}={value}"));
    }
    command.arg("--").args(arguments).current_dir("/");
    feed(&mut command, input)
}

#[track_caller]
fn same_in<S: AsRef<OsStr>>(modes: &[&[&str]], arguments: &[S], input: &[u8]) {
    let native = natively(arguments, input);
    for mode in modes {
        let shielded = inside(mode, arguments, input);
        let name = arguments[0].as_ref().display();
        assert_eq!(
            text(&shielded.stdout),
            text(&native.stdout),
            "{name} {mode:?}; standard error: {}",
            text(&shielded.stderr)
        );
        assert_eq!(end(shielded.status), end(native.status), "{name} {mode:?}: {}", text(&shielded.stderr));
    }
}

#[track_caller]
fn same<S: AsRef<OsStr>>(arguments: &[S]) {
    same_in(&MODES[..1], arguments, b"");
}

#[test]
fn static_glibc() {
    same_in(&MODES, &[c("calls", &["-static"]).as_os_str(), "first".as_ref(), "3".as_ref()], b"");
}

#[test]
fn static_position_independent_glibc() {
    same_in(&MODES[..1], &[c("calls", &["-static-pie"]).as_os_str(), "first".as_ref(), "255".as_ref()], b"");
}

#[test]
fn static_musl() {
    same_in(&MODES, &[c("calls", &["musl", "-static"]).as_os_str(), "first".as_ref(), "4".as_ref()], b"");
}

#[test]
fn dynamic_glibc() {
    same_in(&MODES, &[c("calls", &[]).as_os_str(), "first".as_ref(), "5".as_ref()], b"");
}

#[test]
fn waits_and_interruptions() {
    same_in(&[MODES[0], MODES[3]], &[c("waits", &[])], b"");
}

#[test]
fn static_go() {
    let hello = go("hello");
    same_in(&MODES, &[hello.as_os_str()], b"");
    same(&[hello.as_os_str(), "a".as_ref(), "b".as_ref()]);
}

#[test]
fn ls() {
    same_in(&MODES, &["/bin/ls", "/usr"], b"");
    same(&["/bin/ls", "-la", "/usr/share/doc/bash"]);
    same(&["/bin/ls", "/no/such/directory"]);
}

#[test]
fn busybox() {
    same_in(&MODES, &["/bin/busybox", "sha256sum", "/bin/busybox"], b"");
    same(&["/bin/busybox", "wc", "/etc/services"]);
    same(&["/bin/busybox", "false"]);
    same_in(&MODES[..1], &["/bin/busybox", "sort", "-n"], b"3\n1\n20\n");
}

#[test]
fn python() {
    same_in(&MODES, &["/usr/bin/python3", "-c", "print(1)"], b"");
    same(&["/usr/bin/python3", "-c", "import json, sys; print(json.dumps({'a': [1, 2.5]})); sys.exit(9)"]);
    same(&[
        "/usr/bin/python3",
        "-c",
        "import threading as t\nr = []\nl = [t.Thread(target=r.append, args=(i,)) for i in range(20)]\n[x.start() for x in l]\n[x.join() for x in l]\nprint(sorted(r))",
    ]);
}

#[test]
fn sqlite() {
    same_in(
        &MODES,
        &[
            "/usr/bin/sqlite3",
            ":memory:",
            "create table t(x); insert into t values (1), (2); select sum(x) from t;",
        ],
        b"",
    );
    same_in(
        &MODES[..1],
        &["/usr/bin/sqlite3", ":memory:"],
        b"select 6*7;\nselect hex(sqlite_version()) <> '';\n",
    );
}

#[test]
fn streams() {
    let long: Vec<u8> = (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    let native = natively(&["/bin/cat"], &long);
    let shielded = inside(MODES[0], &["/bin/cat"], &long);
    assert!(shielded.stdout == native.stdout, "{}", text(&shielded.stderr));
    same(&["/bin/sh", "-c", "echo out; echo err >&2; exit 6"]);
}

#[test]
fn signals_end_it_as_they_end_it_natively() {
    for (code, signal) in [("abort()", 6), ("os.kill(os.getpid(), 15)", 15), ("ctypes.string_at(0)", 11)] {
        let script = format!("import ctypes, os; abort = os.abort; {code}");
        let shielded = inside(MODES[0], &["/usr/bin/python3", "-c", &script], b"");
        assert_eq!(shielded.status.signal(), Some(signal), "{code}: {}", text(&shielded.stderr));
        same(&["/usr/bin/python3", "-c", &script]);
    }
}

#[test]
fn scripts_and_names() {
    // A script, and a program that is searched in PATH.
    same(&["/usr/bin/ldd", "/no/such/file"]);
    let shielded = inside(MODES[0], &["true"], b"");
    assert_eq!(shielded.status.code(), Some(0), "{}", text(&shielded.stderr));
}

#[test]
fn an_emulated_platform_says_so_first() {
    let shielded = inside(MODES[0], &["/bin/true"], b"");
    let stderr = text(&shielded.stderr);
    assert!(stderr.lines().next().is_some_and(|line| line.contains("EMULATED")), "{stderr}");
}

/// Runs something that cannot work; returns the exit code and the last line of standard error.
fn failing(arguments: &[&str]) -> (Option<i32>, String) {
    let output = casemate().arg("run").args(arguments).output().expect("casemate starts");
    let stderr = text(&output.stderr);
    (output.status.code(), stderr.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn bad_input_is_one_line_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let program = |name: &str, bytes: &[u8]| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = path(name);
        std::fs::write(&path, bytes).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        path
    };
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static");
    let truncated = program("truncated", &busybox[..100_000]);
    let text_file = program("text", b"just text\n");
    let mut foreign = busybox[..4096].to_vec();
    foreign[18] = 0xb7;
    let foreign = program("foreign", &foreign);
    let no_interpreter = {
        let mut bytes = std::fs::read("/bin/ls").expect("ls");
        let name = b"/lib64/ld-linux-x86-64.so.2";
        let at = bytes.windows(name.len()).position(|window| window == name).expect("an interpreter");
        bytes[at + 1] = b'L';
        program("no-interpreter", &bytes)
    };
    let not_executable = path("not-executable");
    std::fs::write(&not_executable, &busybox).expect("a file");

    let emulated = ["--platform", "emulated", "--"];
    let run = |program: &str| failing(&[&emulated[..], &[program]].concat());
    for (program, code, words) in [
        ("/no/such/program", 127, "/no/such/program"),
        ("no-such-program", 127, "no-such-program"),
        (truncated.as_str(), 126, "truncated"),
        (text_file.as_str(), 126, "not an ELF file"),
        (foreign.as_str(), 126, "another machine"),
        (no_interpreter.as_str(), 127, "/Lib64/ld-linux-x86-64.so.2"),
        (not_executable.as_str(), 126, "not-executable"),
        ("/etc", 126, "/etc"),
    ] {
        let (got, line) = run(program);
        assert_eq!(got, Some(code), "{program}: {line}");
        assert!(line.starts_with("casemate: ") && line.contains(words), "{program}: {line}");
    }
    for (arguments, words) in [
        (vec!["--heap", "1P", "--", "/bin/true"], "1P"),
        (vec!["--heap", "4T", "--", "/bin/true"], "heap"),
        (vec!["--rootfs", "/etc/passwd", "--", "/bin/true"], "/etc/passwd"),
        (vec!["--rootfs", "/no/such/root", "--", "/bin/true"], "/no/such/root"),
        (vec!["--platform", "emulated", "--sigstruct", "/etc/passwd", "--", "/bin/true"], "/etc/passwd"),
        (vec!["--vcpus", "99", "--", "/bin/true"], "99"),
    ] {
        let output = casemate().arg("run").args(&arguments).output().expect("casemate starts");
        let stderr = text(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_signature_for_another_enclave_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key.pem");
    let signature = folder.path().join("other.sigstruct");
    let enclave = |arguments: &[&OsStr]| {
        let output = casemate().arg("enclave").args(arguments).output().expect("casemate starts");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    };
    let word = OsStr::new;
    enclave(&[word("key"), word("--out"), key.as_os_str()]);
    enclave(&[
        word("sign"),
        word("--key"),
        key.as_os_str(),
        word("--no-edmm"),
        word("--heap"),
        word("64M"),
        word("--out"),
        signature.as_os_str(),
    ]);
    let run = |more: &[&str]| {
        let mut command = casemate();
        command.args(["run", "--platform", "emulated", "--sigstruct"]).arg(&signature).args(more);
        command.args(["--", "/bin/true"]).output().expect("casemate starts")
    };
    let wrong = run(&[]);
    assert_eq!(wrong.status.code(), Some(125), "{}", text(&wrong.stderr));
    assert!(text(&wrong.stderr).contains("measurement"), "{}", text(&wrong.stderr));
    let right = run(&["--no-edmm", "--heap", "64M"]);
    assert_eq!(right.status.code(), Some(0), "{}", text(&right.stderr));
}

/// The kernel's entry, exit and exception code is entered again at every instruction of a whole run, and nothing changes.
#[test]
fn every_instruction_can_be_interrupted() {
    let program = assembly("step");
    let shielded = inside(&["--single-step", "--stats", "--vcpus", "1"], &[program.as_os_str()], b"");
    let stderr = text(&shielded.stderr);
    assert_eq!(text(&shielded.stdout), "stepped\n", "{stderr}");
    assert_eq!(shielded.status.code(), Some(17), "{stderr}");
    let entries = stderr.lines().find_map(|line| line.split_once(" entries").map(|(count, _)| count));
    let entries: u64 = entries.and_then(|count| count.parse().ok()).expect("the number of entries");
    assert!(entries > 1_000_000, "{entries} entries are not one an instruction");
}
