//! What an open file can do.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::flags::poll;
use casemate_enclave::vfs::tmpfs::{Change, Node};
use casemate_enclave_abi::{Errno, Stat, StatFs};

use super::socket::Socket;
use super::wait::WaitQueue;
use super::{Carried, Cookie, Epoll, Inotify, SignalFd, TimerFd};
use crate::host::Buffer;
use crate::user;

/// Where bytes that are read go to.
pub(crate) enum Sink<'a> {
    /// Guest memory.
    Guest { address: u64, length: usize },
    /// The kernel's own.
    Kernel(&'a mut [u8]),
}

impl Sink<'_> {
    /// How many bytes there is room for.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Guest { length, .. } => *length,
            Self::Kernel(bytes) => bytes.len(),
        }
    }

    /// Runs `f` on a part of it. `f` must not touch guest memory in another way.
    pub(crate) fn with<T>(
        &mut self,
        at: usize,
        length: usize,
        f: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T, Errno> {
        match self {
            Self::Guest { address, .. } => {
                let address = address.checked_add(at as u64).ok_or(Errno::EFAULT)?;
                user::with_bytes_mut(address, length, f)
            }
            Self::Kernel(bytes) => {
                let end = at.checked_add(length).ok_or(Errno::EFAULT)?;
                bytes.get_mut(at..end).map(f).ok_or(Errno::EFAULT)
            }
        }
    }

    /// Copies bytes to a part of it.
    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) -> Result<(), Errno> {
        self.with(at, bytes.len(), |part| part.copy_from_slice(bytes))
    }

    /// Copies the beginning of a buffer, which the host has filled, to a part of it.
    pub(crate) fn take(&mut self, at: usize, length: usize, buffer: &Buffer) -> Result<(), Errno> {
        self.with(at, length, |part| buffer.read(part))
    }
}

/// Where bytes that are written come from.
pub(crate) enum Source<'a> {
    /// Guest memory.
    Guest { address: u64, length: usize },
    /// The kernel's own.
    Kernel(&'a [u8]),
}

impl Source<'_> {
    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Guest { length, .. } => *length,
            Self::Kernel(bytes) => bytes.len(),
        }
    }

    /// Runs `f` on a part of it. `f` must not touch guest memory in another way.
    pub(crate) fn with<T>(&self, at: usize, length: usize, f: impl FnOnce(&[u8]) -> T) -> Result<T, Errno> {
        match self {
            Self::Guest { address, .. } => {
                let address = address.checked_add(at as u64).ok_or(Errno::EFAULT)?;
                user::with_bytes(address, length, f)
            }
            Self::Kernel(bytes) => {
                let end = at.checked_add(length).ok_or(Errno::EFAULT)?;
                bytes.get(at..end).map(f).ok_or(Errno::EFAULT)
            }
        }
    }

    /// Copies a part of it to a buffer, for the host.
    pub(crate) fn give(&self, at: usize, length: usize, buffer: &Buffer) -> Result<(), Errno> {
        self.with(at, length, |part| buffer.write(part))
    }
}

/// Takes an entry of a directory: the cookie behind it, inode number, kind (`DT_`), name. `false`: no more.
pub(crate) type Each<'a> = dyn FnMut(Cookie, u64, u8, &[u8]) -> bool + 'a;

/// An open file, by kind. What a kind does not say is what Linux answers for files that cannot do it.
pub(crate) trait File: Send + Sync {
    /// What fstat(2) shows.
    fn stat(&self) -> Result<Stat, Errno>;

    /// What fstatfs(2) shows.
    fn stat_fs(&self) -> Result<StatFs, Errno>;

    /// Whether it has positions. If not, those of [`File::read`] and [`File::write`] mean nothing.
    fn seekable(&self) -> bool {
        false
    }

    /// Reads at a position; 0 at the end. Blocks where it must, unless `nonblock`.
    fn read(&self, _position: u64, _to: &mut Sink<'_>, _nonblock: bool) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Writes at a position, or at the end for `None`; gives where it ended and how much it was.
    fn write(
        &self,
        _position: Option<u64>,
        _from: &Source<'_>,
        _nonblock: bool,
    ) -> Result<(u64, usize), Errno> {
        Err(Errno::EINVAL)
    }

    /// Gives the entries behind a cookie to `each`, with the cookie behind each, until that returns `false`.
    fn read_dir(&self, _from: Cookie, _each: &mut Each<'_>) -> Result<(), Errno> {
        Err(Errno::ENOTDIR)
    }

    /// ioctl(2), but for what is the same for all files.
    fn ioctl(&self, _request: u32, _argument: u64) -> Result<u64, Errno> {
        Err(Errno::ENOTTY)
    }

    /// What it is ready for now, of `POLL` bits. Does not block.
    fn poll(&self) -> Result<u32, Errno> {
        Ok(poll::ALWAYS)
    }

    /// Whether epoll(7) takes it: not what is always ready.
    fn pollable(&self) -> bool {
        true
    }

    /// What is woken when [`File::poll`] changes.
    fn queues(&self, _queues: &mut Vec<Arc<WaitQueue>>) {}

    /// Streams of the console that must be asked for readiness, as [`File::queues`] cannot tell.
    fn console_streams(&self) -> u64 {
        0
    }

    /// Whether [`File::poll`] may change without a word to its [`File::queues`], so that it must be asked each time.
    fn asked(&self) -> bool {
        false
    }

    /// ftruncate(2).
    fn truncate(&self, _size: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// fallocate(2), with its mode.
    fn allocate(&self, _mode: u32, _offset: u64, _length: u64) -> Result<(), Errno> {
        Err(Errno::ENODEV)
    }

    /// fsync(2), or fdatasync(2).
    fn sync(&self, _data_only: bool) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// Takes or gives back a lock on a range for others than this program: whose, kind, start, length.
    fn lock(&self, _whose: u64, _kind: u64, _start: u64, _length: u64) -> Result<(), Errno> {
        Ok(())
    }

    /// The lock of another program's that is in the way: kind, start, length, process.
    fn test_lock(
        &self,
        _whose: u64,
        _kind: u64,
        _start: u64,
        _length: u64,
    ) -> Result<Option<[u64; 4]>, Errno> {
        Ok(None)
    }

    /// flock(2) for others than this program.
    fn lock_whole(&self, _kind: u64) -> Result<(), Errno> {
        Ok(())
    }

    /// fchmod(2), fchown(2), futimens(2).
    fn change(&self, _change: Change) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Has the position kept where other processes have it, too; `true` where it was not before.
    fn share(&self) -> bool {
        false
    }

    /// The position that processes share, moved to `to` where that is given; `None`: it is the open file's own.
    fn shared_position(&self, _to: Option<u64>) -> Option<Result<u64, Errno>> {
        None
    }

    /// Whether a mapping can be filled from it.
    fn mappable(&self) -> bool {
        false
    }

    /// The node behind it, if it is in memory.
    fn node(&self) -> Option<&Arc<Node>> {
        None
    }

    /// It, if it is an epoll instance.
    fn epoll(&self) -> Option<&Epoll> {
        None
    }

    /// It, if it is a timer.
    fn timer(&self) -> Option<&TimerFd> {
        None
    }

    /// It, if it watches files.
    fn inotify(&self) -> Option<&Inotify> {
        None
    }

    /// It, if it is a set of signals.
    fn signals(&self) -> Option<&SignalFd> {
        None
    }

    /// It, if it is a socket.
    fn socket(&self) -> Option<&dyn Socket> {
        None
    }

    /// Bytes that a pipe holds at most, if it is one.
    fn pipe_size(&self) -> Option<usize> {
        None
    }

    /// What carries it to another enclave.
    ///
    /// # Errors
    /// Of what must be done for that.
    fn carry(&self) -> Result<Carried, Errno> {
        Ok(Carried::Refused)
    }

    /// Pipes of the host's that must be asked for readiness, with the `POLL` bits to ask for.
    fn outside(&self, _events: u32, _pipes: &mut Vec<(u64, u64)>) {}

    /// Changes that; gives what it is then.
    fn set_pipe_size(&self, _size: usize) -> Result<usize, Errno> {
        Err(Errno::EBADF)
    }

    /// What `/proc/self/fd` shows instead of a path.
    fn label(&self) -> Option<String> {
        None
    }
}
