//! Guest memory, as system calls read and write it.
//!
//! The address space is locked, the range is checked and committed, then bytes are copied: the copy itself cannot fault.

use alloc::vec::Vec;

use casemate_enclave::mm::{Access, FaultOutcome, MapError, Prot, Range};

use crate::process::{AddressSpace, process};
use crate::syscall::Errno;

/// Longest path with its NUL (`PATH_MAX`).
pub(crate) const PATH_MAX: usize = 4096;

fn checked(space: &mut AddressSpace, address: u64, length: usize, access: Access) -> Result<(), Errno> {
    if length == 0 {
        return Ok(());
    }
    let range = Range::covering(address, length as u64).ok_or(Errno::EFAULT)?;
    space.populate(range, access).map_err(|_| Errno::EFAULT)
}

/// The error number of a mapping error.
pub(crate) fn errno(error: MapError) -> Errno {
    u16::try_from(error.errno()).ok().and_then(Errno::new).unwrap_or(Errno::EINVAL)
}

/// Copies whole pages, for mremap(2).
pub(crate) fn copy_pages(from: Range, to: Range) {
    let bytes = usize::try_from(from.len().min(to.len())).unwrap_or(0);
    // SAFETY: the address space, which is locked, says that both ranges are committed, apart from each other, the one
    // readable and the other writable.
    unsafe { pointer(to.start()).copy_from_nonoverlapping(pointer(from.start()), bytes) };
}

fn pointer(address: u64) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or(0))
}

/// Copies guest memory out into `to`.
pub(crate) fn read(address: u64, to: &mut [u8]) -> Result<(), Errno> {
    let mut space = process().space.lock();
    checked(&mut space, address, to.len(), Access::Read)?;
    // SAFETY: the range is mapped and committed, and stays so while the address space is locked.
    unsafe { pointer(address).copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) };
    Ok(())
}

/// Copies `from` into guest memory.
pub(crate) fn write(address: u64, from: &[u8]) -> Result<(), Errno> {
    let mut space = process().space.lock();
    checked(&mut space, address, from.len(), Access::Write)?;
    // SAFETY: as above, writable.
    unsafe { pointer(address).copy_from_nonoverlapping(from.as_ptr(), from.len()) };
    Ok(())
}

/// Copies `from` into guest memory, whether the program may write there or not.
pub(crate) fn overwrite(address: u64, from: &[u8]) -> Result<(), Errno> {
    let mut space = process().space.lock();
    let prot = space.find(address).ok_or(Errno::EFAULT)?.vma.prot;
    let range = Range::covering(address, from.len() as u64).ok_or(Errno::EFAULT)?;
    let closed = !prot.contains(Prot::W);
    if closed {
        space.protect(range.start(), range.len(), Prot::RW).map_err(errno)?;
    }
    let writable = checked(&mut space, address, from.len(), Access::Write);
    if writable.is_ok() {
        // SAFETY: the range is mapped, writable and committed while the address space is locked.
        unsafe { pointer(address).copy_from_nonoverlapping(from.as_ptr(), from.len()) };
    }
    if closed {
        space.protect(range.start(), range.len(), prot).map_err(errno)?;
    }
    writable
}

/// Runs `f` on guest memory as it lies there, for transfers that need no copy in between. The address space stays locked,
/// so `f` must not use it.
pub(crate) fn with_bytes<T>(address: u64, length: usize, f: impl FnOnce(&[u8]) -> T) -> Result<T, Errno> {
    let mut space = process().space.lock();
    checked(&mut space, address, length, Access::Read)?;
    if length == 0 {
        return Ok(f(&[]));
    }
    // SAFETY: mapped and committed while locked. Other guest threads may write there meanwhile, as they may under Linux;
    // `f` copies bytes and depends on no value.
    Ok(f(unsafe { core::slice::from_raw_parts(pointer(address), length) }))
}

/// The same, to write.
pub(crate) fn with_bytes_mut<T>(
    address: u64,
    length: usize,
    f: impl FnOnce(&mut [u8]) -> T,
) -> Result<T, Errno> {
    let mut space = process().space.lock();
    checked(&mut space, address, length, Access::Write)?;
    if length == 0 {
        return Ok(f(&mut []));
    }
    // SAFETY: as above.
    Ok(f(unsafe { core::slice::from_raw_parts_mut(pointer(address), length) }))
}

/// Copies committed pages out for another enclave, whatever their protection.
pub(crate) fn carry_out(address: u64, to: &mut [u8]) -> Result<(), Errno> {
    let mut space = process().space.lock();
    let range = Range::covering(address, to.len() as u64).ok_or(Errno::EFAULT)?;
    let unreadable = !space.covers(range, Access::Read);
    let prot = space.find(address).map_or(Prot::NONE, |mapping| mapping.vma.prot);
    if unreadable {
        space.settle(range, Prot::R).map_err(|_| Errno::EFAULT)?;
    }
    // SAFETY: the pages are committed and readable, and stay so while the address space is locked.
    unsafe { pointer(address).copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) };
    if unreadable {
        space.settle(range, prot).map_err(|_| Errno::EFAULT)?;
    }
    Ok(())
}

/// Commits pages and has `f` fill them, whatever protection they have in the end. `f` must not use the address space.
pub(crate) fn carry_in(
    range: Range,
    prot: Prot,
    f: impl FnOnce(&mut [u8]) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut space = process().space.lock();
    space.settle(range, Prot::RW).map_err(|_| Errno::ENOMEM)?;
    let length = usize::try_from(range.len()).map_err(|_| Errno::ENOMEM)?;
    // SAFETY: the pages are committed and writable, and nobody else runs yet.
    let filled = f(unsafe { core::slice::from_raw_parts_mut(pointer(range.start()), length) });
    if prot != Prot::RW {
        space.settle(range, prot).map_err(|_| Errno::ENOMEM)?;
    }
    filled
}

/// Reads a structure of plain bytes.
pub(crate) fn read_value<T: zerocopy::FromBytes + zerocopy::IntoBytes>(address: u64) -> Result<T, Errno> {
    let mut value = T::new_zeroed();
    read(address, value.as_mut_bytes())?;
    Ok(value)
}

/// Writes a structure of plain bytes.
pub(crate) fn write_value<T: zerocopy::IntoBytes + zerocopy::Immutable>(
    address: u64,
    value: &T,
) -> Result<(), Errno> {
    write(address, value.as_bytes())
}

/// Reads a NUL-terminated string of less than `limit` bytes, without the NUL.
pub(crate) fn read_string(address: u64, limit: usize) -> Result<Vec<u8>, Errno> {
    let mut string = Vec::new();
    let mut at = address;
    while string.len() < limit {
        // A page at a time: the string may end right before memory that is not there.
        let page_left = 4096 - usize::try_from(at % 4096).unwrap_or(0);
        let length = page_left.min(limit - string.len());
        let end = with_bytes(at, length, |bytes| {
            let end = bytes.iter().position(|byte| *byte == 0);
            string.extend_from_slice(&bytes[..end.unwrap_or(length)]);
            end.is_some()
        })?;
        if end {
            return Ok(string);
        }
        at = at.checked_add(length as u64).ok_or(Errno::EFAULT)?;
    }
    Err(Errno::ENAMETOOLONG)
}

/// Reads a path.
pub(crate) fn read_path(address: u64) -> Result<Vec<u8>, Errno> {
    read_string(address, PATH_MAX)
}

/// What a page fault of a guest thread comes to.
pub(crate) fn fault(address: u64, access: Access) -> FaultOutcome {
    process().space.lock().fault(address, access)
}

/// Runs `f` on the futex word at an address, which must be readable (and writable where `write`), aligned to four bytes. The
/// address space stays locked meanwhile, so the word stays there.
pub(crate) fn with_futex_word<T>(
    address: u64,
    write: bool,
    f: impl FnOnce(&core::sync::atomic::AtomicU32) -> T,
) -> Result<T, Errno> {
    if !address.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    let access = if write { Access::Write } else { Access::Read };
    let mut space = process().space.lock();
    checked(&mut space, address, 4, access)?;
    // SAFETY: aligned, mapped and committed while locked; only ever used as an atomic here, and by guest code as it likes.
    Ok(f(unsafe { core::sync::atomic::AtomicU32::from_ptr(pointer(address).cast()) }))
}

/// What a mapping protection of mmap(2) and mprotect(2) allows; `None` for bits that do not exist.
pub(crate) fn prot(bits: u64) -> Option<Prot> {
    // PROT_GROWSDOWN and PROT_GROWSUP change nothing here.
    let bits = bits & !0x0300_0000;
    Prot::from_bits(u8::try_from(bits).ok()?)
}
