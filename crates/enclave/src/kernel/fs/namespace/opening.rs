//! open(2), by where the path leads.

use alloc::string::String;
use alloc::sync::Arc;

use casemate_enclave::vfs::access;
use casemate_enclave::vfs::flags::{mode, open as o};
use casemate_enclave::vfs::path::{self, Last, Path};
use casemate_enclave::vfs::tmpfs::Node;
use casemate_enclave_abi::Errno;

use super::mounts::{self, HostMount, MemoryMount};
use super::{Inside, Spot, direct, inside, is_directory, spot, walk_to};
use crate::fs::file::{File, Sink};
use crate::fs::inotify::event;
use crate::fs::listing::{Listing, Owner};
use crate::fs::memory_file::{MemoryFile, Snapshot};
use crate::fs::{OpenFile, host_file, synthetic};
use crate::process::process;

/// What open(2) is asked.
struct Ask<'a> {
    path: &'a Path,
    flags: u32,
    mode: u32,
    follow: bool,
}

impl Ask<'_> {
    fn has(&self, flag: u32) -> bool {
        self.flags & flag == flag
    }

    fn writes(&self) -> bool {
        self.flags & o::ACCESS != 0
    }

    fn must_be_new(&self) -> bool {
        self.has(o::CREAT | o::EXCL)
    }

    /// Whether what is there may be opened so, by kind.
    fn check_kind(&self, directory: bool) -> Result<(), Errno> {
        if self.must_be_new() {
            return Err(Errno::EEXIST);
        }
        if directory {
            if self.writes() || self.has(o::CREAT) || self.has(o::TRUNC) {
                return Err(Errno::EISDIR);
            }
        } else if self.has(o::DIRECTORY) || self.path.directory {
            return Err(Errno::ENOTDIR);
        }
        Ok(())
    }
}

/// Opens what a path leads to. `mode` is what a new file gets, the mask taken off.
///
/// # Errors
/// Those of open(2). EROFS: writing what is the host's.
pub(crate) fn open(path: &Path, flags: u32, mode: u32) -> Result<Arc<OpenFile>, Errno> {
    let follow = flags & o::NOFOLLOW == 0 && flags & (o::CREAT | o::EXCL) != o::CREAT | o::EXCL;
    if flags & o::PATH != 0 {
        return path_only(path, flags, follow);
    }
    if flags & o::CREAT != 0 && path.directory && path.last == Last::Name {
        super::directory(&path.parent()?)?;
        return Err(Errno::EISDIR);
    }
    let ask = Ask { path, flags, mode, follow };
    if flags & (o::CREAT | o::TMPFILE) == 0
        && let Some(mount) = direct(path)
        && !(mount.read_only && (ask.writes() || ask.has(o::TRUNC)))
        && let Ok(opened) = host(&ask, mount, &path.normal)
    {
        if ask.has(o::TRUNC) {
            opened.tell(event::MODIFY);
        }
        opened.tell(event::OPEN);
        return Ok(opened);
    }
    let (real, missing) = walk_to(path, follow)?;
    if missing && !ask.has(o::CREAT) {
        return Err(Errno::ENOENT);
    }
    let opened = match spot(real) {
        Spot::Host(mount, real) if mount.read_only => read_only(&ask, mount, &real, missing),
        Spot::Host(mount, real) => host(&ask, mount, &real),
        Spot::Memory(mount, real) => memory(&ask, mount, &real),
        Spot::Synthetic(real) => synthetic(&ask, &real),
    }?;
    if missing {
        opened.tell(event::CREATE);
    }
    opened.tell(event::OPEN);
    if ask.has(o::TRUNC) && !missing {
        opened.tell(event::MODIFY);
    }
    Ok(opened)
}

/// O_PATH: where it leads, and nothing more.
fn path_only(path: &Path, flags: u32, follow: bool) -> Result<Arc<OpenFile>, Errno> {
    let stat = super::stat(path, follow)?;
    if flags & o::DIRECTORY != 0 && !is_directory(&stat) {
        return Err(Errno::ENOTDIR);
    }
    let real = super::walk(path, follow)?;
    let stat_fs = super::stat_fs(path).unwrap_or_else(|_| mounts::stat_fs());
    let flags = flags & (o::PATH | o::DIRECTORY | o::NOFOLLOW);
    Ok(OpenFile::new(
        Arc::new(Snapshot { stat, stat_fs, text: alloc::vec::Vec::new(), take: None }),
        flags,
        real,
    ))
}

/// What cannot be written: flags that mean writing can be left out where a file exists and is only to be read.
fn read_only(
    ask: &Ask<'_>,
    mount: &'static HostMount,
    real: &str,
    missing: bool,
) -> Result<Arc<OpenFile>, Errno> {
    if ask.has(o::TMPFILE) || missing {
        return Err(Errno::EROFS);
    }
    if ask.writes() || ask.flags & (o::CREAT | o::TRUNC) != 0 {
        ask.check_kind(is_directory(&super::host_stat(mount, real)?))?;
        if ask.writes() || ask.has(o::TRUNC) {
            return Err(Errno::EROFS);
        }
    }
    host(ask, mount, real)
}

fn host(ask: &Ask<'_>, mount: &'static HostMount, real: &str) -> Result<Arc<OpenFile>, Errno> {
    let file = match host_file::open_at(mount, real, ask.flags, ask.mode) {
        Ok(file) if file.is_directory() && mounts::leads_to_mount(real) => {
            listing(Owner::Host(Some(file)), real)
        }
        Ok(file) => file,
        Err(Errno::ENOENT) if mounts::leads_to_mount(real) => {
            ask.check_kind(true)?;
            listing(Owner::Host(None), real)
        }
        Err(errno) => return Err(errno),
    };
    Ok(OpenFile::new(file, ask.flags | o::LARGEFILE, real.into()))
}

fn listing(owner: Owner, real: &str) -> Arc<dyn File> {
    Arc::new(Listing::new(owner, real.into()))
}

fn memory(ask: &Ask<'_>, mount: &'static MemoryMount, real: &str) -> Result<Arc<OpenFile>, Errno> {
    let node = match inside(mount, real) {
        Ok(Inside::Node(node)) => node,
        Ok(Inside::Below) if ask.must_be_new() => return Err(Errno::EEXIST),
        Ok(Inside::Below) => return below(ask, mount, real),
        Err(Errno::ENOENT) if mounts::leads_to_mount(real) => {
            ask.check_kind(true)?;
            return Ok(OpenFile::new(listing(Owner::Host(None), real), ask.flags, real.into()));
        }
        Err(Errno::ENOENT) if ask.has(o::CREAT) => {
            make_parents(mount, real)?;
            let inside = path::below(real, mount.place).unwrap_or("");
            match mount.tree()?.create(inside, mounts::make(ask.mode)) {
                Ok(node) => return Ok(opened(ask, mount, node, real.into())),
                // Another thread was faster; its file will do.
                Err(Errno::EEXIST) if !ask.must_be_new() => mount.tree()?.lookup(inside)?,
                Err(errno) => return Err(errno),
            }
        }
        Err(errno) => return Err(errno),
    };
    if ask.has(o::TMPFILE) {
        if !node.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        let file = Node::file(mounts::budget(), mounts::make(ask.mode))?;
        return Ok(opened(ask, mount, file, alloc::format!("{real}/#{} (deleted)", node.ino())));
    }
    if node.target().is_some() {
        return Err(if ask.must_be_new() { Errno::EEXIST } else { Errno::ELOOP });
    }
    ask.check_kind(node.is_directory())?;
    check_permission(&node, ask)?;
    if node.is_directory() {
        return Ok(OpenFile::new(listing(Owner::Memory { node, mount }, real), ask.flags, real.into()));
    }
    if ask.has(o::TRUNC) {
        node.truncate(0, crate::fs::devices::now())?;
    }
    Ok(opened(ask, mount, node, real.into()))
}

fn opened(ask: &Ask<'_>, mount: &MemoryMount, node: Arc<Node>, path: String) -> Arc<OpenFile> {
    let file: Arc<dyn File> = Arc::new(MemoryFile { node, device: mount.device });
    OpenFile::new(file, ask.flags | o::LARGEFILE, path)
}

/// What shows through of the host's. A directory is made in memory then, so that its listing shows both; a file that is
/// to be written is copied.
fn below(ask: &Ask<'_>, mount: &'static MemoryMount, real: &str) -> Result<Arc<OpenFile>, Errno> {
    let directory = is_directory(&host_file::stat_at(mounts::ROOT.place(real))?);
    if !ask.has(o::TMPFILE) {
        ask.check_kind(directory)?;
    }
    if directory || ask.writes() || ask.has(o::TRUNC) {
        own(mount, real)?;
        return memory(ask, mount, real);
    }
    host(ask, &mounts::ROOT, real)
}

/// The node at a path of a mount in memory; what shows through there becomes one.
///
/// # Errors
/// ENOENT. ENOSPC: the host's file is too large. ELOOP: it is a link; EACCES: nothing that can be copied.
pub(super) fn own(mount: &MemoryMount, real: &str) -> Result<Arc<Node>, Errno> {
    if let Inside::Node(node) = inside(mount, real)? {
        return Ok(node);
    }
    let within = path::below(real, mount.place).unwrap_or("");
    let place = mounts::ROOT.place(real);
    let stat = host_file::stat_at(place)?;
    let mode = u32::try_from(stat.mode & 0o7777).unwrap_or(0o755);
    if is_directory(&stat) {
        make_parents(mount, &path::join(real, "x"))?;
        return mount.tree()?.lookup(within);
    }
    make_parents(mount, real)?;
    if stat.mode & u64::from(mode::TYPE) == u64::from(mode::LINK) {
        let target = String::from_utf8(host_file::read_link(place)?).map_err(|_| Errno::EILSEQ)?;
        return mount.tree()?.symbolic_link(within, &target, mounts::make(mode));
    }
    let file = host_file::open_at(&mounts::ROOT, real, 0, 0)?;
    let node = Node::file(mounts::budget(), mounts::make(mode))?;
    let mut bytes = alloc::vec![0; crate::host::TRANSFER];
    let mut at = 0;
    loop {
        let count = file.read(at, &mut Sink::Kernel(&mut bytes), false)?;
        if count == 0 {
            break;
        }
        at = node.write(Some(at), &bytes[..count], crate::fs::devices::now())?.0;
    }
    mount.tree()?.link(&node, within, crate::fs::devices::now())?;
    Ok(node)
}

/// Makes the directories above a path in memory that are there on the host already.
pub(super) fn make_parents(mount: &MemoryMount, real: &str) -> Result<(), Errno> {
    if !mount.see_through {
        return Ok(());
    }
    let tree = mount.tree()?;
    let inside = path::below(real, mount.place).unwrap_or("");
    for (end, _) in inside.match_indices('/') {
        let directory = &inside[..end];
        if tree.lookup(directory).err() == Some(Errno::ENOENT) {
            let place = path::join(mount.place, directory);
            let stat = host_file::stat_at(mounts::ROOT.place(&place))?;
            if !is_directory(&stat) {
                return Err(Errno::ENOTDIR);
            }
            let mode = u32::try_from(stat.mode & 0o7777).unwrap_or(0o755);
            match tree.make_directory(directory, mounts::make(mode)) {
                Ok(_) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

fn check_permission(node: &Node, ask: &Ask<'_>) -> Result<(), Errno> {
    let stat = node.stat(0);
    let wanted = match ask.flags & o::ACCESS {
        0 => access::READ,
        o::WRONLY => access::WRITE,
        _ => access::READ | access::WRITE,
    };
    let id = |value| u32::try_from(value).unwrap_or(0);
    let start = &process().start;
    let owner = (id(stat.uid), id(stat.gid));
    if access::allowed(node.mode(), owner, id(start.euid), id(start.egid), wanted) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

fn synthetic(ask: &Ask<'_>, real: &str) -> Result<Arc<OpenFile>, Errno> {
    if ask.has(o::TMPFILE) {
        return Err(Errno::EOPNOTSUPP);
    }
    if let Some(file) = synthetic::descriptor(real) {
        if !ask.follow {
            return Err(Errno::ELOOP);
        }
        ask.check_kind(file.is_directory()?)?;
        let reads = ask.flags & o::ACCESS != o::WRONLY;
        if file.is_path_only() || ask.writes() && !file.writable() || reads && !file.readable() {
            return Err(Errno::EACCES);
        }
        if ask.has(o::TRUNC) && file.file().node().is_some() {
            file.file().truncate(0)?;
        }
        return Ok(file.again(ask.flags));
    }
    match synthetic::stat(real) {
        Ok(stat) => ask.check_kind(is_directory(&stat))?,
        Err(Errno::ENOENT) if ask.has(o::CREAT) => return Err(Errno::EACCES),
        Err(errno) => return Err(errno),
    }
    let file = synthetic::open(real, ask.writes())?;
    Ok(OpenFile::new(file, ask.flags | o::LARGEFILE, real.into()))
}
