//! What `/proc` tells about one task of a container.

use super::cgroup;
use super::files::{self, Roots};

/// How far up the process tree the owner of a container is looked for.
const MAX_ANCESTORS: usize = 64;

/// A task, by its host pid.
#[derive(Debug)]
pub(super) struct Process<'a> {
    roots: &'a Roots,
    pid: i32,
}

impl<'a> Process<'a> {
    pub(super) fn new(roots: &'a Roots, pid: i32) -> Self {
        Self { roots, pid }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    fn read(&self, name: &str) -> Option<String> {
        files::read(&self.roots.proc.join(self.pid.to_string()).join(name), 0)
    }

    /// Its arguments, if its name is `program` and it runs as root.
    pub(super) fn arguments_of(&self, program: &str) -> Option<Vec<String>> {
        if self.read("comm")?.trim_end() != program {
            return None;
        }
        let line = self.read("cmdline")?;
        Some(line.split_terminator('\0').map(str::to_owned).collect())
    }

    /// The text of its `cgroup` file; empty if it is gone.
    pub(super) fn cgroup(&self) -> String {
        self.read("cgroup").unwrap_or_default()
    }

    /// Its namespace of kind `kind`, as `mnt:[4026531841]`.
    fn namespace(&self, kind: &str) -> Option<String> {
        namespace(self.roots, &self.pid.to_string(), kind)
    }

    /// Its namespace of kind `kind` if that is not the one this program lives in.
    pub(super) fn own_namespace(&self, kind: &str) -> Option<String> {
        let ours = namespace(self.roots, "self", kind);
        self.namespace(kind).filter(|theirs| ours.as_ref() != Some(theirs))
    }

    /// Whether it is the task `init`, started at `start`, or shares a mount namespace with that task. `start` tells
    /// a pid that the kernel has given out again.
    pub(super) fn belongs_to(&self, init: i32, start: Option<u64>) -> bool {
        let other = Self::new(self.roots, init);
        if init <= 0 || start.is_some_and(|start| other.start_time() != Some(start)) {
            return false;
        }
        init == self.pid
            || self.own_namespace("mnt").is_some_and(|mine| other.namespace("mnt").as_ref() == Some(&mine))
    }

    /// Field 22 of `stat`, in clock ticks since boot (proc(5)). The fields are counted from the last parenthesis: a
    /// program chooses what stands between the first and the last.
    fn start_time(&self) -> Option<u64> {
        let stat = self.read("stat")?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
    }

    /// The effective user id and the parent's pid, from `status`.
    fn uid_and_parent(&self) -> Option<(u32, i32)> {
        let status = self.read("status")?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let uid = field("Uid:")?.split_whitespace().nth(1)?.parse().ok()?;
        Some((uid, field("PPid:")?.trim().parse().ok()?))
    }

    /// The user whose container it is: 0, or the user of a rootless runtime.
    ///
    /// Only that user's state is believed afterwards: somebody who names a cgroup of his own after root's container
    /// does not get its name.
    pub(super) fn owner(&self, cgroup_paths: &[String]) -> u32 {
        if let Some(uid) = cgroup::user_slice(cgroup_paths) {
            return uid;
        }
        if self.own_namespace("user").is_none() {
            return 0;
        }
        match self.supervisor() {
            Some((pid, uid)) if pid != 1 => uid,
            _ => self.mapped_root().filter(|uid| self.roots.home(*uid).is_some()).unwrap_or(0),
        }
    }

    /// Pid and user id of the nearest ancestor outside the container: conmon, a shim, or init once those are gone.
    fn supervisor(&self) -> Option<(i32, u32)> {
        let mount = self.namespace("mnt")?;
        let mut parent = self.uid_and_parent()?.1;
        for _ in 0..MAX_ANCESTORS {
            let ancestor = Self::new(self.roots, parent);
            let (uid, next) = ancestor.uid_and_parent()?;
            let outside = ancestor.own_namespace("pid").is_none() && ancestor.namespace("mnt")? != mount;
            if outside {
                return Some((parent, uid));
            }
            parent = next;
        }
        None
    }

    /// The host's id for the container's root user (user_namespaces(7)), if that is not root itself. This finds the
    /// owner of a rootless container whose runtime has exited.
    fn mapped_root(&self) -> Option<u32> {
        let map = self.read("uid_map")?;
        map.lines().find_map(|line| {
            let mut fields = line.split_whitespace();
            let inside = fields.next()?;
            let outside = fields.next()?.parse().ok()?;
            (inside == "0" && outside != 0).then_some(outside)
        })
    }
}

fn namespace(roots: &Roots, pid: &str, kind: &str) -> Option<String> {
    let link = std::fs::read_link(roots.proc.join(pid).join("ns").join(kind)).ok()?;
    link.into_os_string().into_string().ok()
}
