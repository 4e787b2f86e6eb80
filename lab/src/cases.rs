//! The escapes, as data: what each stands for, what it needs, what proves it, and which invariants must catch it.

use crate::engine::{Engine, Runtime};
use crate::probe::Probe;

mod table;

pub(crate) use table::all;

/// What a case wants to find in its container or on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The host's /proc, bind-mounted at /hostproc.
    HostProc,
    /// The host's pid namespace.
    HostPid,
    /// A directory of the host open as descriptor 3.
    LeakedDir,
    /// A loop device with a file system that the host has mounted.
    Disk,
    /// The host's bpffs, bind-mounted at /hostbpf, with a map for an unguarded attack to go at, and the guard's at /guardbpf.
    Bpf,
    /// A cgroup namespace of its own.
    CgroupNs,
    /// A second container to break into.
    Neighbour,
    /// A cgroup of its own on the v2 tree.
    V2Cgroup,
    /// The attack is not the container's own program but joins the running container, as `exec` does it.
    Joiner,
    /// A program of the host that enters the container while the attack waits.
    Visitor,
    /// The device of the payload module (lab/payload).
    Payload,
    /// A container as Docker would make it: few capabilities, a seccomp filter, no_new_privs.
    Confined,
}

/// How the runner knows that an attack worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The container printed the host's secret.
    Secret,
    /// The mark on the host holds what only the attack writes.
    Mark,
    /// The container printed this name of a namespace of the host's victim.
    HostNs(&'static str),
    /// The container printed this name of a namespace of the neighbour.
    NeighbourNs(&'static str),
    /// The container printed this line.
    Line(&'static str),
    /// A file of the host, named in the host directory, is gone.
    Gone(&'static str),
    /// A file of the host, named in the host directory, is empty.
    Emptied(&'static str),
    /// A file of the host, named in the host directory, is there.
    Made(&'static str),
    /// The host's program that visited the container was overwritten.
    VisitorOverwritten,
    /// The host ran a file, and the container's program was run in its place.
    HostRunsDocument,
    /// The process of the host that plays the agent is dead.
    AgentDead,
    /// The pin of the lab's own map is gone.
    PinGone,
}

/// What one killed system call may have done: the guard kills behind the call, it does not undo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// Nothing: the proof of the escape must be absent.
    Nothing,
    /// The effect of the one call, which is the proof itself.
    Effect,
    /// A setting of the kernel, overwritten in memory where no hook looks: the proof must be absent all the same.
    Setting,
    /// The effect of the one call kills the agent: no event follows, the kernel part must still kill the container.
    AgentDead,
}

/// One escape.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What it stands for.
    pub(crate) shape: &'static str,
    pub(crate) argv: &'static [&'static str],
    pub(crate) needs: &'static [Need],
    /// Any of these may be named by the violation.
    pub(crate) invariants: &'static [&'static str],
    pub(crate) proof: Proof,
    /// Whether no instruction may run behind the call that breaks out.
    pub(crate) immediate: bool,
    pub(crate) leaves: Leaves,
    pub(crate) engines: &'static [Engine],
    /// Why audit mode is not tried, if it is not.
    pub(crate) no_audit: Option<&'static str>,
    /// Why this machine cannot run the case, if it cannot.
    pub(crate) unsupported: fn(&Probe) -> Option<String>,
}

impl Case {
    /// Why `engine` cannot express this case, if it cannot.
    pub(crate) fn inexpressible(&self, engine: Engine, runtime: &dyn Runtime) -> Option<String> {
        let preserved = self.needs.contains(&Need::LeakedDir) && engine == Engine::Docker;
        if preserved {
            return Some("Docker has no way to leave a descriptor of its caller open".to_owned());
        }
        if self.has(Need::V2Cgroup) && !runtime.has_v2_cgroup() {
            return Some(format!(
                "{engine} makes no v2 cgroup on a host with both versions: there is none to leave"
            ));
        }
        (!self.engines.contains(&engine)).then(|| format!("{engine} has no setting for it"))
    }

    pub(crate) fn has(&self, need: Need) -> bool {
        self.needs.contains(&need)
    }
}
