//! Descriptors: dup(2), fcntl(2), ioctl(2), pipe(2), eventfd(2) and what else is about them and not about contents.

use alloc::sync::Arc;

use casemate_enclave::vfs::flags::{mode, open as o};

use super::super::{Errno, Result, int, uint};
use super::lock::{Ask, record};
use super::{file, opened};
use crate::arch::frame::Frame;
use crate::fs::{Descriptor, EventFd, OpenFile, pipe};
use crate::process::process;
use crate::user;

fn number(fd: i32) -> u64 {
    u64::from(fd.unsigned_abs())
}

fn add(file: Arc<OpenFile>, close_on_exec: bool) -> Result {
    process().files.lock().add(file, close_on_exec).map(number)
}

pub(crate) fn dup(frame: &mut Frame) -> Result {
    let [fd, ..] = frame.arguments();
    add(file(fd)?, false)
}

fn dup_to(old: u64, new: u64, close_on_exec: bool) -> Result {
    let new = int(new);
    let mut files = process().files.lock();
    let file = files.get(int(old))?;
    let gone = files.set(new, Descriptor { file, close_on_exec })?;
    drop(files);
    drop(gone);
    Ok(number(new))
}

pub(crate) fn dup2(frame: &mut Frame) -> Result {
    let [old, new, ..] = frame.arguments();
    if int(old) == int(new) {
        file(old)?;
        return Ok(number(int(new)));
    }
    dup_to(old, new, false)
}

pub(crate) fn dup3(frame: &mut Frame) -> Result {
    let [old, new, flags, ..] = frame.arguments();
    let flags = uint(flags);
    if flags & !o::CLOEXEC != 0 || int(old) == int(new) {
        return Err(Errno::EINVAL);
    }
    dup_to(old, new, flags != 0)
}

/// Commands of fcntl(2) (`include/uapi/asm-generic/fcntl.h`, `include/uapi/linux/fcntl.h`).
mod command {
    pub(super) const DUPFD: i32 = 0;
    pub(super) const GETFD: i32 = 1;
    pub(super) const SETFD: i32 = 2;
    pub(super) const GETFL: i32 = 3;
    pub(super) const SETFL: i32 = 4;
    pub(super) const GETLK: i32 = 5;
    pub(super) const SETLK: i32 = 6;
    pub(super) const SETLKW: i32 = 7;
    pub(super) const SETOWN: i32 = 8;
    pub(super) const GETOWN: i32 = 9;
    pub(super) const OFD_GETLK: i32 = 36;
    pub(super) const OFD_SETLK: i32 = 37;
    pub(super) const OFD_SETLKW: i32 = 38;
    pub(super) const DUPFD_CLOEXEC: i32 = 1030;
    pub(super) const SETPIPE_SZ: i32 = 1031;
    pub(super) const GETPIPE_SZ: i32 = 1032;
    pub(super) const ADD_SEALS: i32 = 1033;
    pub(super) const GET_SEALS: i32 = 1034;
}

pub(crate) fn fcntl(frame: &mut Frame) -> Result {
    use command as c;
    let [fd, command, argument, ..] = frame.arguments();
    let command = int(command);
    let file = file(fd)?;
    let named = matches!(command, c::DUPFD | c::DUPFD_CLOEXEC | c::GETFD | c::SETFD | c::GETFL);
    if file.is_path_only() && !named {
        return Err(Errno::EBADF);
    }
    match command {
        c::DUPFD | c::DUPFD_CLOEXEC => {
            let close_on_exec = command == c::DUPFD_CLOEXEC;
            process().files.lock().add_from(int(argument), file, close_on_exec).map(number)
        }
        c::GETFD => Ok(u64::from(process().files.lock().descriptor(int(fd))?.close_on_exec)),
        c::SETFD => {
            process().files.lock().set_close_on_exec(int(fd), argument & 1 != 0)?;
            Ok(0)
        }
        c::GETFL => Ok(u64::from(file.flags())),
        c::SETFL => {
            file.set_flags(uint(argument));
            Ok(0)
        }
        c::GETLK | c::OFD_GETLK => record(&file, argument, Ask::Test, command == c::OFD_GETLK),
        c::SETLK | c::OFD_SETLK => record(&file, argument, Ask::Set, command == c::OFD_SETLK),
        c::SETLKW | c::OFD_SETLKW => record(&file, argument, Ask::Wait, command == c::OFD_SETLKW),
        c::SETOWN | c::GETOWN => Ok(0),
        c::GETPIPE_SZ => file.file().pipe_size().map(|size| size as u64).ok_or(Errno::EBADF),
        c::SETPIPE_SZ => {
            let size = usize::try_from(uint(argument)).map_err(|_| Errno::EINVAL)?;
            file.file().set_pipe_size(size).map(|size| size as u64)
        }
        c::ADD_SEALS => {
            if !file.writable() {
                return Err(Errno::EPERM);
            }
            file.file().node().ok_or(Errno::EINVAL)?.add_seals(uint(argument))?;
            Ok(0)
        }
        c::GET_SEALS => Ok(u64::from(file.file().node().ok_or(Errno::EINVAL)?.seals())),
        _ => Err(Errno::EINVAL),
    }
}

/// Requests of ioctl(2) that are the same for all files (`do_vfs_ioctl`).
mod request {
    pub(super) const FIONREAD: u32 = 0x541b;
    pub(super) const FIONBIO: u32 = 0x5421;
    pub(super) const FIOASYNC: u32 = 0x5452;
    pub(super) const FIONCLEX: u32 = 0x5450;
    pub(super) const FIOCLEX: u32 = 0x5451;
    pub(super) const FIOQSIZE: u32 = 0x5460;
}

pub(crate) fn ioctl(frame: &mut Frame) -> Result {
    let [fd, request, argument, ..] = frame.arguments();
    let file = opened(fd)?;
    match uint(request) {
        request @ (request::FIOCLEX | request::FIONCLEX) => {
            process().files.lock().set_close_on_exec(int(fd), request == request::FIOCLEX)?;
        }
        request::FIONBIO => file.set_nonblock(user::read_value::<u32>(argument)? != 0),
        // Taken, as F_SETOWN is, but nobody sends SIGIO.
        request::FIOASYNC => drop(user::read_value::<u32>(argument)?),
        request::FIOQSIZE => user::write_value(argument, &file.stat()?.size)?,
        request::FIONREAD if file.stat()?.mode & u64::from(mode::TYPE) == u64::from(mode::REGULAR) => {
            let position = file.seek(0, 1)?;
            let left = file.stat()?.size.saturating_sub(position);
            user::write_value(argument, &u32::try_from(left).unwrap_or(u32::MAX))?;
        }
        request => return file.file().ioctl(request, argument),
    }
    Ok(0)
}

pub(crate) fn umask(frame: &mut Frame) -> Result {
    let [mask, ..] = frame.arguments();
    Ok(u64::from(process().files.lock().set_umask(uint(mask))))
}

fn make_pipe(out: u64, flags: u32) -> Result {
    if flags & !(o::CLOEXEC | o::NONBLOCK | o::DIRECT) != 0 {
        return Err(Errno::EINVAL);
    }
    let (reader, writer) = pipe(flags);
    let close_on_exec = flags & o::CLOEXEC != 0;
    let mut files = process().files.lock();
    let first = files.add(reader, close_on_exec)?;
    let second = match files.add(writer, close_on_exec) {
        Ok(second) => second,
        Err(errno) => {
            let gone = files.remove(first);
            drop(files);
            drop(gone);
            return Err(errno);
        }
    };
    drop(files);
    if let Err(errno) = user::write_value(out, &[first, second]) {
        for fd in [first, second] {
            let gone = process().files.lock().remove(fd);
            drop(gone);
        }
        return Err(errno);
    }
    Ok(0)
}

pub(crate) fn pipe_old(frame: &mut Frame) -> Result {
    let [out, ..] = frame.arguments();
    make_pipe(out, 0)
}

pub(crate) fn pipe2(frame: &mut Frame) -> Result {
    let [out, flags, ..] = frame.arguments();
    make_pipe(out, uint(flags))
}

/// EFD_SEMAPHORE; the other flags are those of open(2).
const SEMAPHORE: u32 = 1;

fn make_eventfd(count: u64, flags: u32) -> Result {
    if flags & !(SEMAPHORE | o::CLOEXEC | o::NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    add(EventFd::open(uint(count), flags & SEMAPHORE != 0, flags), flags & o::CLOEXEC != 0)
}

pub(crate) fn eventfd(frame: &mut Frame) -> Result {
    let [count, ..] = frame.arguments();
    make_eventfd(count, 0)
}

pub(crate) fn eventfd2(frame: &mut Frame) -> Result {
    let [count, flags, ..] = frame.arguments();
    make_eventfd(count, uint(flags))
}

pub(crate) fn fsync(frame: &mut Frame) -> Result {
    let [fd, ..] = frame.arguments();
    opened(fd)?.sync(false).map(|()| 0)
}

pub(crate) fn fdatasync(frame: &mut Frame) -> Result {
    let [fd, ..] = frame.arguments();
    opened(fd)?.sync(true).map(|()| 0)
}

pub(crate) fn sync(_: &mut Frame) -> Result {
    crate::fs::mapped::flush_all();
    Ok(0)
}

pub(crate) fn syncfs(frame: &mut Frame) -> Result {
    let [fd, ..] = frame.arguments();
    opened(fd).map(|_| 0)
}
