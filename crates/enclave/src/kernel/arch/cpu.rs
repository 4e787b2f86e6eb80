//! Single instructions.

use core::arch::asm;

/// The FS base.
pub(crate) fn fs_base() -> u64 {
    let base;
    // SAFETY: reads a register; an enclave's host has FSGSBASE (the loader checks).
    unsafe { asm!("rdfsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    base
}

/// Sets the FS base, which the kernel itself does not use. `base` must be canonical.
pub(crate) fn set_fs_base(base: u64) {
    // SAFETY: kernel code has no thread-local variables.
    unsafe { asm!("wrfsbase {}", in(reg) base, options(nomem, nostack, preserves_flags)) };
}

/// The time-stamp counter.
pub(crate) fn time_stamp() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The state components that are switched on (XCR0).
pub(crate) fn components() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register; an enclave's processor has XSAVE.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    };
    u64::from(high) << 32 | u64::from(low)
}

/// A random number of the processor's own, or `None` where it has none at the moment.
pub(crate) fn random() -> Option<u64> {
    for _ in 0..10 {
        let (value, ok): (u64, u8);
        // SAFETY: reads a number; every processor with SGX has RDRAND.
        unsafe { asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) ok, options(nomem, nostack)) };
        if ok != 0 {
            return Some(value);
        }
    }
    None
}

/// Stores the state components of the processor in `area` (XSAVE, standard format).
///
/// # Safety
/// `area` points to an [`super::xstate::Area`].
pub(crate) unsafe fn save_state(area: u64) {
    // SAFETY: the caller's; the area is larger than what XFRM can need.
    unsafe {
        asm!("xsave64 [{}]", in(reg) area, in("eax") u32::MAX, in("edx") u32::MAX, options(nostack, preserves_flags));
    }
}
