//! Who a container is: its id, name, image, runtime and pod, as its runtime tells it.
//!
//! Everything here runs in user space and after the verdict. Nothing here fails: what cannot be found out is
//! `None`. The sources are files that a runtime writes for itself, so they may be absent, half written, huge or
//! (below a user's home) hostile; all reading goes through [`files`].
//!
//! ```no_run
//! # use casemate_guard::names;
//! let who = names::identify(4242);
//! println!("{} ({})", names::printable(&who.id), who.runtime);
//! ```
//!
//! The answer describes the cgroup and namespaces the task has *now*: ask when a container is born or adopted and
//! keep the answer. crun and runc write their state at about the time of birth, so a caller that gets
//! [`Runtime::Sandbox`] for a fresh container does well to ask again a little later.

mod cgroup;
mod containerd;
mod docker;
mod files;
mod identity;
mod oci;
mod podman;
mod process;

pub use files::Roots;
pub use identity::{Identity, Pod, Runtime, printable};

use cgroup::Form;
use process::Process;

/// Names the container that the task with host pid `pid` lives in.
pub fn identify(pid: i32) -> Identity {
    identify_in(&Roots::default(), pid)
}

/// As [`identify`], with the runtimes' state looked for below `roots`.
pub fn identify_in(roots: &Roots, pid: i32) -> Identity {
    let process = Process::new(roots, pid);
    let paths = cgroup::paths(&process.cgroup());
    let owner = process.owner(&paths);

    if let Some((form, id)) = cgroup::container_id(&paths) {
        return by_id(roots, &process, &paths, owner, form, &id);
    }
    if let Some(plain) = oci::find(roots, &process, &paths, owner) {
        // An engine told not to make cgroups (`podman run --cgroups=disabled`) still has its runtime keep a state.
        let known =
            if cgroup::is_id(&plain.id) { by_engine(roots, owner, Form::Bare, &plain.id) } else { None };
        return known.unwrap_or(plain);
    }
    if let Some(found) = containerd::find(roots, &process, owner) {
        return found;
    }
    machine(&paths).unwrap_or_else(|| anonymous(&process))
}

/// The container `id`, which the cgroup names in form `form`.
fn by_id(
    roots: &Roots,
    process: &Process<'_>,
    paths: &[String],
    owner: u32,
    form: Form,
    id: &str,
) -> Identity {
    if let Some(found) = by_engine(roots, owner, form, id) {
        return found;
    }
    let runtime = match form {
        Form::Docker => Runtime::Docker,
        Form::Podman => Runtime::Podman,
        Form::Crio => Runtime::Crio,
        Form::Containerd => Runtime::Containerd,
        // Nobody but a plain runtime can have made it; somebody may have given runc an id of 64 hex digits.
        Form::Bare => match oci::find(roots, process, paths, owner) {
            Some(plain) => return plain,
            None => Runtime::Unknown,
        },
    };
    Identity::new(id, runtime)
}

/// Asks the engines that may have made a cgroup of this form. The files come first, the daemon's socket last.
fn by_engine(roots: &Roots, owner: u32, form: Form, id: &str) -> Option<Identity> {
    match form {
        Form::Docker => {
            docker::from_files(roots, owner, id).or_else(|| docker::from_socket(roots, owner, id))
        }
        Form::Podman | Form::Crio => podman::read(roots, owner, form, id),
        Form::Containerd => containerd::read(roots, owner, id),
        Form::Bare => docker::from_files(roots, owner, id)
            .or_else(|| containerd::read(roots, owner, id))
            .or_else(|| podman::read(roots, owner, form, id))
            .or_else(|| docker::from_socket(roots, owner, id)),
    }
}

/// LXC and systemd-nspawn, which put the name itself into the cgroup.
fn machine(paths: &[String]) -> Option<Identity> {
    let (runtime, name) = cgroup::machine(paths)?;
    let mut identity = Identity::new(&name, runtime);
    identity.name = Some(name);
    Some(identity)
}

/// A task of no known runtime: a sandbox is told from a host task by its pid namespace.
fn anonymous(process: &Process<'_>) -> Identity {
    match process.own_namespace("pid") {
        Some(namespace) => Identity::new(&namespace, Runtime::Sandbox),
        None => Identity::new(&format!("pid-{}", process.pid()), Runtime::Unknown),
    }
}

#[cfg(test)]
mod tests;
