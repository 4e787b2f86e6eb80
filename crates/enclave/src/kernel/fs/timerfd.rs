//! Timers as files (timerfd_create(2)).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::flags::{open, poll};
use casemate_enclave_abi::{Errno, Stat, StatFs};
use spin::Mutex;

use super::devices;
use super::file::{File, Sink};
use super::open_file::OpenFile;
use super::wait::{self, WaitQueue};
use crate::clock;
use crate::timers::{self, Alarm};

const NAME: &str = "anon_inode:[timerfd]";

#[derive(Default)]
struct Setting {
    /// Monotonic time of the first expiration that has not been read.
    next: Option<u64>,
    interval: u64,
    /// Wakes who waits at the next expiration.
    alarm: Option<Alarm>,
}

/// A timer.
pub(crate) struct TimerFd {
    /// Its times are of CLOCK_REALTIME.
    pub(crate) realtime: bool,
    setting: Mutex<Setting>,
    changed: Arc<WaitQueue>,
}

impl TimerFd {
    /// A timer that is not set; `flags`: O_NONBLOCK.
    pub(crate) fn open(realtime: bool, flags: u32) -> Arc<OpenFile> {
        let file = Self { realtime, setting: Mutex::default(), changed: Arc::default() };
        OpenFile::new(Arc::new(file), open::RDWR | flags & open::NONBLOCK, NAME.into())
    }

    fn alarm(&self, next: Option<u64>) -> Option<Alarm> {
        let changed = Arc::downgrade(&self.changed);
        next.map(|next| {
            timers::at(next, move || {
                if let Some(changed) = changed.upgrade() {
                    changed.wake();
                }
            })
        })
    }

    /// Sets it to expire at a monotonic time; `None` stops it.
    pub(crate) fn set(&self, next: Option<u64>, interval: u64) {
        let alarm = self.alarm(next);
        let before = core::mem::replace(&mut *self.setting.lock(), Setting { next, interval, alarm });
        drop(before);
        self.changed.wake();
    }

    /// Time left and interval.
    pub(crate) fn get(&self) -> (u64, u64) {
        let setting = self.setting.lock();
        let now = clock::monotonic_ns();
        let left = match (setting.next, setting.interval) {
            (None, _) => 0,
            (Some(next), 0) => next.saturating_sub(now),
            (Some(next), interval) if next <= now => interval - (now - next) % interval,
            (Some(next), _) => next - now,
        };
        (left, setting.interval)
    }

    /// Takes the expirations that there were.
    fn take(&self) -> Option<u64> {
        let mut setting = self.setting.lock();
        let now = clock::monotonic_ns();
        let next = setting.next.filter(|next| *next <= now)?;
        let (count, following) = match setting.interval {
            0 => (1, None),
            interval => {
                let count = (now - next) / interval + 1;
                (count, Some(next.saturating_add(count.saturating_mul(interval))))
            }
        };
        setting.next = following;
        let alarm = self.alarm(following);
        let before = core::mem::replace(&mut setting.alarm, alarm);
        drop(setting);
        drop(before);
        Some(count)
    }
}

impl File for TimerFd {
    fn stat(&self) -> Result<Stat, Errno> {
        Ok(devices::stat(NAME, 0o600, 0))
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        Ok(devices::stat_fs(devices::ANON_INODES))
    }

    fn read(&self, _position: u64, to: &mut Sink<'_>, nonblock: bool) -> Result<usize, Errno> {
        if to.len() < 8 {
            return Err(Errno::EINVAL);
        }
        let count = wait::blocking(self, nonblock, || Ok(self.take()))?;
        to.put(0, &count.to_le_bytes())?;
        Ok(8)
    }

    fn poll(&self) -> Result<u32, Errno> {
        let next = self.setting.lock().next;
        let expired = next.is_some_and(|next| next <= clock::monotonic_ns());
        Ok(if expired { poll::IN | poll::RDNORM } else { 0 })
    }

    fn queues(&self, queues: &mut Vec<Arc<WaitQueue>>) {
        queues.push(Arc::clone(&self.changed));
    }

    fn timer(&self) -> Option<&TimerFd> {
        Some(self)
    }

    fn label(&self) -> Option<String> {
        Some(NAME.into())
    }
}
