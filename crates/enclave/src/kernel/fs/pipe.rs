//! Pipes (pipe(7)): between guest threads in here; outside, as the host's, once another process has an end.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use casemate_enclave::vfs::flags::{mode, open, poll};
use casemate_enclave_abi::{Errno, Op, Stat, StatFs};
use spin::Mutex;

use super::file::{File, Sink, Source};
use super::open_file::OpenFile;
use super::wait::{self, WaitQueue};
use super::{Carried, devices, terminal};
use crate::host::{self, Buffer, TRANSFER};
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
    /// Bytes that it holds, where the program has asked for less than [`CAPACITY`].
    smaller: Option<usize>,
    /// The host's pipe that this one has become, with the ends that are used in here.
    outside: Option<Outside>,
}

impl State {
    fn capacity(&self) -> usize {
        self.smaller.unwrap_or(CAPACITY)
    }

    fn room(&self) -> usize {
        self.capacity().saturating_sub(self.data.len())
    }
}

#[derive(Clone, Default)]
struct Outside {
    reads: Option<Arc<Handle>>,
    writes: Option<Arc<Handle>>,
}

/// An end of a pipe of the host's, or one of a pair of sockets. Closed when dropped.
pub(crate) struct Handle(u64);

impl Handle {
    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Nobody is left who could be told of an error.
        let _ = host::call(Op::PipeClose, [self.0, 0, 0, 0, 0, 0]);
    }
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

/// What the host has passed.
pub(super) fn handle(number: u64) -> Handle {
    Handle(number)
}

/// Two of the host's: the ends of a pipe to read and to write, or (`kind`: a type of sockets) connected sockets.
fn create(kind: u32) -> Result<[Handle; 2], Errno> {
    let ends = Buffer::new(16)?;
    host::call(Op::Pipe, [ends.offset(), kind.into(), 0, 0, 0, 0])?;
    let mut bytes = [0; 16];
    ends.read(&mut bytes);
    Ok([0, 8]
        .map(|at| Handle(bytes[at..at + 8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))))
}

/// Two sockets of the host's that are connected to each other.
///
/// # Errors
/// EMFILE, ENFILE.
pub(crate) fn sockets(kind: u32) -> Result<[Handle; 2], Errno> {
    create(kind)
}

/// An end of a pipe that other enclaves have ends of.
pub(super) fn outside(handle: u64, number: u64, writes: bool, flags: u32) -> Arc<OpenFile> {
    let handle = Some(Arc::new(Handle(handle)));
    let outside = if writes {
        Outside { writes: handle, reads: None }
    } else {
        Outside { reads: handle, writes: None }
    };
    let state = State {
        readers: usize::from(!writes),
        writers: usize::from(writes),
        outside: Some(outside),
        ..State::default()
    };
    let shared = Arc::new(Shared { number, state: Mutex::new(state), changed: Arc::default() });
    let end = End { shared, writes };
    let label = end.name();
    OpenFile::new(Arc::new(end), flags, label)
}

impl Shared {
    /// Makes it a pipe of the host's, with what is in it. Other processes' ends lead there.
    fn become_outside(&self) -> Result<Outside, Errno> {
        if let Some(outside) = &self.state.lock().outside {
            return Ok(outside.clone());
        }
        let [reads, writes] = create(0)?.map(|handle| Some(Arc::new(handle)));
        let outside = Outside { reads, writes };
        // All other threads stand still: what is in the pipe stays there.
        let data = {
            let state = self.state.lock();
            state.data.iter().copied().collect::<Vec<u8>>()
        };
        if let Some(handle) = &outside.writes {
            let mut rest = data.as_slice();
            while !rest.is_empty() {
                let count = write_some(handle, &Source::Kernel(rest), 0)?.ok_or(Errno::EIO)?;
                rest = &rest[count..];
            }
        }
        let unused = {
            let mut state = self.state.lock();
            state.data.clear();
            let used = Outside {
                reads: outside.reads.clone().filter(|_| state.readers > 0),
                writes: outside.writes.clone().filter(|_| state.writers > 0),
            };
            state.outside.replace(used)
        };
        drop(unused);
        self.changed.wake();
        Ok(outside)
    }

    fn outside(&self) -> Option<Outside> {
        self.state.lock().outside.clone()
    }
}

/// Reads what a pipe of the host's has to a place in `to`; `None`: nothing yet.
///
/// # Errors
/// Those of read(2), or with `peek` of recv(2).
pub(crate) fn read_some(
    handle: &Handle,
    to: &mut Sink<'_>,
    at: usize,
    peek: bool,
) -> Result<Option<usize>, Errno> {
    let length = (to.len() - at).min(TRANSFER);
    let buffer = Buffer::new(length.max(1))?;
    match host::call(Op::PipeRead, [handle.0, buffer.offset(), length as u64, peek.into(), 0, 0]) {
        Ok(count) => {
            let count = usize::try_from(count).map_err(|_| Errno::EIO)?;
            to.take(at, count, &buffer)?;
            Ok(Some(count))
        }
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Writes what a pipe of the host's has room for; `None`: nothing yet.
///
/// # Errors
/// Those of write(2).
pub(crate) fn write_some(handle: &Handle, from: &Source<'_>, done: usize) -> Result<Option<usize>, Errno> {
    let length = (from.len() - done).min(TRANSFER);
    let buffer = Buffer::new(length.max(1))?;
    from.give(done, length, &buffer)?;
    match host::call(Op::PipeWrite, [handle.0, buffer.offset(), length as u64, 0, 0, 0]) {
        Ok(count) => usize::try_from(count).map(Some).map_err(|_| Errno::EIO),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What an end is ready for now, of these `POLL` bits and those of errors.
///
/// # Errors
/// Those of poll(2).
pub(crate) fn ready(handle: &Handle, wanted: u32) -> Result<u32, Errno> {
    let (_, found) = wait::outside_ready(0, &[(handle.0, u64::from(wanted))], 0)?;
    let found = u32::try_from(found.first().copied().unwrap_or(0)).map_err(|_| Errno::EIO)?;
    let found = found & (wanted | poll::HUP | poll::ERR);
    let normal = |bit, too| if found & bit != 0 { too } else { 0 };
    Ok(found | normal(poll::IN, poll::RDNORM) | normal(poll::OUT, poll::WRNORM))
}

impl End {
    /// The host's end that this one stands for.
    fn handle(&self) -> Option<Arc<Handle>> {
        let outside = self.shared.outside()?;
        if self.writes { outside.writes } else { outside.reads }
    }

    /// EAGAIN. Of what is outside an edge comes after that: when it is ready the next time.
    fn found_nothing(&self) -> Errno {
        if self.handle().is_some() {
            self.shared.changed.wake();
        }
        Errno::EAGAIN
    }

    fn await_change(&self, awaited: &mut wait::Awaited) {
        self.queues(&mut awaited.queues);
        self.outside(if self.writes { poll::OUT } else { poll::IN }, &mut awaited.pipes);
    }

    fn name(&self) -> String {
        alloc::format!("pipe:[{}]", self.shared.number)
    }

    /// Takes what is there; `None`: nothing yet.
    fn take(&self, to: &mut Sink<'_>) -> Result<Option<usize>, Errno> {
        if let Some(handle) = self.handle() {
            return read_some(&handle, to, 0, false);
        }
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
        if let Some(handle) = self.handle() {
            return write_some(&handle, from, done);
        }
        let mut state = self.shared.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let left = from.len() - done;
        let room = state.room();
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
        let (readers, writers) = (state.readers, state.writers);
        let unused = state.outside.as_mut().map(|outside| {
            let reads = if readers == 0 { outside.reads.take() } else { None };
            let writes = if writers == 0 { outside.writes.take() } else { None };
            (reads, writes)
        });
        drop(state);
        drop(unused);
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
            None if nonblock => Err(self.found_nothing()),
            found => Ok(found),
        };
        let count = wait::until(None, |awaited| self.await_change(awaited), look)?.unwrap_or(0);
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
                None if nonblock => Err(self.found_nothing()),
                found => Ok(found),
            };
            match wait::until(None, |awaited| self.await_change(awaited), look) {
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
        if let Some(handle) = self.handle() {
            return ready(&handle, if self.writes { poll::OUT } else { poll::IN });
        }
        let state = self.shared.state.lock();
        let mut events = 0;
        if self.writes {
            if state.room() >= PIPE_BUF {
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

    fn asked(&self) -> bool {
        // It may be handed to another enclave at any time, and only the host knows of it then.
        true
    }

    fn outside(&self, events: u32, pipes: &mut Vec<(u64, u64)>) {
        if let Some(handle) = self.handle() {
            pipes.push((handle.0, u64::from(events & (poll::IN | poll::OUT))));
        }
    }

    fn carry(&self) -> Result<Carried, Errno> {
        let outside = self.shared.become_outside()?;
        let end = if self.writes { outside.writes } else { outside.reads };
        // An open file has its end.
        let handle = end.ok_or(Errno::EBADF)?.0;
        Ok(Carried::Pipe { handle, number: self.shared.number, writes: self.writes })
    }

    fn pipe_size(&self) -> Option<usize> {
        Some(self.shared.state.lock().capacity())
    }

    fn set_pipe_size(&self, size: usize) -> Result<usize, Errno> {
        let size = size.max(PIPE_BUF).checked_next_power_of_two().ok_or(Errno::EINVAL)?;
        // As if `/proc/sys/fs/pipe-max-size` said so, which it does.
        if size > CAPACITY {
            return Err(Errno::EPERM);
        }
        let mut state = self.shared.state.lock();
        if state.outside.is_some() {
            // The host's pipe holds more, and nobody will see it.
            return Ok(CAPACITY);
        }
        if state.data.len() > size {
            return Err(Errno::EBUSY);
        }
        state.smaller = (size < CAPACITY).then_some(size);
        Ok(size)
    }

    fn label(&self) -> Option<String> {
        Some(self.name())
    }
}
