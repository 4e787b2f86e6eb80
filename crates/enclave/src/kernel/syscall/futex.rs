//! futex(2): waits and wakes of guest threads, all inside.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Mutex;

use super::{Errno, Result, int, uint};
use crate::arch::frame::Frame;
use crate::sched::{self, Thread};
use crate::syscall::time::{self, Clock};
use crate::{signal, user};

/// Operations and options (`include/uapi/linux/futex.h`).
mod op {
    pub(super) const WAIT: i32 = 0;
    pub(super) const WAKE: i32 = 1;
    pub(super) const REQUEUE: i32 = 3;
    pub(super) const CMP_REQUEUE: i32 = 4;
    pub(super) const WAKE_OP: i32 = 5;
    pub(super) const WAIT_BITSET: i32 = 9;
    pub(super) const WAKE_BITSET: i32 = 10;
    pub(super) const PRIVATE: i32 = 128;
    pub(super) const CLOCK_REALTIME: i32 = 256;
}

const ANY: u32 = u32::MAX;

/// One that waits.
struct Waiter {
    thread: Arc<Thread>,
    bits: u32,
    woken: AtomicBool,
}

/// Who waits, by the address of the word.
static WAITERS: Mutex<BTreeMap<u64, VecDeque<Arc<Waiter>>>> = Mutex::new(BTreeMap::new());

pub(super) fn futex(frame: &mut Frame) -> Result {
    let [address, operation, value, fourth, second, sixth] = frame.arguments();
    let operation = int(operation);
    let realtime = operation & op::CLOCK_REALTIME != 0;
    let value = uint(value);
    match operation & !(op::PRIVATE | op::CLOCK_REALTIME) {
        op::WAIT => {
            let deadline = time::optional_timeout(fourth, Clock::Monotonic, false)?;
            wait(address, value, deadline, ANY)
        }
        op::WAIT_BITSET => {
            let clock = if realtime { Clock::Realtime } else { Clock::Monotonic };
            let deadline = time::optional_timeout(fourth, clock, true)?;
            wait(address, value, deadline, uint(sixth))
        }
        op::WAKE => Ok(wake(address, value, ANY)?),
        op::WAKE_BITSET => Ok(wake(address, value, uint(sixth))?),
        op::REQUEUE => requeue(address, second, value, uint(fourth), None),
        op::CMP_REQUEUE => requeue(address, second, value, uint(fourth), Some(uint(sixth))),
        op::WAKE_OP => wake_op(address, second, value, uint(fourth), uint(sixth)),
        _ => Err(Errno::ENOSYS),
    }
}

fn wait(address: u64, expected: u32, deadline: Option<u64>, bits: u32) -> Result {
    if bits == 0 {
        return Err(Errno::EINVAL);
    }
    let thread = sched::current();
    let waiter = Arc::new(Waiter { thread: Arc::clone(&thread), bits, woken: AtomicBool::new(false) });
    {
        let mut waiters = WAITERS.lock();
        // Under the lock that a wake takes: a change of the word before it is seen, one after it finds the waiter.
        if user::with_futex_word(address, false, |word| word.load(Ordering::SeqCst))? != expected {
            return Err(Errno::EAGAIN);
        }
        waiters.entry(address).or_default().push_back(Arc::clone(&waiter));
    }
    let result = loop {
        let in_time = sched::park(deadline);
        if waiter.woken.load(Ordering::Acquire) {
            return Ok(0);
        }
        if !in_time {
            break Err(Errno::ETIMEDOUT);
        }
        if signal::interrupts(&thread) {
            break Err(Errno::EINTR);
        }
    };
    let mut waiters = WAITERS.lock();
    // A wake may have come in the meantime: then it counts.
    if waiter.woken.load(Ordering::Acquire) {
        return Ok(0);
    }
    waiters.retain(|_, queue| {
        queue.retain(|other| !Arc::ptr_eq(other, &waiter));
        !queue.is_empty()
    });
    result
}

/// Wakes up to `count` waiters that share a bit. Returns how many.
pub(crate) fn wake(address: u64, count: u32, bits: u32) -> core::result::Result<u64, Errno> {
    if !address.is_multiple_of(4) || bits == 0 {
        return Err(Errno::EINVAL);
    }
    let mut woken = alloc::vec::Vec::new();
    {
        let mut waiters = WAITERS.lock();
        if let Some(queue) = waiters.get_mut(&address) {
            take(queue, count, bits, &mut woken);
            if queue.is_empty() {
                waiters.remove(&address);
            }
        }
    }
    for waiter in &woken {
        waiter.thread.unpark();
    }
    Ok(woken.len() as u64)
}

fn take(queue: &mut VecDeque<Arc<Waiter>>, count: u32, bits: u32, woken: &mut alloc::vec::Vec<Arc<Waiter>>) {
    let mut left = count;
    queue.retain(|waiter| {
        if left == 0 || waiter.bits & bits == 0 {
            return true;
        }
        left -= 1;
        waiter.woken.store(true, Ordering::Release);
        woken.push(Arc::clone(waiter));
        false
    });
}

fn requeue(from: u64, to: u64, wakes: u32, moves: u32, expected: Option<u32>) -> Result {
    if !from.is_multiple_of(4) || !to.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    let mut woken = alloc::vec::Vec::new();
    let mut moved = 0;
    {
        let mut waiters = WAITERS.lock();
        let value = user::with_futex_word(from, false, |word| word.load(Ordering::SeqCst))?;
        if expected.is_some_and(|expected| value != expected) {
            return Err(Errno::EAGAIN);
        }
        if let Some(mut queue) = waiters.remove(&from) {
            take(&mut queue, wakes, ANY, &mut woken);
            let moving = queue.len().min(usize::try_from(moves).unwrap_or(usize::MAX));
            let rest = queue.split_off(moving);
            moved = queue.len();
            if !rest.is_empty() {
                waiters.insert(from, rest);
            }
            if !queue.is_empty() {
                waiters.entry(to).or_default().append(&mut queue);
            }
        }
    }
    for waiter in &woken {
        waiter.thread.unpark();
    }
    Ok((woken.len() + moved) as u64)
}

/// FUTEX_WAKE_OP: changes the second word, wakes at the first, and at the second if its old value compares.
fn wake_op(first: u64, second: u64, wakes: u32, second_wakes: u32, encoded: u32) -> Result {
    // Signed fields of twelve bits.
    let field = |shift: u32| ((encoded << (20 - shift)).cast_signed() >> 20).cast_unsigned();
    let mut operand = field(12);
    let compared = field(0);
    let operation = encoded >> 28;
    if operation & 8 != 0 {
        operand = 1_u32.checked_shl(operand).ok_or(Errno::EINVAL)?;
    }
    let old = user::with_futex_word(second, true, |word| match operation & 7 {
        0 => Ok(word.swap(operand, Ordering::SeqCst)),
        1 => Ok(word.fetch_add(operand, Ordering::SeqCst)),
        2 => Ok(word.fetch_or(operand, Ordering::SeqCst)),
        3 => Ok(word.fetch_and(!operand, Ordering::SeqCst)),
        4 => Ok(word.fetch_xor(operand, Ordering::SeqCst)),
        _ => Err(Errno::ENOSYS),
    })??;
    let (old, compared) = (old.cast_signed(), compared.cast_signed());
    let also = match encoded >> 24 & 15 {
        0 => old == compared,
        1 => old != compared,
        2 => old < compared,
        3 => old <= compared,
        4 => old > compared,
        5 => old >= compared,
        _ => return Err(Errno::ENOSYS),
    };
    let mut count = wake(first, wakes, ANY)?;
    if also {
        count += wake(second, second_wakes, ANY)?;
    }
    Ok(count)
}
