//! Clocks and sleeping.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Errno, Result, int};
use crate::arch::frame::Frame;
use crate::{clock, sched, signal, user};

/// `struct timespec`; `timeval` has the same shape, with microseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub(crate) struct Timespec {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: i64,
}

const SECOND: u64 = 1_000_000_000;

impl Timespec {
    pub(crate) fn from_ns(ns: u64) -> Self {
        Self { seconds: (ns / SECOND).cast_signed(), nanoseconds: (ns % SECOND).cast_signed() }
    }

    /// In nanoseconds; EINVAL for what is no time.
    pub(crate) fn to_ns(self) -> core::result::Result<u64, Errno> {
        let seconds = u64::try_from(self.seconds).map_err(|_| Errno::EINVAL)?;
        let nanoseconds = u64::try_from(self.nanoseconds).map_err(|_| Errno::EINVAL)?;
        if nanoseconds >= SECOND {
            return Err(Errno::EINVAL);
        }
        Ok(seconds.saturating_mul(SECOND).saturating_add(nanoseconds))
    }
}

/// `struct itimerval` and `struct itimerspec`: interval, then value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub(crate) struct Pair {
    interval: Timespec,
    value: Timespec,
}

impl Pair {
    /// Interval and value in nanoseconds, where a fraction's unit has so many.
    pub(crate) fn to_ns(self, unit: u64) -> core::result::Result<(u64, u64), Errno> {
        let ns = |time: Timespec| {
            let part = time.nanoseconds.checked_mul(unit.cast_signed()).ok_or(Errno::EINVAL)?;
            Timespec { nanoseconds: part, ..time }.to_ns()
        };
        Ok((ns(self.interval)?, ns(self.value)?))
    }

    /// From time left and interval.
    pub(crate) fn from_ns((left, interval): (u64, u64), unit: u64) -> Self {
        let time = |ns: u64| {
            let time = Timespec::from_ns(ns.next_multiple_of(unit));
            Timespec { nanoseconds: time.nanoseconds / unit.cast_signed(), ..time }
        };
        Self { interval: time(interval), value: time(left) }
    }
}

/// Clocks that can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Monotonic,
    Realtime,
}

/// The monotonic time at which a time of `clock`, absolute or from now, comes.
pub(crate) fn deadline(ns: u64, clock: Clock, absolute: bool) -> u64 {
    let now = clock::monotonic_ns();
    match (absolute, clock) {
        (false, _) => now.saturating_add(ns),
        (true, Clock::Monotonic) => ns,
        (true, Clock::Realtime) => now.saturating_add(ns.saturating_sub(clock::realtime_ns())),
    }
}

/// The deadline of a timeout in guest memory; `None` where the pointer is null.
pub(crate) fn optional_timeout(
    address: u64,
    clock: Clock,
    absolute: bool,
) -> core::result::Result<Option<u64>, Errno> {
    if address == 0 {
        return Ok(None);
    }
    let ns = user::read_value::<Timespec>(address)?.to_ns()?;
    Ok(Some(deadline(ns, clock, absolute)))
}

/// Sleeps until a monotonic time; EINTR where a signal comes first.
fn sleep_until(end: u64) -> core::result::Result<(), Errno> {
    let thread = sched::current();
    while clock::monotonic_ns() < end {
        sched::park(Some(end));
        if signal::interrupts(&thread) {
            return Err(Errno::EINTR);
        }
    }
    Ok(())
}

fn sleep(request: u64, rest: u64, clock: Clock, absolute: bool) -> Result {
    let ns = user::read_value::<Timespec>(request)?.to_ns()?;
    let end = deadline(ns, clock, absolute);
    let slept = sleep_until(end);
    if slept.is_err() && rest != 0 && !absolute {
        let left = end.saturating_sub(clock::monotonic_ns());
        user::write_value(rest, &Timespec::from_ns(left))?;
    }
    slept.map(|()| 0)
}

pub(super) fn nanosleep(frame: &mut Frame) -> Result {
    let [request, rest, ..] = frame.arguments();
    sleep(request, rest, Clock::Monotonic, false)
}

pub(super) fn clock_nanosleep(frame: &mut Frame) -> Result {
    let [id, flags, request, rest, ..] = frame.arguments();
    let clock = match int(id) {
        0 | 11 => Clock::Realtime,
        1 | 7 => Clock::Monotonic,
        2 => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EINVAL),
    };
    sleep(request, rest, clock, flags & 1 != 0)
}

/// What a clock shows, by its id (`include/uapi/linux/time.h`).
pub(crate) fn read_clock(id: i32) -> core::result::Result<u64, Errno> {
    match id {
        // Realtime, its coarse form, TAI.
        0 | 5 | 11 => Ok(clock::realtime_ns()),
        // Monotonic, raw, coarse, boot time; CPU time of process and thread.
        1 | 4 | 6 | 7 => Ok(clock::monotonic_ns()),
        2 | 3 => Ok(clock::running_ns()),
        // CPU clocks of a process or thread by its id.
        id if id < 0 => Ok(clock::running_ns()),
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn clock_gettime(frame: &mut Frame) -> Result {
    let [id, out, ..] = frame.arguments();
    let now = read_clock(int(id))?;
    user::write_value(out, &Timespec::from_ns(now))?;
    Ok(0)
}

pub(super) fn clock_getres(frame: &mut Frame) -> Result {
    let [id, out, ..] = frame.arguments();
    read_clock(int(id))?;
    if out != 0 {
        let resolution = if matches!(int(id), 5 | 6) { 4_000_000 } else { 1 };
        user::write_value(out, &Timespec::from_ns(resolution))?;
    }
    Ok(0)
}

pub(super) fn gettimeofday(frame: &mut Frame) -> Result {
    let [out, zone, ..] = frame.arguments();
    if out != 0 {
        let mut now = Timespec::from_ns(clock::realtime_ns());
        now.nanoseconds /= 1000;
        user::write_value(out, &now)?;
    }
    if zone != 0 {
        user::write(zone, &[0; 8])?;
    }
    Ok(0)
}

pub(super) fn time(frame: &mut Frame) -> Result {
    let [out, ..] = frame.arguments();
    let now = clock::realtime_ns() / SECOND;
    if out != 0 {
        user::write_value(out, &now)?;
    }
    Ok(now)
}
