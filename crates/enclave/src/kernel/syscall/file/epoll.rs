//! epoll(7).

use alloc::sync::Arc;

use casemate_enclave::vfs::flags::open as o;
use casemate_enclave_abi::op::NET_ALL;

use super::super::time::{self, Clock};
use super::super::{Errno, Result, int, uint};
use super::poll::{deadline_ms, mask_for_wait};
use super::{file, opened};
use crate::arch::frame::Frame;
use crate::fs::{Epoll, Event, OpenFile};
use crate::process::process;
use crate::{net, user};

/// Bytes of `struct epoll_event`, which is packed.
const EVENT: u64 = 12;

/// The most events that one call tells.
const MOST: usize = 1024;

/// Operations of epoll_ctl(2).
const ADD: i32 = 1;
const DELETE: i32 = 2;
const MODIFY: i32 = 3;

fn make(close_on_exec: bool) -> Result {
    let fd = process().files.lock().add(Epoll::open(), close_on_exec)?;
    Ok(u64::from(fd.unsigned_abs()))
}

pub(crate) fn create(frame: &mut Frame) -> Result {
    let [size, ..] = frame.arguments();
    if int(size) <= 0 { Err(Errno::EINVAL) } else { make(false) }
}

pub(crate) fn create1(frame: &mut Frame) -> Result {
    let [flags, ..] = frame.arguments();
    let flags = uint(flags);
    if flags & !o::CLOEXEC != 0 { Err(Errno::EINVAL) } else { make(flags != 0) }
}

fn instance(file: &Arc<OpenFile>) -> core::result::Result<&Epoll, Errno> {
    file.file().epoll().ok_or(Errno::EINVAL)
}

pub(crate) fn control(frame: &mut Frame) -> Result {
    let [epoll, operation, fd, event, ..] = frame.arguments();
    let operation = int(operation);
    let event = if operation == DELETE {
        Event { events: 0, data: 0 }
    } else {
        let events = user::read_value::<u32>(event)?;
        Event { events, data: user::read_value(event.wrapping_add(4))? }
    };
    let holder = file(epoll)?;
    let watched = opened(fd)?;
    let epoll = instance(&holder)?;
    if Arc::ptr_eq(&holder, &watched) {
        return Err(Errno::EINVAL);
    }
    match operation {
        ADD => epoll.add(int(fd), &watched, event),
        DELETE => epoll.remove(int(fd), &watched),
        MODIFY => epoll.modify(int(fd), &watched, event),
        _ => Err(Errno::EINVAL),
    }
    .map(|()| 0)
}

fn wait_for(epoll: u64, out: u64, most: u64, deadline: Option<u64>) -> Result {
    let most = usize::try_from(int(most)).ok().filter(|most| *most > 0).ok_or(Errno::EINVAL)?;
    let holder = file(epoll)?;
    net::look_outside(NET_ALL);
    let events = instance(&holder)?.wait(most.min(MOST), deadline)?;
    for (event, index) in events.iter().zip(0..) {
        let at = out.checked_add(index * EVENT).ok_or(Errno::EFAULT)?;
        user::write_value(at, &event.events)?;
        user::write_value(at.wrapping_add(4), &event.data)?;
    }
    Ok(events.len() as u64)
}

pub(crate) fn wait(frame: &mut Frame) -> Result {
    let [epoll, out, most, timeout, ..] = frame.arguments();
    wait_for(epoll, out, most, deadline_ms(timeout))
}

pub(crate) fn pwait(frame: &mut Frame) -> Result {
    let [epoll, out, most, timeout, set, size] = frame.arguments();
    let deadline = deadline_ms(timeout);
    mask_for_wait(set, size)?;
    wait_for(epoll, out, most, deadline)
}

pub(crate) fn pwait2(frame: &mut Frame) -> Result {
    let [epoll, out, most, timeout, set, size] = frame.arguments();
    let deadline = time::optional_timeout(timeout, Clock::Monotonic, false)?;
    mask_for_wait(set, size)?;
    wait_for(epoll, out, most, deadline)
}
