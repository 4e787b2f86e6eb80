//! From file to file: sendfile(2), copy_file_range(2), splice(2). And advice about reading.

use casemate_enclave::vfs::flags::{open, poll};

use super::super::{Errno, Result, length, uint};
use super::{file, opened};
use crate::arch::frame::Frame;
use crate::fs::{OpenFile, Sink, Source, wait};
use crate::user;

/// Bytes moved at a time.
const CHUNK: usize = 128 * 1024;

/// A position in guest memory, or the file's own where the pointer is null.
struct Place<'a> {
    file: &'a OpenFile,
    pointer: u64,
    at: u64,
}

impl<'a> Place<'a> {
    fn new(file: &'a OpenFile, pointer: u64) -> core::result::Result<Self, Errno> {
        let at = if pointer == 0 { file.seek(0, 1)? } else { user::read_value(pointer)? };
        if at.cast_signed() < 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self { file, pointer, at })
    }

    /// Puts the position back where it came from.
    fn store(&self) -> core::result::Result<(), Errno> {
        if self.pointer == 0 {
            self.file.seek(self.at.cast_signed(), 0).map(drop)
        } else {
            user::write_value(self.pointer, &self.at)
        }
    }
}

/// Copies up to `count` bytes. Returns what was written; an error only where that is nothing.
fn copy(
    from: &mut Place<'_>,
    count: usize,
    mut write: impl FnMut(&[u8]) -> core::result::Result<usize, Errno>,
) -> core::result::Result<usize, Errno> {
    let mut bytes = alloc::vec![0; count.min(CHUNK)];
    let mut done = 0;
    while done < count {
        let wanted = (count - done).min(CHUNK);
        let moved = from
            .file
            .read_at(from.at, &mut bytes[..wanted])
            .and_then(|got| if got == 0 { Ok((0, 0)) } else { write(&bytes[..got]).map(|put| (got, put)) });
        match moved {
            Ok((got, put)) => {
                from.at += put as u64;
                done += put;
                if put < wanted || got == 0 {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

pub(crate) fn sendfile(frame: &mut Frame) -> Result {
    let [to, from, offset, count, ..] = frame.arguments();
    let (from, to) = (file(from)?, file(to)?);
    if !from.readable() || !to.writable() {
        return Err(Errno::EBADF);
    }
    if !from.file().seekable() {
        return Err(if offset == 0 { Errno::EINVAL } else { Errno::ESPIPE });
    }
    let mut place = Place::new(&from, offset)?;
    let done = copy(&mut place, length(count)?, |bytes| to.write(&Source::Kernel(bytes)))?;
    place.store()?;
    Ok(done as u64)
}

pub(crate) fn copy_file_range(frame: &mut Frame) -> Result {
    let [from, from_offset, to, to_offset, count, flags] = frame.arguments();
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let (from, to) = (opened(from)?, opened(to)?);
    if from.is_directory()? || to.is_directory()? {
        return Err(Errno::EISDIR);
    }
    if !from.file().mappable() || !to.file().mappable() {
        return Err(Errno::EINVAL);
    }
    if !from.readable() || !to.writable() || to.flags() & open::APPEND != 0 {
        return Err(Errno::EBADF);
    }
    let mut source = Place::new(&from, from_offset)?;
    let mut target = Place::new(&to, to_offset)?;
    let count = length(count)?;
    let same = core::ptr::eq(from.file(), to.file());
    if same && source.at < target.at + count as u64 && target.at < source.at + count as u64 {
        return Err(Errno::EINVAL);
    }
    let done = copy(&mut source, count, |bytes| {
        let put = to.write_to(target.at, &Source::Kernel(bytes))?;
        target.at += put as u64;
        Ok(put)
    })?;
    source.store()?;
    target.store()?;
    Ok(done as u64)
}

/// Writes all of it, waiting for room even where the file was opened not to: it cannot be put back where it came from.
fn write_all(to: &OpenFile, mut at: Option<u64>, bytes: &[u8]) -> core::result::Result<(), Errno> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let source = Source::Kernel(rest);
        let written = match at {
            Some(position) => to.write_to(position, &source),
            None => to.write(&source),
        };
        match written {
            Ok(count) => {
                at = at.map(|position| position + count as u64);
                rest = &rest[count.min(rest.len())..];
            }
            Err(Errno::EAGAIN) => {
                let room = || {
                    let events = to.file().poll()?;
                    Ok((events & (poll::OUT | poll::ERR | poll::HUP) != 0).then_some(()))
                };
                wait::until(None, |awaited| to.file().queues(&mut awaited.queues), room)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Bytes that a pipe takes at least, and so what is moved at once.
const PIPE: usize = 65_536;

pub(crate) fn splice(frame: &mut Frame) -> Result {
    let [from, from_offset, to, to_offset, count, flags] = frame.arguments();
    // SPLICE_F_MOVE, NONBLOCK, MORE, GIFT.
    if uint(flags) & !0xf != 0 {
        return Err(Errno::EINVAL);
    }
    let count = length(count)?.min(PIPE);
    let (from, to) = (opened(from)?, opened(to)?);
    if !from.readable() || !to.writable() {
        return Err(Errno::EBADF);
    }
    let pipe = |file: &OpenFile| file.file().pipe_size().is_some();
    if pipe(&from) && from_offset != 0 || pipe(&to) && to_offset != 0 {
        return Err(Errno::ESPIPE);
    }
    if !pipe(&from) && !pipe(&to) || to.flags() & open::APPEND != 0 {
        return Err(Errno::EINVAL);
    }
    if count == 0 {
        return Ok(0);
    }
    let nonblock = uint(flags) & 2 != 0;
    let (input, output) = (from.file().poll()?, to.file().poll()?);
    if nonblock && (input & (poll::IN | poll::HUP) == 0 || output & (poll::OUT | poll::ERR) == 0) {
        return Err(Errno::EAGAIN);
    }
    let mut bytes = alloc::vec![0; count];
    let got = if from_offset == 0 {
        from.read(&mut Sink::Kernel(&mut bytes))?
    } else {
        let at: u64 = user::read_value(from_offset)?;
        let got = from.read_at(at, &mut bytes)?;
        user::write_value(from_offset, &(at + got as u64))?;
        got
    };
    let at = if to_offset == 0 { None } else { Some(user::read_value::<u64>(to_offset)?) };
    write_all(&to, at, &bytes[..got])?;
    if let Some(at) = at {
        user::write_value(to_offset, &(at + got as u64))?;
    }
    Ok(got as u64)
}

pub(crate) fn vmsplice(frame: &mut Frame) -> Result {
    let [fd, ..] = frame.arguments();
    let file = opened(fd)?;
    if file.file().pipe_size().is_none() {
        return Err(Errno::EBADF);
    }
    if file.writable() { super::io::writev(frame) } else { super::io::readv(frame) }
}

pub(crate) fn fadvise64(frame: &mut Frame) -> Result {
    let [fd, _, length, advice, ..] = frame.arguments();
    let file = opened(fd)?;
    if file.file().pipe_size().is_some() {
        return Err(Errno::ESPIPE);
    }
    if uint(advice) > 5 || length.cast_signed() < 0 { Err(Errno::EINVAL) } else { Ok(0) }
}

pub(crate) fn readahead(frame: &mut Frame) -> Result {
    let [fd, ..] = frame.arguments();
    let file = opened(fd)?;
    if !file.readable() {
        return Err(Errno::EBADF);
    }
    if file.file().mappable() { Ok(0) } else { Err(Errno::EINVAL) }
}

pub(crate) fn sync_file_range(frame: &mut Frame) -> Result {
    let [fd, ..] = frame.arguments();
    let file = opened(fd)?;
    if file.file().seekable() { Ok(0) } else { Err(Errno::ESPIPE) }
}
