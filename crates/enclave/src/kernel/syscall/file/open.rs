//! open(2) and its kin.

use casemate_enclave::vfs::flags::open as o;
use casemate_enclave::vfs::path::Path;

use super::super::{Errno, Result, int, uint};
use super::{cwd, masked, path_at};
use crate::arch::frame::Frame;
use crate::fs::{locks, namespace};
use crate::process::process;
use crate::user;

/// Resolve flags of openat2(2): RESOLVE_NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH, IN_ROOT, CACHED.
const RESOLVE: u64 = 0x3f;

fn put(path: &Path, flags: u32, mode: u32) -> Result {
    let file = namespace::open(path, flags & o::ALL, mode)?;
    let added = process().files.lock().add(file, flags & o::CLOEXEC != 0);
    Ok(u64::from(added?.unsigned_abs()))
}

/// Where O_TMPFILE is set it means a directory as well; alone, the bit is nothing that Linux knows.
fn check(flags: u32) -> core::result::Result<(), Errno> {
    if flags & o::TMPFILE != 0 {
        let writes = flags & o::ACCESS != 0;
        if flags & o::DIRECTORY == 0 || !writes {
            return Err(Errno::EINVAL);
        }
    } else if flags & (o::CREAT | o::DIRECTORY) == o::CREAT | o::DIRECTORY {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn open_at(directory: u64, address: u64, flags: u64, mode: u64) -> Result {
    let flags = uint(flags);
    check(flags)?;
    put(&path_at(directory, address)?, flags, masked(mode))
}

pub(crate) fn open(frame: &mut Frame) -> Result {
    let [path, flags, mode, ..] = frame.arguments();
    open_at(cwd(), path, flags, mode)
}

pub(crate) fn openat(frame: &mut Frame) -> Result {
    let [directory, path, flags, mode, ..] = frame.arguments();
    open_at(directory, path, flags, mode)
}

pub(crate) fn creat(frame: &mut Frame) -> Result {
    let [path, mode, ..] = frame.arguments();
    open_at(cwd(), path, u64::from(o::CREAT | o::WRONLY | o::TRUNC), mode)
}

pub(crate) fn openat2(frame: &mut Frame) -> Result {
    let [directory, path, how, size, ..] = frame.arguments();
    if size < 24 {
        return Err(Errno::EINVAL);
    }
    if size > 24 {
        // What a later Linux has there must not be asked for.
        for at in 24..size.min(4096) {
            if user::read_value::<u8>(how.wrapping_add(at))? != 0 {
                return Err(Errno::E2BIG);
            }
        }
    }
    let [flags, mode, resolve]: [u64; 3] = user::read_value(how)?;
    let flags = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
    let makes = flags & (o::CREAT | o::TMPFILE) != 0;
    // O_NOCTTY, O_ASYNC, O_DSYNC, O_SYNC are in O_ALL, too.
    if flags & !o::ALL != 0 || resolve & !RESOLVE != 0 || mode & !0o7777 != 0 || mode != 0 && !makes {
        return Err(Errno::EINVAL);
    }
    if resolve != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    open_at(directory, path, u64::from(flags), mode)
}

pub(crate) fn memfd_create(frame: &mut Frame) -> Result {
    let [name, flags, ..] = frame.arguments();
    let flags = uint(flags);
    // MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_NOEXEC_SEAL, MFD_EXEC.
    if flags & !0x1b != 0 || flags & 0x18 == 0x18 {
        return Err(Errno::EINVAL);
    }
    let name = user::read_string(name, 250).map_err(|errno| match errno {
        Errno::ENAMETOOLONG => Errno::EINVAL,
        errno => errno,
    })?;
    let name = alloc::string::String::from_utf8_lossy(&name).into_owned();
    let mode = if flags & 8 != 0 { 0o666 } else { 0o777 };
    let file = crate::fs::anonymous(&name, mode, flags & (2 | 8) != 0)?;
    let fd = process().files.lock().add(file, flags & 1 != 0)?;
    Ok(u64::from(fd.unsigned_abs()))
}

pub(crate) fn close(frame: &mut Frame) -> Result {
    let [fd, ..] = frame.arguments();
    let gone = process().files.lock().remove(int(fd))?;
    locks::closed(&gone.file);
    drop(gone);
    Ok(0)
}

pub(crate) fn close_range(frame: &mut Frame) -> Result {
    let [first, last, flags, ..] = frame.arguments();
    let (first, last) = (uint(first), uint(last));
    // CLOSE_RANGE_UNSHARE changes nothing: the table is the process's. CLOSE_RANGE_CLOEXEC.
    if first > last || flags & !6 != 0 {
        return Err(Errno::EINVAL);
    }
    let mut files = process().files.lock();
    let mut gone = alloc::vec::Vec::new();
    for fd in files.numbers() {
        if !(first..=last).contains(&fd.unsigned_abs()) {
            continue;
        }
        if flags & 4 != 0 {
            files.set_close_on_exec(fd, true)?;
        } else {
            gone.push(files.remove(fd)?);
        }
    }
    drop(files);
    for descriptor in &gone {
        locks::closed(&descriptor.file);
    }
    drop(gone);
    Ok(0)
}
