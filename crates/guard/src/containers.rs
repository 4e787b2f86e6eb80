//! What the kernel side knows of each container: for `casemate ps`.

use libbpf_rs::{MapCore, MapFlags};
use serde::Serialize;

use crate::bpf::{ContainerRecord, decode};
use crate::describe::NAMESPACES;
use crate::error::Error;
use crate::invariant::Invariant;
use crate::load::pinned_map;
use crate::names::{Identity, identify};

/// A namespace of a baseline.
#[derive(Clone, Debug, Serialize)]
pub struct Namespace {
    /// As in /proc/PID/ns.
    pub kind: &'static str,
    /// As in /proc/PID/ns.
    pub inum: u32,
}

/// A container that is alive, its baseline and its record.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The guard's own number.
    pub cid: u64,
    /// What its runtime says of it.
    #[serde(flatten)]
    pub identity: Identity,
    /// Host pid of its first process.
    pub init_pid: u32,
    /// Ran before the guard.
    pub adopted: bool,
    /// Of a known runtime, and so enforced unless audit mode says otherwise.
    pub runtime_born: bool,
    /// Tasks alive.
    pub tasks: u32,
    /// Its last tasks are dying.
    pub condemned: bool,
    /// Namespaces of the baseline.
    pub namespaces: Vec<Namespace>,
    /// Capability bounding set of the baseline.
    pub bounding: u64,
    /// Seccomp mode of the baseline: 0 none, 1 strict, 2 filter.
    pub seccomp_mode: u32,
    /// Seccomp filters of the baseline.
    pub seccomp_filters: u32,
    /// `no_new_privs` at birth.
    pub no_new_privs: bool,
    /// Violations by invariant; those not broken are left out.
    pub violations: Vec<(Invariant, u64)>,
}

/// Every container that the guard knows and that has been born.
///
/// # Errors
/// Where the caller is not root, no guard is there or its maps cannot be read.
pub fn list() -> Result<Vec<Status>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let map = pinned_map("containers")?;
    let mut all: Vec<Status> = map
        .keys()
        // One that ended since its key was read is no more.
        .filter_map(|key| map.lookup(&key, MapFlags::ANY).ok().flatten())
        .filter_map(|bytes| decode::<ContainerRecord>(&bytes))
        .filter(|record| record.sealed != 0)
        .map(|record| status(&record))
        .collect();
    all.sort_by_key(|s| s.cid);
    Ok(all)
}

fn status(record: &ContainerRecord) -> Status {
    Status {
        cid: record.cid,
        identity: identify(i32::try_from(record.init_pid).unwrap_or(0)),
        init_pid: record.init_pid,
        adopted: record.adopted != 0,
        runtime_born: record.kind != 0,
        tasks: record.tasks,
        condemned: record.condemned != 0,
        namespaces: NAMESPACES.iter().zip(record.inum).map(|(kind, inum)| Namespace { kind, inum }).collect(),
        bounding: record.bounding,
        seccomp_mode: record.seccomp_mode,
        seccomp_filters: record.seccomp_filters,
        no_new_privs: record.no_new_privs != 0,
        violations: Invariant::ALL
            .into_iter()
            .zip(record.violations)
            .filter(|(_, count)| *count > 0)
            .collect(),
    }
}
