//! The leaves of ENCLU, by name.

use casemate_sgx::arch::{
    AttributeFlags, Attributes, ErrorCode, KeyName, KeyPolicy, KeyRequest, Leaf, PageType, Permissions,
    SecInfo, SecInfoFlags,
};

use super::entry::enclu;

fn call(leaf: Leaf, info: &SecInfo, page: u64) -> Result<(), Option<ErrorCode>> {
    let info = core::ptr::from_ref(info).addr() as u64;
    // SAFETY: the leaf reads SECINFO and works on a page of program memory or heap that the page manager owns.
    match unsafe { enclu(leaf.raw(), info, page, 0) } {
        0 => Ok(()),
        code => Err(ErrorCode::from_raw(code)),
    }
}

/// EACCEPT of a page that the host has added.
pub(crate) fn accept_new(page: u64) -> Result<(), Option<ErrorCode>> {
    call(Leaf::Eaccept, &SecInfo::reg(Permissions::RW).with(SecInfoFlags::PENDING), page)
}

/// EACCEPT of a page whose permissions the host has restricted.
pub(crate) fn accept_restricted(page: u64, permissions: Permissions) -> Result<(), Option<ErrorCode>> {
    call(Leaf::Eaccept, &SecInfo::reg(permissions).with(SecInfoFlags::PR), page)
}

/// EACCEPT of a page that the host has begun to remove.
pub(crate) fn accept_trimmed(page: u64) -> Result<(), Option<ErrorCode>> {
    let info = SecInfo::new(PageType::Trim, Permissions::empty()).with(SecInfoFlags::MODIFIED);
    call(Leaf::Eaccept, &info, page)
}

/// EMODPE: adds permissions.
pub(crate) fn extend(page: u64, permissions: Permissions) {
    let info = SecInfo::reg(permissions);
    let info = core::ptr::from_ref(&info).addr() as u64;
    // SAFETY: as above. EMODPE returns nothing.
    unsafe { enclu(Leaf::Emodpe.raw(), info, page, 0) };
}

/// Where EGETKEY puts a key.
#[repr(C, align(16))]
struct Key([u8; 16]);

/// EGETKEY: the sealing key of enclaves of this very measurement, on this machine, for a number. `None` where the processor
/// has none.
pub(crate) fn seal_key(id: [u8; 32]) -> Option<[u8; 16]> {
    let flags = AttributeFlags::INIT | AttributeFlags::DEBUG;
    let request = KeyRequest {
        keyname: KeyName::Seal.raw(),
        keypolicy: KeyPolicy::MRENCLAVE,
        attributemask: Attributes { flags, xfrm: 0 },
        keyid: id,
        ..KeyRequest::default()
    };
    let mut key = Key([0; 16]);
    let from = core::ptr::from_ref(&request).addr() as u64;
    let to = core::ptr::from_mut(&mut key).expose_provenance() as u64;
    // SAFETY: the leaf reads a KEYREQUEST, aligned as its type is, and writes sixteen aligned bytes.
    let code = unsafe { enclu(Leaf::Egetkey.raw(), from, to, 0) };
    (code == 0).then_some(key.0)
}
