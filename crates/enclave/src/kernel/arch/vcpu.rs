//! A vCPU: a TCS, and the page that GS points to while a processor is inside by it.

use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use super::layout;

/// What `state` of a [`Vcpu`] can be.
pub(crate) mod state {
    /// Never entered.
    pub(crate) const FRESH: u64 = 0;
    /// The kernel has left by a host call, and comes back by an entry at CSSA 0.
    pub(crate) const OUTSIDE: u64 = 1;
    /// Inside.
    pub(crate) const INSIDE: u64 = 2;
}

/// The page at GS. Its first fields are known to assembly and to rewritten guest code (`jmp *%gs:8`).
#[repr(C, align(4096))]
pub(crate) struct Vcpu {
    /// Its own address.
    pub(crate) this: u64,
    /// Where rewritten `syscall` and `cpuid` instructions of guest code jump.
    pub(crate) syscall_entry: u64,
    pub(crate) cpuid_entry: u64,
    /// Scratch of the entries: a stack pointer, an address.
    pub(crate) user_rsp: u64,
    pub(crate) user_rip: u64,
    /// Top of the kernel stack of the guest thread that runs here.
    pub(crate) kernel_stack: u64,
    /// Its XSAVE area, and whether the processor, not the area, holds its state components.
    pub(crate) xsave_area: u64,
    pub(crate) live: u64,
    /// The host's stack and return address of the entry at CSSA 0.
    pub(crate) host_rsp: u64,
    pub(crate) host_rbp: u64,
    pub(crate) host_return: u64,
    /// The kernel's stack pointer while it is outside.
    pub(crate) call_rsp: u64,
    /// See [`state`].
    pub(crate) state: u64,
    /// The host's stack and return address of an entry at CSSA 1.
    pub(crate) exception_rsp: u64,
    pub(crate) exception_rbp: u64,
    pub(crate) exception_return: u64,
    /// The guest thread that runs here (a leaked `Arc<Thread>` held by the scheduler), or null.
    pub(crate) thread: u64,
    /// Set from an exception entry that interrupted the kernel: look at the run queue before going back.
    pub(crate) need_resched: AtomicU64,
    /// System calls that were made here.
    calls: AtomicU64,
}

/// Offsets that rewritten guest code uses.
pub(crate) const SYSCALL_ENTRY: i32 = 8;
pub(crate) const CPUID_ENTRY: i32 = 16;

const _: () = assert!(offset_of!(Vcpu, syscall_entry) == 8 && offset_of!(Vcpu, cpuid_entry) == 16);
const _: () = assert!(size_of::<Vcpu>() == 4096);

impl Vcpu {
    /// The one that this code runs on.
    pub(crate) fn current() -> *mut Self {
        let this: u64;
        // SAFETY: GS always points to the vCPU's page inside the enclave, whose first word is its address.
        unsafe { asm!("mov {}, gs:[0]", out(reg) this, options(nostack, preserves_flags, readonly)) };
        core::ptr::with_exposed_provenance_mut(usize::try_from(this).unwrap_or(0))
    }

    /// Number of the vCPU that this code runs on: it follows from where its page lies.
    pub(crate) fn index() -> usize {
        let block = Self::current().addr() as u64 - layout::vcpu_page(0);
        usize::try_from(block / layout::VCPU_STRIDE).unwrap_or(0)
    }

    /// Counts a system call.
    pub(crate) fn count_call() {
        // SAFETY: the page of this vCPU; the field is atomic.
        let calls = unsafe { &(*Self::current()).calls };
        // Only this vCPU adds to it.
        calls.store(calls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// How many system calls all vCPUs have made.
    pub(crate) fn all_calls() -> u64 {
        let of = |index| {
            let page = usize::try_from(layout::vcpu_page(index)).unwrap_or(0);
            let page: *const Self = core::ptr::with_exposed_provenance(page);
            // SAFETY: the page of a vCPU, of which there are always so many; the field is atomic.
            unsafe { &(*page).calls }.load(Ordering::Relaxed)
        };
        (0..casemate_enclave_abi::MAX_VCPUS).map(of).sum()
    }

    /// Takes the request to look at the run queue.
    pub(crate) fn take_need_resched() -> bool {
        // SAFETY: the page of this vCPU; the field is atomic.
        let need = unsafe { &(*Self::current()).need_resched };
        need.load(Ordering::Relaxed) != 0 && need.swap(0, Ordering::Relaxed) != 0
    }
}

/// System calls that trapped instead of being rewritten.
static TRAPPED_CALLS: AtomicU64 = AtomicU64::new(0);

/// Counts one.
pub(crate) fn count_trapped_call() {
    TRAPPED_CALLS.fetch_add(1, Ordering::Relaxed);
}

/// How many there were.
pub(crate) fn trapped_calls() -> u64 {
    TRAPPED_CALLS.load(Ordering::Relaxed)
}
