//! Memory that enclaves of a family share, and waiting for it.
//!
//! A segment is a memfd, under a handle of the family's pipes: it is passed to children and closed as those are. Futexes in it
//! are the host kernel's, on whose word the enclave does not rely: a wait that ends is a hint to look again. Each wait of an
//! enclave has a thread here, so that no vCPU is held.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use casemate_enclave_abi::AtomicU64;
use casemate_enclave_abi::errno::Errno;
use casemate_enclave_abi::shared::{ABANDONED, OVER, SHARED_SIZE, WAITING, WOKEN};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno as HostErrno;
use rustix::mm::{MprotectFlags, ProtFlags};

use crate::family::Pipes;
use crate::files::errno;
use crate::raw::futex::Word;
use crate::raw::segment::{self, Place};

/// A thread looks so often whether the enclave still waits.
const LOOK: Duration = Duration::from_millis(50);

/// How long a thread waits for another wait to do.
const IDLE: Duration = Duration::from_secs(2);

/// The most threads. The enclave is told to try again where there are so many.
const MOST: usize = 1024;

/// A wait of a guest thread.
pub(crate) struct Wait {
    futex: Word,
    value: u32,
    bits: u32,
    word: &'static AtomicU64,
    answers: &'static AtomicU64,
}

impl Wait {
    /// At a place in shared memory; the answer goes to `word`, and is counted in `answers`.
    pub(crate) fn new(
        place: u64,
        value: u64,
        bits: u64,
        word: &'static AtomicU64,
        answers: &'static AtomicU64,
    ) -> Result<Self, Errno> {
        let small = |word: u64| u32::try_from(word).map_err(|_| Errno::EINVAL);
        let futex = Word::new(place).ok_or(Errno::EINVAL)?;
        Ok(Self { futex, value: small(value)?, bits: small(bits)?, word, answers })
    }

    /// Waits, and says so.
    fn run(&self) {
        let woken = loop {
            match self.futex.wait(self.value, self.bits, LOOK) {
                Err(HostErrno::TIMEDOUT | HostErrno::INTR) => {}
                result => break result.is_ok(),
            }
            if self.word.load(Ordering::Acquire) != WAITING {
                break false;
            }
        };
        let answered = self.word.compare_exchange(WAITING, WOKEN, Ordering::AcqRel, Ordering::Acquire);
        if answered == Err(ABANDONED) {
            if woken {
                // Meant for somebody who waits; the next one then.
                let _ = self.futex.wake(1, self.bits);
            }
            self.word.store(OVER, Ordering::Release);
        }
        self.answers.fetch_add(1, Ordering::AcqRel);
    }
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Waits {
    queue: VecDeque<Job>,
    /// Threads, and those of them that have nothing to do.
    threads: usize,
    idle: usize,
}

#[derive(Default)]
struct Pool {
    waits: Mutex<Waits>,
    called: Condvar,
}

impl Pool {
    /// What a thread does.
    fn work(&self) {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = waits.queue.pop_front() {
                drop(waits);
                job();
                waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            waits.idle = waits.idle.saturating_add(1);
            let (back, slept) = self.called.wait_timeout(waits, IDLE).unwrap_or_else(PoisonError::into_inner);
            waits = back;
            waits.idle = waits.idle.saturating_sub(1);
            if slept.timed_out() && waits.queue.is_empty() {
                waits.threads = waits.threads.saturating_sub(1);
                return;
            }
        }
    }
}

/// This process's part of the shared memory.
pub(crate) struct Shared {
    enabled: bool,
    pool: Arc<Pool>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("enabled", &self.enabled).finish_non_exhaustive()
    }
}

impl Shared {
    /// Keeps its addresses free, if it is wanted.
    ///
    /// # Errors
    /// Something is there.
    pub(crate) fn new(enabled: bool) -> rustix::io::Result<Self> {
        if enabled {
            segment::reserve()?;
        }
        Ok(Self { enabled, pool: Arc::default() })
    }

    fn place(&self, (place, length): (u64, u64)) -> Result<Place, Errno> {
        if !self.enabled {
            return Err(Errno::ENOSYS);
        }
        Place::new(place, length).ok_or(Errno::EINVAL)
    }

    /// Makes a segment; its handle.
    pub(crate) fn create(&self, handles: &Pipes, length: u64) -> Result<u64, Errno> {
        if !self.enabled {
            return Err(Errno::ENOSYS);
        }
        if length == 0 || length > SHARED_SIZE {
            return Err(Errno::EINVAL);
        }
        let segment = memfd_create("casemate shared", MemfdFlags::CLOEXEC).map_err(errno)?;
        ftruncate(&segment, length).map_err(errno)?;
        handles.add(segment)
    }

    /// Maps a part of a segment.
    pub(crate) fn map(
        &self,
        handles: &Pipes,
        handle: u64,
        offset: u64,
        place: (u64, u64),
        prot: u64,
    ) -> Result<(), Errno> {
        let place = self.place(place)?;
        let prot = u32::try_from(prot).ok().and_then(ProtFlags::from_bits).ok_or(Errno::EINVAL)?;
        segment::map(place, &*handles.get(handle)?, offset, prot).map_err(errno)
    }

    /// Takes mappings away.
    pub(crate) fn unmap(&self, place: (u64, u64)) -> Result<(), Errno> {
        segment::unmap(self.place(place)?).map_err(errno)
    }

    /// Changes what may be done there.
    pub(crate) fn protect(&self, place: (u64, u64), prot: u64) -> Result<(), Errno> {
        let prot = u32::try_from(prot).ok().and_then(MprotectFlags::from_bits).ok_or(Errno::EINVAL)?;
        segment::protect(self.place(place)?, prot).map_err(errno)
    }

    /// Has a thread wait. `tell` says to the enclave that it is over.
    pub(crate) fn wait(&self, wait: Wait, tell: impl FnOnce() + Send + 'static) -> Result<(), Errno> {
        if !self.enabled {
            return Err(Errno::ENOSYS);
        }
        let mut waits = self.pool.waits.lock().unwrap_or_else(PoisonError::into_inner);
        if waits.queue.len() >= waits.idle {
            if waits.threads >= MOST {
                return Err(Errno::EAGAIN);
            }
            let pool = Arc::clone(&self.pool);
            let started = std::thread::Builder::new().name("shared".into()).spawn(move || pool.work());
            started.map_err(|_| Errno::ENOMEM)?;
            waits.threads = waits.threads.saturating_add(1);
        }
        waits.queue.push_back(Box::new(move || {
            wait.run();
            tell();
        }));
        self.pool.called.notify_one();
        Ok(())
    }

    /// Wakes who waits at a word, in any process.
    pub(crate) fn wake(&self, place: u64, count: u64, bits: u64) -> Result<u64, Errno> {
        if !self.enabled {
            return Err(Errno::ENOSYS);
        }
        let small = |word: u64| u32::try_from(word).map_err(|_| Errno::EINVAL);
        Word::new(place).ok_or(Errno::EINVAL)?.wake(small(count)?, small(bits)?).map_err(errno)
    }
}
