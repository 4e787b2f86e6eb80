//! Locks: the fcntl(2) commands for ranges, and flock(2).

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::super::{Errno, Result, uint};
use super::opened;
use crate::arch::frame::Frame;
use crate::fs::{Lock, LockOwner, OpenFile, locks};
use crate::user;

const F_RDLCK: u16 = 0;
const F_WRLCK: u16 = 1;
const F_UNLCK: u16 = 2;

/// `struct flock`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
struct Flock {
    kind: u16,
    whence: u16,
    padding: u32,
    start: i64,
    length: i64,
    process: i32,
    padding_at_end: u32,
}

/// First and last byte that a structure names.
fn range(file: &OpenFile, flock: &Flock) -> core::result::Result<(u64, u64), Errno> {
    let base = match flock.whence {
        0 => 0,
        1 => file.seek(0, 1)?.cast_signed(),
        2 => file.stat()?.size.cast_signed(),
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(flock.start).ok_or(Errno::EOVERFLOW)?;
    let (start, last) = match flock.length {
        0 => (start, i64::MAX),
        length if length > 0 => (start, start.checked_add(length - 1).ok_or(Errno::EOVERFLOW)?),
        length => (start.checked_add(length).ok_or(Errno::EINVAL)?, start - 1),
    };
    let first = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
    Ok((first, u64::try_from(last).map_err(|_| Errno::EINVAL)?))
}

/// What of fcntl(2) is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Test,
    Set,
    Wait,
}

/// F_GETLK, F_SETLK, F_SETLKW, and the same of open files.
pub(super) fn record(file: &OpenFile, argument: u64, ask: Ask, of_open_file: bool) -> Result {
    let flock: Flock = user::read_value(argument)?;
    if flock.kind > F_UNLCK || of_open_file && flock.process != 0 {
        return Err(Errno::EINVAL);
    }
    let (start, last) = range(file, &flock)?;
    let owner = if of_open_file { LockOwner::of(file) } else { locks::own() };
    let process = if let LockOwner::Process(process) = owner { process.into() } else { 0 };
    let lock = Lock { owner, exclusive: flock.kind == F_WRLCK, start, last, process };
    if ask == Ask::Test {
        if flock.kind == F_UNLCK {
            return Err(Errno::EINVAL);
        }
        let answer = match locks::test(file, lock)? {
            None => Flock { kind: F_UNLCK, ..flock },
            Some(found) => Flock {
                kind: if found.exclusive { F_WRLCK } else { F_RDLCK },
                whence: 0,
                start: found.start.cast_signed(),
                length: found.length().cast_signed(),
                process: i32::try_from(found.process).ok().filter(|process| *process > 0).unwrap_or(-1),
                ..flock
            },
        };
        user::write_value(argument, &answer)?;
        return Ok(0);
    }
    let granted = match flock.kind {
        F_UNLCK => true,
        F_WRLCK => file.writable(),
        _ => file.readable(),
    };
    if !granted {
        return Err(Errno::EBADF);
    }
    locks::set(file, lock, flock.kind != F_UNLCK, ask == Ask::Wait).map(|()| 0)
}

pub(crate) fn flock(frame: &mut Frame) -> Result {
    let [fd, operation, ..] = frame.arguments();
    let file = opened(fd)?;
    let operation = uint(operation);
    // LOCK_SH, LOCK_EX, LOCK_UN, and LOCK_NB with them.
    let exclusive = match operation & !4 {
        1 => Some(false),
        2 => Some(true),
        8 => None,
        _ => return Err(Errno::EINVAL),
    };
    locks::whole(&file, exclusive, operation & 4 == 0).map(|()| 0)
}
