//! The processor's time-stamp counter.

use core::arch::x86_64::_rdtsc;

/// The counter, now.
pub(crate) fn now() -> u64 {
    // SAFETY: reads a register that every x86-64 processor has.
    unsafe { _rdtsc() }
}
