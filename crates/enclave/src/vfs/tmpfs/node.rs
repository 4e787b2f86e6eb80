//! A file, directory or link in memory.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use casemate_enclave_abi::stat::FileTime;
use casemate_enclave_abi::{Errno, Stat};
use spin::Mutex;

use super::contents::{Budget, Contents};
use crate::vfs::flags::mode;

/// No more seals (`include/uapi/linux/fcntl.h`).
pub const SEAL_SEAL: u32 = 1;
/// The file does not get smaller.
pub const SEAL_SHRINK: u32 = 2;
/// The file does not get larger.
pub const SEAL_GROW: u32 = 4;
/// The file is not written.
pub const SEAL_WRITE: u32 = 8;
/// All seals that there are, with F_SEAL_FUTURE_WRITE and F_SEAL_EXEC.
pub const SEALS: u32 = 0x3f;
/// F_SEAL_FUTURE_WRITE: writing starts no more.
const SEAL_FUTURE_WRITE: u32 = 16;

/// What a name or an inode takes from the budget: about what it takes from the heap.
const INODE_COST: u64 = 512;

/// How a new node begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Make {
    /// Permissions; the kind is added.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The time.
    pub now: FileTime,
}

/// A change of what stat(2) shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Permissions.
    Mode(u32),
    /// Owner and group, where given.
    Owner(Option<u32>, Option<u32>),
    /// Times of access and modification, where given.
    Times(Option<FileTime>, Option<FileTime>),
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The name.
    pub name: String,
    /// Inode number.
    pub ino: u64,
    /// Kind of file (`DT_`).
    pub kind: u8,
}

#[derive(Debug)]
pub(super) enum Body {
    File(Contents),
    Directory(BTreeMap<String, Arc<Node>>),
    Link(String),
}

#[derive(Debug)]
pub(super) struct State {
    mode: u32,
    uid: u32,
    gid: u32,
    pub(super) nlink: u32,
    atime: FileTime,
    mtime: FileTime,
    ctime: FileTime,
    seals: u32,
    pub(super) body: Body,
}

/// A file, directory or symbolic link.
#[derive(Debug)]
pub struct Node {
    ino: u64,
    budget: Arc<Budget>,
    state: Mutex<State>,
}

static NEXT_INO: AtomicU64 = AtomicU64::new(2);

impl Node {
    fn new(budget: &Arc<Budget>, make: Make, kind: u32, body: Body) -> Result<Arc<Self>, Errno> {
        budget.take(INODE_COST)?;
        let state = State {
            mode: kind | make.mode & mode::PERMISSIONS,
            uid: make.uid,
            gid: make.gid,
            nlink: if kind == mode::DIRECTORY { 2 } else { 0 },
            atime: make.now,
            mtime: make.now,
            ctime: make.now,
            seals: SEAL_SEAL,
            body,
        };
        let ino = NEXT_INO.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Self { ino, budget: Arc::clone(budget), state: Mutex::new(state) }))
    }

    /// A file without a name.
    ///
    /// # Errors
    /// ENOSPC.
    pub fn file(budget: &Arc<Budget>, make: Make) -> Result<Arc<Self>, Errno> {
        Self::new(budget, make, mode::REGULAR, Body::File(Contents::new(Arc::clone(budget))))
    }

    /// An empty directory.
    ///
    /// # Errors
    /// ENOSPC.
    pub fn directory(budget: &Arc<Budget>, make: Make) -> Result<Arc<Self>, Errno> {
        Self::new(budget, make, mode::DIRECTORY, Body::Directory(BTreeMap::new()))
    }

    pub(super) fn symbolic_link(budget: &Arc<Budget>, make: Make, target: &str) -> Result<Arc<Self>, Errno> {
        let make = Make { mode: 0o777, ..make };
        Self::new(budget, make, mode::LINK, Body::Link(target.into()))
    }

    pub(super) fn state(&self) -> spin::MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Inode number.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// Kind and permissions.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.state().mode
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.mode() & mode::TYPE == mode::DIRECTORY
    }

    /// The target, if it is a symbolic link.
    #[must_use]
    pub fn target(&self) -> Option<String> {
        match &self.state().body {
            Body::Link(target) => Some(target.clone()),
            _ => None,
        }
    }

    /// What stat(2) shows, on the device `dev`.
    #[must_use]
    pub fn stat(&self, dev: u64) -> Stat {
        let state = self.state();
        let (size, stored) = match &state.body {
            Body::File(contents) => (contents.size(), contents.stored()),
            Body::Directory(names) => ((names.len() as u64 + 2) * 20, 0),
            Body::Link(target) => (target.len() as u64, 0),
        };
        Stat {
            dev,
            ino: self.ino,
            mode: state.mode.into(),
            nlink: state.nlink.into(),
            uid: state.uid.into(),
            gid: state.gid.into(),
            rdev: 0,
            size,
            blksize: 4096,
            blocks: stored / 512,
            atime: state.atime,
            mtime: state.mtime,
            ctime: state.ctime,
        }
    }

    /// Changes what stat(2) shows.
    pub fn change(&self, change: Change, now: FileTime) {
        let mut state = self.state();
        match change {
            Change::Mode(bits) => state.mode = state.mode & mode::TYPE | bits & mode::PERMISSIONS,
            Change::Owner(uid, gid) => {
                state.uid = uid.unwrap_or(state.uid);
                state.gid = gid.unwrap_or(state.gid);
            }
            Change::Times(atime, mtime) => {
                state.atime = atime.unwrap_or(state.atime);
                state.mtime = mtime.unwrap_or(state.mtime);
            }
        }
        state.ctime = now;
    }

    /// Bytes in the file; 0 for what is none.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.state().body {
            Body::File(contents) => contents.size(),
            _ => 0,
        }
    }

    /// Reads; gives the number of bytes, 0 at the end.
    ///
    /// # Errors
    /// EISDIR, EINVAL: it is no file.
    pub fn read(&self, position: u64, to: &mut [u8]) -> Result<usize, Errno> {
        match &self.state().body {
            Body::File(contents) => Ok(contents.read(position, to)),
            Body::Directory(_) => Err(Errno::EISDIR),
            Body::Link(_) => Err(Errno::EINVAL),
        }
    }

    /// Writes at `position`, or at the end where that is `None`; gives where it ended and how much it was.
    ///
    /// # Errors
    /// ENOSPC, EFBIG, EPERM: sealed. EINVAL: it is no file.
    pub fn write(&self, position: Option<u64>, from: &[u8], now: FileTime) -> Result<(u64, usize), Errno> {
        let mut state = self.state();
        let seals = state.seals;
        let Body::File(contents) = &mut state.body else { return Err(Errno::EINVAL) };
        let position = position.unwrap_or(contents.size());
        if seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        let mut from = from;
        if seals & SEAL_GROW != 0 {
            let room = usize::try_from(contents.size().saturating_sub(position)).unwrap_or(usize::MAX);
            if room == 0 && !from.is_empty() {
                return Err(Errno::EPERM);
            }
            from = from.get(..room).unwrap_or(from);
        }
        let count = contents.write(position, from)?;
        state.mtime = now;
        state.ctime = now;
        Ok((position.saturating_add(count as u64), count))
    }

    /// Cuts or grows the file.
    ///
    /// # Errors
    /// EFBIG. EPERM: sealed. EISDIR, EINVAL: it is no file.
    pub fn truncate(&self, size: u64, now: FileTime) -> Result<(), Errno> {
        let mut state = self.state();
        let seals = state.seals;
        let contents = match &mut state.body {
            Body::File(contents) => contents,
            Body::Directory(_) => return Err(Errno::EISDIR),
            Body::Link(_) => return Err(Errno::EINVAL),
        };
        let old = contents.size();
        if size < old && seals & SEAL_SHRINK != 0 || size > old && seals & SEAL_GROW != 0 {
            return Err(Errno::EPERM);
        }
        contents.truncate(size)?;
        state.mtime = now;
        state.ctime = now;
        Ok(())
    }

    /// Makes a range of the file zero.
    ///
    /// # Errors
    /// EPERM: sealed. EINVAL: it is no file.
    pub fn punch(&self, position: u64, length: u64) -> Result<(), Errno> {
        let mut state = self.state();
        if state.seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        let Body::File(contents) = &mut state.body else { return Err(Errno::EINVAL) };
        contents.punch(position, length);
        Ok(())
    }

    /// The seals of memfd_create(2).
    #[must_use]
    pub fn seals(&self) -> u32 {
        self.state().seals
    }

    /// Lets seals be added.
    pub fn allow_sealing(&self) {
        self.state().seals &= !SEAL_SEAL;
    }

    /// Adds seals.
    ///
    /// # Errors
    /// EPERM: it takes no more. EINVAL: there is no such seal.
    pub fn add_seals(&self, seals: u32) -> Result<(), Errno> {
        if seals & !SEALS != 0 {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state();
        if state.seals & SEAL_SEAL != 0 {
            return Err(Errno::EPERM);
        }
        state.seals |= seals;
        Ok(())
    }

    /// What is in the directory, without `.` and `..`; nothing where it is none.
    #[must_use]
    pub fn list(&self) -> Vec<Item> {
        // Nodes are looked at one by one, without their directory's lock.
        let children: Vec<(String, Arc<Self>)> = match &self.state().body {
            Body::Directory(names) => {
                names.iter().map(|(name, node)| (name.clone(), Arc::clone(node))).collect()
            }
            _ => return Vec::new(),
        };
        children
            .into_iter()
            .map(|(name, node)| Item { name, ino: node.ino, kind: mode::directory_kind(node.mode()) })
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.budget.give_back(INODE_COST);
    }
}
