//! The agent: finishes kills, sweeps, and passes records on to the reporter. Verdicts do not wait for it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libbpf_rs::RingBufferBuilder;

use crate::bpf::{EventRecord, decode};
use crate::config::{Config, Policy};
use crate::error::{Error, bpf_error};
use crate::event::{Body, Event, kind};
use crate::finish::finish;
use crate::load::Kernel;
use crate::pins::Lock;
use crate::probe;
use crate::reporter::{Format, Reporter};

/// How often every task is looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long the agent waits for events at a time; also how soon it notices that it shall stop.
const POLL: Duration = Duration::from_millis(250);

/// What `casemate guard` was asked to do.
#[derive(Debug)]
pub struct Options {
    /// The configuration file's content, command line already applied.
    pub config: Config,
    /// How events are written.
    pub format: Format,
}

/// Guards until `stop` is set. The pins, and so the enforcement, stay.
///
/// # Errors
/// Where the kernel side cannot be loaded, or another agent runs.
pub fn run(
    options: Options,
    output: impl Write + Send + 'static,
    stop: &Arc<AtomicBool>,
) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    if !probe::has_btf() {
        return Err(Error::NoBtf);
    }
    let _lock = Lock::take()?;
    let mut kernel = Kernel::start(&options.config)?;
    let policy = match options.config.policy {
        Policy::Enforce => "enforce",
        Policy::Audit => "audit",
    };
    let reporter = Reporter::start(options.config, options.format, output)?;
    reporter.event(Event::now(Body::Ready { mode: kernel.mode.name(), policy, adopted: kernel.adopted }));

    let verdicts = RefCell::new(VecDeque::new());
    let lifecycle = RefCell::new(VecDeque::new());
    let mut rings = RingBufferBuilder::new();
    let maps = kernel.maps();
    let verdict_ring = libbpf_rs::MapHandle::try_from(&maps.verdicts).map_err(bpf_error("read"))?;
    let lifecycle_ring = libbpf_rs::MapHandle::try_from(&maps.lifecycle).map_err(bpf_error("read"))?;
    rings.add(&verdict_ring, |bytes| push(&verdicts, bytes)).map_err(bpf_error("read events of"))?;
    rings.add(&lifecycle_ring, |bytes| push(&lifecycle, bytes)).map_err(bpf_error("read events of"))?;
    let rings = rings.build().map_err(bpf_error("read events of"))?;

    let mut swept = Instant::now();
    let mut lost = kernel.shared.read().events_lost;
    while !stop.load(Ordering::Relaxed) {
        // An interrupted wait is a wait that ended early.
        let _ = rings.poll(POLL);
        let mut condemned = false;
        for record in verdicts.take() {
            condemned |= record.condemned != 0;
            reporter.record(record);
        }
        if condemned {
            let left = finish(&kernel)?;
            if left > 0 {
                reporter.warn(format!(
                    "{left} tasks of a condemned container are still alive: they are in uninterruptible sleep, and die when it ends"
                ));
            }
        }
        let mut untagged = false;
        for record in lifecycle.take() {
            untagged |= record.kind == kind::UNTAGGED;
            reporter.record(record);
        }
        if untagged || swept.elapsed() >= SWEEP_EVERY {
            let skipped = kernel.misses.since_last();
            if !kernel.sweep()?.is_empty() {
                finish(&kernel)?;
            }
            swept = Instant::now();
            if skipped > 0 {
                reporter.warn(format!(
                    "the kernel skipped programs of the guard {skipped} times, because it had preempted them; every task was looked at since"
                ));
            }
            let repaired = kernel.repair_pins()?;
            if repaired > 0 {
                reporter.warn(format!("{repaired} pins of the guard had been removed; they are back"));
            }
            let now_lost = kernel.shared.read().events_lost;
            if now_lost != lost {
                reporter.warn(format!("{} events were lost; no verdict was", now_lost - lost));
                lost = now_lost;
            }
        }
    }
    // Whoever gets this pid next may be signalled.
    kernel.shared.change(|settings| settings.agent_tgid = 0);
    Ok(())
}

fn push(queue: &RefCell<VecDeque<EventRecord>>, bytes: &[u8]) -> i32 {
    queue.borrow_mut().extend(decode::<EventRecord>(bytes));
    0
}
