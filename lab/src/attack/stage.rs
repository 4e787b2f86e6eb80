//! One run of one case: build the world, let the attack loose, and write down what was seen.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Lab;
use crate::cases::{Case, Leaves, Need, Proof};
use crate::engine::{Bind, Runtime, Settings};
use crate::fixture::{Fixture, Knobs, pin_dir};
use crate::guard::{Guard, PINS};
use crate::probe::PAYLOAD_DEVICE;
use crate::watch::{self, Spawned};

/// A run that takes longer is stuck: the slowest engine starts and stops a container in two seconds.
const WATCHDOG: Duration = Duration::from_secs(20);
/// How long the guard may take to report and to finish a container: far more than it does, also on a busy machine whose
/// processor is emulated.
const GUARD_DEADLINE: Duration = Duration::from_secs(15);
/// How long a mark may take that the kernel, not the container, leaves.
const PROOF_DEADLINE: Duration = Duration::from_secs(2);
/// How long to look for a proof that must not come.
const SETTLE: Duration = Duration::from_millis(150);
/// What a container runs whose attack comes from outside.
const WAIT_FOR_JOINER: [&str; 3] = ["/bin/sh", "-c", "until [ -e /lab-shm/done ]; do sleep 0.02; done"];

/// What was seen of one run.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) output: String,
    pub(crate) timed_out: bool,
    pub(crate) escaped: bool,
    pub(crate) ran_on: bool,
    /// Processes of the container that were left before the engine cleaned up.
    pub(crate) survivors: usize,
    /// The guard's events about this container.
    pub(crate) events: Vec<Value>,
    /// Its other events of the same time: with them a failure can be explained.
    pub(crate) foreign: Vec<Value>,
    pub(crate) harm: Option<String>,
}

/// A container that is removed when dropped.
struct Removed<'a>(&'a dyn Runtime, String);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        self.0.remove(&self.1);
    }
}

/// Runs `case`, under `guard` if there is one.
///
/// # Errors
/// When the stage cannot be built; what the attack does is no error.
pub(crate) fn run(lab: &Lab<'_>, case: &Case, guard: Option<&Guard>) -> Result<Seen> {
    let mut fixture = Fixture::new(case, case.name, lab.programs)?;
    let knobs = Knobs::remember(&fixture.name)?;
    let enforced = guard.is_some_and(|guard| !guard.audit());
    let position = guard.map_or(0, Guard::position);
    let mut settings = settings(lab, case, &fixture, guard)?;
    let neighbour = if case.has(Need::Neighbour) { Some(start_neighbour(lab, &fixture)?) } else { None };
    if let Some(neighbour) = &neighbour {
        settings.env.retain(|(key, _)| key != "LAB_SECRET");
        settings.env.push(("LAB_SECRET".to_owned(), "/secret".to_owned()));
        settings.env.push(("LAB_SETNS_PID".to_owned(), neighbour.pid.to_string()));
    }
    let agent_pid: i32 = value_of(&settings, "LAB_AGENT_PID").parse().context("LAB_AGENT_PID")?;
    let proof = expected_proof(case, &fixture, neighbour.as_ref())?;

    let log = fixture.path("output");
    let container = Removed(lab.runtime, fixture.name.clone());
    let mut running = Spawned::with_log(lab.runtime.command(&settings)?, &log)?;
    if case.has(Need::Visitor) {
        visit(lab, &fixture, &mut running)?;
    }
    let joined_log = fixture.path("joined");
    let mut joined = if case.has(Need::Joiner) {
        Some(join(lab, case, &fixture, &mut running, &joined_log)?)
    } else {
        None
    };
    let output = || [&log, &joined_log].map(|path| fs::read_to_string(path).unwrap_or_default()).concat();
    let escaped = || has_escaped(case, &fixture, &proof, &output(), agent_pid);
    let ended = watch::until(WATCHDOG, || {
        let joiner_ended = joined.as_mut().is_some_and(|joined| !joined.running());
        if joiner_ended || (case.proof == Proof::HostRunsDocument && escaped()) {
            let _told_again_at_the_next_turn = fs::write(fixture.path("shm/done"), "");
        }
        !running.running()
    });

    let successor = match (case.leaves, guard) {
        // The next agent finds the condemned container in the pinned maps and finishes it.
        (Leaves::AgentDead, Some(guard)) if enforced => Some(guard.successor(lab.scratch)?),
        _ => None,
    };
    let id = lab.runtime.id(&fixture.name);
    let events = || {
        let all = guard.map(|guard| guard.since(position)).unwrap_or_default();
        all.into_iter().filter(|event| concerns(event, id.as_deref(), &fixture.name)).collect::<Vec<_>>()
    };
    let has = |kind: &str| events().iter().any(|event| event["type"] == kind);
    let limit = if enforced { SETTLE } else { PROOF_DEADLINE };
    if enforced && case.leaves != Leaves::AgentDead {
        watch::until(GUARD_DEADLINE, || has("violation") && has("killed"));
    } else if guard.is_some() {
        watch::until(GUARD_DEADLINE, || has("violation"));
    }
    let escaped = watch::until(limit, escaped);
    let tag = fixture.tag();
    let mut left = Vec::new();
    watch::until(GUARD_DEADLINE, || {
        left = watch::carrying(&tag);
        left.is_empty()
    });
    let all_events = guard.map(|guard| guard.since(position)).unwrap_or_default();
    let (seen_events, foreign) =
        all_events.into_iter().partition(|event| concerns(event, id.as_deref(), &fixture.name));
    drop(running);
    drop(container);
    drop(successor);
    let neighbour_died = neighbour.as_ref().is_some_and(|neighbour| !watch::alive(neighbour.pid));
    drop(neighbour);
    let harm = knobs.changed(case.leaves == Leaves::Setting).or_else(|| fixture.harm()).or_else(|| {
        let disk_lost = fixture.disk.as_ref().is_some_and(|disk| !disk.intact(&fixture.secret));
        disk_lost.then(|| "the host's disk lost its file".to_owned())
    });
    let harm = harm.or_else(|| neighbour_died.then(|| "the neighbour container died too".to_owned()));
    Ok(Seen {
        output: output(),
        timed_out: !ended,
        escaped,
        ran_on: fixture.ran_on(),
        survivors: left.len(),
        events: seen_events,
        foreign,
        harm,
    })
}

/// The container of the case.
fn settings(lab: &Lab<'_>, case: &Case, fixture: &Fixture, guard: Option<&Guard>) -> Result<Settings> {
    let mut env = fixture.env(case);
    let mut binds = vec![
        Bind { source: lab.programs.to_path_buf(), target: "/lab", writable: false },
        Bind { source: fixture.path("shm"), target: "/lab-shm", writable: true },
    ];
    if case.has(Need::HostProc) {
        binds.push(Bind { source: "/proc".into(), target: "/hostproc", writable: true });
    }
    if case.has(Need::Bpf) {
        binds.push(Bind { source: "/sys/fs/bpf".into(), target: "/hostbpf", writable: true });
        if crate::guard::in_force() {
            binds.push(Bind { source: PINS.into(), target: "/guardbpf", writable: true });
        }
        env.push(("LAB_GUARD_MAPS".to_owned(), Guard::bpf_ids("map")));
        env.push(("LAB_GUARD_LINKS".to_owned(), Guard::bpf_ids("link")));
        if guard.is_some_and(Guard::audit) {
            env.push(("LAB_HARMLESS".to_owned(), "1".to_owned()));
        }
    }
    if case.has(Need::Payload) {
        binds.push(Bind { source: PAYLOAD_DEVICE.into(), target: PAYLOAD_DEVICE, writable: true });
    }
    if let Some(guard) = guard.filter(|_| case.leaves == Leaves::AgentDead) {
        env.retain(|(key, _)| key != "LAB_AGENT_PID");
        env.push(("LAB_AGENT_PID".to_owned(), guard.pid().to_string()));
    }
    let joined = case.has(Need::Joiner);
    let words = if joined { WAIT_FOR_JOINER.map(str::to_owned).to_vec() } else { argv(case, fixture) };
    Ok(Settings {
        name: fixture.name.clone(),
        argv: std::iter::once("/lab/init".to_owned()).chain(words).collect(),
        env,
        binds,
        host_pid: case.has(Need::HostPid),
        own_cgroup_ns: case.has(Need::CgroupNs),
        confined: case.has(Need::Confined),
        leaked: (case.has(Need::LeakedDir) && !joined).then(|| fixture.host_dir()),
    })
}

/// The attack and its arguments.
fn argv(case: &Case, fixture: &Fixture) -> Vec<String> {
    let secret = fixture.path("host/secret").display().to_string();
    let pid = fixture.victim_pid().to_string();
    case.argv.iter().map(|word| word.replace("{pid}", &pid).replace("{secret}", &secret)).collect()
}

fn value_of<'a>(settings: &'a Settings, key: &str) -> &'a str {
    settings.env.iter().find(|(found, _)| found == key).map_or("", |(_, value)| value)
}

/// The container to break into.
struct Neighbour<'a> {
    pid: i32,
    _running: Spawned,
    _container: Removed<'a>,
}

fn start_neighbour<'a>(lab: &Lab<'a>, fixture: &Fixture) -> Result<Neighbour<'a>> {
    let name = format!("{}-neighbour", fixture.name);
    let script = format!("echo {} >/secret; exec sleep 300", fixture.secret);
    let settings = Settings {
        name: name.clone(),
        argv: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(),
        env: vec![("PATH".to_owned(), "/bin:/usr/bin".to_owned())],
        ..Settings::default()
    };
    let container = Removed(lab.runtime, name.clone());
    let mut running = Spawned::with_log(lab.runtime.command(&settings)?, &fixture.path("neighbour"))?;
    let mut pid = 0;
    let mut ready = false;
    watch::until(WATCHDOG, || {
        pid = lab.runtime.init_pid(&name).unwrap_or(0);
        ready = fs::read_to_string(format!("/proc/{pid}/root/secret"))
            .is_ok_and(|text| text.trim() == fixture.secret);
        ready || !running.running()
    });
    if !ready {
        let said = fs::read_to_string(fixture.path("neighbour")).unwrap_or_default();
        bail!("the neighbour container did not start: {}", said.trim());
    }
    Ok(Neighbour { pid, _running: running, _container: container })
}

/// Lets a program of the host enter the container, once the attack in there waits for one.
fn visit(lab: &Lab<'_>, fixture: &Fixture, running: &mut Spawned) -> Result<()> {
    let pid = first_process(lab, fixture, running)?;
    let visitor = fixture.host_dir().join("visitor");
    Command::new(visitor).arg(pid.to_string()).status().context("cannot run the visitor")?;
    Ok(())
}

/// Lets the attack join the container, which waits for its end.
fn join(lab: &Lab<'_>, case: &Case, fixture: &Fixture, running: &mut Spawned, log: &Path) -> Result<Spawned> {
    first_process(lab, fixture, running)?;
    let command = lab.runtime.exec(&fixture.name, &argv(case, fixture), &fixture.host_dir())?;
    Spawned::with_log(command, log)
}

/// The host's pid of the container's first process, once that has started its children.
fn first_process(lab: &Lab<'_>, fixture: &Fixture, running: &mut Spawned) -> Result<i32> {
    let mut pid = 0;
    let found = watch::until(WATCHDOG, || {
        pid = lab.runtime.init_pid(&fixture.name).unwrap_or(0);
        let waits = watch::carrying(&fixture.tag()).len() >= 3;
        (pid > 0 && waits) || !running.running()
    });
    if !found || pid == 0 {
        let said = fs::read_to_string(fixture.path("output")).unwrap_or_default();
        bail!("the container to enter did not start: {}", said.trim());
    }
    Ok(pid)
}

/// What the container must print, or the like, for the case's proof.
fn expected_proof(case: &Case, fixture: &Fixture, neighbour: Option<&Neighbour<'_>>) -> Result<String> {
    let ns_of = |pid: i32, ns: &str| {
        let link = format!("/proc/{pid}/ns/{ns}");
        let target = fs::read_link(&link).with_context(|| format!("cannot read {link}"))?;
        Ok(format!("IN {}", target.display()))
    };
    match case.proof {
        Proof::HostNs("user") => ns_of(fixture.userns_pid(), "user"),
        Proof::HostNs(ns) => ns_of(fixture.victim_pid(), ns),
        Proof::NeighbourNs(ns) => ns_of(neighbour.context("the case has no neighbour")?.pid, ns),
        Proof::Line(end) => Ok(end.to_owned()),
        _ => Ok(fixture.secret.clone()),
    }
}

/// Whether the attack has left its proof.
fn has_escaped(case: &Case, fixture: &Fixture, expected: &str, output: &str, agent_pid: i32) -> bool {
    let host = fixture.host_dir();
    let genuine = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text == "escaped\n");
    match case.proof {
        Proof::Secret => output.contains(expected),
        Proof::Mark => genuine(&host.join("mark")),
        Proof::HostNs(_) | Proof::NeighbourNs(_) => output.lines().any(|line| line == expected),
        Proof::Line(end) => output.lines().any(|line| line.ends_with(end)),
        Proof::Gone(name) => !host.join(name).exists(),
        Proof::Emptied(name) => fs::metadata(host.join(name)).is_ok_and(|meta| meta.len() == 0),
        Proof::Made(name) => host.join(name).exists(),
        Proof::VisitorOverwritten => genuine(&host.join("visitor")),
        Proof::HostRunsDocument => {
            // Without the interpreter the file is no program at all: the kernel refuses it.
            let _ = Command::new(host.join("document")).stdout(Stdio::null()).stderr(Stdio::null()).status();
            genuine(&host.join("mark"))
        }
        Proof::AgentDead => !watch::alive(agent_pid),
        Proof::PinGone => !pin_dir(&fixture.name).join("map").exists(),
    }
}

/// Whether an event is about the container `id` or `name`, or about one that the guard has not named (yet): a verdict does
/// not wait for a name, and the guard then makes up an id from a pid or a pid namespace.
fn concerns(event: &Value, id: Option<&str>, name: &str) -> bool {
    let container = &event["container"];
    let text = |key: &str| container[key].as_str().filter(|text| !text.is_empty());
    let unnamed = |id: &str| id.starts_with("pid:") || id.starts_with("pid-");
    match (text("id"), text("name")) {
        (None, None) => container.is_object(),
        (Some(found), None) if unnamed(found) => true,
        (found_id, found_name) => found_name == Some(name) || found_id == id || found_id == Some(name),
    }
}
