//! REPORT and TARGETINFO: one enclave's proof to another on the same machine.

use core::mem::offset_of;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::{Attributes, Miscselect, Reserved};

/// The part of a REPORT that is signed, and that a quote carries on (SDM vol. 3D, ch. 37).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReportBody {
    /// Security version of the platform.
    pub cpusvn: [u8; 16],
    /// MISCSELECT of the enclave.
    pub miscselect: Miscselect,
    /// CET attributes of the enclave.
    pub cet_attributes: u8,
    /// Zero.
    pub reserved1: Reserved<11>,
    /// Extended product number (KSS).
    pub isvextprodid: [u8; 16],
    /// Attributes of the enclave.
    pub attributes: Attributes,
    /// What was loaded.
    pub mrenclave: [u8; 32],
    /// Zero.
    pub reserved2: Reserved<32>,
    /// Who signed it.
    pub mrsigner: [u8; 32],
    /// Zero.
    pub reserved3: Reserved<32>,
    /// Configuration that the host named (KSS).
    pub configid: [u8; 64],
    /// Product number.
    pub isvprodid: u16,
    /// Security version.
    pub isvsvn: u16,
    /// Version of the configuration (KSS).
    pub configsvn: u16,
    /// Zero.
    pub reserved4: Reserved<42>,
    /// Family of the product (KSS).
    pub isvfamilyid: [u8; 16],
    /// What the enclave says.
    pub reportdata: [u8; 64],
}

impl Default for ReportBody {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

/// REPORT (SDM vol. 3D, ch. 37). EREPORT writes it to an address of 512-byte alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Report {
    /// What is said.
    pub body: ReportBody,
    /// Told to the key's derivation.
    pub keyid: [u8; 32],
    /// AES-128-CMAC of the body under the target's report key.
    pub mac: [u8; 16],
}

impl Default for Report {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

/// TARGETINFO: who shall be able to check the report (SDM vol. 3D, ch. 37).
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(512))]
pub struct TargetInfo {
    /// MRENCLAVE of the target.
    pub measurement: [u8; 32],
    /// Attributes of the target.
    pub attributes: Attributes,
    /// CET attributes of the target.
    pub cet_attributes: u8,
    /// Zero.
    pub reserved1: Reserved<1>,
    /// Version of the target's configuration.
    pub configsvn: u16,
    /// MISCSELECT of the target.
    pub miscselect: Miscselect,
    /// Zero.
    pub reserved2: Reserved<8>,
    /// Configuration of the target.
    pub configid: [u8; 64],
    /// Zero.
    pub reserved3: Reserved<384>,
}

impl TargetInfo {
    /// The enclave that this body describes, as a target: what one enclave does to answer another's report.
    #[must_use]
    pub fn of(body: &ReportBody) -> Self {
        Self {
            measurement: body.mrenclave,
            attributes: body.attributes,
            cet_attributes: body.cet_attributes,
            configsvn: body.configsvn,
            miscselect: body.miscselect,
            configid: body.configid,
            ..Self::default()
        }
    }
}

impl Default for TargetInfo {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

const _: () = assert!(size_of::<ReportBody>() == 384);
const _: () = assert!(offset_of!(ReportBody, isvextprodid) == 32);
const _: () = assert!(offset_of!(ReportBody, attributes) == 48);
const _: () = assert!(offset_of!(ReportBody, mrenclave) == 64);
const _: () = assert!(offset_of!(ReportBody, mrsigner) == 128);
const _: () = assert!(offset_of!(ReportBody, configid) == 192);
const _: () = assert!(offset_of!(ReportBody, isvprodid) == 256);
const _: () = assert!(offset_of!(ReportBody, configsvn) == 260);
const _: () = assert!(offset_of!(ReportBody, isvfamilyid) == 304);
const _: () = assert!(offset_of!(ReportBody, reportdata) == 320);
const _: () = assert!(size_of::<Report>() == 432);
const _: () = assert!(offset_of!(Report, keyid) == 384);
const _: () = assert!(offset_of!(Report, mac) == 416);
const _: () = assert!(size_of::<TargetInfo>() == 512 && align_of::<TargetInfo>() == 512);
const _: () = assert!(offset_of!(TargetInfo, cet_attributes) == 48);
const _: () = assert!(offset_of!(TargetInfo, configsvn) == 50);
const _: () = assert!(offset_of!(TargetInfo, miscselect) == 52);
const _: () = assert!(offset_of!(TargetInfo, configid) == 64);
const _: () = assert!(offset_of!(TargetInfo, reserved3) == 128);
