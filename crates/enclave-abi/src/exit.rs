//! Why a vCPU leaves the enclave, and why it is entered: what the registers mean at EEXIT and at EENTER.
//!
//! At EEXIT rdi holds the [`ExitReason`], rsi and rdx its arguments. At EENTER of an exception (CSSA above 0) rdi holds
//! the [`Event`] and rsi its argument: a hint, since the SSA frame alone says what interrupted the enclave.

use core::fmt;

/// As deadline of [`Exit::Park`]: none.
pub const NO_DEADLINE: u64 = u64::MAX;

/// Statuses from here on are signals.
const SIGNALLED: u64 = 256;

/// The largest signal number of Linux (`_NSIG`).
const MAX_SIGNAL: u64 = 64;

/// The reasons of an EEXIT, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum ExitReason {
    /// Serve this vCPU's submission ring, then enter again.
    Serve = 1,
    /// Sleep until the wake word changes, then enter again.
    Park = 2,
    /// The program has ended.
    Exit = 3,
    /// The exception is handled: ERESUME.
    Handled = 4,
    /// The enclave kernel cannot go on.
    Fatal = 5,
    /// Set up; enter again to run.
    Ready = 6,
}

impl TryFrom<u64> for ExitReason {
    type Error = BadExit;

    fn try_from(number: u64) -> Result<Self, BadExit> {
        Ok(match number {
            1 => Self::Serve,
            2 => Self::Park,
            3 => Self::Exit,
            4 => Self::Handled,
            5 => Self::Fatal,
            6 => Self::Ready,
            _ => return Err(BadExit::Reason(number)),
        })
    }
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// By `exit_group`, with this code.
    Code(u8),
    /// By this signal, 1 to 64.
    Signal(u8),
}

impl From<ExitStatus> for u64 {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Code(code) => Self::from(code),
            ExitStatus::Signal(signal) => SIGNALLED + Self::from(signal),
        }
    }
}

impl TryFrom<u64> for ExitStatus {
    type Error = BadExit;

    fn try_from(number: u64) -> Result<Self, BadExit> {
        let bad = BadExit::Status(number);
        match number.checked_sub(SIGNALLED) {
            None => u8::try_from(number).map(Self::Code).map_err(|_| bad),
            Some(signal) if (1..=MAX_SIGNAL).contains(&signal) => {
                u8::try_from(signal).map(Self::Signal).map_err(|_| bad)
            }
            Some(_) => Err(bad),
        }
    }
}

/// An EEXIT with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// [`ExitReason::Serve`].
    Serve,
    /// [`ExitReason::Park`].
    Park {
        /// rsi: when to enter again at the latest, monotonic time in ns, or [`NO_DEADLINE`].
        deadline_ns: u64,
        /// rdx: sleep only while the wake word has this value.
        wake: u64,
    },
    /// [`ExitReason::Exit`], the status in rsi.
    Exit(ExitStatus),
    /// [`ExitReason::Handled`].
    Handled,
    /// [`ExitReason::Fatal`].
    Fatal {
        /// rsi: bytes of the message in the window's panic area ([`crate::Layout::panic`]).
        message_len: u64,
    },
    /// [`ExitReason::Ready`].
    Ready,
}

impl Exit {
    /// rdi, rsi and rdx of the EEXIT.
    #[must_use]
    pub fn to_registers(self) -> [u64; 3] {
        let (reason, rsi, rdx) = match self {
            Self::Serve => (ExitReason::Serve, 0, 0),
            Self::Park { deadline_ns, wake } => (ExitReason::Park, deadline_ns, wake),
            Self::Exit(status) => (ExitReason::Exit, status.into(), 0),
            Self::Handled => (ExitReason::Handled, 0, 0),
            Self::Fatal { message_len } => (ExitReason::Fatal, message_len, 0),
            Self::Ready => (ExitReason::Ready, 0, 0),
        };
        [reason.into(), rsi, rdx]
    }

    /// What the registers of an EEXIT mean.
    ///
    /// # Errors
    /// The enclave gave a reason or a status that there is not, or a message longer than the panic area.
    pub fn from_registers([rdi, rsi, rdx]: [u64; 3]) -> Result<Self, BadExit> {
        Ok(match ExitReason::try_from(rdi)? {
            ExitReason::Serve => Self::Serve,
            ExitReason::Park => Self::Park { deadline_ns: rsi, wake: rdx },
            ExitReason::Exit => Self::Exit(ExitStatus::try_from(rsi)?),
            ExitReason::Handled => Self::Handled,
            ExitReason::Fatal if rsi <= crate::layout::PAGE => Self::Fatal { message_len: rsi },
            ExitReason::Fatal => return Err(BadExit::Message(rsi)),
            ExitReason::Ready => Self::Ready,
        })
    }
}

/// Why the host enters the enclave above an interrupted entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Event {
    /// The enclave was interrupted by an exception; the SSA frame says which, if any.
    Exception = 1,
    /// The vCPU's time slice is over: let another guest thread run.
    Preempt = 2,
    /// The host's process got a signal for the program; rsi is its number, 1 to 64.
    Signal = 3,
}

impl TryFrom<u64> for Event {
    type Error = BadExit;

    fn try_from(number: u64) -> Result<Self, BadExit> {
        Ok(match number {
            1 => Self::Exception,
            2 => Self::Preempt,
            3 => Self::Signal,
            _ => return Err(BadExit::Event(number)),
        })
    }
}

/// Registers of an EEXIT or EENTER that mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadExit {
    /// No such [`ExitReason`].
    Reason(u64),
    /// No such [`ExitStatus`].
    Status(u64),
    /// A message of so many bytes does not fit in the panic area.
    Message(u64),
    /// No such [`Event`].
    Event(u64),
}

impl fmt::Display for BadExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reason(number) => write!(f, "the enclave left for the unknown reason {number}"),
            Self::Status(number) => write!(f, "the enclave left with the impossible exit status {number}"),
            Self::Message(len) => write!(f, "a panic message of {len} bytes is longer than its area"),
            Self::Event(number) => write!(f, "the enclave was entered for the unknown event {number}"),
        }
    }
}

impl core::error::Error for BadExit {}

impl From<ExitReason> for u64 {
    fn from(reason: ExitReason) -> Self {
        reason as Self
    }
}

impl From<Event> for u64 {
    fn from(event: Event) -> Self {
        event as Self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_and_exits_correspond() {
        for exit in [
            Exit::Serve,
            Exit::Park { deadline_ns: 5, wake: 6 },
            Exit::Exit(ExitStatus::Code(255)),
            Exit::Exit(ExitStatus::Signal(9)),
            Exit::Handled,
            Exit::Fatal { message_len: 80 },
            Exit::Ready,
        ] {
            assert_eq!(Exit::from_registers(exit.to_registers()), Ok(exit));
        }
        assert_eq!(Exit::Exit(ExitStatus::Signal(9)).to_registers(), [3, 265, 0]);
        assert_eq!(Exit::Exit(ExitStatus::Code(7)).to_registers(), [3, 7, 0]);
    }

    #[test]
    fn impossible_registers_are_refused() {
        assert_eq!(Exit::from_registers([0, 0, 0]), Err(BadExit::Reason(0)));
        assert_eq!(Exit::from_registers([7, 0, 0]), Err(BadExit::Reason(7)));
        for status in [256, 256 + 65, u64::MAX] {
            assert_eq!(Exit::from_registers([3, status, 0]), Err(BadExit::Status(status)));
        }
        assert_eq!(Exit::from_registers([5, 4097, 0]), Err(BadExit::Message(4097)));
        for event in [Event::Exception, Event::Preempt, Event::Signal] {
            assert_eq!(Event::try_from(u64::from(event)), Ok(event));
        }
        assert_eq!(Event::try_from(4), Err(BadExit::Event(4)));
    }
}
