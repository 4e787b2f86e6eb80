//! Threads: clone(2) and what belongs to one thread.

use core::sync::atomic::Ordering;

use casemate_enclave_abi::ExitStatus;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Errno, Result, int};
use crate::arch::frame::Frame;
use crate::arch::{cpu, xstate};
use crate::family::fork::{self, Wanted};
use crate::family::vfork;
use crate::process::process;
use crate::sched::{self, Thread};
use crate::signal::Signals;
use crate::user;

/// Flags of clone(2) (`include/uapi/linux/sched.h`).
mod flag {
    pub(super) const VM: u64 = 0x100;
    pub(super) const SIGHAND: u64 = 0x800;
    pub(super) const THREAD: u64 = 0x1_0000;
    pub(super) const SETTLS: u64 = 0x8_0000;
    pub(super) const PARENT_SETTID: u64 = 0x10_0000;
    pub(super) const CHILD_CLEARTID: u64 = 0x20_0000;
    pub(super) const CHILD_SETTID: u64 = 0x100_0000;
    /// What makes a thread, and not a process.
    pub(super) const A_THREAD: u64 = VM | SIGHAND | THREAD;
}

/// The most threads. In emulation each takes four of the 65,530 mappings that a process of Linux may have: its stack, its
/// kernel stack, and what lies between.
const MOST_THREADS: usize = 12 * 1024;

/// `struct clone_args`, its first version.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

pub(super) fn clone(frame: &mut Frame) -> Result {
    let [flags, stack, parent_tid, child_tid, tls, _] = frame.arguments();
    // The low byte is the signal at the child's end.
    let arguments = CloneArguments {
        flags: flags & !0xff,
        child_tid,
        parent_tid,
        tls,
        stack,
        ..CloneArguments::default()
    };
    new_thread(frame, &arguments)
}

pub(super) fn clone3(frame: &mut Frame) -> Result {
    let [address, size, ..] = frame.arguments();
    if size < size_of::<CloneArguments>() as u64 {
        return Err(Errno::EINVAL);
    }
    let mut arguments = user::read_value::<CloneArguments>(address)?;
    if arguments.stack != 0 {
        arguments.stack = arguments.stack.checked_add(arguments.stack_size).ok_or(Errno::EINVAL)?;
    }
    new_thread(frame, &arguments)
}

fn new_thread(frame: &mut Frame, arguments: &CloneArguments) -> Result {
    let flags = arguments.flags;
    if flags & flag::A_THREAD != flag::A_THREAD {
        let CloneArguments { flags, stack, parent_tid, child_tid, tls, .. } = *arguments;
        return fork::process(frame, Wanted { flags, stack, parent_tid, child_tid, tls });
    }
    if flags & flag::SETTLS != 0 && arguments.tls >> 47 != 0 {
        return Err(Errno::EPERM);
    }
    if process().threads.lock().len() >= MOST_THREADS {
        return Err(Errno::EAGAIN);
    }
    let parent = sched::current();
    let id = process().new_thread_id();
    xstate::save_current();
    // SAFETY: the current thread, whose components have just been saved.
    let area = unsafe { parent.area() };
    if frame.full == 0 {
        area.set_low_xmm(&frame.xmm);
    }
    let mut child_frame = Frame { rax: 0, full: 1, ..*frame };
    if arguments.stack != 0 {
        child_frame.rsp = arguments.stack;
    }
    let fs = if flags & flag::SETTLS != 0 { arguments.tls } else { cpu::fs_base() };
    let mask = parent.signals.lock().mask;
    let child =
        Thread::new(id, &child_frame, fs, Some(area), Signals::with_mask(mask)).ok_or(Errno::EAGAIN)?;
    *child.name.lock() = *parent.name.lock();
    if flags & flag::PARENT_SETTID != 0 {
        user::write_value(arguments.parent_tid, &id)?;
    }
    if flags & flag::CHILD_SETTID != 0 {
        user::write_value(arguments.child_tid, &id)?;
    }
    if flags & flag::CHILD_CLEARTID != 0 {
        child.clear_child_tid.store(arguments.child_tid, Ordering::Relaxed);
    }
    process().threads.lock().insert(id, alloc::sync::Arc::clone(&child));
    sched::start(child);
    Ok(u64::from(id))
}

pub(super) fn exit(frame: &mut Frame) -> Result {
    let [code, ..] = frame.arguments();
    if vfork::end(frame, ExitStatus::Code(code.to_le_bytes()[0])) {
        return Ok(frame.rax);
    }
    end_thread(code)
}

fn end_thread(code: u64) -> ! {
    {
        let thread = sched::current();
        // Of the last one too: other processes may wait.
        super::futex::thread_ends(&thread);
        let last = {
            let mut threads = process().threads.lock();
            threads.remove(&thread.id());
            threads.is_empty()
        };
        if last {
            process().exit(code.to_le_bytes()[0]);
        }
        let word = thread.clear_child_tid.load(Ordering::Relaxed);
        if word != 0 && user::write_value(word, &0_u32).is_ok() {
            // Nobody is told of what is wrong with the word of a thread that is gone.
            let _ = super::wake_futex(word, 1, u32::MAX);
        }
    }
    sched::exit_current()
}

pub(super) fn gettid(_: &mut Frame) -> Result {
    Ok(u64::from(sched::current().id()))
}

pub(super) fn getpid(_: &mut Frame) -> Result {
    Ok(u64::from(process().id()))
}

pub(super) fn sched_yield(_: &mut Frame) -> Result {
    sched::yield_now();
    Ok(0)
}

pub(super) fn set_tid_address(frame: &mut Frame) -> Result {
    let [address, ..] = frame.arguments();
    let thread = sched::current();
    thread.clear_child_tid.store(address, Ordering::Relaxed);
    Ok(u64::from(thread.id()))
}

pub(super) fn set_robust_list(frame: &mut Frame) -> Result {
    let [head, length, ..] = frame.arguments();
    if length != 24 {
        return Err(Errno::EINVAL);
    }
    sched::current().robust_list.store(head, Ordering::Relaxed);
    Ok(0)
}

pub(super) fn get_robust_list(frame: &mut Frame) -> Result {
    let [id, head, length, ..] = frame.arguments();
    let thread = match u32::try_from(int(id)) {
        Ok(0) => sched::current(),
        Ok(id) => process().thread(id).ok_or(Errno::ESRCH)?,
        Err(_) => return Err(Errno::ESRCH),
    };
    user::write_value(length, &24_u64)?;
    user::write_value(head, &thread.robust_list.load(Ordering::Relaxed))?;
    Ok(0)
}

pub(super) fn arch_prctl(frame: &mut Frame) -> Result {
    let [code, address, ..] = frame.arguments();
    match code {
        // ARCH_SET_FS.
        0x1002 => {
            if address >> 47 != 0 {
                return Err(Errno::EPERM);
            }
            cpu::set_fs_base(address);
            Ok(0)
        }
        // ARCH_GET_FS.
        0x1003 => {
            user::write_value(address, &cpu::fs_base())?;
            Ok(0)
        }
        // ARCH_GET_GS: zero, as programs find it. GS itself is the kernel's.
        0x1004 => {
            user::write_value(address, &0_u64)?;
            Ok(0)
        }
        // ARCH_SET_GS among them.
        _ => Err(Errno::EINVAL),
    }
}
