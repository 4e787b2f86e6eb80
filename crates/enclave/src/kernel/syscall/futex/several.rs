//! futex_waitv(2): waits at several words at once.

use alloc::sync::Arc;
use alloc::vec::Vec;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::ANY;
use super::waiters::{self, Waiter};
use crate::arch::frame::Frame;
use crate::sched;
use crate::syscall::time::{self, Clock};
use crate::syscall::{Errno, Result, int, uint};
use crate::{shared, signal, user};

/// `struct futex_waitv`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
struct Word {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// The most words (`FUTEX_WAITV_MAX`).
const MOST: u32 = 128;

/// FUTEX2_SIZE_U32, and FUTEX2_PRIVATE, which changes nothing but for memory shared with other processes.
const SIZE_U32: u32 = 2;
const PRIVATE: u32 = 128;

pub(in super::super) fn waitv(frame: &mut Frame) -> Result {
    let [list, count, flags, timeout, clock, _] = frame.arguments();
    let count = uint(count);
    if flags != 0 || count == 0 || count > MOST {
        return Err(Errno::EINVAL);
    }
    let clock = match int(clock) {
        _ if timeout == 0 => Clock::Monotonic,
        0 => Clock::Realtime,
        1 => Clock::Monotonic,
        _ => return Err(Errno::EINVAL),
    };
    let deadline = time::optional_timeout(timeout, clock, true)?;
    let words: Vec<Word> = (0..u64::from(count))
        .map(|index| user::read_value(list.wrapping_add(index * size_of::<Word>() as u64)))
        .collect::<core::result::Result<_, _>>()?;
    for word in &words {
        let known = word.flags & !PRIVATE == SIZE_U32 && word.reserved == 0 && word.value >> 32 == 0;
        if !known || !word.address.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if word.flags & PRIVATE == 0 && shared::is_shared(word.address) {
            return Err(Errno::ENOSYS);
        }
    }
    wait(&words, deadline)
}

fn wait(words: &[Word], deadline: Option<u64>) -> Result {
    let thread = sched::current();
    let mut waiting: Vec<Arc<Waiter>> = Vec::with_capacity(words.len());
    let mut failed = None;
    for word in words {
        waiters::interested(word.address, true);
        let mut queue = waiters::bucket(word.address);
        match waiters::value(word.address) {
            Ok(value) if u64::from(value) == word.value => {
                let waiter = Waiter::new(Arc::clone(&thread), word.address, ANY, false);
                queue.push_back(Arc::clone(&waiter));
                waiting.push(waiter);
            }
            result => {
                waiters::interested(word.address, false);
                failed = Some(result.err().unwrap_or(Errno::EAGAIN));
                break;
            }
        }
    }
    let woken = |waiting: &[Arc<Waiter>]| waiting.iter().position(|waiter| waiter.is_woken());
    while failed.is_none() && woken(&waiting).is_none() {
        if !sched::park(deadline) {
            failed = Some(Errno::ETIMEDOUT);
        } else if signal::interrupts(&thread) {
            failed = Some(Errno::EINTR);
        }
    }
    // A wake that came meanwhile counts.
    let mut first = None;
    for (index, waiter) in waiting.iter().enumerate() {
        if !waiters::forget(waiter) {
            first = first.or(Some(index));
        }
    }
    match (first, failed) {
        (Some(index), _) => Ok(index as u64),
        (None, Some(errno)) => Err(errno),
        (None, None) => Err(Errno::EAGAIN),
    }
}
