//! Sockets.

mod message;

use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::flags::open as o;

use super::{Errno, Result, int, length, uint};
use crate::arch::frame::Frame;
use crate::fs::{File, OpenFile, Received, Sink, Socket, Source, Transfer};
use crate::net;
use crate::process::process;
use crate::user;

pub(crate) use message::{recvmmsg, recvmsg, sendmmsg, sendmsg};

/// The longest address that is taken (`struct sockaddr_storage`).
const MAX_ADDRESS: usize = 128;

/// The longest value of an option that is taken.
const MAX_OPTION: usize = 1024;

/// Flags of kinds of sockets: the rest of the number is the kind.
const KIND: u32 = 0xf;

/// Flags of transfers (`include/linux/socket.h`).
mod flag {
    pub(super) const OOB: u32 = 0x1;
    pub(super) const PEEK: u32 = 0x2;
    pub(super) const TRUNC: u32 = 0x20;
    pub(super) const DONTWAIT: u32 = 0x40;
    pub(super) const WAITALL: u32 = 0x100;
    pub(super) const ERRQUEUE: u32 = 0x2000;
    pub(super) const NOSIGNAL: u32 = 0x4000;
    pub(super) const CMSG_CLOEXEC: u32 = 0x4000_0000;
    pub(super) const CTRUNC: u32 = 0x8;
}

type Given<T> = core::result::Result<T, Errno>;

/// The open file of a descriptor, which is a socket.
fn opened(fd: u64) -> Given<Arc<OpenFile>> {
    let file = process().files.lock().get(int(fd))?;
    if file.is_path_only() { Err(Errno::EBADF) } else { Ok(file) }
}

fn socket_of(file: &OpenFile) -> Given<&dyn Socket> {
    file.file().socket().ok_or(Errno::ENOTSOCK)
}

fn nonblock(file: &OpenFile) -> bool {
    file.flags() & o::NONBLOCK != 0
}

/// How a transfer is to be made.
fn transfer(file: &OpenFile, flags: u32) -> Given<Transfer> {
    // Urgent data and the queue of errors are not there.
    if flags & flag::OOB != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if flags & flag::ERRQUEUE != 0 {
        return Err(Errno::EAGAIN);
    }
    Ok(Transfer {
        peek: flags & flag::PEEK != 0,
        wait_all: flags & flag::WAITALL != 0,
        truncate: flags & flag::TRUNC != 0,
        no_signal: flags & flag::NOSIGNAL != 0,
        nonblock: flags & flag::DONTWAIT != 0 || nonblock(file),
    })
}

/// An address of the program's.
fn address(at: u64, bytes: u64) -> Given<Vec<u8>> {
    let bytes = usize::try_from(int(bytes)).map_err(|_| Errno::EINVAL)?;
    if bytes > MAX_ADDRESS {
        return Err(Errno::EINVAL);
    }
    let mut address = alloc::vec![0; bytes];
    user::read(at, &mut address)?;
    Ok(address)
}

/// Gives the program an address: as much as there is room for, and how long it is.
fn put_address(address: &[u8], at: u64, length_at: u64) -> Given<()> {
    let room = usize::try_from(user::read_value::<i32>(length_at)?).map_err(|_| Errno::EINVAL)?;
    user::write(at, &address[..room.min(address.len())])?;
    user::write_value(length_at, &u32::try_from(address.len()).unwrap_or(0))
}

/// The same, where the program wants one.
fn put_optional_address(address: &[u8], at: u64, length_at: u64) -> Given<()> {
    if at == 0 { Ok(()) } else { put_address(address, at, length_at) }
}

/// Puts a new socket at a descriptor. `flags` are those of its kind (SOCK_CLOEXEC, SOCK_NONBLOCK).
fn add(file: Arc<dyn File>, flags: u32) -> Given<i32> {
    let name = file.label().unwrap_or_default();
    let opened = OpenFile::new(file, o::RDWR | flags & o::NONBLOCK, name);
    let added = process().files.lock().add(Arc::clone(&opened), flags & o::CLOEXEC != 0);
    drop(opened);
    added
}

/// The kind in a number that has flags, too.
fn kind(number: u32) -> Given<u32> {
    if number & !(KIND | o::NONBLOCK | o::CLOEXEC) != 0 { Err(Errno::EINVAL) } else { Ok(number & KIND) }
}

fn number(fd: i32) -> u64 {
    u64::from(fd.unsigned_abs())
}

pub(crate) fn socket(frame: &mut Frame) -> Result {
    let [family, kind_and_flags, protocol, ..] = frame.arguments();
    let flags = uint(kind_and_flags);
    let (kind, protocol) = (kind(flags)?, uint(protocol));
    let file = match u16::try_from(uint(family)).map_err(|_| Errno::EINVAL)? {
        net::AF_UNIX => net::open_local(kind)?,
        family @ (net::AF_INET | net::AF_INET6) => net::open_inet(family, kind, protocol)?,
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    add(file, flags).map(number)
}

pub(crate) fn socketpair(frame: &mut Frame) -> Result {
    let [family, kind_and_flags, _, out, ..] = frame.arguments();
    let flags = uint(kind_and_flags);
    let kind = kind(flags)?;
    match u16::try_from(uint(family)) {
        Ok(net::AF_UNIX) => {}
        Ok(net::AF_INET | net::AF_INET6) => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EAFNOSUPPORT),
    }
    let [first, second] = net::pair(kind)?;
    let first = add(first, flags)?;
    let second = add(second, flags).inspect_err(|_| close(first))?;
    if let Err(errno) = user::write_value(out, &[first, second]) {
        close(first);
        close(second);
        return Err(errno);
    }
    Ok(0)
}

fn close(fd: i32) {
    let gone = process().files.lock().remove(fd);
    drop(gone);
}

pub(crate) fn bind(frame: &mut Frame) -> Result {
    let [fd, at, bytes, ..] = frame.arguments();
    let file = opened(fd)?;
    socket_of(&file)?.bind(&address(at, bytes)?).map(|()| 0)
}

pub(crate) fn listen(frame: &mut Frame) -> Result {
    let [fd, backlog, ..] = frame.arguments();
    let file = opened(fd)?;
    socket_of(&file)?.listen(uint(backlog).min(0xffff)).map(|()| 0)
}

pub(crate) fn connect(frame: &mut Frame) -> Result {
    let [fd, at, bytes, ..] = frame.arguments();
    let file = opened(fd)?;
    let address = address(at, bytes)?;
    socket_of(&file)?.connect(&address, nonblock(&file)).map(|()| 0)
}

fn take_connection([fd, at, length_at]: [u64; 3], flags: u32) -> Result {
    if flags & !(o::NONBLOCK | o::CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let file = opened(fd)?;
    let (new, peer) = socket_of(&file)?.accept(nonblock(&file))?;
    let fd = add(new, flags)?;
    put_optional_address(&peer, at, length_at).inspect_err(|_| close(fd))?;
    Ok(number(fd))
}

pub(crate) fn accept(frame: &mut Frame) -> Result {
    let [fd, at, length_at, ..] = frame.arguments();
    take_connection([fd, at, length_at], 0)
}

pub(crate) fn accept4(frame: &mut Frame) -> Result {
    let [fd, at, length_at, flags, ..] = frame.arguments();
    take_connection([fd, at, length_at], uint(flags))
}

fn name(frame: &Frame, peer: bool) -> Result {
    let [fd, at, length_at, ..] = frame.arguments();
    let file = opened(fd)?;
    put_address(&socket_of(&file)?.name(peer)?, at, length_at)?;
    Ok(0)
}

pub(crate) fn getsockname(frame: &mut Frame) -> Result {
    name(frame, false)
}

pub(crate) fn getpeername(frame: &mut Frame) -> Result {
    name(frame, true)
}

pub(crate) fn setsockopt(frame: &mut Frame) -> Result {
    let [fd, level, option, at, bytes, _] = frame.arguments();
    let bytes = usize::try_from(int(bytes)).map_err(|_| Errno::EINVAL)?;
    let file = opened(fd)?;
    let socket = socket_of(&file)?;
    let mut value = alloc::vec![0; bytes.min(MAX_OPTION)];
    user::read(at, &mut value)?;
    socket.set_option(uint(level), uint(option), &value).map(|()| 0)
}

pub(crate) fn getsockopt(frame: &mut Frame) -> Result {
    let [fd, level, option, at, length_at, _] = frame.arguments();
    let room = usize::try_from(user::read_value::<i32>(length_at)?).map_err(|_| Errno::EINVAL)?;
    let file = opened(fd)?;
    let value = socket_of(&file)?.option(uint(level), uint(option), room)?;
    let value = &value[..room.min(value.len())];
    user::write(at, value)?;
    user::write_value(length_at, &u32::try_from(value.len()).unwrap_or(0))?;
    Ok(0)
}

pub(crate) fn shutdown(frame: &mut Frame) -> Result {
    let [fd, how, ..] = frame.arguments();
    let file = opened(fd)?;
    let socket = socket_of(&file)?;
    let (read, write) = match int(how) {
        0 => (true, false),
        1 => (false, true),
        2 => (true, true),
        _ => return Err(Errno::EINVAL),
    };
    socket.shutdown(read, write).map(|()| 0)
}

pub(crate) fn sendto(frame: &mut Frame) -> Result {
    let [fd, at, count, flags, to, to_length] = frame.arguments();
    let file = opened(fd)?;
    let socket = socket_of(&file)?;
    let to = if to == 0 { None } else { Some(address(to, to_length)?) };
    let from = Source::Guest { address: at, length: length(count)? };
    let sent = socket.send(&from, to.as_deref(), Vec::new(), transfer(&file, uint(flags))?)?;
    Ok(sent as u64)
}

pub(crate) fn recvfrom(frame: &mut Frame) -> Result {
    let [fd, at, count, flags, from, from_length] = frame.arguments();
    let file = opened(fd)?;
    let how = transfer(&file, uint(flags))?;
    let mut to = Sink::Guest { address: at, length: length(count)? };
    let Received { count, length, address, .. } = socket_of(&file)?.receive(&mut to, how)?;
    put_optional_address(&address, from, from_length)?;
    Ok(if how.truncate { length } else { count } as u64)
}
