//! A socket of the host's kernel, and the streams that it is joined to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use casemate_enclave_abi::errno::Errno;
use casemate_enclave_abi::net::{CAPACITY, CONNECTED, CONNECTING, Marks, Slot, Sockets};
use casemate_enclave_abi::{StreamError, StreamReader, StreamWriter};
use rustix::event::epoll::EventFlags;

use crate::files::errno;
use crate::raw::socket;

/// Bytes that are moved at a time: a ring full.
pub(super) const CHUNK: usize = 32_768;
const _: () = assert!(CHUNK as u64 == CAPACITY);

/// A socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    role: Role,
    /// Whether the reactor watches it.
    watched: bool,
}

#[derive(Debug)]
enum Role {
    /// New, or bound.
    Idle,
    /// Connections or datagrams come: the enclave is told, and takes them by calls.
    Told,
    Connecting(Box<Ends>),
    Stream(Box<Ends>),
}

/// The host's ends of a connection.
#[derive(Debug)]
struct Ends {
    receive: StreamWriter<'static>,
    send: StreamReader<'static>,
    /// Taken from the stream and not yet sent.
    rest: Vec<u8>,
    /// The kernel has said that the end is there, and says so once.
    ended: bool,
    /// The peer has ended, or it failed: no more is read.
    received_all: bool,
    /// The enclave has ended, or it failed: no more is sent.
    sent_all: bool,
}

/// What sockets need to tell the enclave something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Teller {
    pub(super) sockets: Sockets<'static>,
    pub(super) incoming: Marks<'static>,
    pub(super) outgoing: Marks<'static>,
}

impl Ends {
    fn new(sockets: Sockets<'static>, index: u64) -> Option<Self> {
        Some(Self {
            receive: StreamWriter::new(sockets.receive(index)?, CAPACITY)?,
            send: StreamReader::new(sockets.send(index)?, CAPACITY)?,
            rest: Vec::new(),
            ended: false,
            received_all: false,
            sent_all: false,
        })
    }

    /// Sends what the enclave has written, as much as the kernel takes. Whether something was sent.
    fn drain(&mut self, fd: &OwnedFd, scratch: &mut [u8]) -> bool {
        let mut moved = false;
        while !self.sent_all {
            if !self.rest.is_empty() {
                match socket::send(fd, &self.rest) {
                    Ok(sent) => {
                        self.rest.drain(..sent);
                        moved = true;
                        if !self.rest.is_empty() {
                            return moved;
                        }
                    }
                    Err(error) => return self.not_sent(error) || moved,
                }
                continue;
            }
            match self.send.read(scratch) {
                Ok(0) | Err(StreamError::Failed(_) | StreamError::Closed | StreamError::Corrupt) => {
                    self.sent_all = true;
                    // The peer may be gone already.
                    let _ = socket::shutdown(fd, libc::SHUT_WR);
                }
                Err(StreamError::WouldBlock) => return moved,
                Ok(length) => {
                    let bytes = scratch.get(..length).unwrap_or_default();
                    match socket::send(fd, bytes) {
                        Ok(sent) => {
                            moved = true;
                            self.rest.extend_from_slice(bytes.get(sent..).unwrap_or_default());
                            if sent < length {
                                return true;
                            }
                        }
                        Err(error) => {
                            self.rest.extend_from_slice(bytes);
                            return self.not_sent(error) || moved;
                        }
                    }
                }
            }
        }
        moved
    }

    /// Whether sending has come to its end.
    fn not_sent(&mut self, error: rustix::io::Errno) -> bool {
        use rustix::io::Errno as E;
        if matches!(error, E::AGAIN | E::INTR | E::NOBUFS) {
            return false;
        }
        self.sent_all = true;
        self.rest = Vec::new();
        self.send.fail(errno(error));
        true
    }

    /// Gives the enclave what has come, as much as there is room for. Whether something was given.
    fn fill(&mut self, fd: &OwnedFd, slot: Slot<'_>, scratch: &mut [u8]) -> bool {
        let mut moved = false;
        while !self.received_all {
            let room = match self.receive.writable() {
                Ok(0) => {
                    // SeqCst: before the second look. The enclave looks here after it has read.
                    if slot.want_read.swap(1, Ordering::SeqCst) == 0 {
                        continue;
                    }
                    return moved;
                }
                Ok(room) => usize::try_from(room).unwrap_or(CHUNK).min(scratch.len()),
                Err(_) => {
                    // The enclave wants no more.
                    self.received_all = true;
                    break;
                }
            };
            slot.want_read.store(0, Ordering::Relaxed);
            let Some(buffer) = scratch.get_mut(..room) else { return moved };
            match socket::receive(fd, buffer) {
                Ok(0) => {
                    self.received_all = true;
                    self.receive.finish();
                    moved = true;
                }
                Ok(got) => {
                    moved = true;
                    if self.receive.write(buffer.get(..got).unwrap_or_default()).is_err() {
                        self.received_all = true;
                    }
                    // There was no more; what comes later is an event of its own.
                    if got < room && !self.ended {
                        return moved;
                    }
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return moved,
                Err(error) => {
                    self.received_all = true;
                    self.receive.fail(errno(error));
                    moved = true;
                }
            }
        }
        moved
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd, state: Mutex::new(State { role: Role::Idle, watched: false }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is watched from now on and was not before.
    pub(super) fn watch(&self) -> bool {
        !std::mem::replace(&mut self.state().watched, true)
    }

    /// From now on the enclave is told when something comes.
    pub(super) fn tell(&self) {
        self.state().role = Role::Told;
    }

    /// Joins it to new streams: it is connected, or will be.
    pub(super) fn join(&self, teller: Teller, index: u64, connected: bool) -> Result<(), Errno> {
        let slot = teller.sockets.slot(index).ok_or(Errno::EBADF)?;
        let ends = Ends::new(teller.sockets, index).ok_or(Errno::EIO)?;
        for word in [slot.want_room, slot.want_read] {
            word.store(0, Ordering::Relaxed);
        }
        slot.connection.store(if connected { CONNECTED } else { CONNECTING }, Ordering::Release);
        self.state().role =
            if connected { Role::Stream(Box::new(ends)) } else { Role::Connecting(Box::new(ends)) };
        Ok(())
    }

    /// Takes the streams away: connecting it has failed.
    pub(super) fn part(&self) {
        self.state().role = Role::Idle;
    }

    /// The kernel says that something has happened to it.
    pub(super) fn on_event(&self, teller: Teller, index: u64, events: EventFlags, scratch: &mut [u8]) {
        let gone = EventFlags::ERR | EventFlags::HUP;
        let Some(slot) = teller.sockets.slot(index) else { return };
        let mut state = self.state();
        match &mut state.role {
            Role::Idle => {}
            Role::Told => {
                if events.intersects(EventFlags::IN | EventFlags::RDHUP | gone) {
                    slot.incoming.fetch_add(1, Ordering::AcqRel);
                    teller.incoming.set(index);
                }
                if events.intersects(EventFlags::OUT | gone) {
                    slot.outgoing.fetch_add(1, Ordering::AcqRel);
                    teller.outgoing.set(index);
                }
            }
            Role::Connecting(_) => {
                if !events.intersects(EventFlags::OUT | gone) {
                    return;
                }
                let error = rustix::net::sockopt::socket_error(&self.fd);
                let error = error.and_then(|error| error).err().map(errno);
                let outcome = error.map_or(CONNECTED, |error| CONNECTED.saturating_add(error.get().into()));
                let before = std::mem::replace(&mut state.role, Role::Idle);
                if error.is_none()
                    && let Role::Connecting(ends) = before
                {
                    state.role = Role::Stream(ends);
                }
                slot.connection.store(outcome, Ordering::Release);
                teller.incoming.set(index);
                teller.outgoing.set(index);
                drop(state);
                self.pump(teller, index, true, scratch);
            }
            Role::Stream(_) => {
                drop(state);
                let ended = events.intersects(EventFlags::RDHUP | gone);
                self.pump(teller, index, ended, scratch);
            }
        }
    }

    /// Moves bytes in both directions.
    pub(super) fn pump(&self, teller: Teller, index: u64, ended: bool, scratch: &mut [u8]) {
        let Some(slot) = teller.sockets.slot(index) else { return };
        let mut state = self.state();
        let Role::Stream(ends) = &mut state.role else { return };
        let ended_before = ends.sent_all;
        let wanted = ends.drain(&self.fd, scratch) && slot.want_room.swap(0, Ordering::SeqCst) != 0;
        if wanted || ends.sent_all != ended_before {
            teller.outgoing.set(index);
        }
        ends.ended |= ended;
        // Before that, it may be another process's to read.
        if slot.asked.load(Ordering::SeqCst) != 0 && ends.fill(&self.fd, slot, scratch) {
            teller.incoming.set(index);
        }
    }

    /// The enclave is done with it, and its number. What is left to be sent, for [`Lingering`].
    pub(super) fn close(&self, reset: bool, scratch: &mut [u8]) -> Vec<u8> {
        let mut state = self.state();
        let role = std::mem::replace(&mut state.role, Role::Idle);
        let Role::Stream(mut ends) = role else { return Vec::new() };
        if reset {
            // As Linux does where something was not read.
            let now = [1_i32.to_ne_bytes(), 0_i32.to_ne_bytes()].concat();
            let _ = socket::set_option(&self.fd, libc::SOL_SOCKET, libc::SO_LINGER, &now);
            return Vec::new();
        }
        ends.drain(&self.fd, scratch);
        let mut rest = ends.rest;
        while !ends.sent_all {
            match ends.send.read(scratch) {
                Ok(length) if length > 0 => rest.extend_from_slice(scratch.get(..length).unwrap_or_default()),
                _ => break,
            }
        }
        rest
    }
}

/// A connection that the enclave has closed, with bytes that were not sent yet.
#[derive(Debug)]
pub(super) struct Lingering {
    pub(super) fd: OwnedFd,
    pub(super) rest: Vec<u8>,
}

impl Lingering {
    /// Sends more of it. Whether it is done.
    pub(super) fn send(&mut self) -> bool {
        while !self.rest.is_empty() {
            match socket::send(&self.fd, &self.rest) {
                Ok(sent) => drop(self.rest.drain(..sent)),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return false,
                Err(_) => return true,
            }
        }
        true
    }
}
