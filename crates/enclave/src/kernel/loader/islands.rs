//! Where the code of islands comes from: what a handler of a signal is shown of a thread that was interrupted there, and
//! where it goes on.
//!
//! Programs that look at their own addresses in handlers (Go's preemption, the JVM's safepoints, unwinders) know nothing of
//! islands.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::rewrite::Island;
use spin::Mutex;

/// An island and the code that it belongs to.
pub(crate) struct Known {
    /// Start and end of the code.
    pub(crate) code: (u64, u64),
    /// Start and end of the island.
    pub(crate) place: (u64, u64),
    pub(crate) island: Island,
}

/// By the start of the code.
static ISLANDS: Mutex<BTreeMap<u64, Arc<Known>>> = Mutex::new(BTreeMap::new());

/// Code has been rewritten.
pub(super) fn add(code: u64, length: u64, island: Island) {
    let end = island.address + island.code.len() as u64;
    let known = Known { code: (code, code + length), place: (island.address, end), island };
    ISLANDS.lock().insert(code, Arc::new(known));
}

/// All that is known, for another enclave.
pub(crate) fn all() -> Vec<Arc<Known>> {
    ISLANDS.lock().values().cloned().collect()
}

/// What another enclave knew of code that is here now.
pub(crate) fn restore(
    code: (u64, u64),
    place: (u64, u64),
    origins: Vec<(u64, u64)>,
    resumes: Vec<(u64, u64)>,
) {
    let known = Known { code, place, island: Island::of_addresses(place.0, origins, resumes) };
    ISLANDS.lock().insert(code.0, Arc::new(known));
}

/// Code has been unmapped, or replaced.
pub(crate) fn forget(address: u64, length: u64) {
    let end = address.saturating_add(length);
    let gone = {
        let mut islands = ISLANDS.lock();
        let all = core::mem::take(&mut *islands);
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.into_iter().partition(|(_, known)| known.code.1 <= address || end <= known.code.0);
        *islands = kept;
        gone
    };
    drop(gone);
}

fn find(holds: impl Fn(&Known) -> bool) -> Option<Arc<Known>> {
    ISLANDS.lock().values().find(|known| holds(known)).cloned()
}

/// The address in the program that stands for one in an island; any other stands for itself.
pub(crate) fn shown(rip: u64) -> u64 {
    let known = find(|known| (known.place.0..known.place.1).contains(&rip));
    known.and_then(|known| known.island.original_of(rip)).unwrap_or(rip)
}

/// Where a thread goes on that shall go on at an address of the program.
pub(crate) fn resumed(rip: u64) -> u64 {
    let known = find(|known| (known.code.0..known.code.1).contains(&rip));
    known.and_then(|known| known.island.resume_at(rip)).unwrap_or(rip)
}
