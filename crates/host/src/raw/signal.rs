//! Signals: dying by one, and interrupting a vCPU's thread.

use std::mem::MaybeUninit;
use std::os::unix::thread::RawPthread;
use std::ptr::null_mut;

/// Kills this process by a signal, as if nobody had ever handled it. Returns where the signal does not kill.
pub(crate) fn die(signal: i32) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: fills the set in.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set is filled in; a number that is no signal is refused.
    unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    // SAFETY: the default action is valid for every signal; a handler that was there is not missed any more.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: the set is filled in, and the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), null_mut()) };
    // SAFETY: sends a signal to this thread.
    unsafe { libc::raise(signal) };
}

/// This thread, for [`interrupt`].
pub(crate) fn this_thread() -> RawPthread {
    // SAFETY: has no conditions.
    unsafe { libc::pthread_self() }
}

/// Sends a signal to a thread of this process that has not ended.
pub(crate) fn interrupt(thread: RawPthread, signal: i32) {
    // SAFETY: vCPU threads end only with the process.
    unsafe { libc::pthread_kill(thread, signal) };
}

/// The signal of a single step.
pub(crate) fn trap() -> i32 {
    libc::SIGTRAP
}

/// The signal that interrupts vCPUs; programs' own signals never reach the host.
pub(crate) fn preemption_signal() -> i32 {
    libc::SIGRTMIN() + 6
}
