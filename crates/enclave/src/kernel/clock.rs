//! Time: the processor's counter, scaled by what the host says, and never going back.
//!
//! An enclave has no clock of its own. A host that lies about the scale can make time fast or slow; it cannot make it run
//! backwards.

use core::sync::atomic::{AtomicU64, Ordering};

use casemate_enclave_abi::Clock;
use casemate_enclave_abi::clock::Times;

use crate::arch::cpu;
use crate::host;

static LAST_MONOTONIC: AtomicU64 = AtomicU64::new(0);
static LAST_REALTIME: AtomicU64 = AtomicU64::new(0);

/// The later of `now` and the latest time that was ever given.
fn forward(last: &AtomicU64, now: u64) -> u64 {
    last.fetch_max(now, Ordering::Relaxed).max(now)
}

/// What the host's word makes of the counter now; zero, which is in the past, where it says nothing.
fn told() -> Times {
    let parameters = Clock::new(host::clock_page()).and_then(|clock| clock.read());
    parameters.map(|parameters| parameters.at(cpu::time_stamp())).unwrap_or_default()
}

/// CLOCK_MONOTONIC in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    forward(&LAST_MONOTONIC, told().monotonic_ns)
}

/// CLOCK_REALTIME in nanoseconds.
pub(crate) fn realtime_ns() -> u64 {
    forward(&LAST_REALTIME, told().realtime_ns)
}

static STARTED: AtomicU64 = AtomicU64::new(0);

/// Marks the start of the program.
pub(crate) fn start() {
    STARTED.store(monotonic_ns(), Ordering::Relaxed);
}

/// Nanoseconds since the program started. It stands for CPU time, which nobody can tell inside.
pub(crate) fn running_ns() -> u64 {
    monotonic_ns().saturating_sub(STARTED.load(Ordering::Relaxed))
}
