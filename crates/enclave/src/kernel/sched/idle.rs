//! What a vCPU does when it has no guest thread to run.

use core::hint;

use super::queue::{self, CORES};
use super::{Thread, arrived, run_next, timers};
use crate::arch::cpu;
use crate::arch::entry::switch_stacks;
use crate::arch::vcpu::Vcpu;
use crate::stats::{STATS, add};
use crate::{clock, host, net, shared};

/// Cycles of waiting inside before a vCPU leaves the enclave to sleep: some microseconds, about what leaving costs.
const SPIN: u64 = 40_000;

/// Runs guest threads for ever, on the vCPU's own stack.
pub(crate) fn idle() -> ! {
    let here = Vcpu::index();
    loop {
        net::drain();
        crate::family::news::look();
        shared::look();
        if let Some(thread) = queue::pick(here) {
            // Where more waits than this vCPU takes, another is to come.
            queue::wake_one(here);
            while thread.is_on_a_vcpu() {
                hint::spin_loop();
            }
            let stack = run_next(thread);
            // SAFETY: this vCPU's own part, until the switch.
            let save = &raw mut unsafe { CORES[here].local() }.idle;
            // SAFETY: the thread's stack was stored by a switch that is over, or is new.
            unsafe { switch_stacks(save, stack) };
            arrived();
        } else if !spin(here) {
            sleep(here);
        }
    }
}

/// Waits a little for something to run.
fn spin(here: usize) -> bool {
    queue::set_spinning(here, true);
    let begin = cpu::time_stamp();
    let mut found = false;
    while !found && cpu::time_stamp().wrapping_sub(begin) < SPIN {
        hint::spin_loop();
        net::drain();
        shared::look();
        found = !queue::all_empty();
    }
    queue::set_spinning(here, false);
    found
}

/// Leaves the enclave until there is something to do.
fn sleep(here: usize) {
    // The number of wakes is read before it is known that there is nothing to do: a wake in between is not lost.
    let seen = host::wakes(here);
    queue::set_parked(here, true);
    timers::expire();
    shared::look();
    // Signals, too: the host counts a wake behind each, perhaps before it was read.
    if queue::all_empty() && !crate::family::news::waits() {
        let begin = clock::monotonic_ns();
        host::sleep(timers::next(), seen);
        add(&STATS.idle_ns, clock::monotonic_ns().saturating_sub(begin));
    }
    queue::set_parked(here, false);
    debug_assert!(Thread::current().is_none(), "a guest thread on an idle vCPU");
}
