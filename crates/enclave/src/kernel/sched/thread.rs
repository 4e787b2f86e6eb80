//! A guest thread.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use spin::Mutex;

use super::stack::KernelStack;
use crate::arch::frame::Frame;
use crate::arch::vcpu::Vcpu;
use crate::arch::xstate::Area;
use crate::signal::Signals;

/// What a thread is doing, as far as wakes are concerned.
mod state {
    /// On a vCPU or in a queue.
    pub(super) const RUNNABLE: u8 = 0;
    /// The same, and was unparked early: it will not block the next time.
    pub(super) const NOTIFIED: u8 = 1;
    /// Waits to be unparked.
    pub(super) const PARKED: u8 = 2;
    /// Gone.
    pub(super) const ENDED: u8 = 3;
}

/// What [`Thread::wake`] found.
pub(super) enum Wake {
    /// It was not waiting; it will not block the next time. If it is on a vCPU, on which.
    Token(Option<usize>),
    /// It was waiting, and is to be queued now.
    Ready,
}

/// A guest thread: a kernel stack, state components, and what Linux keeps for a thread.
pub(crate) struct Thread {
    id: AtomicU32,
    stack: KernelStack,
    state: AtomicU8,
    /// The number of the vCPU whose stack pointer is in this thread's stack, plus one; or zero.
    on: AtomicUsize,
    /// The stack pointer while it is on no vCPU.
    stack_pointer: UnsafeCell<u64>,
    /// When it was queued, by the time-stamp counter.
    pub(super) queued: AtomicU64,
    area: UnsafeCell<Box<Area>>,
    first_fs_base: u64,
    /// Where to write zero, and wake a futex, when it ends (`set_tid_address`, CLONE_CHILD_CLEARTID).
    pub(crate) clear_child_tid: AtomicU64,
    /// Head of the list of robust futexes (`set_robust_list`).
    pub(crate) robust_list: AtomicU64,
    /// Handlers' masks, pending signals, alternate stack.
    pub(crate) signals: Mutex<Signals>,
    /// Its name (`PR_SET_NAME`), NUL-padded.
    pub(crate) name: Mutex<[u8; 16]>,
    /// Signals may be pending that are not blocked: look before going back to guest code.
    pub(crate) attention: AtomicBool,
    /// What it runs, if it is the kernel's own and never goes to guest code.
    main: Option<fn() -> !>,
}

// SAFETY: `stack_pointer` and `area` are used only by the vCPU on which the thread runs, or by
// whoever makes the thread before it runs.
unsafe impl Sync for Thread {}
// SAFETY: as above; nothing in it belongs to one vCPU.
unsafe impl Send for Thread {}

impl core::fmt::Debug for Thread {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Thread").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Thread {
    /// A thread that will start with the registers of `frame`, and with the state components of `state`. `None` where
    /// there is no memory for it.
    pub(crate) fn new(
        id: u32,
        frame: &Frame,
        fs_base: u64,
        state: Option<&Area>,
        signals: Signals,
    ) -> Option<Arc<Self>> {
        let mut stack = KernelStack::new()?;
        let stack_pointer = stack.prepare(frame);
        let mut area = Box::new(Area::initial());
        if let Some(state) = state {
            area.copy_from_ssa(state.bytes());
        }
        Some(Arc::new(Self {
            id: AtomicU32::new(id),
            stack,
            state: AtomicU8::new(state::RUNNABLE),
            on: AtomicUsize::new(0),
            stack_pointer: UnsafeCell::new(stack_pointer),
            queued: AtomicU64::new(0),
            area: UnsafeCell::new(area),
            first_fs_base: fs_base,
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            signals: Mutex::new(signals),
            name: Mutex::new([0; 16]),
            attention: AtomicBool::new(false),
            main: None,
        }))
    }

    /// A thread of the kernel's own, which runs `main`. `None` where there is no memory for it.
    pub(crate) fn of_kernel(id: u32, main: fn() -> !) -> Option<Arc<Self>> {
        let frame = Frame::starting_at(0, 0);
        let mut thread = Self::new(id, &frame, 0, None, Signals::default())?;
        Arc::get_mut(&mut thread)?.main = Some(main);
        Some(thread)
    }

    pub(super) fn main(&self) -> Option<fn() -> !> {
        self.main
    }

    /// Its id, as gettid(2) says.
    pub(crate) fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// Gives it another id: that of its process, at execve(2); for a while that of a child (vfork(2)).
    pub(crate) fn set_id(&self, id: u32) {
        self.id.store(id, Ordering::Relaxed);
    }

    /// Whether a vCPU executes it now, in guest code or in the kernel, and not only on its way to sleep.
    pub(crate) fn is_running(&self) -> bool {
        let state = self.state.load(Ordering::Acquire);
        self.is_on_a_vcpu() && state != state::PARKED && state != state::ENDED
    }

    pub(super) fn first_fs_base(&self) -> u64 {
        self.first_fs_base
    }

    /// The thread on this vCPU.
    pub(crate) fn current() -> Option<Arc<Self>> {
        // SAFETY: the page of this vCPU.
        let pointer = unsafe { (*Vcpu::current()).thread };
        if pointer == 0 {
            return None;
        }
        let pointer: *const Self = core::ptr::with_exposed_provenance(usize::try_from(pointer).unwrap_or(0));
        // SAFETY: the field holds a reference of its own, from `set_current`; this makes another.
        unsafe { Arc::increment_strong_count(pointer) };
        // SAFETY: the reference that was just made.
        Some(unsafe { Arc::from_raw(pointer) })
    }

    /// Makes `thread` the one on this vCPU.
    pub(super) fn set_current(thread: Option<Arc<Self>>) {
        // SAFETY: the page of this vCPU, which only code on this vCPU uses.
        let vcpu = unsafe { &mut *Vcpu::current() };
        let before = vcpu.thread;
        match thread {
            Some(thread) => {
                vcpu.kernel_stack = thread.stack.top();
                // SAFETY: the thread runs nowhere else.
                vcpu.xsave_area = unsafe { (*thread.area.get()).address() };
                vcpu.live = 0;
                vcpu.thread = Arc::into_raw(thread).expose_provenance() as u64;
            }
            None => {
                vcpu.thread = 0;
                vcpu.xsave_area = 0;
            }
        }
        if before != 0 {
            let pointer: *const Self =
                core::ptr::with_exposed_provenance(usize::try_from(before).unwrap_or(0));
            // SAFETY: the reference that the field held. It is not the last one: the thread's own stack or `ended` has
            // another.
            drop(unsafe { Arc::from_raw(pointer) });
        }
    }

    /// Its state components, while it is in the kernel and they were saved.
    ///
    /// # Safety
    /// The thread is the current one and [`crate::arch::xstate::save_current`] has run, or it has not started yet.
    #[expect(clippy::mut_from_ref, reason = "the caller guarantees that nobody else uses the area")]
    pub(crate) unsafe fn area(&self) -> &mut Area {
        // SAFETY: the caller's.
        unsafe { &mut *self.area.get() }
    }

    /// Its frame at the top of its kernel stack. Only for the current thread, in a system call or a fault.
    pub(crate) fn frame_address(&self) -> u64 {
        self.stack.frame_address()
    }

    /// Where its stack pointer is kept while it is on no vCPU.
    pub(super) fn stack_pointer(&self) -> *mut u64 {
        self.stack_pointer.get()
    }

    /// Takes the token of an unpark that came early.
    pub(super) fn take_token(&self) -> bool {
        self.state.load(Ordering::Relaxed) == state::NOTIFIED
            && self.state.swap(state::RUNNABLE, Ordering::AcqRel) == state::NOTIFIED
    }

    /// Says that the thread waits from now on: whoever unparks it queues it. `false` where an unpark came before.
    pub(super) fn begin_park(&self) -> bool {
        let (from, to) = (state::RUNNABLE, state::PARKED);
        let parked = self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        parked || !self.take_token()
    }

    /// Which vCPU it is on, plus one, or zero.
    pub(super) fn on(&self) -> &AtomicUsize {
        &self.on
    }

    /// Whether a vCPU still uses its stack.
    pub(super) fn is_on_a_vcpu(&self) -> bool {
        // Acquire: what was stored on the way off is seen by who goes on.
        self.on.load(Ordering::Acquire) != 0
    }

    /// Says that nobody is on a thread's stack any more.
    pub(super) fn set_left(on: &AtomicUsize) {
        on.store(0, Ordering::Release);
    }

    pub(super) fn set_running(&self) {
        self.on.store(Vcpu::index() + 1, Ordering::Relaxed);
        self.stack.check();
    }

    pub(super) fn set_ended(&self) {
        self.state.store(state::ENDED, Ordering::Release);
    }

    pub(super) fn wake(&self) -> Wake {
        let mut now = self.state.load(Ordering::Relaxed);
        loop {
            let next = match now {
                state::PARKED => state::RUNNABLE,
                state::ENDED => return Wake::Token(None),
                _ => state::NOTIFIED,
            };
            match self.state.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(state::PARKED) => return Wake::Ready,
                Ok(_) => return Wake::Token(self.on.load(Ordering::Relaxed).checked_sub(1)),
                Err(other) => now = other,
            }
        }
    }

    /// Asks the thread to look at its signals before it goes back to guest code.
    pub(crate) fn attend(&self) {
        self.attention.store(true, Ordering::Release);
    }

    /// Whether that was asked and not yet done.
    pub(super) fn needs_attention(&self) -> bool {
        self.attention.load(Ordering::Acquire)
    }

    /// Takes that request of the thread on this vCPU.
    pub(crate) fn take_attention() -> bool {
        // SAFETY: the page of this vCPU.
        let pointer = unsafe { (*Vcpu::current()).thread };
        let pointer: *const Self = core::ptr::with_exposed_provenance(usize::try_from(pointer).unwrap_or(0));
        // SAFETY: null, or the thread that runs here, which stays until another is made current.
        let Some(thread) = (unsafe { pointer.as_ref() }) else { return false };
        thread.attention.load(Ordering::Acquire) && thread.attention.swap(false, Ordering::AcqRel)
    }
}
