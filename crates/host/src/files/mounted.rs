//! Directories and files of the host's that the program may use, each under a number.
//!
//! Paths are resolved beneath the mounted directory, and no symbolic link is followed here at all: the enclave follows
//! them, as a link may lead to another mount. Of what is there, regular files and directories are opened; of the rest
//! (devices, FIFOs, sockets) only the names are seen.

use std::ffi::OsStr;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use casemate_enclave_abi::errno::Errno;
use casemate_enclave_abi::{Stat, StatFs};
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags, fchmod, fstat, linkat, mkdirat, open,
    openat, openat2, readlinkat_raw, renameat_with, symlinkat, unlinkat,
};

use super::{errno, refuse_procfs, stat_fs_of, stat_of};

/// Flags that a file is opened with; where a write goes is said at each write.
const PASSED: OFlags = OFlags::WRONLY
    .union(OFlags::RDWR)
    .union(OFlags::TRUNC)
    .union(OFlags::NOATIME)
    .union(OFlags::SYNC)
    .union(OFlags::DSYNC)
    .union(OFlags::DIRECTORY);

/// Permissions from an argument.
pub(crate) fn mode(argument: u64) -> Result<Mode, Errno> {
    u32::try_from(argument).ok().filter(|mode| *mode <= 0o7777).map(Mode::from_raw_mode).ok_or(Errno::EINVAL)
}

/// A directory, or a single file.
#[derive(Debug)]
pub(crate) struct Mounted {
    place: OwnedFd,
    /// Where the program sees it.
    guest: Vec<u8>,
    directory: bool,
    read_only: bool,
}

/// A descriptor's name, by which it can be opened and changed again.
fn again(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

impl Mounted {
    /// What lies at a path of the host's, for the program at `guest`.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` where it is neither a directory nor a regular file.
    pub(crate) fn new(path: &Path, guest: &str, read_only: bool) -> rustix::io::Result<Self> {
        let place = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let directory = match FileType::from_raw_mode(fstat(&place)?.st_mode) {
            FileType::Directory => true,
            FileType::RegularFile => false,
            _ => return Err(rustix::io::Errno::INVAL),
        };
        Ok(Self { place, guest: guest.into(), directory, read_only })
    }

    /// What of a path of the program's lies in this mount, and how deep the mount lies.
    pub(super) fn below<'a>(&self, path: &'a [u8]) -> Option<(usize, &'a [u8])> {
        let rest = path.strip_prefix(self.guest.as_slice())?;
        match rest {
            [] => Some((self.guest.len(), b".")),
            [b'/', rest @ ..] => Some((self.guest.len(), rest)),
            _ => None,
        }
    }

    /// `EROFS` where nothing may be changed.
    pub(crate) fn writable(&self) -> Result<(), Errno> {
        if self.read_only { Err(Errno::EROFS) } else { Ok(()) }
    }

    fn open_at(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        if !self.directory {
            return Err(Errno::ENOTDIR);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        loop {
            match openat2(&self.place, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                result => return result.map_err(errno),
            }
        }
    }

    /// What lies at a path, opened for nothing but to name it.
    fn resolve(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let file = if path == b"." {
            self.place.try_clone().map_err(|_| Errno::EMFILE)?
        } else {
            self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?
        };
        refuse_procfs(&file)?;
        Ok(file)
    }

    /// The directory of a path, and the name in it.
    fn parent<'a>(&self, path: &'a [u8]) -> Result<(OwnedFd, &'a OsStr), Errno> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => path.split_at(at),
            None => (&b"."[..], path),
        };
        let name = name.strip_prefix(b"/").unwrap_or(name);
        if matches!(name, b"" | b"." | b"..") {
            return Err(Errno::EBUSY);
        }
        let parent = if parent == b"." && self.directory {
            self.resolve(parent)?
        } else {
            self.open_at(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?
        };
        refuse_procfs(&parent)?;
        Ok((parent, OsStr::from_bytes(name)))
    }

    /// Opens a file or directory; with `O_CREAT` makes it.
    pub(super) fn open(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        if flags.contains(OFlags::TMPFILE) {
            self.writable()?;
            return self.reopen(&self.resolve(path)?, (flags & PASSED) | OFlags::TMPFILE, mode);
        }
        loop {
            match self.resolve(path) {
                Ok(_) if flags.contains(OFlags::CREATE | OFlags::EXCL) => return Err(Errno::EEXIST),
                Ok(found) => return self.open_found(found, flags),
                Err(Errno::ENOENT) if flags.contains(OFlags::CREATE) => {}
                Err(error) => return Err(error),
            }
            self.writable()?;
            match self.create(path, flags, mode) {
                // Somebody else was faster.
                Err(Errno::EEXIST) if !flags.contains(OFlags::EXCL) => {}
                result => return result,
            }
        }
    }

    fn open_found(&self, found: OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
        let kind = FileType::from_raw_mode(fstat(&found).map_err(errno)?.st_mode);
        if flags.contains(OFlags::PATH) {
            return Ok(found);
        }
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC);
        match kind {
            FileType::Symlink => return Err(Errno::ELOOP),
            FileType::Directory if writes => return Err(Errno::EISDIR),
            FileType::Directory => {}
            _ if flags.contains(OFlags::DIRECTORY) => return Err(Errno::ENOTDIR),
            FileType::RegularFile => {}
            FileType::Socket => return Err(Errno::ENXIO),
            // Devices can do things when they are opened, and FIFOs wait.
            _ => return Err(Errno::EACCES),
        }
        if writes {
            self.writable()?;
        }
        self.reopen(&found, flags & PASSED, Mode::empty())
    }

    /// By the descriptor, so that it is the file that was looked at, whatever the path leads to by now.
    fn reopen(&self, found: &OwnedFd, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        openat(CWD, again(found), flags | OFlags::CLOEXEC | OFlags::NOCTTY, mode).map_err(errno)
    }

    fn create(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let (parent, name) = self.parent(path)?;
        let flags = (flags & PASSED).difference(OFlags::DIRECTORY) | OFlags::CREATE | OFlags::EXCL;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = openat(&parent, name, flags, mode).map_err(errno)?;
        // This process's mask has nothing to say: the program's is in `mode`.
        fchmod(&file, mode).map_err(errno)?;
        Ok(file)
    }

    /// What is known of a path; of a link itself.
    pub(crate) fn stat_at(&self, path: &[u8]) -> Result<Stat, Errno> {
        stat_of(&self.resolve(path)?)
    }

    /// What is known of the file system at a path.
    pub(crate) fn stat_fs(&self, path: &[u8]) -> Result<StatFs, Errno> {
        stat_fs_of(&self.resolve(path)?)
    }

    /// The target of a symbolic link, as much as fits.
    pub(crate) fn read_link(&self, path: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        let link = self.resolve(path)?;
        if FileType::from_raw_mode(fstat(&link).map_err(errno)?.st_mode) != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        readlinkat_raw(&link, c"", buffer).map_err(errno)
    }

    /// Makes a directory.
    pub(crate) fn make_directory(&self, path: &[u8], mode: Mode) -> Result<(), Errno> {
        self.writable()?;
        let (parent, name) = self.parent(path)?;
        mkdirat(&parent, name, mode).map_err(errno)?;
        let made = self.resolve(path)?;
        rustix::fs::chmod(again(&made), mode).map_err(errno)
    }

    /// Removes a name.
    pub(crate) fn remove(&self, path: &[u8], directory: bool) -> Result<(), Errno> {
        self.writable()?;
        let (parent, name) = self.parent(path)?;
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unlinkat(&parent, name, flags).map_err(errno)
    }

    /// Makes a symbolic link.
    pub(crate) fn symbolic_link(&self, target: &[u8], path: &[u8]) -> Result<(), Errno> {
        self.writable()?;
        let (parent, name) = self.parent(path)?;
        symlinkat(target, &parent, name).map_err(errno)
    }

    /// Moves a name.
    pub(crate) fn rename(&self, old: &[u8], new: &[u8], flags: u64) -> Result<(), Errno> {
        self.writable()?;
        let flags = u32::try_from(flags).ok().and_then(RenameFlags::from_bits);
        let flags = flags.filter(|flags| !flags.contains(RenameFlags::WHITEOUT)).ok_or(Errno::EINVAL)?;
        let (old, new) = (self.parent(old)?, self.parent(new)?);
        renameat_with(&old.0, old.1, &new.0, new.1, flags).map_err(errno)
    }

    /// Gives a file another name.
    pub(crate) fn link(&self, old: &[u8], new: &[u8]) -> Result<(), Errno> {
        self.writable()?;
        let (old, new) = (self.parent(old)?, self.parent(new)?);
        linkat(&old.0, old.1, &new.0, new.1, AtFlags::empty()).map_err(errno)
    }
}
