//! Mappings at addresses that the enclave knows: memory that enclaves share.

use std::os::fd::AsFd;
use std::ptr::with_exposed_provenance_mut;

use casemate_enclave_abi::shared::{SHARED, SHARED_SIZE};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect};

/// A range of the addresses that are kept for shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    start: usize,
    length: usize,
}

impl Place {
    /// Whole pages; `None` where they are not all inside.
    pub(crate) fn new(place: u64, length: u64) -> Option<Self> {
        let end = place.checked_add(length)?;
        let whole = (place | length).is_multiple_of(4096) && length > 0;
        if !whole || end > SHARED_SIZE {
            return None;
        }
        Some(Self {
            start: usize::try_from(SHARED.checked_add(place)?).ok()?,
            length: usize::try_from(length).ok()?,
        })
    }
}

/// Keeps the addresses for shared memory free, once at the start.
pub(crate) fn reserve() -> Result<(), Errno> {
    let whole = Place::new(0, SHARED_SIZE).ok_or(Errno::INVAL)?;
    // Fails where anything is there.
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: replaces nothing.
    let got = unsafe {
        mmap_anonymous(with_exposed_provenance_mut(whole.start), whole.length, ProtFlags::empty(), flags)
    }?;
    // Kernels before 4.17 take the address for a wish.
    if got.expose_provenance() == whole.start { Ok(()) } else { Err(Errno::EXIST) }
}

/// Maps a part of a segment there. Addresses must have been reserved.
pub(crate) fn map(place: Place, segment: impl AsFd, offset: u64, prot: ProtFlags) -> Result<(), Errno> {
    let address = with_exposed_provenance_mut(place.start);
    let flags = MapFlags::SHARED | MapFlags::FIXED;
    // SAFETY: replaces only what is in the reserved range, of which this process has no references.
    unsafe { mmap(address, place.length, prot, flags, segment, offset) }.map(drop)
}

/// Takes what is mapped there away; the addresses stay reserved.
pub(crate) fn unmap(place: Place) -> Result<(), Errno> {
    let address = with_exposed_provenance_mut(place.start);
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: as above.
    unsafe { mmap_anonymous(address, place.length, ProtFlags::empty(), flags) }.map(drop)
}

/// Changes what may be done there.
pub(crate) fn protect(place: Place, prot: MprotectFlags) -> Result<(), Errno> {
    // SAFETY: as above.
    unsafe { mprotect(with_exposed_provenance_mut(place.start), place.length, prot) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_whole_pages_of_the_range() {
        assert!(Place::new(0, SHARED_SIZE).is_some());
        assert!(Place::new(SHARED_SIZE - 4096, 4096).is_some());
        for (place, length) in
            [(0, 0), (1, 4096), (0, 4095), (SHARED_SIZE, 4096), (4096, SHARED_SIZE), (u64::MAX - 4095, 4096)]
        {
            assert_eq!(Place::new(place, length), None, "{place:#x} {length:#x}");
        }
    }
}
