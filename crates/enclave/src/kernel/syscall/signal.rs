//! rt_sigaction(2) and its kin.

use alloc::sync::Arc;

use casemate_enclave_abi::Op;

use super::time::{self, Clock};
use super::{Errno, Result, int};
use crate::arch::frame::Frame;
use crate::clock;
use crate::process::process;
use crate::sched::{self, Thread};
use crate::signal::{self, Action, AltStack, Info, SIGKILL, SIGSTOP, StackT};
use crate::{host, user};

/// Bytes of a signal set.
const SET: u64 = 8;
const MINSIGSTKSZ: u64 = 2048;
const SI_USER: i32 = 0;
const SI_TKILL: i32 = -6;

pub(super) fn rt_sigaction(frame: &mut Frame) -> Result {
    let [number, new, old, size, ..] = frame.arguments();
    let signal = signal::number(number)?.ok_or(Errno::EINVAL)?;
    if size != SET {
        return Err(Errno::EINVAL);
    }
    let new = if new == 0 { None } else { Some(user::read_value::<Action>(new)?) };
    if new.is_some() && matches!(signal, SIGKILL | SIGSTOP) {
        return Err(Errno::EINVAL);
    }
    let before = process().actions.lock().get(signal);
    if old != 0 {
        user::write_value(old, &before)?;
    }
    if let Some(action) = new {
        process().actions.lock().set(signal, action);
    }
    Ok(0)
}

pub(super) fn rt_sigprocmask(frame: &mut Frame) -> Result {
    let [how, new, old, size, ..] = frame.arguments();
    if size != SET {
        return Err(Errno::EINVAL);
    }
    let new = if new == 0 { None } else { Some(user::read_value::<u64>(new)?) };
    let thread = sched::current();
    let before = thread.signals.lock().mask;
    if let Some(set) = new {
        let mask = match int(how) {
            0 => before | set,
            1 => before & !set,
            2 => set,
            _ => return Err(Errno::EINVAL),
        };
        thread.signals.lock().set_mask(mask);
        thread.attend();
    }
    if old != 0 {
        user::write_value(old, &before)?;
    }
    Ok(0)
}

pub(super) fn rt_sigreturn(frame: &mut Frame) -> Result {
    signal::sigreturn(frame)
}

pub(super) fn rt_sigpending(frame: &mut Frame) -> Result {
    let [set, size, ..] = frame.arguments();
    if size > SET {
        return Err(Errno::EINVAL);
    }
    user::write_value(set, &signal::pending(&sched::current()))?;
    Ok(0)
}

pub(super) fn rt_sigsuspend(frame: &mut Frame) -> Result {
    let [set, size, ..] = frame.arguments();
    if size != SET {
        return Err(Errno::EINVAL);
    }
    let mask = user::read_value::<u64>(set)?;
    let thread = sched::current();
    signal::mask_for_wait(&thread, mask);
    while !signal::interrupts(&thread) {
        sched::park(None);
    }
    Err(Errno::EINTR)
}

pub(super) fn pause(_: &mut Frame) -> Result {
    let thread = sched::current();
    while !signal::interrupts(&thread) {
        sched::park(None);
    }
    Err(Errno::EINTR)
}

/// `siginfo_t`.
const SIGINFO: usize = 128;

fn wait_for(
    thread: &Arc<Thread>,
    set: u64,
    deadline: Option<u64>,
) -> core::result::Result<(u8, Info), Errno> {
    loop {
        if let Some(found) = signal::take_of(thread, set) {
            return Ok(found);
        }
        if signal::interrupts(thread) {
            return Err(Errno::EINTR);
        }
        if deadline.is_some_and(|deadline| deadline <= clock::monotonic_ns()) {
            return Err(Errno::EAGAIN);
        }
        sched::park(deadline);
    }
}

pub(super) fn rt_sigtimedwait(frame: &mut Frame) -> Result {
    let [set, out, timeout, size, ..] = frame.arguments();
    if size != SET {
        return Err(Errno::EINVAL);
    }
    let set = user::read_value::<u64>(set)? & !(signal::bit(SIGKILL) | signal::bit(SIGSTOP));
    let deadline = time::optional_timeout(timeout, Clock::Monotonic, false)?;
    let thread = sched::current();
    thread.signals.lock().awaited = set;
    let found = wait_for(&thread, set, deadline);
    thread.signals.lock().awaited = 0;
    let (number, info) = found?;
    if out != 0 {
        user::write(out, &siginfo(number, &info))?;
    }
    Ok(number.into())
}

fn siginfo(signal: u8, info: &Info) -> [u8; SIGINFO] {
    let mut bytes = [0; SIGINFO];
    bytes[0..4].copy_from_slice(&i32::from(signal).to_le_bytes());
    bytes[8..12].copy_from_slice(&info.code.to_le_bytes());
    bytes[16..24].copy_from_slice(&info.first.to_le_bytes());
    bytes[24..32].copy_from_slice(&info.second.to_le_bytes());
    bytes
}

/// A signal with what a program says of it.
fn queued(address: u64) -> core::result::Result<Info, Errno> {
    let [_, code, first, second]: [u64; 4] = user::read_value(address)?;
    // The kernel's own codes are the kernel's, but a process may tell itself what it likes.
    Ok(Info { code: int(code), first, second, fault: None })
}

pub(super) fn rt_sigqueueinfo(frame: &mut Frame) -> Result {
    let [pid, number, info, ..] = frame.arguments();
    let (signal, info) = (signal::number(number)?, queued(info)?);
    if i64::from(int(pid)) != i64::from(process().id()) {
        return Err(Errno::ESRCH);
    }
    if let Some(signal) = signal {
        signal::send_to_process(signal, info);
    }
    Ok(0)
}

pub(super) fn rt_tgsigqueueinfo(frame: &mut Frame) -> Result {
    let [group, thread, number, info, ..] = frame.arguments();
    let (signal, info) = (signal::number(number)?, queued(info)?);
    let id = u32::try_from(int(thread)).map_err(|_| Errno::EINVAL)?;
    if i64::from(int(group)) != i64::from(process().id()) {
        return Err(Errno::ESRCH);
    }
    let thread = process().thread(id).ok_or(Errno::ESRCH)?;
    if let Some(signal) = signal {
        signal::send_to_thread(&thread, signal, info);
    }
    Ok(0)
}

pub(super) fn sigaltstack(frame: &mut Frame) -> Result {
    let [new, old, ..] = frame.arguments();
    let thread = sched::current();
    let before = thread.signals.lock().alt_stack;
    let new = if new == 0 { None } else { Some(user::read_value::<StackT>(new)?) };
    if let Some(stack) = new {
        if before.holds(frame.rsp) && !before.autodisarm {
            return Err(Errno::EPERM);
        }
        let autodisarm = stack.flags & (1 << 31) != 0;
        thread.signals.lock().alt_stack = match stack.flags & !(1 << 31) {
            2 => AltStack::default(),
            0 | 1 if stack.size < MINSIGSTKSZ => return Err(Errno::ENOMEM),
            0 | 1 => AltStack { start: stack.start, size: stack.size, autodisarm },
            _ => return Err(Errno::EINVAL),
        };
    }
    if old != 0 {
        user::write_value(old, &signal::stack_t(&before, frame.rsp))?;
    }
    Ok(0)
}

fn info(code: i32) -> Info {
    let process = process();
    Info { code, first: u64::from(process.id()) | (process.start.uid & 0xffff_ffff) << 32, ..Info::default() }
}

pub(super) fn kill(frame: &mut Frame) -> Result {
    let [pid, number, ..] = frame.arguments();
    let signal = signal::number(number)?;
    let own = i64::from(process().id());
    let pid = i64::from(int(pid));
    if pid != own {
        // The host is the postman: who is in the family, and in which group, it knows.
        let signal = u64::from(signal.unwrap_or(0));
        return host::call(Op::Kill, [pid.cast_unsigned(), signal, 0, 0, 0, 0]);
    }
    if let Some(signal) = signal {
        signal::send_to_process(signal, info(SI_USER));
    }
    Ok(0)
}

fn to_thread(thread: u64, number: u64) -> Result {
    let signal = signal::number(number)?;
    let id = u32::try_from(int(thread)).map_err(|_| Errno::EINVAL)?;
    let thread = process().thread(id).ok_or(Errno::ESRCH)?;
    if let Some(signal) = signal {
        signal::send_to_thread(&thread, signal, info(SI_TKILL));
    }
    Ok(0)
}

pub(super) fn tkill(frame: &mut Frame) -> Result {
    let [thread, number, ..] = frame.arguments();
    to_thread(thread, number)
}

pub(super) fn tgkill(frame: &mut Frame) -> Result {
    let [group, thread, number, ..] = frame.arguments();
    if i64::from(int(group)) != i64::from(process().id()) {
        return Err(Errno::ESRCH);
    }
    to_thread(thread, number)
}
