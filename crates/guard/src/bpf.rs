//! The kernel side as Rust sees it: the skeletons that libbpf-cargo makes of `bpf/*.bpf.c`, and their record types.

#[expect(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    clippy::nursery,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]
mod skeletons {
    pub(super) mod guard {
        include!(concat!(env!("OUT_DIR"), "/guard.skel.rs"));
    }
    pub(super) mod probe {
        include!(concat!(env!("OUT_DIR"), "/probe.skel.rs"));
    }
}

pub(crate) use skeletons::guard::types::{
    container as ContainerRecord, event as EventRecord, victim as Victim,
};
pub(crate) use skeletons::guard::types::{
    guard_page as Page, guard_settings as GuardSettings, guard_state as GuardState,
};
pub(crate) use skeletons::guard::{GuardMaps, GuardSkel, GuardSkelBuilder};
pub(crate) use skeletons::probe::ProbeSkelBuilder;

use std::ptr;

/// A record of the kernel side: integers and arrays of integers only, so any bytes are a value.
///
/// # Safety
/// The type must be valid for every bit pattern and hold no padding that matters.
pub(crate) unsafe trait Record: Copy {}

// SAFETY: bpf/types.h declares it of integers only.
unsafe impl Record for ContainerRecord {}
// SAFETY: bpf/types.h declares it of integers only.
unsafe impl Record for EventRecord {}
// SAFETY: bpf/types.h declares it of integers only.
unsafe impl Record for Victim {}

/// Copies a record out of bytes that the kernel side wrote; `None` where there are too few.
pub(crate) fn decode<T: Record>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: the length was just checked, read_unaligned needs no alignment, and Record allows any bytes.
    Some(unsafe { ptr::read_unaligned(bytes.as_ptr().cast::<T>()) })
}
