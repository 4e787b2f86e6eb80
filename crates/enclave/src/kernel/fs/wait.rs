//! Blocking until something is ready.
//!
//! What happens inside the enclave is waited for in [`WaitQueue`]s. Of the console only the host knows: where it is waited
//! for, the host is asked again and again. While the program has one thread that is a host call that sleeps; with more
//! threads, which must run meanwhile, the waiting thread sleeps in the enclave between short questions.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use casemate_enclave::vfs::flags::poll;
use casemate_enclave_abi::op::{MAX_POLLED, POLL_STDERR, POLL_STDIN, POLL_STDOUT};
use casemate_enclave_abi::{Errno, Op};
use spin::Mutex;

use super::file::File;
use crate::family::news;
use crate::host::Buffer;
use crate::process::process;
use crate::sched::{self, Thread};
use crate::{clock, host, net, signal};

/// The longest sleep of the only thread in the host before it looks for signals and its deadline again.
const LONG_NS: u64 = 100_000_000;

/// First and longest time between questions of one thread among others.
const SHORT_NS: u64 = 200_000;
const SHORT_MAX_NS: u64 = 10_000_000;

/// Is told of changes.
pub(crate) trait Watcher: Send + Sync {
    /// Something has changed that these `POLL` bits tell of.
    fn changed(&self, events: u32);
}

/// Threads that wait for a change of something, and who else is told of it.
#[derive(Default)]
pub(crate) struct WaitQueue {
    waiters: Mutex<Vec<Arc<Thread>>>,
    watchers: Mutex<Vec<Weak<dyn Watcher>>>,
    changes: AtomicU64,
}

impl WaitQueue {
    /// Says that something has changed: everybody who waits looks again.
    pub(crate) fn wake(&self) {
        self.wake_for(u32::MAX);
    }

    /// Says that something has changed that these `POLL` bits tell of.
    pub(crate) fn wake_for(&self, events: u32) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.watchers
            .lock()
            .retain(|watcher| watcher.upgrade().inspect(|watcher| watcher.changed(events)).is_some());
        let waiters = self.waiters.lock().clone();
        for thread in waiters {
            thread.unpark();
        }
    }

    /// Tells `watcher` of changes, as long as it is there.
    pub(crate) fn watch(&self, watcher: Weak<dyn Watcher>) {
        let mut watchers = self.watchers.lock();
        // Those that are gone are found at the next change; where none comes, here.
        if watchers.len() >= 8 && watchers.len().is_power_of_two() {
            watchers.retain(|watcher| watcher.strong_count() > 0);
        }
        watchers.push(watcher);
    }

    /// How often something has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn enter(&self, thread: &Arc<Thread>) {
        self.waiters.lock().push(Arc::clone(thread));
    }

    fn leave(&self, thread: &Arc<Thread>) {
        let mut waiters = self.waiters.lock();
        if let Some(index) = waiters.iter().position(|waiter| Arc::ptr_eq(waiter, thread)) {
            waiters.swap_remove(index);
        }
    }
}

/// What to wait for: filled in before each look, as it may change.
#[derive(Default)]
pub(crate) struct Awaited {
    /// What is woken at a change.
    pub(crate) queues: Vec<Arc<WaitQueue>>,
    /// Streams of the console ([`casemate_enclave_abi::op::POLL_STDIN`] and so on).
    pub(crate) streams: u64,
    /// Pipes of the host's, by handle, with `POLL` bits.
    pub(crate) pipes: Vec<(u64, u64)>,
}

/// Waits outside until a stream, a pipe or a signal for the program is there; gives streams and pipes that are ready.
///
/// # Errors
/// Those of poll(2).
pub(crate) fn outside_ready(
    streams: u64,
    pipes: &[(u64, u64)],
    timeout_ns: u64,
) -> Result<(u64, Vec<u64>), Errno> {
    let pipes = &pipes[..pipes.len().min(usize::try_from(MAX_POLLED).unwrap_or(0))];
    let records = Buffer::new(pipes.len().max(1) * 16)?;
    let mut bytes: Vec<u8> = Vec::with_capacity(pipes.len() * 16);
    for (handle, events) in pipes {
        bytes.extend_from_slice(&handle.to_le_bytes());
        bytes.extend_from_slice(&events.to_le_bytes());
    }
    records.write(&bytes);
    let args = [records.offset(), pipes.len() as u64, streams, timeout_ns, 0, 0];
    let ready = match host::call(Op::PollPipes, args) {
        Err(Errno::EINTR) => 0,
        result => result?,
    };
    records.read(&mut bytes);
    let found = bytes.as_chunks::<16>().0.iter().map(|record| {
        let [.., a, b, c, d, e, f, g, h] = *record;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    });
    Ok((ready, found.collect()))
}

/// Asks the host which streams of the console are ready.
pub(crate) fn console_ready(streams: u64, timeout_ns: u64) -> Result<u64, Errno> {
    match host::call(Op::ConsolePoll, [streams, timeout_ns, 0, 0, 0, 0]) {
        Err(Errno::EINTR) => Ok(0),
        result => result,
    }
}

/// The streams of the console to ask for when a file is waited for with these `POLL` events. Only those that the events
/// name: standard output is nearly always ready, and waiting for it would not be waiting.
pub(crate) fn streams_for(file: &dyn File, events: u32) -> u64 {
    let mut streams = 0;
    if events & (poll::IN | poll::RDNORM) != 0 {
        streams |= POLL_STDIN;
    }
    if events & (poll::OUT | poll::WRNORM) != 0 {
        streams |= POLL_STDOUT | POLL_STDERR;
    }
    streams & file.console_streams()
}

/// Looks with `look` until it finds something; before each look that may be followed by sleep, `await_what` says what can
/// change the answer. `None` where the monotonic clock shows `deadline` before.
///
/// # Errors
/// EINTR: a signal came. Those of `look`.
pub(crate) fn until<T>(
    deadline: Option<u64>,
    mut await_what: impl FnMut(&mut Awaited),
    mut look: impl FnMut() -> Result<Option<T>, Errno>,
) -> Result<Option<T>, Errno> {
    if let Some(found) = look()? {
        return Ok(Some(found));
    }
    let thread = sched::current();
    let mut pause = SHORT_NS;
    loop {
        let mut awaited = Awaited::default();
        await_what(&mut awaited);
        for queue in &awaited.queues {
            queue.enter(&thread);
        }
        let step = step(&thread, deadline, &awaited, &mut pause, &mut look);
        for queue in &awaited.queues {
            queue.leave(&thread);
        }
        match step? {
            Step::Found(found) => return Ok(Some(found)),
            Step::TimeOver => return Ok(None),
            Step::Again => {}
        }
    }
}

/// Does something to a file with `attempt`, which gives `None` while that cannot be done; waits until it can, unless
/// `nonblock`.
///
/// # Errors
/// EAGAIN: it cannot be done, and it shall not wait. EINTR. Those of `attempt`.
pub(crate) fn blocking<T>(
    file: &dyn File,
    nonblock: bool,
    mut attempt: impl FnMut() -> Result<Option<T>, Errno>,
) -> Result<T, Errno> {
    let look = || match attempt()? {
        None if nonblock => Err(Errno::EAGAIN),
        done => Ok(done),
    };
    // Without a deadline it ends with something, or an error.
    until(None, |awaited| file.queues(&mut awaited.queues), look)?.ok_or(Errno::EAGAIN)
}

enum Step<T> {
    Found(T),
    TimeOver,
    Again,
}

fn step<T>(
    thread: &Arc<Thread>,
    deadline: Option<u64>,
    awaited: &Awaited,
    pause: &mut u64,
    look: &mut impl FnMut() -> Result<Option<T>, Errno>,
) -> Result<Step<T>, Errno> {
    // Once more, now that whoever changes something knows of this thread.
    if let Some(found) = look()? {
        return Ok(Step::Found(found));
    }
    if signal::interrupts(thread) {
        return Err(Errno::EINTR);
    }
    let now = clock::monotonic_ns();
    if deadline.is_some_and(|deadline| deadline <= now) {
        return Ok(Step::TimeOver);
    }
    let left = deadline.map_or(u64::MAX, |deadline| deadline - now);
    if awaited.streams == 0 && awaited.pipes.is_empty() {
        sched::park(deadline);
    } else if process().threads.lock().len() == 1 && !net::used() {
        outside_ready(awaited.streams, &awaited.pipes, left.min(LONG_NS))?;
        news::look();
    } else {
        let wake = now.saturating_add(left.min(*pause));
        *pause = (*pause * 2).min(SHORT_MAX_NS);
        sched::park(Some(wake));
    }
    Ok(Step::Again)
}
