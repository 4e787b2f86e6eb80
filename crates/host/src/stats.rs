//! What a run cost.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use casemate_enclave_abi::op::Op;

/// Counts, from many threads.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the vCPUs of a run count.
#[derive(Debug)]
pub(crate) struct Counters {
    /// EENTER and ERESUME.
    pub(crate) enters: Counter,
    /// Of the ways out, those by an exception.
    pub(crate) exceptions: Counter,
    /// Times that a vCPU had nothing to do.
    pub(crate) parks: Counter,
    /// Calls, in the order of the table of calls; the last counts those that there are not.
    calls: Vec<Counter>,
}

impl Default for Counters {
    fn default() -> Self {
        let calls = Op::ALL.iter().map(|_| Counter::default()).chain([Counter::default()]).collect();
        Self { enters: Counter::default(), exceptions: Counter::default(), parks: Counter::default(), calls }
    }
}

impl Counters {
    /// A call of this number was made.
    pub(crate) fn call(&self, op: u64) {
        let place = Op::ALL.iter().position(|known| u64::from(*known) == op).unwrap_or(Op::ALL.len());
        if let Some(counter) = self.calls.get(place) {
            counter.add();
        }
    }

    /// As they stand, with the time that building took.
    pub(crate) fn snapshot(&self, build: Duration) -> Stats {
        let names = Op::ALL.iter().map(|op| op.info().name).chain(["unknown"]);
        Stats {
            build,
            enters: self.enters.get(),
            exceptions: self.exceptions.get(),
            parks: self.parks.get(),
            streams: (0, 0),
            calls: names.zip(&self.calls).map(|(name, counter)| (name, counter.get())).collect(),
        }
    }
}

/// What a run cost.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Creating, measuring and initialising the enclave.
    pub build: Duration,
    /// Entries into the enclave.
    pub enters: u64,
    /// Of them, those that an exception ended.
    pub exceptions: u64,
    /// Times that a vCPU slept.
    pub parks: u64,
    /// Bytes that sockets have received and sent through streams.
    pub streams: (u64, u64),
    /// Calls to the host, by name.
    pub calls: Vec<(&'static str, u64)>,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { build, enters, exceptions, parks, streams: (received, sent), calls } = self;
        writeln!(f, "built in {:.1} ms", build.as_secs_f64() * 1e3)?;
        write!(f, "{enters} entries, {exceptions} ended by an exception, {parks} sleeps")?;
        if (*received, *sent) != (0, 0) {
            write!(f, "\n{received} bytes received and {sent} sent by streams")?;
        }
        for (name, count) in calls.iter().filter(|(_, count)| *count > 0) {
            write!(f, "\n{count:>9} {name}")?;
        }
        Ok(())
    }
}
