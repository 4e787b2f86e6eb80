//! Timers that send signals: setitimer(2), alarm(2), timer_create(2) and its kin.
//!
//! CPU time cannot be told inside: timers on it count the time that the program has run.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};

use spin::Mutex;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::time::{self, Clock, Pair};
use super::{Errno, Result, int};
use crate::arch::frame::Frame;
use crate::process::process;
use crate::signal::{self, Info, SIGALRM, SIGPROF, SIGVTALRM};
use crate::timers::{self, Alarm};
use crate::{clock, user};

const SI_KERNEL: i32 = 0x80;
const SI_TIMER: i32 = -2;

const MICROSECOND: u64 = 1000;

/// The most timers of timer_create(2).
const MAX_TIMERS: usize = 4096;

/// The largest count of expirations that timer_getoverrun(2) shows.
const MAX_OVERRUN: u64 = 0x7fff_ffff;

/// Who is told of an expiration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notify {
    Nobody,
    Process(u8),
    Thread(u32, u8),
}

#[derive(Debug, Default)]
struct Setting {
    /// Monotonic time of the next expiration.
    next: Option<u64>,
    interval: u64,
    /// Expirations that the last signal does not tell of.
    overrun: u64,
    alarm: Option<Alarm>,
}

/// A timer.
#[derive(Debug)]
struct Timer {
    notify: Notify,
    /// si_timerid and sigev_value; `None` for setitimer(2), whose signals say nothing.
    told: Option<(u32, u64)>,
    clock: Clock,
    setting: Mutex<Setting>,
}

impl Timer {
    fn new(notify: Notify, told: Option<(u32, u64)>, clock: Clock) -> Arc<Self> {
        Arc::new(Self { notify, told, clock, setting: Mutex::default() })
    }

    /// Time left and interval.
    fn get(&self) -> (u64, u64) {
        let setting = self.setting.lock();
        let now = clock::monotonic_ns();
        let left = match (setting.next, setting.interval) {
            (None, _) => 0,
            // It has expired, and its signal is on the way.
            (Some(next), interval) if next <= now && interval > 0 => interval - (now - next) % interval,
            (Some(next), _) => next.saturating_sub(now).max(1),
        };
        (left, setting.interval)
    }

    /// Sets it to expire at a monotonic time; `None` stops it.
    fn set(self: &Arc<Self>, next: Option<u64>, interval: u64) {
        let alarm = next.map(|next| self.alarm(next));
        let before =
            core::mem::replace(&mut *self.setting.lock(), Setting { next, interval, overrun: 0, alarm });
        drop(before);
    }

    fn alarm(self: &Arc<Self>, time: u64) -> Alarm {
        let timer: Weak<Self> = Arc::downgrade(self);
        timers::at(time, move || {
            if let Some(timer) = timer.upgrade() {
                timer.expire();
            }
        })
    }

    fn expire(self: &Arc<Self>) {
        let mut setting = self.setting.lock();
        let now = clock::monotonic_ns();
        let Some(next) = setting.next.filter(|next| *next <= now) else { return };
        let missed = (now - next).checked_div(setting.interval).unwrap_or(0);
        // Its own alarm has just been taken out of the queue, so dropping it finds nothing.
        setting.next = match setting.interval {
            0 => None,
            interval => Some(next.saturating_add((missed + 1).saturating_mul(interval))),
        };
        setting.alarm = setting.next.map(|next| self.alarm(next));
        let pending = self.is_pending();
        setting.overrun = if pending { setting.overrun.saturating_add(missed + 1) } else { missed };
        let overrun = setting.overrun.min(MAX_OVERRUN);
        drop(setting);
        if !pending {
            self.send(overrun);
        }
    }

    /// Whether the signal of an earlier expiration has not been taken yet.
    fn is_pending(&self) -> bool {
        match self.notify {
            Notify::Nobody => false,
            Notify::Process(signal) => signal::pending_of_process() & signal::bit(signal) != 0,
            Notify::Thread(id, signal) => {
                process().thread(id).is_some_and(|thread| signal::pending(&thread) & signal::bit(signal) != 0)
            }
        }
    }

    fn send(&self, overrun: u64) {
        let info = match self.told {
            None => Info { code: SI_KERNEL, ..Info::default() },
            Some((id, value)) => {
                Info { code: SI_TIMER, first: u64::from(id) | overrun << 32, second: value, fault: None }
            }
        };
        match self.notify {
            Notify::Nobody => {}
            Notify::Process(signal) => signal::send_to_process(signal, info),
            Notify::Thread(id, signal) => {
                if let Some(thread) = process().thread(id) {
                    signal::send_to_thread(&thread, signal, info);
                }
            }
        }
    }
}

/// Those of setitimer(2): ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF.
static INTERVAL: Mutex<[Option<Arc<Timer>>; 3]> = Mutex::new([None, None, None]);

fn interval_timer(which: u64) -> core::result::Result<Arc<Timer>, Errno> {
    let which = usize::try_from(int(which)).map_err(|_| Errno::EINVAL)?;
    let signal = *[SIGALRM, SIGVTALRM, SIGPROF].get(which).ok_or(Errno::EINVAL)?;
    let mut timers = INTERVAL.lock();
    let timer = timers.get_mut(which).ok_or(Errno::EINVAL)?;
    let made = timer.get_or_insert_with(|| Timer::new(Notify::Process(signal), None, Clock::Monotonic));
    Ok(Arc::clone(made))
}

pub(super) fn getitimer(frame: &mut Frame) -> Result {
    let [which, out, ..] = frame.arguments();
    let timer = interval_timer(which)?;
    user::write_value(out, &Pair::from_ns(timer.get(), MICROSECOND))?;
    Ok(0)
}

pub(super) fn setitimer(frame: &mut Frame) -> Result {
    let [which, new, old, ..] = frame.arguments();
    let timer = interval_timer(which)?;
    let pair = if new == 0 { Pair::default() } else { user::read_value(new)? };
    let (interval, value) = pair.to_ns(MICROSECOND)?;
    let before = timer.get();
    let next = (value != 0).then(|| time::deadline(value, Clock::Monotonic, false));
    timer.set(next, interval);
    if old != 0 {
        user::write_value(old, &Pair::from_ns(before, MICROSECOND))?;
    }
    Ok(0)
}

pub(super) fn alarm(frame: &mut Frame) -> Result {
    let [seconds, ..] = frame.arguments();
    let timer = interval_timer(0)?;
    let (before, _) = timer.get();
    let ns = u64::from(super::uint(seconds)).saturating_mul(1_000_000_000);
    timer.set((ns != 0).then(|| time::deadline(ns, Clock::Monotonic, false)), 0);
    // As Linux rounds: to the nearest, but never down to nothing.
    let left = before.saturating_add(500_000_000) / 1_000_000_000;
    Ok(if before > 0 { left.max(1) } else { 0 })
}

/// Those of timer_create(2).
static POSIX: Mutex<BTreeMap<u32, Arc<Timer>>> = Mutex::new(BTreeMap::new());

/// `struct sigevent`, its used part.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
struct SigEvent {
    value: u64,
    signal: i32,
    notify: i32,
    thread: i32,
    padding: i32,
}

const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD_ID: i32 = 4;

/// The clock that a timer's absolute times are of.
fn clock_of(id: i32) -> core::result::Result<Clock, Errno> {
    match id {
        0 | 8 | 11 => Ok(Clock::Realtime),
        1 | 2 | 3 | 7 | 9 => Ok(Clock::Monotonic),
        id if id < 0 => Ok(Clock::Monotonic),
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn timer_create(frame: &mut Frame) -> Result {
    let [clock, event, out, ..] = frame.arguments();
    let clock = clock_of(int(clock))?;
    let event = if event == 0 { None } else { Some(user::read_value::<SigEvent>(event)?) };
    let mut timers = POSIX.lock();
    if timers.len() >= MAX_TIMERS {
        return Err(Errno::EAGAIN);
    }
    let id = (0..).find(|id| !timers.contains_key(id)).ok_or(Errno::EAGAIN)?;
    let number = |signal: i32| {
        let signal = u64::try_from(signal).map_err(|_| Errno::EINVAL)?;
        signal::number(signal)?.ok_or(Errno::EINVAL)
    };
    let (notify, value) = match event {
        None => (Notify::Process(SIGALRM), u64::from(id)),
        Some(event) => {
            let notify = match event.notify {
                SIGEV_NONE => Notify::Nobody,
                SIGEV_SIGNAL => Notify::Process(number(event.signal)?),
                SIGEV_THREAD_ID => {
                    let thread = u32::try_from(event.thread).map_err(|_| Errno::EINVAL)?;
                    process().thread(thread).ok_or(Errno::EINVAL)?;
                    Notify::Thread(thread, number(event.signal)?)
                }
                _ => return Err(Errno::EINVAL),
            };
            (notify, event.value)
        }
    };
    timers.insert(id, Timer::new(notify, Some((id, value)), clock));
    drop(timers);
    user::write_value(out, &id)?;
    Ok(0)
}

fn posix(id: u64) -> core::result::Result<Arc<Timer>, Errno> {
    let id = u32::try_from(int(id)).map_err(|_| Errno::EINVAL)?;
    POSIX.lock().get(&id).cloned().ok_or(Errno::EINVAL)
}

pub(super) fn timer_settime(frame: &mut Frame) -> Result {
    let [id, flags, new, old, ..] = frame.arguments();
    let timer = posix(id)?;
    let (interval, value) = user::read_value::<Pair>(new)?.to_ns(1)?;
    let before = timer.get();
    // TIMER_ABSTIME.
    let next = (value != 0).then(|| time::deadline(value, timer.clock, flags & 1 != 0));
    timer.set(next, interval);
    if old != 0 {
        user::write_value(old, &Pair::from_ns(before, 1))?;
    }
    Ok(0)
}

pub(super) fn timer_gettime(frame: &mut Frame) -> Result {
    let [id, out, ..] = frame.arguments();
    user::write_value(out, &Pair::from_ns(posix(id)?.get(), 1))?;
    Ok(0)
}

pub(super) fn timer_getoverrun(frame: &mut Frame) -> Result {
    let [id, ..] = frame.arguments();
    let timer = posix(id)?;
    let overrun = timer.setting.lock().overrun;
    Ok(overrun.min(MAX_OVERRUN))
}

pub(super) fn timer_delete(frame: &mut Frame) -> Result {
    let [id, ..] = frame.arguments();
    let timer = posix(id)?;
    timer.set(None, 0);
    let id = u32::try_from(int(id)).map_err(|_| Errno::EINVAL)?;
    let gone = POSIX.lock().remove(&id);
    drop(gone);
    Ok(0)
}

/// Drops the timers of timer_create(2), which do not outlive their program. Those of setitimer(2) do.
pub(crate) fn forget() {
    let gone = core::mem::take(&mut *POSIX.lock());
    drop(gone);
}
