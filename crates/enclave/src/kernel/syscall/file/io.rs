//! read(2), write(2) and their kin.

use alloc::vec::Vec;

use super::super::{Errno, Result, length, uint};
use super::file;
use crate::arch::frame::Frame;
use crate::fs::{OpenFile, Sink, Source};
use crate::user;

/// The most parts of a vector (`UIO_MAXIOV`).
const MAX_PARTS: u64 = 1024;

/// What parts are put together in for files without positions, where one call must be one transfer.
const TOGETHER: usize = 1 << 20;

/// MAX_RW_COUNT.
const MAX_TRANSFER: usize = 0x7fff_f000;

/// `RWF_` flags that ask for nothing more than is done anyway: HIPRI, DSYNC, SYNC.
const RWF_TAKEN: u32 = 7;

pub(crate) fn read(frame: &mut Frame) -> Result {
    let [fd, address, count, ..] = frame.arguments();
    let length = length(count)?;
    Ok(file(fd)?.read(&mut Sink::Guest { address, length })? as u64)
}

pub(crate) fn write(frame: &mut Frame) -> Result {
    let [fd, address, count, ..] = frame.arguments();
    let length = length(count)?;
    Ok(file(fd)?.write(&Source::Guest { address, length })? as u64)
}

pub(crate) fn pread64(frame: &mut Frame) -> Result {
    let [fd, address, count, position, ..] = frame.arguments();
    let length = length(count)?;
    Ok(file(fd)?.read_from(position, &mut Sink::Guest { address, length })? as u64)
}

pub(crate) fn pwrite64(frame: &mut Frame) -> Result {
    let [fd, address, count, position, ..] = frame.arguments();
    let length = length(count)?;
    Ok(file(fd)?.write_to(position, &Source::Guest { address, length })? as u64)
}

/// The parts of a vector that are not empty.
pub(crate) fn parts(address: u64, count: u64) -> core::result::Result<Vec<(u64, usize)>, Errno> {
    if count > MAX_PARTS {
        return Err(Errno::EINVAL);
    }
    let mut words = alloc::vec![0; usize::try_from(count * 16).map_err(|_| Errno::EINVAL)?];
    user::read(address, &mut words)?;
    let mut parts = Vec::new();
    let mut total = 0_usize;
    for part in words.as_chunks::<16>().0 {
        let (address, length) = part.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let length = usize::try_from(word(length)).map_err(|_| Errno::EINVAL)?;
        if isize::try_from(length).is_err() {
            return Err(Errno::EINVAL);
        }
        let length = length.min(MAX_TRANSFER - total);
        total += length;
        if length > 0 {
            parts.push((word(address), length));
        }
    }
    Ok(parts)
}

/// Reads all parts, one behind the other.
pub(crate) fn gather(parts: &[(u64, usize)]) -> core::result::Result<Vec<u8>, Errno> {
    let mut bytes = alloc::vec![0; parts.iter().map(|(_, length)| length).sum::<usize>()];
    let mut rest = bytes.as_mut_slice();
    for (address, length) in parts {
        let (part, behind) = rest.split_at_mut(*length);
        user::read(*address, part)?;
        rest = behind;
    }
    Ok(bytes)
}

/// Writes bytes to the parts, one behind the other.
pub(crate) fn scatter(parts: &[(u64, usize)], mut bytes: &[u8]) -> core::result::Result<(), Errno> {
    for (address, length) in parts {
        let (part, behind) = bytes.split_at(bytes.len().min(*length));
        user::write(*address, part)?;
        bytes = behind;
    }
    Ok(())
}

/// Whether the parts have to be moved as one, and their length then.
fn together(file: &OpenFile, parts: &[(u64, usize)]) -> Option<usize> {
    let total = parts.iter().map(|(_, length)| length).sum::<usize>();
    (parts.len() > 1 && !file.file().seekable()).then_some(total)
}

/// Moves part after part, until one is moved only in part.
fn each(
    parts: &[(u64, usize)],
    mut one: impl FnMut(u64, usize, u64) -> core::result::Result<usize, Errno>,
) -> Result {
    let mut done = 0;
    for (address, length) in parts {
        match one(*address, *length, done) {
            Ok(count) => {
                done += count as u64;
                if count < *length {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

fn read_parts(fd: u64, vector: u64, count: u64, position: Option<u64>) -> Result {
    let file = file(fd)?;
    let parts = parts(vector, count)?;
    if parts.is_empty() {
        let mut nothing = Sink::Kernel(&mut []);
        return match position {
            Some(position) => file.read_from(position, &mut nothing),
            None => file.read(&mut nothing),
        }
        .map(|count| count as u64);
    }
    if let (Some(total), None) = (together(&file, &parts), position) {
        let mut bytes = alloc::vec![0; total.min(TOGETHER)];
        let count = file.read(&mut Sink::Kernel(&mut bytes))?;
        scatter(&parts, &bytes[..count])?;
        return Ok(count as u64);
    }
    each(&parts, |address, length, done| {
        let mut to = Sink::Guest { address, length };
        match position {
            Some(position) => file.read_from(position.checked_add(done).ok_or(Errno::EINVAL)?, &mut to),
            None => file.read(&mut to),
        }
    })
}

fn write_parts(fd: u64, vector: u64, count: u64, position: Option<u64>) -> Result {
    let file = file(fd)?;
    let parts = parts(vector, count)?;
    if parts.is_empty() {
        let nothing = Source::Kernel(&[]);
        return match position {
            Some(position) => file.write_to(position, &nothing),
            None => file.write(&nothing),
        }
        .map(|count| count as u64);
    }
    if let (Some(total), None) = (together(&file, &parts), position)
        && total <= TOGETHER
    {
        return file.write(&Source::Kernel(&gather(&parts)?)).map(|count| count as u64);
    }
    each(&parts, |address, length, done| {
        let from = Source::Guest { address, length };
        match position {
            Some(position) => file.write_to(position.checked_add(done).ok_or(Errno::EINVAL)?, &from),
            None => file.write(&from),
        }
    })
}

pub(crate) fn readv(frame: &mut Frame) -> Result {
    let [fd, vector, count, ..] = frame.arguments();
    read_parts(fd, vector, count, None)
}

pub(crate) fn writev(frame: &mut Frame) -> Result {
    let [fd, vector, count, ..] = frame.arguments();
    write_parts(fd, vector, count, None)
}

pub(crate) fn preadv(frame: &mut Frame) -> Result {
    let [fd, vector, count, position, ..] = frame.arguments();
    read_parts(fd, vector, count, Some(position))
}

pub(crate) fn pwritev(frame: &mut Frame) -> Result {
    let [fd, vector, count, position, ..] = frame.arguments();
    write_parts(fd, vector, count, Some(position))
}

/// The position of preadv2(2): -1 is the file's own.
fn optional(position: u64, flags: u64) -> core::result::Result<Option<u64>, Errno> {
    if uint(flags) & !RWF_TAKEN != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok((position != u64::MAX).then_some(position))
}

pub(crate) fn preadv2(frame: &mut Frame) -> Result {
    let [fd, vector, count, position, _, flags] = frame.arguments();
    read_parts(fd, vector, count, optional(position, flags)?)
}

pub(crate) fn pwritev2(frame: &mut Frame) -> Result {
    let [fd, vector, count, position, _, flags] = frame.arguments();
    write_parts(fd, vector, count, optional(position, flags)?)
}

pub(crate) fn lseek(frame: &mut Frame) -> Result {
    let [fd, offset, whence, ..] = frame.arguments();
    file(fd)?.seek(offset.cast_signed(), u64::from(uint(whence)))
}
