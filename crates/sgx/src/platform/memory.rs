//! A reserved range of this process's addresses, for an enclave or a table: how it is mapped, protected, read and written.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr;

use super::PlatformError;
use crate::arch::{PAGE_SIZE, Permissions};

/// What the kernel gives no one: the first pages of the address space. An ELRANGE that begins at 0 begins, for pages, here.
pub(super) const LOWEST_ADDRESS: u64 = 0x10000;

/// A reserved range of addresses; nothing else of the process is in it. Given back when dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    start: u64,
    end: u64,
}

impl Reserved {
    /// Reserves exactly `base..base + size` (from [`LOWEST_ADDRESS`] on), without access.
    pub(super) fn at(base: u64, size: u64) -> Result<Self, PlatformError> {
        let start = base.max(LOWEST_ADDRESS);
        let end = base.checked_add(size).ok_or(PlatformError::Range { base, size, reason: "it wraps" })?;
        if start >= end {
            return Err(PlatformError::Range { base, size, reason: "it lies below the lowest address" });
        }
        let got = map(start, end - start, libc::MAP_FIXED_NOREPLACE);
        if got == Some(start) {
            return Ok(Self { start, end });
        }
        if let Some(elsewhere) = got {
            // Kernels before 4.17 take the address as a hint.
            drop(Self { start: elsewhere, end: elsewhere + (end - start) });
        }
        Err(PlatformError::Range {
            base,
            size,
            reason: "addresses there are in use, or the kernel does not give them",
        })
    }

    /// Reserves `size` bytes anywhere.
    pub(super) fn anywhere(size: u64) -> Result<Self, PlatformError> {
        match map(0, size, 0) {
            Some(start) => Ok(Self { start, end: start + size }),
            None => Err(PlatformError::last("reserve addresses for the emulated enclave's tables")),
        }
    }

    /// Maps all of it from a device, without access yet: from then on [`Reserved::protect`] sets what is allowed.
    pub(super) fn map_device(&self, file: &File) -> Result<(), PlatformError> {
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        let length = size(self.end - self.start);
        // SAFETY: replaces this object's own reservation, to which nothing refers.
        let got =
            unsafe { libc::mmap(pointer(self.start), length, libc::PROT_NONE, flags, file.as_raw_fd(), 0) };
        if got == libc::MAP_FAILED { Err(PlatformError::last("mmap of an enclave")) } else { Ok(()) }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn contains(&self, address: u64, length: u64) -> bool {
        address >= self.start && address.checked_add(length).is_some_and(|end| end <= self.end)
    }

    /// Sets the protection of whole pages inside.
    pub(super) fn protect(
        &self,
        address: u64,
        length: u64,
        permissions: Permissions,
    ) -> Result<(), PlatformError> {
        assert!(
            self.contains(address, length),
            "protect() of {address:#x}..+{length:#x} beyond the reserved range"
        );
        let mut prot = libc::PROT_NONE;
        for (permission, bit) in [
            (Permissions::R, libc::PROT_READ),
            (Permissions::W, libc::PROT_WRITE),
            (Permissions::X, libc::PROT_EXEC),
        ] {
            if permissions.contains(permission) {
                prot |= bit;
            }
        }
        // SAFETY: the range is inside this reservation (asserted), which holds nothing that Rust refers to.
        match unsafe { libc::mprotect(pointer(address), size(length), prot) } {
            0 => Ok(()),
            _ => Err(PlatformError::last("change the protection of enclave pages")),
        }
    }

    /// Gives the contents of whole pages back: they read as zeros from now on.
    pub(super) fn discard(&self, address: u64, length: u64) {
        assert!(
            self.contains(address, length),
            "discard() of {address:#x}..+{length:#x} beyond the reserved range"
        );
        // SAFETY: as in `protect`; on a private anonymous mapping this frees and zeroes.
        let result = unsafe { libc::madvise(pointer(address), size(length), libc::MADV_DONTNEED) };
        assert_eq!(result, 0, "madvise: {}", io::Error::last_os_error());
    }

    /// Copies bytes in. The pages must be writable.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) {
        assert!(
            self.contains(address, bytes.len() as u64),
            "write() at {address:#x} beyond the reserved range"
        );
        // SAFETY: inside the reservation (asserted); the caller has made the pages writable.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), pointer(address).cast(), bytes.len()) };
    }

    /// Copies bytes out. The pages must be readable.
    pub(super) fn read(&self, address: u64, bytes: &mut [u8]) {
        assert!(
            self.contains(address, bytes.len() as u64),
            "read() at {address:#x} beyond the reserved range"
        );
        // SAFETY: inside the reservation (asserted); the caller has made the pages readable.
        unsafe { ptr::copy_nonoverlapping(pointer(address).cast(), bytes.as_mut_ptr(), bytes.len()) };
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by this object, and nothing refers into it any more.
        unsafe { libc::munmap(pointer(self.start), size(self.end - self.start)) };
    }
}

/// Maps private anonymous memory without access. `None` where the kernel refuses.
fn map(address: u64, length: u64, more: i32) -> Option<u64> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | more;
    // SAFETY: without MAP_FIXED a new mapping replaces nothing.
    let got = unsafe { libc::mmap(pointer(address), size(length), libc::PROT_NONE, flags, -1, 0) };
    (got != libc::MAP_FAILED).then_some(got.addr() as u64)
}

pub(super) fn pointer(address: u64) -> *mut libc::c_void {
    ptr::with_exposed_provenance_mut(size(address))
}

/// On x86-64 every `u64` is a `usize`.
pub(super) fn size(value: u64) -> usize {
    usize::try_from(value).expect("64-bit")
}

/// The page that holds an address.
pub(super) fn page_of(address: u64) -> u64 {
    address & !(PAGE_SIZE as u64 - 1)
}
