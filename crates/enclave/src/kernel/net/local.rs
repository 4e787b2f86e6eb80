//! Unix sockets (unix(7)): between threads of the program, and never outside.
//!
//! What is sent goes into the inbox of the receiver. A name in the file system is a file in memory, by whose node the socket is
//! found; who removes the file removes the name.

mod outside;

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use casemate_enclave::vfs::flags::{mode, open as o, poll};
use casemate_enclave::vfs::path::Path;
use casemate_enclave::vfs::tmpfs::Node;
use casemate_enclave_abi::{Errno, Stat, StatFs};
use spin::Mutex;

use super::options::{Facts, Options, SOL_SOCKET};
use super::{AF_UNIX, DATAGRAM, SEQPACKET, STREAM};
use crate::fs::wait::{self, WaitQueue};
use crate::fs::{
    Accepted, Carried, File, OpenFile, PipeHandle, Received, Sink, Socket, Source, Transfer, devices,
    namespace,
};
use crate::process::process;
use crate::{signal, user};

pub(crate) use outside::take;

/// Bytes that wait in an inbox at most.
const CAPACITY: usize = 212_992;

/// The longest message.
const MAX_MESSAGE: usize = CAPACITY - 32;

/// Datagrams that wait in an inbox at most (`net.unix.max_dgram_qlen`).
const MAX_DATAGRAMS: usize = 512;

/// The longest name, NUL included.
const MAX_NAME: usize = 108;

const SO_SNDBUF: u32 = 7;
const SO_RCVBUF: u32 = 8;
const SO_PASSCRED: u32 = 16;
const SO_PEERCRED: u32 = 17;

const FIONREAD: u32 = 0x541b;
const SIOCOUTQ: u32 = 0x5411;

static NEXT: AtomicU64 = AtomicU64::new(2_000_000);

/// What came, in one piece where pieces matter.
struct Packet {
    bytes: VecDeque<u8>,
    from: Vec<u8>,
    files: Vec<Arc<OpenFile>>,
}

#[derive(Default)]
struct Mail {
    packets: VecDeque<Packet>,
    bytes: usize,
    /// Nobody sends any more.
    ended: bool,
    /// Nobody receives any more.
    closed: bool,
    /// Its socket is gone.
    gone: bool,
    /// The sender closed while something was unread.
    reset: bool,
    /// Connections that wait to be accepted, and how many may.
    waiting: VecDeque<Arc<Local>>,
    backlog: Option<usize>,
}

/// Where a socket receives.
struct Inbox {
    mail: Mutex<Mail>,
    /// The receiver's.
    queue: Arc<WaitQueue>,
    /// The peer's, who may wait for room.
    sender: Mutex<Weak<WaitQueue>>,
    /// The receiver's name, as an address has it.
    name: Mutex<Vec<u8>>,
    /// The receiver's socket of the host's, once another process has one of the pair.
    outside: Mutex<Option<Arc<PipeHandle>>>,
}

/// A name that a socket is bound to.
enum Name {
    /// A file.
    Node(Arc<Node>),
    /// Without a file: its bytes.
    Abstract(Vec<u8>),
}

/// All names.
static NAMES: Mutex<Vec<(Name, Weak<Inbox>, u32)>> = Mutex::new(Vec::new());

/// A socket.
struct Local {
    kind: u32,
    number: u64,
    inbox: Arc<Inbox>,
    peer: Mutex<Option<Arc<Inbox>>>,
    /// One of socketpair(2)'s.
    paired: bool,
    options: Options,
}

fn check(kind: u32) -> Result<(), Errno> {
    if [STREAM, DATAGRAM, SEQPACKET].contains(&kind) { Ok(()) } else { Err(Errno::ESOCKTNOSUPPORT) }
}

/// A new socket.
pub(crate) fn open(kind: u32) -> Result<Arc<dyn File>, Errno> {
    check(kind)?;
    Ok(Local::new(kind))
}

/// Two that are connected to each other.
pub(crate) fn pair(kind: u32) -> Result<[Arc<dyn File>; 2], Errno> {
    check(kind)?;
    let (mut first, mut second) = (Local::unconnected(kind), Local::unconnected(kind));
    (first.paired, second.paired) = (true, true);
    first.join(&second);
    Ok([Arc::new(first), Arc::new(second)])
}

/// The address of a family alone: no name.
fn unnamed() -> Vec<u8> {
    AF_UNIX.to_le_bytes().to_vec()
}

/// The name in an address.
fn name_in(address: &[u8]) -> Result<&[u8], Errno> {
    let (family, name) = address.split_first_chunk().ok_or(Errno::EINVAL)?;
    if u16::from_le_bytes(*family) != AF_UNIX || name.len() > MAX_NAME {
        return Err(Errno::EINVAL);
    }
    Ok(name)
}

/// A path, up to its NUL.
fn path_in(name: &[u8]) -> Result<Path, Errno> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let cwd = String::from(process().files.lock().cwd());
    Path::new(&cwd, &name[..end])
}

/// The inbox behind an address.
fn find(address: &[u8], kind: u32) -> Result<Arc<Inbox>, Errno> {
    let name = name_in(address)?;
    let node = match name.first() {
        None => return Err(Errno::ECONNREFUSED),
        Some(0) => None,
        Some(_) => {
            let file = namespace::open(&path_in(name)?, o::RDWR, 0).map_err(|errno| match errno {
                // A socket of the host's, or no socket at all.
                Errno::EROFS | Errno::EISDIR | Errno::ENXIO => Errno::ECONNREFUSED,
                errno => errno,
            })?;
            Some(Arc::clone(file.file().node().ok_or(Errno::ECONNREFUSED)?))
        }
    };
    let names = NAMES.lock();
    let found = names.iter().find(|(known, ..)| match (known, &node) {
        (Name::Node(known), Some(node)) => Arc::ptr_eq(known, node),
        (Name::Abstract(known), None) => known == name,
        _ => false,
    });
    let (_, inbox, known_kind) = found.ok_or(Errno::ECONNREFUSED)?;
    if *known_kind != kind {
        return Err(Errno::EPROTOTYPE);
    }
    inbox.upgrade().ok_or(Errno::ECONNREFUSED)
}

impl Inbox {
    fn wake(&self, events: u32) {
        self.queue.wake_for(events);
    }

    /// Says that there is room again.
    fn tell_room(&self) {
        let sender = self.sender.lock().upgrade();
        if let Some(sender) = sender {
            sender.wake_for(poll::OUT | poll::WRNORM);
        }
        // Of datagrams anybody may be the sender, and waits here.
        self.wake(poll::OUT | poll::WRNORM);
    }
}

impl Local {
    fn new(kind: u32) -> Arc<Self> {
        Arc::new(Self::unconnected(kind))
    }

    fn unconnected(kind: u32) -> Self {
        let inbox = Inbox {
            mail: Mutex::default(),
            queue: Arc::default(),
            sender: Mutex::default(),
            name: Mutex::new(unnamed()),
            outside: Mutex::default(),
        };
        Self {
            kind,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            inbox: Arc::new(inbox),
            peer: Mutex::new(None),
            paired: false,
            options: Options::default(),
        }
    }

    /// Connects two to each other.
    fn join(&self, other: &Self) {
        *self.peer.lock() = Some(Arc::clone(&other.inbox));
        *other.peer.lock() = Some(Arc::clone(&self.inbox));
        *self.inbox.sender.lock() = Arc::downgrade(&other.inbox.queue);
        *other.inbox.sender.lock() = Arc::downgrade(&self.inbox.queue);
    }

    fn names(&self) -> String {
        alloc::format!("socket:[{}]", self.number)
    }

    fn connected(&self) -> Option<Arc<Inbox>> {
        self.peer.lock().clone()
    }

    fn awaits(&self, other: Option<&Arc<Inbox>>) -> impl FnMut(&mut wait::Awaited) + use<> {
        let queues: Vec<_> =
            [Some(&self.inbox), other].into_iter().flatten().map(|i| Arc::clone(&i.queue)).collect();
        let inbox = Arc::clone(&self.inbox);
        // Who waits for another's inbox waits for room there.
        let events = if other.is_some() { poll::OUT } else { poll::IN };
        move |awaited| {
            awaited.queues.extend(queues.iter().cloned());
            inbox.outside(events, &mut awaited.pipes);
        }
    }

    /// Takes what there is; `None`: nothing yet.
    fn take(&self, to: &mut Sink<'_>, at: usize, how: Transfer) -> Result<Option<Received>, Errno> {
        if let Some(handle) = self.inbox.handle() {
            return outside::receive(&handle, to, at, how.peek);
        }
        let mut mail = self.inbox.mail.lock();
        if mail.packets.is_empty() {
            if core::mem::take(&mut mail.reset) {
                return Err(Errno::ECONNRESET);
            }
            let over = mail.ended || mail.closed;
            if !over && self.kind != DATAGRAM && self.peer.lock().is_none() {
                return Err(if self.kind == STREAM { Errno::EINVAL } else { Errno::ENOTCONN });
            }
            return Ok(over.then(Received::default));
        }
        let mut received = Received::default();
        let room = to.len() - at;
        let stream = self.kind == STREAM;
        while let Some(packet) = mail.packets.front_mut() {
            // Files mark a place in a stream: what is before them is read alone.
            if received.length > 0 && !packet.files.is_empty() {
                break;
            }
            let count = packet.bytes.len().min(room - received.count);
            let (first, second) = packet.bytes.as_slices();
            let first = &first[..count.min(first.len())];
            to.put(at + received.count, first)?;
            to.put(at + received.count + first.len(), &second[..count - first.len()])?;
            received.count += count;
            received.length += if stream { count } else { packet.bytes.len() };
            if received.address.is_empty() {
                received.address.clone_from(&packet.from);
            }
            if how.peek {
                received.files.extend(packet.files.iter().cloned());
                break;
            }
            received.files.append(&mut packet.files);
            packet.bytes.drain(..count);
            let done = !stream || packet.bytes.is_empty();
            let lost = packet.bytes.len();
            mail.bytes -= count;
            if done {
                mail.bytes -= lost;
                mail.packets.pop_front();
            }
            if !done || !stream || received.count == room || !received.files.is_empty() {
                break;
            }
        }
        Ok(Some(received))
    }

    /// Puts as much as there is room for into an inbox; `None`: none.
    fn put(
        &self,
        to: &Inbox,
        from: &Source<'_>,
        at: usize,
        files: &mut Vec<Arc<OpenFile>>,
    ) -> Result<Option<usize>, Errno> {
        if let Some(handle) = self.inbox.handle() {
            return outside::send(&handle, from, at, self.kind, files);
        }
        let mut mail = to.mail.lock();
        if mail.closed {
            return Err(if self.kind == DATAGRAM { Errno::ECONNREFUSED } else { Errno::EPIPE });
        }
        if mail.ended {
            return Err(Errno::EPIPE);
        }
        let left = from.len() - at;
        let room = CAPACITY.saturating_sub(mail.bytes);
        let full =
            if self.kind == STREAM { room == 0 } else { room < left || mail.packets.len() >= MAX_DATAGRAMS };
        if full {
            return Ok(None);
        }
        let count = left.min(room);
        let name = self.inbox.name.lock().clone();
        let from_name = if self.kind == DATAGRAM && name.len() > 2 { name } else { Vec::new() };
        let mut bytes = VecDeque::new();
        from.with(at, count, |part| bytes.extend(part))?;
        match mail
            .packets
            .back_mut()
            .filter(|last| self.kind == STREAM && last.files.is_empty() && files.is_empty())
        {
            Some(last) => last.bytes.append(&mut bytes),
            None => {
                let files = core::mem::take(files);
                mail.packets.push_back(Packet { bytes, from: from_name, files });
            }
        }
        mail.bytes += count;
        Ok(Some(count))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let outside = self.inbox.outside.lock().take();
        drop(outside);
        NAMES.lock().retain(|(_, inbox, _)| !core::ptr::eq(inbox.as_ptr(), Arc::as_ptr(&self.inbox)));
        let (unread, waiting) = {
            let mut mail = self.inbox.mail.lock();
            mail.closed = true;
            mail.gone = true;
            (core::mem::take(&mut mail.packets), core::mem::take(&mut mail.waiting))
        };
        let lost = !unread.is_empty() || !waiting.is_empty();
        drop((unread, waiting));
        if self.kind != DATAGRAM
            && let Some(peer) = self.peer.get_mut().take()
        {
            let mut mail = peer.mail.lock();
            mail.ended = true;
            mail.reset |= lost;
            drop(mail);
            peer.queue.wake();
        }
        self.inbox.tell_room();
    }
}

impl File for Local {
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
            FIONREAD if self.inbox.handle().is_some() => return Err(Errno::EOPNOTSUPP),
            FIONREAD => {
                let mail = self.inbox.mail.lock();
                let first = mail.packets.front().map_or(0, |packet| packet.bytes.len());
                u32::try_from(if self.kind == STREAM { mail.bytes } else { first }).unwrap_or(u32::MAX)
            }
            SIOCOUTQ => 0,
            _ => return Err(Errno::ENOTTY),
        };
        user::write_value(argument, &value)?;
        Ok(0)
    }

    fn poll(&self) -> Result<u32, Errno> {
        if let Some(handle) = self.inbox.handle() {
            return outside::poll(&handle);
        }
        let mut events = 0;
        let over = {
            let mail = self.inbox.mail.lock();
            if !mail.packets.is_empty() || !mail.waiting.is_empty() || mail.ended || mail.closed {
                events |= poll::IN | poll::RDNORM;
            }
            if mail.ended || mail.closed {
                events |= poll::RDHUP;
            }
            if mail.backlog.is_some() {
                return Ok(events);
            }
            mail.ended
        };
        match self.connected() {
            Some(peer) => {
                let mail = peer.mail.lock();
                if mail.bytes <= CAPACITY / 2 || mail.closed || mail.ended {
                    events |= poll::OUT | poll::WRNORM;
                }
                if self.kind != DATAGRAM && over && (mail.closed || mail.ended) {
                    events |= poll::HUP;
                }
            }
            None if self.kind == DATAGRAM => events |= poll::OUT | poll::WRNORM,
            None => events |= poll::OUT | poll::WRNORM | poll::HUP,
        }
        Ok(events)
    }

    fn queues(&self, queues: &mut Vec<Arc<WaitQueue>>) {
        queues.push(Arc::clone(&self.inbox.queue));
    }

    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }

    fn asked(&self) -> bool {
        // It may be handed to another enclave at any time, and only the host knows of it then.
        self.paired
    }

    fn outside(&self, events: u32, pipes: &mut Vec<(u64, u64)>) {
        self.inbox.outside(events, pipes);
    }

    fn carry(&self) -> Result<Carried, Errno> {
        self.share()
    }

    fn label(&self) -> Option<String> {
        Some(self.names())
    }
}

impl Socket for Local {
    fn bind(&self, address: &[u8]) -> Result<(), Errno> {
        let name = name_in(address)?;
        if self.inbox.name.lock().len() > 2 {
            return Err(Errno::EINVAL);
        }
        let mut full = unnamed();
        let name = match name.first() {
            None => {
                // Linux gives a name of five digits.
                let number = NEXT.fetch_add(1, Ordering::Relaxed) & 0xf_ffff;
                let name = alloc::format!("\0{number:05x}").into_bytes();
                full.extend_from_slice(&name);
                Name::Abstract(name)
            }
            Some(0) => {
                full.extend_from_slice(name);
                if NAMES.lock().iter().any(|(known, inbox, _)| {
                    matches!(known, Name::Abstract(known) if known == name) && inbox.strong_count() > 0
                }) {
                    return Err(Errno::EADDRINUSE);
                }
                Name::Abstract(name.to_vec())
            }
            Some(_) => {
                let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
                full.extend_from_slice(&name[..end]);
                full.push(0);
                let umask = process().files.lock().umask();
                let flags = o::CREAT | o::EXCL | o::RDWR;
                let file = namespace::open(&path_in(name)?, flags, 0o777 & !umask)
                    .map_err(|errno| if errno == Errno::EEXIST { Errno::EADDRINUSE } else { errno })?;
                Name::Node(Arc::clone(file.file().node().ok_or(Errno::EROFS)?))
            }
        };
        *self.inbox.name.lock() = full;
        NAMES.lock().push((name, Arc::downgrade(&self.inbox), self.kind));
        Ok(())
    }

    fn listen(&self, backlog: u32) -> Result<(), Errno> {
        if self.kind == DATAGRAM {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.connected().is_some() || self.inbox.name.lock().len() <= 2 {
            return Err(Errno::EINVAL);
        }
        let backlog = usize::try_from(backlog).unwrap_or(0).min(4096);
        self.inbox.mail.lock().backlog = Some(backlog);
        Ok(())
    }

    fn accept(&self, nonblock: bool) -> Result<Accepted, Errno> {
        if self.kind == DATAGRAM {
            return Err(Errno::EOPNOTSUPP);
        }
        let look = || {
            let mut mail = self.inbox.mail.lock();
            if mail.backlog.is_none() || mail.closed {
                return Err(Errno::EINVAL);
            }
            match mail.waiting.pop_front() {
                None if nonblock => Err(Errno::EAGAIN),
                found => Ok(found),
            }
        };
        let deadline = self.options.receive_deadline();
        let new = wait::until(deadline, self.awaits(None), look)?.ok_or(Errno::EAGAIN)?;
        self.inbox.tell_room();
        let address = new.name(true).unwrap_or_else(|_| unnamed());
        Ok((new, address))
    }

    fn connect(&self, address: &[u8], nonblock: bool) -> Result<(), Errno> {
        let family = address.first_chunk().map(|family| u16::from_le_bytes(*family));
        if family == Some(0) && self.kind == DATAGRAM {
            *self.peer.lock() = None;
            return Ok(());
        }
        let target = find(address, self.kind)?;
        if self.kind == DATAGRAM {
            *self.peer.lock() = Some(target);
            return Ok(());
        }
        if self.connected().is_some() {
            return Err(Errno::EISCONN);
        }
        let other = Self::new(self.kind);
        let look = || {
            let mut mail = target.mail.lock();
            let backlog = mail.backlog.filter(|_| !mail.closed).ok_or(Errno::ECONNREFUSED)?;
            if mail.waiting.len() > backlog {
                return if nonblock { Err(Errno::EAGAIN) } else { Ok(None) };
            }
            *other.inbox.name.lock() = target.name.lock().clone();
            self.join(&other);
            mail.waiting.push_back(Arc::clone(&other));
            Ok(Some(()))
        };
        let deadline = self.options.send_deadline();
        wait::until(deadline, self.awaits(Some(&target)), look)?.ok_or(Errno::EAGAIN)?;
        target.wake(poll::IN | poll::RDNORM);
        self.inbox.queue.wake();
        Ok(())
    }

    fn name(&self, peer: bool) -> Result<Vec<u8>, Errno> {
        if !peer {
            return Ok(self.inbox.name.lock().clone());
        }
        let peer = self.connected().ok_or(Errno::ENOTCONN)?;
        let name = peer.name.lock().clone();
        Ok(name)
    }

    fn set_option(&self, level: u32, option: u32, value: &[u8]) -> Result<(), Errno> {
        if let Some(result) = self.options.set(level, option, value) {
            return result;
        }
        match (level, option) {
            // Sizes are fixed; SO_REUSEADDR, SO_KEEPALIVE, SO_LINGER and SO_REUSEPORT change nothing here.
            (SOL_SOCKET, 2 | SO_SNDBUF | SO_RCVBUF | 9 | 13 | 15 | 32 | 33) => Ok(()),
            (SOL_SOCKET, SO_PASSCRED) if value.iter().all(|byte| *byte == 0) => Ok(()),
            (SOL_SOCKET, _) => Err(Errno::ENOPROTOOPT),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn option(&self, level: u32, option: u32, _length: usize) -> Result<Vec<u8>, Errno> {
        let listens = self.inbox.mail.lock().backlog.is_some();
        let facts = Facts { kind: self.kind, family: AF_UNIX, protocol: 0, listens };
        if let Some(value) = self.options.get(level, option, &facts, || 0) {
            return Ok(value);
        }
        let size = u32::try_from(CAPACITY).unwrap_or(u32::MAX);
        match (level, option) {
            (SOL_SOCKET, SO_SNDBUF | SO_RCVBUF) => Ok(size.to_le_bytes().to_vec()),
            (SOL_SOCKET, 2 | 9 | 15 | SO_PASSCRED) => Ok(0_u32.to_le_bytes().to_vec()),
            (SOL_SOCKET, SO_PEERCRED) => {
                let start = &process().start;
                let numbers = [u64::from(process().id()), start.euid, start.egid];
                Ok(numbers.iter().flat_map(|number| number.to_le_bytes().into_iter().take(4)).collect())
            }
            (SOL_SOCKET, _) => Err(Errno::ENOPROTOOPT),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn shutdown(&self, read: bool, write: bool) -> Result<(), Errno> {
        let listens = self.inbox.mail.lock().backlog.is_some();
        let peer = self.connected();
        if peer.is_none() && !listens {
            return Err(Errno::ENOTCONN);
        }
        if let Some(handle) = self.inbox.handle() {
            return outside::shutdown(&handle, read, write);
        }
        if read {
            self.inbox.mail.lock().closed = true;
        }
        if let Some(peer) = peer {
            if write {
                peer.mail.lock().ended = true;
            }
            peer.queue.wake();
        }
        self.inbox.queue.wake();
        Ok(())
    }

    fn send(
        &self,
        from: &Source<'_>,
        to: Option<&[u8]>,
        mut files: Vec<Arc<OpenFile>>,
        how: Transfer,
    ) -> Result<usize, Errno> {
        let target = match to {
            Some(address) if self.kind == DATAGRAM => find(address, self.kind)?,
            Some(_) if self.connected().is_some() => return Err(Errno::EISCONN),
            Some(_) => return Err(Errno::EOPNOTSUPP),
            None => self.connected().ok_or(Errno::ENOTCONN)?,
        };
        if self.kind != STREAM && from.len() > MAX_MESSAGE {
            return Err(Errno::EMSGSIZE);
        }
        let deadline = self.options.send_deadline();
        let mut done = 0;
        loop {
            let look = || match self.put(&target, from, done, &mut files)? {
                None if how.nonblock => Err(Errno::EAGAIN),
                found => Ok(found),
            };
            match wait::until(deadline, self.awaits(Some(&target)), look) {
                Ok(Some(count)) => {
                    done += count;
                    target.wake(poll::IN | poll::RDNORM);
                    if done == from.len() || self.kind != STREAM {
                        return Ok(done);
                    }
                }
                Ok(None) if done == 0 => return Err(Errno::EAGAIN),
                Err(errno) if done == 0 => {
                    if errno == Errno::EPIPE && !how.no_signal {
                        signal::send_to_current(signal::SIGPIPE);
                    }
                    return Err(errno);
                }
                Ok(None) | Err(_) => return Ok(done),
            }
        }
    }

    fn receive(&self, to: &mut Sink<'_>, how: Transfer) -> Result<Received, Errno> {
        let deadline = self.options.receive_deadline();
        let mut all = Received::default();
        loop {
            let done = all.count;
            if self.kind == STREAM && to.len() == 0 {
                return Ok(all);
            }
            let look = || match self.take(to, done, how)? {
                None if how.nonblock => Err(Errno::EAGAIN),
                found => Ok(found),
            };
            match wait::until(deadline, self.awaits(None), look) {
                Ok(Some(mut received)) => {
                    let over = received.length == 0;
                    all.count += received.count;
                    all.length += received.length;
                    all.files.append(&mut received.files);
                    if all.address.is_empty() {
                        all.address = received.address;
                    }
                    if !how.peek {
                        self.inbox.tell_room();
                    }
                    let enough = !how.wait_all || how.peek || self.kind != STREAM || all.count == to.len();
                    if over || enough || !all.files.is_empty() {
                        return Ok(all);
                    }
                }
                Ok(None) if done == 0 => return Err(Errno::EAGAIN),
                Err(errno) if done == 0 => return Err(errno),
                Ok(None) | Err(_) => return Ok(all),
            }
        }
    }
}
