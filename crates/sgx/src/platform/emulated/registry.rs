//! Where enclaves lie, for signal handlers: no locks, no allocation, and nothing that could go away.

use std::sync::atomic::{AtomicU64, Ordering};

use super::enclave::EmulatedEnclave;
use crate::platform::memory::LOWEST_ADDRESS;
use crate::platform::memory::page_of;
use crate::platform::{Enclave as _, PlatformError};

/// Enclaves of one process at one time.
const SLOTS: usize = 64;

/// One enclave. A free slot has no end; a slot being filled or emptied neither.
#[derive(Debug)]
struct Slot {
    taken: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
    /// The page of the thunk; 0 where there is none.
    thunk: AtomicU64,
}

static ENCLAVES: [Slot; SLOTS] = [const {
    Slot {
        taken: AtomicU64::new(0),
        start: AtomicU64::new(0),
        end: AtomicU64::new(0),
        thunk: AtomicU64::new(0),
    }
}; SLOTS];

/// Makes an enclave known.
pub(super) fn add(enclave: &EmulatedEnclave) -> Result<(), PlatformError> {
    for slot in &ENCLAVES {
        if slot.taken.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            slot.start.store(enclave.base(), Ordering::Relaxed);
            slot.thunk.store(enclave.stub.as_ref().map_or(0, super::stub::Stub::thunk), Ordering::Relaxed);
            slot.end.store(enclave.base() + enclave.size(), Ordering::Release);
            return Ok(());
        }
    }
    Err(PlatformError::Missing {
        platform: "emulated",
        reason: format!("room for more than {SLOTS} enclaves at once"),
    })
}

/// Forgets an enclave that no thread is in, if it was known.
pub(super) fn remove(enclave: &EmulatedEnclave) {
    let end = enclave.base() + enclave.size();
    for slot in &ENCLAVES {
        if slot.end.load(Ordering::Acquire) == end && slot.start.load(Ordering::Relaxed) == enclave.base() {
            slot.end.store(0, Ordering::Release);
            slot.taken.store(0, Ordering::Release);
        }
    }
}

/// Whether an address lies in an enclave. The first pages of the address space are nobody's, also where an ELRANGE begins
/// at 0: a GS base of 0 is the host's.
pub(super) fn holds(address: u64) -> bool {
    address >= LOWEST_ADDRESS
        && ENCLAVES.iter().any(|slot| {
            let end = slot.end.load(Ordering::Acquire);
            address < end && address >= slot.start.load(Ordering::Relaxed)
        })
}

/// Where an instruction pointer is.
#[derive(Debug)]
pub(super) enum Place {
    /// In the ELRANGE of an enclave.
    Enclave,
    /// In the emulator's own instructions around an entry or an exit.
    Edge,
    /// Anywhere else.
    Host,
}

/// Where `rip` is.
pub(super) fn place(rip: u64) -> Place {
    if super::entry::is_edge(rip) {
        return Place::Edge;
    }
    if holds(rip) {
        return Place::Enclave;
    }
    let page = page_of(rip);
    let is_thunk =
        |slot: &Slot| slot.end.load(Ordering::Acquire) != 0 && slot.thunk.load(Ordering::Relaxed) == page;
    if page != 0 && ENCLAVES.iter().any(is_thunk) { Place::Edge } else { Place::Host }
}
