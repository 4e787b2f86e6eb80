//! Sockets of the host's kernel, on behalf of the program inside.
//!
//! | module | what it has |
//! |---|---|
//! | here | [`Net`]: sockets by the numbers that the enclave gives them, and the calls about them |
//! | `socket` | one socket, and how bytes get from it to its streams and back |
//! | `options` | which options of sockets are let through |
//! | `reactor` | who waits for the kernel's events: the host threads of idle vCPUs |
//!
//! The bytes of connections go through streams in the window, and no call is made for them. Calls are made for what is rare
//! (to connect, to accept, to close) and for datagrams.

mod options;
mod reactor;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use casemate_enclave_abi::errno::Errno;
use casemate_enclave_abi::net::{
    Marks, Message, ROLE_CONNECTED, ROLE_CONNECTING, ROLE_IDLE, ROLE_TOLD, Sockets,
};
use casemate_enclave_abi::{Control, Layout, Window};

use crate::files::errno;
use crate::raw::socket as raw;
pub(crate) use reactor::Tick;
use socket::{CHUNK, Lingering, Socket, Teller};

/// Families that are let through: IPv4 and IPv6. Unix sockets are the enclave's own.
const FAMILIES: [i32; 2] = [libc::AF_INET, libc::AF_INET6];

/// All sockets of a run.
#[derive(Debug)]
pub(crate) struct Net {
    sockets: RwLock<Vec<Option<Arc<Socket>>>>,
    teller: Teller,
    dirty: Marks<'static>,
    /// Of all vCPUs.
    controls: Vec<Control<'static>>,
    /// The kernel's events, and how who waits for them is called away.
    epoll: OwnedFd,
    call: OwnedFd,
    /// Held by whoever waits for events.
    lead: Mutex<()>,
    /// The vCPU that does, plus one; 0 for none.
    leader: AtomicU64,
    /// There has been a socket.
    used: AtomicBool,
    lingering: Mutex<BTreeMap<u64, Lingering>>,
    next_lingering: AtomicU64,
}

impl Net {
    /// For the sockets of this window; `None` where it has no place for them, or the kernel none.
    pub(crate) fn new(window: Window<'static>, layout: &Layout) -> Option<Self> {
        let sockets = Sockets::new(window.region(layout.sockets())?, layout.socket_count())?;
        let count = usize::try_from(sockets.count()).ok()?;
        let (epoll, call) = reactor::open().ok()?;
        let control = |index| Control::new(window.region(layout.vcpu(index)?.control)?);
        let controls = (0..layout.vcpus()).map(control).collect::<Option<_>>()?;
        Some(Self {
            sockets: RwLock::new(vec![None; count]),
            teller: Teller { sockets, incoming: sockets.incoming()?, outgoing: sockets.outgoing()? },
            controls,
            dirty: sockets.dirty()?,
            epoll,
            call,
            lead: Mutex::new(()),
            leader: AtomicU64::new(0),
            used: AtomicBool::new(false),
            lingering: Mutex::default(),
            next_lingering: AtomicU64::new(0),
        })
    }

    fn find(&self, index: u64) -> Option<Arc<Socket>> {
        let sockets = self.sockets.read().unwrap_or_else(PoisonError::into_inner);
        sockets.get(usize::try_from(index).ok()?)?.clone()
    }

    fn get(&self, index: u64) -> Result<Arc<Socket>, Errno> {
        self.find(index).ok_or(Errno::EBADF)
    }

    fn put(&self, index: u64, socket: Option<Arc<Socket>>) -> Result<Option<Arc<Socket>>, Errno> {
        let index = usize::try_from(index).map_err(|_| Errno::EBADF)?;
        let mut sockets = self.sockets.write().unwrap_or_else(PoisonError::into_inner);
        let place = sockets.get_mut(index).ok_or(Errno::EBADF)?;
        if place.is_some() && socket.is_some() {
            return Err(Errno::EBADF);
        }
        Ok(std::mem::replace(place, socket))
    }

    /// Takes a socket of the kernel under a number that is free.
    pub(crate) fn adopt(&self, index: u64, fd: OwnedFd) -> Result<(), Errno> {
        self.used.store(true, Ordering::Relaxed);
        self.put(index, Some(Arc::new(Socket::new(fd)))).map(drop)
    }

    /// A socket that is to be passed to another process: another descriptor of it. What was written is sent before, as far as
    /// the kernel takes it.
    pub(crate) fn to_pass(&self, index: u64) -> Result<OwnedFd, Errno> {
        let socket = self.get(index)?;
        socket.pump(self.teller, index, false, &mut scratch());
        socket.fd.try_clone().map_err(|error| errno(of(&error)))
    }

    /// Takes a socket that another process has, too, under a number that is free.
    pub(crate) fn take(&self, index: u64, role: u64, fd: OwnedFd) -> Result<(), Errno> {
        self.adopt(index, fd)?;
        let socket = self.get(index)?;
        match role {
            ROLE_IDLE => return Ok(()),
            ROLE_TOLD => socket.tell(),
            ROLE_CONNECTING => socket.join(self.teller, index, false)?,
            ROLE_CONNECTED => socket.join(self.teller, index, true)?,
            _ => return Err(Errno::EINVAL),
        }
        self.watch(&socket, index)
    }

    /// socket(2).
    pub(crate) fn socket(&self, index: u64, family: u64, kind: u64, protocol: u64) -> Result<(), Errno> {
        let [family, kind, protocol] = [family, kind, protocol].map(|number| i32::try_from(number).ok());
        let family = family.filter(|family| FAMILIES.contains(family)).ok_or(Errno::EAFNOSUPPORT)?;
        let kind = kind.filter(|kind| [libc::SOCK_STREAM, libc::SOCK_DGRAM].contains(kind));
        let kind = kind.ok_or(Errno::ESOCKTNOSUPPORT)?;
        let fd = raw::socket(family, kind, protocol.ok_or(Errno::EPROTONOSUPPORT)?).map_err(errno)?;
        self.adopt(index, fd)?;
        if kind == libc::SOCK_DGRAM {
            let socket = self.get(index)?;
            socket.tell();
            self.watch(&socket, index)?;
        }
        Ok(())
    }

    /// bind(2).
    pub(crate) fn bind(&self, index: u64, address: &[u8]) -> Result<(), Errno> {
        raw::bind(&self.get(index)?.fd, allowed(address)?).map_err(errno)
    }

    /// listen(2).
    pub(crate) fn listen(&self, index: u64, backlog: u64) -> Result<(), Errno> {
        let socket = self.get(index)?;
        raw::listen(&socket.fd, i32::try_from(backlog).unwrap_or(i32::MAX)).map_err(errno)?;
        socket.tell();
        self.watch(&socket, index)
    }

    /// accept4(2): the peer's address, and whether there is another connection.
    pub(crate) fn accept(&self, index: u64, new: u64) -> Result<Message, Errno> {
        let socket = self.get(index)?;
        let (fd, address) = loop {
            match raw::accept(&socket.fd) {
                Err(rustix::io::Errno::INTR) => {}
                result => break result.map_err(errno)?,
            }
        };
        self.adopt(new, fd)?;
        let accepted = self.get(new)?;
        accepted.join(self.teller, new, true)?;
        self.watch(&accepted, new)?;
        Ok(Message { more: reactor::ready_to_read(&socket), ..Message::default() }
            .with_address(address.bytes()))
    }

    /// connect(2). A stream's end is told later, by EINPROGRESS.
    pub(crate) fn connect(&self, index: u64, address: &[u8]) -> Result<(), Errno> {
        let socket = self.get(index)?;
        let family = address.first_chunk().map(|family| u16::from_ne_bytes(*family));
        let stream =
            rustix::net::sockopt::socket_type(&socket.fd).map_err(errno)? == rustix::net::SocketType::STREAM;
        if !stream {
            // AF_UNSPEC takes the peer away.
            let address = if family == Some(0) { address } else { allowed(address)? };
            return raw::connect(&socket.fd, address).map_err(errno);
        }
        let address = allowed(address)?;
        socket.join(self.teller, index, false)?;
        match raw::connect(&socket.fd, address) {
            Ok(()) => {
                socket.join(self.teller, index, true)?;
                self.watch(&socket, index)
            }
            Err(rustix::io::Errno::INPROGRESS) => {
                self.watch(&socket, index)?;
                Err(Errno::EINPROGRESS)
            }
            Err(error) => {
                socket.part();
                Err(errno(error))
            }
        }
    }

    /// getsockname(2), getpeername(2).
    pub(crate) fn name(&self, index: u64, peer: bool) -> Result<Message, Errno> {
        let address = raw::name(&self.get(index)?.fd, peer).map_err(errno)?;
        Ok(Message::default().with_address(address.bytes()))
    }

    /// setsockopt(2).
    pub(crate) fn set_option(&self, index: u64, level: u64, option: u64, value: &[u8]) -> Result<(), Errno> {
        let (level, option) = options::settable(level, option)?;
        raw::set_option(&self.get(index)?.fd, level, option, value).map_err(errno)
    }

    /// getsockopt(2).
    pub(crate) fn option(
        &self,
        index: u64,
        level: u64,
        option: u64,
        value: &mut [u8],
    ) -> Result<usize, Errno> {
        let (level, option) = options::readable(level, option)?;
        raw::get_option(&self.get(index)?.fd, level, option, value).map_err(errno)
    }

    /// sendto(2).
    pub(crate) fn send(&self, index: u64, bytes: &[u8], address: &[u8]) -> Result<usize, Errno> {
        let address = if address.is_empty() { address } else { allowed(address)? };
        raw::send_to(&self.get(index)?.fd, bytes, address).map_err(errno)
    }

    /// recvfrom(2): bytes in the buffer, and what goes with them.
    pub(crate) fn receive(
        &self,
        index: u64,
        bytes: &mut [u8],
        peek: bool,
    ) -> Result<(usize, Message), Errno> {
        let socket = self.get(index)?;
        let (length, address) = raw::receive_from(&socket.fd, bytes, peek).map_err(errno)?;
        let message = Message {
            length: u64::try_from(length).map_err(|_| Errno::EIO)?,
            more: reactor::ready_to_read(&socket),
            ..Message::default()
        };
        Ok((length.min(bytes.len()), message.with_address(address.bytes())))
    }

    /// shutdown(2) of what has no streams.
    pub(crate) fn shutdown(&self, index: u64, how: u64) -> Result<(), Errno> {
        let how = i32::try_from(how).map_err(|_| Errno::EINVAL)?;
        raw::shutdown(&self.get(index)?.fd, how).map_err(errno)
    }

    /// close(2). The number is free afterwards; what was written before still goes out.
    pub(crate) fn close(&self, index: u64, reset: bool) -> Result<(), Errno> {
        let socket = self.put(index, None)?.ok_or(Errno::EBADF)?;
        let rest = socket.close(reset, &mut scratch());
        self.forget(&socket);
        if !rest.is_empty() {
            let fd = socket.fd.try_clone().map_err(|error| errno(of(&error)))?;
            self.linger(Lingering { fd, rest });
        }
        Ok(())
    }

    fn lingering(&self) -> MutexGuard<'_, BTreeMap<u64, Lingering>> {
        self.lingering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for what is moved at a time.
fn scratch() -> Vec<u8> {
    vec![0; CHUNK]
}

fn of(error: &std::io::Error) -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(error).unwrap_or(rustix::io::Errno::IO)
}

/// An address of a family that is let through.
fn allowed(address: &[u8]) -> Result<&[u8], Errno> {
    let family = address.first_chunk().map(|family| i32::from(u16::from_ne_bytes(*family)));
    match family {
        None => Err(Errno::EINVAL),
        Some(family) if FAMILIES.contains(&family) => Ok(address),
        Some(_) => Err(Errno::EAFNOSUPPORT),
    }
}
