//! Making, moving and removing names, and changing what stat(2) shows.

use alloc::string::String;

use casemate_enclave::vfs::tmpfs::{Change, RENAME_EXCHANGE, RENAME_NOREPLACE};
use casemate_enclave_abi::stat::FileTime;

use super::super::{Errno, Result, uint};
use super::{
    AT_EMPTY_PATH, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, Target, cwd, masked, opened, path,
    path_at, target,
};
use crate::arch::frame::Frame;
use crate::fs::namespace;
use crate::{clock, user};

/// In place of nanoseconds: now.
const UTIME_NOW: i64 = 0x3fff_ffff;
/// In place of nanoseconds: leave it.
const UTIME_OMIT: i64 = 0x3fff_fffe;

pub(crate) fn mkdir(frame: &mut Frame) -> Result {
    let [address, mode, ..] = frame.arguments();
    namespace::make_directory(&path(address)?, masked(mode)).map(|()| 0)
}

pub(crate) fn mkdirat(frame: &mut Frame) -> Result {
    let [directory, address, mode, ..] = frame.arguments();
    namespace::make_directory(&path_at(directory, address)?, masked(mode)).map(|()| 0)
}

pub(crate) fn rmdir(frame: &mut Frame) -> Result {
    let [address, ..] = frame.arguments();
    namespace::remove_directory(&path(address)?).map(|()| 0)
}

pub(crate) fn unlink(frame: &mut Frame) -> Result {
    let [address, ..] = frame.arguments();
    namespace::unlink(&path(address)?).map(|()| 0)
}

pub(crate) fn unlinkat(frame: &mut Frame) -> Result {
    let [directory, address, flags, ..] = frame.arguments();
    let path = path_at(directory, address)?;
    match uint(flags) {
        0 => namespace::unlink(&path).map(|()| 0),
        AT_REMOVEDIR => namespace::remove_directory(&path).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}

fn rename_at(old: [u64; 2], new: [u64; 2], flags: u32) -> Result {
    let both = RENAME_NOREPLACE | RENAME_EXCHANGE;
    if flags & !both != 0 || flags == both {
        return Err(Errno::EINVAL);
    }
    let [old, new] = [path_at(old[0], old[1])?, path_at(new[0], new[1])?];
    namespace::rename(&old, &new, flags).map(|()| 0)
}

pub(crate) fn rename(frame: &mut Frame) -> Result {
    let [old, new, ..] = frame.arguments();
    rename_at([cwd(), old], [cwd(), new], 0)
}

pub(crate) fn renameat(frame: &mut Frame) -> Result {
    let [old_directory, old, new_directory, new, ..] = frame.arguments();
    rename_at([old_directory, old], [new_directory, new], 0)
}

pub(crate) fn renameat2(frame: &mut Frame) -> Result {
    let [old_directory, old, new_directory, new, flags, _] = frame.arguments();
    rename_at([old_directory, old], [new_directory, new], uint(flags))
}

fn symlink_at(text: u64, directory: u64, address: u64) -> Result {
    let text = String::from_utf8(user::read_path(text)?).map_err(|_| Errno::EILSEQ)?;
    if text.is_empty() {
        return Err(Errno::ENOENT);
    }
    namespace::symbolic_link(&text, &path_at(directory, address)?).map(|()| 0)
}

pub(crate) fn symlink(frame: &mut Frame) -> Result {
    let [text, address, ..] = frame.arguments();
    symlink_at(text, cwd(), address)
}

pub(crate) fn symlinkat(frame: &mut Frame) -> Result {
    let [text, directory, address, ..] = frame.arguments();
    symlink_at(text, directory, address)
}

pub(crate) fn link(frame: &mut Frame) -> Result {
    let [old, new, ..] = frame.arguments();
    namespace::link(&path(old)?, &path(new)?, false).map(|()| 0)
}

pub(crate) fn linkat(frame: &mut Frame) -> Result {
    let [old_directory, old, new_directory, new, flags, _] = frame.arguments();
    let flags = uint(flags);
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & AT_EMPTY_PATH != 0 {
        return Err(Errno::ENOENT);
    }
    let (old, new) = (path_at(old_directory, old)?, path_at(new_directory, new)?);
    namespace::link(&old, &new, flags & AT_SYMLINK_FOLLOW != 0).map(|()| 0)
}

/// Changes a path, or with AT_EMPTY_PATH an open file.
fn change_at(directory: u64, address: u64, flags: u64, change: Change) -> Result {
    let flags = uint(flags);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    match target(directory, address, flags)? {
        Target::Path(path) => namespace::change(&path, flags & AT_SYMLINK_NOFOLLOW == 0, change),
        Target::File(file) => file.file().change(change),
    }
    .map(|()| 0)
}

pub(crate) fn chmod(frame: &mut Frame) -> Result {
    let [address, mode, ..] = frame.arguments();
    change_at(cwd(), address, 0, Change::Mode(uint(mode)))
}

pub(crate) fn fchmod(frame: &mut Frame) -> Result {
    let [fd, mode, ..] = frame.arguments();
    opened(fd)?.file().change(Change::Mode(uint(mode))).map(|()| 0)
}

pub(crate) fn fchmodat(frame: &mut Frame) -> Result {
    let [directory, address, mode, ..] = frame.arguments();
    change_at(directory, address, 0, Change::Mode(uint(mode)))
}

pub(crate) fn fchmodat2(frame: &mut Frame) -> Result {
    let [directory, address, mode, flags, ..] = frame.arguments();
    change_at(directory, address, flags, Change::Mode(uint(mode)))
}

/// Owner and group; -1 leaves one.
fn owner(user: u64, group: u64) -> Change {
    let id = |value| Some(uint(value)).filter(|id| *id != u32::MAX);
    Change::Owner(id(user), id(group))
}

pub(crate) fn chown(frame: &mut Frame) -> Result {
    let [address, user, group, ..] = frame.arguments();
    change_at(cwd(), address, 0, owner(user, group))
}

pub(crate) fn lchown(frame: &mut Frame) -> Result {
    let [address, user, group, ..] = frame.arguments();
    change_at(cwd(), address, u64::from(AT_SYMLINK_NOFOLLOW), owner(user, group))
}

pub(crate) fn fchown(frame: &mut Frame) -> Result {
    let [fd, user, group, ..] = frame.arguments();
    opened(fd)?.file().change(owner(user, group)).map(|()| 0)
}

pub(crate) fn fchownat(frame: &mut Frame) -> Result {
    let [directory, address, user, group, flags, _] = frame.arguments();
    change_at(directory, address, flags, owner(user, group))
}

/// Two pairs of seconds and a fraction, whose unit has so many nanoseconds.
fn times(address: u64, unit: i64) -> core::result::Result<Change, Errno> {
    let now = clock::realtime_ns();
    let now = FileTime { seconds: (now / 1_000_000_000).cast_signed(), nanoseconds: now % 1_000_000_000 };
    if address == 0 {
        return Ok(Change::Times(Some(now), Some(now)));
    }
    let [a_seconds, a_part, m_seconds, m_part]: [i64; 4] = user::read_value(address)?;
    let time = |seconds: i64, part: i64| match part {
        UTIME_NOW if unit == 1 => Ok(Some(now)),
        UTIME_OMIT if unit == 1 => Ok(None),
        part => {
            let limit = 1_000_000_000 / unit;
            if !(0..limit).contains(&part) {
                return Err(Errno::EINVAL);
            }
            Ok(Some(FileTime { seconds, nanoseconds: (part * unit).unsigned_abs() }))
        }
    };
    Ok(Change::Times(time(a_seconds, a_part)?, time(m_seconds, m_part)?))
}

pub(crate) fn utimensat(frame: &mut Frame) -> Result {
    let [directory, address, pair, flags, ..] = frame.arguments();
    let change = times(pair, 1)?;
    if change == Change::Times(None, None) {
        return Ok(0);
    }
    if address == 0 {
        return opened(directory)?.file().change(change).map(|()| 0);
    }
    change_at(directory, address, flags, change)
}

pub(crate) fn utimes(frame: &mut Frame) -> Result {
    let [address, pair, ..] = frame.arguments();
    change_at(cwd(), address, 0, times(pair, 1000)?)
}

pub(crate) fn futimesat(frame: &mut Frame) -> Result {
    let [directory, address, pair, ..] = frame.arguments();
    change_at(directory, address, 0, times(pair, 1000)?)
}

pub(crate) fn utime(frame: &mut Frame) -> Result {
    let [address, pair, ..] = frame.arguments();
    if pair == 0 {
        return change_at(cwd(), address, 0, times(0, 1)?);
    }
    let [atime, mtime]: [i64; 2] = user::read_value(pair)?;
    let time = |seconds| Some(FileTime { seconds, nanoseconds: 0 });
    change_at(cwd(), address, 0, Change::Times(time(atime), time(mtime)))
}

fn size(value: u64) -> core::result::Result<u64, Errno> {
    if value.cast_signed() < 0 { Err(Errno::EINVAL) } else { Ok(value) }
}

pub(crate) fn truncate(frame: &mut Frame) -> Result {
    let [address, length, ..] = frame.arguments();
    let length = size(length)?;
    namespace::truncate(&path(address)?, length).map(|()| 0)
}

pub(crate) fn ftruncate(frame: &mut Frame) -> Result {
    let [fd, length, ..] = frame.arguments();
    let length = size(length)?;
    let file = opened(fd)?;
    if !file.writable() {
        return Err(Errno::EINVAL);
    }
    file.truncate(length).map(|()| 0)
}

pub(crate) fn fallocate(frame: &mut Frame) -> Result {
    let [fd, mode, offset, length, ..] = frame.arguments();
    let (mode, offset, length) = (uint(mode), size(offset)?, size(length)?);
    let file = opened(fd)?;
    if length == 0 {
        return Err(Errno::EINVAL);
    }
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    size(offset.saturating_add(length)).map_err(|_| Errno::EFBIG)?;
    file.allocate(mode, offset, length).map(|()| 0)
}
