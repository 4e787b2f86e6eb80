//! Finishing what the kernel began: every task of a condemned container gets its SIGKILL.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::bpf::Victim;
use crate::error::Error;
use crate::load::Kernel;

/// How long a killed task may stay in uninterruptible sleep before we say so and leave it to the next sweep.
const PATIENCE: Duration = Duration::from_secs(2);

/// Kills until no condemned task is left. Returns how many were still there when patience ran out.
pub(crate) fn finish(kernel: &Kernel) -> Result<usize, Error> {
    let start = Instant::now();
    loop {
        let victims = kernel.sweep()?;
        if victims.is_empty() || start.elapsed() > PATIENCE {
            return Ok(victims.len());
        }
        let mut ends = Vec::new();
        for victim in &victims {
            ends.extend(kill(victim));
        }
        wait_for_ends(&ends);
    }
}

/// A pid can have been used again since the sweep: its descriptor is opened first, its birth compared then.
fn kill(victim: &Victim) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(victim.pid).ok()?)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    if start_ticks(pid)? != victim.start_ns / ns_per_tick() {
        return None;
    }
    pidfd_send_signal(&process, Signal::KILL).ok()?;
    Some(process)
}

/// `starttime` of proc_pid_stat(5): field 22, in clock ticks since boot.
fn start_ticks(pid: Pid) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn ns_per_tick() -> u64 {
    1_000_000_000 / rustix::param::clock_ticks_per_second()
}

/// A pidfd polls readable when its process has ended.
fn wait_for_ends(processes: &[OwnedFd]) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    for process in processes {
        let timeout = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        // An error or a time-out only means that the next sweep looks again.
        let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout));
    }
}
