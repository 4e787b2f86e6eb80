//! What the emulator keeps for each thread of the host that enters enclaves.

use std::cell::OnceCell;
use std::mem::{offset_of, size_of};
use std::ptr;

use super::bases;
use crate::platform::memory::{pointer, size};
use crate::platform::{Exception, PlatformError, Registers};

/// Size and alignment of a thread's block: this structure at its start, the signal stack in the rest.
/// In strict mode every leaf is emulated on it, with several page-aligned structures; without optimisation that takes more
/// than 100 KiB. Only what is used takes memory.
const BLOCK: u64 = 512 * 1024;

/// A thread's registers and state, at offsets that the assembly of [`super::entry`] knows.
#[repr(C, align(64))]
pub(super) struct Thread {
    /// Room for the state components that the emulation of a leaf must not change.
    pub(super) xsave: [u8; 8192],
    /// The host's stack pointer at the entry.
    pub(super) host_rsp: u64,
    pub(super) host_fs: u64,
    pub(super) host_gs: u64,
    /// FS and GS bases to enter with.
    pub(super) enclave_fs: u64,
    pub(super) enclave_gs: u64,
    /// Where EENTER goes.
    pub(super) entry: u64,
    /// The TCS, and its CSSA at EENTER.
    pub(super) tcs: u64,
    pub(super) cssa: u64,
    /// The GPRSGX area of the SSA frame in use (EENTER) or resumed (ERESUME).
    pub(super) gprsgx: u64,
    /// The start of that frame, and the components that ERESUME restores.
    pub(super) frame: u64,
    pub(super) xfrm: u64,
    /// Address of the TCS's busy word.
    pub(super) busy: u64,
    /// The leaf that the enclave asks for, from the patched stub.
    pub(super) leaf: u64,
    /// General registers of the enclave while a leaf is emulated: rax rcx rdx rbx rsp rbp rsi rdi r8..r15.
    pub(super) saved: [u64; 16],
    pub(super) rflags: u64,
    /// Enter with the trap flag set.
    pub(super) step: u64,
    /// Registers to enter with when a signal handler asks for an entry.
    pub(super) event: Registers,
    /// Why the enclave was left, where it was by an exception.
    pub(super) exception: Option<Exception>,
    /// The enclave that the thread is in.
    pub(super) enclave: *const super::enclave::EmulatedEnclave,
    /// End of the ELRANGE for which Syscall User Dispatch is on; 0 before the first.
    pub(super) dispatch_end: u64,
}

const _: () = assert!(size_of::<Thread>() < 16 * 1024);
const _: () = assert!(offset_of!(Thread, xsave) == 0);

/// The block of one thread, given back at its end.
#[derive(Debug)]
struct Block(u64);

thread_local! {
    static BLOCK_OF_THREAD: OnceCell<Block> = const { OnceCell::new() };
}

impl Thread {
    /// The calling thread's, made on the first call. It lives as long as the thread.
    pub(super) fn current() -> Result<*mut Self, PlatformError> {
        BLOCK_OF_THREAD.with(|cell| {
            if let Some(block) = cell.get() {
                return Ok(pointer(block.0).cast());
            }
            let block = Block::new()?;
            let thread: *mut Self = pointer(block.0).cast();
            let bases = bases::get();
            // A signal can interrupt the first entry before it has stored them.
            // SAFETY: the new block, which nobody else knows yet.
            let state = unsafe { &mut *thread };
            (state.host_fs, state.host_gs) = (bases.fs, bases.gs);
            cell.get_or_init(|| block);
            Ok(thread)
        })
    }

    /// The thread whose signal stack holds `address`. In a handler that interrupted an enclave that is the only way to
    /// find it: FS is the enclave's.
    pub(super) fn of_signal_stack(address: u64) -> *mut Self {
        pointer(address & !(BLOCK - 1)).cast()
    }
}

impl Block {
    fn new() -> Result<Self, PlatformError> {
        let failed = || PlatformError::last("map a signal stack");
        // SAFETY: a new mapping, anywhere.
        let got = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size(2 * BLOCK),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if got == libc::MAP_FAILED {
            return Err(failed());
        }
        let start = got.expose_provenance() as u64;
        let block = start.next_multiple_of(BLOCK);
        if block > start {
            // SAFETY: the part of the new mapping before the aligned block; nothing uses it.
            unsafe { libc::munmap(got, size(block - start)) };
        }
        let tail = start + 2 * BLOCK - (block + BLOCK);
        if tail > 0 {
            // SAFETY: the part of the new mapping behind the aligned block; nothing uses it.
            unsafe { libc::munmap(pointer(block + BLOCK), size(tail)) };
        }
        let used = size_of::<Thread>().next_multiple_of(4096);
        let stack =
            libc::stack_t { ss_sp: pointer(block + used as u64), ss_flags: 0, ss_size: size(BLOCK) - used };
        // SAFETY: the stack lies in the block, which stays mapped until it is taken back in `drop`.
        if unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) } != 0 {
            return Err(failed());
        }
        Ok(Self(block))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let none = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: no handler runs on the stack: this is ordinary code of the thread that owns it.
        unsafe { libc::sigaltstack(&raw const none, ptr::null_mut()) };
        // SAFETY: the block was mapped by `new`, and the thread, which is ending, is in no enclave.
        unsafe { libc::munmap(pointer(self.0), size(BLOCK)) };
    }
}
