//! Time, as this process has it.

use rustix::time::{ClockId, clock_gettime};

fn ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

pub(crate) fn monotonic_ns() -> u64 {
    ns(ClockId::Monotonic)
}

pub(crate) fn realtime_ns() -> u64 {
    ns(ClockId::Realtime)
}

pub(crate) fn running_ns() -> u64 {
    ns(ClockId::ProcessCPUTime)
}
