//! Calls that change names: in memory they do, elsewhere they fail as on a file system that is read only.

use casemate_enclave::vfs::flags::open as o;
use casemate_enclave::vfs::path::{self, Last, Path};
use casemate_enclave::vfs::tmpfs::{Change, Node, RENAME_EXCHANGE, RENAME_NOREPLACE, Tree};
use casemate_enclave_abi::Errno;

use super::mounts::{self, MemoryMount};
use super::opening::{host_parent, make_parents};
use super::{Inside, Spot, at, inside, is_directory, spot, walk};
use crate::fs::devices::now;
use crate::fs::{host_file, synthetic};

/// The path in a mount.
fn within<'a>(mount: &MemoryMount, real: &'a str) -> &'a str {
    path::below(real, mount.place).unwrap_or("")
}

/// Makes something new at a path in memory; elsewhere fails as it must.
fn make<T>(path: &Path, f: impl Fn(&Tree, &str) -> Result<T, Errno>) -> Result<T, Errno> {
    if path.last != Last::Name {
        super::directory(&path.parent()?)?;
        return Err(Errno::EEXIST);
    }
    at(&path.name_only(), false, |spot| match spot {
        Spot::Host(place) => match host_file::stat_at(place, false) {
            Ok(_) => Err(Errno::EEXIST),
            Err(Errno::ENOENT) => {
                host_parent(place.strip_suffix('/').unwrap_or(place))?;
                Err(Errno::EROFS)
            }
            Err(errno) => Err(errno),
        },
        Spot::Memory(mount, real) => match inside(mount, real) {
            Ok(_) => Err(Errno::EEXIST),
            Err(Errno::ENOENT) => {
                make_parents(mount, real)?;
                f(mount.tree()?, within(mount, real))
            }
            Err(errno) => Err(errno),
        },
        Spot::Synthetic(real) => {
            Err(if synthetic::stat(real).is_ok() { Errno::EEXIST } else { Errno::EACCES })
        }
    })
}

/// mkdir(2); the mask is taken off `mode`.
///
/// # Errors
/// Those of mkdir(2); EROFS outside memory.
pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<(), Errno> {
    make(path, |tree, inside| tree.make_directory(inside, mounts::make(mode & 0o1777)).map(drop))
}

/// A slash says that there is a directory, which a new name of another kind is not.
fn slash_behind_nothing(path: &Path) -> Result<(), Errno> {
    if path.directory { Err(Errno::ENOENT) } else { Ok(()) }
}

/// symlink(2).
///
/// # Errors
/// Those of symlink(2); EROFS outside memory.
pub(crate) fn symbolic_link(target: &str, path: &Path) -> Result<(), Errno> {
    make(path, |tree, inside| {
        slash_behind_nothing(path)?;
        tree.symbolic_link(inside, target, mounts::make(0o777)).map(drop)
    })
}

/// linkat(2).
///
/// # Errors
/// Those of link(2). EXDEV: not in the same file system. EROFS outside memory.
pub(crate) fn link(old: &Path, new: &Path, follow: bool) -> Result<(), Errno> {
    let from = spot(walk(old, follow)?, old.directory);
    let Spot::Memory(mount, real) = &from else {
        super::stat(old, follow)?;
        return Err(Errno::EROFS);
    };
    let Inside::Node(node) = inside(mount, real)? else { return Err(Errno::EROFS) };
    make(new, |tree, inside| {
        slash_behind_nothing(new)?;
        if core::ptr::eq(tree, mount.tree()?) { tree.link(&node, inside, now()) } else { Err(Errno::EXDEV) }
    })
    // A new name on the host is in another file system first of all.
    .map_err(|errno| if errno == Errno::EROFS { Errno::EXDEV } else { errno })
}

/// Removes a name in memory; elsewhere fails as it must. `directory`: what it has to be.
fn remove(path: &Path, directory: bool, f: impl Fn(&Tree, &str) -> Result<(), Errno>) -> Result<(), Errno> {
    let wrong = |is_directory: bool| match (directory, is_directory) {
        (true, false) => Err(Errno::ENOTDIR),
        (false, true) => Err(Errno::EISDIR),
        _ => Err(Errno::EROFS),
    };
    at(&path.name_only(), false, |spot| match spot {
        Spot::Host(place) => wrong(is_directory(&host_file::stat_at(place, false)?)),
        Spot::Memory(mount, real) if real == mount.place => {
            Err(if directory { Errno::EBUSY } else { Errno::EISDIR })
        }
        Spot::Memory(mount, real) => match inside(mount, real)? {
            Inside::Node(node) if !directory && path.directory && !node.is_directory() => Err(Errno::ENOTDIR),
            Inside::Node(node) if directory && node.is_directory() && shows_through(mount, real) => {
                Err(Errno::EROFS)
            }
            Inside::Node(_) => f(mount.tree()?, within(mount, real)),
            Inside::Below => wrong(is_directory(&host_file::stat_at(real, false)?)),
        },
        Spot::Synthetic(real) => {
            synthetic::stat(real)?;
            Err(Errno::EPERM)
        }
    })
}

/// Whether the host has something at a path of a mount in memory.
fn shows_through(mount: &MemoryMount, real: &str) -> bool {
    mount.see_through && host_file::stat_at(real, false).is_ok()
}

/// unlink(2).
///
/// # Errors
/// Those of unlink(2); EROFS outside memory.
pub(crate) fn unlink(path: &Path) -> Result<(), Errno> {
    if path.last != Last::Name {
        super::directory(&path.parent()?)?;
        return Err(Errno::EISDIR);
    }
    remove(path, false, |tree, inside| tree.unlink(inside, now()))
}

/// rmdir(2).
///
/// # Errors
/// Those of rmdir(2); EROFS outside memory.
pub(crate) fn remove_directory(path: &Path) -> Result<(), Errno> {
    if path.last != Last::Name {
        super::directory(&path.parent()?)?;
    }
    match path.last {
        Last::Name => remove(path, true, |tree, inside| tree.remove_directory(inside, now())),
        Last::Dot => Err(Errno::EINVAL),
        Last::Parent => Err(Errno::ENOTEMPTY),
        Last::Root => Err(Errno::EBUSY),
    }
}

/// renameat2(2), with its flags.
///
/// # Errors
/// Those of rename(2). EXDEV: not in the same file system. EROFS outside memory.
pub(crate) fn rename(old: &Path, new: &Path, flags: u32) -> Result<(), Errno> {
    let place = |path: &Path| -> Result<Spot, Errno> {
        super::directory(&path.parent()?)?;
        Ok(spot(walk(&path.name_only(), false)?, false))
    };
    let (from, to) = (place(old)?, place(new)?);
    if old.last != Last::Name {
        return Err(Errno::EBUSY);
    }
    if new.last != Last::Name {
        return Err(if flags & RENAME_NOREPLACE != 0 { Errno::EEXIST } else { Errno::EBUSY });
    }
    check_slashes(old, new, flags)?;
    match (&from, &to) {
        (Spot::Memory(mount, old), Spot::Memory(other, new)) if core::ptr::eq(*mount, *other) => {
            let Inside::Node(_) = inside(mount, old)? else { return Err(Errno::EROFS) };
            if matches!(inside(mount, new), Ok(Inside::Below)) {
                return Err(Errno::EROFS);
            }
            make_parents(mount, new)?;
            mount.tree()?.rename(within(mount, old), within(mount, new), flags, now())
        }
        (Spot::Host(_), Spot::Host(_)) => Err(Errno::EROFS),
        (Spot::Synthetic(_), Spot::Synthetic(_)) => Err(Errno::EPERM),
        _ => Err(Errno::EXDEV),
    }
}

/// What do_renameat2 of fs/namei.c checks before it looks at what is to be moved: what is there, and that only directories
/// have slashes behind their names.
fn check_slashes(old: &Path, new: &Path, flags: u32) -> Result<(), Errno> {
    let directory = is_directory(&super::stat(&old.name_only(), false)?);
    let exchange = flags & RENAME_EXCHANGE != 0;
    match super::stat(&new.name_only(), false) {
        Ok(_) if flags & RENAME_NOREPLACE != 0 => return Err(Errno::EEXIST),
        Ok(there) if exchange && new.directory && !is_directory(&there) => return Err(Errno::ENOTDIR),
        Err(Errno::ENOENT) if exchange => return Err(Errno::ENOENT),
        _ => {}
    }
    if !directory && (old.directory || new.directory && !exchange) { Err(Errno::ENOTDIR) } else { Ok(()) }
}

/// chmod(2), chown(2), utimensat(2).
///
/// # Errors
/// EROFS, EPERM outside memory. As path_resolution(7) has them.
pub(crate) fn change(path: &Path, follow: bool, change: Change) -> Result<(), Errno> {
    at(path, follow, |spot| match spot {
        Spot::Host(place) => host_file::stat_at(place, follow).and(Err(Errno::EROFS)),
        Spot::Memory(mount, real) => match inside(mount, real)? {
            Inside::Node(node) => {
                let node: &Node = &node;
                node.change(change, now());
                Ok(())
            }
            Inside::Below => Err(Errno::EROFS),
        },
        Spot::Synthetic(real) => match synthetic::descriptor(real) {
            Some(file) if follow => file.file().change(change),
            _ => synthetic::stat(real).and(Err(Errno::EPERM)),
        },
    })
}

/// truncate(2).
///
/// # Errors
/// Those of truncate(2); EROFS outside memory.
pub(crate) fn truncate(path: &Path, size: u64) -> Result<(), Errno> {
    super::open(path, o::WRONLY, 0)?.file().truncate(size)
}
