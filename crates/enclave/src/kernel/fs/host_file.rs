//! Regular files and directories of the host, read only.

use alloc::string::String;
use alloc::sync::Arc;

use casemate_enclave::vfs::flags::{mode, open};
use casemate_enclave::vfs::tmpfs::Change;
use casemate_enclave_abi::stat::{STAT_BYTES, STAT_FS_BYTES};
use casemate_enclave_abi::{DirEntries, Errno, Op, Stat, StatFs};

use super::file::{Each, File, Sink, Source};
use super::{Carried, Cookie};
use crate::host::{self, Buffer, TRANSFER};

/// ST_RDONLY of statfs(2).
const ST_RDONLY: u64 = 1;

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

/// An open file or directory of the host.
pub(super) struct HostFile {
    handle: Handle,
    path: String,
    directory: bool,
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

/// What lies at a path; the link itself where `follow` is not set.
pub(super) fn stat_at(path: &str, follow: bool) -> Result<Stat, Errno> {
    let buffer = Buffer::with(path.as_bytes())?;
    let out = record(STAT_BYTES)?;
    host::call(Op::StatAt, [buffer.offset(), path.len() as u64, u64::from(!follow), out.offset(), 0, 0])?;
    stat_record(&out)
}

/// The target of a symbolic link; EINVAL where there is none.
pub(super) fn read_link(path: &str) -> Result<alloc::vec::Vec<u8>, Errno> {
    let buffer = Buffer::with(path.as_bytes())?;
    let out = Buffer::new(TARGET)?;
    let args = [buffer.offset(), path.len() as u64, out.offset(), TARGET as u64, 0, 0];
    let length = usize::try_from(host::call(Op::ReadLink, args)?).map_err(|_| Errno::EIO)?;
    let mut target = alloc::vec![0; length];
    out.read(&mut target);
    Ok(target)
}

/// The file system at a path.
pub(super) fn stat_fs(path: &str) -> Result<StatFs, Errno> {
    let buffer = Buffer::with(path.as_bytes())?;
    let out = record(STAT_FS_BYTES)?;
    host::call(Op::StatFs, [buffer.offset(), path.len() as u64, out.offset(), 0, 0, 0])?;
    let mut stat = StatFs::read(out.window(), casemate_enclave_abi::Offset(0)).map_err(|_| Errno::EIO)?;
    stat.flags |= ST_RDONLY;
    Ok(stat)
}

/// Opens a file for reading. Only regular files and directories are let in: what else lies in a root directory of the host's
/// would be the host's devices, pipes and sockets.
pub(super) fn open_at(path: &str, flags: u32) -> Result<Arc<HostFile>, Errno> {
    let buffer = Buffer::with(path.as_bytes())?;
    let passed = flags & (open::DIRECTORY | open::NOFOLLOW) | open::CLOEXEC | open::NONBLOCK;
    let args = [buffer.offset(), path.len() as u64, u64::from(passed), 0, 0, 0];
    let handle = Handle(host::call(Op::Open, args)?);
    let kind = stat_of(&handle)?.mode & u64::from(mode::TYPE);
    let directory = kind == u64::from(mode::DIRECTORY);
    if !directory && kind != u64::from(mode::REGULAR) {
        return Err(Errno::EACCES);
    }
    Ok(Arc::new(HostFile { handle, path: path.into(), directory }))
}

fn stat_of(handle: &Handle) -> Result<Stat, Errno> {
    let out = record(STAT_BYTES)?;
    host::call(Op::Stat, [handle.0, out.offset(), 0, 0, 0, 0])?;
    stat_record(&out)
}

impl File for HostFile {
    fn stat(&self) -> Result<Stat, Errno> {
        stat_of(&self.handle)
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        stat_fs(&self.path)
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
        _position: Option<u64>,
        _from: &Source<'_>,
        _nonblock: bool,
    ) -> Result<(u64, usize), Errno> {
        Err(Errno::EBADF)
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

    fn sync(&self) -> Result<(), Errno> {
        Ok(())
    }

    fn change(&self, _change: Change) -> Result<(), Errno> {
        Err(Errno::EROFS)
    }

    fn mappable(&self) -> bool {
        !self.directory
    }

    fn carry(&self) -> Result<Carried, Errno> {
        Ok(Carried::Again)
    }
}
