//! The guest's half: `lab vm-guest` is the first process of the root disk. It sets the machine up, runs the job and powers off.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::mount::{MountFlags, mount};
use rustix::process::{WaitOptions, wait};
use rustix::system::{RebootCommand, reboot};
use serde_json::Value;

use super::cost_guest;
use super::image::{PROBE, PROGRAMS};
use super::job::{Batch, Half, JOB_DIR, Job, Line, Verdict};

/// The second serial port: the first is the kernel's.
const RESULTS: &str = "/dev/ttyS1";
const CASEMATE: &str = "/usr/bin/casemate";
/// What the payload module wants to know the address of.
const SYMBOLS: [&str; 8] = [
    "switch_task_namespaces",
    "init_nsproxy",
    "copy_fs_struct",
    "set_fs_root",
    "set_fs_pwd",
    "task_work_add",
    "core_pattern",
    "modprobe_path",
];

/// Runs the job and switches the machine off, whatever happens.
pub(super) fn run() -> ! {
    if let Err(error) = work() {
        eprintln!("vm-guest: {error:#}");
        say(&Line::Trouble { text: format!("{error:#}") });
    }
    say(&Line::Done);
    // Let the serial port's buffer run empty.
    thread::sleep(Duration::from_millis(200));
    let _stays_on = reboot(RebootCommand::PowerOff);
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

fn work() -> Result<()> {
    mounts()?;
    // Raw: lines go out as they are.
    let _cooked = Command::new("stty").args(["-F", RESULTS, "raw", "-echo", "115200"]).status();
    let lsm = read("/sys/kernel/security/lsm");
    say(&Line::Hello { release: read("/proc/sys/kernel/osrelease"), lsm });
    let job: Job =
        serde_json::from_slice(&fs::read(Path::new(JOB_DIR).join("job.json"))?).context("the job")?;
    if job.cost {
        return cost_guest::measure(&job.guard_mode, Path::new(CASEMATE), |cost| say(&Line::Cost(cost)));
    }
    load_payload()?;
    let mode = doctor(&job.guard_mode)?;
    let mut broken = Vec::new();
    for batch in &job.batches {
        if batch.half != Half::Unguarded && mode.is_none() {
            continue;
        }
        broken.extend(run_batch(&job, batch, &broken)?);
    }
    Ok(())
}

/// What an init of a host mounts.
fn mounts() -> Result<()> {
    for (kind, place, flags) in [
        ("proc", "/proc", MountFlags::NOSUID),
        ("sysfs", "/sys", MountFlags::NOSUID),
        ("tmpfs", "/run", MountFlags::NOSUID),
        ("cgroup2", "/sys/fs/cgroup", MountFlags::NOSUID),
        ("bpf", "/sys/fs/bpf", MountFlags::NOSUID),
        ("securityfs", "/sys/kernel/security", MountFlags::NOSUID),
        ("tracefs", "/sys/kernel/tracing", MountFlags::NOSUID),
    ] {
        mount(kind, place, kind, flags, None).with_context(|| format!("cannot mount {kind} on {place}"))?;
    }
    for (kind, place) in [("devpts", "/dev/pts"), ("tmpfs", "/dev/shm")] {
        fs::create_dir_all(place).with_context(|| format!("cannot create {place}"))?;
        mount(kind, place, kind, MountFlags::NOSUID, None)
            .with_context(|| format!("cannot mount {kind} on {place}"))?;
    }
    // Containers want the controllers below the root.
    let _some_are_missing = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+pids +memory");
    Ok(())
}

fn load_payload() -> Result<()> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("cannot read /proc/kallsyms")?;
    let mut insmod = Command::new("insmod");
    insmod.arg(Path::new(JOB_DIR).join("payload.ko"));
    for name in SYMBOLS {
        let line = symbols.lines().find(|line| line.split(' ').nth(2) == Some(name));
        let Some(address) = line.and_then(|line| line.split(' ').next()) else {
            bail!("the kernel has no symbol {name}");
        };
        insmod.arg(format!("{name}=0x{address}"));
    }
    let status = insmod.status().context("cannot run insmod")?;
    if !status.success() {
        bail!("insmod of the payload module ended with {status}");
    }
    Ok(())
}

/// Asks `casemate doctor` whether the guard's mode works here, and passes on what it says.
fn doctor(wanted: &str) -> Result<Option<String>> {
    let output = Command::new(CASEMATE).args(["doctor", "--output", "json"]).output();
    let output = output.with_context(|| format!("cannot run {CASEMATE}"))?;
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("`casemate doctor` wrote no JSON: {}", String::from_utf8_lossy(&output.stderr))
    })?;
    let works = report["modes"].as_array().is_some_and(|modes| modes.iter().any(|mode| mode == wanted));
    let mode = works.then(|| wanted.to_owned());
    let findings = report["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let about = findings.iter().find(|finding| finding["feature"] == format!("mode {wanted}"));
    let reason = about.map_or(&report["reason"], |finding| &finding["note"]);
    let reason = reason.as_str().unwrap_or_default().to_owned();
    say(&Line::Doctor { mode: mode.clone(), reason });
    Ok(mode)
}

/// Runs one batch and passes its lines on; returns the cases that do not work unguarded.
fn run_batch(job: &Job, batch: &Batch, broken: &[String]) -> Result<Vec<String>> {
    let mut command = Command::new("/usr/bin/lab");
    if batch.half == Half::Benign {
        command.args(["benign", "--probe", PROBE]);
    } else {
        command.args(["attack", "--programs", PROGRAMS]);
        command.args(["--engine", &batch.engine, "--mode", batch.half.name()]);
    }
    command.args(["--stream", "--casemate", CASEMATE]);
    for case in &batch.cases {
        command.args(["--case", case]);
    }
    for case in broken {
        command.args(["--skip", case]);
    }
    if batch.half != Half::Unguarded {
        command.args(["--guard-mode", &job.guard_mode]);
    }
    command.env("PATH", "/usr/bin").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot run `lab`")?;
    let output = child.stdout.take().context("a child without stdout")?;
    let reader = thread::spawn(move || {
        let mut broken = Vec::new();
        for text in BufReader::new(output).lines().map_while(Result::ok) {
            let Ok(line) = serde_json::from_str::<Line>(&text) else { continue };
            say(&line);
            if let Line::Outcome(outcome) = line
                && outcome.verdict == Verdict::Failed
                && outcome.mode == Half::Unguarded.name()
            {
                broken.push(outcome.case);
            }
        }
        broken
    });
    // The first process inherits every orphan.
    let pid = i32::try_from(child.id()).context("a process id")?;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((found, status))) if found.as_raw_nonzero().get() == pid => {
                // 1: a case failed, which its own line says.
                if !matches!(status.exit_status(), Some(0 | 1)) {
                    say(&Line::Trouble { text: format!("`lab` ended with {status:?}") });
                }
                break;
            }
            Ok(_) => {}
            Err(error) => bail!("cannot wait for `lab`: {error}"),
        }
    }
    reader.join().map_err(|_| anyhow::anyhow!("the reader of `lab` panicked"))
}

/// Writes one line to the host. Where that fails there is nobody to tell.
fn say(line: &Line) {
    let Ok(text) = serde_json::to_string(line) else { return };
    let port: Result<File, _> = OpenOptions::new().write(true).open(RESULTS);
    if let Ok(mut port) = port {
        let _nobody_listens = port.write_all(format!("{text}\n").as_bytes());
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
