//! TCS: a thread of the enclave, as the processor sees it.

use core::mem::offset_of;

use bitflags::bitflags;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::{PAGE_SIZE, Reserved};

/// TCS.FLAGS (SDM vol. 3D, ch. 37).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct TcsFlags(u64);

bitflags! {
    impl TcsFlags: u64 {
        /// A debugger may step this thread; zero when the page is added.
        const DBGOPTIN = 1 << 0;
        /// This thread may ask to be told of asynchronous exits.
        const AEXNOTIFY = 1 << 1;
    }
}

/// TCS (SDM vol. 3D, ch. 37).
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct Tcs {
    /// Whether a processor is in this thread. The processor's own; zero when the page is added.
    pub stage: u64,
    /// Options.
    pub flags: TcsFlags,
    /// Offset in ELRANGE of the first state frame; page-aligned.
    pub ossa: u64,
    /// Index of the next free state frame; zero when the page is added.
    pub cssa: u32,
    /// Number of state frames.
    pub nssa: u32,
    /// Offset in ELRANGE of the entry point.
    pub oentry: u64,
    /// Address where an asynchronous exit goes on. The processor's own; zero when the page is added.
    pub aep: u64,
    /// Offset in ELRANGE that FS points to inside; page-aligned.
    pub ofsbase: u64,
    /// Offset in ELRANGE that GS points to inside; page-aligned.
    pub ogsbase: u64,
    /// Limit of FS, for 32-bit enclaves.
    pub fslimit: u32,
    /// Limit of GS, for 32-bit enclaves.
    pub gslimit: u32,
    /// Offset of the CET state frames.
    pub ocetssa: u64,
    /// Shadow-stack pointer at the last exit. The processor's own.
    pub prevssp: u64,
    /// Zero.
    pub reserved: Reserved<4008>,
}

impl Default for Tcs {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

const _: () = assert!(size_of::<Tcs>() == PAGE_SIZE && align_of::<Tcs>() == PAGE_SIZE);
const _: () = assert!(offset_of!(Tcs, flags) == 8);
const _: () = assert!(offset_of!(Tcs, ossa) == 16);
const _: () = assert!(offset_of!(Tcs, cssa) == 24);
const _: () = assert!(offset_of!(Tcs, nssa) == 28);
const _: () = assert!(offset_of!(Tcs, oentry) == 32);
const _: () = assert!(offset_of!(Tcs, aep) == 40);
const _: () = assert!(offset_of!(Tcs, ofsbase) == 48);
const _: () = assert!(offset_of!(Tcs, ogsbase) == 56);
const _: () = assert!(offset_of!(Tcs, fslimit) == 64);
const _: () = assert!(offset_of!(Tcs, gslimit) == 68);
const _: () = assert!(offset_of!(Tcs, ocetssa) == 72);
const _: () = assert!(offset_of!(Tcs, prevssp) == 80);
