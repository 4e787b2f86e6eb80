//! Record locks (fcntl(2)), which rustix has for whole files only.

use std::os::fd::{AsRawFd as _, OwnedFd};

use casemate_enclave_abi::op::{LOCK_EXCLUSIVE, LOCK_NONE, LOCK_SHARED};
use rustix::io::Errno;

/// A lock, or what is in the way of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// `LOCK_SHARED`, `LOCK_EXCLUSIVE` or `LOCK_NONE`.
    pub(crate) kind: u64,
    pub(crate) start: u64,
    /// 0: to the end.
    pub(crate) length: u64,
    /// Who has it.
    pub(crate) process: u64,
}

fn record(record: Record) -> Result<libc::flock, Errno> {
    let kind = match record.kind {
        LOCK_SHARED => libc::F_RDLCK,
        LOCK_EXCLUSIVE => libc::F_WRLCK,
        LOCK_NONE => libc::F_UNLCK,
        _ => return Err(Errno::INVAL),
    };
    let number = |value| i64::try_from(value).map_err(|_| Errno::INVAL);
    Ok(libc::flock {
        l_type: i16::try_from(kind).map_err(|_| Errno::INVAL)?,
        l_whence: 0,
        l_start: number(record.start)?,
        l_len: number(record.length)?,
        l_pid: 0,
    })
}

fn call(file: &OwnedFd, command: libc::c_int, lock: &mut libc::flock) -> Result<(), Errno> {
    // SAFETY: an open descriptor, and the structure that the commands take.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut *lock) } {
        -1 => {
            let error = std::io::Error::last_os_error();
            Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
        }
        _ => Ok(()),
    }
}

/// Takes a lock, or gives it back, without waiting. `of_open_file`: it is the open file's, not the process's.
pub(crate) fn set(file: &OwnedFd, of_open_file: bool, wanted: Record) -> Result<(), Errno> {
    let command = if of_open_file { libc::F_OFD_SETLK } else { libc::F_SETLK };
    call(file, command, &mut record(wanted)?)
}

/// The lock that is in the way of one; of kind `LOCK_NONE` where there is none.
pub(crate) fn test(file: &OwnedFd, of_open_file: bool, wanted: Record) -> Result<Record, Errno> {
    let command = if of_open_file { libc::F_OFD_GETLK } else { libc::F_GETLK };
    let mut lock = record(wanted)?;
    call(file, command, &mut lock)?;
    let kind = match i32::from(lock.l_type) {
        libc::F_RDLCK => LOCK_SHARED,
        libc::F_WRLCK => LOCK_EXCLUSIVE,
        _ => LOCK_NONE,
    };
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    Ok(Record {
        kind,
        start: number(lock.l_start),
        length: number(lock.l_len),
        process: number(lock.l_pid.into()),
    })
}
