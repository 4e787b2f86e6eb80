//! Open files on their way to another enclave.

use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::flags::open;
use casemate_enclave::vfs::path::Path;
use casemate_enclave_abi::Errno;

use super::open_file::OpenFile;
use super::{Epoll, EventFd, console, memory_file, namespace, pipe};

/// What carries an open file.
pub(crate) enum Carried {
    /// Its path: it is opened again.
    Again,
    /// A stream of the console, which all processes share.
    Console(u64),
    /// A pipe of the host's, by its handle; its number; whether it is the end that writes.
    Pipe { handle: u64, number: u64, writes: bool },
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
        Carried::Event { count, semaphore } => EventFd::carried(count, semaphore, flags),
        Carried::Epoll => Epoll::open(),
        Carried::Contents(bytes) => memory_file::carried(path, flags, &bytes)?,
        Carried::Refused => return Ok(None),
    };
    Ok(Some(file))
}
