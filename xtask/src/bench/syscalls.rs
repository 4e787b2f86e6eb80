//! What a system call, a fork, an exec, a context switch and an open cost, in a host task and in a container task.

use std::cell::RefCell;
use std::path::Path;

use anyhow::Result;

use super::container::{Container, Kind};
use super::report::Target;
use super::rounds::Probe;
use super::worker::{HostWorker, Line};

/// The processor that the workers run on; the guard's agent is free to run on the others.
const CPU: usize = 1;

/// One thing that is measured in both places.
struct Work {
    what: &'static str,
    command: &'static str,
    /// Per slice, at full length.
    times: u32,
    /// Of what the worker does, how many of the thing are in one: a ping and a pong are two switches.
    per_turn: f64,
    host: Option<Target>,
    container: Option<Target>,
}

const WORK: [Work; 5] = [
    Work {
        what: "system call (getppid)",
        command: "getppid",
        times: 2_000_000,
        per_turn: 1.0,
        host: Some(Target::AddsAtMost(30.0)),
        container: Some(Target::AddsAtMost(55.0)),
    },
    Work {
        what: "open + close",
        command: "open",
        times: 200_000,
        per_turn: 1.0,
        host: None,
        container: None,
    },
    Work {
        what: "fork + exit + wait",
        command: "fork",
        times: 2_000,
        per_turn: 1.0,
        host: Some(Target::RatioAtLeast(0.95)),
        container: Some(Target::RatioAtLeast(0.95)),
    },
    Work {
        what: "fork + exec + exit + wait",
        command: "exec",
        times: 1_000,
        per_turn: 1.0,
        host: Some(Target::RatioAtLeast(0.95)),
        container: Some(Target::RatioAtLeast(0.95)),
    },
    Work {
        what: "context switch (pipe)",
        command: "pipe",
        times: 100_000,
        per_turn: 2.0,
        host: None,
        container: None,
    },
];

/// A worker of each kind, alive through all rounds: the same pages and the same caches with and without the guard.
#[derive(Debug)]
pub(crate) struct Workers {
    host: RefCell<HostWorker>,
    line: RefCell<Line>,
    container: Container,
}

impl Workers {
    pub(crate) fn start(program: &Path, scratch: &Path) -> Result<Self> {
        let kind = Kind::Worker { program, cpu: Some(CPU), leaked: None };
        let (container, line) = Container::worker(kind, scratch)?;
        let host = RefCell::new(HostWorker::start(program, CPU)?);
        Ok(Self { host, line: RefCell::new(line), container })
    }

    pub(crate) fn id(&self) -> &str {
        &self.container.id
    }

    /// Everything that is measured here. `share`: how much of the full number of calls.
    pub(crate) fn probes(&self, share: f64) -> Vec<Probe<'_>> {
        WORK.iter().flat_map(|work| [self.probe(work, false, share), self.probe(work, true, share)]).collect()
    }

    fn probe(&self, work: &'static Work, inside: bool, share: f64) -> Probe<'_> {
        let (place, target) = if inside { ("container", work.container) } else { ("host", work.host) };
        let times = scaled(work.times, share);
        Probe::time(format!("{}, {place}", work.what), target, move || {
            let turn = if inside {
                self.line.borrow_mut().ns_each(work.command, times)?
            } else {
                self.host.borrow_mut().line.ns_each(work.command, times)?
            };
            Ok(turn / work.per_turn)
        })
    }
}

/// A share of a number of calls, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a u32, between 0 and 1"
)]
fn scaled(times: u32, share: f64) -> u32 {
    ((f64::from(times) * share) as u32).max(1)
}
