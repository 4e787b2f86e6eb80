//! `--trace`: a line for each call, like strace's.

use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicBool, Ordering};

use casemate_enclave_abi::start::{TRACE_CALLS, TRACE_COUNTERS};

use super::{Call, Errno, Result, Support};
use crate::arch::frame::Frame;
use crate::host;
use crate::sched::Thread;
use crate::signal::Info;

static ON: AtomicBool = AtomicBool::new(false);
static COUNTS: AtomicBool = AtomicBool::new(false);

/// Turns on what the start-up block asks for.
pub(crate) fn set(trace: u64) {
    ON.store(trace & TRACE_CALLS != 0, Ordering::Relaxed);
    COUNTS.store(trace & TRACE_COUNTERS != 0, Ordering::Relaxed);
}

/// Whether counters are to be printed at the end.
pub(super) fn counts() -> bool {
    COUNTS.load(Ordering::Relaxed)
}

/// Whether it is on.
pub(super) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

fn thread() -> u32 {
    Thread::current().map_or(0, |thread| thread.id())
}

fn arguments(frame: &Frame, count: usize) -> String {
    let mut text = String::new();
    for (index, argument) in frame.arguments().iter().take(count).enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&format!("{argument:#x}"));
    }
    text
}

/// Runs a call and prints what it was asked and what it gave.
pub(super) fn around(call: &Call, frame: &mut Frame) -> Result {
    let asked = arguments(frame, call.arguments);
    let result = (call.run)(frame);
    match result {
        Ok(value) => host::print(format_args!("[{}] {}({asked}) = {value:#x}", thread(), call.name)),
        Err(errno) => {
            // Where not all of a call is there, that may be why.
            let note = if call.support == Support::Full { "" } else { call.note };
            host::print(format_args!("[{}] {}({asked}) = {errno} {note}", thread(), call.name));
        }
    }
    result
}

/// Prints a call that nobody knows.
pub(super) fn unknown(frame: &Frame) {
    if is_on() {
        let number = frame.orig_rax;
        host::print(format_args!(
            "[{}] syscall_{number}({}) = {}",
            thread(),
            arguments(frame, 6),
            Errno::ENOSYS
        ));
    }
}

/// Prints that a signal is delivered.
pub(crate) fn signal(signal: u8, info: &Info, rip: u64) {
    if is_on() {
        let Info { code, first, .. } = info;
        host::print(format_args!(
            "[{}] --- signal {signal} (code {code}, {first:#x}) at {rip:#x} ---",
            thread()
        ));
    }
}
