//! Regular files and directories of the host: of its root directory, which is read only, and of mounts.

use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use casemate_enclave::vfs::flags::{mode, open};
use casemate_enclave::vfs::tmpfs::Change;
use casemate_enclave_abi::op::{CHANGE_MODE, CHANGE_OWNER, CHANGE_TIMES, END_OF_FILE, LEAVE};
use casemate_enclave_abi::stat::{FileTime, STAT_BYTES, STAT_FS_BYTES};
use casemate_enclave_abi::{DirEntries, Errno, Op, Stat, StatFs};

use super::file::{Each, File, Sink, Source};
use super::namespace::{self, mounts::HostMount};
use super::{Carried, Cookie};
use crate::host::{self, Buffer, TRANSFER};

/// Flags of open(2) that the host is told where it may write; O_APPEND is said at each write.
const TO_HOST: u32 = open::ACCESS
    | open::CREAT
    | open::EXCL
    | open::TRUNC
    | open::DIRECTORY
    | open::NOATIME
    | open::TMPFILE
    | open::SYNC;

/// Room for entries of a directory in one call.
const ENTRIES: usize = 32 * 1024;

/// Longest target of a symbolic link.
const TARGET: usize = 4096;

/// A number that the host has given for an open file. Closed when dropped.
struct Handle(u64);

impl Drop for Handle {
    fn drop(&mut self) {
        // Nobody is left who could be told of an error.
        let _ = host::call(Op::Close, [self.0, 0, 0, 0, 0, 0]);
    }
}

/// A path as the host is asked for it: in a mount, or for number 0 in the root directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) mount: u64,
    pub(super) path: &'a str,
}

/// A path's bytes, where the host can see them.
fn buffer(text: &str) -> Result<Buffer, Errno> {
    Buffer::with(text.as_bytes())
}

/// An open file or directory of the host.
pub(super) struct HostFile {
    handle: Handle,
    mount: &'static HostMount,
    path: String,
    directory: bool,
    /// Other processes have it open, too, and the position is theirs as well.
    shared: AtomicBool,
}

/// A record that the host has put into a buffer. One that cannot be is an I/O error: no decision rests on it but the
/// program's own.
fn stat_record(out: &Buffer) -> Result<Stat, Errno> {
    Stat::read(out.window(), casemate_enclave_abi::Offset(0)).map_err(|_| Errno::EIO)
}

/// A buffer for a record of so many bytes.
fn record(bytes: u64) -> Result<Buffer, Errno> {
    Buffer::new(usize::try_from(bytes).map_err(|_| Errno::ENOMEM)?)
}

/// What lies at a path; a link itself.
pub(super) fn stat_at(place: Place<'_>) -> Result<Stat, Errno> {
    let path = buffer(place.path)?;
    let out = record(STAT_BYTES)?;
    let args = [path.offset(), place.path.len() as u64, 1, out.offset(), place.mount, 0];
    host::call(Op::StatAt, args)?;
    stat_record(&out)
}

/// The target of a symbolic link; EINVAL where there is none.
pub(super) fn read_link(place: Place<'_>) -> Result<alloc::vec::Vec<u8>, Errno> {
    let path = buffer(place.path)?;
    let out = Buffer::new(TARGET)?;
    let args = [path.offset(), place.path.len() as u64, out.offset(), TARGET as u64, place.mount, 0];
    let length = usize::try_from(host::call(Op::ReadLink, args)?).map_err(|_| Errno::EIO)?;
    let mut target = alloc::vec![0; length];
    out.read(&mut target);
    Ok(target)
}

/// The file system at a path.
pub(super) fn stat_fs(place: Place<'_>) -> Result<StatFs, Errno> {
    let path = buffer(place.path)?;
    let out = record(STAT_FS_BYTES)?;
    let args = [path.offset(), place.path.len() as u64, out.offset(), place.mount, 0, 0];
    host::call(Op::StatFs, args)?;
    StatFs::read(out.window(), casemate_enclave_abi::Offset(0)).map_err(|_| Errno::EIO)
}

/// Makes a directory.
pub(super) fn make_directory(place: Place<'_>, mode: u32) -> Result<(), Errno> {
    let path = buffer(place.path)?;
    let args = [path.offset(), place.path.len() as u64, mode.into(), place.mount, 0, 0];
    host::call(Op::MakeDirectory, args).map(drop)
}

/// Removes a name.
pub(super) fn remove(place: Place<'_>, directory: bool) -> Result<(), Errno> {
    let path = buffer(place.path)?;
    let args = [path.offset(), place.path.len() as u64, directory.into(), place.mount, 0, 0];
    host::call(Op::Remove, args).map(drop)
}

/// Two texts where the host can see them, as the first four arguments of a call.
fn two(first: &str, second: &str) -> Result<([Buffer; 2], [u64; 4]), Errno> {
    let buffers = [buffer(first)?, buffer(second)?];
    let args = [buffers[0].offset(), first.len() as u64, buffers[1].offset(), second.len() as u64];
    Ok((buffers, args))
}

/// Makes a symbolic link.
pub(super) fn symbolic_link(target: &str, place: Place<'_>) -> Result<(), Errno> {
    let (_buffers, [a, b, c, d]) = two(target, place.path)?;
    host::call(Op::SymbolicLink, [a, b, c, d, place.mount, 0]).map(drop)
}

/// Gives a file another name in its mount.
pub(super) fn link(old: Place<'_>, new: Place<'_>) -> Result<(), Errno> {
    let (_buffers, [a, b, c, d]) = two(old.path, new.path)?;
    host::call(Op::Link, [a, b, c, d, new.mount, 0]).map(drop)
}

/// Moves a name within its mount.
pub(super) fn rename(old: Place<'_>, new: Place<'_>, flags: u32) -> Result<(), Errno> {
    let (_buffers, [a, b, c, d]) = two(old.path, new.path)?;
    host::call(Op::Rename, [a, b, c, d, flags.into(), new.mount]).map(drop)
}

fn change_handle(handle: &Handle, change: Change) -> Result<(), Errno> {
    let id = |id: Option<u32>| id.map_or(LEAVE, u64::from);
    let time = |time: Option<FileTime>| match time {
        Some(time) => [time.seconds.cast_unsigned(), time.nanoseconds],
        None => [0, LEAVE],
    };
    let args = match change {
        Change::Mode(mode) => [handle.0, CHANGE_MODE, (mode & 0o7777).into(), 0, 0, 0],
        Change::Owner(user, group) => [handle.0, CHANGE_OWNER, id(user), id(group), 0, 0],
        Change::Times(access, modification) => {
            let ([a, b], [c, d]) = (time(access), time(modification));
            [handle.0, CHANGE_TIMES, a, b, c, d]
        }
    };
    host::call(Op::Change, args).map(drop)
}

/// Changes what is known of a path; of a link itself.
pub(super) fn change(place: Place<'_>, change: Change) -> Result<(), Errno> {
    change_handle(&open(place, open::PATH | open::NOFOLLOW, 0)?, change)
}

fn open(place: Place<'_>, flags: u32, mode: u32) -> Result<Handle, Errno> {
    let path = buffer(place.path)?;
    let flags = flags | open::CLOEXEC | open::NOFOLLOW | open::NONBLOCK;
    let args = [path.offset(), place.path.len() as u64, flags.into(), (mode & 0o7777).into(), place.mount, 0];
    host::call(Op::Open, args).map(Handle)
}

/// Opens a file. Only regular files and directories are let in: what else lies in a directory of the host's would be the
/// host's devices, pipes and sockets.
pub(super) fn open_at(
    mount: &'static HostMount,
    real: &str,
    flags: u32,
    mode: u32,
) -> Result<Arc<HostFile>, Errno> {
    let passed = if mount.read_only { open::DIRECTORY } else { TO_HOST };
    let handle = open(mount.place(real), flags & passed, mode)?;
    let kind = stat_of(&handle)?.mode & u64::from(mode::TYPE);
    let directory = kind == u64::from(mode::DIRECTORY);
    if !directory && kind != u64::from(mode::REGULAR) {
        return Err(Errno::EACCES);
    }
    Ok(Arc::new(HostFile { handle, mount, path: real.into(), directory, shared: AtomicBool::new(false) }))
}

/// An open file that the parent has passed, by its handle.
pub(super) fn passed(handle: u64, mount: &'static HostMount, path: &str) -> Arc<HostFile> {
    let shared = AtomicBool::new(true);
    Arc::new(HostFile { handle: Handle(handle), mount, path: path.into(), directory: false, shared })
}

fn stat_of(handle: &Handle) -> Result<Stat, Errno> {
    let out = record(STAT_BYTES)?;
    host::call(Op::Stat, [handle.0, out.offset(), 0, 0, 0, 0])?;
    stat_record(&out)
}

impl HostFile {
    pub(super) fn is_directory(&self) -> bool {
        self.directory
    }
}

impl File for HostFile {
    fn stat(&self) -> Result<Stat, Errno> {
        stat_of(&self.handle)
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        namespace::host_stat_fs(self.mount, &self.path)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read(&self, position: u64, to: &mut Sink<'_>, _nonblock: bool) -> Result<usize, Errno> {
        if self.directory {
            return Err(Errno::EISDIR);
        }
        let length = to.len();
        if length == 0 {
            return Ok(0);
        }
        let buffer = Buffer::new(length.min(TRANSFER))?;
        let mut done = 0;
        while done < length {
            let chunk = (length - done).min(TRANSFER);
            let at = position.checked_add(done as u64).ok_or(Errno::EINVAL)?;
            let count = match host::call(Op::Read, [self.handle.0, buffer.offset(), chunk as u64, at, 0, 0]) {
                Ok(count) => usize::try_from(count).map_err(|_| Errno::EIO)?,
                Err(Errno::EINTR) => continue,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            match to.take(done, count, &buffer) {
                Err(_) if done > 0 => break,
                taken => taken?,
            }
            done += count;
            if count < chunk {
                break;
            }
        }
        Ok(done)
    }

    fn write(
        &self,
        position: Option<u64>,
        from: &Source<'_>,
        _nonblock: bool,
    ) -> Result<(u64, usize), Errno> {
        let length = from.len();
        let buffer = Buffer::new(length.clamp(1, TRANSFER))?;
        let mut done = 0;
        while done < length {
            let chunk = (length - done).min(TRANSFER);
            let at = match position {
                Some(position) => position.checked_add(done as u64).ok_or(Errno::EFBIG)?,
                None => END_OF_FILE,
            };
            let written = from.give(done, chunk, &buffer).and_then(|()| {
                host::call(Op::Write, [self.handle.0, buffer.offset(), chunk as u64, at, 0, 0])
            });
            match written {
                Ok(count) => {
                    let count = usize::try_from(count).map_err(|_| Errno::EIO)?;
                    done += count;
                    if count < chunk {
                        break;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        let end = match position {
            Some(position) => position.saturating_add(done as u64),
            None => stat_of(&self.handle)?.size,
        };
        Ok((end, done))
    }

    fn read_dir(&self, from: Cookie, each: &mut Each<'_>) -> Result<(), Errno> {
        if !self.directory {
            return Err(Errno::ENOTDIR);
        }
        let buffer = Buffer::new(ENTRIES)?;
        let args = [self.handle.0, buffer.offset(), ENTRIES as u64, from, 0, 0];
        let length = usize::try_from(host::call(Op::ReadDir, args)?).map_err(|_| Errno::EIO)?;
        let mut bytes = alloc::vec![0; length];
        buffer.read(&mut bytes);
        for entry in DirEntries::new(&bytes) {
            let entry = entry.map_err(|_| Errno::EIO)?;
            let kind = u8::try_from(entry.kind).unwrap_or(0);
            if !each(entry.cookie, entry.ino, kind, entry.name) {
                break;
            }
        }
        Ok(())
    }

    fn pollable(&self) -> bool {
        false
    }

    fn share(&self) -> bool {
        !self.shared.swap(true, Ordering::Relaxed)
    }

    fn shared_position(&self, to: Option<u64>) -> Option<Result<u64, Errno>> {
        if !self.shared.load(Ordering::Relaxed) {
            return None;
        }
        // SEEK_SET, or SEEK_CUR by nothing.
        let (offset, whence) = to.map_or((0, 1), |to| (to, 0));
        Some(host::call(Op::Seek, [self.handle.0, offset, whence, 0, 0, 0]))
    }

    fn truncate(&self, size: u64) -> Result<(), Errno> {
        host::call(Op::Truncate, [self.handle.0, size, 0, 0, 0, 0]).map(drop)
    }

    fn allocate(&self, mode: u32, offset: u64, length: u64) -> Result<(), Errno> {
        host::call(Op::Allocate, [self.handle.0, mode.into(), offset, length, 0, 0]).map(drop)
    }

    fn sync(&self, data_only: bool) -> Result<(), Errno> {
        if self.mount.read_only {
            return Ok(());
        }
        host::call(Op::Sync, [self.handle.0, data_only.into(), 0, 0, 0, 0]).map(drop)
    }

    fn lock(&self, whose: u64, kind: u64, start: u64, length: u64) -> Result<(), Errno> {
        if self.mount.is_root() {
            return Ok(());
        }
        host::call(Op::Lock, [self.handle.0, whose, kind, start, length, 0]).map(drop)
    }

    fn test_lock(&self, whose: u64, kind: u64, start: u64, length: u64) -> Result<Option<[u64; 4]>, Errno> {
        if self.mount.is_root() {
            return Ok(None);
        }
        let out = record(4 * casemate_enclave_abi::window::WORD)?;
        host::call(Op::TestLock, [self.handle.0, whose, kind, start, length, out.offset()])?;
        out.window().load_words(casemate_enclave_abi::Offset(0)).map(Some).ok_or(Errno::EIO)
    }

    fn lock_whole(&self, kind: u64) -> Result<(), Errno> {
        if self.mount.is_root() {
            return Ok(());
        }
        host::call(Op::LockWhole, [self.handle.0, kind, 0, 0, 0, 0]).map(drop)
    }

    fn change(&self, change: Change) -> Result<(), Errno> {
        if self.mount.read_only {
            return Err(Errno::EROFS);
        }
        change_handle(&self.handle, change)
    }

    fn mappable(&self) -> bool {
        !self.directory
    }

    fn carry(&self) -> Result<Carried, Errno> {
        if self.mount.is_root() || self.directory {
            return Ok(Carried::Again);
        }
        Ok(Carried::Host { handle: self.handle.0, mount: self.mount.number() })
    }
}
