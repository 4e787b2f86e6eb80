//! Files of the program: descriptors, open files, and the places that paths lead to.
//!
//! | module | what it has |
//! |---|---|
//! | `table` | [`Files`]: descriptors, working directory |
//! | `open_file` | [`OpenFile`]: what a descriptor refers to, shared by dup(2) |
//! | `file` | trait [`File`]: what an open file can do, and [`Sink`] and [`Source`], where bytes go to and come from |
//! | `socket` | trait [`Socket`]: what a file that is a socket can do besides |
//! | `wait` | blocking until something is ready |
//! | `namespace` | from paths to files: the mounts, symbolic links across them, open, stat, rename ... |
//! | `host_file`, `memory_file`, `listing` | files and directories of the host and in memory |
//! | `synthetic`, `proc` | `/proc`, `/sys`, `/dev`: names, and the texts behind them |
//! | `mapped` | shared mappings, kept equal to their files |
//! | `locks` | of processes and open files |
//! | `console`, `terminal`, `devices`, `pipe`, `eventfd`, `timerfd`, `signalfd`, `inotify`, `epoll` | what is no file on a disk |
//!
//! What the host says is a hint as everywhere; its files are read only. Everything that can be written is memory of the
//! enclave. No lock of this module is held over a host call but that of an open file's position.

mod carry;
mod console;
pub(crate) mod devices;
mod epoll;
mod eventfd;
mod file;
mod host_file;
pub(crate) mod inotify;
mod listing;
pub(crate) mod locks;
pub(crate) mod mapped;
mod memory_file;
pub(crate) mod namespace;
mod open_file;
mod pipe;
mod proc;
mod signalfd;
mod socket;
mod synthetic;
mod table;
mod terminal;
mod timerfd;
pub(crate) mod wait;

use alloc::string::ToString as _;
use alloc::sync::Arc;

use casemate_enclave::vfs::flags::mode;
use casemate_enclave::vfs::path::Path;
use casemate_enclave_abi::Errno;

pub(crate) use carry::{Carried, carried, in_memory, is_named, put_in_memory};
pub(crate) use devices::fill_random;
pub(crate) use epoll::{Epoll, Event};
pub(crate) use eventfd::EventFd;
pub(crate) use file::{File, Sink, Source};
pub(crate) use inotify::Inotify;
pub(crate) use listing::Cookie;
pub(crate) use locks::{Lock, Owner as LockOwner};
pub(crate) use memory_file::{anonymous, contents};
pub(crate) use open_file::OpenFile;
pub(crate) use pipe::{
    Handle as PipeHandle, pipe, read_some as pipe_read, ready as pipe_poll, sockets, write_some as pipe_write,
};
pub(crate) use proc::{NODE_NAME, without_links};
pub(crate) use signalfd::SignalFd;
pub(crate) use socket::{Accepted, Received, Socket, Transfer};
pub(crate) use table::{Descriptor, Files, MAX_DESCRIPTORS};
pub(crate) use timerfd::TimerFd;

/// Opens a program or an interpreter, named by an absolute path or one that starts from the working directory.
///
/// # Errors
/// EACCES: no regular file, or nobody may execute it. Those of open(2).
pub(crate) fn open_program(path: &str) -> Result<Arc<OpenFile>, Errno> {
    let base = crate::process::process().files.lock().cwd().to_string();
    let file = namespace::open(&Path::new(&base, path.as_bytes())?, 0, 0)?;
    let kind = u32::try_from(file.stat()?.mode).map_err(|_| Errno::EIO)?;
    if kind & mode::TYPE != mode::REGULAR || kind & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    Ok(file)
}
