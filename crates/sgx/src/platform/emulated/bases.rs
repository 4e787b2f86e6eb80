//! The FS and GS bases, by the instructions that need no system call (FSGSBASE, Linux 5.9).

use std::arch::asm;

use super::thread::Thread;

/// Both bases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bases {
    pub(super) fs: u64,
    pub(super) gs: u64,
}

impl Bases {
    /// Those that the thread had when it entered.
    ///
    /// # Safety
    /// `thread` is the block of the calling thread.
    pub(super) unsafe fn of_host(thread: *const Thread) -> Self {
        // SAFETY: the caller's.
        let fs = unsafe { (*thread).host_fs };
        // SAFETY: the caller's.
        let gs = unsafe { (*thread).host_gs };
        Self { fs, gs }
    }
}

/// Whether the processor and the kernel let user space do this (`AT_HWCAP2`, `HWCAP2_FSGSBASE`).
pub(super) fn available() -> bool {
    const HWCAP2_FSGSBASE: u64 = 1 << 1;
    // SAFETY: reads a number from the auxiliary vector.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HWCAP2_FSGSBASE != 0 }
}

/// Reads them.
pub(super) fn get() -> Bases {
    let (fs, gs): (u64, u64);
    // SAFETY: two reads of registers; `available` was checked when the platform was made.
    unsafe {
        asm!("rdfsbase {}", "rdgsbase {}", out(reg) fs, out(reg) gs, options(nomem, nostack, preserves_flags));
    };
    Bases { fs, gs }
}

/// Writes them. The caller sees to it that no thread-local variable is used while FS is not the host's.
pub(super) fn set(bases: Bases) {
    // SAFETY: as said above; the bases are canonical: they were read from the processor, or checked.
    unsafe {
        asm!("wrfsbase {}", "wrgsbase {}", in(reg) bases.fs, in(reg) bases.gs, options(nostack, preserves_flags));
    }
}
