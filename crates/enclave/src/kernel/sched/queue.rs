//! Queues of threads that can run, one for each vCPU, and which vCPU to wake for them.
//!
//! Waking a vCPU that sleeps outside costs an exit, and is often in vain: a thread that wakes another mostly blocks soon,
//! and its vCPU then runs the other. So nobody is woken while a vCPU looks for work inside, or while this vCPU has lately
//! been quick to run what it queued. Where that turns out wrong, the time slice ends it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use spin::mutex::SpinMutex;

use super::{Thread, VCPUS, timers};
use crate::arch::cpu;
use crate::host;

/// Cycles within which a queued thread was run quickly: much less than an exit and a wake take.
const QUICK: u64 = 60_000;

/// How often in a row it must have been so.
const QUICK_ENOUGH: u32 = 4;

/// What only code on the vCPU itself uses.
pub(super) struct Local {
    /// Stack pointer of the vCPU's own code while a guest thread runs.
    pub(super) idle: u64,
    /// [`Thread::on`] of the thread that is on its way off this vCPU.
    pub(super) leaving: Option<*const AtomicUsize>,
    /// A thread that has ended, until nobody is on its stack any more.
    pub(super) ended: Option<Arc<Thread>>,
}

/// A vCPU's part of the scheduler.
#[repr(align(128))]
pub(super) struct Core {
    queue: SpinMutex<VecDeque<Arc<Thread>>>,
    length: AtomicUsize,
    /// What the host was told last: whether the thread here shall be interrupted because others wait. Under the queue's lock.
    slicing: AtomicBool,
    /// Threads in a row that this vCPU ran soon after it had queued them.
    quick: AtomicU32,
    local: UnsafeCell<Local>,
}

// SAFETY: `local` is used on its own vCPU only; threads can be sent.
unsafe impl Sync for Core {}

impl Core {
    const fn new() -> Self {
        Self {
            queue: SpinMutex::new(VecDeque::new()),
            length: AtomicUsize::new(0),
            slicing: AtomicBool::new(false),
            quick: AtomicU32::new(0),
            local: UnsafeCell::new(Local { idle: 0, leaving: None, ended: None }),
        }
    }

    /// The part for code on this vCPU.
    ///
    /// # Safety
    /// It is this vCPU's, and no other reference to it is in use.
    #[expect(clippy::mut_from_ref, reason = "the caller guarantees that there is one")]
    pub(super) unsafe fn local(&self) -> &mut Local {
        // SAFETY: the caller's.
        unsafe { &mut *self.local.get() }
    }
}

pub(super) static CORES: [Core; VCPUS] = [const { Core::new() }; VCPUS];

/// vCPUs that look for work inside, and those that sleep outside until they are woken: a bit each.
static SPINNING: AtomicU64 = AtomicU64::new(0);
static PARKED: AtomicU64 = AtomicU64::new(0);

/// Sets or clears this vCPU's bit among those that look for work.
pub(super) fn set_spinning(here: usize, spinning: bool) {
    set(&SPINNING, here, spinning);
}

/// Sets or clears this vCPU's bit among those that want to be woken.
pub(super) fn set_parked(here: usize, parked: bool) {
    set(&PARKED, here, parked);
}

fn set(bits: &AtomicU64, here: usize, value: bool) {
    // SeqCst: whoever changes a bit looks at the queues afterwards, whoever fills a queue looks at the bits.
    if value {
        bits.fetch_or(1 << here, Ordering::SeqCst);
    } else {
        bits.fetch_and(!(1 << here), Ordering::SeqCst);
    }
}

/// Whether this vCPU's own queue is empty.
pub(super) fn is_empty(here: usize) -> bool {
    CORES[here].length.load(Ordering::Relaxed) == 0
}

/// Whether all queues are.
pub(super) fn all_empty() -> bool {
    fence(Ordering::SeqCst);
    CORES.iter().all(|core| core.length.load(Ordering::Relaxed) == 0)
}

/// Asks the host for time slices of a vCPU while somebody waits for it or for a time, and not otherwise. The queue's lock
/// is held.
fn tell_slicing(index: usize, length: usize) {
    let wanted = length > 0 || timers::any();
    if CORES[index].slicing.swap(wanted, Ordering::Relaxed) != wanted {
        host::want_slices(index, wanted);
    }
}

/// Puts a thread at the end of a vCPU's queue.
pub(super) fn push(index: usize, thread: Arc<Thread>) {
    thread.queued.store(cpu::time_stamp(), Ordering::Relaxed);
    let core = &CORES[index];
    let mut queue = core.queue.lock();
    queue.push_back(thread);
    core.length.store(queue.len(), Ordering::Relaxed);
    tell_slicing(index, queue.len());
}

/// Puts a thread back where it was taken from.
pub(super) fn put_back(here: usize, thread: Arc<Thread>) {
    let core = &CORES[here];
    let mut queue = core.queue.lock();
    queue.push_front(thread);
    core.length.store(queue.len(), Ordering::Relaxed);
}

/// Queues a thread that can run, here, and sees to it that somebody will run it.
pub(super) fn ready(thread: Arc<Thread>) {
    let here = crate::arch::vcpu::Vcpu::index();
    push(here, thread);
    wake_one(here);
}

/// Wakes a vCPU for what waits here, where that is worth it.
pub(super) fn wake_one(here: usize) {
    wake(here, |core, waiting| waiting > 1 || core.quick.load(Ordering::Relaxed) < QUICK_ENOUGH);
}

/// Wakes a vCPU for anything that waits here.
pub(super) fn wake_for_all(here: usize) {
    wake(here, |_, _| true);
}

fn wake(here: usize, worth: impl FnOnce(&Core, usize) -> bool) {
    // After the push: a vCPU that goes to sleep has set its bit before it looks at the queues for the last time.
    fence(Ordering::SeqCst);
    let parked = PARKED.load(Ordering::Relaxed);
    if parked == 0 || SPINNING.load(Ordering::Relaxed) != 0 {
        return;
    }
    let core = &CORES[here];
    let waiting = core.length.load(Ordering::Relaxed);
    if waiting == 0 || !worth(core, waiting) {
        return;
    }
    let index = parked.trailing_zeros();
    // Only one who wakes it needs to leave for it.
    if PARKED.fetch_and(!(1 << index), Ordering::SeqCst) & 1 << index != 0
        && let Ok(index) = usize::try_from(index)
    {
        host::wake(index);
    }
}

fn take(index: usize) -> Option<Arc<Thread>> {
    let core = &CORES[index];
    if core.length.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let mut queue = core.queue.lock();
    let thread = queue.pop_front();
    core.length.store(queue.len(), Ordering::Relaxed);
    tell_slicing(index, queue.len());
    thread
}

/// A thread for this vCPU to run: of its own queue, else of another's.
pub(super) fn pick(here: usize) -> Option<Arc<Thread>> {
    timers::expire();
    let core = &CORES[here];
    if let Some(thread) = take(here) {
        let waited = cpu::time_stamp().wrapping_sub(thread.queued.load(Ordering::Relaxed));
        if waited > QUICK {
            core.quick.store(0, Ordering::Relaxed);
        } else {
            let quick = core.quick.load(Ordering::Relaxed);
            core.quick.store(quick.saturating_add(1).min(QUICK_ENOUGH), Ordering::Relaxed);
        }
        return Some(thread);
    }
    let thread = (1..VCPUS).find_map(|step| take((here + step) % VCPUS));
    if timers::any() != core.slicing.load(Ordering::Relaxed) {
        let queue = core.queue.lock();
        tell_slicing(here, queue.len());
    }
    thread
}
