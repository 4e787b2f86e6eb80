//! Futexes that inherit priority. All guest threads have the same, so what is left is their protocol: the word holds the
//! owner's id, and unlocking hands it to the one that has waited longest.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::waiters::{self, Queue, Waiter};
use crate::arch::frame::Frame;
use crate::process::process;
use crate::sched;
use crate::syscall::{Errno, Result};
use crate::user;

/// Bits of the word (`include/uapi/linux/futex.h`).
pub(super) const WAITERS: u32 = 0x8000_0000;
pub(super) const OWNER_DIED: u32 = 0x4000_0000;
pub(super) const OWNER: u32 = 0x3fff_ffff;

/// How many wait for such a futex.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// What a look at the word comes to.
enum Attempt {
    /// It is the caller's now.
    Got,
    /// Another has it, and knows that somebody waits.
    Owned,
}

fn waits_here(queue: &Queue, address: u64) -> bool {
    queue.iter().any(|waiter| waiter.pi && waiter.address() == address)
}

/// Takes the word where nobody owns it; else sets WAITERS, if `announce`. The bucket is locked.
fn attempt(
    word: &AtomicU32,
    id: u32,
    others_wait: bool,
    announce: bool,
) -> core::result::Result<Attempt, Errno> {
    let mut value = word.load(Ordering::SeqCst);
    loop {
        let owner = value & OWNER;
        if owner == id {
            return Err(Errno::EDEADLK);
        }
        let (next, attempt) = match owner {
            0 => {
                let waiters = if others_wait { WAITERS } else { 0 };
                (id | waiters | value & OWNER_DIED, Attempt::Got)
            }
            _ if announce => (value | WAITERS, Attempt::Owned),
            _ => return Ok(Attempt::Owned),
        };
        match word.compare_exchange(value, next, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return Ok(attempt),
            Err(other) => value = other,
        }
    }
}

/// FUTEX_TRYLOCK_PI.
pub(super) fn try_lock(address: u64) -> Result {
    let id = sched::current().id();
    let queue = waiters::bucket(address);
    let others = waits_here(&queue, address);
    match user::with_futex_word(address, true, |word| attempt(word, id, others, false))?? {
        Attempt::Got => Ok(0),
        Attempt::Owned => Err(Errno::EAGAIN),
    }
}

/// FUTEX_LOCK_PI and FUTEX_LOCK_PI2. A signal's handler runs, and then the call is made again in any case.
pub(super) fn lock(frame: &mut Frame, address: u64, deadline: Option<u64>) -> Result {
    let thread = sched::current();
    let waiter = {
        let mut queue = waiters::bucket(address);
        let others = waits_here(&queue, address);
        let owner = match user::with_futex_word(address, true, |word| {
            attempt(word, thread.id(), others, true)
                .map(|attempt| (attempt, word.load(Ordering::SeqCst) & OWNER))
        })?? {
            (Attempt::Got, _) => return Ok(0),
            (Attempt::Owned, owner) => owner,
        };
        if process().thread(owner).is_none() {
            return Err(Errno::ESRCH);
        }
        let waiter = Waiter::new(thread, address, super::ANY, true);
        waiters::interested(address, true);
        WAITING.fetch_add(1, Ordering::Relaxed);
        queue.push_back(Arc::clone(&waiter));
        waiter
    };
    let result = waiters::sleep(&waiter, deadline);
    WAITING.fetch_sub(1, Ordering::Relaxed);
    match result {
        Ok(()) => Ok(0),
        Err(Errno::EINTR) => {
            frame.rip -= 2;
            Ok(frame.orig_rax)
        }
        Err(errno) => Err(errno),
    }
}

/// Gives the word to the one that has waited longest, or to nobody. The bucket is locked.
fn hand_over(queue: &mut Queue, address: u64, died: u32) -> core::result::Result<Option<Arc<Waiter>>, Errno> {
    let place = queue.iter().position(|waiter| waiter.pi && waiter.address() == address);
    let next = place.and_then(|place| queue.remove(place));
    let value = match &next {
        Some(next) if waits_here(queue, address) => next.thread.id() | WAITERS | died,
        Some(next) => next.thread.id() | died,
        None => died,
    };
    let stored = user::with_futex_word(address, true, |word| word.store(value, Ordering::SeqCst));
    if let Some(next) = &next {
        waiters::interested(address, false);
        next.set_woken();
    }
    stored.map(|()| next)
}

/// FUTEX_UNLOCK_PI.
pub(super) fn unlock(address: u64) -> Result {
    let id = sched::current().id();
    let next = {
        let mut queue = waiters::bucket(address);
        if waiters::value(address)? & OWNER != id {
            return Err(Errno::EPERM);
        }
        hand_over(&mut queue, address, 0)?
    };
    if let Some(next) = next {
        next.thread.unpark();
    }
    Ok(0)
}

/// Hands over what a thread that ends still owns, where somebody waits for it.
pub(super) fn owner_ends(id: u32) {
    if WAITING.load(Ordering::Relaxed) == 0 {
        return;
    }
    for mut queue in waiters::buckets() {
        loop {
            // A robust one has lost its owner's id already.
            let left =
                queue.iter().filter(|waiter| waiter.pi).map(|waiter| waiter.address()).find(|address| {
                    waiters::value(*address)
                        .is_ok_and(|value| matches!(value & OWNER, owner if owner == id || owner == 0))
                });
            let Some(address) = left else { break };
            // The memory of the word was there a moment ago.
            let Ok(Some(next)) = hand_over(&mut queue, address, OWNER_DIED) else { break };
            next.thread.unpark();
        }
    }
}
