//! vfork(2) and what posix_spawn(3) makes of it: the child runs on its parent's thread and in its parent's memory, with
//! descriptors and signals of its own, until it executes a program. That begins in another enclave, which was started at the
//! same time. All threads of the parent stand still meanwhile.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use casemate_enclave_abi::ExitStatus;
use spin::Mutex;

use super::channel::{Channel, Writer};
use super::fork::{Wanted, flag};
use super::{children, export, halt};
use crate::arch::cpu;
use crate::arch::frame::Frame;
use crate::arch::xstate::{self, Area};
use crate::fs::Files;
use crate::loader::Prepared;
use crate::process::process;
use crate::sched::{self, Thread};
use crate::signal::{Actions, Signals};
use crate::syscall::Result;
use crate::user;

/// A parent whose child runs.
struct Parent {
    pause: halt::Pause,
    pid: u32,
    thread_id: u32,
    frame: Frame,
    fs_base: u64,
    area: Box<Area>,
    signals: Box<Signals>,
    clear_tid: u64,
    files: Files,
    actions: Box<Actions>,
    /// The child, and the channel to its enclave.
    child: u32,
    channel: Channel,
    /// Calls of process groups that the child has made: its own process makes them.
    groups: Vec<[u64; 3]>,
}

static PARENT: Mutex<Option<Box<Parent>>> = Mutex::new(None);

/// Id of the parent while its child runs, else 0.
static PARENT_ID: AtomicU64 = AtomicU64::new(0);

/// Whether the thread that runs is such a child.
pub(crate) fn is_child() -> bool {
    PARENT_ID.load(Ordering::Relaxed) != 0
}

/// The parent's process id, of such a child.
pub(crate) fn parent() -> Option<u64> {
    match PARENT_ID.load(Ordering::Relaxed) {
        0 => None,
        pid => Some(pid),
    }
}

/// Notes a call of process groups for the child's own process; `false` where there is no such child.
pub(crate) fn note_group(kind: u64, pid: u64, group: u64) -> bool {
    match PARENT.lock().as_mut() {
        Some(parent) => {
            parent.groups.push([kind, pid, group]);
            true
        }
        None => false,
    }
}

// What follows is large, and the kernel stack short: each is on it for a moment only.

/// The thread's components, a copy.
#[inline(never)]
fn saved_area(thread: &Thread) -> Box<Area> {
    xstate::save_current();
    let mut area = Box::new(Area::initial());
    // SAFETY: the current thread, whose components have just been saved.
    area.copy_from_ssa(unsafe { thread.area() }.bytes());
    area
}

/// Gives the thread a child's signals, and takes its own away.
#[inline(never)]
fn swap_signals(thread: &Thread) -> Box<Signals> {
    let mut signals = thread.signals.lock();
    let mut own = Box::new(Signals::with_mask(signals.mask));
    own.alt_stack = signals.alt_stack;
    core::mem::swap(&mut *signals, &mut *own);
    own
}

/// Gives the process a child's actions, and takes its own away.
#[inline(never)]
fn swap_actions(clear_handlers: bool) -> Box<Actions> {
    let mut actions = process().actions.lock();
    let mut own = Box::new(actions.for_child());
    if clear_handlers {
        own.reset_handlers();
    }
    core::mem::swap(&mut *actions, &mut *own);
    own
}

/// Keeps the parent while its child runs.
#[inline(never)]
fn keep(parent: Parent) {
    *PARENT.lock() = Some(Box::new(parent));
}

/// The child begins: the calling thread is its own from here on.
#[inline(never)]
pub(super) fn begin(frame: &mut Frame, wanted: Wanted) -> Result {
    let pause = halt::Pause::new()?;
    let thread = sched::current();
    let (child, channel) = Channel::spawn()?;
    if wanted.flags & flag::PARENT_SETTID != 0 {
        user::write_value(wanted.parent_tid, &child)?;
    }
    let area = saved_area(&thread);
    let (pid, thread_id) = (process().id(), thread.id());
    let signals = swap_signals(&thread);
    let files = process().files.lock().clone();
    let actions = swap_actions(wanted.flags & flag::CLEAR_SIGHAND != 0);
    let parent = Parent {
        pause,
        pid,
        thread_id,
        frame: *frame,
        fs_base: cpu::fs_base(),
        area,
        signals,
        clear_tid: thread.clear_child_tid.swap(0, Ordering::Relaxed),
        files,
        actions,
        child,
        channel,
        groups: Vec::new(),
    };
    keep(parent);
    PARENT_ID.store(u64::from(pid), Ordering::Relaxed);
    process().set_id(child);
    process().rename_thread(&thread, child);
    if wanted.flags & flag::SETTLS != 0 {
        cpu::set_fs_base(wanted.tls);
    }
    if wanted.stack != 0 {
        frame.rsp = wanted.stack;
    }
    if wanted.flags & flag::CHILD_SETTID != 0 {
        user::write_value(wanted.child_tid, &child)?;
    }
    Ok(0)
}

/// The child executes a program: it goes on in its enclave, and the parent here.
pub(super) fn execute(frame: &mut Frame, prepared: &Prepared) -> Result {
    let groups = PARENT.lock().as_ref().map(|parent| parent.groups.clone()).unwrap_or_default();
    let sent = with_writer(|writer| {
        let (arguments, environment) = prepared.strings();
        export::program(writer, prepared.path(), arguments, environment, &groups)
    });
    if sent.is_err() {
        // The new enclave is gone, so the child is.
        return go_on(frame);
    }
    go_on(frame)
}

/// The child ends without a program; the parent goes on. `false` where there is no such child.
pub(crate) fn end(frame: &mut Frame, status: ExitStatus) -> bool {
    if !is_child() {
        return false;
    }
    let (code, signal) = match status {
        ExitStatus::Code(code) => (code, 0),
        ExitStatus::Signal(signal) => (0, signal),
    };
    // Where its enclave cannot be told, it ends anyway.
    let _ = with_writer(|writer| writer.words(&[export::what::END, u64::from(code), u64::from(signal)]));
    // Its parent goes on with the child's id as the result.
    let Ok(child) = go_on(frame) else { return false };
    frame.rax = child;
    true
}

fn with_writer(
    send: impl FnOnce(&mut Writer) -> core::result::Result<(), crate::syscall::Errno>,
) -> core::result::Result<(), crate::syscall::Errno> {
    let channel = PARENT.lock().as_mut().map(|parent| parent.channel.take());
    let mut writer = Writer::new(channel.ok_or(crate::syscall::Errno::ESRCH)?);
    send(&mut writer).and_then(|()| writer.finish())
}

/// Puts the parent back where it called.
fn go_on(frame: &mut Frame) -> Result {
    let parent = PARENT.lock().take().ok_or(crate::syscall::Errno::ESRCH)?;
    let Parent { pause, pid, thread_id, fs_base, area, signals, clear_tid, files, actions, child, .. } =
        *parent;
    let thread = sched::current();
    process().rename_thread(&thread, thread_id);
    process().set_id(pid);
    PARENT_ID.store(0, Ordering::Relaxed);
    *frame = parent.frame;
    xstate::save_current();
    // SAFETY: the current thread, whose components have just been saved.
    unsafe { thread.area() }.copy_from_ssa(area.bytes());
    cpu::set_fs_base(fs_base);
    thread.clear_child_tid.store(clear_tid, Ordering::Relaxed);
    *thread.signals.lock() = *signals;
    *process().actions.lock() = *actions;
    let childs = core::mem::replace(&mut *process().files.lock(), files);
    // Closing may ask the host.
    drop(childs);
    drop(pause);
    thread.attend();
    children::look();
    Ok(u64::from(child))
}
