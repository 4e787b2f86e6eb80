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

/// Signals that are passed on to the program inside. Not those that faults raise, which only the processor may report; not
/// those that stop, which act on this process; not the preemption's.
fn forwarded() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: fills the set in.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: filled in.
    let mut set = unsafe { set.assume_init() };
    let plain = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGABRT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGPIPE,
        libc::SIGALRM,
        libc::SIGTERM,
        libc::SIGSTKFLT,
        libc::SIGCHLD,
        libc::SIGURG,
        libc::SIGXCPU,
        libc::SIGXFSZ,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGWINCH,
        libc::SIGIO,
        libc::SIGPWR,
    ];
    let real_time = (libc::SIGRTMIN()..=libc::SIGRTMAX()).filter(|signal| *signal != preemption_signal());
    for signal in plain.into_iter().chain(real_time) {
        // SAFETY: the set is filled in; every number is a signal's.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// Keeps the signals that are passed on from this thread and those that it starts: [`next`] takes them.
pub(crate) fn block_forwarded() {
    let set = forwarded();
    // SAFETY: the set is filled in, and the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, null_mut()) };
}

/// Waits for the next signal that is passed on.
pub(crate) fn next() -> i32 {
    let set = forwarded();
    loop {
        let mut signal = 0;
        // SAFETY: the set is filled in, and there is a place for the number.
        if unsafe { libc::sigwait(&raw const set, &raw mut signal) } == 0 {
            return signal;
        }
    }
}
