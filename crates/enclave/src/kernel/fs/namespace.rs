//! From paths to files.
//!
//! Paths are followed here, name by name, as a link may lead from one mount to another. What the root directory has is
//! remembered, as it does not change: most paths then cost the host nothing but the call that they are for.

mod change;
pub(in crate::fs) mod mounts;
mod opening;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::flags::{mode, open as o};
use casemate_enclave::vfs::path::{self, Path, Step};
use casemate_enclave::vfs::tmpfs::{Item, Node};
use casemate_enclave_abi::{Errno, Stat, StatFs};

use spin::Mutex;

use super::file::File as _;
use super::host_file::{HostFile, Place};
use super::{devices, host_file, synthetic};
use mounts::{HostMount, MemoryMount, Mounted};

pub(crate) use change::{
    change, link, make_directory, remove_directory, rename, symbolic_link, truncate, unlink,
};
pub(crate) use mounts::init;
pub(crate) use opening::open;

/// Names that are read of a directory of the host's at most when it is merged with one in memory.
const MAX_ITEMS: usize = 65_536;

/// How much of the root directory is remembered.
const MAX_KNOWN: usize = 16_384;

/// ST_RDONLY of statfs(2).
const ST_RDONLY: u64 = 1;

/// Where a path leads: a normal path without links, and who has it.
enum Spot {
    Host(&'static HostMount, String),
    Memory(&'static MemoryMount, String),
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

fn ask_host(place: Place<'_>) -> Result<Step, Errno> {
    let mode = host_file::stat_at(place)?.mode;
    if mode & u64::from(mode::TYPE) != u64::from(mode::LINK) {
        return Ok(step(mode));
    }
    String::from_utf8(host_file::read_link(place)?).map(Step::Link).map_err(|_| Errno::EILSEQ)
}

/// What the root directory has at a path.
fn root_step(at: &str) -> Result<Step, Errno> {
    static KNOWN: Mutex<BTreeMap<String, Step>> = Mutex::new(BTreeMap::new());
    if let Some(known) = KNOWN.lock().get(at) {
        return Ok(known.clone());
    }
    let step = ask_host(mounts::ROOT.place(at))?;
    let mut known = KNOWN.lock();
    if known.len() >= MAX_KNOWN {
        known.clear();
    }
    known.insert(at.into(), step.clone());
    Ok(step)
}

fn look(at: &str, end: bool) -> Result<Step, Errno> {
    let found = match mounts::of(at) {
        Mounted::Host(mount) if mount.is_root() => root_step(at),
        Mounted::Host(mount) => ask_host(mount.place(at)),
        Mounted::Memory(mount, inside) => match mount.tree()?.lookup(inside) {
            Ok(node) => Ok(node.target().map_or_else(|| step(node.mode().into()), Step::Link)),
            Err(Errno::ENOENT) if mount.shows(at) => ask_host(mounts::ROOT.place(at)),
            Err(errno) => Err(errno),
        },
        // A descriptor's link leads to the open file, not to a name.
        Mounted::Synthetic if end && synthetic::descriptor(at).is_some() => Ok(Step::Other),
        Mounted::Synthetic => match synthetic::read_link(at) {
            Ok(target) => Ok(Step::Link(target)),
            Err(Errno::EINVAL) => Ok(step(synthetic::stat(at)?.mode)),
            Err(errno) => Err(errno),
        },
    };
    match found {
        Err(Errno::ENOENT) if mounts::leads_to_mount(at) => Ok(Step::Directory),
        found => found,
    }
}

/// The mount of the host's that has a path, if that can be asked for all of it at once: it follows no links, and says so.
fn direct(given: &Path) -> Option<&'static HostMount> {
    let Mounted::Host(mount) = mounts::of(&given.normal) else { return None };
    let plain = !given.has_parent && !given.directory && !mounts::leads_to_mount(&given.normal);
    (plain && !mount.is_root()).then_some(mount)
}

/// Follows a path name by name. `true`: there is nothing at its end.
fn walk_to(given: &Path, follow: bool) -> Result<(String, bool), Errno> {
    let mut missing = false;
    let real = path::follow(given, follow, |at, end| {
        let found = look(at, end);
        missing = found == Err(Errno::ENOENT);
        found
    })?;
    Ok((real, missing))
}

fn walk(given: &Path, follow: bool) -> Result<String, Errno> {
    walk_to(given, follow).map(|(real, _)| real)
}

/// The path without links, `.` and `..`.
///
/// # Errors
/// As path_resolution(7) has them; the end need not exist.
pub(crate) fn real(given: &Path) -> Result<String, Errno> {
    walk(given, true)
}

/// The same of what may be a link itself.
///
/// # Errors
/// As path_resolution(7) has them.
pub(crate) fn real_name(given: &Path) -> Result<String, Errno> {
    walk(given, false)
}

fn spot(real: String) -> Spot {
    match mounts::of(&real) {
        Mounted::Memory(mount, _) => Spot::Memory(mount, real),
        Mounted::Synthetic => Spot::Synthetic(real),
        Mounted::Host(mount) => Spot::Host(mount, real),
    }
}

/// Runs `f` where the path leads, if there is something.
fn at<T>(given: &Path, follow: bool, f: impl FnOnce(&Spot) -> Result<T, Errno>) -> Result<T, Errno> {
    match walk_to(given, follow)? {
        (_, true) => Err(Errno::ENOENT),
        (real, false) => f(&spot(real)),
    }
}

/// What lies at a path of a mount in memory.
fn inside(mount: &MemoryMount, real: &str) -> Result<Inside, Errno> {
    let inside = path::below(real, mount.place).unwrap_or("");
    match mount.tree()?.lookup(inside) {
        Ok(node) => Ok(Inside::Node(node)),
        Err(Errno::ENOENT) if shows_through(mount, real) => Ok(Inside::Below),
        Err(errno) => Err(errno),
    }
}

/// Whether the host has something at a path of a mount in memory that can be seen, or could be if memory had nothing.
fn shows_through(mount: &MemoryMount, real: &str) -> bool {
    mount.shows(real) && host_file::stat_at(mounts::ROOT.place(real)).is_ok()
}

/// What a directory shows that is there only because a mount is below it.
pub(super) fn synthetic_directory(real: &str) -> Stat {
    devices::stat(real, mode::DIRECTORY | 0o755, 0)
}

fn host_stat(mount: &HostMount, real: &str) -> Result<Stat, Errno> {
    match host_file::stat_at(mount.place(real)) {
        Err(Errno::ENOENT) if mounts::leads_to_mount(real) => Ok(synthetic_directory(real)),
        result => result,
    }
}

/// stat(2), or lstat(2) without `follow`.
///
/// # Errors
/// As path_resolution(7) has them.
pub(crate) fn stat(given: &Path, follow: bool) -> Result<Stat, Errno> {
    if let Some(mount) = direct(given)
        && let Ok(stat) = host_file::stat_at(mount.place(&given.normal))
        && (!follow || stat.mode & u64::from(mode::TYPE) != u64::from(mode::LINK))
    {
        return Ok(stat);
    }
    let stat = at(given, follow, |spot| match spot {
        Spot::Synthetic(real) => match synthetic::descriptor(real) {
            Some(file) if follow => file.stat(),
            _ => synthetic::stat(real),
        },
        spot => stat_spot(spot),
    })?;
    if given.directory && !is_directory(&stat) { Err(Errno::ENOTDIR) } else { Ok(stat) }
}

/// What lies where a path has led; a link itself.
fn stat_spot(spot: &Spot) -> Result<Stat, Errno> {
    match spot {
        Spot::Host(mount, real) => host_stat(mount, real),
        Spot::Memory(mount, real) => match inside(mount, real) {
            Ok(Inside::Node(node)) => Ok(node.stat(mount.device)),
            Ok(Inside::Below) => host_file::stat_at(mounts::ROOT.place(real)),
            Err(Errno::ENOENT) if mounts::leads_to_mount(real) => Ok(synthetic_directory(real)),
            Err(errno) => Err(errno),
        },
        Spot::Synthetic(real) => synthetic::stat(real),
    }
}

/// readlink(2).
///
/// # Errors
/// EINVAL: no link. As path_resolution(7) has them.
pub(crate) fn read_link(given: &Path) -> Result<Vec<u8>, Errno> {
    at(given, false, |spot| match spot {
        Spot::Host(mount, real) => match host_file::read_link(mount.place(real)) {
            Err(Errno::ENOENT) if mounts::leads_to_mount(real) => Err(Errno::EINVAL),
            result => result,
        },
        Spot::Memory(mount, real) => match inside(mount, real)? {
            Inside::Node(node) => node.target().map(String::into_bytes).ok_or(Errno::EINVAL),
            Inside::Below => host_file::read_link(mounts::ROOT.place(real)),
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
        Spot::Host(mount, real) => host_stat_fs(mount, real),
        Spot::Memory(mount, real) => inside(mount, real).map(|_| mounts::stat_fs()),
        Spot::Synthetic(real) => match synthetic::descriptor(real) {
            Some(file) => file.file().stat_fs(),
            None => synthetic::stat(real).map(|_| synthetic::stat_fs(real)),
        },
    })
}

/// The file system at a path of the host's.
pub(super) fn host_stat_fs(mount: &HostMount, real: &str) -> Result<StatFs, Errno> {
    let mut stat = match host_file::stat_fs(mount.place(real)) {
        Err(Errno::ENOENT) if mounts::leads_to_mount(real) => mounts::stat_fs(),
        result => result?,
    };
    if mount.read_only {
        stat.flags |= ST_RDONLY;
    }
    Ok(stat)
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

/// What the root directory has at the place of a mount in memory.
pub(super) fn through_items(mount: &MemoryMount, real: &str) -> Vec<Item> {
    let mut items = Vec::new();
    if let Ok(file) = host_file::open_at(&mounts::ROOT, real, o::DIRECTORY, 0) {
        read_items(&file, &mut items);
        items.retain(|item| mount.shows(&path::join(real, &item.name)));
    }
    items
}

/// All names of a directory of the host's, without `.` and `..`.
pub(super) fn read_items(file: &HostFile, items: &mut Vec<Item>) {
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
}

/// Whether a path that exists is where nothing can be written.
///
/// # Errors
/// As path_resolution(7) has them.
pub(crate) fn is_read_only(given: &Path) -> Result<bool, Errno> {
    at(given, true, |spot| match spot {
        Spot::Host(mount, _) => Ok(mount.read_only),
        Spot::Memory(..) | Spot::Synthetic(_) => Ok(false),
    })
}
