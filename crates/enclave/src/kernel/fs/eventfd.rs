//! Counters as files (eventfd(2)).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::flags::{open, poll};
use casemate_enclave_abi::{Errno, Stat, StatFs};
use spin::Mutex;

use super::file::{File, Sink, Source};
use super::open_file::OpenFile;
use super::wait::{self, WaitQueue};
use super::{Carried, devices};

/// The largest count.
const MAX: u64 = u64::MAX - 1;

const NAME: &str = "anon_inode:[eventfd]";

/// A counter.
pub(crate) struct EventFd {
    count: Mutex<u64>,
    semaphore: bool,
    changed: Arc<WaitQueue>,
}

impl EventFd {
    /// A counter at `count`; `flags`: O_NONBLOCK.
    pub(crate) fn open(count: u32, semaphore: bool, flags: u32) -> Arc<OpenFile> {
        let file = Self { count: Mutex::new(count.into()), semaphore, changed: Arc::default() };
        OpenFile::new(Arc::new(file), open::RDWR | flags & open::NONBLOCK, NAME.into())
    }

    /// The same counter in another enclave.
    pub(super) fn carried(count: u64, semaphore: bool, flags: u32) -> Arc<OpenFile> {
        let file = Self { count: Mutex::new(count.min(MAX)), semaphore, changed: Arc::default() };
        OpenFile::new(Arc::new(file), flags, NAME.into())
    }

    fn take(&self) -> Option<u64> {
        let mut count = self.count.lock();
        if *count == 0 {
            return None;
        }
        let taken = if self.semaphore { 1 } else { *count };
        *count -= taken;
        Some(taken)
    }

    fn add(&self, value: u64) -> Option<()> {
        let mut count = self.count.lock();
        *count = count.checked_add(value).filter(|sum| *sum <= MAX)?;
        Some(())
    }
}

impl File for EventFd {
    fn stat(&self) -> Result<Stat, Errno> {
        Ok(devices::stat(NAME, 0o600, 0))
    }

    fn carry(&self) -> Result<Carried, Errno> {
        Ok(Carried::Event { count: *self.count.lock(), semaphore: self.semaphore })
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        Ok(devices::stat_fs(devices::ANON_INODES))
    }

    fn read(&self, _position: u64, to: &mut Sink<'_>, nonblock: bool) -> Result<usize, Errno> {
        if to.len() < 8 {
            return Err(Errno::EINVAL);
        }
        let value = wait::blocking(self, nonblock, || Ok(self.take()))?;
        self.changed.wake();
        to.put(0, &value.to_le_bytes())?;
        Ok(8)
    }

    fn write(
        &self,
        _position: Option<u64>,
        from: &Source<'_>,
        nonblock: bool,
    ) -> Result<(u64, usize), Errno> {
        if from.len() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0; 8];
        from.with(0, 8, |part| bytes.copy_from_slice(part))?;
        let value = u64::from_le_bytes(bytes);
        if value > MAX {
            return Err(Errno::EINVAL);
        }
        wait::blocking(self, nonblock, || Ok(self.add(value)))?;
        self.changed.wake();
        Ok((0, 8))
    }

    fn poll(&self) -> Result<u32, Errno> {
        let count = *self.count.lock();
        let readable = if count > 0 { poll::IN | poll::RDNORM } else { 0 };
        let writable = if count < MAX { poll::OUT | poll::WRNORM } else { 0 };
        Ok(readable | writable)
    }

    fn queues(&self, queues: &mut Vec<Arc<WaitQueue>>) {
        queues.push(Arc::clone(&self.changed));
    }

    fn label(&self) -> Option<String> {
        Some(NAME.into())
    }
}
