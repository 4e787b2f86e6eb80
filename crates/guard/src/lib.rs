//! The guard: protects the host from a hostile container.
//!
//! What a container is at birth (namespaces, credentials, root, seccomp, cgroup) is recorded by BPF programs and
//! compared at every checkpoint from then on; what it becomes against its baseline kills it. The verdicts are in C,
//! in `src/bpf`; this crate loads them ([`run`]), gives containers their names, finishes kills and tells the user.
//! They stay in the kernel when the agent ends, until [`stop`].

mod agent;
mod bpf;
pub mod config;
mod containers;
mod describe;
mod error;
mod event;
mod finish;
mod invariant;
mod load;
mod misses;
mod mode;
pub mod names;
mod pins;
mod probe;
mod report;
mod reporter;
mod sensors;
mod shared;
mod verifier_log;

pub use agent::{Options, run};
pub use containers::{Namespace, Status, list};
pub use error::Error;
pub use event::{Body, Container, Event, Process, SCHEMA};
pub use invariant::{Explanation, Invariant, UnknownInvariant};
pub use mode::Mode;
pub use report::{Finding, Report, report};
pub use reporter::Format;

/// Takes the guard out of the kernel: programs, maps and baselines. False: there was none.
///
/// # Errors
/// Where an agent still runs, or a pin cannot be removed.
pub fn stop() -> Result<bool, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let _lock = pins::Lock::take()?;
    load::disarm()?;
    pins::remove()
}
