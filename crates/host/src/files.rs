//! Files under the root directory, for reading only; and those of the mounts ([`mounted`]).
//!
//! Whatever the enclave asks, nothing outside the root directory is opened: the kernel resolves each path with the root
//! directory as `/` and follows no magic links (openat2(2)). Of what is inside, only regular files and directories are
//! opened, and none of procfs: there this process shows its own memory and its key.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_enclave_abi::errno::Errno;
use casemate_enclave_abi::op::CURRENT_POSITION;
use casemate_enclave_abi::stat::FileTime;
use casemate_enclave_abi::{Stat, StatFs};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, SeekFrom, fstat, fstatfs, fstatvfs, open,
    openat2, readlinkat_raw, seek,
};
use rustix::io::{pread, read, retry_on_intr};

use crate::readdir;
use mounted::Mounted;

mod handle;
pub(crate) mod mounted;
#[cfg(test)]
mod tests;

/// Files that the enclave can have open at a time. The kernel's own limit may be lower.
const MAX_HANDLES: usize = 1 << 16;

/// Open flags that mean something for a file that is only read; the rest is left out.
const PASSED: OFlags = OFlags::NOFOLLOW.union(OFlags::DIRECTORY).union(OFlags::NOATIME).union(OFlags::PATH);

/// The longest path in bytes, without NUL (`PATH_MAX`).
pub(crate) const MAX_PATH: u64 = 4095;

/// An error of the host's kernel as the enclave is told it.
pub(crate) fn errno(error: rustix::io::Errno) -> Errno {
    u16::try_from(error.raw_os_error()).ok().and_then(Errno::new).unwrap_or(Errno::EIO)
}

/// The root directory, and what is open of it.
#[derive(Debug)]
pub(crate) struct Files {
    root: OwnedFd,
    /// In the order of their numbers, from 1 on.
    mounts: Vec<Mounted>,
    handles: Mutex<Handles>,
    /// Directories have one position each; whoever reads one sets it first.
    directories: Mutex<()>,
}

#[derive(Debug, Default)]
struct Handles {
    open: Vec<Option<Arc<OwnedFd>>>,
    free: Vec<usize>,
    /// Those whose inodes may be changed.
    changeable: BTreeSet<u64>,
}

impl Files {
    /// With this root directory.
    ///
    /// # Errors
    /// The kernel's: it is not there, or no directory.
    pub(crate) fn new(root: &Path) -> rustix::io::Result<Self> {
        let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root, mounts: Vec::new(), handles: Mutex::default(), directories: Mutex::default() })
    }

    /// Adds a mount; its number is one more than the last one's.
    pub(crate) fn add(&mut self, mount: Mounted) {
        self.mounts.push(mount);
    }

    /// The mount of a number; `None` for the root directory.
    pub(crate) fn mount(&self, number: u64) -> Result<Option<&Mounted>, Errno> {
        match number.checked_sub(1) {
            None => Ok(None),
            Some(index) => {
                let index = usize::try_from(index).map_err(|_| Errno::EINVAL)?;
                self.mounts.get(index).map(Some).ok_or(Errno::EINVAL)
            }
        }
    }

    /// What is known of a path of the program's, by where it lies as it is written.
    pub(crate) fn stat_of_guest(&self, path: &[u8]) -> Result<Stat, Errno> {
        let mounts = self.mounts.iter().filter_map(|mount| Some((mount, mount.below(path)?)));
        match mounts.max_by_key(|(_, (depth, _))| *depth) {
            Some((mount, (_, inside))) => mount.stat_at(inside),
            None => self.stat_at(path, true),
        }
    }

    /// Opens a file of a mount; gives its handle.
    pub(crate) fn open_in(&self, mount: &Mounted, path: &[u8], flags: u64, mode: u64) -> Result<u64, Errno> {
        let flags = OFlags::from_bits_retain(u32::try_from(flags).map_err(|_| Errno::EINVAL)?);
        self.hold(mount.open(path, flags, mounted::mode(mode)?)?, mount)
    }

    /// Opens a file by its path and Linux's flags; gives its handle. Whatever would write gives `EROFS`.
    pub(crate) fn open(&self, path: &[u8], flags: u64) -> Result<u64, Errno> {
        let flags = OFlags::from_bits_retain(u32::try_from(flags).map_err(|_| Errno::EINVAL)?);
        let found = match self.resolve(path, !flags.contains(OFlags::NOFOLLOW)) {
            Err(Errno::ENOENT) if flags.contains(OFlags::CREATE) => return Err(self.cannot_create(path)),
            found => found?,
        };
        if flags.contains(OFlags::CREATE | OFlags::EXCL) {
            return Err(Errno::EEXIST);
        }
        let kind = FileType::from_raw_mode(fstat(&found).map_err(errno)?.st_mode);
        let path_only = flags.contains(OFlags::PATH);
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC) && !path_only;
        match kind {
            FileType::Symlink if !path_only => return Err(Errno::ELOOP),
            FileType::Directory if writes => return Err(Errno::EISDIR),
            FileType::Directory => {}
            _ if flags.contains(OFlags::DIRECTORY) => return Err(Errno::ENOTDIR),
            _ if writes => return Err(Errno::EROFS),
            FileType::RegularFile | FileType::Symlink => {}
            _ if path_only => {}
            // Devices can do things when they are opened, and FIFOs wait for a writer.
            _ => return Err(Errno::EACCES),
        }
        refuse_procfs(&found)?;
        if path_only {
            return self.handles().add(found);
        }
        // By the descriptor, so that it is the file that was looked at, whatever the path leads to by now.
        let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
        let passed = (flags & PASSED).difference(OFlags::NOFOLLOW);
        let flags = passed | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = rustix::fs::openat(CWD, again, flags, Mode::empty()).map_err(errno)?;
        self.handles().add(file)
    }

    /// Closes a handle.
    pub(crate) fn close(&self, handle: u64) -> Result<(), Errno> {
        self.handles().remove(handle).map(drop)
    }

    /// Reads from a position, or from where the handle stands.
    pub(crate) fn read(&self, handle: u64, buffer: &mut [u8], position: u64) -> Result<usize, Errno> {
        let file = self.get(handle)?;
        let result = if position == CURRENT_POSITION {
            retry_on_intr(|| read(&file, &mut *buffer))
        } else if i64::try_from(position).is_err() {
            return Err(Errno::EINVAL);
        } else {
            retry_on_intr(|| pread(&file, &mut *buffer, position))
        };
        result.map_err(errno)
    }

    /// What is known of an open file.
    pub(crate) fn stat(&self, handle: u64) -> Result<Stat, Errno> {
        stat_of(&self.get(handle)?)
    }

    /// What is known of a path.
    pub(crate) fn stat_at(&self, path: &[u8], follow: bool) -> Result<Stat, Errno> {
        stat_of(&self.resolve(path, follow)?)
    }

    /// The target of a symbolic link, as much as fits.
    pub(crate) fn read_link(&self, path: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        let link = self.resolve(path, false)?;
        refuse_procfs(&link)?;
        if FileType::from_raw_mode(fstat(&link).map_err(errno)?.st_mode) != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        readlinkat_raw(&link, c"", buffer).map_err(errno)
    }

    /// Entries of a directory from a cookie on, packed; 0 bytes at its end.
    pub(crate) fn read_dir(&self, handle: u64, buffer: &mut [u8], cookie: u64) -> Result<usize, Errno> {
        let directory = self.get(handle)?;
        let position = i64::try_from(cookie).map_err(|_| Errno::EINVAL)?;
        let _alone = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        seek(&directory, SeekFrom::Start(position.unsigned_abs())).map_err(errno)?;
        readdir::read(&directory, buffer)
    }

    /// What is known of the file system that a path is on.
    pub(crate) fn stat_fs(&self, path: &[u8]) -> Result<StatFs, Errno> {
        stat_fs_of(&self.resolve(path, true)?)
    }

    /// The file that a path leads to, under the root directory; opened for nothing but to name it.
    fn resolve(&self, path: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        flags.set(OFlags::NOFOLLOW, !follow);
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // EAGAIN: something on the way was renamed meanwhile.
        loop {
            match openat2(&self.root, path, flags, Mode::empty(), inside) {
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                result => return result.map_err(errno),
            }
        }
    }

    /// Why a file that is not there cannot be created.
    fn cannot_create(&self, path: &[u8]) -> Errno {
        let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash.saturating_add(1));
        let parent = path.get(..name).filter(|parent| !parent.is_empty()).unwrap_or(b".");
        match self.resolve(parent, true) {
            Ok(_) => Errno::EROFS,
            Err(error) => error,
        }
    }

    /// A file that a parent has passed, of the mount of this number; gives its handle.
    pub(crate) fn adopt(&self, file: OwnedFd, mount: u64) -> Result<u64, Errno> {
        self.hold(file, self.mount(mount)?.ok_or(Errno::EINVAL)?)
    }

    /// Gives a file of a mount a handle.
    fn hold(&self, file: OwnedFd, mount: &Mounted) -> Result<u64, Errno> {
        let mut handles = self.handles();
        let handle = handles.add(file)?;
        if mount.writable().is_ok() {
            handles.changeable.insert(handle);
        }
        Ok(handle)
    }

    /// The file of a handle.
    pub(crate) fn get(&self, handle: u64) -> Result<Arc<OwnedFd>, Errno> {
        let index = usize::try_from(handle).map_err(|_| Errno::EBADF)?;
        self.handles().open.get(index).and_then(Clone::clone).ok_or(Errno::EBADF)
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handles {
    fn add(&mut self, file: OwnedFd) -> Result<u64, Errno> {
        let file = Some(Arc::new(file));
        let index = match self.free.pop() {
            Some(index) => {
                *self.open.get_mut(index).ok_or(Errno::EIO)? = file;
                index
            }
            None if self.open.len() < MAX_HANDLES => {
                self.open.push(file);
                self.open.len().saturating_sub(1)
            }
            None => return Err(Errno::EMFILE),
        };
        u64::try_from(index).map_err(|_| Errno::EMFILE)
    }

    fn remove(&mut self, handle: u64) -> Result<Arc<OwnedFd>, Errno> {
        let index = usize::try_from(handle).map_err(|_| Errno::EBADF)?;
        let file = self.open.get_mut(index).and_then(Option::take).ok_or(Errno::EBADF)?;
        self.free.push(index);
        self.changeable.remove(&handle);
        Ok(file)
    }
}

fn refuse_procfs(file: &impl AsFd) -> Result<(), Errno> {
    let filesystem = fstatfs(file).map_err(errno)?;
    if filesystem.f_type == PROC_SUPER_MAGIC { Err(Errno::EACCES) } else { Ok(()) }
}

/// The number of a kind of file system, which C has as signed.
fn kind(number: rustix::fs::FsWord) -> u64 {
    number.cast_unsigned() & 0xffff_ffff
}

fn stat_fs_of(file: &impl AsFd) -> Result<StatFs, Errno> {
    let (fs, vfs) = (fstatfs(file).map_err(errno)?, fstatvfs(file).map_err(errno)?);
    Ok(StatFs {
        kind: kind(fs.f_type),
        bsize: vfs.f_bsize,
        blocks: vfs.f_blocks,
        bfree: vfs.f_bfree,
        bavail: vfs.f_bavail,
        files: vfs.f_files,
        ffree: vfs.f_ffree,
        fsid: vfs.f_fsid,
        namelen: vfs.f_namemax,
        frsize: vfs.f_frsize,
        flags: vfs.f_flag.bits(),
    })
}

fn stat_of(file: &impl AsFd) -> Result<Stat, Errno> {
    let stat = fstat(file).map_err(errno)?;
    let time = |seconds, nanoseconds| FileTime { seconds, nanoseconds };
    Ok(Stat {
        dev: stat.st_dev,
        ino: stat.st_ino,
        mode: stat.st_mode.into(),
        nlink: stat.st_nlink,
        uid: stat.st_uid.into(),
        gid: stat.st_gid.into(),
        rdev: stat.st_rdev,
        size: u64::try_from(stat.st_size).map_err(|_| Errno::EOVERFLOW)?,
        blksize: u64::try_from(stat.st_blksize).map_err(|_| Errno::EOVERFLOW)?,
        blocks: u64::try_from(stat.st_blocks).map_err(|_| Errno::EOVERFLOW)?,
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
    })
}
