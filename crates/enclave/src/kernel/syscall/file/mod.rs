//! System calls about files, by what they are about.

pub(crate) mod descriptor;
pub(crate) mod directory;
pub(crate) mod epoll;
pub(crate) mod io;
pub(crate) mod lock;
pub(crate) mod names;
pub(crate) mod open;
pub(crate) mod poll;
pub(crate) mod refused;
pub(crate) mod special;
pub(crate) mod stat;
pub(crate) mod transfer;

use alloc::string::{String, ToString as _};
use alloc::sync::Arc;

use casemate_enclave::vfs::path::Path;

use super::{Errno, int};
use crate::fs::OpenFile;
use crate::process::process;
use crate::user;

/// In place of a directory's descriptor: the working directory.
const AT_FDCWD: i32 = -100;
/// Do not follow a link at the end.
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
/// Of unlinkat(2): a directory; of faccessat2(2): by the effective ids.
const AT_REMOVEDIR: u32 = 0x200;
/// Follow a link at the end.
const AT_SYMLINK_FOLLOW: u32 = 0x400;
/// Changes nothing here.
const AT_NO_AUTOMOUNT: u32 = 0x800;
/// An empty path is the descriptor itself.
const AT_EMPTY_PATH: u32 = 0x1000;

type Result<T> = core::result::Result<T, Errno>;

/// The open file of a descriptor.
fn file(fd: u64) -> Result<Arc<OpenFile>> {
    process().files.lock().get(int(fd))
}

/// The open file of a descriptor that is more than a name.
fn opened(fd: u64) -> Result<Arc<OpenFile>> {
    let file = file(fd)?;
    if file.is_path_only() { Err(Errno::EBADF) } else { Ok(file) }
}

/// Where a relative path starts.
fn base(directory: i32) -> Result<String> {
    if directory == AT_FDCWD {
        return Ok(process().files.lock().cwd().to_string());
    }
    let file = process().files.lock().get(directory)?;
    if !file.is_directory()? {
        return Err(Errno::ENOTDIR);
    }
    Ok(file.path().to_string())
}

/// The path at a guest address, as seen from a directory's descriptor.
fn path_at(directory: u64, address: u64) -> Result<Path> {
    let path = user::read_path(address)?;
    path_from(directory, &path)
}

fn path_from(directory: u64, path: &[u8]) -> Result<Path> {
    if path.first() == Some(&b'/') {
        return Path::new("/", path);
    }
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    Path::new(&base(int(directory))?, path)
}

/// The path at a guest address, as seen from the working directory.
fn path(address: u64) -> Result<Path> {
    path_at(cwd(), address)
}

/// [`AT_FDCWD`] as an argument.
fn cwd() -> u64 {
    i64::from(AT_FDCWD).cast_unsigned()
}

/// A path, or with [`AT_EMPTY_PATH`] an open file.
enum Target {
    Path(Path),
    File(Arc<OpenFile>),
}

fn target(directory: u64, address: u64, flags: u32) -> Result<Target> {
    let path = if address == 0 && flags & AT_EMPTY_PATH != 0 {
        alloc::vec::Vec::new()
    } else {
        user::read_path(address)?
    };
    if !path.is_empty() || flags & AT_EMPTY_PATH == 0 {
        return Ok(Target::Path(path_from(directory, &path)?));
    }
    if int(directory) == AT_FDCWD {
        return Ok(Target::Path(path_from(directory, b".")?));
    }
    Ok(Target::File(file(directory)?))
}

/// Takes the mask off permissions.
fn masked(mode: u64) -> u32 {
    let mode = super::uint(mode) & 0o7777;
    mode & !process().files.lock().umask()
}
