//! Threads that wait for a time.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::mutex::SpinMutex;

use super::{Thread, queue, thread::Wake};
use crate::arch::vcpu::Vcpu;
use crate::clock;

/// By deadline (monotonic, ns) and thread id.
static TIMERS: SpinMutex<BTreeMap<(u64, u32), Arc<Thread>>> = SpinMutex::new(BTreeMap::new());

/// The first deadline, for those who only want to know whether it is over.
static NEXT: AtomicU64 = AtomicU64::new(u64::MAX);

fn note_first(timers: &BTreeMap<(u64, u32), Arc<Thread>>) {
    let next = timers.first_key_value().map_or(u64::MAX, |((deadline, _), _)| *deadline);
    NEXT.store(next, Ordering::Relaxed);
}

/// Whether anybody waits for a time.
pub(super) fn any() -> bool {
    NEXT.load(Ordering::Relaxed) != u64::MAX
}

/// The first time at which there is something to do.
pub(super) fn next() -> Option<u64> {
    let timers = TIMERS.lock();
    timers.first_key_value().map(|((deadline, _), _)| *deadline)
}

/// Has the thread woken at a time.
pub(super) fn insert(deadline: u64, thread: &Arc<Thread>) {
    let mut timers = TIMERS.lock();
    timers.insert((deadline, thread.id()), Arc::clone(thread));
    note_first(&timers);
}

/// Takes that back. Whether the time had come.
pub(super) fn remove(deadline: u64, thread: &Thread) -> bool {
    let mut timers = TIMERS.lock();
    if timers.remove(&(deadline, thread.id())).is_some() {
        note_first(&timers);
        return false;
    }
    true
}

/// Wakes those whose time has come.
pub(super) fn expire() {
    if !any() {
        return;
    }
    let now = clock::monotonic_ns();
    if NEXT.load(Ordering::Relaxed) > now {
        return;
    }
    let mut timers = TIMERS.lock();
    while let Some(entry) = timers.first_entry() {
        if entry.key().0 > now {
            break;
        }
        let thread = entry.remove();
        // A token, too, is one: it is on its way to sleep.
        if matches!(thread.wake(), Wake::Ready) {
            queue::push(Vcpu::index(), thread);
        }
    }
    note_first(&timers);
}
