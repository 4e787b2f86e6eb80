//! What a run has cost, as `--stats` tells at its end.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Mutex;

use crate::arch::vcpu::{self, Vcpu};
use crate::host;

/// Counters that are added to seldom enough to be shared by all vCPUs.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Host calls that somebody outside served while the vCPU stayed inside.
    pub(crate) by_slot: AtomicU64,
    /// Host calls for which a vCPU left.
    pub(crate) by_exit: AtomicU64,
    /// Nanoseconds that vCPUs slept outside for want of anything to run.
    pub(crate) idle_ns: AtomicU64,
    /// Bytes that came by streams.
    pub(crate) stream_in: AtomicU64,
    /// Bytes that went by streams.
    pub(crate) stream_out: AtomicU64,
}

pub(crate) static STATS: Stats = Stats {
    by_slot: AtomicU64::new(0),
    by_exit: AtomicU64::new(0),
    idle_ns: AtomicU64::new(0),
    stream_in: AtomicU64::new(0),
    stream_out: AtomicU64::new(0),
};

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// How often system calls were made that nobody knows, by number; so many numbers at most.
static UNKNOWN: Mutex<BTreeMap<u64, u64>> = Mutex::new(BTreeMap::new());
const MOST_UNKNOWN: usize = 256;

/// Counts a system call that nobody knows.
pub(crate) fn unknown_call(number: u64) {
    let mut unknown = UNKNOWN.lock();
    // A program can make up as many as it likes: those beyond are counted as one.
    let number =
        if unknown.len() < MOST_UNKNOWN || unknown.contains_key(&number) { number } else { u64::MAX };
    *unknown.entry(number).or_default() += 1;
}

/// Prints them all.
pub(crate) fn print() {
    let mut unknown = String::new();
    for (number, count) in &*UNKNOWN.lock() {
        // Writing to a string does not fail.
        let _ = write!(unknown, " {}x{count}", number.cast_signed());
    }
    if unknown.is_empty() {
        unknown.push_str(" none");
    }
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (calls, trapped) = (Vcpu::all_calls(), vcpu::trapped_calls());
    host::print(format_args!(
        "casemate: {calls} system calls, {trapped} of them trapped; unknown numbers:{unknown}"
    ));
    host::print(format_args!(
        "casemate: {} host calls by slot, {} by exit; vCPUs idle {} ms; streams: {} bytes in, {} bytes out",
        get(&STATS.by_slot),
        get(&STATS.by_exit),
        get(&STATS.idle_ns) / 1_000_000,
        get(&STATS.stream_in),
        get(&STATS.stream_out),
    ));
}
