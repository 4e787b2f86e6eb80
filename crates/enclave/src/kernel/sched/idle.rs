//! What a vCPU does when it has no guest thread to run.

use core::hint;

use super::{SCHEDULER, Thread, arrived, run_next};
use crate::arch::entry::switch_stacks;
use crate::arch::vcpu::Vcpu;
use crate::{host, net};

/// Rounds of waiting inside before a vCPU leaves the enclave to sleep: some microseconds, about what leaving costs.
const SPINS: u32 = 200;

/// Runs guest threads for ever, on the vCPU's own stack.
pub(crate) fn idle() -> ! {
    loop {
        net::drain();
        let mut scheduler = SCHEDULER.lock();
        scheduler.expire();
        if scheduler.ready.len() > 1
            && let Some(other) = scheduler.take_parked()
        {
            drop(scheduler);
            host::wake(other);
            continue;
        }
        if let Some(thread) = scheduler.ready.pop_front() {
            let stack = run_next(thread);
            let index = Vcpu::index();
            let save = &raw mut scheduler.idle[index];
            scheduler.tell_slicing();
            core::mem::forget(scheduler);
            // SAFETY: the thread's stack was stored by a switch or is new; the lock is held and released by the other side.
            unsafe { switch_stacks(save, stack) };
            arrived();
            continue;
        }
        drop(scheduler);
        if spin() {
            continue;
        }
        sleep();
    }
}

/// Waits a little for something to run.
fn spin() -> bool {
    for _ in 0..SPINS {
        if SCHEDULER.try_lock().is_some_and(|scheduler| !scheduler.ready.is_empty()) {
            return true;
        }
        hint::spin_loop();
    }
    false
}

/// Leaves the enclave until there is something to do.
fn sleep() {
    let index = Vcpu::index();
    // The number of wakes is read before it is known that there is nothing to do: a wake in between is not lost.
    let seen = host::wakes(index);
    let mut scheduler = SCHEDULER.lock();
    let deadline = scheduler.expire();
    if !scheduler.ready.is_empty() {
        return;
    }
    scheduler.parked |= 1 << index;
    drop(scheduler);
    host::sleep(deadline, seen);
    SCHEDULER.lock().parked &= !(1 << index);
    debug_assert!(Thread::current().is_none(), "a guest thread on an idle vCPU");
}
