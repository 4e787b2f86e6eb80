//! What a mapping is, apart from where it is.

use alloc::sync::Arc;

use bitflags::bitflags;

use super::prot::Prot;

bitflags! {
    /// Properties of a mapping that a protection does not say.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct VmaFlags: u8 {
        /// `MAP_SHARED`.
        const SHARED = 1;
        /// `MAP_NORESERVE`: may be larger than the memory that there is.
        const NORESERVE = 1 << 1;
        /// `MAP_GROWSDOWN`: a fault just below it makes it longer, and a guard gap below it is kept free.
        const GROWS_DOWN = 1 << 2;
        /// `MAP_STACK`: used from the top down, so pages around a fault are committed below it.
        const STACK = 1 << 3;
        /// `mseal(2)`: can neither be unmapped, replaced, moved nor get another protection.
        const SEALED = 1 << 4;
        /// A shared mapping of a file opened for reading only: can never become writable.
        const READ_ONLY = 1 << 5;
    }
}

/// What a mapping holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Memory of its own.
    Anonymous,
    /// Bytes of a file, copied in by whoever mapped it.
    File {
        /// The path that `/proc/self/maps` shows.
        name: Arc<str>,
        /// The byte of the file at the start of the mapping, a multiple of the page size.
        offset: u64,
    },
    /// A part of a segment outside the enclave, which other enclaves map too.
    Outside {
        /// The host's number for the segment.
        segment: u64,
        /// The byte of the segment at the start of the mapping, a multiple of the page size.
        offset: u64,
    },
    /// The memory that `brk` gives.
    Heap,
    /// The stack of the first thread.
    Stack,
    /// Trampolines of the system-call rewriter.
    Island,
    /// The kernel's vDSO.
    Vdso,
    /// Addresses that the kernel keeps for itself.
    Reserved,
}

/// A mapping without its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vma {
    /// What the program asked for; see [`Prot::effective`] for what that allows.
    pub prot: Prot,
    /// What it holds.
    pub kind: Kind,
    /// Further properties.
    pub flags: VmaFlags,
}

impl Vma {
    /// The same mapping as seen `bytes` further on.
    #[must_use]
    pub(crate) fn advanced(&self, bytes: u64) -> Self {
        let mut vma = self.clone();
        if let Kind::File { offset, .. } | Kind::Outside { offset, .. } = &mut vma.kind {
            *offset = offset.saturating_add(bytes);
        }
        vma
    }

    /// Whether `next`, which begins where this one ends after `len` bytes, can be one mapping with it.
    #[must_use]
    pub(crate) fn continues(&self, len: u64, next: &Self) -> bool {
        self.prot == next.prot
            && self.flags == next.flags
            && match (&self.kind, &next.kind) {
                (Kind::File { name, offset }, Kind::File { name: next_name, offset: next_offset }) => {
                    offset.checked_add(len) == Some(*next_offset) && name == next_name
                }
                (
                    Kind::Outside { segment, offset },
                    Kind::Outside { segment: next_segment, offset: next_offset },
                ) => offset.checked_add(len) == Some(*next_offset) && segment == next_segment,
                (kind, next_kind) => kind == next_kind,
            }
    }

    /// Whether Linux would count it against the memory there is (`accountable_mapping` of mm/mmap.c).
    #[must_use]
    pub(crate) fn is_accountable(&self) -> bool {
        self.prot.contains(Prot::W) && !self.flags.intersects(VmaFlags::NORESERVE | VmaFlags::SHARED)
    }
}
