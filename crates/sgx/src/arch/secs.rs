//! SECS: the enclave itself.

use core::mem::offset_of;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::{Attributes, Miscselect, PAGE_SIZE, Reserved};

/// SECS (SDM vol. 3D, ch. 37). ECREATE reads it; afterwards only the processor does.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct Secs {
    /// Bytes of ELRANGE, a power of two.
    pub size: u64,
    /// First address of ELRANGE, aligned to its size.
    pub baseaddr: u64,
    /// Pages in a state frame.
    pub ssaframesize: u32,
    /// What an asynchronous exit writes besides the registers.
    pub miscselect: Miscselect,
    /// Offset of the legacy code bitmap (CET).
    pub cet_leg_bitmap_offset: u64,
    /// CET attributes.
    pub cet_attributes: u8,
    /// Zero.
    pub reserved1: Reserved<15>,
    /// Rights.
    pub attributes: Attributes,
    /// Measurement; the processor's own.
    pub mrenclave: [u8; 32],
    /// Zero.
    pub reserved2: Reserved<32>,
    /// Digest of the signer's key; set by EINIT.
    pub mrsigner: [u8; 32],
    /// Zero.
    pub reserved3: Reserved<32>,
    /// Configuration that the host names (KSS).
    pub configid: [u8; 64],
    /// Product number; set by EINIT.
    pub isvprodid: u16,
    /// Security version; set by EINIT.
    pub isvsvn: u16,
    /// Version of the configuration (KSS).
    pub configsvn: u16,
    /// Zero.
    pub reserved4: Reserved<3834>,
}

impl Default for Secs {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

const _: () = assert!(size_of::<Secs>() == PAGE_SIZE && align_of::<Secs>() == PAGE_SIZE);
const _: () = assert!(offset_of!(Secs, ssaframesize) == 16);
const _: () = assert!(offset_of!(Secs, miscselect) == 20);
const _: () = assert!(offset_of!(Secs, cet_attributes) == 32);
const _: () = assert!(offset_of!(Secs, attributes) == 48);
const _: () = assert!(offset_of!(Secs, mrenclave) == 64);
const _: () = assert!(offset_of!(Secs, mrsigner) == 128);
const _: () = assert!(offset_of!(Secs, configid) == 192);
const _: () = assert!(offset_of!(Secs, isvprodid) == 256);
const _: () = assert!(offset_of!(Secs, configsvn) == 260);
