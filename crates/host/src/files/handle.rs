//! What is done with an open file of a mount.
//!
//! The kernel knows how a file was opened, and those of the root directory are open for reading only; but what changes an
//! inode by its descriptor must be refused here for them.

use std::os::fd::AsRawFd as _;

use casemate_enclave_abi::errno::Errno;
use casemate_enclave_abi::op::{
    CHANGE_MODE, CHANGE_OWNER, CHANGE_TIMES, CURRENT_POSITION, END_OF_FILE, LEAVE, LOCK_EXCLUSIVE, LOCK_NONE,
    LOCK_OPEN_FILE, LOCK_PROCESS, LOCK_SHARED,
};
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FallocateFlags, FlockOperation, Gid, SeekFrom, Timespec, Timestamps, UTIME_OMIT, Uid, chmod,
    chownat, fallocate, fdatasync, flock, fsync, ftruncate, seek, utimensat,
};
use rustix::io::{IoSlice, ReadWriteFlags, pwrite, pwritev2, retry_on_intr, write};

use super::mounted::mode;
use super::{Files, errno};
use crate::raw::lock::{self, Record};

impl Files {
    /// Writes at a position, where the handle stands, or at the end.
    pub(crate) fn write(&self, handle: u64, bytes: &[u8], position: u64) -> Result<usize, Errno> {
        let file = self.get(handle)?;
        let result = match position {
            CURRENT_POSITION => retry_on_intr(|| write(&file, bytes)),
            END_OF_FILE => {
                let parts = [IoSlice::new(bytes)];
                retry_on_intr(|| pwritev2(&file, &parts, 0, ReadWriteFlags::APPEND))
            }
            position if i64::try_from(position).is_err() => return Err(Errno::EINVAL),
            position => retry_on_intr(|| pwrite(&file, bytes, position)),
        };
        result.map_err(errno)
    }

    /// Changes permissions, owner or times.
    pub(crate) fn change(&self, handle: u64, kind: u64, values: [u64; 4]) -> Result<(), Errno> {
        let file = self.changeable(handle)?;
        let [first, second, third, fourth] = values;
        match kind {
            CHANGE_MODE => chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), mode(first)?).map_err(errno),
            CHANGE_OWNER => {
                let id = |value: u64| match u32::try_from(value) {
                    _ if value == LEAVE => Ok(None),
                    Ok(u32::MAX) | Err(_) => Err(Errno::EINVAL),
                    Ok(id) => Ok(Some(id)),
                };
                let (user, group) = (id(first)?.map(Uid::from_raw), id(second)?.map(Gid::from_raw));
                chownat(&file, c"", user, group, AtFlags::EMPTY_PATH).map_err(errno)
            }
            CHANGE_TIMES => {
                let time = |seconds: u64, part: u64| match i64::try_from(part) {
                    _ if part == LEAVE => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }),
                    Ok(part @ 0..1_000_000_000) => {
                        Ok(Timespec { tv_sec: seconds.cast_signed(), tv_nsec: part })
                    }
                    _ => Err(Errno::EINVAL),
                };
                let times =
                    Timestamps { last_access: time(first, second)?, last_modification: time(third, fourth)? };
                utimensat(&file, c"", &times, AtFlags::EMPTY_PATH).map_err(errno)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// Cuts or grows.
    pub(crate) fn truncate(&self, handle: u64, size: u64) -> Result<(), Errno> {
        if i64::try_from(size).is_err() {
            return Err(Errno::EINVAL);
        }
        ftruncate(self.get(handle)?, size).map_err(errno)
    }

    /// Puts it on its disk.
    pub(crate) fn sync(&self, handle: u64, data_only: bool) -> Result<(), Errno> {
        let file = self.get(handle)?;
        if data_only { fdatasync(file) } else { fsync(file) }.map_err(errno)
    }

    /// fallocate(2).
    pub(crate) fn allocate(&self, handle: u64, mode: u64, offset: u64, length: u64) -> Result<(), Errno> {
        let mode = u32::try_from(mode).ok().and_then(FallocateFlags::from_bits).ok_or(Errno::EOPNOTSUPP)?;
        let file = self.get(handle)?;
        retry_on_intr(|| fallocate(&file, mode, offset, length)).map_err(errno)
    }

    /// Where a handle stands, or moves to.
    pub(crate) fn seek(&self, handle: u64, offset: u64, whence: u64) -> Result<u64, Errno> {
        let offset = offset.cast_signed();
        let to = match whence {
            0 => SeekFrom::Start(u64::try_from(offset).map_err(|_| Errno::EINVAL)?),
            1 => SeekFrom::Current(offset),
            2 => SeekFrom::End(offset),
            _ => return Err(Errno::EINVAL),
        };
        seek(self.get(handle)?, to).map_err(errno)
    }

    /// Takes a record lock, or gives it back; does not wait.
    pub(crate) fn lock(&self, handle: u64, whose: u64, record: Record) -> Result<(), Errno> {
        lock::set(&*self.get(handle)?, of_open_file(whose)?, record).map_err(errno)
    }

    /// The record lock that is in the way.
    pub(crate) fn test_lock(&self, handle: u64, whose: u64, record: Record) -> Result<Record, Errno> {
        lock::test(&*self.get(handle)?, of_open_file(whose)?, record).map_err(errno)
    }

    /// flock(2); does not wait.
    pub(crate) fn lock_whole(&self, handle: u64, kind: u64) -> Result<(), Errno> {
        let operation = match kind {
            LOCK_SHARED => FlockOperation::NonBlockingLockShared,
            LOCK_EXCLUSIVE => FlockOperation::NonBlockingLockExclusive,
            LOCK_NONE => FlockOperation::Unlock,
            _ => return Err(Errno::EINVAL),
        };
        flock(self.get(handle)?, operation).map_err(errno)
    }

    /// A handle whose inode may be changed: one of a mount that is not read only.
    fn changeable(&self, handle: u64) -> Result<std::sync::Arc<OwnedFd>, Errno> {
        let index = usize::try_from(handle).map_err(|_| Errno::EBADF)?;
        let handles = self.handles();
        let file = handles.open.get(index).and_then(Clone::clone).ok_or(Errno::EBADF)?;
        if handles.changeable.contains(&handle) { Ok(file) } else { Err(Errno::EROFS) }
    }
}

fn of_open_file(whose: u64) -> Result<bool, Errno> {
    match whose {
        LOCK_PROCESS => Ok(false),
        LOCK_OPEN_FILE => Ok(true),
        _ => Err(Errno::EINVAL),
    }
}
