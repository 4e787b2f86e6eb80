//! EREPORT and EGETKEY: keys derived from a secret of the installation, over the manual's own structures.
//!
//! A processor derives keys from fuses by AES-CMAC over KEYDEPENDENCIES (SDM vol. 3D, EGETKEY). Here the secret is sixteen
//! bytes in a file. Reports and keys therefore work as on a processor, between enclaves of one installation, and prove
//! nothing.

use aes::Aes128;
use cmac::{Cmac, KeyInit as _, Mac as _};
use zerocopy::IntoBytes as _;

use crate::arch::{
    AttributeFlags, Attributes, ErrorCode, KeyName, KeyPolicy, KeyRequest, Report, ReportBody, Secs,
    TargetInfo,
};
use crate::platform::PlatformError;
#[cfg(feature = "quote")]
use crate::quote::EmulatedQe;

/// CPUSVN of the emulated platform: what its reports hold, and, in quotes, what its certificate says.
pub const CPUSVN: [u8; 16] = *b"emulated\0\0\0\0\0\0\0\0";

/// AES-128-CMAC.
pub(super) fn cmac(key: &[u8; 16], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = Cmac::<Aes128>::new_from_slice(key).expect("a key of sixteen bytes");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The key that reports for `target` are signed with.
fn report_key(secret: &[u8; 16], target: &TargetInfo, keyid: &[u8; 32]) -> [u8; 16] {
    let name = KeyName::Report.raw().to_le_bytes();
    cmac(
        secret,
        &[
            &name,
            &target.measurement,
            target.attributes.as_bytes(),
            &target.miscselect.bits().to_le_bytes(),
            &target.configid,
            &target.configsvn.to_le_bytes(),
            &CPUSVN,
            keyid,
        ],
    )
}

/// The target that an enclave is to reports for itself.
fn own_target(secs: &Secs) -> TargetInfo {
    TargetInfo {
        measurement: secs.mrenclave,
        attributes: secs.attributes,
        miscselect: secs.miscselect,
        configid: secs.configid,
        configsvn: secs.configsvn,
        ..TargetInfo::default()
    }
}

/// EREPORT (SDM vol. 3D). `keyid` is the platform's, made at start.
pub(super) fn report(
    secret: &[u8; 16],
    keyid: [u8; 32],
    secs: &Secs,
    target: &TargetInfo,
    data: &[u8; 64],
) -> Report {
    let body = ReportBody {
        cpusvn: CPUSVN,
        miscselect: secs.miscselect,
        attributes: secs.attributes,
        mrenclave: secs.mrenclave,
        mrsigner: secs.mrsigner,
        configid: secs.configid,
        isvprodid: secs.isvprodid,
        isvsvn: secs.isvsvn,
        configsvn: secs.configsvn,
        reportdata: *data,
        ..ReportBody::default()
    };
    let mac = cmac(&report_key(secret, target, &keyid), &[body.as_bytes()]);
    Report { body, keyid, mac }
}

/// Whether a report was made for `target` on this installation.
pub(super) fn is_genuine(secret: &[u8; 16], target: &TargetInfo, report: &Report) -> bool {
    cmac(&report_key(secret, target, &report.keyid), &[report.body.as_bytes()]) == report.mac
}

/// EGETKEY (SDM vol. 3D). Report and seal keys for everybody, the provisioning keys by attribute.
pub(super) fn key(secret: &[u8; 16], secs: &Secs, request: &KeyRequest) -> Result<[u8; 16], ErrorCode> {
    let name = KeyName::from_raw(request.keyname).ok_or(ErrorCode::InvalidKeyname)?;
    let needs = match name {
        KeyName::Report => return Ok(report_key(secret, &own_target(secs), &request.keyid)),
        KeyName::Seal => AttributeFlags::empty(),
        KeyName::Provision | KeyName::ProvisionSeal => AttributeFlags::PROVISIONKEY,
        KeyName::Einittoken => AttributeFlags::EINITTOKENKEY,
    };
    if !secs.attributes.flags.contains(needs) {
        return Err(ErrorCode::InvalidAttribute);
    }
    if request.isvsvn > secs.isvsvn {
        return Err(ErrorCode::InvalidIsvsvn);
    }
    if request.cpusvn != CPUSVN && request.cpusvn != [0; 16] {
        return Err(ErrorCode::InvalidCpusvn);
    }
    let by = |policy: KeyPolicy, value: &[u8; 32]| {
        if request.keypolicy.contains(policy) { *value } else { [0; 32] }
    };
    // INIT and DEBUG always count: a debug enclave never gets the keys of a production enclave.
    let mask = Attributes {
        flags: request.attributemask.flags | AttributeFlags::INIT | AttributeFlags::DEBUG,
        xfrm: request.attributemask.xfrm,
    };
    Ok(cmac(
        secret,
        &[
            &request.keyname.to_le_bytes(),
            &request.keypolicy.bits().to_le_bytes(),
            &by(KeyPolicy::MRENCLAVE, &secs.mrenclave),
            &by(KeyPolicy::MRSIGNER, &secs.mrsigner),
            &secs.isvprodid.to_le_bytes(),
            &request.isvsvn.to_le_bytes(),
            &request.cpusvn,
            secs.attributes.masked(mask).as_bytes(),
            &(secs.miscselect.bits() & request.miscmask).to_le_bytes(),
            &request.keyid,
        ],
    ))
}

/// The target that the emulated quoting enclave is.
#[cfg(feature = "quote")]
pub(super) fn quoting_target() -> Result<TargetInfo, PlatformError> {
    Ok(EmulatedQe::target_info())
}

/// A quote of a report that is genuine.
#[cfg(feature = "quote")]
pub(super) fn quote(secret: &[u8; 16], report: &Report) -> Result<Vec<u8>, PlatformError> {
    let failed = |error: crate::quote::MintError| PlatformError::Quote(error.to_string());
    EmulatedQe::new(secret).map_err(failed)?.quote(&report.body).map_err(failed)
}

/// There is no quoting enclave in this build.
#[cfg(not(feature = "quote"))]
pub(super) fn quoting_target() -> Result<TargetInfo, PlatformError> {
    Err(PlatformError::Quote("this build has no quoting enclave (feature `quote`)".into()))
}

/// There is no quoting enclave in this build.
#[cfg(not(feature = "quote"))]
pub(super) fn quote(_: &[u8; 16], _: &Report) -> Result<Vec<u8>, PlatformError> {
    Err(PlatformError::Quote("this build has no quoting enclave (feature `quote`)".into()))
}
