//! M guest threads on N vCPUs.
//!
//! Every guest thread has a kernel stack and blocks on it with [`park`]; who has something for it calls
//! [`Thread::unpark`]. Each vCPU has a queue of threads that can run; one that has none takes another's. Kernel code is
//! never preempted.
//!
//! A thread that is woken while it is still on its way off a vCPU must not run on another one yet: `Thread::on` tells,
//! and is cleared by whoever the switch arrives at. Nobody waits for that while he is himself on the way off a thread, or
//! two vCPUs could wait for each other.

mod idle;
mod queue;
mod stack;
mod thread;
mod timers;

use alloc::sync::Arc;
use core::ptr;

pub(crate) use idle::idle;
pub(crate) use stack::set_dynamic;
pub(crate) use thread::Thread;

use crate::arch::entry::switch_stacks;
use crate::arch::vcpu::Vcpu;
use crate::arch::{cpu, xstate};
use crate::{host, net};
use queue::CORES;

/// Room for as many vCPUs as an enclave can have.
const VCPUS: usize = {
    const { assert!(casemate_enclave_abi::MAX_VCPUS == 16) };
    16
};

/// The guest thread that this code runs for. Only system calls and faults of guest threads may ask.
pub(crate) fn current() -> Arc<Thread> {
    Thread::current().expect("a guest thread on this vCPU")
}

/// Puts a new thread among those that can run.
pub(crate) fn start(thread: Arc<Thread>) {
    queue::ready(thread);
}

/// Blocks the current thread until [`Thread::unpark`], or until the monotonic clock shows `deadline`. Returns at once, and
/// takes the token, where an unpark came before. `false` where time ran out. While the program is halted it does not return.
pub(crate) fn park(deadline: Option<u64>) -> bool {
    let woken = park_once(deadline);
    crate::family::halt::hold();
    woken
}

/// The same for those who halt the program.
pub(crate) fn park_once(deadline: Option<u64>) -> bool {
    // What it waits for may have come meanwhile.
    net::drain();
    let thread = current();
    if thread.take_token() {
        return true;
    }
    if let Some(deadline) = deadline {
        timers::insert(deadline, &thread);
    }
    if thread.begin_park() {
        switch_away(&thread);
    }
    deadline.is_none_or(|deadline| !timers::remove(deadline, &thread))
}

/// This vCPU is about to leave for a time that nobody knows: another one takes what waits here.
pub(crate) fn leaving() {
    queue::wake_for_all(Vcpu::index());
}

/// Lets others run.
pub(crate) fn yield_now() {
    net::drain();
    timers::expire();
    let here = Vcpu::index();
    if queue::is_empty(here) {
        return;
    }
    let thread = current();
    queue::push(here, Arc::clone(&thread));
    queue::wake_one(here);
    switch_away(&thread);
}

/// Ends the current thread.
pub(crate) fn exit_current() -> ! {
    let thread = current();
    thread.set_ended();
    let pointer = Arc::as_ptr(&thread);
    // SAFETY: this vCPU's own part, until the switch below.
    unsafe { CORES[Vcpu::index()].local() }.ended = Some(thread);
    // SAFETY: `ended` holds a reference until this stack is not used any more.
    switch_away(unsafe { &*pointer });
    unreachable!("an ended thread ran again");
}

/// From `thread`, which is the current one, to whoever is next. Returns when it is its turn again, perhaps on another vCPU.
fn switch_away(thread: &Thread) {
    xstate::save_current();
    let fs = cpu::fs_base();
    let here = Vcpu::index();
    let next = match queue::pick(here) {
        Some(next) if ptr::eq(Arc::as_ptr(&next), thread) => return,
        Some(next) if next.is_on_a_vcpu() => {
            queue::put_back(here, next);
            None
        }
        next => next,
    };
    // SAFETY: this vCPU's own part, until the switch below.
    let local = unsafe { CORES[here].local() };
    local.leaving = Some(&raw const *thread.on());
    let stack = match next {
        Some(next) => run_next(next),
        None => {
            Thread::set_current(None);
            local.idle
        }
    };
    // SAFETY: `stack` was stored by a switch that is over, or is new.
    unsafe { switch_stacks(thread.stack_pointer(), stack) };
    arrived();
    cpu::set_fs_base(fs);
}

/// Makes `next`, which is on no vCPU, the current thread of this one; returns where its stack stands.
fn run_next(next: Arc<Thread>) -> u64 {
    // SAFETY: the thread runs nowhere, and only this vCPU has taken it from the queue.
    let stack = unsafe { *next.stack_pointer() };
    next.set_running();
    Thread::set_current(Some(next));
    stack
}

/// What the side that a switch arrives at does first: says that the thread which left is off this vCPU, or lets go of it
/// where it has ended.
fn arrived() {
    let ended = {
        // SAFETY: this vCPU's own part.
        let local = unsafe { CORES[Vcpu::index()].local() };
        if let Some(leaving) = local.leaving.take() {
            // SAFETY: a thread lives until it has ended and nobody is on its stack; `ended` holds it for that long.
            Thread::set_left(unsafe { &*leaving });
        }
        local.ended.take()
    };
    drop(ended);
}

/// Called by `thread_start` on a new thread's stack.
#[unsafe(no_mangle)]
extern "C" fn thread_started() {
    arrived();
    let thread = current();
    if let Some(main) = thread.main() {
        drop(thread);
        main();
    }
    cpu::set_fs_base(thread.first_fs_base());
}

impl Thread {
    /// Lets the thread run again, or not block the next time that it wants to.
    pub(crate) fn unpark(self: &Arc<Self>) {
        match self.wake() {
            thread::Wake::Ready => queue::ready(Arc::clone(self)),
            // It computes: where there is a signal for it, it must be interrupted to see it.
            thread::Wake::Token(Some(vcpu)) if self.needs_attention() => host::kick(vcpu),
            thread::Wake::Token(_) => {}
        }
    }
}
