//! The list of robust futexes that a thread leaves when it ends (set_robust_list(2)).

use core::sync::atomic::Ordering;

use super::ANY;
use super::pi::{OWNER, OWNER_DIED, WAITERS};
use crate::sched::Thread;
use crate::user;

/// The most entries that are looked at (`ROBUST_LIST_LIMIT`): the list is the program's, and may go round in circles.
const LIMIT: usize = 2048;

/// The lowest bit of a pointer says that its futex inherits priority.
const PI: u64 = 1;

/// Marks each futex on the list that the thread owns, and wakes one that waits for it. What is wrong with the list ends it.
pub(super) fn walk(thread: &Thread) {
    let head = thread.robust_list.load(Ordering::Relaxed);
    if head == 0 {
        return;
    }
    let Ok([first, offset, pending]) = user::read_value::<[u64; 3]>(head) else { return };
    let mut entry = first;
    for _ in 0..LIMIT {
        let at = entry & !PI;
        if at == head {
            break;
        }
        // Before the futex may be gone.
        let next = user::read_value::<u64>(at);
        if at != pending & !PI && !owner_died(at.wrapping_add(offset), entry & PI != 0, thread.id(), false) {
            return;
        }
        let Ok(next) = next else { return };
        entry = next;
    }
    if pending & !PI != 0 {
        owner_died((pending & !PI).wrapping_add(offset), pending & PI != 0, thread.id(), true);
    }
}

/// `handle_futex_death` of Linux. `false` where the word cannot be had.
fn owner_died(address: u64, pi: bool, id: u32, pending: bool) -> bool {
    let changed = user::with_futex_word(address, true, |word| {
        word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |value| {
            (value & OWNER == id).then_some(value & WAITERS | OWNER_DIED)
        })
    });
    let wake = match changed {
        Ok(Ok(old)) => !pi && old & WAITERS != 0,
        // Unlocked a moment before the end, and who waits was not yet told.
        Ok(Err(value)) => pending && !pi && value == 0,
        Err(_) => return false,
    };
    if wake {
        // The address was good a moment ago; there is nobody to tell.
        let _ = super::wake(address, 1, ANY);
    }
    true
}
