//! futex(2): waits and wakes of guest threads, all inside.
//!
//! Other processes have other enclaves and share no memory, so the address of a word is its name.

mod pi;
mod robust;
mod several;
mod waiters;

use super::{Errno, Result, int, uint};
use crate::arch::frame::Frame;
use crate::sched::Thread;
use crate::syscall::time::{self, Clock};

pub(super) use several::waitv;
pub(crate) use waiters::wake;

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
    let command = operation & !(op::PRIVATE | op::CLOCK_REALTIME);
    if realtime && command != op::WAIT_BITSET && command != op::LOCK_PI2 {
        return Err(Errno::ENOSYS);
    }
    match command {
        op::WAIT => {
            let deadline = time::optional_timeout(fourth, clock, false)?;
            waiters::wait(address, value, deadline, ANY)
        }
        op::WAIT_BITSET => {
            let deadline = time::optional_timeout(fourth, clock, true)?;
            waiters::wait(address, value, deadline, uint(sixth))
        }
        op::WAKE => wake(address, at_least_one(value), ANY),
        op::WAKE_BITSET => wake(address, at_least_one(value), uint(sixth)),
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

fn requeue(from: u64, to: u64, wakes: u32, moves: u64, expected: Option<u32>) -> Result {
    let moves = uint(moves);
    if wakes.cast_signed() < 0 || moves.cast_signed() < 0 {
        return Err(Errno::EINVAL);
    }
    waiters::requeue(from, to, wakes, moves, expected)
}

/// What a thread that ends leaves behind in futexes: who waits for its robust and its priority-inheriting ones goes on.
pub(super) fn thread_ends(thread: &Thread) {
    robust::walk(thread);
    pi::owner_ends(thread.id());
}
