//! Waiting for children: wait4(2), waitid(2).

use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave_abi::Op;
use spin::{Mutex, Once};

use crate::arch::frame::Frame;
use crate::fs::wait::{self, WaitQueue};
use crate::host::{self, Buffer};
use crate::process::process;
use crate::signal::{SIG_IGN, SIGCHLD};
use crate::syscall::{Errno, Result, int, uint};
use crate::user;

/// Options of wait4(2) and waitid(2).
const WNOHANG: u32 = 1;
const WUNTRACED: u32 = 2;
const WEXITED: u32 = 4;
const WCONTINUED: u32 = 8;
const WNOWAIT: u32 = 0x0100_0000;
/// `__WNOTHREAD`, `__WALL`, `__WCLONE`: all children are the process's, and end with SIGCHLD.
const KINDS: u32 = 0xe000_0000;

/// SA_NOCLDWAIT.
const NO_ZOMBIES: u64 = 2;

/// Woken when a child may have changed.
static CHANGED: Once<Arc<WaitQueue>> = Once::new();

fn queue() -> &'static Arc<WaitQueue> {
    CHANGED.call_once(Arc::default)
}

/// Children that were seen with WNOWAIT, and are still to be waited for.
static SEEN: Mutex<Vec<(u32, u32)>> = Mutex::new(Vec::new());

/// A child has changed. Where nobody wants to know, it is forgotten.
pub(super) fn changed() {
    let action = process().actions.lock().get(SIGCHLD);
    if action.handler == SIG_IGN || action.flags & NO_ZOMBIES != 0 {
        while let Ok(Some(_)) = ask(-1, 0) {}
    }
    queue().wake();
}

/// Has waiting threads look again.
pub(super) fn look() {
    queue().wake();
}

/// Waits for a child that never became one.
pub(super) fn forget(pid: u32) {
    while let Ok(None) = ask(pid.cast_signed(), 0) {
        crate::sched::park(Some(crate::clock::monotonic_ns().saturating_add(1_000_000)));
    }
}

/// A child that has changed, and its status.
fn ask(pid: i32, options: u32) -> core::result::Result<Option<(u32, u32)>, Errno> {
    let out = Buffer::new(8)?;
    let pid = i64::from(pid).cast_unsigned();
    let found = host::call(Op::WaitChild, [pid, u64::from(options), out.offset(), 0, 0, 0])?;
    let found = u32::try_from(found).map_err(|_| Errno::ECHILD)?;
    let mut status = [0; 8];
    out.read(&mut status);
    let [a, b, c, d, ..] = status;
    Ok((found != 0).then_some((found, u32::from_le_bytes([a, b, c, d]))))
}

fn seen(pid: i32, take: bool) -> Option<(u32, u32)> {
    let mut seen = SEEN.lock();
    let index = seen.iter().position(|(child, _)| pid == -1 || pid.cast_unsigned() == *child)?;
    Some(if take { seen.swap_remove(index) } else { seen[index] })
}

/// Waits for a child; `None` where `WNOHANG` is set and there is nothing to tell.
fn wait_for(pid: i32, options: u32) -> core::result::Result<Option<(u32, u32)>, Errno> {
    let look = || {
        if let Some(found) = seen(pid, options & WNOWAIT == 0) {
            return Ok(Some(Some(found)));
        }
        match ask(pid, options & (WUNTRACED | WCONTINUED))? {
            Some(found) => {
                if options & WNOWAIT != 0 {
                    SEEN.lock().push(found);
                }
                Ok(Some(Some(found)))
            }
            None if options & WNOHANG != 0 => Ok(Some(None)),
            None => Ok(None),
        }
    };
    Ok(wait::until(None, |awaited| awaited.queues.push(Arc::clone(queue())), look)?.flatten())
}

pub(crate) fn wait4(frame: &mut Frame) -> Result {
    let [pid, status, options, usage, ..] = frame.arguments();
    let options = uint(options);
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | KINDS) != 0 {
        return Err(Errno::EINVAL);
    }
    let Some((child, found)) = wait_for(int(pid), options)? else { return Ok(0) };
    if status != 0 {
        user::write_value(status, &found)?;
    }
    if usage != 0 {
        // What a child has used only the host could say.
        user::write(usage, &[0; 144])?;
    }
    Ok(u64::from(child))
}

pub(crate) fn waitid(frame: &mut Frame) -> Result {
    let [kind, id, info, options, usage, _] = frame.arguments();
    let options = uint(options);
    let states = WEXITED | WUNTRACED | WCONTINUED;
    if options & !(WNOHANG | WNOWAIT | states | KINDS) != 0 || options & states == 0 {
        return Err(Errno::EINVAL);
    }
    let pid = match (int(kind), int(id)) {
        (0, _) => -1,
        (1, pid) if pid > 0 => pid,
        (2, group) if group > 1 => -group,
        (2, 0) => 0,
        // P_PIDFD among them.
        _ => return Err(Errno::EINVAL),
    };
    let found = wait_for(pid, options)?;
    if usage != 0 {
        user::write(usage, &[0; 144])?;
    }
    if info == 0 {
        return Ok(0);
    }
    let mut record = [0; 128];
    if let Some((child, status)) = found {
        let (code, value) = match status & 0x7f {
            // CLD_EXITED, CLD_STOPPED, CLD_CONTINUED, CLD_KILLED.
            0 => (1, status >> 8 & 0xff),
            0x7f if status == 0xffff => (6, 18),
            0x7f => (5, status >> 8 & 0xff),
            signal => (2, signal),
        };
        let uid = uint(process().start.uid);
        for (at, word) in [(0, u32::from(SIGCHLD)), (8, code), (12 + 4, child), (20, uid), (24, value)] {
            record[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
    }
    user::write(info, &record)?;
    Ok(0)
}
