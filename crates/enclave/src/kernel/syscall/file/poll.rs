//! poll(2), select(2) and their kin.

use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::flags::poll;

use super::super::time::{self, Clock, Timespec};
use super::super::{Errno, Result, int};
use crate::arch::frame::Frame;
use crate::fs::{OpenFile, wait};
use crate::process::process;
use crate::{clock, sched, signal, user};

/// Bytes of a signal set.
const SET: u64 = 8;

/// A descriptor that is waited for.
struct Watched {
    /// `None`: not open, or negative.
    file: Option<Arc<OpenFile>>,
    events: u32,
    found: u32,
}

/// Waits until something is ready; says how many are.
fn wait(watched: &mut [Watched], deadline: Option<u64>) -> core::result::Result<usize, Errno> {
    let files: Vec<_> = watched.iter().map(|w| (w.file.clone(), w.events)).collect();
    let look = || {
        let mut ready = 0;
        for one in watched.iter_mut() {
            if let Some(file) = &one.file {
                one.found = file.file().poll()? & (one.events | poll::ERR | poll::HUP);
            }
            ready += usize::from(one.found != 0);
        }
        Ok((ready > 0).then_some(ready))
    };
    let await_what = |awaited: &mut wait::Awaited| {
        for (file, events) in &files {
            if let Some(file) = file {
                file.file().queues(&mut awaited.queues);
                awaited.streams |= wait::streams_for(file.file(), *events);
                file.file().outside(*events, &mut awaited.pipes);
            }
        }
    };
    Ok(wait::until(deadline, await_what, look)?.unwrap_or(0))
}

/// Sets the signal mask for the length of a wait, where the program gives one.
pub(super) fn mask_for_wait(set: u64, size: u64) -> core::result::Result<(), Errno> {
    if set == 0 {
        return Ok(());
    }
    if size != SET {
        return Err(Errno::EINVAL);
    }
    let mask = user::read_value::<u64>(set)?;
    signal::mask_for_wait(&sched::current(), mask);
    Ok(())
}

/// The deadline of a timeout in milliseconds; negative is none.
pub(super) fn deadline_ms(timeout: u64) -> Option<u64> {
    let ms = u64::try_from(int(timeout)).ok()?;
    Some(clock::monotonic_ns().saturating_add(ms * 1_000_000))
}

/// Tells the program how much of its timeout is left.
fn put_rest(address: u64, deadline: Option<u64>, unit: i64) {
    if let Some(deadline) = deadline {
        let mut rest = Timespec::from_ns(deadline.saturating_sub(clock::monotonic_ns()));
        rest.nanoseconds /= unit;
        // As under Linux, a timeout that cannot be written is no error.
        let _ = user::write_value(address, &rest);
    }
}

fn poll_array(array: u64, count: u64, deadline: Option<u64>) -> Result {
    let limit = process().files.lock().limits().0;
    if count > limit {
        return Err(Errno::EINVAL);
    }
    let mut bytes = alloc::vec![0; usize::try_from(count * 8).map_err(|_| Errno::EINVAL)?];
    user::read(array, &mut bytes)?;
    let mut watched = Vec::new();
    {
        let files = process().files.lock();
        for &[a, b, c, d, low, high, ..] in bytes.as_chunks::<8>().0 {
            let fd = i32::from_le_bytes([a, b, c, d]);
            let events = u32::from(u16::from_le_bytes([low, high]));
            let file = files.get(fd).ok();
            let found = if fd >= 0 && file.is_none() { poll::NVAL } else { 0 };
            watched.push(Watched { file, events, found });
        }
    }
    let ready = wait(&mut watched, deadline);
    for (record, one) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&watched) {
        let found = u16::try_from(one.found).unwrap_or(0);
        [record[6], record[7]] = found.to_le_bytes();
    }
    let ready = ready?;
    user::write(array, &bytes)?;
    Ok(ready as u64)
}

pub(crate) fn poll(frame: &mut Frame) -> Result {
    let [array, count, timeout, ..] = frame.arguments();
    poll_array(array, u64::from(super::super::uint(count)), deadline_ms(timeout))
}

pub(crate) fn ppoll(frame: &mut Frame) -> Result {
    let [array, count, timeout, set, size, _] = frame.arguments();
    let deadline = time::optional_timeout(timeout, Clock::Monotonic, false)?;
    mask_for_wait(set, size)?;
    let result = poll_array(array, u64::from(super::super::uint(count)), deadline);
    put_rest(timeout, deadline, 1);
    result
}

/// Events that make a descriptor readable, writable, exceptional for select(2) (`fs/select.c`).
const SELECT: [u32; 3] =
    [poll::IN | poll::RDNORM | poll::HUP | poll::ERR, poll::OUT | poll::WRNORM | poll::ERR, poll::PRI];

/// Waits for the descriptors below `count` in three sets, each null or a bit for each descriptor.
fn select_sets(count: u64, sets: [u64; 3], deadline: Option<u64>) -> Result {
    let count = usize::try_from(int(count)).map_err(|_| Errno::EINVAL)?;
    let count = count.min(process().files.lock().room());
    let words = count.div_ceil(64);
    let mut bits = [const { Vec::new() }; 3];
    for (bits, set) in bits.iter_mut().zip(sets) {
        *bits = alloc::vec![0_u8; words * 8];
        if set != 0 {
            user::read(set, bits)?;
        }
    }
    let has = |bits: &[u8], fd: usize| bits.get(fd / 8).is_some_and(|byte| byte >> (fd % 8) & 1 != 0);
    let mut watched = Vec::new();
    let mut numbers = Vec::new();
    for fd in 0..count {
        let wanted = bits.iter().zip(SELECT).filter(|(bits, _)| has(bits, fd));
        let events = wanted.fold(0, |all, (_, events)| all | events);
        if events != 0 {
            let number = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
            let file = process().files.lock().get(number)?;
            watched.push(Watched { file: Some(file), events, found: 0 });
            numbers.push(fd);
        }
    }
    wait(&mut watched, deadline)?;
    let mut ready = 0;
    for ((bits, set), events) in bits.iter().zip(sets).zip(SELECT) {
        if set == 0 {
            continue;
        }
        let mut result = alloc::vec![0_u8; words * 8];
        for (fd, one) in numbers.iter().zip(&watched) {
            if has(bits, *fd) && one.found & events != 0 {
                result[fd / 8] |= 1 << (fd % 8);
                ready += 1;
            }
        }
        user::write(set, &result)?;
    }
    Ok(ready)
}

pub(crate) fn select(frame: &mut Frame) -> Result {
    let [count, read, write, except, timeout, _] = frame.arguments();
    let deadline = if timeout == 0 {
        None
    } else {
        let value: Timespec = user::read_value(timeout)?;
        let (seconds, micros) = (u64::try_from(value.seconds), u64::try_from(value.nanoseconds));
        let (Ok(seconds), Ok(micros)) = (seconds, micros) else { return Err(Errno::EINVAL) };
        let ns = seconds.saturating_mul(1_000_000_000).saturating_add(micros.saturating_mul(1000));
        Some(clock::monotonic_ns().saturating_add(ns))
    };
    let result = select_sets(count, [read, write, except], deadline);
    put_rest(timeout, deadline, 1000);
    result
}

pub(crate) fn pselect6(frame: &mut Frame) -> Result {
    let [count, read, write, except, timeout, signals] = frame.arguments();
    let deadline = time::optional_timeout(timeout, Clock::Monotonic, false)?;
    if signals != 0 {
        let [set, size]: [u64; 2] = user::read_value(signals)?;
        mask_for_wait(set, size)?;
    }
    let result = select_sets(count, [read, write, except], deadline);
    put_rest(timeout, deadline, 1);
    result
}
