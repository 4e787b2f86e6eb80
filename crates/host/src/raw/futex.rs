//! futex(2) on words of memory that enclaves share. The kernel checks the address: what is not mapped is an error.

use std::ptr::null;
use std::time::Duration;

use casemate_enclave_abi::shared::{SHARED, SHARED_SIZE};
use rustix::io::Errno;

/// A futex word of shared memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word(u64);

impl Word {
    /// The word at a place in shared memory; `None` where none can be.
    pub(crate) fn new(place: u64) -> Option<Self> {
        if place < SHARED_SIZE && place.is_multiple_of(4) {
            Some(Self(SHARED.checked_add(place)?))
        } else {
            None
        }
    }

    /// Waits while it has a value, so long at most.
    pub(crate) fn wait(self, value: u32, bits: u32, most: Duration) -> Result<(), Errno> {
        // FUTEX_WAIT_BITSET takes a point in time.
        let mut until = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: fills the structure in.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut until) };
        let nanoseconds = until.tv_nsec.saturating_add(most.subsec_nanos().into());
        until.tv_sec = until.tv_sec.saturating_add(i64::try_from(most.as_secs()).unwrap_or(0));
        until.tv_sec = until.tv_sec.saturating_add(nanoseconds / 1_000_000_000);
        until.tv_nsec = nanoseconds % 1_000_000_000;
        let second = null::<u32>();
        // SAFETY: the kernel only reads the word, and checks that it is there.
        let result = unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.0,
                libc::FUTEX_WAIT_BITSET,
                value,
                &raw const until,
                second,
                bits,
            )
        };
        if result == 0 { Ok(()) } else { Err(last()) }
    }

    /// Wakes who waits there, in any process; how many.
    pub(crate) fn wake(self, count: u32, bits: u32) -> Result<u64, Errno> {
        let none = null::<libc::timespec>();
        let second = null::<u32>();
        // SAFETY: the kernel uses the address as a name only.
        let result = unsafe {
            libc::syscall(libc::SYS_futex, self.0, libc::FUTEX_WAKE_BITSET, count, none, second, bits)
        };
        u64::try_from(result).map_err(|_| last())
    }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
