//! KEYREQUEST: what EGETKEY derives.

use core::mem::offset_of;

use bitflags::bitflags;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::{Attributes, Reserved};

/// KEYREQUEST.KEYNAME (SDM vol. 3D, ch. 37).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum KeyName {
    /// Launch tokens.
    Einittoken = 0,
    /// Provisioning.
    Provision = 1,
    /// Sealing by provisioning enclaves.
    ProvisionSeal = 2,
    /// Checks the reports made for this enclave.
    Report = 3,
    /// Sealing.
    Seal = 4,
}

impl KeyName {
    /// The one of this number.
    #[must_use]
    pub const fn from_raw(raw: u16) -> Option<Self> {
        Some(match raw {
            0 => Self::Einittoken,
            1 => Self::Provision,
            2 => Self::ProvisionSeal,
            3 => Self::Report,
            4 => Self::Seal,
            _ => return None,
        })
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u16 {
        match self {
            Self::Einittoken => 0,
            Self::Provision => 1,
            Self::ProvisionSeal => 2,
            Self::Report => 3,
            Self::Seal => 4,
        }
    }
}

/// KEYREQUEST.KEYPOLICY: what the key is bound to (SDM vol. 3D, ch. 37).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct KeyPolicy(u16);

bitflags! {
    impl KeyPolicy: u16 {
        /// To this very enclave.
        const MRENCLAVE = 1 << 0;
        /// To its signer.
        const MRSIGNER = 1 << 1;
        /// Not to the product number (needs KSS).
        const NOISVPRODID = 1 << 2;
        /// To CONFIGID (needs KSS).
        const CONFIGID = 1 << 3;
        /// To ISVFAMILYID (needs KSS).
        const ISVFAMILYID = 1 << 4;
        /// To ISVEXTPRODID (needs KSS).
        const ISVEXTPRODID = 1 << 5;
    }
}

/// KEYREQUEST (SDM vol. 3D, ch. 37).
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(512))]
pub struct KeyRequest {
    /// Which key; see [`KeyName`].
    pub keyname: u16,
    /// What it is bound to.
    pub keypolicy: KeyPolicy,
    /// Security version, at most the enclave's own.
    pub isvsvn: u16,
    /// Which CET attributes the key is bound to.
    pub cet_attributes_mask: u8,
    /// Zero.
    pub reserved1: Reserved<1>,
    /// Security version of the platform, at most the current one.
    pub cpusvn: [u8; 16],
    /// Which attributes the key is bound to.
    pub attributemask: Attributes,
    /// Told to the derivation as it is; makes keys distinct.
    pub keyid: [u8; 32],
    /// Which bits of MISCSELECT the key is bound to.
    pub miscmask: u32,
    /// Version of the configuration (KSS).
    pub configsvn: u16,
    /// Zero.
    pub reserved2: Reserved<434>,
}

impl Default for KeyRequest {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

const _: () = assert!(size_of::<KeyRequest>() == 512 && align_of::<KeyRequest>() == 512);
const _: () = assert!(offset_of!(KeyRequest, cpusvn) == 8);
const _: () = assert!(offset_of!(KeyRequest, attributemask) == 24);
const _: () = assert!(offset_of!(KeyRequest, keyid) == 40);
const _: () = assert!(offset_of!(KeyRequest, miscmask) == 72);
const _: () = assert!(offset_of!(KeyRequest, configsvn) == 76);
const _: () = assert!(offset_of!(KeyRequest, reserved2) == 78);
