//! Descriptors for timers, signals and watched files: timerfd_create(2), signalfd(2), inotify(7).

use casemate_enclave::vfs::flags::{mode, open as o};

use super::super::time::{self, Clock, Pair};
use super::super::{Errno, Result, int, uint};
use super::opened;
use crate::arch::frame::Frame;
use crate::fs::inotify::event;
use crate::fs::{Inotify, SignalFd, TimerFd, namespace};
use crate::process::process;
use crate::user;

/// SIGKILL and SIGSTOP.
const UNBLOCKABLE: u64 = 1 << 8 | 1 << 18;

pub(crate) fn timerfd_create(frame: &mut Frame) -> Result {
    let [clock, flags, ..] = frame.arguments();
    let flags = uint(flags);
    if flags & !(o::CLOEXEC | o::NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let realtime = match int(clock) {
        0 | 8 => true,
        1 | 7 | 9 => false,
        _ => return Err(Errno::EINVAL),
    };
    let file = TimerFd::open(realtime, flags);
    let fd = process().files.lock().add(file, flags & o::CLOEXEC != 0)?;
    Ok(fd.unsigned_abs().into())
}

pub(crate) fn timerfd_settime(frame: &mut Frame) -> Result {
    let [fd, flags, new, old, ..] = frame.arguments();
    let flags = uint(flags);
    // TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET.
    if flags & !3 != 0 {
        return Err(Errno::EINVAL);
    }
    let (interval, value) = user::read_value::<Pair>(new)?.to_ns(1)?;
    let file = opened(fd)?;
    let timer = file.file().timer().ok_or(Errno::EINVAL)?;
    let before = timer.get();
    let clock = if timer.realtime { Clock::Realtime } else { Clock::Monotonic };
    timer.set((value != 0).then(|| time::deadline(value, clock, flags & 1 != 0)), interval);
    if old != 0 {
        user::write_value(old, &Pair::from_ns(before, 1))?;
    }
    Ok(0)
}

pub(crate) fn timerfd_gettime(frame: &mut Frame) -> Result {
    let [fd, out, ..] = frame.arguments();
    let file = opened(fd)?;
    let now = file.file().timer().ok_or(Errno::EINVAL)?.get();
    user::write_value(out, &Pair::from_ns(now, 1))?;
    Ok(0)
}

fn signals(fd: u64, set: u64, size: u64, flags: u32) -> Result {
    if size != 8 || flags & !(o::CLOEXEC | o::NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let set = user::read_value::<u64>(set)? & !UNBLOCKABLE;
    if int(fd) == -1 {
        let file = SignalFd::open(set, flags);
        let fd = process().files.lock().add(file, flags & o::CLOEXEC != 0)?;
        return Ok(fd.unsigned_abs().into());
    }
    opened(fd)?.file().signals().ok_or(Errno::EINVAL)?.set(set);
    Ok(int(fd).unsigned_abs().into())
}

pub(crate) fn signalfd(frame: &mut Frame) -> Result {
    let [fd, set, size, ..] = frame.arguments();
    signals(fd, set, size, 0)
}

pub(crate) fn signalfd4(frame: &mut Frame) -> Result {
    let [fd, set, size, flags, ..] = frame.arguments();
    signals(fd, set, size, uint(flags))
}

fn make_inotify(flags: u32) -> Result {
    if flags & !(o::CLOEXEC | o::NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let fd = process().files.lock().add(Inotify::open(flags), flags & o::CLOEXEC != 0)?;
    Ok(fd.unsigned_abs().into())
}

pub(crate) fn inotify_init(_: &mut Frame) -> Result {
    make_inotify(0)
}

pub(crate) fn inotify_init1(frame: &mut Frame) -> Result {
    let [flags, ..] = frame.arguments();
    make_inotify(uint(flags))
}

pub(crate) fn inotify_add_watch(frame: &mut Frame) -> Result {
    let [fd, address, mask, ..] = frame.arguments();
    let mask = uint(mask);
    if mask & event::ALL == 0 || mask & event::MASK_ADD != 0 && mask & event::MASK_CREATE != 0 {
        return Err(Errno::EINVAL);
    }
    let file = opened(fd)?;
    let inotify = file.file().inotify().ok_or(Errno::EINVAL)?;
    let path = super::path(address)?;
    let follow = mask & event::DONT_FOLLOW == 0;
    let stat = namespace::stat(&path, follow)?;
    let directory = stat.mode & u64::from(mode::TYPE) == u64::from(mode::DIRECTORY);
    if mask & event::ONLYDIR != 0 && !directory {
        return Err(Errno::ENOTDIR);
    }
    let real = if follow { namespace::real(&path)? } else { namespace::real_name(&path)? };
    inotify.add(real, mask).map(|number| number.unsigned_abs().into())
}

pub(crate) fn inotify_rm_watch(frame: &mut Frame) -> Result {
    let [fd, number, ..] = frame.arguments();
    let file = opened(fd)?;
    file.file().inotify().ok_or(Errno::EINVAL)?.remove(int(number)).map(|()| 0)
}
