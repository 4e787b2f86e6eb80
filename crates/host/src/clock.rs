//! The clock page: how the time-stamp counter and Linux's clocks go together.

use std::sync::Mutex;
use std::time::Duration;

use casemate_enclave_abi::{Clock, ClockParameters, Layout, Window};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::raw::tsc;

/// How old what is on the page may become, in ns. Clocks are slewed by 500 ppm at most, so the error stays below 50 us.
const FRESH: u64 = 100_000_000;

/// The shortest time in which the counter's rate is measured.
const LEAST: Duration = Duration::from_millis(2);

const NS_PER_S: u64 = 1_000_000_000;

/// The counter and the clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    tsc: u64,
    monotonic_ns: u64,
    realtime_ns: u64,
    boottime_ns: u64,
}

impl Moment {
    /// Now.
    pub(crate) fn now() -> Self {
        // The counter is read twice, as close around the clock that matters most as possible.
        let before = tsc::now();
        let monotonic_ns = read(ClockId::Monotonic);
        let after = tsc::now();
        Self {
            tsc: before.midpoint(after),
            monotonic_ns,
            realtime_ns: read(ClockId::Realtime),
            boottime_ns: read(ClockId::Boottime),
        }
    }
}

/// CLOCK_MONOTONIC in ns.
pub(crate) fn monotonic_ns() -> u64 {
    read(ClockId::Monotonic)
}

fn read(clock: ClockId) -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    // Clocks before 1970 count as 1970.
    let (seconds, ns) = (u64::try_from(tv_sec).unwrap_or(0), u64::try_from(tv_nsec).unwrap_or(0));
    seconds.saturating_mul(NS_PER_S).saturating_add(ns)
}

/// Keeps the clock page fresh.
#[derive(Debug)]
pub(crate) struct ClockPage {
    clock: Clock<'static>,
    start: Moment,
    /// When the page was written last; whoever holds the lock writes it.
    last: Mutex<Moment>,
}

impl ClockPage {
    /// The page of this window, written for the first time. `start` is an earlier moment, by which the counter's rate is
    /// known; where it is not long ago this waits. `None`: the window has no such page.
    pub(crate) fn new(window: Window<'static>, layout: &Layout, start: Moment) -> Option<Self> {
        let clock = Clock::new(window.region(layout.clock())?)?;
        let mut now = Moment::now();
        if let Some(rest) =
            LEAST.checked_sub(Duration::from_nanos(now.monotonic_ns.saturating_sub(start.monotonic_ns)))
        {
            std::thread::sleep(rest);
            now = Moment::now();
        }
        let page = Self { clock, start, last: Mutex::new(now) };
        page.publish(now);
        Some(page)
    }

    /// Writes the page again if that is due. Called at every exit of an enclave, by any thread.
    pub(crate) fn refresh(&self) {
        let Ok(mut last) = self.last.try_lock() else { return };
        if monotonic_ns().saturating_sub(last.monotonic_ns) < FRESH {
            return;
        }
        let now = Moment::now();
        self.publish(now);
        *last = now;
    }

    fn publish(&self, now: Moment) {
        let ticks = now.tsc.saturating_sub(self.start.tsc);
        let passed = now.monotonic_ns.saturating_sub(self.start.monotonic_ns);
        let hz = u128::from(ticks) * u128::from(NS_PER_S) / u128::from(passed.max(1));
        // A counter that stands still, or that no number can tell the rate of, gives a clock that stands still.
        let rate = u64::try_from(hz).ok().and_then(ClockParameters::rate);
        let (multiplier, shift) = rate.unwrap_or((0, 0));
        self.clock.publish(&ClockParameters {
            tsc_base: now.tsc,
            monotonic_ns: now.monotonic_ns,
            realtime_ns: now.realtime_ns,
            boottime_offset_ns: now.boottime_ns.saturating_sub(now.monotonic_ns),
            multiplier,
            shift,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::SharedWindow;

    #[test]
    fn page_tells_the_time_of_the_host() {
        let start = Moment::now();
        let layout = Layout::new(1, 4096, 4096).unwrap();
        let window = SharedWindow::new(layout).unwrap();
        let page = ClockPage::new(window.window(), &layout, start).unwrap();
        let tells = || page.clock.read().unwrap().at(tsc::now());
        let near = |told: u64, real: u64| assert!(told.abs_diff(real) < 50_000_000, "{told} is not {real}");
        near(tells().monotonic_ns, monotonic_ns());
        near(tells().realtime_ns, read(ClockId::Realtime));
        near(tells().boottime_ns, read(ClockId::Boottime));
        let before = page.clock.read().unwrap();
        page.refresh();
        assert_eq!(page.clock.read().unwrap(), before, "it was fresh");
        std::thread::sleep(Duration::from_millis(120));
        near(tells().monotonic_ns, monotonic_ns());
        page.refresh();
        assert_ne!(page.clock.read().unwrap(), before);
        near(tells().monotonic_ns, monotonic_ns());
    }
}
