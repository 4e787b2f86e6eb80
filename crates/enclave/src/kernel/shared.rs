//! Memory shared with other processes, outside the enclave (`--shared-memory host`): how it is mapped, and its futexes.
//!
//! What lies there is the host's to read and to change; a program that wants it is told so once. Nothing of the kernel's own
//! does, and system calls copy from and to it as from and to other memory of the program, which other threads change
//! too.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use casemate_enclave::mm::{MapFlags, Prot, Range};
use casemate_enclave_abi::shared::{ABANDONED, OVER, SHARED, SHARED_SIZE, WAIT_WORDS_BYTES, WAITING};
use casemate_enclave_abi::start::FLAG_SHARED_MEMORY;
use casemate_enclave_abi::window::WORD;
use casemate_enclave_abi::{Offset, Op};
use spin::{Mutex, Once};

use crate::fs::mapped::Key;
use crate::host::{self, Buffer};
use crate::process::{AddressSpace, process};
use crate::sched::{self, Thread};
use crate::syscall::{Errno, Result};
use crate::{signal, user};

/// The program was told that this memory is not protected.
static WARNED: AtomicBool = AtomicBool::new(false);

/// Whether shared memory is shared.
pub(crate) fn enabled() -> bool {
    process().start.flags & FLAG_SHARED_MEMORY != 0
}

/// The program knows: its parent was told.
pub(crate) fn warned() {
    WARNED.store(true, Ordering::Relaxed);
}

/// Maps zeros that children of this process will share.
pub(crate) fn map(length: u64, prot: Prot, flags: MapFlags) -> Result {
    warn();
    map_new(&mut process().space.lock(), length, prot, flags).map(|(address, _)| address)
}

/// The segments of files in memory, by file and offset, with their lengths. Used under the address space's lock.
static FILES: Mutex<BTreeMap<(Key, u64), (u64, u64)>> = Mutex::new(BTreeMap::new());

/// Maps a part of a file in memory, to be written to; whether its bytes are there already, because it was mapped before.
pub(crate) fn map_file(
    key: Key,
    offset: u64,
    length: u64,
    flags: MapFlags,
) -> core::result::Result<(u64, bool), Errno> {
    warn();
    let mut space = process().space.lock();
    let known = FILES.lock().get(&(key, offset)).copied();
    if let Some((segment, longest)) = known
        && length <= longest
    {
        let mapped = space.map_outside(segment, length, Prot::RW, flags);
        return mapped.map(|address| (address, true)).map_err(user::errno);
    }
    let (address, segment) = map_new(&mut space, length, Prot::RW, flags)?;
    if known.is_none() {
        FILES.lock().insert((key, offset), (segment, length.next_multiple_of(4096)));
    }
    Ok((address, false))
}

/// Segments are gone, and their numbers may be given to others.
pub(crate) fn forget(segments: &[u64]) {
    if !segments.is_empty() {
        FILES.lock().retain(|_, (segment, _)| !segments.contains(segment));
    }
}

fn warn() {
    if !WARNED.swap(true, Ordering::Relaxed) {
        host::print(format_args!(
            "casemate: --shared-memory host: what this program shares between its processes is NOT PROTECTED: it lies \
             outside the enclave, where the host can read and change it"
        ));
    }
}

/// Maps a new segment: where, and its number.
fn map_new(
    space: &mut AddressSpace,
    length: u64,
    prot: Prot,
    flags: MapFlags,
) -> core::result::Result<(u64, u64), Errno> {
    let whole = length.checked_next_multiple_of(4096).filter(|length| *length <= SHARED_SIZE);
    let whole = whole.ok_or(Errno::ENOMEM)?;
    if whole == 0 {
        return Err(Errno::EINVAL);
    }
    let segment = host::call(Op::SharedCreate, [whole, 0, 0, 0, 0, 0]).map_err(|_| Errno::ENOMEM)?;
    let mapped = space.map_outside(segment, whole, prot, flags);
    mapped.map(|address| (address, segment)).map_err(|error| {
        // Only the host's own descriptor is lost where it does not.
        let _ = host::call(Op::PipeClose, [segment, 0, 0, 0, 0, 0]);
        user::errno(error)
    })
}

/// Whether a futex word may be waited for by other processes.
pub(crate) fn is_shared(address: u64) -> bool {
    (SHARED..SHARED + SHARED_SIZE).contains(&address) && enabled()
}

/// The place of a futex word that is mapped.
fn place(address: u64) -> core::result::Result<u64, Errno> {
    let range = Range::covering(address, 4).ok_or(Errno::EFAULT)?;
    if !address.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    if process().space.lock().is_outside(range) { Ok(address - SHARED) } else { Err(Errno::EFAULT) }
}

/// Wakes up to `count` waiters of any process that share a bit.
pub(crate) fn wake(address: u64, count: u32, bits: u32) -> Result {
    let count = count.min(i32::MAX.unsigned_abs());
    let args = [place(address)?, count.into(), bits.into(), 0, 0, 0];
    if bits == 0 {
        return Err(Errno::EINVAL);
    }
    host::call(Op::SharedWake, args)
}

/// Waits while the word has a value.
pub(crate) fn wait(address: u64, expected: u32, deadline: Option<u64>, bits: u32) -> Result {
    let place = place(address)?;
    if bits == 0 {
        return Err(Errno::EINVAL);
    }
    if user::with_futex_word(address, false, |word| word.load(Ordering::SeqCst))? != expected {
        return Err(Errno::EAGAIN);
    }
    let waits = WAITS.call_once(Waits::new).as_ref().ok_or(Errno::EAGAIN)?;
    let thread = sched::current();
    // Where there are too many, the program looks again as if the word had changed.
    let wait = waits.begin(Arc::clone(&thread)).ok_or(Errno::EAGAIN)?;
    let args = [place, expected.into(), bits.into(), waits.offset(wait), waits.offset(0), 0];
    if host::call(Op::SharedWait, args).is_err() {
        waits.end(wait, false);
        return Err(Errno::EAGAIN);
    }
    let errno = loop {
        let in_time = sched::park(deadline);
        if waits.value(wait) != WAITING {
            waits.end(wait, false);
            return Ok(0);
        }
        if !in_time {
            break Errno::ETIMEDOUT;
        }
        if signal::interrupts(&thread) {
            break Errno::EINTR;
        }
    };
    // A wake that came meanwhile counts.
    let abandoned = waits.abandon(wait);
    waits.end(wait, abandoned);
    if abandoned { Err(errno) } else { Ok(0) }
}

/// Looks for answers to waits: in idle vCPUs, and on the way to guest code.
pub(crate) fn look() {
    if OPEN.load(Ordering::Relaxed) > 0
        && let Some(Some(waits)) = WAITS.get()
    {
        waits.look();
    }
}

/// Waits that the host has been asked for.
struct Waits {
    words: Buffer,
    /// By the number of their word, from 1 on.
    open: Mutex<Vec<Wait>>,
    /// Answers when they were last looked at.
    seen: AtomicU64,
}

#[derive(Clone)]
enum Wait {
    Free,
    Of(Arc<Thread>),
    /// Until the host does not look at its word any more.
    Abandoned,
}

static WAITS: Once<Option<Waits>> = Once::new();

/// How many threads wait.
static OPEN: AtomicUsize = AtomicUsize::new(0);

impl Waits {
    fn new() -> Option<Self> {
        let bytes = usize::try_from(WAIT_WORDS_BYTES).ok()?;
        let words = Buffer::new(bytes).ok()?;
        words.write(&alloc::vec![0; bytes]);
        let count = usize::try_from(WAIT_WORDS_BYTES / WORD).ok()?;
        Some(Self { words, open: Mutex::new(alloc::vec![Wait::Free; count]), seen: AtomicU64::new(0) })
    }

    fn word(&self, wait: usize) -> &'static AtomicU64 {
        let words = self.words.window();
        words.word(Offset(wait as u64 * WORD)).expect("a word of the buffer")
    }

    fn offset(&self, wait: usize) -> u64 {
        self.words.offset() + wait as u64 * WORD
    }

    fn value(&self, wait: usize) -> u64 {
        self.word(wait).load(Ordering::Acquire)
    }

    fn begin(&self, thread: Arc<Thread>) -> Option<usize> {
        let mut open = self.open.lock();
        let free = |(wait, state): (usize, &Wait)| match state {
            Wait::Free => true,
            Wait::Of(_) => false,
            Wait::Abandoned => self.value(wait) == OVER,
        };
        let wait = 1 + open.iter().enumerate().skip(1).position(free)?;
        self.word(wait).store(WAITING, Ordering::Release);
        *open.get_mut(wait)? = Wait::Of(thread);
        OPEN.fetch_add(1, Ordering::SeqCst);
        Some(wait)
    }

    /// Says that nobody waits any more; `false` where it was woken before.
    fn abandon(&self, wait: usize) -> bool {
        self.word(wait).compare_exchange(WAITING, ABANDONED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn end(&self, wait: usize, abandoned: bool) {
        if let Some(state) = self.open.lock().get_mut(wait) {
            *state = if abandoned { Wait::Abandoned } else { Wait::Free };
        }
        OPEN.fetch_sub(1, Ordering::SeqCst);
    }

    fn look(&self) {
        let answers = self.value(0);
        if self.seen.swap(answers, Ordering::AcqRel) == answers {
            return;
        }
        let open = self.open.lock();
        for (wait, state) in open.iter().enumerate() {
            if let Wait::Of(thread) = state
                && self.value(wait) != WAITING
            {
                thread.unpark();
            }
        }
    }
}
