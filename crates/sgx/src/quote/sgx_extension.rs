//! The extension of a platform's certificate that says what the platform is.
//!
//! Intel, "PCK Certificate and CRL Profile Specification".

use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Encode, Result, Tag};

/// CPUSVN of the emulated platform. TCB matching reads it as sixteen numbers.
pub use crate::platform::emulated::CPUSVN as EMULATED_CPUSVN;

/// Platform provisioning id of the emulated platform.
pub const EMULATED_PPID: [u8; 16] = *b"casemate emulate";

/// Family, model and stepping of the emulated platform, as a verifier may pin it.
pub const EMULATED_FMSPC: [u8; 6] = *b"casema";

/// Security version of the emulated platform's certification enclave.
pub(super) const PCE_SVN: u8 = 1;

/// The extension.
pub(super) const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");

/// The certification enclave's id.
const PCE_ID: [u8; 2] = [0; 2];

/// The extension's value, in DER.
pub(super) fn encode() -> Result<Vec<u8>> {
    let mut tcb = Vec::new();
    for (component, svn) in (1..).zip(&EMULATED_CPUSVN) {
        tcb.extend(entry(&[2, component], svn)?);
    }
    tcb.extend(entry(&[2, 17], &PCE_SVN)?);
    tcb.extend(entry(&[2, 18], &OctetStringRef::new(&EMULATED_CPUSVN)?)?);

    let mut configuration = Vec::new();
    for flag in 1..=3 {
        configuration.extend(entry(&[7, flag], &false)?);
    }

    let mut all = entry(&[1], &OctetStringRef::new(&EMULATED_PPID)?)?;
    all.extend(entry(&[2], &AnyRef::new(Tag::Sequence, &tcb)?)?);
    all.extend(entry(&[3], &OctetStringRef::new(&PCE_ID)?)?);
    all.extend(entry(&[4], &OctetStringRef::new(&EMULATED_FMSPC)?)?);
    // SGX type: standard.
    all.extend(entry(&[5], &AnyRef::new(Tag::Enumerated, &[0])?)?);
    all.extend(entry(&[7], &AnyRef::new(Tag::Sequence, &configuration)?)?);
    AnyRef::new(Tag::Sequence, &all)?.to_der()
}

/// One value under its number below the extension's own: a sequence of both.
fn entry(number: &[u32], value: &impl Encode) -> Result<Vec<u8>> {
    let mut oid = OID;
    for &arc in number {
        oid = oid.push_arc(arc).map_err(|_| der::ErrorKind::OidMalformed)?;
    }
    let mut content = oid.to_der()?;
    content.extend(value.to_der()?);
    AnyRef::new(Tag::Sequence, &content)?.to_der()
}
