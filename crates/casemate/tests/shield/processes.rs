//! Programs of more than one process: shells, Python, git say inside what they say natively.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::command::{PATH, end, shielded, text};

fn natively(arguments: &[&str]) -> Output {
    let mut command = Command::new("/usr/bin/env");
    command.args(["-i", PATH, "HOME=/root"]).args(arguments).current_dir("/").stdin(Stdio::null());
    command.output().expect("the program starts")
}

fn casemate(mode: &[&str], arguments: &[&str]) -> Command {
    shielded(&[&["--env", PATH], mode].concat(), arguments)
}

fn inside(mode: &[&str], arguments: &[&str]) -> Output {
    casemate(mode, arguments).output().expect("casemate starts")
}

/// The same output and the same end, natively and inside.
fn same(mode: &[&str], arguments: &[&str]) {
    let (native, shielded) = (natively(arguments), inside(mode, arguments));
    let stderr = text(&shielded.stderr);
    assert_eq!(text(&native.stdout), text(&shielded.stdout), "{arguments:?}: {stderr}");
    assert_eq!(end(native.status), end(shielded.status), "{arguments:?}: {stderr}");
}

const DEFAULT: &[&str] = &["--vcpus", "2"];

#[test]
fn pipelines() {
    for shell in [&["/bin/dash", "-c"][..], &["/bin/bash", "--norc", "-c"]] {
        for script in [
            "seq 100000 | sort -n | tail -1",
            "seq 300000 | cat | cat | md5sum",
            "yes | head -3; echo $?",
            "echo $(echo a; (echo b; exit 3)) $?",
            "x=$(false); echo $?; true && false || echo or",
            "{ echo one; /bin/echo two; } | while read line; do echo \"<$line>\"; done",
            "printf 'a\\nb\\n' | (read first; cat; echo \"$first\")",
        ] {
            let mut arguments = shell.to_vec();
            arguments.push(script);
            same(DEFAULT, &arguments);
        }
    }
}

#[test]
fn every_way_to_run_an_enclave_makes_processes() {
    for mode in [&["--no-edmm", "--heap", "256M"][..], &["--strict"], &["--vcpus", "1"]] {
        same(mode, &["/bin/dash", "-c", "seq 1000 | sort -rn | head -1; (exit 4); echo $?"]);
    }
}

#[test]
fn ends_are_seen_by_parents() {
    for script in [
        "(exit 7); echo $?",
        "sh -c 'kill -9 $$'; echo $?",
        "sh -c 'kill -TERM $$'; echo $?",
        "/no/such/program; echo $?",
        "/etc/passwd; echo $?",
        "exec /bin/echo replaced; echo never",
        "exec /bin/sh -c 'exit 9'",
        "kill -9 $$",
    ] {
        same(DEFAULT, &["/bin/dash", "-c", script]);
    }
}

#[test]
fn signals_go_between_processes() {
    for script in [
        "trap 'echo got' USR1; (kill -USR1 $$); sleep 0.2; echo end",
        "sleep 100 & kill $!; wait $!; echo $?",
        "sh -c 'trap \"exit 5\" TERM; while :; do sleep 0.05; done' & sleep 0.5; kill $!; wait $!; echo $?",
        "kill -0 1 2>/dev/null || echo refused; kill -0 $$ && echo own",
    ] {
        same(DEFAULT, &["/bin/dash", "-c", script.replace("kill -0 1 ", "kill -0 999999999 ").as_str()]);
    }
    // Nothing but the family can be named, whatever the user may kill outside.
    let mut outside = Command::new("sleep").arg("100").spawn().expect("sleep starts");
    let script = format!("kill {} 2>/dev/null || echo refused", outside.id());
    assert_eq!(text(&inside(DEFAULT, &["/bin/dash", "-c", &script]).stdout), "refused\n");
    outside.kill().expect("it still runs");
    outside.wait().expect("it ends");
}

#[test]
fn process_groups() {
    same(
        DEFAULT,
        &[
            "/bin/bash",
            "--norc",
            "-c",
            "set -m; sleep 100 | sleep 100 & kill %1; wait %1 2>/dev/null; echo $?",
        ],
    );
    same(DEFAULT, &["/usr/bin/python3", "-c", GROUPS]);
}

const GROUPS: &str = "
import os, signal
r, w = os.pipe()
p = os.fork()
if p == 0:
    os.setsid()
    ok = os.getsid(0) == os.getpid() == os.getpgid(0)
    os.write(w, b'%d' % ok)
    signal.pause() if os.fork() == 0 else signal.pause()
print(os.read(r, 1))
os.killpg(p, signal.SIGKILL)
print(os.waitpid(p, 0)[1])
";

#[test]
fn memory_is_copied_at_fork() {
    same(DEFAULT, &["/usr/bin/python3", "-c", FORK]);
}

const FORK: &str = "
import os, threading, time, array
data = array.array('Q', range(1_000_000))
stop = False
def spin():
    while not stop: pass
threads = [threading.Thread(target=spin) for _ in range(2)]
for t in threads: t.start()
r, w = os.pipe()
for i in range(4):
    data[i] = i * 7
    p = os.fork()
    if p == 0:
        data[i + 1] += 1
        os.write(w, b'%d %d %d\\n' % (i, sum(data), os.getpid() != os.getppid()))
        os._exit(i)
    print(os.waitpid(p, 0)[1] >> 8, data[i + 1])
stop = True
for t in threads: t.join()
os.close(w)
print(os.read(r, 4096))
";

#[test]
fn subprocesses_of_python() {
    same(DEFAULT, &["/usr/bin/python3", "-c", SUBPROCESS]);
}

const SUBPROCESS: &str = "
import subprocess as s, os, sys
print(s.run(['cat'], input=b'x' * 300000, capture_output=True).stdout.count(b'x'))
print(s.check_output('echo a; echo b | tr b c', shell=True))
for bad in ['/nonexistent', '/etc/passwd']:
    try: s.run([bad])
    except OSError as e: print(e)
p = s.Popen(['sleep', '100']); p.terminate(); print(p.wait())
print(s.run(['sh', '-c', 'exit 3']).returncode)
print(s.run(['pwd'], cwd='/usr', capture_output=True).stdout)
print(s.run(['env'], env={'A': 'b'}, capture_output=True).stdout)
print(s.run(['sh', '-c', 'echo err >&2'], stderr=s.STDOUT, stdout=s.PIPE).stdout)
r, w = os.pipe()
print(s.run(['sh', '-c', f'echo passed >&{w}'], pass_fds=[w]).returncode, os.read(r, 100))
p = s.Popen(['tr', 'a-z', 'A-Z'], stdin=s.PIPE, stdout=s.PIPE)
print(p.communicate(b'hello' * 20000)[0].count(b'HELLO'))
";

#[test]
fn execve_from_a_thread_replaces_all_of_them() {
    let script = "
import threading, time, os
for _ in range(4): threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
def spin():
    while True: pass
threading.Thread(target=spin, daemon=True).start()
threading.Thread(target=lambda: os.execv('/bin/sh', ['sh', '-c', 'echo in $PPID | wc -w'])).start()
time.sleep(100)";
    same(DEFAULT, &["/usr/bin/python3", "-c", script]);
}

#[test]
fn a_repository_is_cloned() {
    let directory = tempfile::tempdir().expect("a directory");
    let repository = directory.path().to_str().expect("text");
    let script = "git init -q . && seq 20000 > numbers && git add . && \
                  git -c user.name=a -c user.email=b@c commit -qm one";
    let made = Command::new("/bin/sh").args(["-c", script]).current_dir(&directory).output().expect("sh");
    assert!(made.status.success(), "{}", text(&made.stderr));
    // By its own protocol: several processes that exchange pipes and files.
    let copy = tempfile::tempdir().expect("a directory");
    let mount = format!("{}:/mnt", copy.path().display());
    let script = format!("git clone -q file://{repository} /mnt/copy && md5sum < /mnt/copy/numbers");
    let output = inside(&["--vcpus", "2", "--mount", &mount], &["/bin/sh", "-c", &script]);
    let expected = natively(&["/bin/sh", "-c", "seq 20000 | md5sum"]);
    assert_eq!(text(&output.stdout), text(&expected.stdout), "{}", text(&output.stderr));
}

#[test]
fn the_family_ends_with_its_first_process() {
    let marker = format!("{}", 31_000_000 + std::process::id());
    let running = |marker: &str| {
        let found = Command::new("pgrep").args(["-f", &format!("sleep {marker}")]).output().expect("pgrep");
        !found.stdout.is_empty()
    };
    let script = format!("sleep {marker} & sleep {marker} & exit 3");
    assert_eq!(inside(DEFAULT, &["/bin/dash", "-c", &script]).status.code(), Some(3));
    assert!(!running(&marker));
    // However it ends.
    let script = format!("sleep {marker} & echo started; sleep {marker}");
    let mut first =
        casemate(DEFAULT, &["/bin/dash", "-c", &script]).stdout(Stdio::piped()).spawn().expect("starts");
    std::thread::sleep(Duration::from_secs(1));
    first.kill().expect("it runs");
    first.wait().expect("it ends");
    let begin = Instant::now();
    while running(&marker) {
        assert!(begin.elapsed() < Duration::from_secs(10), "processes outlive their family");
        std::thread::sleep(Duration::from_millis(50));
    }
}
