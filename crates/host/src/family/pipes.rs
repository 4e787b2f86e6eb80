//! Pipes of the host's that enclaves share, and pairs of Unix sockets.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use casemate_enclave_abi::errno::Errno;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{read, write};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{AddressFamily, RecvFlags, Shutdown, SocketFlags, SocketType, recv, shutdown, socketpair};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::lock;
use crate::console;
use crate::files::errno;

/// Pipes that an enclave can have open.
const MOST: usize = 1 << 16;

/// Bytes that a pipe holds, twice what the enclave's own hold: what is in one of those fits when it becomes one of these.
const SIZE: usize = 128 * 1024;

/// The same of a pair of sockets.
const SOCKET_SIZE: usize = 212_992;

/// Open ends, by handle.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    open: Mutex<Vec<Option<Arc<OwnedFd>>>>,
}

impl Pipes {
    /// Makes a pipe: the handles to read and to write.
    pub(crate) fn create(&self) -> Result<[u64; 2], Errno> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(errno)?;
        // Where the user has used up his pages, it stays as large as it is.
        let _ = fcntl_setpipe_size(&writer, SIZE);
        Ok([self.add(reader)?, self.add(writer)?])
    }

    /// Makes two sockets that are connected to each other: their handles.
    pub(crate) fn create_sockets(&self, kind: u64) -> Result<[u64; 2], Errno> {
        let kind = match i32::try_from(kind) {
            Ok(libc::SOCK_STREAM) => SocketType::STREAM,
            Ok(libc::SOCK_DGRAM) => SocketType::DGRAM,
            Ok(libc::SOCK_SEQPACKET) => SocketType::SEQPACKET,
            _ => return Err(Errno::EINVAL),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (first, second) = socketpair(AddressFamily::UNIX, kind, flags, None).map_err(errno)?;
        for socket in [&first, &second] {
            // The kernel grants what it will.
            let _ = set_socket_send_buffer_size(socket, SOCKET_SIZE);
        }
        Ok([self.add(first)?, self.add(second)?])
    }

    /// shutdown(2).
    pub(crate) fn shutdown(&self, handle: u64, how: u64) -> Result<(), Errno> {
        let how = match how {
            0 => Shutdown::Read,
            1 => Shutdown::Write,
            2 => Shutdown::Both,
            _ => return Err(Errno::EINVAL),
        };
        shutdown(&*self.get(handle)?, how).map_err(errno)
    }

    /// Takes an end in.
    pub(crate) fn add(&self, end: OwnedFd) -> Result<u64, Errno> {
        // Of whoever passed it: it never blocks here.
        let flags = fcntl_getfl(&end).map_err(errno)?;
        fcntl_setfl(&end, flags | OFlags::NONBLOCK).map_err(errno)?;
        let mut open = lock(&self.open);
        let free = open.iter().position(Option::is_none).unwrap_or(open.len());
        if free >= MOST {
            return Err(Errno::EMFILE);
        }
        match open.get_mut(free) {
            Some(place) => *place = Some(Arc::new(end)),
            None => open.push(Some(Arc::new(end))),
        }
        u64::try_from(free).map_err(|_| Errno::EMFILE)
    }

    /// The end of this handle.
    pub(crate) fn get(&self, handle: u64) -> Result<Arc<OwnedFd>, Errno> {
        let index = usize::try_from(handle).map_err(|_| Errno::EBADF)?;
        lock(&self.open).get(index).and_then(Clone::clone).ok_or(Errno::EBADF)
    }

    /// Closes an end.
    pub(crate) fn close(&self, handle: u64) -> Result<(), Errno> {
        let index = usize::try_from(handle).map_err(|_| Errno::EBADF)?;
        lock(&self.open).get_mut(index).and_then(Option::take).map(drop).ok_or(Errno::EBADF)
    }

    /// Reads what is there; `peek`: and leaves it there.
    pub(crate) fn read(&self, handle: u64, buffer: &mut [u8], peek: bool) -> Result<usize, Errno> {
        let end = self.get(handle)?;
        if peek {
            return recv(&*end, buffer, RecvFlags::PEEK).map(|(count, _)| count).map_err(errno);
        }
        read(&*end, buffer).map_err(errno)
    }

    /// Writes what fits.
    pub(crate) fn write(&self, handle: u64, bytes: &[u8]) -> Result<usize, Errno> {
        write(&*self.get(handle)?, bytes).map_err(errno)
    }

    /// Waits until an end, a stream of the console or `alarm` is ready. `wanted` are handles with `POLL` bits, which become
    /// those that are there. Gives the streams that are ready.
    pub(crate) fn wait(
        &self,
        wanted: &mut [(u64, u64)],
        streams: u64,
        timeout_ns: u64,
        alarm: BorrowedFd<'_>,
    ) -> Result<u64, Errno> {
        let ends: Vec<Option<Arc<OwnedFd>>> =
            wanted.iter().map(|(handle, _)| self.get(*handle).ok()).collect();
        let mut polled = vec![PollFd::from_borrowed_fd(alarm, PollFlags::IN)];
        let console = console::streams(streams)?;
        polled.extend(console.iter().map(|(_, stream, flags)| PollFd::from_borrowed_fd(*stream, *flags)));
        let first = polled.len();
        for ((_, events), end) in wanted.iter().zip(&ends) {
            let events = PollFlags::from_bits_truncate(u16::try_from(events & 0xffff).unwrap_or(0));
            if let Some(end) = end {
                polled.push(PollFd::from_borrowed_fd(end.as_fd(), events));
            }
        }
        poll(&mut polled, Some(&console::timespec(timeout_ns))).map_err(errno)?;
        if polled.first().is_some_and(|alarm| !alarm.revents().is_empty()) {
            // Somebody else may have taken it.
            let _ = read(alarm, &mut [0; 8]);
        }
        let mut found = polled.iter().skip(first);
        for ((_, events), end) in wanted.iter_mut().zip(&ends) {
            // One that is not open is an error, and is found when it is used.
            let there = end.as_ref().and_then(|_| found.next()).map_or(PollFlags::ERR, |end| end.revents());
            *events = u64::from(there.bits());
        }
        let ready =
            console.iter().zip(polled.iter().skip(1)).filter(|(_, stream)| !stream.revents().is_empty());
        Ok(ready.fold(0, |mask, ((bit, ..), _)| mask | bit))
    }
}
