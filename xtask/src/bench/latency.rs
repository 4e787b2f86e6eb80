//! From a violation to the last task's death, for a whole container.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;

use super::Bench;
use super::container::{Container, Kind};
use super::report::Fact;
use super::rounds::millis;
use super::stats::percentile;
use super::worker::Line;

/// Tasks beside the first: five processes in all.
const CROWD: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(10);
/// Issue "Reach": the whole container dead, p99, in milliseconds.
const TARGET: f64 = 10.0;

/// A container that can violate FS when it is told to: descriptor 3 is a directory of the host.
pub(crate) fn violator(worker: &Path, scratch: &Path) -> Result<(Container, Line)> {
    Container::worker(Kind::Worker { program: worker, cpu: None, leaked: Some(Path::new("/var")) }, scratch)
}

/// `count` violations by `count` containers, and as many plain kills for comparison.
pub(crate) fn measure(bench: &Bench, count: usize) -> Result<Vec<Fact>> {
    bench.say(&format!("time to the last task's death, {count} containers unguarded, {count} guarded"));
    let mut plain = Vec::new();
    for _ in 0..count {
        bench.interrupt.check()?;
        bench.casemate.must_be_off()?;
        plain.push(kill_by_hand(bench)?);
    }
    let guard = bench.casemate.guard(&[])?;
    let mut guarded = Vec::new();
    for _ in 0..count {
        bench.interrupt.check()?;
        let (container, mut line) = violator(&bench.worker, bench.scratch())?;
        line.ask("crowd", CROWD)?;
        let from = guard.position();
        line.tell("violate", 1)?;
        let (_, killed) = guard.wait(from, "killed", &container.id, PATIENCE)?;
        guarded.push(elapsed(&killed)?);
    }
    guard.stop()?;
    let beside = |percent| {
        let value = percentile(&plain, percent).unwrap_or(0.0);
        format!("SIGKILL to the first process by hand, unguarded: {value:.2} ms (p{percent})")
    };
    let fact = |percent, below| Fact {
        what: format!("violation to the last of 5 processes dead, p{percent}"),
        unit: "ms",
        values: guarded.clone(),
        percent,
        beside: beside(percent),
        below,
    };
    Ok(vec![fact(50, None), fact(99, Some(TARGET))])
}

fn elapsed(killed: &Value) -> Result<f64> {
    let us = killed["elapsed_us"].as_u64().context("a `killed` event has no elapsed_us")?;
    Ok(millis(Duration::from_micros(us)))
}

/// What the kernel itself needs: the first process of a pid namespace ends when all others in it have ended.
fn kill_by_hand(bench: &Bench) -> Result<f64> {
    let (container, mut line) = violator(&bench.worker, bench.scratch())?;
    line.ask("crowd", CROWD)?;
    // Unguarded, the violation must work; otherwise the guarded half measures nothing.
    line.ask("violate", 1)?;
    let pid = Pid::from_raw(container.init_pid()?).context("no pid")?;
    let process = pidfd_open(pid, PidfdFlags::empty()).context("cannot open a pidfd")?;
    let start = Instant::now();
    pidfd_send_signal(&process, Signal::KILL).context("cannot kill a container of our own")?;
    let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
    let ended =
        poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience)).context("cannot poll a pidfd")?;
    if ended == 0 {
        bail!("container {} survives SIGKILL", container.id);
    }
    Ok(millis(start.elapsed()))
}
