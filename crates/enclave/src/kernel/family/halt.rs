//! Stopping the program's other threads: for good at execve(2), for a while at fork(2).
//!
//! A thread stops where it would go back to guest code, or where it wakes in the kernel; there it holds no lock. Those that
//! compute are interrupted.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::process::process;
use crate::sched::{self, Thread};
use crate::{clock, syscall};

/// Threads run.
const NO: u32 = 0;
/// Threads wait until it is over.
const PAUSE: u32 = 1;
/// Threads end.
const END: u32 = 2;

static HALT: AtomicU32 = AtomicU32::new(NO);

/// Who asked for it, and is the only one to go on.
static BY: AtomicU64 = AtomicU64::new(0);

/// Between looks at whether the others have stopped, in ns.
const LOOK_NS: u64 = 100_000;

fn number(thread: &Arc<Thread>) -> u64 {
    Arc::as_ptr(thread).addr() as u64
}

/// What is asked of a thread.
fn asked(thread: &Arc<Thread>) -> u32 {
    match HALT.load(Ordering::Acquire) {
        NO => NO,
        _ if BY.load(Ordering::Acquire) == number(thread) => NO,
        halt => halt,
    }
}

/// Whether a call that waits shall give up because its thread is to end.
pub(crate) fn ends(thread: &Arc<Thread>) -> bool {
    asked(thread) == END
}

/// Called on every way back to guest code: waits, or ends, where that is asked.
pub(crate) fn before_guest() {
    if HALT.load(Ordering::Relaxed) == NO {
        return;
    }
    hold();
    let Some(thread) = Thread::current() else { return };
    if asked(&thread) == END {
        process().threads.lock().remove(&thread.id());
        drop(thread);
        sched::exit_current();
    }
}

/// Called where a thread wakes in the kernel: waits while the program is halted.
pub(crate) fn hold() {
    if HALT.load(Ordering::Relaxed) != PAUSE {
        return;
    }
    let Some(thread) = Thread::current() else { return };
    while asked(&thread) == PAUSE {
        sched::park_once(None);
    }
}

fn others(thread: &Arc<Thread>) -> Vec<Arc<Thread>> {
    let threads = process().threads.lock();
    threads.values().filter(|other| !Arc::ptr_eq(other, thread)).cloned().collect()
}

/// Asks all other threads to stop, after whoever has asked before; `false` where this thread is itself to end.
fn ask(halt: u32) -> bool {
    let thread = sched::current();
    while HALT.compare_exchange(NO, halt, Ordering::AcqRel, Ordering::Acquire).is_err() {
        if asked(&thread) == END {
            return false;
        }
        sched::park_once(Some(clock::monotonic_ns().saturating_add(LOOK_NS)));
    }
    BY.store(number(&thread), Ordering::Release);
    loop {
        let others = others(&thread);
        let busy =
            if halt == END { !others.is_empty() } else { others.iter().any(|other| other.is_running()) };
        if !busy {
            return true;
        }
        for other in others.iter().filter(|other| halt == END || other.is_running()) {
            other.attend();
            other.unpark();
        }
        sched::park_once(Some(clock::monotonic_ns().saturating_add(LOOK_NS)));
    }
}

/// Ends all other threads of the program.
///
/// # Errors
/// EAGAIN: another thread is ending this one.
pub(crate) fn end_others() -> Result<(), syscall::Errno> {
    let done = ask(END);
    if done {
        HALT.store(NO, Ordering::Release);
        return Ok(());
    }
    Err(syscall::Errno::EAGAIN)
}

/// All other threads stand still while it lives.
pub(crate) struct Pause(());

impl Pause {
    /// Stops them.
    ///
    /// # Errors
    /// EAGAIN: another thread is ending this one.
    pub(crate) fn new() -> Result<Self, syscall::Errno> {
        if ask(PAUSE) { Ok(Self(())) } else { Err(syscall::Errno::EAGAIN) }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        HALT.store(NO, Ordering::Release);
        for other in others(&sched::current()) {
            other.unpark();
        }
    }
}
