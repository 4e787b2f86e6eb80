//! Pipes between guest threads (pipe(7)).

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use casemate_enclave::vfs::flags::{mode, open, poll};
use casemate_enclave_abi::{Errno, Stat, StatFs};
use spin::Mutex;

use super::file::{File, Sink, Source};
use super::open_file::OpenFile;
use super::wait::{self, WaitQueue};
use super::{devices, terminal};
use crate::{signal, user};

/// Bytes that a pipe holds.
const CAPACITY: usize = 65_536;

/// Writes up to so many bytes are not mixed with others'.
const PIPE_BUF: usize = 4096;

static NEXT: AtomicU64 = AtomicU64::new(100);

#[derive(Default)]
struct State {
    data: VecDeque<u8>,
    readers: usize,
    writers: usize,
}

struct Shared {
    number: u64,
    state: Mutex<State>,
    changed: Arc<WaitQueue>,
}

/// One end.
struct End {
    shared: Arc<Shared>,
    writes: bool,
}

/// A new pipe: the end to read, the end to write. `flags`: O_NONBLOCK, O_DIRECT (taken, no packets).
pub(crate) fn pipe(flags: u32) -> (Arc<OpenFile>, Arc<OpenFile>) {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let state = State { readers: 1, writers: 1, ..State::default() };
    let shared = Arc::new(Shared { number, state: Mutex::new(state), changed: Arc::default() });
    let end = |writes: bool| {
        let end = End { shared: Arc::clone(&shared), writes };
        let access = if writes { open::WRONLY } else { 0 };
        let label = end.name();
        OpenFile::new(Arc::new(end), access | flags & open::NONBLOCK, label)
    };
    (end(false), end(true))
}

impl End {
    fn name(&self) -> String {
        alloc::format!("pipe:[{}]", self.shared.number)
    }

    /// Takes what is there; `None`: nothing yet.
    fn take(&self, to: &mut Sink<'_>) -> Result<Option<usize>, Errno> {
        let mut state = self.shared.state.lock();
        let count = state.data.len().min(to.len());
        if count == 0 {
            return Ok(if state.writers == 0 { Some(0) } else { None });
        }
        let (first, second) = state.data.as_slices();
        let first = &first[..count.min(first.len())];
        to.put(0, first)?;
        to.put(first.len(), &second[..count - first.len()])?;
        state.data.drain(..count);
        Ok(Some(count))
    }

    /// Puts as much as fits, all of it or nothing where it is short; `None`: no room yet.
    fn put(&self, from: &Source<'_>, done: usize) -> Result<Option<usize>, Errno> {
        let mut state = self.shared.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let left = from.len() - done;
        let room = CAPACITY.saturating_sub(state.data.len());
        let least = if from.len() <= PIPE_BUF { left } else { 1 };
        if room < least {
            return Ok(None);
        }
        let count = left.min(room);
        from.with(done, count, |bytes| state.data.extend(bytes))?;
        Ok(Some(count))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if self.writes {
            state.writers -= 1;
        } else {
            state.readers -= 1;
        }
        drop(state);
        self.shared.changed.wake();
    }
}

impl File for End {
    fn stat(&self) -> Result<Stat, Errno> {
        Ok(devices::stat(&self.name(), mode::FIFO | 0o600, 0))
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        Ok(devices::stat_fs(devices::PIPEFS))
    }

    fn read(&self, _position: u64, to: &mut Sink<'_>, nonblock: bool) -> Result<usize, Errno> {
        if self.writes {
            return Err(Errno::EBADF);
        }
        if to.len() == 0 {
            return Ok(0);
        }
        let look = || match self.take(to)? {
            None if nonblock => Err(Errno::EAGAIN),
            found => Ok(found),
        };
        let count = wait::until(None, |awaited| self.queues(&mut awaited.queues), look)?.unwrap_or(0);
        if count > 0 {
            self.shared.changed.wake();
        }
        Ok(count)
    }

    fn write(
        &self,
        _position: Option<u64>,
        from: &Source<'_>,
        nonblock: bool,
    ) -> Result<(u64, usize), Errno> {
        if !self.writes {
            return Err(Errno::EBADF);
        }
        let mut done = 0;
        while done < from.len() {
            let look = || match self.put(from, done)? {
                None if nonblock => Err(Errno::EAGAIN),
                found => Ok(found),
            };
            match wait::until(None, |awaited| self.queues(&mut awaited.queues), look) {
                Ok(count) => done += count.unwrap_or(0),
                Err(errno) => {
                    if errno == Errno::EPIPE {
                        signal::send_to_current(signal::SIGPIPE);
                    }
                    if done > 0 {
                        break;
                    }
                    return Err(errno);
                }
            }
            self.shared.changed.wake();
        }
        Ok((0, done))
    }

    fn ioctl(&self, request: u32, argument: u64) -> Result<u64, Errno> {
        if request != terminal::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let count = u32::try_from(self.shared.state.lock().data.len()).unwrap_or(u32::MAX);
        user::write_value(argument, &count)?;
        Ok(0)
    }

    fn poll(&self) -> Result<u32, Errno> {
        let state = self.shared.state.lock();
        let mut events = 0;
        if self.writes {
            if CAPACITY.saturating_sub(state.data.len()) >= PIPE_BUF {
                events |= poll::OUT | poll::WRNORM;
            }
            if state.readers == 0 {
                events |= poll::ERR;
            }
        } else {
            if !state.data.is_empty() {
                events |= poll::IN | poll::RDNORM;
            }
            if state.writers == 0 {
                events |= poll::HUP;
            }
        }
        Ok(events)
    }

    fn queues(&self, queues: &mut Vec<Arc<WaitQueue>>) {
        queues.push(Arc::clone(&self.shared.changed));
    }

    fn pipe_size(&self) -> Option<usize> {
        Some(CAPACITY)
    }

    fn label(&self) -> Option<String> {
        Some(self.name())
    }
}
