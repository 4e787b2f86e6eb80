//! System calls: from a frame to a function, by a table that is data.

mod file;
mod futex;
mod identity;
mod interval;
mod memory;
mod net;
mod process;
mod shared_memory;
mod signal;
mod system;
mod table;
mod thread;
mod time;
mod trace;

pub(crate) use casemate_enclave_abi::Errno;

use crate::arch::frame::Frame;
use crate::arch::vcpu::Vcpu;
use crate::{sched, stats};

pub(crate) use futex::{thread_ends as futexes_end, wake as wake_futex};
pub(crate) use interval::forget as forget_timers;
pub(crate) use trace::{set as set_trace, signal as trace_signal};

/// What a system call gives.
pub(crate) type Result = core::result::Result<u64, Errno>;

/// How much of a call is there, for people and for the table in the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// As Linux has it, as far as a program in an enclave can tell.
    Full,
    /// Some of it; the note says what not.
    Partial,
    /// Known, and refused on purpose; the note says why.
    Refused,
}

/// One system call.
pub(crate) struct Call {
    /// Its name.
    pub(crate) name: &'static str,
    /// How many arguments it has, for traces.
    pub(crate) arguments: usize,
    /// How much of it is there.
    pub(crate) support: Support,
    /// What is missing, or why it is refused.
    pub(crate) note: &'static str,
    /// What it does. Arguments are in the frame ([`Frame::arguments`]); the result goes to RAX.
    pub(crate) run: fn(&mut Frame) -> Result,
}

/// Called by the entry code with the guest's registers. Nonzero: go back with every register from the frame.
#[unsafe(no_mangle)]
extern "C" fn syscall_dispatch(frame: &mut Frame) -> u32 {
    Vcpu::count_call();
    let call =
        usize::try_from(frame.orig_rax).ok().and_then(|number| table::CALLS.get(number)).copied().flatten();
    let result = match call {
        Some(call) if trace::is_on() => trace::around(call, frame),
        Some(call) => (call.run)(frame),
        None => {
            stats::unknown_call(frame.orig_rax);
            trace::unknown(frame);
            Err(Errno::ENOSYS)
        }
    };
    // A call that replaces the frame (execve, rt_sigreturn) returns the RAX that it wants.
    frame.rax = match result {
        Ok(value) => value,
        Err(errno) => errno.to_result(),
    };
    before_guest(frame);
    // SAFETY: this vCPU's page.
    let live = unsafe { (*Vcpu::current()).live };
    u32::from(live == 0 || frame.full != 0)
}

/// What is looked after on every way back to guest code.
pub(crate) fn before_guest(frame: &mut Frame) {
    if Vcpu::take_need_resched() {
        sched::yield_now();
    }
    crate::family::news::look();
    crate::shared::look();
    crate::family::halt::before_guest();
    crate::signal::deliver(frame);
}

/// Whether a call that a signal interrupted is made again after a handler with SA_RESTART (signal(7)): those that transfer
/// or wait without a time limit.
pub(crate) fn restarts(number: u64) -> bool {
    const RESTARTING: [u64; 22] =
        [0, 1, 2, 16, 17, 18, 19, 20, 42, 43, 44, 45, 46, 47, 61, 73, 202, 257, 288, 295, 299, 307];
    RESTARTING.contains(&number)
}

/// Prints, where that was asked for, what the run has cost.
pub(crate) fn print_counters() {
    if trace::counts() {
        stats::print();
    }
}

/// The low half of an argument, as C's `int` has it.
pub(crate) fn int(argument: u64) -> i32 {
    let [a, b, c, d, ..] = argument.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// The low half of an argument, as C's `unsigned` has it.
pub(crate) fn uint(argument: u64) -> u32 {
    int(argument).cast_unsigned()
}

/// An argument as a length in memory.
pub(crate) fn length(argument: u64) -> core::result::Result<usize, Errno> {
    // Linux cuts reads and writes at MAX_RW_COUNT.
    usize::try_from(argument.min(0x7fff_f000)).map_err(|_| Errno::EINVAL)
}
