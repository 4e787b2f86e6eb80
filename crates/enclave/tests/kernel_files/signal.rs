//! Signals: pending or not.

use std::sync::{Arc, LazyLock};

use crate::fs::wait::WaitQueue;
use crate::sched::{self, Thread};

pub(crate) const SIGPIPE: u8 = 13;

#[derive(Clone, Copy, Default)]
pub(crate) struct Info {
    pub(crate) code: i32,
    pub(crate) first: u64,
    pub(crate) second: u64,
}

pub(crate) fn arrivals() -> &'static Arc<WaitQueue> {
    static ARRIVALS: LazyLock<Arc<WaitQueue>> = LazyLock::new(Arc::default);
    &ARRIVALS
}

pub(crate) fn pending(thread: &Thread) -> u64 {
    thread.signals.lock().pending
}

pub(crate) fn take_of(thread: &Thread, set: u64) -> Option<(u8, Info)> {
    let mut signals = thread.signals.lock();
    let ready = signals.pending & set;
    let index = u8::try_from(ready.trailing_zeros()).ok().filter(|_| ready != 0)?;
    signals.pending &= !(1 << index);
    Some((index + 1, Info::default()))
}

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
