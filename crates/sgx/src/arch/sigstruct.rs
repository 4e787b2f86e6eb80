//! SIGSTRUCT: who vouches for an enclave, and for what.

use core::mem::offset_of;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::{Attributes, Miscselect, Reserved};

/// SIGSTRUCT.HEADER (SDM vol. 3D, ch. 37; there in the order of a big-endian number).
pub const SIGSTRUCT_HEADER1: [u8; 16] = [6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];

/// SIGSTRUCT.HEADER2 (SDM vol. 3D, ch. 37).
pub const SIGSTRUCT_HEADER2: [u8; 16] = [1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0];

/// SIGSTRUCT.VENDOR of everybody but Intel.
pub const VENDOR_OTHER: u32 = 0;

/// SIGSTRUCT.VENDOR of Intel.
pub const VENDOR_INTEL: u32 = 0x8086;

/// SIGSTRUCT (SDM vol. 3D, ch. 37). Numbers are little-endian, the RSA ones too. EINIT wants it page-aligned.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sigstruct {
    /// [`SIGSTRUCT_HEADER1`].
    pub header: [u8; 16],
    /// [`VENDOR_OTHER`] or [`VENDOR_INTEL`].
    pub vendor: u32,
    /// Day of the signature: the digits of yyyymmdd, four bits each.
    pub date: u32,
    /// [`SIGSTRUCT_HEADER2`].
    pub header2: [u8; 16],
    /// The signer's own use.
    pub swdefined: u32,
    /// Zero.
    pub reserved1: Reserved<84>,
    /// Modulus of the signer's key. Not signed: MRSIGNER is its digest.
    pub modulus: [u8; 384],
    /// Exponent of the signer's key: 3. Not signed.
    pub exponent: u32,
    /// RSA signature, PKCS #1 v1.5 over SHA-256. Not signed.
    pub signature: [u8; 384],
    /// MISCSELECT that the enclave must have.
    pub miscselect: Miscselect,
    /// Where MISCSELECT must be so.
    pub miscmask: u32,
    /// CET attributes that the enclave must have.
    pub cet_attributes: u8,
    /// Where the CET attributes must be so.
    pub cet_attributes_mask: u8,
    /// Zero.
    pub reserved2: Reserved<2>,
    /// Family of the product (KSS).
    pub isvfamilyid: [u8; 16],
    /// Attributes that the enclave must have.
    pub attributes: Attributes,
    /// Where the attributes must be so.
    pub attributemask: Attributes,
    /// MRENCLAVE that the enclave must have.
    pub enclavehash: [u8; 32],
    /// Zero.
    pub reserved3: Reserved<16>,
    /// Extended product number (KSS).
    pub isvextprodid: [u8; 16],
    /// Product number.
    pub isvprodid: u16,
    /// Security version.
    pub isvsvn: u16,
    /// Zero. Not signed.
    pub reserved4: Reserved<12>,
    /// floor(signature² / modulus). Not signed.
    pub q1: [u8; 384],
    /// floor((signature³ - q1 · signature · modulus) / modulus). Not signed.
    pub q2: [u8; 384],
}

impl Sigstruct {
    /// The two parts that are signed, one after the other (SDM vol. 3D, ch. 37, column "Signed").
    #[must_use]
    pub fn signed_parts(&self) -> (&[u8], &[u8]) {
        let bytes = self.as_bytes();
        (
            &bytes[..offset_of!(Self, modulus)],
            &bytes[offset_of!(Self, miscselect)..offset_of!(Self, reserved4)],
        )
    }

    /// Offset of the first reserved field that is not zero.
    #[must_use]
    pub fn reserved_in_use(&self) -> Option<usize> {
        [
            (offset_of!(Self, reserved1), self.reserved1.is_zero()),
            (offset_of!(Self, reserved2), self.reserved2.is_zero()),
            (offset_of!(Self, reserved3), self.reserved3.is_zero()),
            (offset_of!(Self, reserved4), self.reserved4.is_zero()),
        ]
        .into_iter()
        .find_map(|(offset, zero)| (!zero).then_some(offset))
    }
}

impl Default for Sigstruct {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

const _: () = assert!(size_of::<Sigstruct>() == 1808);
const _: () = assert!(offset_of!(Sigstruct, header2) == 24);
const _: () = assert!(offset_of!(Sigstruct, swdefined) == 40);
const _: () = assert!(offset_of!(Sigstruct, modulus) == 128);
const _: () = assert!(offset_of!(Sigstruct, exponent) == 512);
const _: () = assert!(offset_of!(Sigstruct, signature) == 516);
const _: () = assert!(offset_of!(Sigstruct, miscselect) == 900);
const _: () = assert!(offset_of!(Sigstruct, isvfamilyid) == 912);
const _: () = assert!(offset_of!(Sigstruct, attributes) == 928);
const _: () = assert!(offset_of!(Sigstruct, attributemask) == 944);
const _: () = assert!(offset_of!(Sigstruct, enclavehash) == 960);
const _: () = assert!(offset_of!(Sigstruct, isvextprodid) == 1008);
const _: () = assert!(offset_of!(Sigstruct, isvprodid) == 1024);
const _: () = assert!(offset_of!(Sigstruct, isvsvn) == 1026);
const _: () = assert!(offset_of!(Sigstruct, reserved4) == 1028);
const _: () = assert!(offset_of!(Sigstruct, q1) == 1040);
const _: () = assert!(offset_of!(Sigstruct, q2) == 1424);
