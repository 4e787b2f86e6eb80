//! What a descriptor refers to: a file, opened in some way, and a position in it. Copies of a descriptor share it.

use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use casemate_enclave::vfs::flags::{mode, open};
use casemate_enclave_abi::{Errno, Stat};
use spin::{Mutex, Once};

use super::file::{File, Sink, Source};
use super::inotify::{self, event};
use super::{locks, mapped};

/// The largest position (`loff_t`).
const MAX_POSITION: u64 = 0x7fff_ffff_ffff_ffff;

/// An open file.
pub(crate) struct OpenFile {
    file: Arc<dyn File>,
    /// `O_` access mode and status flags.
    flags: AtomicU32,
    position: Mutex<u64>,
    path: String,
    /// Whether it may hold locks.
    locked: AtomicBool,
    /// Device and inode number, once somebody has asked; `None`: it is no regular file.
    key: Once<Option<mapped::Key>>,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if self.locked.load(Ordering::Relaxed) {
            locks::dropped(self);
        }
        if !self.is_path_only() {
            self.tell(if self.writable() { event::CLOSE_WRITE } else { event::CLOSE_NOWRITE });
        }
    }
}

impl OpenFile {
    /// `flags` of open(2): those that are only about opening are left out.
    pub(crate) fn new(file: Arc<dyn File>, flags: u32, path: String) -> Arc<Self> {
        let flags = AtomicU32::new(flags & !open::ONCE);
        Arc::new(Self {
            file,
            flags,
            position: Mutex::new(0),
            path,
            locked: AtomicBool::new(false),
            key: Once::new(),
        })
    }

    /// The same file, opened again: what open(2) of `/proc/self/fd/N` gives.
    pub(crate) fn again(&self, flags: u32) -> Arc<Self> {
        Self::new(Arc::clone(&self.file), flags, self.path.clone())
    }

    pub(crate) fn file(&self) -> &dyn File {
        &*self.file
    }

    /// It holds a lock from now on, or has held one.
    pub(super) fn set_locked(&self) {
        self.locked.store(true, Ordering::Relaxed);
    }

    /// Has its position shared with other processes from now on.
    pub(crate) fn share(&self) -> Result<(), Errno> {
        let position = self.position.lock();
        if self.file.share() { self.store(*position) } else { Ok(()) }
    }

    /// Looks where the position is, if others can move it.
    fn fetch(&self, position: &mut u64) -> Result<(), Errno> {
        if let Some(shared) = self.file.shared_position(None) {
            *position = shared?;
        }
        Ok(())
    }

    /// Tells the others where it is.
    fn store(&self, position: u64) -> Result<(), Errno> {
        self.file.shared_position(Some(position)).map_or(Ok(()), |stored| stored.map(drop))
    }

    /// Device and inode number, if it is a regular file.
    pub(super) fn key(&self) -> Option<mapped::Key> {
        *self.key.call_once(|| {
            let stat = self.file.stat().ok()?;
            let regular = stat.mode & u64::from(mode::TYPE) == u64::from(mode::REGULAR);
            (regular && self.file.mappable()).then_some((stat.dev, stat.ino))
        })
    }

    /// The same of a file in memory.
    pub(crate) fn key_in_memory(&self) -> Option<mapped::Key> {
        self.file.node().and_then(|_| self.key())
    }

    /// Tells those who watch it. What has no path is not watched.
    pub(super) fn tell(&self, event: u32) {
        if self.path.starts_with('/') {
            inotify::tell(&self.path, event);
        }
    }

    /// ftruncate(2).
    pub(crate) fn truncate(&self, size: u64) -> Result<(), Errno> {
        mapped::flush_file(self);
        self.file.truncate(size)?;
        mapped::resized(self);
        self.tell(event::MODIFY);
        Ok(())
    }

    /// fsync(2), fdatasync(2).
    pub(crate) fn sync(&self, data_only: bool) -> Result<(), Errno> {
        mapped::flush_file(self);
        self.file.sync(data_only)
    }

    /// fallocate(2).
    pub(crate) fn allocate(&self, mode: u32, offset: u64, length: u64) -> Result<(), Errno> {
        mapped::flush_file(self);
        self.file.allocate(mode, offset, length)?;
        mapped::resized(self);
        Ok(())
    }

    /// Absolute path by which it was opened; of what has none, its label.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Status flags and access mode.
    pub(crate) fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// fcntl(F_SETFL).
    pub(crate) fn set_flags(&self, flags: u32) {
        let kept = self.flags() & !open::SETTABLE;
        self.flags.store(kept | flags & open::SETTABLE, Ordering::Relaxed);
    }

    /// FIONBIO.
    pub(crate) fn set_nonblock(&self, nonblock: bool) {
        let kept = self.flags() & !open::NONBLOCK;
        self.flags.store(if nonblock { kept | open::NONBLOCK } else { kept }, Ordering::Relaxed);
    }

    fn nonblock(&self) -> bool {
        self.flags() & open::NONBLOCK != 0
    }

    /// Whether it was opened with O_PATH: a name, no contents.
    pub(crate) fn is_path_only(&self) -> bool {
        self.flags() & open::PATH != 0
    }

    /// Whether it may be read.
    pub(crate) fn readable(&self) -> bool {
        self.flags() & open::ACCESS != open::WRONLY && !self.is_path_only()
    }

    /// Whether it may be written.
    pub(crate) fn writable(&self) -> bool {
        matches!(self.flags() & open::ACCESS, open::WRONLY | open::RDWR) && !self.is_path_only()
    }

    fn need(granted: bool) -> Result<(), Errno> {
        if granted { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// What fstat(2) shows.
    pub(crate) fn stat(&self) -> Result<Stat, Errno> {
        self.file.stat()
    }

    /// Whether it is a directory.
    pub(crate) fn is_directory(&self) -> Result<bool, Errno> {
        Ok(self.stat()?.mode & u64::from(mode::TYPE) == u64::from(mode::DIRECTORY))
    }

    /// read(2).
    pub(crate) fn read(&self, to: &mut Sink<'_>) -> Result<usize, Errno> {
        Self::need(self.readable())?;
        if !self.file.seekable() {
            return self.file.read(0, to, self.nonblock());
        }
        let mut position = self.position.lock();
        self.fetch(&mut position)?;
        mapped::before(self, *position, to.len() as u64);
        let count = self.file.read(*position, to, self.nonblock())?;
        *position = position.saturating_add(count as u64).min(MAX_POSITION);
        self.store(*position)?;
        self.tell(event::ACCESS);
        Ok(count)
    }

    /// write(2).
    pub(crate) fn write(&self, from: &Source<'_>) -> Result<usize, Errno> {
        Self::need(self.writable())?;
        if !self.file.seekable() {
            return self.file.write(None, from, self.nonblock()).map(|(_, count)| count);
        }
        let mut position = self.position.lock();
        self.fetch(&mut position)?;
        let at = if self.flags() & open::APPEND == 0 { Some(*position) } else { None };
        mapped::before(self, at.unwrap_or(0), at.map_or(u64::MAX, |_| from.len() as u64));
        let (end, count) = self.file.write(at, from, self.nonblock())?;
        mapped::after(self, end.saturating_sub(count as u64), count as u64);
        *position = end.min(MAX_POSITION);
        self.store(*position)?;
        self.tell(event::MODIFY);
        Ok(count)
    }

    fn positioned(&self, position: u64, length: usize) -> Result<(), Errno> {
        if position > MAX_POSITION || position.saturating_add(length as u64) > MAX_POSITION {
            return Err(Errno::EINVAL);
        }
        if self.is_path_only() {
            return Err(Errno::EBADF);
        }
        if self.file.seekable() { Ok(()) } else { Err(Errno::ESPIPE) }
    }

    /// pread64(2).
    pub(crate) fn read_from(&self, position: u64, to: &mut Sink<'_>) -> Result<usize, Errno> {
        self.positioned(position, to.len())?;
        Self::need(self.readable())?;
        mapped::before(self, position, to.len() as u64);
        let count = self.file.read(position, to, self.nonblock())?;
        self.tell(event::ACCESS);
        Ok(count)
    }

    /// pwrite64(2). As under Linux, O_APPEND wins over the position.
    pub(crate) fn write_to(&self, position: u64, from: &Source<'_>) -> Result<usize, Errno> {
        self.positioned(position, from.len())?;
        Self::need(self.writable())?;
        let at = if self.flags() & open::APPEND == 0 { Some(position) } else { None };
        mapped::before(self, at.unwrap_or(0), at.map_or(u64::MAX, |_| from.len() as u64));
        let (end, count) = self.file.write(at, from, self.nonblock())?;
        mapped::after(self, end.saturating_sub(count as u64), count as u64);
        self.tell(event::MODIFY);
        Ok(count)
    }

    /// Reads at a position into kernel memory.
    pub(crate) fn read_at(&self, position: u64, to: &mut [u8]) -> Result<usize, Errno> {
        self.read_from(position, &mut Sink::Kernel(to))
    }

    /// Reads at a position into guest memory.
    pub(crate) fn read_at_user(&self, position: u64, address: u64, length: usize) -> Result<usize, Errno> {
        self.read_from(position, &mut Sink::Guest { address, length })
    }

    /// Whether mmap(2) of it is possible; `shared_write`: such that the file would change.
    ///
    /// # Errors
    /// ENODEV: it is no file with contents. EACCES: it is not open for that.
    pub(crate) fn check_mappable(&self, shared_write: bool) -> Result<(), Errno> {
        if self.is_path_only() {
            return Err(Errno::EBADF);
        }
        if !self.readable() || shared_write && !self.writable() {
            return Err(Errno::EACCES);
        }
        if self.file.mappable() { Ok(()) } else { Err(Errno::ENODEV) }
    }

    /// lseek(2).
    pub(crate) fn seek(&self, offset: i64, whence: u64) -> Result<u64, Errno> {
        if self.is_path_only() {
            return Err(Errno::EBADF);
        }
        if !self.file.seekable() {
            return Err(Errno::ESPIPE);
        }
        let mut position = self.position.lock();
        self.fetch(&mut position)?;
        let size = || self.file.stat().map(|stat| stat.size);
        let base = match whence {
            0 => 0,
            1 => *position,
            2 => size()?,
            // SEEK_DATA, SEEK_HOLE: a file without holes.
            3 | 4 => {
                let size = size()?;
                let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
                if from >= size {
                    return Err(Errno::ENXIO);
                }
                *position = if whence == 3 { from } else { size };
                self.store(*position)?;
                return Ok(*position);
            }
            _ => return Err(Errno::EINVAL),
        };
        let new = base.checked_add_signed(offset).filter(|new| *new <= MAX_POSITION).ok_or(Errno::EINVAL)?;
        *position = new;
        self.store(new)?;
        Ok(new)
    }

    /// Runs `f` on the position of a directory, which only its reader understands.
    pub(crate) fn with_position<T>(&self, f: impl FnOnce(&mut u64) -> T) -> T {
        f(&mut self.position.lock())
    }
}
