//! Who waits at which word: lists in buckets, by the word's address.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

use spin::{Mutex, MutexGuard};

use super::ANY;
use crate::sched::{self, Thread};
use crate::syscall::{Errno, Result};
use crate::{signal, user};

/// One that waits.
pub(super) struct Waiter {
    pub(super) thread: Arc<Thread>,
    /// Where. Changes under the locks of both buckets.
    address: AtomicU64,
    bits: u32,
    /// It waits to own a priority-inheriting futex, which only unlocking gives it.
    pub(super) pi: bool,
    woken: AtomicBool,
}

impl Waiter {
    pub(super) fn new(thread: Arc<Thread>, address: u64, bits: u32, pi: bool) -> Arc<Self> {
        Arc::new(Self { thread, address: AtomicU64::new(address), bits, pi, woken: AtomicBool::new(false) })
    }

    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    pub(super) fn set_woken(&self) {
        self.woken.store(true, Ordering::Release);
    }

    pub(super) fn address(&self) -> u64 {
        self.address.load(Ordering::Relaxed)
    }
}

/// Waiters in the order in which they came.
pub(super) type Queue = VecDeque<Arc<Waiter>>;

#[repr(align(64))]
struct Bucket {
    queue: Mutex<Queue>,
    /// Those in the queue, and those who are about to be.
    interested: AtomicUsize,
}

const BUCKETS: usize = 256;

static TABLE: [Bucket; BUCKETS] =
    [const { Bucket { queue: Mutex::new(VecDeque::new()), interested: AtomicUsize::new(0) } }; BUCKETS];

fn index(address: u64) -> usize {
    // Words of one kind lie at equal distances: multiplying spreads them.
    let mixed = (address >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    usize::try_from(mixed).unwrap_or(0) % BUCKETS
}

/// The waiters in the bucket of a word.
pub(super) fn bucket(address: u64) -> MutexGuard<'static, Queue> {
    TABLE[index(address)].queue.lock()
}

/// All buckets, one after the other.
pub(super) fn buckets() -> impl Iterator<Item = MutexGuard<'static, Queue>> {
    TABLE
        .iter()
        .filter(|bucket| bucket.interested.load(Ordering::Relaxed) > 0)
        .map(|bucket| bucket.queue.lock())
}

/// Says that somebody is about to wait at a word, or does not any more. Before the word is read: who changes the word and
/// then finds nobody interested need not look further.
pub(super) fn interested(address: u64, one: bool) {
    let count = &TABLE[index(address)].interested;
    if one {
        count.fetch_add(1, Ordering::SeqCst);
    } else {
        count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The value of a word.
pub(super) fn value(address: u64) -> core::result::Result<u32, Errno> {
    user::with_futex_word(address, false, |word| word.load(Ordering::SeqCst))
}

/// Waits while the word has a value.
pub(super) fn wait(address: u64, expected: u32, deadline: Option<u64>, bits: u32) -> Result {
    if bits == 0 || !address.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    let thread = sched::current();
    interested(address, true);
    let queued = {
        let mut queue = bucket(address);
        // Under the lock that a wake takes: a change of the word before it is seen, one after it finds the waiter.
        value(address).and_then(|value| if value == expected { Ok(()) } else { Err(Errno::EAGAIN) }).map(
            |()| {
                let waiter = Waiter::new(Arc::clone(&thread), address, bits, false);
                queue.push_back(Arc::clone(&waiter));
                waiter
            },
        )
    };
    let waiter = queued.inspect_err(|_| interested(address, false))?;
    sleep(&waiter, deadline).map(|()| 0)
}

/// Sleeps until the waiter is woken; then it is in no queue any more.
///
/// # Errors
/// ETIMEDOUT, EINTR; it has been taken out of its queue.
pub(super) fn sleep(waiter: &Arc<Waiter>, deadline: Option<u64>) -> core::result::Result<(), Errno> {
    let errno = loop {
        let in_time = sched::park(deadline);
        if waiter.is_woken() {
            return Ok(());
        }
        if !in_time {
            break Errno::ETIMEDOUT;
        }
        if signal::interrupts(&waiter.thread) {
            break Errno::EINTR;
        }
    };
    // A wake may have come in the meantime: then it counts.
    if forget(waiter) { Err(errno) } else { Ok(()) }
}

/// Takes a waiter out of its queue; `false` where it was woken before.
pub(super) fn forget(waiter: &Arc<Waiter>) -> bool {
    loop {
        let address = waiter.address();
        let mut queue = bucket(address);
        if waiter.is_woken() {
            return false;
        }
        if waiter.address() != address {
            // It was moved before the lock was had.
            continue;
        }
        if let Some(place) = queue.iter().position(|other| Arc::ptr_eq(other, waiter)) {
            queue.remove(place);
            interested(address, false);
        }
        return true;
    }
}

/// Takes up to `count` waiters at a word that share a bit, first come, first served, and marks them woken.
fn take(queue: &mut Queue, address: u64, count: u32, bits: u32, woken: &mut Vec<Arc<Waiter>>) {
    let mut left = count;
    let mut place = 0;
    while left > 0
        && let Some(waiter) = queue.get(place)
    {
        if waiter.address() != address || waiter.bits & bits == 0 || waiter.pi {
            place += 1;
            continue;
        }
        left -= 1;
        // At the front of the queue that costs nothing.
        if let Some(waiter) = queue.remove(place) {
            waiter.set_woken();
            interested(address, false);
            woken.push(waiter);
        }
    }
}

fn unpark(woken: &[Arc<Waiter>]) {
    for waiter in woken {
        waiter.thread.unpark();
    }
}

/// Wakes up to `count` waiters that share a bit. Returns how many.
pub(super) fn wake(address: u64, count: u32, bits: u32) -> Result {
    if !address.is_multiple_of(4) || bits == 0 {
        return Err(Errno::EINVAL);
    }
    // After the change of the word, which guest code has made.
    fence(Ordering::SeqCst);
    if TABLE[index(address)].interested.load(Ordering::Relaxed) == 0 {
        return Ok(0);
    }
    let mut woken = Vec::new();
    take(&mut bucket(address), address, count, bits, &mut woken);
    unpark(&woken);
    Ok(woken.len() as u64)
}

/// The buckets of two words; `None` for the second where it is the same.
fn both(first: u64, second: u64) -> (MutexGuard<'static, Queue>, Option<MutexGuard<'static, Queue>>) {
    let (a, b) = (index(first), index(second));
    match a.cmp(&b) {
        core::cmp::Ordering::Equal => (TABLE[a].queue.lock(), None),
        // In the order of the table, so that no two wait for each other.
        core::cmp::Ordering::Less => {
            let first = TABLE[a].queue.lock();
            (first, Some(TABLE[b].queue.lock()))
        }
        core::cmp::Ordering::Greater => {
            let second = TABLE[b].queue.lock();
            (TABLE[a].queue.lock(), Some(second))
        }
    }
}

/// Wakes some waiters and has others wait at another word; only while the word has a value.
pub(super) fn requeue(from: u64, to: u64, wakes: u32, moves: u32, expected: Option<u32>) -> Result {
    if !from.is_multiple_of(4) || !to.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    let mut woken = Vec::new();
    let mut moved = 0;
    {
        let (mut first, mut second) = both(from, to);
        if let Some(expected) = expected
            && value(from)? != expected
        {
            return Err(Errno::EAGAIN);
        }
        take(&mut first, from, wakes, ANY, &mut woken);
        let mut place = 0;
        while moved < moves
            && let Some(waiter) = first.get(place)
        {
            if waiter.address() != from || waiter.pi {
                place += 1;
                continue;
            }
            moved += 1;
            waiter.address.store(to, Ordering::Relaxed);
            match second.as_mut() {
                None => place += 1,
                Some(second) => {
                    interested(to, true);
                    interested(from, false);
                    second.extend(first.remove(place));
                }
            }
        }
    }
    unpark(&woken);
    Ok(woken.len() as u64 + u64::from(moved))
}

/// What FUTEX_WAKE_OP does to its second word.
pub(super) struct Change {
    operation: u32,
    operand: u32,
    comparison: u32,
    compared: i32,
}

impl Change {
    pub(super) fn decode(encoded: u32) -> core::result::Result<Self, Errno> {
        // Signed fields of twelve bits.
        let field = |shift: u32| (encoded << (20 - shift)).cast_signed() >> 20;
        let (operation, comparison) = (encoded >> 28 & 7, encoded >> 24 & 15);
        if operation > 4 || comparison > 5 {
            return Err(Errno::ENOSYS);
        }
        let operand = field(12).cast_unsigned();
        let operand = if encoded >> 31 != 0 { 1 << (operand & 31) } else { operand };
        Ok(Self { operation, operand, comparison, compared: field(0) })
    }

    /// Changes the word; whether its old value compares.
    pub(super) fn apply(&self, address: u64) -> core::result::Result<bool, Errno> {
        let operand = self.operand;
        let old = user::with_futex_word(address, true, |word| match self.operation {
            0 => word.swap(operand, Ordering::SeqCst),
            1 => word.fetch_add(operand, Ordering::SeqCst),
            2 => word.fetch_or(operand, Ordering::SeqCst),
            3 => word.fetch_and(!operand, Ordering::SeqCst),
            _ => word.fetch_xor(operand, Ordering::SeqCst),
        })?;
        let (old, compared) = (old.cast_signed(), self.compared);
        Ok(match self.comparison {
            0 => old == compared,
            1 => old != compared,
            2 => old < compared,
            3 => old <= compared,
            4 => old > compared,
            _ => old >= compared,
        })
    }
}

/// FUTEX_WAKE_OP: changes the second word, wakes at the first, and at the second if its old value compares.
pub(super) fn wake_op(first: u64, second: u64, wakes: u32, second_wakes: u32, change: &Change) -> Result {
    if !first.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    let mut woken = Vec::new();
    {
        let (mut at_first, mut at_second) = both(first, second);
        let also = change.apply(second)?;
        take(&mut at_first, first, wakes, ANY, &mut woken);
        if also {
            take(at_second.as_mut().unwrap_or(&mut at_first), second, second_wakes, ANY, &mut woken);
        }
    }
    unpark(&woken);
    Ok(woken.len() as u64)
}
