//! Signals of guest threads: actions, masks, pending ones, and their delivery on the way back to guest code.
//!
//! No signal of the host's reaches the program. Faults come from the SSA frame only, everything else from the program
//! itself.

mod frame;

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use casemate_enclave_abi::{Errno, ExitStatus};
use spin::Once;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::arch::frame::Frame;
use crate::arch::xstate;
use crate::family::{halt, vfork};
use crate::fs::wait::WaitQueue;
use crate::process::process;
use crate::sched::{self, Thread};
use crate::syscall;

pub(crate) use frame::{StackT, sigreturn, stack_t};

pub(crate) const SIGILL: u8 = 4;
pub(crate) const SIGTRAP: u8 = 5;
pub(crate) const SIGBUS: u8 = 7;
pub(crate) const SIGFPE: u8 = 8;
pub(crate) const SIGKILL: u8 = 9;
pub(crate) const SIGSEGV: u8 = 11;
pub(crate) const SIGPIPE: u8 = 13;
pub(crate) const SIGALRM: u8 = 14;
pub(crate) const SIGCHLD: u8 = 17;
pub(crate) const SIGSTOP: u8 = 19;
pub(crate) const SIGVTALRM: u8 = 26;
pub(crate) const SIGPROF: u8 = 27;

/// The largest signal number.
pub(crate) const LAST: u8 = 64;

/// Default actions that are not to end the process: SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH.
/// Stopping is not there yet.
const IGNORED: u64 = bit(17) | bit(18) | bit(19) | bit(20) | bit(21) | bit(22) | bit(23) | bit(28);

/// Signals that faults raise.
const SYNCHRONOUS: u64 = bit(SIGILL) | bit(SIGTRAP) | bit(SIGBUS) | bit(SIGFPE) | bit(SIGSEGV);

pub(crate) const SIG_DFL: u64 = 0;
pub(crate) const SIG_IGN: u64 = 1;

/// Flags of an action (`include/uapi/asm-generic/signal-defs.h`).
pub(crate) mod flag {
    pub(crate) const ONSTACK: u64 = 0x0800_0000;
    pub(crate) const RESTART: u64 = 0x1000_0000;
    pub(crate) const NODEFER: u64 = 0x4000_0000;
    pub(crate) const RESETHAND: u64 = 0x8000_0000;
}

/// A signal's bit in a set.
pub(crate) const fn bit(signal: u8) -> u64 {
    1 << (signal - 1)
}

/// What rt_sigaction(2) sets, as it lies in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub(crate) struct Action {
    pub(crate) handler: u64,
    pub(crate) flags: u64,
    pub(crate) restorer: u64,
    pub(crate) mask: u64,
}

/// The process's part.
#[derive(Debug)]
pub(crate) struct Actions {
    actions: [Action; LAST as usize + 1],
    /// Signals for any thread.
    pending: Queue,
}

impl Default for Actions {
    fn default() -> Self {
        Self { actions: [Action::default(); LAST as usize + 1], pending: Queue::default() }
    }
}

impl Actions {
    /// The action of a signal, 1 to 64.
    pub(crate) fn get(&self, signal: u8) -> Action {
        self.actions.get(usize::from(signal)).copied().unwrap_or_default()
    }

    pub(crate) fn set(&mut self, signal: u8, action: Action) {
        if let Some(place) = self.actions.get_mut(usize::from(signal)) {
            *place = action;
        }
    }

    /// All of them, by number.
    pub(crate) fn all(&self) -> &[Action] {
        &self.actions
    }

    /// Sets all of them.
    pub(crate) fn set_all(&mut self, actions: &[Action]) {
        for (place, action) in self.actions.iter_mut().zip(actions) {
            *place = *action;
        }
    }

    /// Those of a child: the same, and nothing pending.
    pub(crate) fn for_child(&self) -> Self {
        Self { actions: self.actions, pending: Queue::default() }
    }

    /// What execve(2) leaves: handlers are gone, ignored signals stay ignored.
    pub(crate) fn reset_handlers(&mut self) {
        for action in &mut self.actions {
            let handler = if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
            *action = Action { handler, ..Action::default() };
        }
    }

    /// Whether the signal has no effect at all.
    fn is_ignored(&self, signal: u8) -> bool {
        match self.get(signal).handler {
            SIG_IGN => true,
            SIG_DFL => IGNORED & bit(signal) != 0,
            _ => false,
        }
    }
}

/// What a handler is told of where a signal came from (`siginfo_t`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    pub(crate) code: i32,
    /// si_pid and si_uid, or si_addr.
    pub(crate) first: u64,
    /// si_value.
    pub(crate) second: u64,
    /// Of a fault: vector, error code, address, for the handler's context.
    pub(crate) fault: Option<(u64, u64, u64)>,
}

/// The first real-time signal: of those, all that are sent are kept.
const FIRST_REAL_TIME: u8 = 32;

/// How many real-time signals can be pending (RLIMIT_SIGPENDING).
const MAX_PENDING: usize = 4096;

/// Pending signals: one of each, of real-time signals all.
#[derive(Clone, Debug, Default)]
struct Queue {
    set: u64,
    /// In the order in which they came. Not an array with a place for each: these are copied on kernel stacks.
    waiting: VecDeque<(u8, Info)>,
}

impl Queue {
    fn add(&mut self, signal: u8, info: Info) {
        let again = self.set & bit(signal) != 0;
        if again && (signal < FIRST_REAL_TIME || self.waiting.len() >= MAX_PENDING) {
            return;
        }
        self.set |= bit(signal);
        self.waiting.push_back((signal, info));
    }

    fn take(&mut self, allowed: u64) -> Option<(u8, Info)> {
        let ready = self.set & allowed;
        if ready == 0 {
            return None;
        }
        // What an instruction raised comes first, as under Linux: its handler looks at that instruction.
        let first = if ready & SYNCHRONOUS != 0 { ready & SYNCHRONOUS } else { ready };
        let signal = u8::try_from(first.trailing_zeros() + 1).ok()?;
        let index = self.waiting.iter().position(|(number, _)| *number == signal)?;
        let taken = self.waiting.remove(index);
        if self.waiting.iter().all(|(number, _)| *number != signal) {
            self.set &= !bit(signal);
        }
        taken
    }
}

/// An alternate stack (sigaltstack(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AltStack {
    pub(crate) start: u64,
    pub(crate) size: u64,
    /// SS_AUTODISARM.
    pub(crate) autodisarm: bool,
}

impl AltStack {
    /// Whether a stack pointer is on it.
    pub(crate) fn holds(&self, rsp: u64) -> bool {
        self.size != 0 && rsp > self.start && rsp - self.start <= self.size
    }
}

/// A thread's part.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Blocked signals.
    pub(crate) mask: u64,
    /// What rt_sigsuspend(2) puts back.
    pub(crate) saved_mask: Option<u64>,
    pub(crate) alt_stack: AltStack,
    /// Signals that rt_sigtimedwait(2) waits for, blocked as they are.
    pub(crate) awaited: u64,
    pending: Queue,
}

impl Signals {
    /// For a new thread: the mask is inherited, nothing is pending.
    pub(crate) fn with_mask(mask: u64) -> Self {
        Self { mask, ..Self::default() }
    }

    /// Sets the mask; SIGKILL and SIGSTOP cannot be blocked.
    pub(crate) fn set_mask(&mut self, mask: u64) {
        self.mask = mask & !(bit(SIGKILL) | bit(SIGSTOP));
    }
}

/// Sets a thread's mask for the length of a wait. It is put back on the way to guest code, when what came meanwhile has been
/// looked at.
pub(crate) fn mask_for_wait(thread: &Thread, mask: u64) {
    let mut signals = thread.signals.lock();
    signals.saved_mask = Some(signals.mask);
    signals.set_mask(mask);
    thread.attend();
}

/// Signals that wait for this thread, blocked or not.
pub(crate) fn pending(thread: &Thread) -> u64 {
    thread.signals.lock().pending.set | process().actions.lock().pending.set
}

/// Signals that wait for any thread.
pub(crate) fn pending_of_process() -> u64 {
    process().actions.lock().pending.set
}

/// Whether a call that waits should stop waiting (EINTR).
pub(crate) fn interrupts(thread: &Arc<Thread>) -> bool {
    if halt::ends(thread) {
        return true;
    }
    let mask = thread.signals.lock().mask;
    pending(thread) & !mask != 0
}

/// Takes a pending signal of a set: what is sent to this thread first, then what is for any.
pub(crate) fn take_of(thread: &Thread, set: u64) -> Option<(u8, Info)> {
    let own = thread.signals.lock().pending.take(set);
    own.or_else(|| process().actions.lock().pending.take(set))
}

/// What is woken when signals have come: for signalfd(2).
pub(crate) fn arrivals() -> &'static Arc<WaitQueue> {
    static ARRIVALS: Once<Arc<WaitQueue>> = Once::new();
    ARRIVALS.call_once(Arc::default)
}

/// Sends a signal to one thread.
pub(crate) fn send_to_thread(thread: &Arc<Thread>, signal: u8, info: Info) {
    let ignored = process().actions.lock().is_ignored(signal);
    {
        let mut signals = thread.signals.lock();
        // One that is blocked is kept: its action may be another one when it is not.
        if ignored && signals.mask & bit(signal) == 0 {
            return;
        }
        signals.pending.add(signal, info);
    }
    thread.attend();
    thread.unpark();
    arrivals().wake();
}

/// Sends a signal to the process: to some thread that does not block it, or that waits for it.
pub(crate) fn send_to_process(signal: u8, info: Info) {
    let threads: alloc::vec::Vec<_> = process().threads.lock().values().cloned().collect();
    let of = |thread: &Arc<Thread>| {
        let signals = thread.signals.lock();
        (signals.mask & bit(signal) != 0, signals.awaited & bit(signal) != 0)
    };
    let blocked = threads.iter().all(|thread| of(thread).0);
    {
        let mut actions = process().actions.lock();
        if actions.is_ignored(signal) && !blocked {
            return;
        }
        actions.pending.add(signal, info);
    }
    for thread in &threads {
        thread.attend();
    }
    // All of them: one that waits takes it at once, and who is too late finds nothing.
    for thread in &threads {
        let (blocks, awaits) = of(thread);
        if !blocks || awaits {
            thread.unpark();
        }
    }
    arrivals().wake();
}

/// Sends a signal to the current thread, as a fault or a broken pipe does.
pub(crate) fn send_to_current(signal: u8) {
    send_to_thread(&sched::current(), signal, Info { code: 0x80, ..Info::default() });
}

/// A fault of the current thread: the signal is delivered even where it is blocked or ignored, then by its default action.
pub(crate) fn force(signal: u8, info: Info) {
    let thread = sched::current();
    let mut actions = process().actions.lock();
    let mut signals = thread.signals.lock();
    let ignored = actions.get(signal).handler == SIG_IGN;
    if ignored || signals.mask & bit(signal) != 0 {
        actions.set(signal, Action::default());
        signals.mask &= !bit(signal);
    }
    signals.pending.add(signal, info);
    thread.attend();
}

/// Ends the process by a signal: this one, or the child of vfork(2) whose parent then goes on.
fn end(frame: &mut Frame, signal: u8) {
    if !vfork::end(frame, ExitStatus::Signal(signal)) {
        process().kill(signal)
    }
}

/// Delivers what is pending and not blocked: handlers are entered one inside the other, defaults act.
pub(crate) fn deliver(frame: &mut Frame) {
    if !Thread::take_attention() {
        return;
    }
    let Some(thread) = Thread::current() else { return };
    loop {
        let mask = thread.signals.lock().mask;
        let own = thread.signals.lock().pending.take(!mask);
        let Some((signal, info)) = own.or_else(|| process().actions.lock().pending.take(!mask)) else {
            break;
        };
        let action = process().actions.lock().get(signal);
        syscall::trace_signal(signal, &info, frame.rip);
        match action.handler {
            SIG_IGN => {}
            SIG_DFL if IGNORED & bit(signal) != 0 => {}
            SIG_DFL => end(frame, signal),
            _ => {
                xstate::save_current();
                if frame::enter(&thread, frame, signal, &info, &action).is_err() {
                    // No room for the handler's frame: as Linux, the end.
                    end(frame, SIGSEGV);
                }
            }
        }
    }
    if frame.rax == Errno::EINTR.to_result() && syscall::restarts(frame.orig_rax) {
        // No handler ran: another thread has taken the signal, or it is ignored by now.
        frame.rip -= 2;
        frame.rax = frame.orig_rax;
        frame.orig_rax = u64::MAX;
    }
    // A mask that was only for the length of a wait goes back when no handler's frame has taken it.
    let mut signals = thread.signals.lock();
    if let Some(mask) = signals.saved_mask.take() {
        signals.mask = mask;
    }
}

/// A signal number of a system call's argument; 0 is no signal but a question.
pub(crate) fn number(argument: u64) -> Result<Option<u8>, Errno> {
    match u8::try_from(argument) {
        Ok(0) => Ok(None),
        Ok(signal) if signal <= LAST => Ok(Some(signal)),
        _ => Err(Errno::EINVAL),
    }
}
