//! Events: what the agent tells its user. One JSON object or one line each; `docs/events.md` documents the schema.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::bpf::EventRecord;
use crate::config::Precondition;
use crate::describe;
use crate::invariant::Invariant;
use crate::names::{Identity, printable};

/// Version of the schema: grows when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// `enum event_kind` of bpf/types.h.
pub(crate) mod kind {
    pub(crate) const BIRTH: u32 = 1;
    pub(crate) const JOIN: u32 = 2;
    pub(crate) const VIOLATION: u32 = 3;
    pub(crate) const GONE: u32 = 4;
    pub(crate) const UNTAGGED: u32 = 5;
    pub(crate) const DENIED: u32 = 6;
}

/// A container in an event.
#[derive(Clone, Debug, Serialize)]
pub struct Container {
    /// The guard's own number, never used twice.
    pub cid: u64,
    /// Ran before the guard: its baseline is what it was then.
    pub adopted: bool,
    /// What its runtime says of it.
    #[serde(flatten)]
    pub identity: Identity,
}

/// A process in an event, in the host's numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Its name, as the program chose it.
    pub comm: String,
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Body {
    /// The guard is on.
    Ready {
        /// How it works on this kernel.
        mode: &'static str,
        /// What it does on a violation.
        policy: &'static str,
        /// Containers that ran before.
        adopted: u64,
    },
    /// A container was born.
    Birth {
        /// Which.
        container: Container,
        /// Its first process.
        process: Process,
    },
    /// A process joined a container (`docker exec`).
    Join {
        /// Which.
        container: Container,
        /// Who.
        process: Process,
    },
    /// A container broke an invariant.
    Violation {
        /// Which rule.
        invariant: Invariant,
        /// `kill` or `audit`.
        action: &'static str,
        /// Which container.
        container: Container,
        /// Who.
        process: Process,
        /// The system call it was in.
        syscall: Option<String>,
        /// What was expected and what was seen.
        detail: String,
        /// Violations of this container since the last event that got none of their own.
        suppressed: u32,
    },
    /// A container was refused what the configuration denies (`deny`), or would have been.
    Denied {
        /// What it asked for.
        what: &'static str,
        /// `deny` or `audit`.
        action: &'static str,
        /// Which container.
        container: Container,
        /// Who.
        process: Process,
    },
    /// A condemned container is dead, to its last task.
    Killed {
        /// Which.
        container: Container,
        /// Microseconds from the violation to the end of the last task.
        elapsed_us: u64,
    },
    /// A container has ended by itself.
    Gone {
        /// Which.
        container: Container,
    },
    /// Something the user should know of the guard itself.
    Warning {
        /// What.
        message: String,
    },
}

/// One event.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When, UTC, RFC 3339.
    pub time: String,
    /// What.
    #[serde(flatten)]
    pub body: Body,
}

impl Event {
    /// An event of now.
    #[must_use]
    pub fn now(body: Body) -> Self {
        Self::at(SystemTime::now(), body)
    }

    /// An event of another time.
    #[must_use]
    pub fn at(time: SystemTime, body: Body) -> Self {
        Self { schema: SCHEMA, time: humantime::format_rfc3339_millis(time).to_string(), body }
    }
}

/// The wall-clock time of a kernel time stamp (nanoseconds since boot).
pub(crate) fn wall_clock(boot_ns: u64) -> SystemTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now_ns =
        u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0);
    SystemTime::now() - Duration::from_nanos(now_ns.saturating_sub(boot_ns))
}

/// The words of a kernel record, given who the container is.
pub(crate) fn body(record: &EventRecord, identity: Identity) -> Option<Body> {
    let container = Container { cid: record.cid, adopted: record.adopted != 0, identity };
    let process = Process { pid: record.pid, tid: record.tid, comm: describe::text(&record.comm) };
    Some(match record.kind {
        kind::BIRTH => Body::Birth { container, process },
        kind::JOIN => Body::Join { container, process },
        kind::VIOLATION => Body::Violation {
            invariant: Invariant::from_number(record.invariant)?,
            action: describe::action(record.action),
            container,
            process,
            syscall: describe::syscall(record),
            detail: describe::detail(record),
            suppressed: record.suppressed,
        },
        kind::DENIED => Body::Denied {
            what: Precondition::words(record.detail),
            action: if record.action == 1 { "deny" } else { "audit" },
            container,
            process,
        },
        kind::GONE if record.condemned != 0 => {
            Body::Killed { container, elapsed_us: record.elapsed_ns / 1000 }
        }
        kind::GONE => Body::Gone { container },
        _ => return None,
    })
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { id, name, image, runtime, pod, .. } = &self.identity;
        let name = name.as_deref().unwrap_or(id.get(..12).unwrap_or(id));
        write!(f, "{runtime}/{}", printable(name))?;
        if let Some(pod) = pod {
            write!(f, " of pod {}/{}", printable(&pod.namespace), printable(&pod.name))?;
        }
        if let Some(image) = image {
            write!(f, " ({})", printable(image))?;
        }
        write!(f, " #{}", self.cid)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", printable(&self.comm), self.pid)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.time)?;
        match &self.body {
            Body::Ready { mode, policy, adopted } => {
                write!(f, "READY  {mode} mode, policy {policy}, {adopted} running containers adopted")
            }
            Body::Birth { container, process } => write!(f, "BIRTH  {container}: {process}"),
            Body::Join { container, process } => write!(f, "JOIN   {container}: {process}"),
            Body::Violation { invariant, action, container, process, syscall, detail, suppressed } => {
                let verb = if *action == "kill" { "KILL " } else { "AUDIT" };
                write!(f, "{verb}  {invariant} {container}: {process}")?;
                if let Some(call) = syscall {
                    write!(f, " in {call}")?;
                }
                write!(f, ": {}", printable(detail))?;
                if *suppressed > 0 {
                    write!(f, " (and {suppressed} more violations without an event)")?;
                }
                Ok(())
            }
            Body::Denied { what, action, container, process } => {
                let verb = if *action == "deny" { "DENY " } else { "AUDIT" };
                write!(f, "{verb}  {container}: {process} asked for {what}")
            }
            Body::Killed { container, elapsed_us } => {
                write!(
                    f,
                    "DEAD   {container}: its last task ended {} ms after the violation",
                    Millis(*elapsed_us)
                )
            }
            Body::Gone { container } => write!(f, "GONE   {container}"),
            Body::Warning { message } => write!(f, "WARN   {message}"),
        }
    }
}

struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 1000, self.0 % 1000 / 100)
    }
}
