//! The memory of the window.

use std::ptr::null_mut;
use std::slice;

use casemate_enclave_abi::AtomicU64;
use casemate_enclave_abi::layout::PAGE;
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

/// Zeroed words, `bytes` rounded up to whole pages, with a page that nobody can touch on either side. They are never given
/// back: an enclave may use them until the process ends.
pub(crate) fn words(bytes: u64) -> Result<&'static [AtomicU64], Errno> {
    let page = usize::try_from(PAGE).map_err(|_| Errno::NOMEM)?;
    let length = usize::try_from(bytes).ok().and_then(|bytes| bytes.checked_next_multiple_of(page));
    let length = length.filter(|length| *length > 0).ok_or(Errno::NOMEM)?;
    let whole = length.checked_add(2 * page).ok_or(Errno::NOMEM)?;
    // SAFETY: no address is asked for, so nothing that is in use is replaced.
    let start = unsafe {
        mmap_anonymous(null_mut(), whole, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE)
    }?;
    let first = start.wrapping_byte_add(page);
    // SAFETY: the pages were just mapped, and nothing refers to them.
    unsafe { mprotect(first, length, MprotectFlags::READ | MprotectFlags::WRITE) }?;
    // SAFETY: so many readable and writable bytes, zero and page-aligned, that are never unmapped; the slice's type allows
    // that another thread, or the enclave, writes them.
    Ok(unsafe { slice::from_raw_parts(first.cast(), length / size_of::<AtomicU64>()) })
}

/// Address of the words, as the enclave is told it.
pub(crate) fn address(words: &'static [AtomicU64]) -> u64 {
    words.as_ptr().expose_provenance() as u64
}
