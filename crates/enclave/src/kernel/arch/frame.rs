//! What a guest thread had in its registers when it entered the kernel: at the top of its kernel stack.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// General registers, flags, and the low halves of the vector registers, which kernel code changes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub(crate) struct Frame {
    /// XMM0 to XMM15. Not used when `full`.
    pub(crate) xmm: [[u64; 2]; 16],
    /// The vector registers are in the thread's XSAVE area, all of them.
    pub(crate) full: u64,
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) rbp: u64,
    pub(crate) rbx: u64,
    pub(crate) r11: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rax: u64,
    pub(crate) rcx: u64,
    pub(crate) rdx: u64,
    pub(crate) rsi: u64,
    pub(crate) rdi: u64,
    /// The number of the system call.
    pub(crate) orig_rax: u64,
    pub(crate) rip: u64,
    pub(crate) rsp: u64,
    pub(crate) rflags: u64,
}

const _: () = assert!(size_of::<Frame>() == 416);

impl Frame {
    /// A frame that starts code with an empty stack above `rsp`, interrupts on, every other register zero.
    pub(crate) fn starting_at(rip: u64, rsp: u64) -> Self {
        Self { rip, rsp, rflags: 0x202, full: 1, ..Self::default() }
    }

    /// The six arguments of a system call.
    pub(crate) fn arguments(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }
}
