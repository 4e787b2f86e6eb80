//! Calls that change names: in memory and in mounts that can be written they do, elsewhere they fail as on a file system that
//! is read only.

use casemate_enclave::vfs::flags::open as o;
use casemate_enclave::vfs::path::{self, Last, Path};
use casemate_enclave::vfs::tmpfs::{Change, RENAME_EXCHANGE, RENAME_NOREPLACE};
use casemate_enclave_abi::Errno;

use super::mounts::{self, HostMount, MemoryMount};
use super::opening::{make_parents, own};
use super::{Inside, Spot, at, inside, is_directory, shows_through, spot, walk, walk_to};
use crate::fs::devices::now;
use crate::fs::inotify::{self, event};
use crate::fs::{host_file, synthetic};

/// The path in a mount.
fn within<'a>(mount: &MemoryMount, real: &'a str) -> &'a str {
    path::below(real, mount.place).unwrap_or("")
}

/// Makes something new at a path: by `host` in a mount of the host's, by `memory` in memory; elsewhere fails as it must.
fn make<T>(
    path: &Path,
    kind: u32,
    host: impl FnOnce(&'static HostMount, &str) -> Result<T, Errno>,
    memory: impl FnOnce(&'static MemoryMount, &str) -> Result<T, Errno>,
) -> Result<T, Errno> {
    if path.last != Last::Name {
        super::directory(&path.parent()?)?;
        return Err(Errno::EEXIST);
    }
    let (real, missing) = walk_to(&path.name_only(), false)?;
    match spot(real) {
        _ if !missing => Err(Errno::EEXIST),
        Spot::Host(mount, _) if mount.read_only => Err(Errno::EROFS),
        Spot::Host(mount, real) => {
            let made = host(mount, &real)?;
            inotify::tell(&real, event::CREATE | kind);
            Ok(made)
        }
        Spot::Memory(mount, real) => {
            make_parents(mount, &real)?;
            let made = memory(mount, &real)?;
            inotify::tell(&real, event::CREATE | kind);
            Ok(made)
        }
        Spot::Synthetic(_) => Err(Errno::EACCES),
    }
}

/// mkdir(2); the mask is taken off `mode`.
///
/// # Errors
/// Those of mkdir(2); EROFS: the root directory.
pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<(), Errno> {
    let mode = mode & 0o1777;
    make(
        path,
        event::ISDIR,
        |mount, real| host_file::make_directory(mount.place(real), mode),
        |mount, real| mount.tree()?.make_directory(within(mount, real), mounts::make(mode)).map(drop),
    )
}

/// A slash says that there is a directory, which a new name of another kind is not.
fn slash_behind_nothing(path: &Path) -> Result<(), Errno> {
    if path.directory { Err(Errno::ENOENT) } else { Ok(()) }
}

/// symlink(2).
///
/// # Errors
/// Those of symlink(2); EROFS: the root directory.
pub(crate) fn symbolic_link(target: &str, path: &Path) -> Result<(), Errno> {
    make(
        path,
        0,
        |mount, real| {
            slash_behind_nothing(path)?;
            host_file::symbolic_link(target, mount.place(real))
        },
        |mount, real| {
            slash_behind_nothing(path)?;
            mount.tree()?.symbolic_link(within(mount, real), target, mounts::make(0o777)).map(drop)
        },
    )
}

/// linkat(2).
///
/// # Errors
/// Those of link(2). EXDEV: not in the same file system. EROFS: the root directory.
pub(crate) fn link(old: &Path, new: &Path, follow: bool) -> Result<(), Errno> {
    let (real, missing) = walk_to(old, follow)?;
    if missing {
        return Err(Errno::ENOENT);
    }
    let from = spot(real);
    let made = make(
        new,
        0,
        |mount, real| match &from {
            Spot::Host(other, old) if core::ptr::eq(mount, *other) => {
                slash_behind_nothing(new)?;
                host_file::link(mount.place(old), mount.place(real))
            }
            _ => Err(Errno::EXDEV),
        },
        |mount, real| match &from {
            Spot::Memory(other, old) if core::ptr::eq(mount, *other) => {
                slash_behind_nothing(new)?;
                let node = own(mount, old)?;
                mount.tree()?.link(&node, within(mount, real), now())
            }
            _ => Err(Errno::EXDEV),
        },
    );
    match (made, &from) {
        // Within the root directory it is the file system that cannot be written; from elsewhere it is another one.
        (Err(Errno::EROFS), from) if !matches!(from, Spot::Host(mount, _) if mount.read_only) => {
            Err(Errno::EXDEV)
        }
        (made, _) => made,
    }
}

/// Removes a name. `directory`: what it has to be.
fn remove(path: &Path, directory: bool) -> Result<(), Errno> {
    at(&path.name_only(), false, |spot| {
        let kind = match (directory, is_directory(&super::stat_spot(spot)?)) {
            (true, false) => Err(Errno::ENOTDIR),
            (false, true) => Err(Errno::EISDIR),
            (false, false) if path.directory => Err(Errno::ENOTDIR),
            _ => Ok(()),
        };
        match spot {
            Spot::Host(_, real) | Spot::Memory(_, real) if mounts::leads_to_mount(real) => {
                kind.and(Err(Errno::EBUSY))
            }
            Spot::Host(mount, _) if mount.read_only => kind.and(Err(Errno::EROFS)),
            Spot::Host(mount, real) => {
                kind?;
                host_file::remove(mount.place(real), directory)?;
                tell_removed(real, directory);
                Ok(())
            }
            Spot::Memory(mount, real) => {
                kind?;
                remove_in_memory(mount, real, directory)?;
                tell_removed(real, directory);
                Ok(())
            }
            Spot::Synthetic(_) => Err(Errno::EPERM),
        }
    })
}

fn tell_removed(real: &str, directory: bool) {
    let kind = if directory { event::ISDIR } else { 0 };
    inotify::tell(real, event::DELETE_SELF | kind);
    inotify::tell(real, event::DELETE | kind);
}

/// Removes a name in memory, and what would show through then.
fn remove_in_memory(mount: &MemoryMount, real: &str, directory: bool) -> Result<(), Errno> {
    let through = shows_through(mount, real);
    if directory && through && !super::through_items(mount, real).is_empty() {
        return Err(Errno::ENOTEMPTY);
    }
    match inside(mount, real)? {
        Inside::Below => {}
        Inside::Node(_) if directory => mount.tree()?.remove_directory(within(mount, real), now())?,
        Inside::Node(_) => mount.tree()?.unlink(within(mount, real), now())?,
    }
    if through {
        mount.hide(real);
    }
    Ok(())
}

/// unlink(2).
///
/// # Errors
/// Those of unlink(2); EROFS: the root directory.
pub(crate) fn unlink(path: &Path) -> Result<(), Errno> {
    if path.last != Last::Name {
        super::directory(&path.parent()?)?;
        return Err(Errno::EISDIR);
    }
    remove(path, false)
}

/// rmdir(2).
///
/// # Errors
/// Those of rmdir(2); EROFS: the root directory.
pub(crate) fn remove_directory(path: &Path) -> Result<(), Errno> {
    if path.last != Last::Name {
        super::directory(&path.parent()?)?;
    }
    match path.last {
        Last::Name => remove(path, true),
        Last::Dot => Err(Errno::EINVAL),
        Last::Parent => Err(Errno::ENOTEMPTY),
        Last::Root => Err(Errno::EBUSY),
    }
}

/// renameat2(2), with its flags.
///
/// # Errors
/// Those of rename(2). EXDEV: not in the same file system. EROFS: the root directory.
pub(crate) fn rename(old: &Path, new: &Path, flags: u32) -> Result<(), Errno> {
    let place = |path: &Path| -> Result<Spot, Errno> {
        super::directory(&path.parent()?)?;
        Ok(spot(walk(&path.name_only(), false)?))
    };
    let (from, to) = (place(old)?, place(new)?);
    if old.last != Last::Name {
        return Err(Errno::EBUSY);
    }
    if new.last != Last::Name {
        return Err(if flags & RENAME_NOREPLACE != 0 { Errno::EEXIST } else { Errno::EBUSY });
    }
    check_slashes(old, new, flags)?;
    let directory = is_directory(&super::stat_spot(&from)?);
    move_name(&from, &to, flags)?;
    if let (Spot::Host(_, old) | Spot::Memory(_, old), Spot::Host(_, new) | Spot::Memory(_, new)) =
        (&from, &to)
    {
        inotify::tell_moved(old, new, directory);
    }
    Ok(())
}

fn move_name(from: &Spot, to: &Spot, flags: u32) -> Result<(), Errno> {
    match (from, to) {
        (Spot::Host(_, path) | Spot::Memory(_, path), _)
        | (_, Spot::Host(_, path) | Spot::Memory(_, path))
            if mounts::is_mount_point(path) =>
        {
            Err(Errno::EBUSY)
        }
        (Spot::Memory(mount, old), Spot::Memory(other, new)) if core::ptr::eq(*mount, *other) => {
            rename_in_memory(mount, old, new, flags)
        }
        (Spot::Host(mount, old), Spot::Host(other, new)) if core::ptr::eq(*mount, *other) => {
            if mount.read_only {
                return Err(Errno::EROFS);
            }
            host_file::rename(mount.place(old), mount.place(new), flags)
        }
        (Spot::Synthetic(_), Spot::Synthetic(_)) => Err(Errno::EPERM),
        _ => Err(Errno::EXDEV),
    }
}

/// Moves a name in memory. What shows through at either end is copied or hidden; of directories only as a whole, which
/// programs take for a reason to copy.
fn rename_in_memory(mount: &MemoryMount, old: &str, new: &str, flags: u32) -> Result<(), Errno> {
    let through = [shows_through(mount, old), shows_through(mount, new)];
    let node = own(mount, old)?;
    if node.is_directory() && through[0] {
        return Err(Errno::EXDEV);
    }
    if through[1] && own(mount, new)?.is_directory() && !super::through_items(mount, new).is_empty() {
        return Err(Errno::ENOTEMPTY);
    }
    make_parents(mount, new)?;
    mount.tree()?.rename(within(mount, old), within(mount, new), flags, now())?;
    for (through, path) in through.into_iter().zip([old, new]) {
        if through {
            mount.hide(path);
        }
    }
    Ok(())
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
/// EROFS: the root directory. EPERM: `/proc` and its like. As path_resolution(7) has them.
pub(crate) fn change(path: &Path, follow: bool, change: Change) -> Result<(), Errno> {
    at(path, follow, |spot| match spot {
        Spot::Host(mount, _) if mount.read_only => Err(Errno::EROFS),
        Spot::Host(mount, real) => {
            host_file::change(mount.place(real), change)?;
            inotify::tell(real, event::ATTRIB);
            Ok(())
        }
        Spot::Memory(mount, real) => {
            own(mount, real)?.change(change, now());
            inotify::tell(real, event::ATTRIB);
            Ok(())
        }
        Spot::Synthetic(real) => match synthetic::descriptor(real) {
            Some(file) if follow => file.file().change(change),
            _ => synthetic::stat(real).and(Err(Errno::EPERM)),
        },
    })
}

/// truncate(2).
///
/// # Errors
/// Those of truncate(2); EROFS: the root directory.
pub(crate) fn truncate(path: &Path, size: u64) -> Result<(), Errno> {
    super::open(path, o::WRONLY, 0)?.truncate(size)
}
