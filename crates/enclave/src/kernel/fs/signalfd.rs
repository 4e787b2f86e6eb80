//! Pending signals as a file (signalfd(2)).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use casemate_enclave::vfs::flags::{open, poll};
use casemate_enclave_abi::{Errno, Stat, StatFs};

use super::devices;
use super::file::{File, Sink};
use super::open_file::OpenFile;
use super::wait::{self, WaitQueue};
use crate::sched;
use crate::signal::{self, Info};

const NAME: &str = "anon_inode:[signalfd]";

/// Bytes of `struct signalfd_siginfo`.
const RECORD: usize = 128;

/// A set of signals.
pub(crate) struct SignalFd {
    set: AtomicU64,
}

impl SignalFd {
    /// For these signals; `flags`: O_NONBLOCK.
    pub(crate) fn open(set: u64, flags: u32) -> Arc<OpenFile> {
        let file = Self { set: AtomicU64::new(set) };
        OpenFile::new(Arc::new(file), open::RDWR | flags & open::NONBLOCK, NAME.into())
    }

    /// Changes the set.
    pub(crate) fn set(&self, set: u64) {
        self.set.store(set, Ordering::Relaxed);
        signal::arrivals().wake();
    }
}

fn record(signal: u8, info: &Info) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[0..4].copy_from_slice(&u32::from(signal).to_le_bytes());
    bytes[8..12].copy_from_slice(&info.code.to_le_bytes());
    // ssi_pid and ssi_uid; of a timer ssi_tid and ssi_overrun.
    if info.code == -2 {
        let [a, b, c, d, e, f, g, h] = info.first.to_le_bytes();
        bytes[24..28].copy_from_slice(&[a, b, c, d]);
        bytes[32..36].copy_from_slice(&[e, f, g, h]);
    } else {
        bytes[12..20].copy_from_slice(&info.first.to_le_bytes());
    }
    // ssi_status, ssi_int: the low half of what siginfo_t has there; ssi_ptr: all of it.
    let value = info.second.to_le_bytes();
    bytes[40..44].copy_from_slice(&value[..4]);
    bytes[44..48].copy_from_slice(&value[..4]);
    bytes[48..56].copy_from_slice(&value);
    bytes
}

impl File for SignalFd {
    fn stat(&self) -> Result<Stat, Errno> {
        Ok(devices::stat(NAME, 0o600, 0))
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        Ok(devices::stat_fs(devices::ANON_INODES))
    }

    fn read(&self, _position: u64, to: &mut Sink<'_>, nonblock: bool) -> Result<usize, Errno> {
        if to.len() < RECORD {
            return Err(Errno::EINVAL);
        }
        let thread = sched::current();
        let set = self.set.load(Ordering::Relaxed);
        let mut found = Some(wait::blocking(self, nonblock, || Ok(signal::take_of(&thread, set)))?);
        let mut done = 0;
        while let Some((number, info)) = found {
            to.put(done, &record(number, &info))?;
            done += RECORD;
            found = if to.len() - done < RECORD { None } else { signal::take_of(&thread, set) };
        }
        Ok(done)
    }

    fn poll(&self) -> Result<u32, Errno> {
        let pending = signal::pending(&sched::current()) & self.set.load(Ordering::Relaxed);
        Ok(if pending != 0 { poll::IN | poll::RDNORM } else { 0 })
    }

    fn queues(&self, queues: &mut Vec<Arc<WaitQueue>>) {
        queues.push(Arc::clone(signal::arrivals()));
    }

    fn signals(&self) -> Option<&SignalFd> {
        Some(self)
    }

    fn label(&self) -> Option<String> {
        Some(NAME.into())
    }
}
