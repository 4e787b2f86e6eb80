//! Reaches into processes of the host, or out of its own cgroup.

use super::super::Leaves::Effect;
use super::super::Need::{HostPid, V2Cgroup, Visitor};
use super::super::{Case, Proof};
use super::BASE;
use crate::probe;

const PROC: &[&str] = &["PROC"];
const FS_PROC: &[&str] = &["FS", "PROC", "WR"];
const CG: &[&str] = &["CG"];

/// A call on a process of the host, seen through the host's pid namespace.
const fn host_process(name: &'static str, argv: &'static [&'static str], proof: Proof) -> Case {
    Case {
        name,
        argv,
        proof,
        shape: "--pid=host and CAP_SYS_PTRACE",
        needs: &[HostPid],
        invariants: PROC,
        ..BASE
    }
}

pub(super) const CASES: &[Case] = &[
    host_process("ptrace-attach", &["/lab/other_memory", "attach"], Proof::Secret),
    host_process("ptrace-seize", &["/lab/other_memory", "seize"], Proof::Secret),
    Case { ..host_process("process-vm-readv", &["/lab/other_memory", "readv"], Proof::Secret) },
    Case {
        leaves: Effect,
        ..host_process("process-vm-writev", &["/lab/other_memory", "writev"], Proof::Mark)
    },
    host_process("proc-mem-read", &["/lab/other_memory", "mem_read"], Proof::Secret),
    host_process("proc-mem-write", &["/lab/other_memory", "mem_write"], Proof::Mark),
    host_process("pidfd-getfd", &["/lab/other_memory", "pidfd_getfd"], Proof::Secret),
    Case {
        invariants: FS_PROC,
        ..host_process("proc-root-read", &["/lab/proc_root", "read"], Proof::Secret)
    },
    Case {
        invariants: FS_PROC,
        ..host_process("proc-root-write", &["/lab/proc_root", "write"], Proof::Mark)
    },
    Case {
        invariants: FS_PROC,
        ..host_process("proc-root-chdir", &["/lab/proc_root", "chdir"], Proof::Secret)
    },
    Case { invariants: FS_PROC, ..host_process("proc-fd-open", &["/lab/proc_root", "fd"], Proof::Secret) },
    Case {
        name: "proc-exe",
        shape: "CVE-2019-5736: /proc/PID/exe of a visitor",
        argv: &["/lab/proc_exe"],
        needs: &[Visitor],
        invariants: FS_PROC,
        proof: Proof::VisitorOverwritten,
        // The first call is an O_PATH look; the one that must not pass is the open for writing.
        immediate: false,
        ..BASE
    },
    Case {
        name: "cgroup-v1-leave",
        shape: "moves itself to the root of a v1 hierarchy",
        argv: &["/lab/cgroup_move", "v1"],
        invariants: CG,
        proof: Proof::Line(":pids:/"),
        unsupported: probe::no_cgroup_v1_pids,
        ..BASE
    },
    Case {
        name: "cgroup-v2-leave",
        shape: "moves itself to the root of the v2 hierarchy",
        argv: &["/lab/cgroup_move", "v2"],
        needs: &[V2Cgroup],
        invariants: CG,
        proof: Proof::Line("0::/"),
        ..BASE
    },
];
