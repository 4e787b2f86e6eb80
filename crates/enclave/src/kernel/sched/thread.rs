//! A guest thread.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use spin::Mutex;

use super::stack::KernelStack;
use crate::arch::frame::Frame;
use crate::arch::vcpu::Vcpu;
use crate::arch::xstate::Area;
use crate::signal::Signals;

/// What a thread is doing. Changes under the scheduler's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// In the run queue, or new.
    Ready,
    /// On this vCPU.
    Running(usize),
    /// Waits to be unparked, or for this time.
    Parked(Option<u64>),
    /// Gone.
    Ended,
}

/// What [`Thread::wake`] found.
pub(super) enum Wake {
    /// It was not waiting; it will not block the next time. If it runs, on which vCPU.
    Token(Option<usize>),
    /// It was waiting, with this deadline, and is ready now.
    Ready(Option<u64>),
}

/// Parts that the scheduler's lock protects.
struct Scheduled {
    status: Status,
    /// An unpark that came early.
    token: bool,
    timed_out: bool,
    /// The stack pointer while it does not run.
    stack_pointer: u64,
}

/// A guest thread: a kernel stack, state components, and what Linux keeps for a thread.
pub(crate) struct Thread {
    id: AtomicU32,
    stack: KernelStack,
    scheduled: UnsafeCell<Scheduled>,
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
}

// SAFETY: `scheduled` is used only under the scheduler's lock; `area` only by the vCPU on which the thread runs, or by
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
    /// A thread that will start with the registers of `frame`, and with the state components of `state`.
    pub(crate) fn new(
        id: u32,
        frame: &Frame,
        fs_base: u64,
        state: Option<&Area>,
        signals: Signals,
    ) -> Arc<Self> {
        let mut stack = KernelStack::new();
        let stack_pointer = stack.prepare(frame);
        let mut area = Box::new(Area::initial());
        if let Some(state) = state {
            area.copy_from_ssa(state.bytes());
        }
        Arc::new(Self {
            id: AtomicU32::new(id),
            stack,
            scheduled: UnsafeCell::new(Scheduled {
                status: Status::Ready,
                token: false,
                timed_out: false,
                stack_pointer,
            }),
            area: UnsafeCell::new(area),
            first_fs_base: fs_base,
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            signals: Mutex::new(signals),
            name: Mutex::new([0; 16]),
            attention: AtomicBool::new(false),
        })
    }

    /// Its id, as gettid(2) says.
    pub(crate) fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// Gives it another id: that of its process, at execve(2); for a while that of a child (vfork(2)).
    pub(crate) fn set_id(&self, id: u32) {
        self.id.store(id, Ordering::Relaxed);
    }

    pub(super) fn status_is_running(&self) -> bool {
        matches!(self.scheduled().status, Status::Running(_))
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
            // SAFETY: the reference that the field held. It is not the last one: the run queue, a timer, a wait queue or
            // `ended` has another.
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

    #[expect(clippy::mut_from_ref, reason = "the scheduler's lock makes it exclusive")]
    fn scheduled(&self) -> &mut Scheduled {
        // SAFETY: called only with the scheduler's lock held, by this module and its parent, for no longer than a statement.
        unsafe { &mut *self.scheduled.get() }
    }

    pub(super) fn stack_pointer(&self) -> *mut u64 {
        &raw mut self.scheduled().stack_pointer
    }

    pub(super) fn take_token(&self) -> bool {
        core::mem::take(&mut self.scheduled().token)
    }

    pub(super) fn set_parked(&self, deadline: Option<u64>) {
        let scheduled = self.scheduled();
        scheduled.status = Status::Parked(deadline);
        scheduled.timed_out = false;
    }

    pub(super) fn set_running(&self) {
        self.scheduled().status = Status::Running(Vcpu::index());
        self.stack.check();
    }

    pub(super) fn set_ended(&self) {
        self.scheduled().status = Status::Ended;
    }

    pub(super) fn set_timed_out(&self) {
        let scheduled = self.scheduled();
        scheduled.status = Status::Ready;
        scheduled.timed_out = true;
    }

    pub(super) fn take_timed_out(&self) -> bool {
        core::mem::take(&mut self.scheduled().timed_out)
    }

    pub(super) fn wake(&self) -> Wake {
        let scheduled = self.scheduled();
        match scheduled.status {
            Status::Parked(deadline) => {
                scheduled.status = Status::Ready;
                Wake::Ready(deadline)
            }
            status @ (Status::Ready | Status::Running(_) | Status::Ended) => {
                scheduled.token = true;
                Wake::Token(if let Status::Running(vcpu) = status { Some(vcpu) } else { None })
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
