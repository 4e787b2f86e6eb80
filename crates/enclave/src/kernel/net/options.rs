//! Options of sockets that are the enclave's own.

use alloc::vec::Vec;

use casemate_enclave_abi::Errno;
use spin::Mutex;

use crate::clock;

/// Level of options that all sockets have.
pub(super) const SOL_SOCKET: u32 = 1;

const SO_TYPE: u32 = 3;
const SO_ERROR: u32 = 4;
const SO_RCVLOWAT: u32 = 18;
const SO_SNDLOWAT: u32 = 19;
const SO_RCVTIMEO: u32 = 20;
const SO_SNDTIMEO: u32 = 21;
const SO_ACCEPTCONN: u32 = 30;
const SO_PROTOCOL: u32 = 38;
const SO_DOMAIN: u32 = 39;

const MICRO: u64 = 1_000_000;

/// Time limits.
#[derive(Default)]
pub(super) struct Options {
    limits: Mutex<[Option<u64>; 2]>,
}

/// What a socket is, for who asks.
pub(super) struct Facts {
    pub(super) kind: u32,
    pub(super) family: u16,
    pub(super) protocol: u32,
    pub(super) listens: bool,
}

impl Options {
    /// When receiving (0) or sending (1) that begins now is to be given up.
    fn deadline(&self, which: usize) -> Option<u64> {
        let limit = self.limits.lock()[which]?;
        Some(clock::monotonic_ns().saturating_add(limit))
    }

    /// When receiving that begins now is to be given up.
    pub(super) fn receive_deadline(&self) -> Option<u64> {
        self.deadline(0)
    }

    /// When sending that begins now is to be given up.
    pub(super) fn send_deadline(&self) -> Option<u64> {
        self.deadline(1)
    }

    /// Both time limits in ns, 0 for none: of receiving, of sending.
    pub(super) fn limits(&self) -> [u64; 2] {
        self.limits.lock().map(|limit| limit.unwrap_or(0))
    }

    /// Sets what [`Options::limits`] gives.
    pub(super) fn set_limits(&self, limits: [u64; 2]) {
        *self.limits.lock() = limits.map(|limit| (limit != 0).then_some(limit));
    }

    /// Sets an option, if it is one of these.
    pub(super) fn set(&self, level: u32, option: u32, value: &[u8]) -> Option<Result<(), Errno>> {
        if level != SOL_SOCKET {
            return None;
        }
        match option {
            SO_RCVTIMEO | SO_SNDTIMEO => {
                let Some((seconds, micros)) = words(value) else { return Some(Err(Errno::EINVAL)) };
                if micros >= MICRO {
                    return Some(Err(Errno::EDOM));
                }
                let ns = seconds.saturating_mul(1_000_000_000).saturating_add(micros * 1000);
                let limit = (ns != 0 && seconds.cast_signed() >= 0).then_some(ns);
                self.limits.lock()[usize::from(option == SO_SNDTIMEO)] = limit;
                Some(Ok(()))
            }
            // Anything wakes here.
            SO_RCVLOWAT => Some(Ok(())),
            SO_TYPE | SO_ERROR | SO_ACCEPTCONN | SO_PROTOCOL | SO_DOMAIN | SO_SNDLOWAT => {
                Some(Err(Errno::ENOPROTOOPT))
            }
            _ => None,
        }
    }

    /// The value of an option, if it is one of these. `error` takes the socket's error.
    pub(super) fn get(
        &self,
        level: u32,
        option: u32,
        facts: &Facts,
        error: impl FnOnce() -> u32,
    ) -> Option<Vec<u8>> {
        if level != SOL_SOCKET {
            return None;
        }
        let number = match option {
            SO_RCVTIMEO | SO_SNDTIMEO => {
                let ns = self.limits.lock()[usize::from(option == SO_SNDTIMEO)].unwrap_or(0);
                let (seconds, micros) = (ns / 1_000_000_000, ns % 1_000_000_000 / 1000);
                return Some([seconds.to_le_bytes(), micros.to_le_bytes()].concat());
            }
            SO_TYPE => facts.kind,
            SO_ERROR => error(),
            SO_RCVLOWAT | SO_SNDLOWAT => 1,
            SO_ACCEPTCONN => facts.listens.into(),
            SO_PROTOCOL => facts.protocol,
            SO_DOMAIN => facts.family.into(),
            _ => return None,
        };
        Some(number.to_le_bytes().to_vec())
    }
}

/// The two words of a time.
fn words(value: &[u8]) -> Option<(u64, u64)> {
    let (first, rest) = value.split_first_chunk()?;
    Some((u64::from_le_bytes(*first), u64::from_le_bytes(*rest.first_chunk()?)))
}
