//! Who the program is: user, group, process group, session, capabilities.
//!
//! Ids come from the start-up block and stay. A call that would change them succeeds where it changes nothing.

use casemate_enclave_abi::Op;
use casemate_enclave_abi::op::{GROUP_GETPGID, GROUP_GETPPID, GROUP_GETSID, GROUP_SETPGID, GROUP_SETSID};
use casemate_enclave_abi::start::FLAG_CHILD;

use super::{Errno, Result, uint};
use crate::arch::frame::Frame;
use crate::family::vfork;
use crate::process::process;
use crate::{host, user};

pub(crate) fn getuid(_: &mut Frame) -> Result {
    Ok(process().start.uid)
}

pub(crate) fn geteuid(_: &mut Frame) -> Result {
    Ok(process().start.euid)
}

pub(crate) fn getgid(_: &mut Frame) -> Result {
    Ok(process().start.gid)
}

pub(crate) fn getegid(_: &mut Frame) -> Result {
    Ok(process().start.egid)
}

pub(crate) fn getppid(_: &mut Frame) -> Result {
    match vfork::parent() {
        Some(parent) => Ok(parent),
        // The parent of the first process is not of the family, and stays what it is.
        None if process().start.flags & FLAG_CHILD == 0 => Ok(process().start.ppid),
        None => group(GROUP_GETPPID, 0, 0),
    }
}

/// Writes three ids; the saved one is the effective one.
fn put_ids(frame: &Frame, real: u64, effective: u64) -> Result {
    let addresses = frame.arguments();
    for (address, id) in addresses.iter().zip([real, effective, effective]) {
        user::write_value(*address, &uint(id))?;
    }
    Ok(0)
}

pub(crate) fn getresuid(frame: &mut Frame) -> Result {
    put_ids(frame, process().start.uid, process().start.euid)
}

pub(crate) fn getresgid(frame: &mut Frame) -> Result {
    put_ids(frame, process().start.gid, process().start.egid)
}

/// Whether the first `count` arguments are ids that the program has already, or -1.
fn keeps(frame: &Frame, count: usize, have: [u64; 2]) -> Result {
    let arguments = frame.arguments();
    let mut ids = arguments.iter().take(count).map(|id| uint(*id));
    let kept = |id: u32| id == u32::MAX && count > 1 || have.contains(&u64::from(id));
    if ids.all(kept) { Ok(0) } else { Err(Errno::EPERM) }
}

fn users() -> [u64; 2] {
    [process().start.uid, process().start.euid]
}

fn groups() -> [u64; 2] {
    [process().start.gid, process().start.egid]
}

pub(crate) fn setuid(frame: &mut Frame) -> Result {
    keeps(frame, 1, users())
}

pub(crate) fn setgid(frame: &mut Frame) -> Result {
    keeps(frame, 1, groups())
}

pub(crate) fn setreuid(frame: &mut Frame) -> Result {
    keeps(frame, 2, users())
}

pub(crate) fn setregid(frame: &mut Frame) -> Result {
    keeps(frame, 2, groups())
}

pub(crate) fn setresuid(frame: &mut Frame) -> Result {
    keeps(frame, 3, users())
}

pub(crate) fn setresgid(frame: &mut Frame) -> Result {
    keeps(frame, 3, groups())
}

/// setfsuid(2) never fails: it returns the id as it is.
pub(crate) fn setfsuid(_: &mut Frame) -> Result {
    Ok(process().start.euid)
}

pub(crate) fn setfsgid(_: &mut Frame) -> Result {
    Ok(process().start.egid)
}

/// The supplementary groups: the effective one.
pub(crate) fn getgroups(frame: &mut Frame) -> Result {
    let [size, list, ..] = frame.arguments();
    match super::int(size) {
        0 => Ok(1),
        size if size < 0 => Err(Errno::EINVAL),
        _ => {
            user::write_value(list, &uint(process().start.egid))?;
            Ok(1)
        }
    }
}

pub(crate) fn setgroups(frame: &mut Frame) -> Result {
    let [size, list, ..] = frame.arguments();
    match size {
        0 => Ok(0),
        1 if u64::from(user::read_value::<u32>(list)?) == process().start.egid => Ok(0),
        _ => Err(Errno::EPERM),
    }
}

/// Whether an argument names this process: by its id, or by 0.
fn is_own(argument: u64) -> bool {
    let id = uint(argument);
    id == 0 || id == process().id()
}

/// Asks the host about process groups. A child of vfork(2) has no process of its own yet: what it sets is noted, and what it
/// asks is its parent's.
fn group(kind: u64, pid: u64, group: u64) -> Result {
    let pid = if is_own(pid) { 0 } else { u64::from(uint(pid)) };
    host::call(Op::Group, [kind, pid, u64::from(uint(group)), 0, 0, 0])
}

pub(crate) fn getpgrp(_: &mut Frame) -> Result {
    group(GROUP_GETPGID, 0, 0)
}

pub(crate) fn getpgid(frame: &mut Frame) -> Result {
    let [id, ..] = frame.arguments();
    group(GROUP_GETPGID, id, 0)
}

pub(crate) fn getsid(frame: &mut Frame) -> Result {
    let [id, ..] = frame.arguments();
    group(GROUP_GETSID, id, 0)
}

pub(crate) fn setsid(_: &mut Frame) -> Result {
    if vfork::note_group(GROUP_SETSID, 0, 0) {
        return Ok(u64::from(process().id()));
    }
    group(GROUP_SETSID, 0, 0)
}

pub(crate) fn setpgid(frame: &mut Frame) -> Result {
    let [id, to, ..] = frame.arguments();
    if super::int(to) < 0 {
        return Err(Errno::EINVAL);
    }
    let to = if is_own(to) && is_own(id) { 0 } else { u64::from(uint(to)) };
    if is_own(id) && vfork::note_group(GROUP_SETPGID, 0, to) {
        return Ok(0);
    }
    group(GROUP_SETPGID, id, to)
}

/// Versions of capget(2) (`include/uapi/linux/capability.h`): the first has one word of each set, the others two.
const VERSIONS: [(u32, usize); 3] = [(0x1998_0330, 1), (0x2007_1026, 2), (0x2008_0522, 2)];

/// The words of a version's sets. Another version is answered with the one that Linux prefers.
fn words(header: u64) -> core::result::Result<Option<usize>, Errno> {
    let [version, _]: [u32; 2] = user::read_value(header)?;
    let known = VERSIONS.iter().find(|(number, _)| *number == version);
    if known.is_none() {
        user::write_value(header, &VERSIONS[2].0)?;
    }
    Ok(known.map(|(_, words)| *words))
}

/// No capabilities, whoever the program is: there is nothing here that they would be for.
pub(crate) fn capget(frame: &mut Frame) -> Result {
    let [header, data, ..] = frame.arguments();
    let words = words(header)?;
    if data == 0 {
        return Ok(0);
    }
    let words = words.ok_or(Errno::EINVAL)?;
    let [_, id]: [u32; 2] = user::read_value(header)?;
    if !is_own(u64::from(id)) && process().thread(id).is_none() {
        return Err(Errno::ESRCH);
    }
    let none = [0; 24];
    user::write(data, &none[..words * 12])?;
    Ok(0)
}

pub(crate) fn capset(frame: &mut Frame) -> Result {
    let [header, data, ..] = frame.arguments();
    let words = words(header)?.ok_or(Errno::EINVAL)?;
    let mut sets = [0; 24];
    user::read(data, &mut sets[..words * 12])?;
    if sets.iter().all(|byte| *byte == 0) { Ok(0) } else { Err(Errno::EPERM) }
}
