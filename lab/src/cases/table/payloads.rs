//! What exploits of the kernel do once they run in it, done by the payload module (lab/payload) on request.

use super::super::Leaves::Setting;
use super::super::Need::{Confined, Payload};
use super::super::{Case, Proof};
use super::BASE;
use crate::engine::Engine;
use crate::probe;

const CRED: &[&str] = &["CRED"];
const NS: &[&str] = &["NS"];
const SEC: &[&str] = &["SEC"];
const UMH: &[&str] = &["UMH"];
/// Several things change at once: which of them is seen first is no matter.
const ANY: &[&str] = &["CRED", "NS", "FS"];

/// A payload run by a container as Docker makes them.
const fn payload(
    name: &'static str,
    shape: &'static str,
    argv: &'static [&'static str],
    proof: Proof,
) -> Case {
    Case {
        name,
        shape,
        argv,
        proof,
        needs: &[Payload, Confined],
        engines: &[Engine::Runc, Engine::Crun],
        no_audit: Some("a payload's tasks may be beyond repair"),
        unsupported: probe::no_payload_module,
        ..BASE
    }
}

pub(super) const CASES: &[Case] = &[
    Case {
        invariants: CRED,
        ..payload(
            "payload-creds",
            "CVE-2014-0038, CVE-2016-0728: commit_creds(prepare_kernel_cred(&init_task))",
            &["/lab/payload", "commit-creds", "self", "call", "handle"],
            Proof::Secret,
        )
    },
    Case {
        invariants: CRED,
        ..payload(
            "payload-creds-thread",
            "the same in a thread that is not the leader",
            &["/lab/payload", "commit-creds", "thread", "call", "handle"],
            Proof::Secret,
        )
    },
    Case {
        invariants: CRED,
        ..payload(
            "payload-creds-forked",
            "the same in a child that was forked before",
            &["/lab/payload", "commit-creds", "forked", "call", "handle"],
            Proof::Secret,
        )
    },
    Case {
        invariants: CRED,
        ..payload(
            "payload-cred-pointer",
            "CVE-2017-5123: the credentials' pointers stored, no function called",
            &["/lab/payload", "store-cred", "self", "call", "handle"],
            Proof::Secret,
        )
    },
    Case {
        invariants: CRED,
        ..payload(
            "payload-caps",
            "DirtyCred: capability bits stored, the pointer unchanged",
            &["/lab/payload", "store-caps", "self", "call", "handle"],
            Proof::Secret,
        )
    },
    Case {
        invariants: CRED,
        ..payload(
            "payload-ids",
            "CVE-2021-31440, CVE-2022-23222: ids stored into the live credentials",
            &["/lab/payload", "store-ids", "user", "call", "ids"],
            Proof::Line("ROOT"),
        )
    },
    Case {
        invariants: ANY,
        ..payload(
            "payload-full",
            "CVE-2017-7308, CVE-2017-1000112: credentials, namespaces and root of the host",
            &["/lab/payload", "creds-ns-fs", "self", "call", "file"],
            Proof::Secret,
        )
    },
    Case {
        invariants: NS,
        ..payload(
            "payload-switch-ns",
            "switch_task_namespaces(current, &init_nsproxy)",
            &["/lab/payload", "switch-ns", "self", "call", "net"],
            Proof::Secret,
        )
    },
    Case {
        invariants: NS,
        ..payload(
            "payload-nsproxy",
            "CVE-2022-0185: current->nsproxy stored, no function called",
            &["/lab/payload", "store-nsproxy", "self", "call", "net"],
            Proof::Secret,
        )
    },
    Case {
        invariants: NS,
        ..payload(
            "payload-net-ns",
            "one pointer inside the nsproxy that all tasks share",
            &["/lab/payload", "store-ns", "self", "call", "net"],
            Proof::Secret,
        )
    },
    Case {
        invariants: &["CRED", "NS", "PROC"],
        ..payload(
            "payload-kernelctf",
            "CVE-2021-22555, half of kernelCTF: creds, the container's init to the host's namespaces, setns",
            &["/lab/payload", "creds-init-ns", "self", "call", "setns"],
            Proof::Secret,
        )
    },
    Case {
        needs: &[Payload],
        invariants: &["NS", "PROC"],
        // Another task has changed: this one is looked at for what it does with it.
        immediate: false,
        ..payload(
            "payload-init-ns",
            "the container's init to the host's namespaces, then setns to /proc/1/ns/mnt",
            &["/lab/payload", "switch-ns", "init", "call", "setns"],
            Proof::Secret,
        )
    },
    Case {
        invariants: NS,
        immediate: false,
        ..payload(
            "payload-sibling-ns",
            "namespaces of another task of the container",
            &["/lab/payload", "switch-ns", "child", "call", "net"],
            Proof::Secret,
        )
    },
    Case {
        invariants: NS,
        immediate: false,
        ..payload(
            "payload-sibling-spins",
            "namespaces of another task, which makes no system call",
            &["/lab/payload", "switch-ns", "spinner", "call", "net"],
            Proof::Secret,
        )
    },
    Case {
        invariants: ANY,
        ..payload(
            "payload-full-spins",
            "everything, then no system call",
            &["/lab/payload", "creds-ns-fs", "self-spins", "call", "file"],
            Proof::Secret,
        )
    },
    Case {
        invariants: &["FS"],
        ..payload(
            "payload-root",
            "fs->root and fs->pwd of the host's init",
            &["/lab/payload", "set-root", "self", "call", "file"],
            Proof::Secret,
        )
    },
    Case {
        invariants: SEC,
        ..payload(
            "payload-seccomp",
            "CVE-2017-5123: seccomp mode and filter cleared",
            &["/lab/payload", "clear-seccomp", "self", "call", "filtered"],
            Proof::Line("UNFILTERED"),
        )
    },
    Case {
        invariants: SEC,
        ..payload(
            "payload-seccomp-flag",
            "only the thread flag of seccomp cleared",
            &["/lab/payload", "clear-flag", "self", "call", "filtered"],
            Proof::Line("UNFILTERED"),
        )
    },
    Case {
        invariants: SEC,
        ..payload(
            "payload-no-new-privs",
            "no_new_privs cleared",
            &["/lab/payload", "clear-nnp", "user", "call", "nnp"],
            Proof::Line("NEWPRIVS"),
        )
    },
    Case {
        invariants: UMH,
        immediate: false,
        leaves: Setting,
        ..payload(
            "payload-core-pattern",
            "CVE-2022-0811 in memory: core_pattern names a file of the container",
            &["/lab/payload", "core-pattern", "self", "call", "core-file"],
            Proof::Mark,
        )
    },
    Case {
        invariants: UMH,
        immediate: false,
        leaves: Setting,
        ..payload(
            "payload-core-memfd",
            "kernelCTF 2024-2025: core_pattern names a memfd, |/proc/%P/fd/N",
            &["/lab/payload", "core-pattern", "self", "call", "core-memfd"],
            Proof::Mark,
        )
    },
    Case {
        invariants: UMH,
        immediate: false,
        leaves: Setting,
        ..payload(
            "payload-modprobe",
            "CVE-2022-0185, CVE-2024-1086: modprobe_path names a file of the container",
            &["/lab/payload", "modprobe-path", "self", "call", "modprobe-file"],
            Proof::Mark,
        )
    },
    Case {
        invariants: UMH,
        immediate: false,
        leaves: Setting,
        ..payload(
            "payload-modprobe-memfd",
            "CVE-2024-1086: modprobe_path names a memfd, /proc/PID/fd/N",
            &["/lab/payload", "modprobe-path", "self", "call", "modprobe-memfd"],
            Proof::Mark,
        )
    },
    Case {
        invariants: ANY,
        immediate: false,
        ..payload(
            "payload-fault",
            "everything, back to user space from a page fault",
            &["/lab/payload", "creds-ns-fs", "self", "fault", "file"],
            Proof::Secret,
        )
    },
    Case {
        invariants: ANY,
        immediate: false,
        ..payload(
            "payload-task-work",
            "everything, in task work behind the last tracepoint of a call",
            &["/lab/payload", "creds-ns-fs", "self", "work", "file"],
            Proof::Secret,
        )
    },
    Case {
        invariants: NS,
        immediate: false,
        ..payload(
            "payload-breakpoint",
            "namespaces, back to user space from a breakpoint",
            &["/lab/payload", "store-nsproxy", "self", "int3", "net"],
            Proof::Secret,
        )
    },
    Case {
        invariants: NS,
        immediate: false,
        ..payload(
            "payload-worker",
            "namespaces, by a kernel thread while the task runs in user space",
            &["/lab/payload", "store-nsproxy", "self", "worker", "net"],
            Proof::Secret,
        )
    },
    Case {
        invariants: NS,
        immediate: false,
        ..payload(
            "payload-worker-spins",
            "the same, and the task makes no system call",
            &["/lab/payload", "store-nsproxy", "self-spins", "worker", "net"],
            Proof::Secret,
        )
    },
];
