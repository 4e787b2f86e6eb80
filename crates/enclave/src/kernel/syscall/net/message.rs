//! Messages in parts: sendmsg(2), recvmsg(2) and their kin, with descriptors beside them (unix(7)).

use alloc::sync::Arc;
use alloc::vec::Vec;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Given, address, flag, opened, socket_of, transfer};
use crate::arch::frame::Frame;
use crate::fs::{OpenFile, Received, Sink, Source};
use crate::process::process;
use crate::syscall::file::io::{gather, parts, scatter};
use crate::syscall::time::{self, Clock};
use crate::syscall::{Errno, Result, uint};
use crate::{clock, user};

/// Bytes of `struct mmsghdr`: a header and what became of it.
const MANY: u64 = 64;
/// Where that is.
const MANY_COUNT: u64 = 56;

/// The most messages of one call (`UIO_MAXIOV`).
const MOST: u64 = 1024;

/// Bytes before the data of control data, and what they are rounded to.
const HEAD: usize = 16;
const ALIGN: usize = 8;

const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;

/// The most descriptors that go with one message (`SCM_MAX_FD`).
const MAX_RIGHTS: usize = 253;

/// The longest control data that is looked at.
const MAX_CONTROL: usize = 4096;

/// MSG_WAITFORONE: of many, wait only for the first.
const WAITFORONE: u32 = 0x10000;

/// `struct msghdr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
struct Header {
    name: u64,
    name_length: u32,
    _pad: u32,
    parts: u64,
    count: u64,
    control: u64,
    control_length: u64,
    flags: u32,
    _pad2: u32,
}

/// The files whose descriptors go with a message.
fn rights(header: &Header) -> Given<Vec<Arc<OpenFile>>> {
    let mut files = Vec::new();
    if header.control == 0 || header.control_length == 0 {
        return Ok(files);
    }
    let length = usize::try_from(header.control_length).map_err(|_| Errno::EINVAL)?;
    if length > MAX_CONTROL {
        return Err(Errno::ENOBUFS);
    }
    let mut control = alloc::vec![0; length];
    user::read(header.control, &mut control)?;
    let mut rest = control.as_slice();
    while rest.len() >= HEAD {
        let (length, kind) = rest.split_at(8);
        let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
        let length = usize::try_from(length).ok().filter(|length| (HEAD..=rest.len()).contains(length));
        let length = length.ok_or(Errno::EINVAL)?;
        let number = |at: usize| kind[at..at + 4].iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte));
        if (number(0), number(4)) != (SOL_SOCKET, SCM_RIGHTS) {
            // Credentials and times: nothing here needs them said.
            return Err(Errno::EINVAL);
        }
        for fd in rest[HEAD..length].as_chunks::<4>().0 {
            files.push(process().files.lock().get(i32::from_le_bytes(*fd))?);
        }
        if files.len() > MAX_RIGHTS {
            return Err(Errno::EINVAL);
        }
        rest = rest.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
    }
    Ok(files)
}

/// Gives the program descriptors of files that came with a message. What there is no room for is closed.
fn put_rights(header: &mut Header, files: Vec<Arc<OpenFile>>, close_on_exec: bool) -> Given<()> {
    let room = usize::try_from(header.control_length).unwrap_or(0);
    header.control_length = 0;
    if files.is_empty() {
        return Ok(());
    }
    let fits = if header.control == 0 { 0 } else { room.saturating_sub(HEAD) / 4 };
    if files.len() > fits {
        header.flags |= flag::CTRUNC;
    }
    let mut data = Vec::new();
    for file in files.into_iter().take(fits) {
        match process().files.lock().add(file, close_on_exec) {
            Ok(fd) => data.extend_from_slice(&fd.to_le_bytes()),
            Err(_) => header.flags |= flag::CTRUNC,
        }
    }
    if data.is_empty() {
        return Ok(());
    }
    let length = HEAD + data.len();
    let mut control = (length as u64).to_le_bytes().to_vec();
    control.extend_from_slice(&SOL_SOCKET.to_le_bytes());
    control.extend_from_slice(&SCM_RIGHTS.to_le_bytes());
    control.append(&mut data);
    user::write(header.control, &control)?;
    header.control_length = length.next_multiple_of(ALIGN).min(room) as u64;
    Ok(())
}

fn send_one(file: &OpenFile, at: u64, flags: u32) -> Result {
    let header: Header = user::read_value(at)?;
    let socket = socket_of(file)?;
    let to = if header.name == 0 || header.name_length == 0 {
        None
    } else {
        Some(address(header.name, header.name_length.into())?)
    };
    let files = rights(&header)?;
    let how = transfer(file, flags)?;
    let parts = parts(header.parts, header.count)?;
    let sent = match parts.as_slice() {
        [] => socket.send(&Source::Kernel(&[]), to.as_deref(), files, how),
        [(address, length)] => {
            let from = Source::Guest { address: *address, length: *length };
            socket.send(&from, to.as_deref(), files, how)
        }
        parts => socket.send(&Source::Kernel(&gather(parts)?), to.as_deref(), files, how),
    };
    sent.map(|sent| sent as u64)
}

pub(crate) fn sendmsg(frame: &mut Frame) -> Result {
    let [fd, at, flags, ..] = frame.arguments();
    let file = opened(fd)?;
    send_one(&file, at, uint(flags))
}

fn receive_one(file: &OpenFile, at: u64, flags: u32) -> Result {
    let mut header: Header = user::read_value(at)?;
    let how = transfer(file, flags)?;
    let socket = socket_of(file)?;
    let parts = parts(header.parts, header.count)?;
    let Received { count, length, address, files } = match parts.as_slice() {
        [] => socket.receive(&mut Sink::Kernel(&mut []), how)?,
        [(address, length)] => {
            socket.receive(&mut Sink::Guest { address: *address, length: *length }, how)?
        }
        parts => {
            let mut bytes = gather_room(parts);
            let received = socket.receive(&mut Sink::Kernel(&mut bytes), how)?;
            scatter(parts, &bytes[..received.count])?;
            received
        }
    };
    header.flags = if length > count { flag::TRUNC } else { 0 };
    if header.name != 0 {
        let room = usize::try_from(header.name_length).unwrap_or(0).min(address.len());
        user::write(header.name, &address[..room])?;
        header.name_length = u32::try_from(address.len()).unwrap_or(0);
    }
    put_rights(&mut header, files, flags & flag::CMSG_CLOEXEC != 0)?;
    user::write_value(at, &header)?;
    Ok(if how.truncate { length } else { count } as u64)
}

/// Room for all parts, as much as one transfer has.
fn gather_room(parts: &[(u64, usize)]) -> Vec<u8> {
    alloc::vec![0; parts.iter().map(|(_, length)| length).sum::<usize>().min(1 << 20)]
}

pub(crate) fn recvmsg(frame: &mut Frame) -> Result {
    let [fd, at, flags, ..] = frame.arguments();
    let file = opened(fd)?;
    receive_one(&file, at, uint(flags))
}

/// One message after the other, until one fails. An error only where none went.
fn many(
    at: u64,
    count: u64,
    mut one: impl FnMut(u64, u64) -> Result,
    mut over: impl FnMut() -> bool,
) -> Result {
    let count = u64::from(uint(count)).min(MOST);
    for index in 0..count {
        let at = at.checked_add(index * MANY).ok_or(Errno::EFAULT)?;
        match one(index, at) {
            Ok(bytes) => {
                user::write_value(at.wrapping_add(MANY_COUNT), &uint(bytes))?;
                if over() {
                    return Ok(index + 1);
                }
            }
            Err(errno) if index == 0 => return Err(errno),
            Err(_) => return Ok(index),
        }
    }
    Ok(count)
}

pub(crate) fn sendmmsg(frame: &mut Frame) -> Result {
    let [fd, at, count, flags, ..] = frame.arguments();
    let file = opened(fd)?;
    many(at, count, |_, at| send_one(&file, at, uint(flags)), || false)
}

pub(crate) fn recvmmsg(frame: &mut Frame) -> Result {
    let [fd, at, count, flags, timeout, _] = frame.arguments();
    let file = opened(fd)?;
    let deadline = time::optional_timeout(timeout, Clock::Monotonic, false)?;
    let flags = uint(flags);
    let once = flags & WAITFORONE != 0;
    let one = |index: u64, at: u64| {
        let wait = if once && index > 0 { flag::DONTWAIT } else { 0 };
        receive_one(&file, at, flags | wait)
    };
    // As under Linux, time is looked at between messages.
    many(at, count, one, || deadline.is_some_and(|deadline| clock::monotonic_ns() >= deadline))
}

const _: () = assert!(size_of::<Header>() as u64 == MANY_COUNT);
