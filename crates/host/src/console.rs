//! Standard input, output and error of this process, on behalf of the program inside.

use std::os::fd::BorrowedFd;

use casemate_enclave_abi::errno::Errno;
use casemate_enclave_abi::op::{NO_TIMEOUT, POLL_STDERR, POLL_STDIN, POLL_STDOUT};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::tcgetwinsize;

use crate::files::errno;

const NS_PER_S: u64 = 1_000_000_000;

/// The stream of this number.
fn stream(number: u64) -> Result<BorrowedFd<'static>, Errno> {
    match number {
        0 => Ok(stdin()),
        1 => Ok(stdout()),
        2 => Ok(stderr()),
        _ => Err(Errno::EBADF),
    }
}

/// Reads standard input; waits until there is something.
pub(crate) fn read(number: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    if number != 0 {
        return Err(Errno::EBADF);
    }
    retry_on_intr(|| rustix::io::read(stdin(), &mut *buffer)).map_err(errno)
}

/// Writes standard output or error.
pub(crate) fn write(number: u64, bytes: &[u8]) -> Result<usize, Errno> {
    if number == 0 {
        return Err(Errno::EBADF);
    }
    let stream = stream(number)?;
    retry_on_intr(|| rustix::io::write(stream, bytes)).map_err(errno)
}

/// Writes all of a line of the enclave kernel's own to standard error.
pub(crate) fn print(bytes: &[u8]) -> Result<usize, Errno> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = write(2, rest)?;
        rest = rest.get(written..).filter(|_| written > 0).ok_or(Errno::EIO)?;
    }
    Ok(bytes.len())
}

/// The streams of a mask: bit, descriptor, what to poll it for.
pub(crate) fn streams(mask: u64) -> Result<Vec<(u64, BorrowedFd<'static>, PollFlags)>, Errno> {
    let kinds =
        [(POLL_STDIN, 0, PollFlags::IN), (POLL_STDOUT, 1, PollFlags::OUT), (POLL_STDERR, 2, PollFlags::OUT)];
    if mask & !(POLL_STDIN | POLL_STDOUT | POLL_STDERR) != 0 {
        return Err(Errno::EINVAL);
    }
    let asked = kinds.into_iter().filter(|(bit, ..)| mask & bit != 0);
    asked.map(|(bit, number, flags)| Ok((bit, stream(number)?, flags))).collect()
}

/// Waits until one of the streams in the mask is ready; gives the mask of those.
pub(crate) fn wait(mask: u64, timeout_ns: u64) -> Result<u64, Errno> {
    let asked = streams(mask)?;
    let mut streams: Vec<PollFd<'_>> =
        asked.iter().map(|(_, stream, flags)| PollFd::from_borrowed_fd(*stream, *flags)).collect();
    let timeout = (timeout_ns != NO_TIMEOUT).then(|| timespec(timeout_ns));
    poll(&mut streams, timeout.as_ref()).map_err(errno)?;
    let ready = asked.iter().zip(&streams).filter(|(_, stream)| !stream.revents().is_empty());
    Ok(ready.fold(0, |mask, ((bit, ..), _)| mask | bit))
}

/// A length of time for poll(2).
pub(crate) fn timespec(ns: u64) -> Timespec {
    // Both parts are small enough for their types.
    Timespec {
        tv_sec: i64::try_from(ns / NS_PER_S).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ns % NS_PER_S).unwrap_or(0),
    }
}

/// Rows and columns of a stream's terminal.
pub(crate) fn terminal_size(number: u64) -> Result<(u16, u16), Errno> {
    let size = tcgetwinsize(stream(number)?).map_err(errno)?;
    Ok((size.ws_row, size.ws_col))
}

/// Rows and columns of the first stream that is a terminal.
pub(crate) fn window_size() -> Option<(u16, u16)> {
    [1, 0, 2].into_iter().find_map(|number| terminal_size(number).ok())
}
