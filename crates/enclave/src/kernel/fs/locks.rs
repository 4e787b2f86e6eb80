//! Locks on files: of processes and open files on ranges (fcntl(2)), of open files on the whole (flock(2)).
//!
//! What is in a mount of the host's is locked there as well, so that other programs see it. Who waits asks again when
//! something was given back here, and from time to time for the sake of those others.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave_abi::Errno;
use casemate_enclave_abi::op::{LOCK_EXCLUSIVE, LOCK_NONE, LOCK_OPEN_FILE, LOCK_PROCESS, LOCK_SHARED};
use spin::{Mutex, Once};

use super::open_file::OpenFile;
use super::wait::{self, WaitQueue};
use crate::clock;
use crate::process::process;

/// How long one who waits for a lock of another program's sleeps between questions.
const PAUSE_NS: u64 = 5_000_000;

/// Device and inode number.
type File = (u64, u64);

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A process: its locks never conflict with each other. A child of vfork(2) is another one.
    Process(u32),
    /// An open file, by its address.
    OpenFile(usize),
}

impl Owner {
    /// An open file as owner.
    pub(crate) fn of(file: &OpenFile) -> Self {
        Self::OpenFile(core::ptr::from_ref(file).addr())
    }

    fn code(self) -> u64 {
        match self {
            Self::Process(_) => LOCK_PROCESS,
            Self::OpenFile(_) => LOCK_OPEN_FILE,
        }
    }
}

/// What is locked, or asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    /// Whose.
    pub(crate) owner: Owner,
    /// Nobody else may have it.
    pub(crate) exclusive: bool,
    /// First byte.
    pub(crate) start: u64,
    /// Last byte.
    pub(crate) last: u64,
    /// Process that a question about it names; 0 where it is an open file's.
    pub(crate) process: u64,
}

impl Lock {
    fn conflicts(&self, other: &Self) -> bool {
        self.owner != other.owner
            && (self.exclusive || other.exclusive)
            && self.start <= other.last
            && other.start <= self.last
    }

    /// Its length as fcntl(2) has it: 0 to the end.
    pub(crate) fn length(&self) -> u64 {
        if self.last >= MAX { 0 } else { self.last - self.start + 1 }
    }
}

/// The last byte that there can be.
pub(crate) const MAX: u64 = 0x7fff_ffff_ffff_ffff;

#[derive(Default)]
struct Locks {
    ranges: BTreeMap<File, Vec<Lock>>,
    whole: BTreeMap<File, Vec<Lock>>,
}

static LOCKS: Mutex<Locks> = Mutex::new(Locks { ranges: BTreeMap::new(), whole: BTreeMap::new() });

/// Woken when a lock is given back.
fn given_back() -> &'static Arc<WaitQueue> {
    static QUEUE: Once<Arc<WaitQueue>> = Once::new();
    QUEUE.call_once(Arc::default)
}

fn key(file: &OpenFile) -> Result<File, Errno> {
    file.stat().map(|stat| (stat.dev, stat.ino))
}

/// Puts `lock` in place of what its owner has there; only takes that away where `held` is not set.
fn replace(locks: &mut Vec<Lock>, lock: Lock, held: bool) {
    let mut kept = Vec::with_capacity(locks.len() + 2);
    for old in locks.drain(..) {
        if old.owner != lock.owner || old.last < lock.start || lock.last < old.start {
            kept.push(old);
            continue;
        }
        if old.start < lock.start {
            kept.push(Lock { last: lock.start - 1, ..old });
        }
        if old.last > lock.last {
            kept.push(Lock { start: lock.last + 1, ..old });
        }
    }
    if held {
        kept.push(lock);
    }
    *locks = kept;
}

fn change(whole: bool, key: File, lock: Lock, held: bool) -> Result<(), Errno> {
    let mut locks = LOCKS.lock();
    let table = if whole { &mut locks.whole } else { &mut locks.ranges };
    let of_file = table.entry(key).or_default();
    if held && of_file.iter().any(|other| other.conflicts(&lock)) {
        return Err(Errno::EAGAIN);
    }
    replace(of_file, lock, held);
    if of_file.is_empty() {
        table.remove(&key);
    }
    Ok(())
}

/// On the host, where the file is in a mount.
fn on_host(file: &OpenFile, whole: bool, lock: &Lock, held: bool) -> Result<(), Errno> {
    let kind = match (held, lock.exclusive) {
        (false, _) => LOCK_NONE,
        (true, false) => LOCK_SHARED,
        (true, true) => LOCK_EXCLUSIVE,
    };
    if whole {
        file.file().lock_whole(kind)
    } else {
        file.file().lock(lock.owner.code(), kind, lock.start, lock.length())
    }
}

fn try_take(file: &OpenFile, whole: bool, key: File, lock: Lock) -> Result<(), Errno> {
    change(whole, key, lock, true)?;
    match on_host(file, whole, &lock, true) {
        Err(errno) => {
            // What the same owner had there before is lost, as a lock that is changed by flock(2) may be.
            change(whole, key, lock, false)?;
            Err(if errno == Errno::EACCES { Errno::EAGAIN } else { errno })
        }
        Ok(()) => Ok(()),
    }
}

fn take(file: &OpenFile, whole: bool, lock: Lock, waits: bool) -> Result<(), Errno> {
    let key = key(file)?;
    loop {
        let look = || match try_take(file, whole, key, lock) {
            Err(Errno::EAGAIN) if waits => Ok(None),
            result => result.map(Some),
        };
        let deadline = clock::monotonic_ns().saturating_add(PAUSE_NS);
        let queues = |awaited: &mut wait::Awaited| awaited.queues.push(Arc::clone(given_back()));
        if wait::until(Some(deadline), queues, look)?.is_some() {
            file.set_locked();
            return Ok(());
        }
    }
}

fn give_back(file: &OpenFile, whole: bool, lock: Lock) -> Result<(), Errno> {
    change(whole, key(file)?, lock, false)?;
    on_host(file, whole, &lock, false)?;
    given_back().wake();
    Ok(())
}

/// F_SETLK and its kin: takes a range, or gives it back where `held` is not set.
///
/// # Errors
/// EAGAIN: it is in the way of another lock, and `waits` is not set. EINTR.
pub(crate) fn set(file: &OpenFile, lock: Lock, held: bool, waits: bool) -> Result<(), Errno> {
    if held { take(file, false, lock, waits) } else { give_back(file, false, lock) }
}

/// F_GETLK: what is in the way.
///
/// # Errors
/// Those of stat(2).
pub(crate) fn test(file: &OpenFile, lock: Lock) -> Result<Option<Lock>, Errno> {
    let key = key(file)?;
    let found = {
        let locks = LOCKS.lock();
        let of_file = locks.ranges.get(&key);
        of_file.and_then(|locks| locks.iter().find(|other| other.conflicts(&lock)).copied())
    };
    if found.is_some() {
        return Ok(found);
    }
    let kind = if lock.exclusive { LOCK_EXCLUSIVE } else { LOCK_SHARED };
    let Some([kind, start, length, process]) =
        file.file().test_lock(lock.owner.code(), kind, lock.start, lock.length())?
    else {
        return Ok(None);
    };
    let last = if length == 0 { MAX } else { start.saturating_add(length - 1).min(MAX) };
    let other = Lock { exclusive: kind == LOCK_EXCLUSIVE, start, last, process, ..lock };
    Ok((kind != LOCK_NONE).then_some(other))
}

/// flock(2).
///
/// # Errors
/// EAGAIN: another open file has it, and `waits` is not set. EINTR.
pub(crate) fn whole(file: &OpenFile, exclusive: Option<bool>, waits: bool) -> Result<(), Errno> {
    let owner = Owner::of(file);
    let lock = Lock { owner, exclusive: exclusive == Some(true), start: 0, last: MAX, process: 0 };
    match exclusive {
        None => give_back(file, true, lock),
        Some(_) => take(file, true, lock, waits),
    }
}

/// The process that asks.
pub(crate) fn own() -> Owner {
    Owner::Process(process().id())
}

/// A descriptor of a file is closed: with it all locks go that the process has on ranges of that file.
pub(crate) fn closed(file: &OpenFile) {
    if LOCKS.lock().ranges.is_empty() {
        return;
    }
    let Ok(key) = key(file) else { return };
    let own = own();
    let has = |lock: &Lock| lock.owner == own;
    if !LOCKS.lock().ranges.get(&key).is_some_and(|locks| locks.iter().any(has)) {
        return;
    }
    let lock = Lock { owner: own, exclusive: false, start: 0, last: MAX, process: 0 };
    // A file that is gone on the host has no locks there either.
    let _ = give_back(file, false, lock);
}

/// An open file is gone, and what it held with it. The host's part goes when its handle is closed.
pub(super) fn dropped(file: &OpenFile) {
    let owner = Owner::of(file);
    let mut locks = LOCKS.lock();
    let Locks { ranges, whole } = &mut *locks;
    for table in [ranges, whole] {
        table.retain(|_, of_file| {
            of_file.retain(|lock| lock.owner != owner);
            !of_file.is_empty()
        });
    }
    drop(locks);
    given_back().wake();
}
