//! From paths to files.
//!
//! The host follows symbolic links below its root directory by itself, and most paths are tried there first, as they are.
//! Only where that fails, or a path starts at a mount or has a `..` in it, is it followed here, name by name: a link may lead
//! from the host's files into memory, or to `/proc`.

mod change;
pub(in crate::fs) mod mounts;
mod opening;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::flags::{mode, open as o};
use casemate_enclave::vfs::path::{self, Path, Step};
use casemate_enclave::vfs::tmpfs::{Item, Node};
use casemate_enclave_abi::{Errno, Stat, StatFs};

use super::file::File as _;
use super::{host_file, synthetic};
use mounts::{MemoryMount, Mounted};

pub(crate) use change::{
    change, link, make_directory, remove_directory, rename, symbolic_link, truncate, unlink,
};
pub(crate) use opening::open;

/// Names that are read of a directory of the host's at most when it is merged with one in memory.
const MAX_ITEMS: usize = 65_536;

/// Where a path leads.
enum Spot {
    /// To the host, by this path.
    Host(String),
    /// To memory, by this normal path without links.
    Memory(&'static MemoryMount, String),
    /// To `/proc` and its like, by such a path.
    Synthetic(String),
}

/// A node in memory, or what shows through there.
enum Inside {
    Node(Arc<Node>),
    /// The host's file at the same path.
    Below,
}

fn is_directory(stat: &Stat) -> bool {
    stat.mode & u64::from(mode::TYPE) == u64::from(mode::DIRECTORY)
}

fn step(mode: u64) -> Step {
    if mode & u64::from(mode::TYPE) == u64::from(mode::DIRECTORY) { Step::Directory } else { Step::Other }
}

fn host_step(at: &str) -> Result<Step, Errno> {
    let mode = host_file::stat_at(at, false)?.mode;
    if mode & u64::from(mode::TYPE) != u64::from(mode::LINK) {
        return Ok(step(mode));
    }
    String::from_utf8(host_file::read_link(at)?).map(Step::Link).map_err(|_| Errno::EILSEQ)
}

/// Follows a path name by name.
fn walk(given: &Path, follow: bool) -> Result<String, Errno> {
    path::follow(given, follow, |at, end| match mounts::of(at) {
        Mounted::Host => host_step(at),
        Mounted::Memory(mount, inside) => match mount.tree()?.lookup(inside) {
            Ok(node) => Ok(node.target().map_or_else(|| step(node.mode().into()), Step::Link)),
            Err(Errno::ENOENT) if mount.see_through => host_step(at),
            Err(errno) => Err(errno),
        },
        // A descriptor's link leads to the open file, not to a name.
        Mounted::Synthetic if end && synthetic::descriptor(at).is_some() => Ok(Step::Other),
        Mounted::Synthetic => match synthetic::read_link(at) {
            Ok(target) => Ok(Step::Link(target)),
            Err(Errno::EINVAL) => Ok(step(synthetic::stat(at)?.mode)),
            Err(errno) => Err(errno),
        },
    })
}

/// The path without links, `.` and `..`.
///
/// # Errors
/// As path_resolution(7) has them; the end need not exist.
pub(crate) fn real(given: &Path) -> Result<String, Errno> {
    walk(given, true)
}

fn spot(real: String, directory: bool) -> Spot {
    match mounts::of(&real) {
        Mounted::Memory(mount, _) => Spot::Memory(mount, real),
        Mounted::Synthetic => Spot::Synthetic(real),
        Mounted::Host if directory && !real.ends_with('/') => Spot::Host(real + "/"),
        Mounted::Host => Spot::Host(real),
    }
}

/// Runs `f` where the path leads.
fn at<T>(given: &Path, follow: bool, mut f: impl FnMut(&Spot) -> Result<T, Errno>) -> Result<T, Errno> {
    if given.has_parent || !matches!(mounts::of(&given.normal), Mounted::Host) {
        return f(&spot(walk(given, follow)?, given.directory));
    }
    match f(&spot(given.normal.clone(), given.directory)) {
        // Perhaps a link on the way leads out of the host's files.
        Err(errno @ (Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EROFS | Errno::EACCES)) => {
            match walk(given, follow) {
                Ok(real) if !matches!(mounts::of(&real), Mounted::Host) => f(&spot(real, given.directory)),
                _ => Err(errno),
            }
        }
        result => result,
    }
}

/// What lies at a path of a mount in memory.
fn inside(mount: &MemoryMount, real: &str) -> Result<Inside, Errno> {
    let inside = path::below(real, mount.place).unwrap_or("");
    match mount.tree()?.lookup(inside) {
        Ok(node) => Ok(Inside::Node(node)),
        Err(Errno::ENOENT) if mount.see_through && host_file::stat_at(real, false).is_ok() => {
            Ok(Inside::Below)
        }
        Err(errno) => Err(errno),
    }
}

/// stat(2), or lstat(2) without `follow`.
///
/// # Errors
/// As path_resolution(7) has them.
pub(crate) fn stat(given: &Path, follow: bool) -> Result<Stat, Errno> {
    let stat = at(given, follow, |spot| match spot {
        Spot::Host(path) => host_file::stat_at(path, follow),
        Spot::Memory(mount, real) => match inside(mount, real)? {
            Inside::Node(node) => Ok(node.stat(mount.device)),
            Inside::Below => host_file::stat_at(real, follow),
        },
        Spot::Synthetic(real) => match synthetic::descriptor(real) {
            Some(file) if follow => file.stat(),
            _ => synthetic::stat(real),
        },
    })?;
    if given.directory && !is_directory(&stat) { Err(Errno::ENOTDIR) } else { Ok(stat) }
}

/// readlink(2).
///
/// # Errors
/// EINVAL: no link. As path_resolution(7) has them.
pub(crate) fn read_link(given: &Path) -> Result<Vec<u8>, Errno> {
    at(given, false, |spot| match spot {
        Spot::Host(path) => host_file::read_link(path),
        Spot::Memory(mount, real) => match inside(mount, real)? {
            Inside::Node(node) => node.target().map(String::into_bytes).ok_or(Errno::EINVAL),
            Inside::Below => host_file::read_link(real),
        },
        Spot::Synthetic(real) => synthetic::read_link(real).map(String::into_bytes),
    })
}

/// statfs(2).
///
/// # Errors
/// As path_resolution(7) has them.
pub(crate) fn stat_fs(given: &Path) -> Result<StatFs, Errno> {
    at(given, true, |spot| match spot {
        Spot::Host(path) => host_file::stat_fs(path),
        Spot::Memory(mount, real) => inside(mount, real).map(|_| mounts::stat_fs()),
        Spot::Synthetic(real) => match synthetic::descriptor(real) {
            Some(file) => file.file().stat_fs(),
            None => synthetic::stat(real).map(|_| synthetic::stat_fs(real)),
        },
    })
}

/// The directory that a path leads to, without links, as chdir(2) needs it.
///
/// # Errors
/// ENOTDIR. As path_resolution(7) has them.
pub(crate) fn directory(given: &Path) -> Result<String, Errno> {
    let real = walk(given, true)?;
    let (real, stat) = match synthetic::descriptor(&real) {
        Some(file) => (file.path().into(), file.stat()?),
        None => {
            let stat = stat(&Path::new("/", real.as_bytes())?, true)?;
            (real, stat)
        }
    };
    if is_directory(&stat) { Ok(real) } else { Err(Errno::ENOTDIR) }
}

/// Inode number of a directory, for `.` and `..`.
pub(super) fn ino(real: &str) -> Result<u64, Errno> {
    Ok(stat(&Path::new("/", real.as_bytes())?, false)?.ino)
}

/// What the host's directory has; nothing where there is none.
pub(super) fn host_items(real: &str) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let Ok(file) = host_file::open_at(real, o::DIRECTORY) else { return items };
    let mut cookie = 0;
    // A host whose directory never ends gets no more patience than this.
    for _ in 0..MAX_ITEMS {
        let mut seen = false;
        let read = file.read_dir(cookie, &mut |next, ino, kind, name| {
            cookie = next;
            seen = true;
            if let Ok(name) = core::str::from_utf8(name)
                && !matches!(name, "." | "..")
            {
                items.push(Item { name: name.into(), ino, kind });
            }
            true
        });
        if read.is_err() || !seen || items.len() >= MAX_ITEMS {
            break;
        }
    }
    items
}

/// Whether a path that exists is where nothing can be written.
///
/// # Errors
/// As path_resolution(7) has them.
pub(crate) fn is_read_only(given: &Path) -> Result<bool, Errno> {
    at(given, true, |spot| match spot {
        Spot::Host(path) => host_file::stat_at(path, true).map(|_| true),
        Spot::Memory(mount, real) => inside(mount, real).map(|inside| matches!(inside, Inside::Below)),
        Spot::Synthetic(_) => Ok(false),
    })
}
