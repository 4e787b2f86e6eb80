//! stat(2), access(2), statfs(2) and their kin.

use casemate_enclave::vfs::flags::mode;
use casemate_enclave::vfs::{access as permission, records};
use casemate_enclave_abi::Stat;

use super::super::{Errno, Result, uint};
use super::{
    AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, Target, cwd, file, path, path_at,
    target,
};
use crate::arch::frame::Frame;
use crate::fs::namespace;
use crate::process::process;
use crate::user;

/// Flags of statx(2) about how fresh the answer is: AT_STATX_SYNC_TYPE.
const STATX_SYNC: u32 = 0x6000;

fn stat_of(directory: u64, address: u64, flags: u32) -> core::result::Result<Stat, Errno> {
    match target(directory, address, flags)? {
        Target::Path(path) => namespace::stat(&path, flags & AT_SYMLINK_NOFOLLOW == 0),
        Target::File(file) => file.stat(),
    }
}

fn put(stat: &Stat, out: u64) -> Result {
    user::write(out, &records::stat(stat))?;
    Ok(0)
}

pub(crate) fn stat(frame: &mut Frame) -> Result {
    let [path, out, ..] = frame.arguments();
    put(&stat_of(cwd(), path, 0)?, out)
}

pub(crate) fn lstat(frame: &mut Frame) -> Result {
    let [path, out, ..] = frame.arguments();
    put(&stat_of(cwd(), path, AT_SYMLINK_NOFOLLOW)?, out)
}

pub(crate) fn fstat(frame: &mut Frame) -> Result {
    let [fd, out, ..] = frame.arguments();
    put(&file(fd)?.stat()?, out)
}

pub(crate) fn newfstatat(frame: &mut Frame) -> Result {
    let [directory, path, out, flags, ..] = frame.arguments();
    let flags = uint(flags);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    put(&stat_of(directory, path, flags)?, out)
}

pub(crate) fn statx(frame: &mut Frame) -> Result {
    let [directory, path, flags, mask, out, _] = frame.arguments();
    let flags = uint(flags);
    let known = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | STATX_SYNC;
    // STATX__RESERVED.
    if flags & !known != 0 || flags & STATX_SYNC == STATX_SYNC || uint(mask) & 0x8000_0000 != 0 {
        return Err(Errno::EINVAL);
    }
    let stat = stat_of(directory, path, flags)?;
    user::write(out, &records::statx(&stat))?;
    Ok(0)
}

/// Whether access(2) allows `wanted`; by effective ids where `effective`.
fn check(stat: &Stat, wanted: u32, effective: bool) -> core::result::Result<(), Errno> {
    let id = |value| u32::try_from(value).unwrap_or(u32::MAX);
    let start = &process().start;
    let (user, group) = if effective { (start.euid, start.egid) } else { (start.uid, start.gid) };
    let owner = (id(stat.uid), id(stat.gid));
    if permission::allowed(id(stat.mode), owner, id(user), id(group), wanted) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

fn access_at(directory: u64, address: u64, wanted: u64, flags: u32) -> Result {
    let wanted = uint(wanted);
    if wanted & !7 != 0 || flags & !(AT_SYMLINK_NOFOLLOW | AT_REMOVEDIR | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    // The bit of AT_REMOVEDIR is AT_EACCESS here.
    let effective = flags & AT_REMOVEDIR != 0;
    match target(directory, address, flags)? {
        Target::File(file) => check(&file.stat()?, wanted, effective)?,
        Target::Path(path) => {
            let stat = namespace::stat(&path, flags & AT_SYMLINK_NOFOLLOW == 0)?;
            let kind = u32::try_from(stat.mode).unwrap_or(0) & mode::TYPE;
            let stored = matches!(kind, mode::REGULAR | mode::DIRECTORY | mode::LINK);
            if wanted & permission::WRITE != 0 && stored && namespace::is_read_only(&path)? {
                return Err(Errno::EROFS);
            }
            check(&stat, wanted, effective)?;
        }
    }
    Ok(0)
}

pub(crate) fn access(frame: &mut Frame) -> Result {
    let [path, mode, ..] = frame.arguments();
    access_at(cwd(), path, mode, 0)
}

pub(crate) fn faccessat(frame: &mut Frame) -> Result {
    let [directory, path, mode, ..] = frame.arguments();
    access_at(directory, path, mode, 0)
}

pub(crate) fn faccessat2(frame: &mut Frame) -> Result {
    let [directory, path, mode, flags, ..] = frame.arguments();
    access_at(directory, path, mode, uint(flags))
}

pub(crate) fn statfs(frame: &mut Frame) -> Result {
    let [address, out, ..] = frame.arguments();
    let stat = namespace::stat_fs(&path(address)?)?;
    user::write(out, &records::statfs(&stat))?;
    Ok(0)
}

pub(crate) fn fstatfs(frame: &mut Frame) -> Result {
    let [fd, out, ..] = frame.arguments();
    let stat = file(fd)?.file().stat_fs()?;
    user::write(out, &records::statfs(&stat))?;
    Ok(0)
}

fn link_target(directory: u64, address: u64, out: u64, size: u64) -> Result {
    let size = usize::try_from(super::super::int(size)).ok().filter(|size| *size > 0).ok_or(Errno::EINVAL)?;
    let target = namespace::read_link(&path_at(directory, address)?)?;
    let part = &target[..target.len().min(size)];
    user::write(out, part)?;
    Ok(part.len() as u64)
}

pub(crate) fn readlink(frame: &mut Frame) -> Result {
    let [path, out, size, ..] = frame.arguments();
    link_target(cwd(), path, out, size)
}

pub(crate) fn readlinkat(frame: &mut Frame) -> Result {
    let [directory, path, out, size, ..] = frame.arguments();
    link_target(directory, path, out, size)
}
