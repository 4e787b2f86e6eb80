//! The clock page: what the host knows about time, and the processor's time-stamp counter in between.
//!
//! The host writes it from time to time under a sequence counter, which is odd while it writes. The enclave reads RDTSC
//! and computes; it does not leave for the time. That time only moves forward is for the reader to keep: he remembers
//! the last time that he told.

use crate::atomic::{AtomicU64, Ordering, fence};
use crate::window::{Offset, Window};

/// How often [`Clock::read`] looks again while the host writes, before it gives up.
const TRIES: u32 = 64;

/// Shift of a [`ClockParameters::multiplier`]: exact to one part in 2^50 and more, for counters from 60 kHz up.
const SHIFT: u64 = 50;

const NS_PER_S: u128 = 1_000_000_000;

/// The state of the clocks at one value of the time-stamp counter, and how fast they go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockParameters {
    /// The time-stamp counter when the times below were right.
    pub tsc_base: u64,
    /// `CLOCK_MONOTONIC` then, in ns.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME` then, in ns since 1970.
    pub realtime_ns: u64,
    /// `CLOCK_BOOTTIME` less `CLOCK_MONOTONIC`, in ns.
    pub boottime_offset_ns: u64,
    /// Nanoseconds in a tick of the counter, times 2 to the power of `shift`.
    pub multiplier: u64,
    /// See `multiplier`. From 64 on nothing moves within 2^64 ticks.
    pub shift: u64,
}

/// The clocks at one moment, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME`, since 1970.
    pub realtime_ns: u64,
    /// `CLOCK_BOOTTIME`.
    pub boottime_ns: u64,
}

impl ClockParameters {
    /// Multiplier and shift for a counter of `hz` ticks a second; `None` below 60 kHz or so, where they would not fit.
    #[must_use]
    pub fn rate(hz: u64) -> Option<(u64, u64)> {
        let multiplier = (NS_PER_S << SHIFT).checked_div(u128::from(hz))?;
        Some((u64::try_from(multiplier).ok()?, SHIFT))
    }

    /// The times when the counter is at `tsc`. Never before those of the parameters, never past the end of the `u64`.
    #[must_use]
    pub fn at(&self, tsc: u64) -> Times {
        let ticks = u128::from(tsc.saturating_sub(self.tsc_base));
        // Two numbers below 2^64 have a product below 2^128.
        let scaled = ticks * u128::from(self.multiplier);
        let shifted = u32::try_from(self.shift).ok().and_then(|shift| scaled.checked_shr(shift)).unwrap_or(0);
        let passed = u64::try_from(shifted).unwrap_or(u64::MAX);
        let monotonic_ns = self.monotonic_ns.saturating_add(passed);
        Times {
            monotonic_ns,
            realtime_ns: self.realtime_ns.saturating_add(passed),
            boottime_ns: monotonic_ns.saturating_add(self.boottime_offset_ns),
        }
    }
}

/// The clock page.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'a> {
    sequence: &'a AtomicU64,
    fields: [&'a AtomicU64; 6],
}

impl<'a> Clock<'a> {
    /// The clock page `page`; `None` if it is too short.
    #[must_use]
    pub fn new(page: Window<'a>) -> Option<Self> {
        let word = |index: u64| page.word(Offset(index * crate::window::WORD));
        Some(Self {
            sequence: word(0)?,
            fields: [word(1)?, word(2)?, word(3)?, word(4)?, word(5)?, word(6)?],
        })
    }

    /// Puts new parameters on the page. For one thread of the host only.
    pub fn publish(&self, parameters: &ClockParameters) {
        let values = [
            parameters.tsc_base,
            parameters.monotonic_ns,
            parameters.realtime_ns,
            parameters.boottime_offset_ns,
            parameters.multiplier,
            parameters.shift,
        ];
        // Whatever stands there (the host itself wrote it, but the enclave can), the count goes from even to odd.
        let sequence = self.sequence.load(Ordering::Relaxed) & !1;
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        // Pairs with the Acquire fence in `read`: who sees a new field sees the odd count, too.
        fence(Ordering::Release);
        for (field, value) in self.fields.iter().zip(values) {
            field.store(value, Ordering::Relaxed);
        }
        // Release pairs with the Acquire in `read`: who sees the even count sees all fields.
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// The parameters, all of one [`Clock::publish`] if the host is honest. `None`: nothing was published yet, or the
    /// host was writing at each of 64 looks; the reader keeps what he had.
    #[must_use]
    pub fn read(&self) -> Option<ClockParameters> {
        (0..TRIES).find_map(|_| {
            let parameters = self.try_read();
            if parameters.is_none() {
                core::hint::spin_loop();
            }
            parameters
        })
    }

    /// One look. `None`: nothing was published yet, or the host was writing.
    #[must_use]
    pub fn try_read(&self) -> Option<ClockParameters> {
        // Acquire pairs with the Release at the end of `publish`.
        let before = self.sequence.load(Ordering::Acquire);
        if before == 0 || before & 1 == 1 {
            return None;
        }
        let [tsc_base, monotonic_ns, realtime_ns, boottime_offset_ns, multiplier, shift] =
            self.fields.map(|field| field.load(Ordering::Relaxed));
        // Pairs with the Release fence in `publish`.
        fence(Ordering::Acquire);
        if self.sequence.load(Ordering::Relaxed) != before {
            return None;
        }
        Some(ClockParameters { tsc_base, monotonic_ns, realtime_ns, boottime_offset_ns, multiplier, shift })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_at_the_rate_of_the_counter() {
        let hz = 2_100_000_000;
        let (multiplier, shift) = ClockParameters::rate(hz).unwrap();
        let clock = ClockParameters {
            tsc_base: 1000,
            monotonic_ns: 5,
            realtime_ns: 7,
            boottime_offset_ns: 3,
            multiplier,
            shift,
        };
        assert_eq!(clock.at(0), Times { monotonic_ns: 5, realtime_ns: 7, boottime_ns: 8 });
        let year = 365 * 24 * 3600;
        let passed = clock.at(1000 + hz * year).monotonic_ns - 5;
        assert!((year * 1_000_000_000).abs_diff(passed) < 100_000, "{passed}");
        assert_eq!(ClockParameters::rate(0), None);
        assert_eq!(ClockParameters::rate(1), None);
    }

    #[test]
    fn time_saturates() {
        let most = ClockParameters {
            tsc_base: 0,
            monotonic_ns: u64::MAX,
            realtime_ns: u64::MAX,
            boottime_offset_ns: u64::MAX,
            multiplier: u64::MAX,
            shift: 0,
        };
        let end = Times { monotonic_ns: u64::MAX, realtime_ns: u64::MAX, boottime_ns: u64::MAX };
        assert_eq!(most.at(u64::MAX), end);
        let still = ClockParameters { monotonic_ns: 1, shift: 128, ..most };
        assert_eq!(still.at(u64::MAX).monotonic_ns, 1);
        assert_eq!(ClockParameters { shift: u64::MAX, ..still }.at(u64::MAX).monotonic_ns, 1);
    }
}
