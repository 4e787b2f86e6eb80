//! Signals: pending or not.

use crate::sched::{self, Thread};

pub(crate) const SIGPIPE: u8 = 13;

pub(crate) fn interrupts(thread: &Thread) -> bool {
    let signals = thread.signals.lock();
    signals.pending & !signals.mask != 0
}

pub(crate) fn mask_for_wait(thread: &Thread, mask: u64) {
    let mut signals = thread.signals.lock();
    signals.saved_mask = Some(signals.mask);
    signals.mask = mask;
}

pub(crate) fn send_to_current(signal: u8) {
    sched::current().signals.lock().pending |= 1 << (signal - 1);
}

/// Takes what is pending for this thread.
pub(crate) fn take() -> u64 {
    core::mem::take(&mut sched::current().signals.lock().pending)
}
