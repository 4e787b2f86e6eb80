//! Kernel stacks.

use alloc::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

use crate::arch::entry;
use crate::arch::frame::Frame;

/// Bytes. The deepest user is the rewriter, at a mapping of code.
const SIZE: usize = 64 * 1024;

/// What the lowest word holds while nobody has run over the stack's end.
const CANARY: u64 = 0x5ca1_ab1e_0dd5_ea75;

/// The stack on which a guest thread's kernel code runs.
pub(super) struct KernelStack {
    bottom: *mut u8,
}

// SAFETY: owned memory; who runs on it is the scheduler's business.
unsafe impl Send for KernelStack {}
// SAFETY: as above.
unsafe impl Sync for KernelStack {}

const LAYOUT: Layout = match Layout::from_size_align(SIZE, 4096) {
    Ok(layout) => layout,
    Err(_) => panic!("a layout of whole pages"),
};

impl KernelStack {
    pub(super) fn new() -> Self {
        // SAFETY: the layout has a size.
        let bottom = unsafe { alloc_zeroed(LAYOUT) };
        if bottom.is_null() {
            handle_alloc_error(LAYOUT);
        }
        let stack = Self { bottom };
        // SAFETY: the first word of the memory, aligned to a page.
        unsafe { bottom.cast::<u64>().write(CANARY) };
        stack
    }

    /// Its top, where the frames of entries from guest code begin.
    pub(super) fn top(&self) -> u64 {
        self.bottom.expose_provenance() as u64 + SIZE as u64
    }

    /// Where the frame of an entry from guest code lies.
    pub(super) fn frame_address(&self) -> u64 {
        self.top() - size_of::<Frame>() as u64
    }

    /// Lays out a new stack so that the first switch to it goes to guest code with `frame`. Returns its stack pointer.
    pub(super) fn prepare(&mut self, frame: &Frame) -> u64 {
        let frame_address = self.frame_address();
        let place: *mut Frame =
            core::ptr::with_exposed_provenance_mut(usize::try_from(frame_address).unwrap_or(0));
        // SAFETY: the top of the stack, which nobody runs on yet.
        unsafe { place.write(*frame) };
        // Six callee-saved registers, then the address to return to.
        let start = frame_address - 7 * 8;
        let words: *mut u64 = core::ptr::with_exposed_provenance_mut(usize::try_from(start).unwrap_or(0));
        // SAFETY: the seventh word below the frame, on the same stack.
        let address = unsafe { words.add(6) };
        // SAFETY: as above, aligned.
        unsafe { address.write(entry::address_of_thread_start()) };
        start
    }

    /// Panics where code has run over the stack's end.
    pub(super) fn check(&self) {
        // SAFETY: the first word of the memory.
        let word = unsafe { self.bottom.cast::<u64>().read() };
        assert!(word == CANARY, "a kernel stack has overflowed");
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout; nobody runs on the stack of a dropped thread.
        unsafe { dealloc(self.bottom, LAYOUT) };
    }
}
