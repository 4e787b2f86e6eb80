//! Who waits for the kernel's events: the host thread of an idle vCPU, which has nothing else to do (leader and followers).
//!
//! A vCPU that parks sends what the enclave has written. Then the first to come waits for the kernel, and goes back into the
//! enclave with what has come; others sleep. Nobody is called to take its place: under load it is back at once, and that is
//! faster than to wake another thread. Where it stays away, because a guest thread computes, the timer sees that at its next
//! tick, moves bytes itself, and sends another idle vCPU here.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, TryLockError};

use casemate_enclave_abi::errno::Errno;
use casemate_enclave_abi::exit::NO_DEADLINE;
use casemate_enclave_abi::op::NET_ALL;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::Net;
use super::socket::{CHUNK, Lingering, Socket};
use crate::clock::monotonic_ns;
use crate::files::errno;

/// Numbers of events that are no sockets: the call, and from there on connections that were closed.
const CALL: u64 = 1 << 40;
const LINGERING: u64 = CALL + 1;

/// Events that are taken at a time.
const EVENTS: usize = 256;

/// How often, in ns, who waits for events looks for what the enclave has written meanwhile.
const LOOK: u64 = 1_000_000;

const NS_PER_S: u64 = 1_000_000_000;

/// How long an end waits for peers that take what is left for them.
const SETTLE_NS: u64 = 5 * NS_PER_S;

/// The kernel's side: epoll, with an eventfd in it.
pub(super) fn open() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let call = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    epoll::add(&epoll, &call, EventData::new_u64(CALL), EventFlags::IN)?;
    Ok((epoll, call))
}

/// Whether there is something to take from a socket now.
pub(super) fn ready_to_read(socket: &Socket) -> bool {
    let mut one = [PollFd::new(socket, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut one, Some(&now)).is_ok_and(|ready| ready > 0)
}

impl Net {
    /// Has events of a socket reported from now on: each change once.
    pub(super) fn watch(&self, socket: &Arc<Socket>, index: u64) -> Result<(), Errno> {
        if !socket.watch() {
            return Ok(());
        }
        let events = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &**socket, EventData::new_u64(index), events).map_err(errno)
    }

    /// Has no more of them reported. What was not watched is none the worse.
    pub(super) fn forget(&self, socket: &Socket) {
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Goes on sending for a connection that was closed.
    pub(super) fn linger(&self, mut closed: Lingering) {
        if closed.send() {
            return;
        }
        let number = self.next_lingering.fetch_add(1, Ordering::Relaxed).saturating_add(LINGERING);
        let mut lingering = self.lingering();
        let data = EventData::new_u64(number);
        if epoll::add(&self.epoll, &closed.fd, data, EventFlags::OUT | EventFlags::ET).is_ok() {
            lingering.insert(number, closed);
        }
    }

    /// Whether sockets matter at all.
    pub(crate) fn used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether the enclave has something to look at.
    fn news(&self) -> bool {
        self.teller.incoming.any() || self.teller.outgoing.any()
    }

    /// Sends what the enclave has written, and takes what it has made room for.
    fn flush(&self, scratch: &mut [u8]) {
        self.dirty.take(|index| {
            if let Some(socket) = self.find(index) {
                socket.pump(self.teller, index, false, scratch);
            }
        });
    }

    /// Sends what a program has written before its end: what is in its streams, and of connections that it has closed.
    pub(crate) fn settle(&self) {
        if !self.used() {
            return;
        }
        let mut scratch = vec![0; CHUNK];
        self.flush(&mut scratch);
        let deadline = monotonic_ns().saturating_add(SETTLE_NS);
        while !self.lingering().is_empty() && monotonic_ns() < deadline {
            self.wait(deadline, &mut scratch);
        }
    }

    /// Waits for events, at most until a time (CLOCK_MONOTONIC, ns), and does what they ask for.
    fn wait(&self, deadline_ns: u64, scratch: &mut [u8]) {
        let timeout = (deadline_ns != NO_DEADLINE).then(|| {
            let left = deadline_ns.saturating_sub(monotonic_ns());
            Timespec {
                tv_sec: i64::try_from(left / NS_PER_S).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(left % NS_PER_S).unwrap_or(0),
            }
        });
        let mut events = Vec::with_capacity(EVENTS);
        if epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()).is_err() {
            return;
        }
        for Event { flags, data } in events {
            match data.u64() {
                CALL => drop(rustix::io::read(&self.call, &mut [0; 8])),
                number if number > CALL => {
                    let mut lingering = self.lingering();
                    if lingering.get_mut(&number).is_none_or(Lingering::send) {
                        lingering.remove(&number);
                    }
                }
                index => {
                    if let Some(socket) = self.find(index) {
                        socket.on_event(self.teller, index, flags, scratch);
                    }
                }
            }
        }
    }

    /// What an idle vCPU does here before it sleeps. `true`: it has been here instead of asleep, and should go back into the
    /// enclave; `false`: somebody else waits for events.
    pub(crate) fn park(&self, vcpu: u64, seen: u64, deadline_ns: u64) -> bool {
        let Some(control) = usize::try_from(vcpu).ok().and_then(|vcpu| self.controls.get(vcpu)) else {
            return false;
        };
        thread_local! {
            static SCRATCH: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; CHUNK]);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            self.flush(scratch);
            if self.news() {
                return true;
            }
            let _lead = match self.lead.try_lock() {
                Ok(lead) => lead,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return false,
            };
            // SeqCst: before the look at the wake word. Who changes that word looks here afterwards.
            self.leader.store(vcpu.saturating_add(1), Ordering::SeqCst);
            control.parked.store(1, Ordering::SeqCst);
            while control.wake.load(Ordering::SeqCst) == seen && !self.news() {
                if deadline_ns != NO_DEADLINE && monotonic_ns() >= deadline_ns {
                    break;
                }
                // Another vCPU may compute for long after it has written something.
                let others = self.controls.iter().filter(|other| other.inside.load(Ordering::Relaxed) != 0);
                let look = if others.count() > 0 { monotonic_ns().saturating_add(LOOK) } else { NO_DEADLINE };
                self.wait(deadline_ns.min(look), scratch);
                self.flush(scratch);
            }
            control.parked.store(0, Ordering::SeqCst);
            self.leader.store(0, Ordering::SeqCst);
            true
        })
    }

    /// Moves the bytes of a socket now, or looks once at all that is ready: what each call does where calls are synchronous.
    ///
    /// # Errors
    /// `EBADF`: there is no such socket.
    pub(crate) fn look(&self, index: u64) -> Result<(), Errno> {
        let mut scratch = vec![0; CHUNK];
        if index != NET_ALL {
            self.get(index)?.pump(self.teller, index, false, &mut scratch);
        } else if let Ok(_lead) = self.lead.try_lock() {
            self.wait(0, &mut scratch);
        }
        Ok(())
    }

    /// Calls a vCPU away if it is the one that waits here. Its wake word was changed before.
    pub(crate) fn wake(&self, vcpu: u64) {
        if self.leader.load(Ordering::SeqCst) == vcpu.saturating_add(1) {
            // Full only where it has been called often enough.
            let _ = rustix::io::write(&self.call, &1_u64.to_ne_bytes());
        }
    }

    /// The timer's tick: moves bytes where no vCPU has come by for a while.
    pub(crate) fn tick(&self, scratch: &mut Vec<u8>) -> Tick {
        if !self.used() {
            return Tick::Quiet;
        }
        scratch.resize(CHUNK, 0);
        self.flush(scratch);
        let Ok(lead) = self.lead.try_lock() else {
            // Who waits there looks only when something comes.
            if self.news() {
                self.wake(self.leader.load(Ordering::SeqCst).wrapping_sub(1));
            }
            return Tick::Quiet;
        };
        self.wait(0, scratch);
        drop(lead);
        if self.news() { Tick::News } else { Tick::Alone }
    }
}

/// What the timer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    /// Nothing to do.
    Quiet,
    /// The enclave has something to look at, and nobody goes there with it.
    News,
    /// Nobody waits for events: an idle vCPU should.
    Alone,
}
