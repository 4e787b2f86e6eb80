//! Regular files in the enclave's memory: of a tmpfs, or without a name (memfd_create(2)).

use alloc::sync::Arc;

use casemate_enclave::vfs::flags::open;
use casemate_enclave::vfs::tmpfs::{Change, Node};
use casemate_enclave_abi::{Errno, Stat, StatFs};

use super::Carried;
use super::devices::now;
use super::file::{File, Sink, Source};
use super::namespace::mounts;
use super::open_file::OpenFile;

/// The most that is moved while guest memory and the file are locked.
const CHUNK: usize = 1 << 20;

/// FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE.
const KEEP_SIZE: u32 = 1;
const PUNCH_HOLE: u32 = 2;
const ZERO_RANGE: u32 = 0x10;

/// A file, opened.
pub(super) struct MemoryFile {
    pub(super) node: Arc<Node>,
    /// Number of its file system.
    pub(super) device: u64,
}

/// A file without a name.
///
/// # Errors
/// ENOSPC.
pub(crate) fn anonymous(name: &str, mode: u32, sealable: bool) -> Result<Arc<OpenFile>, Errno> {
    let node = Node::file(mounts::budget(), mounts::make(mode))?;
    if sealable {
        node.allow_sealing();
    }
    let file = MemoryFile { node, device: mounts::MEMFD_DEVICE };
    Ok(OpenFile::new(Arc::new(file), open::RDWR | open::LARGEFILE, alloc::format!("/memfd:{name} (deleted)")))
}

/// A file without a name that was one of another enclave's.
///
/// # Errors
/// ENOSPC.
pub(super) fn carried(path: &str, flags: u32, bytes: &[u8]) -> Result<Arc<OpenFile>, Errno> {
    let node = Node::file(mounts::budget(), mounts::make(0o600))?;
    node.write(Some(0), bytes, now())?;
    let file = MemoryFile { node, device: mounts::MEMFD_DEVICE };
    Ok(OpenFile::new(Arc::new(file), flags, path.into()))
}

/// All bytes of a file.
///
/// # Errors
/// ENOMEM: more than there can be.
pub(crate) fn contents(node: &Node) -> Result<alloc::vec::Vec<u8>, Errno> {
    let mut bytes = alloc::vec![0; usize::try_from(node.size()).map_err(|_| Errno::ENOMEM)?];
    let count = node.read(0, &mut bytes)?;
    bytes.truncate(count);
    Ok(bytes)
}

impl File for MemoryFile {
    fn carry(&self) -> Result<Carried, Errno> {
        contents(&self.node).map(Carried::Contents)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        Ok(self.node.stat(self.device))
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        Ok(mounts::stat_fs())
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read(&self, position: u64, to: &mut Sink<'_>, _nonblock: bool) -> Result<usize, Errno> {
        let left = self.node.size().saturating_sub(position);
        let length = to.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut done = 0;
        while done < length {
            let chunk = (length - done).min(CHUNK);
            let count = match to.with(done, chunk, |bytes| self.node.read(position + done as u64, bytes)) {
                Ok(count) => count?,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            done += count;
            if count < chunk {
                break;
            }
        }
        Ok(done)
    }

    fn write(
        &self,
        position: Option<u64>,
        from: &Source<'_>,
        _nonblock: bool,
    ) -> Result<(u64, usize), Errno> {
        let length = from.len();
        let now = now();
        let mut at = position;
        let mut done = 0;
        while done < length {
            let chunk = (length - done).min(CHUNK);
            match from.with(done, chunk, |bytes| self.node.write(at, bytes, now)).and_then(|written| written)
            {
                Ok((end, count)) => {
                    at = Some(end);
                    done += count;
                    if count < chunk {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok((at.unwrap_or_else(|| self.node.size()), done))
    }

    fn pollable(&self) -> bool {
        false
    }

    fn truncate(&self, size: u64) -> Result<(), Errno> {
        self.node.truncate(size, now())
    }

    fn allocate(&self, mode: u32, offset: u64, length: u64) -> Result<(), Errno> {
        let end = offset.saturating_add(length);
        match mode & !KEEP_SIZE {
            0 => {}
            PUNCH_HOLE if mode & KEEP_SIZE != 0 => self.node.punch(offset, length)?,
            ZERO_RANGE => self.node.punch(offset, length)?,
            _ => return Err(Errno::EOPNOTSUPP),
        }
        // Memory is given when it is written.
        if mode & KEEP_SIZE == 0 && end > self.node.size() {
            self.truncate(end)?;
        }
        Ok(())
    }

    fn sync(&self, _data_only: bool) -> Result<(), Errno> {
        Ok(())
    }

    fn change(&self, change: Change) -> Result<(), Errno> {
        self.node.change(change, now());
        Ok(())
    }

    fn mappable(&self) -> bool {
        true
    }

    fn node(&self) -> Option<&Arc<Node>> {
        Some(&self.node)
    }
}

/// Takes a new text.
pub(super) type Take = fn(&[u8]) -> Result<(), Errno>;

/// A text that was made when it was opened, as files of `/proc` are; or a path without contents (O_PATH).
pub(super) struct Snapshot {
    pub(super) stat: Stat,
    pub(super) stat_fs: StatFs,
    pub(super) text: alloc::vec::Vec<u8>,
    /// Takes what is written, if anything can be.
    pub(super) take: Option<Take>,
}

/// The longest text that is written to `/proc`.
const MAX_TEXT: usize = 4096;

impl File for Snapshot {
    fn carry(&self) -> Result<Carried, Errno> {
        Ok(Carried::Again)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        Ok(self.stat)
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        Ok(self.stat_fs)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read(&self, position: u64, to: &mut Sink<'_>, _nonblock: bool) -> Result<usize, Errno> {
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(self.text.len());
        let part = &self.text[from..];
        let part = &part[..part.len().min(to.len())];
        to.put(0, part)?;
        Ok(part.len())
    }

    fn write(
        &self,
        position: Option<u64>,
        from: &Source<'_>,
        _nonblock: bool,
    ) -> Result<(u64, usize), Errno> {
        let take = self.take.ok_or(Errno::EINVAL)?;
        let length = from.len();
        if length > MAX_TEXT {
            return Err(Errno::EINVAL);
        }
        from.with(0, length, take)??;
        Ok((position.unwrap_or(0) + length as u64, length))
    }

    fn truncate(&self, _size: u64) -> Result<(), Errno> {
        // O_TRUNC of a shell's `>` means nothing here.
        self.take.map(drop).ok_or(Errno::EINVAL)
    }

    fn pollable(&self) -> bool {
        false
    }
}
