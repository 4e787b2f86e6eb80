//! Kernel stacks.
//!
//! With EDMM they lie at the end of ELRANGE, in pages that are accepted when a stack is first used and kept for the next
//! thread; below each is room that never has pages, so that running over a stack's end faults. Without EDMM all memory was
//! there from the start, and they are taken from the heap.

use alloc::alloc::{Layout, alloc, dealloc};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Mutex;

use crate::arch::frame::Frame;
use crate::arch::{entry, layout, leaves};

/// Bytes. The most that was seen in use is 17 KiB, at clone(2).
const SIZE: u64 = 32 * 1024;

/// From one stack at the end of ELRANGE to the next.
const STRIDE: u64 = 2 * SIZE;

/// Stacks that the heap gives where there is no EDMM: a third of it.
const MOST_FIXED: u64 = 2048;

/// What the lowest word holds while nobody has run over the stack's end.
const CANARY: u64 = 0x5ca1_ab1e_0dd5_ea75;

/// Whether pages are added on demand.
static DYNAMIC: AtomicBool = AtomicBool::new(false);

/// Says whether the enclave has EDMM. At boot, before there are threads.
pub(crate) fn set_dynamic(dynamic: bool) {
    DYNAMIC.store(dynamic, Ordering::Relaxed);
}

/// Stacks that nobody uses, and how many there are in all.
struct Pool {
    free: Vec<u64>,
    made: u64,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), made: 0 });

fn pointer<T>(address: u64) -> *mut T {
    core::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or(0))
}

impl Pool {
    /// The lowest address of a stack that nobody uses.
    fn take(&mut self) -> Option<u64> {
        if let Some(free) = self.free.pop() {
            return Some(free);
        }
        let bottom = if DYNAMIC.load(Ordering::Relaxed) { self.add()? } else { self.allocate()? };
        self.made += 1;
        Some(bottom)
    }

    /// New pages at the end of ELRANGE.
    fn add(&self) -> Option<u64> {
        let bottom = layout::STACKS + self.made * STRIDE + (STRIDE - SIZE);
        if bottom + SIZE > layout::DYNAMIC_SIZE {
            return None;
        }
        for page in (bottom..bottom + SIZE).step_by(4096) {
            leaves::accept_new(page).unwrap_or_else(|code| panic!("EACCEPT of a stack's page: {code:?}"));
        }
        Some(bottom)
    }

    /// Memory of the heap.
    fn allocate(&self) -> Option<u64> {
        if self.made >= MOST_FIXED {
            return None;
        }
        // SAFETY: the layout has a size.
        let bottom = unsafe { alloc(FIXED) };
        (!bottom.is_null()).then(|| bottom.expose_provenance() as u64)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const FIXED: Layout = match Layout::from_size_align(SIZE as usize, 4096) {
    Ok(layout) => layout,
    Err(_) => panic!("a layout of whole pages"),
};

/// The stack on which a guest thread's kernel code runs.
pub(super) struct KernelStack {
    bottom: u64,
}

impl KernelStack {
    /// `None` where there is no memory for one.
    pub(super) fn new() -> Option<Self> {
        let bottom = POOL.lock().take()?;
        // SAFETY: the first word of the stack, which nobody else uses.
        unsafe { pointer::<u64>(bottom).write(CANARY) };
        Some(Self { bottom })
    }

    /// Its top, where the frames of entries from guest code begin.
    pub(super) fn top(&self) -> u64 {
        self.bottom + SIZE
    }

    /// Where the frame of an entry from guest code lies.
    pub(super) fn frame_address(&self) -> u64 {
        self.top() - size_of::<Frame>() as u64
    }

    /// Lays out a new stack so that the first switch to it goes to guest code with `frame`. Returns its stack pointer.
    pub(super) fn prepare(&mut self, frame: &Frame) -> u64 {
        let frame_address = self.frame_address();
        // SAFETY: the top of the stack, which nobody runs on yet.
        unsafe { pointer::<Frame>(frame_address).write(*frame) };
        // Six callee-saved registers, then the address to return to.
        let start = frame_address - 7 * 8;
        // SAFETY: the seventh word below the frame, on the same stack.
        unsafe { pointer::<u64>(start + 6 * 8).write(entry::address_of_thread_start()) };
        start
    }

    /// Panics where code has run over the stack's end.
    pub(super) fn check(&self) {
        // SAFETY: the first word of the stack.
        let word = unsafe { pointer::<u64>(self.bottom).read() };
        assert!(word == CANARY, "a kernel stack has overflowed");
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        if DYNAMIC.load(Ordering::Relaxed) {
            POOL.lock().free.push(self.bottom);
        } else {
            POOL.lock().made -= 1;
            // SAFETY: allocated with this layout; nobody runs on the stack of a dropped thread.
            unsafe { dealloc(pointer(self.bottom), FIXED) };
        }
    }
}
