//! M guest threads on N vCPUs.
//!
//! Every guest thread has a kernel stack and blocks on it with [`park`]; who has something for it calls
//! [`Thread::unpark`]. One lock holds the run queue and the timers. It is handed over a switch: the thread that goes takes
//! it, the one that comes releases it. Kernel code is never preempted.

mod idle;
mod stack;
mod thread;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use core::mem;

use spin::mutex::{SpinMutex, SpinMutexGuard};

pub(crate) use idle::idle;
pub(crate) use thread::Thread;

use crate::arch::entry::switch_stacks;
use crate::arch::vcpu::Vcpu;
use crate::arch::{cpu, xstate};
use crate::{clock, host, net};

/// Room for as many vCPUs as an enclave can have.
const VCPUS: usize = {
    const { assert!(casemate_enclave_abi::MAX_VCPUS == 16) };
    16
};

/// Who can run, and who waits for what time.
struct Scheduler {
    ready: VecDeque<Arc<Thread>>,
    /// By deadline (monotonic, ns) and thread id.
    timers: BTreeMap<(u64, u32), Arc<Thread>>,
    /// vCPUs that are outside and wait to be woken, a bit each.
    parked: u64,
    /// Stack pointers of the vCPUs' own code while a guest thread runs on them.
    idle: [u64; VCPUS],
    /// What the host was told last: whether running threads shall be interrupted because others wait.
    slicing: bool,
    /// Threads that have ended, until nobody is on their stack any more; one for each vCPU.
    ended: [Option<Arc<Thread>>; VCPUS],
}

static SCHEDULER: SpinMutex<Scheduler> = SpinMutex::new(Scheduler {
    ready: VecDeque::new(),
    timers: BTreeMap::new(),
    parked: 0,
    idle: [0; VCPUS],
    slicing: false,
    ended: [const { None }; VCPUS],
});

impl Scheduler {
    /// Moves threads whose time has come to the run queue. Returns the next time at which there is something to do.
    fn expire(&mut self) -> Option<u64> {
        if self.timers.is_empty() {
            return None;
        }
        let now = clock::monotonic_ns();
        while let Some(entry) = self.timers.first_entry() {
            let deadline = entry.key().0;
            if deadline > now {
                return Some(deadline);
            }
            let thread = entry.remove();
            thread.set_timed_out();
            self.ready.push_back(thread);
        }
        None
    }

    /// Asks the host for time slices while somebody waits for a vCPU or for a time, and not otherwise.
    fn tell_slicing(&mut self) {
        let wanted = !self.ready.is_empty() || !self.timers.is_empty();
        if wanted != self.slicing {
            self.slicing = wanted;
            host::want_slices(wanted);
        }
    }

    /// A vCPU to wake because there is more to run than those who run take; it counts as awake from now on.
    fn take_parked(&mut self) -> Option<usize> {
        self.tell_slicing();
        if self.ready.is_empty() || self.parked == 0 {
            return None;
        }
        let index = self.parked.trailing_zeros();
        self.parked &= !(1 << index);
        usize::try_from(index).ok()
    }
}

/// The guest thread that this code runs for. Only system calls and faults of guest threads may ask.
pub(crate) fn current() -> Arc<Thread> {
    Thread::current().expect("a guest thread on this vCPU")
}

/// Puts a new thread among those that can run.
pub(crate) fn start(thread: Arc<Thread>) {
    let mut scheduler = SCHEDULER.lock();
    scheduler.ready.push_back(thread);
    let wake = scheduler.take_parked();
    drop(scheduler);
    wake_vcpu(wake);
}

fn wake_vcpu(index: Option<usize>) {
    if let Some(index) = index {
        host::wake(index);
    }
}

/// Blocks the current thread until [`Thread::unpark`], or until the monotonic clock shows `deadline`. Returns at once, and
/// takes the token, where an unpark came before. `false` where time ran out.
pub(crate) fn park(deadline: Option<u64>) -> bool {
    // What it waits for may have come meanwhile.
    net::drain();
    let thread = current();
    let mut scheduler = SCHEDULER.lock();
    if thread.take_token() {
        return true;
    }
    if let Some(deadline) = deadline {
        scheduler.timers.insert((deadline, thread.id()), Arc::clone(&thread));
    }
    thread.set_parked(deadline);
    switch_away(scheduler, &thread);
    !thread.take_timed_out()
}

/// Lets others run.
pub(crate) fn yield_now() {
    net::drain();
    let thread = current();
    let mut scheduler = SCHEDULER.lock();
    scheduler.expire();
    if scheduler.ready.is_empty() {
        return;
    }
    scheduler.ready.push_back(Arc::clone(&thread));
    switch_away(scheduler, &thread);
}

/// Ends the current thread.
pub(crate) fn exit_current() -> ! {
    let thread = current();
    let mut scheduler = SCHEDULER.lock();
    thread.set_ended();
    scheduler.ended[Vcpu::index()] = Some(Arc::clone(&thread));
    let pointer = Arc::as_ptr(&thread);
    drop(thread);
    // SAFETY: the scheduler's `ended` holds a reference until this stack is not used any more.
    switch_away(scheduler, unsafe { &*pointer });
    unreachable!("an ended thread ran again");
}

/// From `thread`, which is the current one, to whoever is next. Returns when it is its turn again, perhaps on another vCPU.
fn switch_away(mut scheduler: SpinMutexGuard<'_, Scheduler>, thread: &Thread) {
    xstate::save_current();
    let fs = cpu::fs_base();
    scheduler.expire();
    let next = match scheduler.ready.pop_front() {
        Some(next) if core::ptr::eq(Arc::as_ptr(&next), thread) => {
            thread.set_running();
            return;
        }
        Some(next) => run_next(next),
        None => {
            Thread::set_current(None);
            scheduler.idle[Vcpu::index()]
        }
    };
    scheduler.tell_slicing();
    mem::forget(scheduler);
    // SAFETY: `next` was stored by a switch, or is a new stack; the scheduler's lock is held, and the other side releases it.
    unsafe { switch_stacks(thread.stack_pointer(), next) };
    arrived();
    cpu::set_fs_base(fs);
}

/// Makes `next` the current thread of this vCPU; returns where its stack stands.
fn run_next(next: Arc<Thread>) -> u64 {
    // SAFETY: the scheduler's lock is held, and the thread runs nowhere.
    let stack = unsafe { *next.stack_pointer() };
    next.set_running();
    Thread::set_current(Some(next));
    stack
}

/// What the side that a switch arrives at does first: releases the lock, and lets go of a thread that has ended here.
fn arrived() {
    let ended = {
        // SAFETY: every switch is made with the lock held and the guard forgotten, so this is the only reference.
        let scheduler = unsafe { &mut *SCHEDULER.as_mut_ptr() };
        scheduler.ended[Vcpu::index()].take()
    };
    // SAFETY: as above; nothing of what the lock protects is referred to any more.
    unsafe { SCHEDULER.force_unlock() };
    drop(ended);
}

/// Called by `thread_start` on a new thread's stack.
#[unsafe(no_mangle)]
extern "C" fn thread_started() {
    arrived();
    cpu::set_fs_base(current().first_fs_base());
}

impl Thread {
    /// Lets the thread run again, or not block the next time that it wants to.
    pub(crate) fn unpark(self: &Arc<Self>) {
        let mut scheduler = SCHEDULER.lock();
        match self.wake() {
            thread::Wake::Token(running) => {
                // It computes: where there is a signal for it, it must be interrupted to see it.
                if let Some(vcpu) = running
                    && self.needs_attention()
                {
                    host::kick(vcpu);
                }
                return;
            }
            thread::Wake::Ready(deadline) => {
                if let Some(deadline) = deadline {
                    scheduler.timers.remove(&(deadline, self.id()));
                }
                scheduler.ready.push_back(Arc::clone(self));
            }
        }
        let wake = scheduler.take_parked();
        drop(scheduler);
        wake_vcpu(wake);
    }
}
