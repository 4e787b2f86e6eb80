//! Open files, and files in memory, on their way to another enclave.
//!
//! Memory is not shared between enclaves: each process has a copy of `/tmp` and its like as they were when it was made.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::flags::{mode, open};
use casemate_enclave::vfs::path::{self, Path};
use casemate_enclave::vfs::tmpfs::Node;
use casemate_enclave_abi::Errno;

use super::devices::now;
use super::namespace::mounts::{self, Mounted};
use super::open_file::OpenFile;
use super::{Epoll, EventFd, console, host_file, memory_file, namespace, pipe};
use crate::net::{self, InetShared};

/// What carries an open file.
pub(crate) enum Carried {
    /// Its path: it is opened again.
    Again,
    /// A stream of the console, which all processes share.
    Console(u64),
    /// A pipe of the host's, by its handle; its number; whether it is the end that writes.
    Pipe { handle: u64, number: u64, writes: bool },
    /// A socket of the host's.
    Inet(InetShared),
    /// One of a pair of Unix sockets, by the handle of the host's; its type.
    Pair { handle: u64, kind: u32 },
    /// A Unix socket of this type that was not used.
    Local(u32),
    /// A file of a mount of the host's, by its handle.
    Host { handle: u64, mount: u64 },
    /// A counter: a copy, which nobody else counts.
    Event { count: u64, semaphore: bool },
    /// An epoll instance: a copy; what it watches comes with the descriptors.
    Epoll,
    /// A file in memory: a copy of its contents.
    Contents(Vec<u8>),
    /// Nothing.
    Refused,
}

/// The open file that was carried; `None` where it is not open here.
///
/// # Errors
/// Those of open(2).
pub(crate) fn carried(carried: Carried, path: &str, flags: u32) -> Result<Option<Arc<OpenFile>>, Errno> {
    let file = match carried {
        Carried::Again => {
            let again = flags & !(open::CREAT | open::EXCL | open::TRUNC);
            namespace::open(&Path::new("/", path.as_bytes())?, again, 0)?
        }
        Carried::Console(stream) => console::stream(stream),
        Carried::Pipe { handle, number, writes } => pipe::outside(handle, number, writes, flags),
        Carried::Inet(shared) => net::take_inet(shared.facts, flags)?,
        Carried::Pair { handle, kind } => net::take_local(kind, Some(pipe::handle(handle)), flags)?,
        Carried::Local(kind) => net::take_local(kind, None, flags)?,
        Carried::Host { handle, .. } => {
            let Mounted::Host(mount) = mounts::of(path) else { return Err(Errno::EINVAL) };
            OpenFile::new(host_file::passed(handle, mount, path), flags, path.into())
        }
        Carried::Event { count, semaphore } => EventFd::carried(count, semaphore, flags),
        Carried::Epoll => Epoll::open(),
        Carried::Contents(bytes) => memory_file::carried(path, flags, &bytes)?,
        Carried::Refused => return Ok(None),
    };
    Ok(Some(file))
}

/// Whether an open file in memory still has its name: then the name is what carries it.
pub(crate) fn is_named(file: &OpenFile) -> bool {
    let (Some(node), Mounted::Memory(mount, inside)) = (file.file().node(), mounts::of(file.path())) else {
        return false;
    };
    mount.used().and_then(|tree| tree.lookup(inside).ok()).is_some_and(|found| Arc::ptr_eq(&found, node))
}

/// Everything in memory that has a name: absolute path and node, directories before what is in them.
pub(crate) fn in_memory() -> Vec<(String, Arc<Node>)> {
    let mut all = Vec::new();
    for mount in mounts::in_memory() {
        let Some(root) = mount.used().and_then(|tree| tree.lookup("").ok()) else { continue };
        let mut directories = alloc::vec![(String::from(mount.place), root)];
        while let Some((place, directory)) = directories.pop() {
            for item in directory.list() {
                let path = alloc::format!("{place}/{}", item.name);
                let inside = path::below(&path, mount.place).unwrap_or("");
                let Some(node) = mount.used().and_then(|tree| tree.lookup(inside).ok()) else { continue };
                if node.is_directory() {
                    directories.push((path.clone(), Arc::clone(&node)));
                }
                all.push((path, node));
            }
        }
    }
    all
}

/// Puts something into memory as it was elsewhere; `contents`: a file's bytes, a link's target.
///
/// # Errors
/// ENOSPC. EINVAL: not a place in memory.
pub(crate) fn put_in_memory(path: &str, file_mode: u32, contents: &[u8]) -> Result<(), Errno> {
    let Mounted::Memory(mount, inside) = mounts::of(path) else { return Err(Errno::EINVAL) };
    let make = mounts::make(file_mode & 0o7777);
    match file_mode & mode::TYPE {
        mode::DIRECTORY => mount.tree()?.make_directory(inside, make).map(drop),
        mode::LINK => {
            let target = core::str::from_utf8(contents).map_err(|_| Errno::EINVAL)?;
            mount.tree()?.symbolic_link(inside, target, make).map(drop)
        }
        _ => mount.tree()?.create(inside, make)?.write(Some(0), contents, now()).map(drop),
    }
}
