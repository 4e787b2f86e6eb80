//! Enters a namespace of the host, or of another container.

use super::super::Need::{CgroupNs, HostPid, HostProc, Neighbour};
use super::super::{Case, Proof};
use super::BASE;
use crate::probe;

const NS_PROC: &[&str] = &["NS", "PROC"];
const NS_FS_PROC: &[&str] = &["NS", "FS", "PROC"];

/// setns() to a namespace of a host process, through the host's /proc.
const fn setns(name: &'static str, argv: &'static [&'static str], proof: Proof) -> Case {
    Case {
        name,
        argv,
        proof,
        shape: "setns through a bind-mounted /proc",
        needs: &[HostProc],
        invariants: NS_FS_PROC,
        ..BASE
    }
}

pub(super) const CASES: &[Case] = &[
    setns("setns-mnt", &["/lab/setns", "mnt"], Proof::Secret),
    setns("setns-net", &["/lab/setns", "net"], Proof::Secret),
    setns("setns-ipc", &["/lab/setns", "ipc"], Proof::Secret),
    setns("setns-uts", &["/lab/setns", "uts"], Proof::HostNs("uts")),
    Case {
        needs: &[HostProc, CgroupNs],
        ..setns("setns-cgroup", &["/lab/setns", "cgroup"], Proof::HostNs("cgroup"))
    },
    Case {
        shape: "setns to the user namespace of a host process that has its own",
        ..setns("setns-user", &["/lab/setns", "user"], Proof::HostNs("user"))
    },
    Case {
        shape: "setns(pid) and fork, into another container",
        needs: &[HostPid, Neighbour],
        immediate: true,
        ..setns("setns-pid", &["/lab/setns", "pid"], Proof::NeighbourNs("pid"))
    },
    Case {
        unsupported: probe::pid_ns_goes_down_only,
        ..setns("setns-pid-host", &["/lab/setns", "pid"], Proof::Mark)
    },
    Case {
        shape: "setns in one thread only",
        ..setns("setns-thread", &["/lab/setns", "mnt", "thread"], Proof::Secret)
    },
    Case { shape: "setns, then fork", ..setns("setns-fork", &["/lab/setns", "mnt", "fork"], Proof::Secret) },
    Case {
        shape: "setns, then vfork",
        ..setns("setns-vfork", &["/lab/setns", "mnt", "vfork"], Proof::Secret)
    },
    Case { shape: "setns, then exec", ..setns("setns-exec", &["/lab/setns", "mnt", "exec"], Proof::Secret) },
    Case {
        shape: "setns by a grandchild without parent",
        ..setns("setns-grandchild", &["/lab/via", "/lab/setns", "mnt"], Proof::Secret)
    },
    Case {
        shape: "setns by the 32-bit gate",
        unsupported: probe::no_32_bit_calls,
        ..setns("setns-int80", &["/lab/setns", "mnt", "int80"], Proof::Secret)
    },
    Case {
        shape: "setns into a neighbour container",
        needs: &[HostProc, Neighbour],
        ..setns("setns-neighbour", &["/lab/setns", "mnt"], Proof::Secret)
    },
    Case {
        shape: "setns by pidfd, mount namespace",
        needs: &[HostPid],
        invariants: NS_PROC,
        ..setns("pidfd-mnt", &["/lab/setns_pidfd", "mnt"], Proof::Secret)
    },
    Case {
        shape: "setns by pidfd, garbage above the call's number",
        needs: &[HostPid],
        // Not PROC: a /proc/PID/ns file opened on the way would hide what becomes of this call.
        invariants: &["NS"],
        ..setns("setns-rax", &["/lab/setns_pidfd", "mnt", "rax"], Proof::Secret)
    },
    Case {
        shape: "setns by pidfd, uts and net",
        needs: &[HostPid],
        invariants: NS_PROC,
        ..setns("pidfd-uts-net", &["/lab/setns_pidfd", "uts,net"], Proof::Secret)
    },
    Case {
        shape: "setns by pidfd, all at once",
        needs: &[HostPid],
        invariants: NS_PROC,
        ..setns("pidfd-all", &["/lab/setns_pidfd", "uts,net,ipc,cgroup,pid,mnt"], Proof::Secret)
    },
    Case {
        shape: "nsenter -a -t PID with --pid=host",
        needs: &[HostPid],
        immediate: false,
        ..setns(
            "nsenter",
            &[
                "/lab/lib/ld-linux-x86-64.so.2",
                "--library-path",
                "/lab/lib",
                "/lab/nsenter",
                "-a",
                "-t",
                "{pid}",
                "--",
                "/bin/cat",
                "{secret}",
            ],
            Proof::Secret,
        )
    },
];
