//! Who belongs to the family: descendants of its first process, as procfs has them. The enclave's word names a process; it can
//! name no other than these.

use std::collections::{BTreeMap, BTreeSet};

use casemate_enclave_abi::errno::Errno;
use rustix::process::{Pid, Signal, getpgid, getpid, kill_process, test_kill_process};

use crate::files::errno;

/// A process: its parent and its process group.
#[derive(Clone, Copy, Debug)]
struct Process {
    /// It only waits to be waited for.
    dead: bool,
    parent: i32,
    group: i32,
}

/// A process by its line in procfs; `None` where there is none.
fn process(pid: i32) -> Option<Process> {
    let line = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may hold anything: state, parent, group.
    let after = line.iter().rposition(|byte| *byte == b')')?;
    let text = str::from_utf8(line.get(after.checked_add(1)?..)?).ok()?;
    let mut words = text.split_ascii_whitespace();
    Some(Process {
        dead: matches!(words.next()?, "Z" | "X"),
        parent: words.next()?.parse().ok()?,
        group: words.next()?.parse().ok()?,
    })
}

/// The family, the first process included.
fn family(root: Pid) -> BTreeMap<i32, Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let all: BTreeMap<i32, Process> = pids.filter_map(|pid| Some((pid, process(pid)?))).collect();
    let mut members = BTreeSet::from([root.as_raw_pid()]);
    loop {
        let more: Vec<i32> = all
            .iter()
            .filter(|(pid, process)| members.contains(&process.parent) && !members.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return all.into_iter().filter(|(pid, _)| members.contains(pid)).collect();
        }
        members.extend(more);
    }
}

/// A process of the family by its id.
pub(super) fn member(root: Pid, pid: i32) -> Result<Pid, Errno> {
    let wanted = Pid::from_raw(pid).filter(|_| pid > 0).ok_or(Errno::ESRCH)?;
    let mut at = pid;
    // Up the line of parents; the first process's is not asked.
    while at != root.as_raw_pid() {
        at = process(at).ok_or(Errno::ESRCH)?.parent;
        if at <= 1 && at != root.as_raw_pid() {
            return Err(Errno::ESRCH);
        }
    }
    Ok(wanted)
}

fn send(pid: Pid, signal: u64) -> Result<(), Errno> {
    if signal == 0 {
        return test_kill_process(pid).map_err(errno);
    }
    let number = i32::try_from(signal).map_err(|_| Errno::EINVAL)?;
    let signal = Signal::from_named_raw(number).ok_or(Errno::EINVAL)?;
    kill_process(pid, signal).map_err(errno)
}

/// kill(2) within the family.
pub(super) fn kill(root: Pid, pid: i32, signal: u64) -> Result<(), Errno> {
    if pid > 0 {
        return send(member(root, pid)?, signal);
    }
    let own = getpid().as_raw_pid();
    let group = match pid {
        -1 => None,
        0 => Some(getpgid(None).map_err(errno)?.as_raw_pid()),
        pid => Some(pid.checked_neg().ok_or(Errno::ESRCH)?),
    };
    let meant = |(pid, process): &(i32, Process)| match group {
        Some(group) => process.group == group,
        // Everybody, but not who asks, and not the first.
        None => *pid != own && *pid != root.as_raw_pid(),
    };
    let targets: Vec<Pid> =
        family(root).into_iter().filter(meant).filter_map(|(pid, _)| Pid::from_raw(pid)).collect();
    let mut result = Err(Errno::ESRCH);
    for target in targets {
        let sent = send(target, signal);
        result = result.or(sent);
    }
    result
}

/// Kills everybody but this process, the first.
pub(super) fn end(root: Pid) {
    // What is started meanwhile is found in the next round.
    for _ in 0..100 {
        let rest: Vec<Pid> = family(root)
            .into_iter()
            .filter(|(pid, process)| *pid != root.as_raw_pid() && !process.dead)
            .filter_map(|(pid, _)| Pid::from_raw(pid))
            .collect();
        if rest.is_empty() {
            return;
        }
        for pid in rest {
            // It may be gone by now.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
