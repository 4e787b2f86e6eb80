//! Sockets that another process has, too.
//!
//! Both have the host's socket. What has come stays with the process whose host has taken it from the kernel; so that this is
//! the one that reads, a host takes nothing before the program in its enclave asks.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use casemate_enclave_abi::net::{ROLE_CONNECTED, ROLE_CONNECTING, ROLE_IDLE, ROLE_TOLD};
use casemate_enclave_abi::{Errno, Op};

use super::{Ends, Inet, Phase};
use crate::fs::OpenFile;
use crate::host;
use crate::net::{Number, STREAM};

/// What another enclave is told of a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    /// Its number here.
    pub(crate) number: u64,
    /// Family, type, protocol; how far it is; which directions are shut; time limits.
    pub(crate) facts: [u64; 7],
}

/// Phases, as [`Shared::facts`] has them.
const IDLE: u64 = 0;
const LISTENING: u64 = 1;
const CONNECTING: u64 = 2;
const CONNECTED: u64 = 3;

/// Directions that are shut.
const READ: u64 = 1;
const WRITE: u64 = 2;

impl Inet {
    /// Makes it one that another process has, too.
    pub(super) fn share(&self) -> Shared {
        self.shared.store(true, Ordering::Release);
        let phase = match self.phase() {
            Phase::Idle => IDLE,
            Phase::Listening => LISTENING,
            Phase::Connecting => CONNECTING,
            Phase::JustConnected | Phase::Connected => CONNECTED,
        };
        let mut shut = 0;
        if let Some(ends) = self.connection() {
            // Whoever waits for it here looks again, and asks.
            self.asked.store(false, Ordering::Release);
            self.slot.asked.store(0, Ordering::SeqCst);
            self.queue.wake();
            shut |= if ends.read_shut.load(Ordering::Acquire) { READ } else { 0 };
            shut |= if ends.write_shut.load(Ordering::Acquire) { WRITE } else { 0 };
        }
        let [receive, send] = self.options.limits();
        let what = [self.family.into(), self.kind.into(), self.protocol.into()];
        let [family, kind, protocol] = what;
        Shared { number: self.index, facts: [family, kind, protocol, phase, shut, receive, send] }
    }
}

/// Takes a socket that the parent's process has passed.
///
/// # Errors
/// The parent's enclave has told nonsense. ENFILE. Those of the host.
pub(crate) fn take(facts: [u64; 7], flags: u32) -> Result<Arc<OpenFile>, Errno> {
    let [family, kind, protocol, phase, shut, receive, send] = facts;
    let small = |fact: u64| u32::try_from(fact).map_err(|_| Errno::EINVAL);
    let what = (u16::try_from(family).map_err(|_| Errno::EINVAL)?, small(kind)?, small(protocol)?);
    let number = Number::new()?;
    let (phase, role) = match phase {
        IDLE if what.1 == STREAM => (Phase::Idle, ROLE_IDLE),
        IDLE => (Phase::Idle, ROLE_TOLD),
        LISTENING => (Phase::Listening, ROLE_TOLD),
        CONNECTING => (Phase::Connecting, ROLE_CONNECTING),
        CONNECTED => (Phase::Connected, ROLE_CONNECTED),
        _ => return Err(Errno::EINVAL),
    };
    let ends = match role {
        ROLE_CONNECTING | ROLE_CONNECTED => Some(Ends::new(number.number)?),
        _ => None,
    };
    if let Some(ends) = &ends {
        ends.read_shut.store(shut & READ != 0, Ordering::Release);
        ends.write_shut.store(shut & WRITE != 0, Ordering::Release);
    }
    let mut socket = Inet::new(number, what, phase, ends);
    host::call(Op::NetTake, [socket.index, role, 0, 0, 0, 0])?;
    socket.number.held = true;
    socket.shared.store(true, Ordering::Release);
    socket.options.set_limits([receive, send]);
    let label = socket.names();
    Ok(OpenFile::new(Arc::new(socket), flags, label))
}
