//! Signals from outside: of other processes of the family, of the terminal, of children that end.
//!
//! The host is the postman, so all that it can bring is taken as a hint that somebody may have sent it: signals that a program
//! must expect at any time from anybody. Those that only faults raise it cannot bring.

use super::{children, vfork};
use crate::host;
use crate::signal::{self, Info, SIGCHLD};

/// Signals that come in: none that a fault raises, none that stops or kills. Those act on the host's process.
const TAKEN: u64 = !(signal::bit(signal::SIGILL)
    | signal::bit(signal::SIGTRAP)
    | signal::bit(signal::SIGBUS)
    | signal::bit(signal::SIGFPE)
    | signal::bit(signal::SIGSEGV)
    | signal::bit(signal::SIGKILL)
    | signal::bit(signal::SIGSTOP));

/// `si_code` of a child's end.
const CLD_EXITED: i32 = 1;

/// Whether there is something to look for. What comes while a child of vfork(2) runs is its parent's, and has time.
pub(crate) fn waits() -> bool {
    host::has_news() && !vfork::is_child()
}

/// Looks for signals that the host has brought. On the way to guest code, in idle vCPUs, behind waits outside.
pub(crate) fn look() {
    if !waits() {
        return;
    }
    let mut news = host::take_news() & TAKEN;
    while news != 0 {
        let Ok(signal) = u8::try_from(news.trailing_zeros() + 1) else { return };
        news &= news - 1;
        let code = if signal == SIGCHLD { CLD_EXITED } else { 0 };
        if signal == SIGCHLD {
            children::changed();
        }
        signal::send_to_process(signal, Info { code, ..Info::default() });
    }
}
