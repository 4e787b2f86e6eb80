//! The page manager's hands: ENCLU leaves, and host calls for what only the host can do.

use casemate_enclave::mm::{Hardware, HwError, Prot, Range};
use casemate_enclave_abi::op::Op;
use casemate_enclave_abi::shared::SHARED;
use casemate_sgx::arch::{PageType, Permissions};

use crate::arch::leaves;
use crate::{host, shared};

/// Pages of ELRANGE, changed by EACCEPT and its like where there is EDMM.
#[derive(Debug)]
pub(crate) struct EnclavePages {
    dynamic: bool,
}

impl EnclavePages {
    pub(crate) fn new(dynamic: bool) -> Self {
        Self { dynamic }
    }
}

fn permissions(prot: Prot) -> Permissions {
    let mut permissions = Permissions::empty();
    permissions.set(Permissions::R, prot.contains(Prot::R));
    permissions.set(Permissions::W, prot.contains(Prot::W));
    permissions.set(Permissions::X, prot.contains(Prot::X));
    permissions
}

fn pages(range: Range) -> impl Iterator<Item = u64> {
    (range.start()..range.end()).step_by(4096)
}

/// Asks the host to do something with all of a range; it may do it in parts.
fn ask(op: Op, range: Range, argument: u64) -> Result<(), HwError> {
    let mut done = 0;
    while done < range.len() {
        let arguments = [range.start() + done, range.len() - done, argument, 0, 0, 0];
        match host::call(op, arguments) {
            Ok(bytes) if bytes > 0 && bytes % 4096 == 0 => done += bytes,
            _ => return Err(HwError::Refused),
        }
    }
    Ok(())
}

impl Hardware for EnclavePages {
    fn dynamic(&self) -> bool {
        self.dynamic
    }

    fn accept_new(&mut self, range: Range) -> Result<(), HwError> {
        for page in pages(range) {
            // A host that adds a page of another kind, or adds it twice, ends here.
            leaves::accept_new(page)
                .unwrap_or_else(|code| panic!("EACCEPT of a new page at {page:#x}: {code:?}"));
        }
        Ok(())
    }

    fn extend(&mut self, range: Range, perms: Prot) -> Result<(), HwError> {
        for page in pages(range) {
            leaves::extend(page, permissions(perms));
        }
        Ok(())
    }

    fn restrict(&mut self, range: Range, perms: Prot) -> Result<(), HwError> {
        let permissions = permissions(perms);
        ask(Op::RestrictPermissions, range, u64::from(permissions.bits()))?;
        for page in pages(range) {
            leaves::accept_restricted(page, permissions)
                .unwrap_or_else(|code| panic!("EACCEPT of a restricted page at {page:#x}: {code:?}"));
        }
        Ok(())
    }

    fn trim(&mut self, range: Range) -> Result<(), HwError> {
        ask(Op::ModifyTypes, range, u64::from(PageType::Trim.raw()))?;
        for page in pages(range) {
            leaves::accept_trimmed(page)
                .unwrap_or_else(|code| panic!("EACCEPT of a trimmed page at {page:#x}: {code:?}"));
        }
        ask(Op::RemovePages, range, 0)
    }

    fn protect(&mut self, range: Range, prot: Prot) -> Result<(), HwError> {
        ask(Op::Protect, range, u64::from(permissions(prot).bits()))
    }

    fn zero(&mut self, range: Range) -> Result<(), HwError> {
        let start = core::ptr::with_exposed_provenance_mut::<u8>(usize::try_from(range.start()).unwrap_or(0));
        let length = usize::try_from(range.len()).map_err(|_| HwError::Refused)?;
        // SAFETY: the page manager says that the pages exist and are writable; they belong to the program.
        unsafe { start.write_bytes(0, length) };
        Ok(())
    }

    fn map_outside(&mut self, range: Range, segment: u64, offset: u64, prot: Prot) -> Result<(), HwError> {
        let prot = u64::from(prot.effective().bits());
        let place = range.start().checked_sub(SHARED).ok_or(HwError::Refused)?;
        let mapped = host::call(Op::SharedMap, [segment, offset, place, range.len(), prot, 0]);
        mapped.map(drop).map_err(|_| HwError::Refused)
    }

    fn unmap_outside(&mut self, range: Range, segments: &[u64]) -> Result<(), HwError> {
        let place = range.start().checked_sub(SHARED).ok_or(HwError::Refused)?;
        let unmapped = host::call(Op::SharedUnmap, [place, range.len(), 0, 0, 0, 0]);
        shared::forget(segments);
        for segment in segments {
            // Only the host's own descriptor is lost where it does not.
            let _ = host::call(Op::PipeClose, [*segment, 0, 0, 0, 0, 0]);
        }
        unmapped.map(drop).map_err(|_| HwError::Refused)
    }

    fn protect_outside(&mut self, range: Range, prot: Prot) -> Result<(), HwError> {
        let place = range.start().checked_sub(SHARED).ok_or(HwError::Refused)?;
        let prot = u64::from(prot.effective().bits());
        let changed = host::call(Op::SharedProtect, [place, range.len(), prot, 0, 0, 0]);
        changed.map(drop).map_err(|_| HwError::Refused)
    }
}
