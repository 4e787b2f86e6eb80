//! futex(2): waits and wakes of guest threads, all inside.
//!
//! The address of a word is its name: other processes have other enclaves, and share no memory. Where they do, in the host's
//! (`shared`), words that are not said to be private are waited for outside.

mod pi;
mod robust;
mod several;
mod waiters;

use super::{Errno, Result, int, uint};
use crate::arch::frame::Frame;
use crate::sched::Thread;
use crate::shared;
use crate::syscall::time::{self, Clock};

pub(super) use several::waitv;

/// Operations and options (`include/uapi/linux/futex.h`).
mod op {
    pub(super) const WAIT: i32 = 0;
    pub(super) const WAKE: i32 = 1;
    pub(super) const REQUEUE: i32 = 3;
    pub(super) const CMP_REQUEUE: i32 = 4;
    pub(super) const WAKE_OP: i32 = 5;
    pub(super) const LOCK_PI: i32 = 6;
    pub(super) const UNLOCK_PI: i32 = 7;
    pub(super) const TRYLOCK_PI: i32 = 8;
    pub(super) const WAIT_BITSET: i32 = 9;
    pub(super) const WAKE_BITSET: i32 = 10;
    pub(super) const LOCK_PI2: i32 = 13;
    pub(super) const PRIVATE: i32 = 128;
    pub(super) const CLOCK_REALTIME: i32 = 256;
}

/// Every bit of a bit set.
const ANY: u32 = u32::MAX;

pub(super) fn futex(frame: &mut Frame) -> Result {
    let [address, operation, value, fourth, second, sixth] = frame.arguments();
    let operation = int(operation);
    let realtime = operation & op::CLOCK_REALTIME != 0;
    let clock = if realtime { Clock::Realtime } else { Clock::Monotonic };
    let value = uint(value);
    let outside = |address| operation & op::PRIVATE == 0 && shared::is_shared(address);
    let command = operation & !(op::PRIVATE | op::CLOCK_REALTIME);
    if realtime && command != op::WAIT_BITSET && command != op::LOCK_PI2 {
        return Err(Errno::ENOSYS);
    }
    match command {
        op::WAIT => {
            let deadline = time::optional_timeout(fourth, clock, false)?;
            wait(outside(address), address, value, deadline, ANY)
        }
        op::WAIT_BITSET => {
            let deadline = time::optional_timeout(fourth, clock, true)?;
            wait(outside(address), address, value, deadline, uint(sixth))
        }
        op::WAKE if outside(address) => shared::wake(address, at_least_one(value), ANY),
        op::WAKE => waiters::wake(address, at_least_one(value), ANY),
        op::WAKE_BITSET if outside(address) => shared::wake(address, at_least_one(value), uint(sixth)),
        op::WAKE_BITSET => waiters::wake(address, at_least_one(value), uint(sixth)),
        op::REQUEUE if outside(address) => wake_all(address, value, fourth, None),
        op::CMP_REQUEUE if outside(address) => wake_all(address, value, fourth, Some(uint(sixth))),
        op::WAKE_OP if outside(address) || outside(second) => {
            let change = waiters::Change::decode(uint(sixth))?;
            let also = change.apply(second)?;
            let first = wake(address, at_least_one(value), ANY)?;
            Ok(first + if also { wake(second, at_least_one(uint(fourth)), ANY)? } else { 0 })
        }
        // Who owns such a lock is known in its own enclave only.
        op::LOCK_PI | op::LOCK_PI2 | op::TRYLOCK_PI | op::UNLOCK_PI if outside(address) => Err(Errno::ENOSYS),
        op::REQUEUE => requeue(address, second, value, fourth, None),
        op::CMP_REQUEUE => requeue(address, second, value, fourth, Some(uint(sixth))),
        op::WAKE_OP => waiters::wake_op(
            address,
            second,
            at_least_one(value),
            at_least_one(uint(fourth)),
            &waiters::Change::decode(uint(sixth))?,
        ),
        op::LOCK_PI => {
            let deadline = time::optional_timeout(fourth, Clock::Realtime, true)?;
            pi::lock(frame, address, deadline)
        }
        op::LOCK_PI2 => {
            let deadline = time::optional_timeout(fourth, clock, true)?;
            pi::lock(frame, address, deadline)
        }
        op::TRYLOCK_PI => pi::try_lock(address),
        op::UNLOCK_PI => pi::unlock(address),
        _ => Err(Errno::ENOSYS),
    }
}

/// A number of threads to wake. Linux wakes one where it is asked for none.
fn at_least_one(count: u32) -> u32 {
    if count.cast_signed() <= 0 { 1 } else { count }
}

fn wait(outside: bool, address: u64, expected: u32, deadline: Option<u64>, bits: u32) -> Result {
    if outside {
        shared::wait(address, expected, deadline, bits)
    } else {
        waiters::wait(address, expected, deadline, bits)
    }
}

/// Wakes up to `count` waiters that share a bit, of other processes too. Returns how many.
pub(crate) fn wake(address: u64, count: u32, bits: u32) -> Result {
    if shared::is_shared(address) {
        return shared::wake(address, count, bits);
    }
    waiters::wake(address, count, bits)
}

/// In place of a requeue between processes: all look again themselves.
fn wake_all(address: u64, wakes: u32, moves: u64, expected: Option<u32>) -> Result {
    let moves = uint(moves);
    if wakes.cast_signed() < 0 || moves.cast_signed() < 0 {
        return Err(Errno::EINVAL);
    }
    if let Some(expected) = expected
        && waiters::value(address)? != expected
    {
        return Err(Errno::EAGAIN);
    }
    shared::wake(address, wakes.saturating_add(moves), ANY)
}

fn requeue(from: u64, to: u64, wakes: u32, moves: u64, expected: Option<u32>) -> Result {
    let moves = uint(moves);
    if wakes.cast_signed() < 0 || moves.cast_signed() < 0 {
        return Err(Errno::EINVAL);
    }
    waiters::requeue(from, to, wakes, moves, expected)
}

/// What a thread that ends leaves behind in futexes: who waits for its robust and its priority-inheriting ones goes on.
pub(crate) fn thread_ends(thread: &Thread) {
    robust::walk(thread);
    pi::owner_ends(thread.id());
}
