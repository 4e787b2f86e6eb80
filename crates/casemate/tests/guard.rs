//! The guard on this kernel: needs root. One test at a time: there is one guard a machine.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

const WAIT: Duration = Duration::from_secs(20);

fn casemate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
    command.args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    casemate(arguments).output().expect("casemate starts")
}

/// The only guard on the machine; gone when dropped.
struct Machine {
    _lock: File,
}

impl Machine {
    fn take() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests load BPF programs: run them as root");
        let lock = File::create("/run/casemate-test.lock").expect("root can write to /run");
        flock(&lock, FlockOperation::LockExclusive).expect("the lock is free at last");
        let stopped = output(&["guard", "--stop"]);
        assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
        Self { _lock: lock }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        output(&["guard", "--stop"]);
    }
}

struct Agent {
    child: Child,
    events: BufReader<ChildStdout>,
}

impl Agent {
    fn start(arguments: &[&str]) -> Self {
        let mut command = casemate(&["guard", "--output", "json"]);
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().expect("casemate starts");
        let events = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut agent = Self { child, events };
        agent.wait_for("ready");
        agent
    }

    /// Reads events up to the first of this type.
    fn wait_for(&mut self, kind: &str) -> Value {
        loop {
            let mut line = String::new();
            let read = self.events.read_line(&mut line).expect("the agent writes text");
            assert_ne!(read, 0, "the agent ended before its event `{kind}`");
            let event: Value = serde_json::from_str(&line).expect("a JSON object a line");
            assert_eq!(event["schema"], 1);
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// As a container in the host's pid namespace would: with no chance to clean up.
    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A small container: pid and mount namespace of its own, the host's /proc still there.
fn sandbox(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--mount", "--fork", "--kill-child", "sh", "-c", script]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Enters a namespace of this test, a process of the host.
fn escape() -> Command {
    sandbox(&format!("nsenter --target {} --mount true; echo survived", std::process::id()))
}

fn survived(mut attack: Command) -> bool {
    String::from_utf8_lossy(&attack.output().expect("unshare starts").stdout).contains("survived")
}

/// The first process inside: the child of `unshare`.
fn first_process(sandbox: &Child) -> Option<u64> {
    let children = format!("/proc/{0}/task/{0}/children", sandbox.id());
    std::fs::read_to_string(children).ok()?.trim().parse().ok()
}

/// The containers of these sandboxes; the machine may have others.
fn containers(of: &[&Child]) -> Vec<Value> {
    let first: Vec<_> = of.iter().filter_map(|sandbox| first_process(sandbox)).collect();
    let is_ours = |container: &Value| container["init_pid"].as_u64().is_some_and(|pid| first.contains(&pid));
    all_containers().into_iter().filter(is_ours).collect()
}

fn all_containers() -> Vec<Value> {
    let listed = output(&["ps", "--output", "json"]);
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    serde_json::from_slice(&listed.stdout).expect("a JSON list")
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < WAIT, "{what}: not within {} s", WAIT.as_secs());
        std::thread::yield_now();
    }
}

/// Sandboxes of no known runtime are enforced too.
fn enforcing(directory: &tempfile::TempDir) -> String {
    let file = directory.path().join("guard.toml");
    std::fs::write(&file, "[scope]\nsandboxes = \"enforce\"\n").expect("written");
    file.to_str().expect("a text path").to_owned()
}

#[test]
fn an_escape_works_unguarded_and_dies_guarded() {
    let _machine = Machine::take();
    let directory = tempfile::tempdir().expect("a directory");
    assert!(survived(escape()), "the escape must work without a guard, or this test proves nothing");
    let mut agent = Agent::start(&["--config", &enforcing(&directory)]);
    assert!(!survived(escape()));
    let violation = agent.wait_for("violation");
    assert_eq!(violation["action"], "kill");
    assert_eq!(violation["invariant"], "PROC");
    agent.wait_for("killed");
}

/// The kernel's core_pattern, put back when dropped.
struct CorePattern(String);

impl CorePattern {
    const PATH: &str = "/proc/sys/kernel/core_pattern";

    fn set(pattern: &str) -> Self {
        let before = std::fs::read_to_string(Self::PATH).expect("core_pattern");
        std::fs::write(Self::PATH, pattern).expect("root can write core_pattern");
        Self(before)
    }
}

impl Drop for CorePattern {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::PATH, &self.0);
    }
}

/// What an exploit achieves that overwrites core_pattern in the kernel's memory: no call of a container is to blame,
/// the kernel itself runs the container's file on the host.
#[test]
fn the_kernel_does_not_run_a_containers_file_as_its_helper() {
    let _machine = Machine::take();
    let directory = tempfile::tempdir().expect("a directory");
    let mark = directory.path().join("mark");
    let _pattern = CorePattern::set(&format!("|/proc/%P/root/mnt/helper {}", mark.display()));
    let crash = "mount -t tmpfs none /mnt && cp /usr/bin/touch /mnt/helper && ulimit -c unlimited && \
                 sh -c 'kill -SEGV $$'; sleep 1; true";
    sandbox(crash).output().expect("unshare starts");
    wait_until("the helper's mark on the host", || mark.exists());
    std::fs::remove_file(&mark).expect("the mark");

    let mut agent = Agent::start(&["--config", &enforcing(&directory)]);
    sandbox(crash).output().expect("unshare starts");
    let violation = agent.wait_for("violation");
    assert_eq!((&violation["invariant"], &violation["action"]), (&"UMH".into(), &"kill".into()));
    assert!(!mark.exists(), "the helper has run");
}

#[test]
fn strict_forbids_even_a_namespace_of_its_own() {
    let _machine = Machine::take();
    let directory = tempfile::tempdir().expect("a directory");
    let config = enforcing(&directory);
    let own = || sandbox("unshare --uts true; echo survived");
    let agent = Agent::start(&["--config", &config]);
    assert!(survived(own()));
    drop(agent);
    let mut agent = Agent::start(&["--strict", "--config", &config]);
    assert!(!survived(own()));
    assert_eq!(agent.wait_for("violation")["invariant"], "NS");
}

#[test]
fn audit_reports_the_same_and_kills_nothing() {
    let _machine = Machine::take();
    let mut agent = Agent::start(&["--audit"]);
    assert!(survived(escape()));
    let first = agent.wait_for("violation");
    assert_eq!((&first["action"], &first["invariant"]), (&"audit".into(), &"PROC".into()));
    let second = agent.wait_for("violation");
    assert_eq!((&second["action"], &second["invariant"]), (&"audit".into(), &"NS".into()));
    agent.wait_for("gone");
}

#[test]
fn enforcement_and_baselines_outlive_the_agent() {
    let _machine = Machine::take();
    let directory = tempfile::tempdir().expect("a directory");
    let config = enforcing(&directory);
    let mut agent = Agent::start(&["--config", &config]);
    let mut before = sandbox("sleep 600").spawn().expect("unshare starts");
    let born = agent.wait_for("birth");
    agent.kill();

    assert!(!survived(escape()), "the kernel side must kill without an agent");
    let mut between = sandbox("sleep 600").spawn().expect("unshare starts");
    wait_until("the birth of a container without an agent", || containers(&[&before, &between]).len() == 2);

    let _agent = Agent::start(&["--config", &config]);
    let known = containers(&[&before, &between]);
    assert_eq!(known.len(), 2, "{known:?}");
    assert!(known.iter().all(|c| c["adopted"] == false), "baselines were taken anew: {known:?}");
    assert!(known.iter().any(|c| c["cid"] == born["container"]["cid"]));
    let cids: Vec<_> = known.iter().map(|c| c["cid"].clone()).collect();
    for child in [&mut before, &mut between] {
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
    wait_until("the end of both", || !all_containers().iter().any(|c| cids.contains(&c["cid"])));
}

/// Other programs replace the pinned ones: nobody is adopted again, no birth and no end is missed or counted twice.
#[test]
fn another_policy_takes_over_without_a_gap() {
    let _machine = Machine::take();
    let directory = tempfile::tempdir().expect("a directory");
    let config = enforcing(&directory);
    let mut agent = Agent::start(&["--config", &config]);
    let mut busy = sandbox("while :; do /bin/true; done").spawn().expect("unshare starts");
    let cid = agent.wait_for("birth")["container"]["cid"].clone();
    for policy in [&["--audit"][..], &["--strict", "--config", &config], &["--config", &config]] {
        agent.kill();
        agent = Agent::start(policy);
    }
    let known = containers(&[&busy]);
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!((&known[0]["cid"], &known[0]["adopted"]), (&cid, &false.into()));
    assert!(!survived(escape()), "programs of the audit policy had a say");
    busy.kill().expect("it runs");
    busy.wait().expect("it ends");
    wait_until("the end of the container", || !all_containers().iter().any(|c| c["cid"] == cid));
}

#[test]
fn a_second_agent_is_refused_and_stop_waits_for_none() {
    let _machine = Machine::take();
    let agent = Agent::start(&["--audit"]);
    for arguments in [["guard", "--audit"], ["guard", "--stop"]] {
        let refused = output(&arguments);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("pid {}", agent.child.id())), "{said}");
    }
    agent.kill();
    assert!(output(&["guard", "--stop"]).status.success());
    let gone = output(&["ps"]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("not running"));
}

#[test]
fn containers_that_ran_before_are_adopted() {
    let _machine = Machine::take();
    let mut child = sandbox("sleep 600").spawn().expect("unshare starts");
    wait_until("the sandbox's first process", || {
        let first = first_process(&child).unwrap_or(0);
        let name = std::fs::read_to_string(format!("/proc/{first}/comm")).unwrap_or_default();
        ["sleep", "sh"].contains(&name.trim())
    });
    let _agent = Agent::start(&["--audit"]);
    let known = containers(&[&child]);
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!(known[0]["adopted"], true);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}
