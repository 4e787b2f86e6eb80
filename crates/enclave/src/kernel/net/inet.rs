//! Sockets of IPv4 and IPv6. The host holds them; bytes of connections go through streams.

mod carry;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use casemate_enclave::vfs::flags::{mode, poll};
use casemate_enclave_abi::net::{CAPACITY, CONNECTED, CONNECTING, MESSAGE_BYTES, Message, Slot};
use casemate_enclave_abi::{Errno, Op, Stat, StatFs, StreamError, StreamReader, StreamWriter};
use spin::Mutex;

use super::options::{Facts, Options};
use super::{AF_INET, AF_INET6, DATAGRAM, Number, STREAM, look_outside, mark, net};
use crate::fs::wait::{self, WaitQueue};
use crate::fs::{Accepted, Carried, File, OpenFile, Received, Sink, Socket, Source, Transfer, devices};
use crate::host::{self, Buffer};
use crate::stats::{STATS, add};
use crate::{signal, user};

pub(crate) use carry::{Shared, take};

/// Bytes of room from which on a connection counts as ready to be written to.
const WRITABLE: u64 = CAPACITY / 3;

/// The longest datagram of IP.
const MAX_DATAGRAM: usize = 65_535;

/// The longest value of an option.
const MAX_OPTION: usize = 1024;

/// Requests of ioctl(2): bytes to read, bytes not sent yet, whether the urgent mark is here.
const FIONREAD: u32 = 0x541b;
const SIOCOUTQ: u32 = 0x5411;
const SIOCATMARK: u32 = 0x8905;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Listening,
    Connecting,
    /// [`Phase::Connecting`] that came to a good end, of which connect(2) has not told yet.
    JustConnected,
    Connected,
}

/// The enclave's ends of a connection.
struct Ends {
    reader: Mutex<StreamReader<'static>>,
    writer: Mutex<StreamWriter<'static>>,
    read_shut: AtomicBool,
    write_shut: AtomicBool,
}

/// A socket.
struct Inet {
    number: Number,
    index: u64,
    slot: Slot<'static>,
    queue: Arc<WaitQueue>,
    family: u16,
    kind: u32,
    protocol: u32,
    phase: Mutex<Phase>,
    ends: Mutex<Option<Arc<Ends>>>,
    options: Options,
    /// The error that SO_ERROR or the next call tells.
    error: AtomicU32,
    /// The error of the streams has been told.
    told: AtomicBool,
    /// The host's counters when there was nothing (more).
    incoming_seen: AtomicU64,
    outgoing_seen: AtomicU64,
    /// A datagram did not go out.
    full: AtomicBool,
    /// The host takes what comes from the kernel: the program has asked for it.
    asked: AtomicBool,
    /// Another process has it, too, or had.
    shared: AtomicBool,
}

/// A new socket; EPROTONOSUPPORT and its like for what there is not.
pub(crate) fn open(family: u16, kind: u32, protocol: u32) -> Result<Arc<dyn File>, Errno> {
    let mut number = Number::new()?;
    let arguments = [number.number, family.into(), kind.into(), protocol.into(), 0, 0];
    host::call(Op::NetSocket, arguments)?;
    number.held = true;
    // IPPROTO_TCP, IPPROTO_UDP
    let protocol = match (protocol, kind) {
        (0, STREAM) => 6,
        (0, DATAGRAM) => 17,
        _ => protocol,
    };
    Ok(Arc::new(Inet::new(number, (family, kind, protocol), Phase::Idle, None)))
}

impl Ends {
    /// Takes the enclave's ends of a socket's streams, before the host takes its.
    fn new(index: u64) -> Result<Arc<Self>, Errno> {
        let sockets = net()?.sockets;
        sockets.slot(index).ok_or(Errno::EIO)?.asked.store(0, Ordering::SeqCst);
        let ends = || {
            Some(Self {
                reader: Mutex::new(StreamReader::new(sockets.receive(index)?, CAPACITY)?),
                writer: Mutex::new(StreamWriter::new(sockets.send(index)?, CAPACITY)?),
                read_shut: AtomicBool::new(false),
                write_shut: AtomicBool::new(false),
            })
        };
        ends().map(Arc::new).ok_or(Errno::EIO)
    }
}

fn errno(number: u32) -> Option<Errno> {
    u16::try_from(number).ok().and_then(Errno::new)
}

impl Inet {
    fn new(
        number: Number,
        (family, kind, protocol): (u16, u32, u32),
        phase: Phase,
        ends: Option<Arc<Ends>>,
    ) -> Self {
        let slot = number.slot;
        Self {
            index: number.number,
            slot,
            queue: Arc::clone(&number.queue),
            number,
            family,
            kind,
            protocol,
            phase: Mutex::new(phase),
            ends: Mutex::new(ends),
            options: Options::default(),
            error: AtomicU32::new(0),
            told: AtomicBool::new(false),
            incoming_seen: AtomicU64::new(slot.incoming.load(Ordering::Acquire)),
            outgoing_seen: AtomicU64::new(slot.outgoing.load(Ordering::Acquire)),
            full: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            shared: AtomicBool::new(false),
        }
    }

    /// Has the host take what comes from the kernel. Not before somebody wants it: a process that has the same connection may
    /// be the one to read it.
    fn ask(&self) {
        if !self.asked.swap(true, Ordering::AcqRel) {
            self.slot.asked.store(1, Ordering::SeqCst);
            self.mark();
        }
    }

    /// Has the host look at its streams the next time that it looks at any.
    fn mark(&self) {
        mark(self.index);
    }

    fn call(&self, op: Op, [b, c, d, e]: [u64; 4]) -> Result<u64, Errno> {
        host::call(op, [self.index, b, c, d, e, 0])
    }

    /// Makes a call with bytes for the host.
    fn call_with(&self, op: Op, bytes: &[u8]) -> Result<u64, Errno> {
        let buffer = Buffer::with(bytes)?;
        self.call(op, [buffer.offset(), bytes.len() as u64, 0, 0])
    }

    fn names(&self) -> String {
        alloc::format!("socket:[{}]", self.index + 1_000_000)
    }

    fn connection(&self) -> Option<Arc<Ends>> {
        self.ends.lock().clone()
    }

    /// How a connection that was begun stands now.
    fn phase(&self) -> Phase {
        let mut phase = self.phase.lock();
        if *phase == Phase::Connecting {
            match self.slot.connection.load(Ordering::Acquire) {
                CONNECTING => {}
                CONNECTED => *phase = Phase::JustConnected,
                failed => {
                    let number = u16::try_from(failed - CONNECTED).ok().and_then(Errno::new);
                    let errno = number.unwrap_or(Errno::EIO);
                    self.error.store(errno.get().into(), Ordering::Release);
                    *phase = Phase::Idle;
                    *self.ends.lock() = None;
                }
            }
        }
        *phase
    }

    /// Takes the error that is to be told.
    fn take_error(&self) -> Option<Errno> {
        self.phase();
        let own = errno(self.error.swap(0, Ordering::AcqRel));
        own.or_else(|| {
            let ends = self.connection()?;
            let failed = |error| if let StreamError::Failed(errno) = error { Some(errno) } else { None };
            let read = ends.reader.lock().readable().err().and_then(failed);
            let error = read.or_else(|| ends.writer.lock().writable().err().and_then(failed))?;
            (!self.told.swap(true, Ordering::AcqRel)).then_some(error)
        })
    }

    /// What the failure of a stream is to a program: told once.
    fn failure(&self, error: StreamError) -> Option<Errno> {
        match error {
            StreamError::Failed(errno) if !self.told.swap(true, Ordering::AcqRel) => Some(errno),
            StreamError::Corrupt => Some(Errno::EIO),
            _ => None,
        }
    }

    fn await_queue(&self) -> impl FnMut(&mut wait::Awaited) + use<> {
        let queue = Arc::clone(&self.queue);
        move |awaited| awaited.queues.push(Arc::clone(&queue))
    }

    /// Reads a part of a connection; `None`: nothing yet.
    fn take(&self, ends: &Ends, to: &mut Sink<'_>, at: usize, how: Transfer) -> Result<Option<usize>, Errno> {
        look_outside(self.index);
        let mut reader = ends.reader.lock();
        let ready = match reader.readable() {
            Ok(0) if ends.read_shut.load(Ordering::Acquire) => return Ok(Some(0)),
            Ok(0) => {
                self.ask();
                return Ok(None);
            }
            Ok(ready) => ready,
            Err(error) => return self.failure(error).map_or(Ok(Some(0)), Err),
        };
        let count = usize::try_from(ready).unwrap_or(usize::MAX).min(to.len() - at);
        let moved = if how.truncate {
            // Thrown away.
            reader.read(&mut alloc::vec![0; count])
        } else if how.peek {
            to.with(at, count, |bytes| reader.peek(bytes))?
        } else {
            to.with(at, count, |bytes| reader.read(bytes))?
        };
        drop(reader);
        let count = moved.map_err(|_| Errno::EIO)?;
        if !how.peek {
            add(&STATS.stream_in, count as u64);
            // Between what was read and the look: the host does the same in the other order.
            fence(Ordering::SeqCst);
            if self.slot.want_read.load(Ordering::Relaxed) != 0 {
                self.mark();
            }
        }
        Ok(Some(count))
    }

    fn receive_stream(&self, to: &mut Sink<'_>, how: Transfer) -> Result<Received, Errno> {
        match self.phase() {
            Phase::Connected | Phase::JustConnected => {}
            Phase::Connecting if how.nonblock => return Err(Errno::EAGAIN),
            Phase::Connecting => self.wait_connected()?,
            Phase::Idle | Phase::Listening => return Err(self.take_error().unwrap_or(Errno::ENOTCONN)),
        }
        let ends = self.connection().ok_or(Errno::ENOTCONN)?;
        let deadline = self.options.receive_deadline();
        let mut done = 0;
        while to.len() > 0 {
            let look = || match self.take(&ends, to, done, how)? {
                None if how.nonblock => Err(Errno::EAGAIN),
                found => Ok(found),
            };
            match wait::until(deadline, self.await_queue(), look) {
                Ok(Some(count)) => {
                    done += count;
                    if count == 0 || !how.wait_all || how.peek || done == to.len() {
                        break;
                    }
                }
                Ok(None) if done == 0 => return Err(Errno::EAGAIN),
                Err(errno) if done == 0 => return Err(errno),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(Received { count: done, length: done, ..Received::default() })
    }

    /// Writes a part to a connection; `None`: no room yet.
    fn put(&self, ends: &Ends, from: &Source<'_>, at: usize) -> Result<Option<usize>, Errno> {
        if ends.write_shut.load(Ordering::Acquire) {
            return Err(Errno::EPIPE);
        }
        let mut writer = ends.writer.lock();
        let broken = |error| self.failure(error).unwrap_or(Errno::EPIPE);
        let mut room = writer.writable().map_err(broken)?;
        if room == 0 {
            self.want_room();
            room = writer.writable().map_err(broken)?;
            if room == 0 {
                return Ok(None);
            }
        }
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(from.len() - at);
        let moved = from.with(at, count, |bytes| writer.write(bytes))?.map_err(broken)?;
        drop(writer);
        self.mark();
        look_outside(self.index);
        add(&STATS.stream_out, moved as u64);
        Ok(Some(moved))
    }

    /// Has the host tell of room. Room must be looked for again afterwards.
    fn want_room(&self) {
        self.slot.want_room.swap(1, Ordering::SeqCst);
        self.mark();
    }

    fn send_stream(&self, from: &Source<'_>, how: Transfer) -> Result<usize, Errno> {
        match self.phase() {
            Phase::Connected | Phase::JustConnected => {}
            Phase::Connecting if how.nonblock => return Err(Errno::EAGAIN),
            Phase::Connecting => self.wait_connected()?,
            Phase::Idle | Phase::Listening => return Err(self.take_error().unwrap_or(Errno::EPIPE)),
        }
        let ends = self.connection().ok_or(Errno::ENOTCONN)?;
        let deadline = self.options.send_deadline();
        let mut done = 0;
        while done < from.len() {
            let look = || match self.put(&ends, from, done)? {
                None if how.nonblock => Err(Errno::EAGAIN),
                found => Ok(found),
            };
            match wait::until(deadline, self.await_queue(), look) {
                Ok(Some(count)) => done += count,
                Ok(None) if done == 0 => return Err(Errno::EAGAIN),
                Err(errno) if done == 0 => return Err(errno),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Waits until a connection that was begun has come to an end, good or bad.
    fn wait_connected(&self) -> Result<(), Errno> {
        let look = || Ok((self.phase() != Phase::Connecting).then_some(()));
        if wait::until(self.options.send_deadline(), self.await_queue(), look)?.is_none() {
            return Err(Errno::EINPROGRESS);
        }
        match self.take_error() {
            Some(errno) if self.phase() == Phase::Idle => Err(errno),
            _ => Ok(()),
        }
    }

    /// Takes a datagram; `None`: there is none.
    fn take_datagram(
        &self,
        buffer: &Buffer,
        length: usize,
        peek: bool,
    ) -> Result<Option<(usize, Message)>, Errno> {
        let seen = self.slot.incoming.load(Ordering::Acquire);
        if seen == self.incoming_seen.load(Ordering::Acquire) {
            return Ok(None);
        }
        let out = Buffer::new(message_bytes())?;
        let arguments = [buffer.offset(), length as u64, out.offset(), peek.into()];
        let count = match self.call(Op::NetReceive, arguments) {
            Err(Errno::EAGAIN) => {
                self.incoming_seen.store(seen, Ordering::Release);
                return Ok(None);
            }
            result => result?,
        };
        let message = message(&out)?;
        if !message.more {
            self.incoming_seen.store(seen, Ordering::Release);
        }
        Ok(Some((usize::try_from(count).map_err(|_| Errno::EIO)?, message)))
    }

    fn receive_datagram(&self, to: &mut Sink<'_>, how: Transfer) -> Result<Received, Errno> {
        let length = to.len().min(MAX_DATAGRAM);
        let buffer = Buffer::new(length.max(1))?;
        let look = || match self.take_datagram(&buffer, length, how.peek)? {
            None if how.nonblock => Err(Errno::EAGAIN),
            found => Ok(found),
        };
        let found = wait::until(self.options.receive_deadline(), self.await_queue(), look)?;
        let (count, message) = found.ok_or(Errno::EAGAIN)?;
        to.take(0, count, &buffer)?;
        let whole = usize::try_from(message.length).unwrap_or(count).clamp(count, MAX_DATAGRAM);
        let address = message.address().to_vec();
        Ok(Received { count, length: whole, address, files: Vec::new() })
    }

    fn send_datagram(&self, from: &Source<'_>, to: Option<&[u8]>, how: Transfer) -> Result<usize, Errno> {
        let length = from.len();
        if length > MAX_DATAGRAM {
            return Err(Errno::EMSGSIZE);
        }
        let buffer = Buffer::new(length.max(1))?;
        from.give(0, length, &buffer)?;
        let address = to.filter(|address| !address.is_empty());
        let place = address.map(Buffer::with).transpose()?;
        let (at, bytes) = place.as_ref().zip(address).map_or((0, 0), |(place, a)| (place.offset(), a.len()));
        let look = || {
            let seen = self.slot.outgoing.load(Ordering::Acquire);
            match self.call(Op::NetSend, [buffer.offset(), length as u64, at, bytes as u64]) {
                Err(Errno::EAGAIN) => {
                    self.outgoing_seen.store(seen, Ordering::Release);
                    self.full.store(true, Ordering::Release);
                    if how.nonblock { Err(Errno::EAGAIN) } else { Ok(None) }
                }
                result => {
                    self.full.store(false, Ordering::Release);
                    result.map(Some)
                }
            }
        };
        let sent = wait::until(self.options.send_deadline(), self.await_queue(), look)?;
        sent.and_then(|sent| usize::try_from(sent).ok()).ok_or(Errno::EAGAIN)
    }

    /// Takes a connection; `None`: there is none.
    fn take_connection(&self) -> Result<Option<Accepted>, Errno> {
        if self.phase() != Phase::Listening {
            return Err(Errno::EINVAL);
        }
        let seen = self.slot.incoming.load(Ordering::Acquire);
        if seen == self.incoming_seen.load(Ordering::Acquire) {
            return Ok(None);
        }
        let mut number = Number::new()?;
        let ends = Ends::new(number.number)?;
        let out = Buffer::new(message_bytes())?;
        match self.call(Op::NetAccept, [number.number, out.offset(), 0, 0]) {
            Err(Errno::EAGAIN) => {
                self.incoming_seen.store(seen, Ordering::Release);
                return Ok(None);
            }
            result => result?,
        };
        number.held = true;
        let message = message(&out)?;
        if !message.more {
            self.incoming_seen.store(seen, Ordering::Release);
        }
        let what = (self.family, self.kind, self.protocol);
        let new = Self::new(number, what, Phase::Connected, Some(ends));
        Ok(Some((Arc::new(new), message.address().to_vec())))
    }

    fn poll_stream(&self, ends: &Ends) -> u32 {
        self.ask();
        let mut events = 0;
        let mut ended = false;
        match ends.reader.lock().readable() {
            Ok(0) => {}
            Ok(_) => events |= poll::IN | poll::RDNORM,
            Err(error) => {
                ended = true;
                events |= poll::IN | poll::RDNORM | poll::RDHUP;
                if !matches!(error, StreamError::Closed) {
                    events |= poll::HUP;
                    events |= if self.told.load(Ordering::Acquire) { 0 } else { poll::ERR };
                }
            }
        }
        if ends.read_shut.load(Ordering::Acquire) {
            events |= poll::IN | poll::RDNORM | poll::RDHUP;
        }
        if ends.write_shut.load(Ordering::Acquire) {
            // Writing is over, and does not block.
            events |= poll::OUT | poll::WRNORM | if ended { poll::HUP } else { 0 };
            return events;
        }
        let mut writer = ends.writer.lock();
        let mut room = writer.writable();
        if room.is_ok_and(|room| room < WRITABLE) {
            self.want_room();
            room = writer.writable();
        }
        match room {
            Ok(room) if room < WRITABLE => {}
            Ok(_) => events |= poll::OUT | poll::WRNORM,
            Err(_) => {
                events |= poll::OUT | poll::WRNORM;
                events |= if self.told.load(Ordering::Acquire) { 0 } else { poll::ERR };
            }
        }
        events
    }

    fn begin_stream(&self, address: &[u8], nonblock: bool) -> Result<(), Errno> {
        match self.phase() {
            Phase::Connected | Phase::Listening => return Err(Errno::EISCONN),
            Phase::JustConnected => {
                *self.phase.lock() = Phase::Connected;
                return Ok(());
            }
            Phase::Connecting if nonblock => return Err(Errno::EALREADY),
            Phase::Connecting => return self.end_connecting(),
            Phase::Idle => {}
        }
        if let Some(errno) = errno(self.error.swap(0, Ordering::AcqRel)) {
            return Err(errno);
        }
        let ends = Ends::new(self.index)?;
        self.slot.connection.store(CONNECTING, Ordering::Release);
        match self.call_with(Op::NetConnect, address) {
            Ok(_) => {
                *self.ends.lock() = Some(ends);
                *self.phase.lock() = Phase::Connected;
                self.queue.wake();
                Ok(())
            }
            Err(Errno::EINPROGRESS) => {
                *self.ends.lock() = Some(ends);
                *self.phase.lock() = Phase::Connecting;
                if nonblock { Err(Errno::EINPROGRESS) } else { self.end_connecting() }
            }
            Err(errno) => Err(errno),
        }
    }

    fn end_connecting(&self) -> Result<(), Errno> {
        self.wait_connected()?;
        let mut phase = self.phase.lock();
        if *phase == Phase::JustConnected {
            *phase = Phase::Connected;
        }
        Ok(())
    }
}

fn message_bytes() -> usize {
    usize::try_from(MESSAGE_BYTES).unwrap_or(4096)
}

fn message(out: &Buffer) -> Result<Message, Errno> {
    Message::read(out.window(), casemate_enclave_abi::Offset(0)).ok_or(Errno::EIO)
}

impl Drop for Inet {
    fn drop(&mut self) {
        let mut reset = false;
        // Where another process has it, the connection does not end here.
        if let Some(ends) = self.ends.get_mut().take().filter(|_| !*self.shared.get_mut()) {
            reset = ends.reader.lock().readable().is_ok_and(|unread| unread > 0);
            ends.writer.lock().finish();
        }
        self.number.close(reset);
    }
}

impl File for Inet {
    fn stat(&self) -> Result<Stat, Errno> {
        Ok(devices::stat(&self.names(), mode::SOCKET | 0o777, 0))
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        Ok(devices::stat_fs(devices::SOCKFS))
    }

    fn read(&self, _position: u64, to: &mut Sink<'_>, nonblock: bool) -> Result<usize, Errno> {
        self.receive_bytes(to, nonblock)
    }

    fn write(
        &self,
        _position: Option<u64>,
        from: &Source<'_>,
        nonblock: bool,
    ) -> Result<(u64, usize), Errno> {
        self.send_bytes(from, nonblock)
    }

    fn ioctl(&self, request: u32, argument: u64) -> Result<u64, Errno> {
        let value = match request {
            FIONREAD if self.kind == STREAM => {
                let ends = self.connection().ok_or(Errno::EINVAL)?;
                self.ask();
                let ready = ends.reader.lock().readable().unwrap_or(0);
                u32::try_from(ready).unwrap_or(u32::MAX)
            }
            FIONREAD => {
                let buffer = Buffer::new(1)?;
                let first = self.take_datagram(&buffer, 0, true)?;
                first.map_or(0, |(_, message)| u32::try_from(message.length).unwrap_or(0))
            }
            SIOCOUTQ | SIOCATMARK => 0,
            _ => return Err(Errno::ENOTTY),
        };
        user::write_value(argument, &value)?;
        Ok(0)
    }

    fn poll(&self) -> Result<u32, Errno> {
        let slot = self.slot;
        let pending = if self.error.load(Ordering::Acquire) == 0 { 0 } else { poll::ERR };
        let incoming = slot.incoming.load(Ordering::Acquire) != self.incoming_seen.load(Ordering::Acquire);
        let incoming = if incoming { poll::IN | poll::RDNORM } else { 0 };
        if self.kind != STREAM {
            let blocked = self.full.load(Ordering::Acquire)
                && slot.outgoing.load(Ordering::Acquire) == self.outgoing_seen.load(Ordering::Acquire);
            let outgoing = if blocked { 0 } else { poll::OUT | poll::WRNORM };
            return Ok(incoming | outgoing | pending);
        }
        Ok(match self.phase() {
            Phase::Idle if self.error.load(Ordering::Acquire) != 0 => {
                poll::IN | poll::RDNORM | poll::RDHUP | poll::OUT | poll::WRNORM | poll::ERR | poll::HUP
            }
            Phase::Idle => poll::OUT | poll::WRNORM | poll::HUP,
            Phase::Listening => incoming,
            Phase::Connecting => pending,
            Phase::JustConnected | Phase::Connected => {
                pending | self.connection().map_or(poll::HUP, |ends| self.poll_stream(&ends))
            }
        })
    }

    fn queues(&self, queues: &mut Vec<Arc<WaitQueue>>) {
        queues.push(Arc::clone(&self.queue));
    }

    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }

    fn carry(&self) -> Result<Carried, Errno> {
        Ok(Carried::Inet(self.share()))
    }

    fn label(&self) -> Option<String> {
        Some(self.names())
    }
}

impl Socket for Inet {
    fn bind(&self, address: &[u8]) -> Result<(), Errno> {
        self.call_with(Op::NetBind, address).map(drop)
    }

    fn listen(&self, backlog: u32) -> Result<(), Errno> {
        if self.kind != STREAM {
            return Err(Errno::EOPNOTSUPP);
        }
        if !matches!(self.phase(), Phase::Idle | Phase::Listening) {
            return Err(Errno::EINVAL);
        }
        self.call(Op::NetListen, [backlog.into(), 0, 0, 0])?;
        *self.phase.lock() = Phase::Listening;
        self.queue.wake();
        Ok(())
    }

    fn accept(&self, nonblock: bool) -> Result<Accepted, Errno> {
        if self.kind != STREAM {
            return Err(Errno::EOPNOTSUPP);
        }
        let look = || match self.take_connection()? {
            None if nonblock => Err(Errno::EAGAIN),
            found => Ok(found),
        };
        wait::until(self.options.receive_deadline(), self.await_queue(), look)?.ok_or(Errno::EAGAIN)
    }

    fn connect(&self, address: &[u8], nonblock: bool) -> Result<(), Errno> {
        let family = address.first_chunk().map(|family| u16::from_le_bytes(*family));
        match family.ok_or(Errno::EINVAL)? {
            AF_INET | AF_INET6 => {}
            0 if self.kind != STREAM => {}
            _ => return Err(Errno::EAFNOSUPPORT),
        }
        if self.kind == STREAM {
            return self.begin_stream(address, nonblock);
        }
        self.call_with(Op::NetConnect, address).map(drop)
    }

    fn name(&self, peer: bool) -> Result<Vec<u8>, Errno> {
        let out = Buffer::new(message_bytes())?;
        self.call(Op::NetName, [peer.into(), out.offset(), 0, 0])?;
        Ok(message(&out)?.address().to_vec())
    }

    fn set_option(&self, level: u32, option: u32, value: &[u8]) -> Result<(), Errno> {
        if let Some(result) = self.options.set(level, option, value) {
            return result;
        }
        if value.len() > MAX_OPTION {
            return Err(Errno::EINVAL);
        }
        let buffer = Buffer::with(value)?;
        let arguments = [level.into(), option.into(), buffer.offset(), value.len() as u64];
        self.call(Op::NetSetOption, arguments).map(drop)
    }

    fn option(&self, level: u32, option: u32, length: usize) -> Result<Vec<u8>, Errno> {
        let facts = Facts {
            kind: self.kind,
            family: self.family,
            protocol: self.protocol,
            listens: self.phase() == Phase::Listening,
        };
        let error = || self.take_error().map_or(0, |errno| errno.get().into());
        if let Some(value) = self.options.get(level, option, &facts, error) {
            return Ok(value);
        }
        let length = length.min(MAX_OPTION);
        let buffer = Buffer::new(length.max(1))?;
        let arguments = [level.into(), option.into(), buffer.offset(), length as u64];
        let got = usize::try_from(self.call(Op::NetGetOption, arguments)?).map_err(|_| Errno::EIO)?;
        let mut value = alloc::vec![0; got];
        buffer.read(&mut value);
        Ok(value)
    }

    fn shutdown(&self, read: bool, write: bool) -> Result<(), Errno> {
        let how = match (read, write) {
            (true, true) => 2,
            (false, true) => 1,
            _ => 0,
        };
        if self.kind != STREAM {
            return self.call(Op::NetShutdown, [how, 0, 0, 0]).map(drop);
        }
        match self.phase() {
            Phase::Listening => {
                self.call(Op::NetShutdown, [how, 0, 0, 0])?;
                if read {
                    *self.phase.lock() = Phase::Idle;
                }
            }
            Phase::Connected | Phase::JustConnected => {
                let ends = self.connection().ok_or(Errno::ENOTCONN)?;
                if read {
                    ends.read_shut.store(true, Ordering::Release);
                }
                if write && !ends.write_shut.swap(true, Ordering::AcqRel) {
                    ends.writer.lock().finish();
                    self.mark();
                }
            }
            Phase::Idle | Phase::Connecting => return Err(Errno::ENOTCONN),
        }
        self.queue.wake();
        Ok(())
    }

    fn send(
        &self,
        from: &Source<'_>,
        to: Option<&[u8]>,
        files: Vec<Arc<OpenFile>>,
        how: Transfer,
    ) -> Result<usize, Errno> {
        if !files.is_empty() {
            // The other side of the wall has no use for files of the enclave.
            return Err(Errno::EOPNOTSUPP);
        }
        if self.kind != STREAM {
            return self.send_datagram(from, to, how);
        }
        let sent = self.send_stream(from, how);
        if sent == Err(Errno::EPIPE) && !how.no_signal {
            signal::send_to_current(signal::SIGPIPE);
        }
        sent
    }

    fn receive(&self, to: &mut Sink<'_>, how: Transfer) -> Result<Received, Errno> {
        if self.kind == STREAM { self.receive_stream(to, how) } else { self.receive_datagram(to, how) }
    }
}
