//! The invariants: what a container never does. Data for verdicts, configuration and `casemate explain` alike.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// One rule that every task of a container keeps. The order is the kernel side's (`bpf/types.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// Namespaces stay the container's own.
    Ns,
    /// Capabilities stay within the bounding set of birth; ids change by the calls made for it only.
    Cred,
    /// Root, working directory and opened files stay on the container's own mounts.
    Fs,
    /// Seccomp and `no_new_privs` never weaken.
    Sec,
    /// No file outside, and no helper knob of the kernel, is opened for writing.
    Wr,
    /// The kernel's usermode helpers never run a container's file.
    Umh,
    /// Tasks outside are not traced, read or written.
    Proc,
    /// Block devices in use outside are neither mounted nor opened.
    Mnt,
    /// A container does not leave its cgroup.
    Cg,
    /// The guard itself is out of reach.
    SelfGuard,
}

/// What `casemate explain` says of an invariant.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// The rule, in one sentence.
    pub rule: &'static str,
    /// What breaks it, with known cases.
    pub catches: &'static str,
    /// What the tracepoint mode can and cannot do about it.
    pub tracepoint: &'static str,
    /// What the prevention modes (lsm, fmod_ret) can and cannot do about it.
    pub prevention: &'static str,
    /// Who breaks it in good faith, and what to write in the configuration.
    pub exception: &'static str,
}

impl Invariant {
    /// All of them, in the kernel side's order.
    pub const ALL: [Self; 10] = [
        Self::Ns,
        Self::Cred,
        Self::Fs,
        Self::Sec,
        Self::Wr,
        Self::Umh,
        Self::Proc,
        Self::Mnt,
        Self::Cg,
        Self::SelfGuard,
    ];

    /// The name in events and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ns => "NS",
            Self::Cred => "CRED",
            Self::Fs => "FS",
            Self::Sec => "SEC",
            Self::Wr => "WR",
            Self::Umh => "UMH",
            Self::Proc => "PROC",
            Self::Mnt => "MNT",
            Self::Cg => "CG",
            Self::SelfGuard => "SELF",
        }
    }

    /// The kernel side's number of this invariant, as a bit.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// The text behind `casemate explain`.
    #[must_use]
    pub const fn explanation(self) -> Explanation {
        match self {
            Self::Ns => Explanation {
                rule: "A task is in the namespaces its container was born with, or in ones the container made itself.",
                catches: "setns(2) to the host or to another container by /proc/PID/ns, a pidfd or a passed descriptor; \
                          nsenter; exploits that call switch_task_namespaces() or overwrite nsproxy (CVE-2021-22555, \
                          most public kernelCTF exploits of 2023).",
                tracepoint: "The task dies before it returns from the call that changed the namespace. A change made \
                             from inside the kernel to another task is seen at that task's next system call, or by \
                             the sweep within two seconds.",
                prevention: "Opening or receiving a foreign namespace and setns(2) by pidfd are refused. A change made from inside \
                             the kernel is found at the task's next use of a file, program, socket, mount, id or other \
                             task, which is refused, or by the sweep within two seconds.",
                exception: "Network plug-ins and node agents that enter other namespaces on purpose.",
            },
            Self::Cred => Explanation {
                rule: "Capabilities stay within the bounding set the task was born with, as long as it is in its own \
                       user namespace; user and group ids change only by exec and set*id calls.",
                catches: "commit_creds(init_cred) (CVE-2014-0038, CVE-2016-0728), DirtyCred, capability bits stored \
                          into the live credentials.",
                tracepoint: "The task dies at the end of the system call in which its credentials changed. A container \
                             that was given every capability has nothing to gain, and nothing is seen.",
                prevention: "Whatever the task tries to use next is refused: a file, a program, a socket, a mount, another \
                             task. A task that only computes is found by the sweep within two seconds.",
                exception: "None known: no program raises its own capabilities past its bounding set.",
            },
            Self::Fs => Explanation {
                rule: "Root, working directory and every file or directory that is opened, executed or used as a \
                       starting point lie on mounts of the container's own mount namespaces.",
                catches: "leaked host directory descriptors (CVE-2024-21626), descriptors passed over a Unix socket, \
                          open_by_handle_at(2) (shocker), /proc/PID/root of a host process, the same through io_uring.",
                tracepoint: "The task dies before it can use what it opened. A call that works on a path alone \
                             (unlink, rename, truncate through /proc/self/fd/N/...) is seen where the directory was \
                             leaked at birth, not where it was received later.",
                prevention: "The open, the execution, the change by path and chroot(2) are refused, wherever the path began; a \
                             directory is refused when it is received. chdir(2), and getdents(2) on a directory that \
                             was leaked at birth, are killed when they return.",
                exception: "Monitoring agents that read /proc/1/root. Bind mounts given at start need none.",
            },
            Self::Sec => Explanation {
                rule: "Seccomp filters and no_new_privs, once set, stay.",
                catches: "exploits that clear the seccomp mode, filter or thread flag (CVE-2017-5123).",
                tracepoint: "The task dies at the end of the system call in which the filter went away. Labels of \
                             AppArmor and SELinux are not compared.",
                prevention: "As for CRED: the next use is refused.",
                exception: "None known: the kernel offers no way to take a filter away.",
            },
            Self::Wr => Explanation {
                rule: "No file outside the container is opened for writing, nor a helper knob of the kernel: \
                       core_pattern, modprobe, hotplug, poweroff_cmd, sysrq-trigger, uevent_helper, release_agent, \
                       the host's binfmt_misc.",
                catches: "overwriting the runtime through /proc/PID/exe (CVE-2019-5736), release_agent \
                          (CVE-2022-0492), core_pattern.",
                tracepoint: "The task dies when the open returns, so nothing is written; O_TRUNC has emptied a file by \
                             then. With io_uring an open and a write can share one system call.",
                prevention: "The open is refused: nothing is written and nothing truncated, through io_uring neither.",
                exception: "Privileged set-up containers that write core_pattern or register binfmt_misc handlers.",
            },
            Self::Umh => Explanation {
                rule: "When the kernel runs a helper for itself, its program is one of the host's: not a file of a \
                       container, not a memfd, not a file reached through /proc/PID.",
                catches: "core_pattern or modprobe_path overwritten in memory (most public kernel exploits of 2025), \
                          release_agent.",
                tracepoint: "The helper dies before its first instruction; a script dies when its interpreter opens it. \
                             A helper that is the host's own shell with the attacker's arguments is not seen.",
                prevention: "The kernel's own exec is refused before the program is loaded, a script's too. A helper that is \
                             the host's own shell with the attacker's arguments is not seen.",
                exception: "None: an exception for a container covers its files only if you name it.",
            },
            Self::Proc => Explanation {
                rule: "Tasks outside the container are not traced, their memory is not read or written, their \
                       namespaces and descriptors are not opened.",
                catches: "ptrace(2), process_vm_readv/writev(2), /proc/PID/mem, /proc/PID/ns/*, pidfd_getfd(2) from a \
                          container in the host's pid namespace.",
                tracepoint: "The task dies when the call returns: an attach has stopped its target, one \
                             process_vm_writev(2) has written.",
                prevention: "The attach, the transfer, the open of mem and pidfd_getfd(2) are refused before they touch the \
                             target.",
                exception: "Debuggers and profilers in the host's pid namespace; network agents that open \
                            /proc/PID/ns/net.",
            },
            Self::Mnt => Explanation {
                rule: "A block device that the host or another container has mounted is neither mounted nor opened.",
                catches: "mknod + mount of the host's disk, debugfs(8) and dd on the raw device.",
                tracepoint: "The task dies when mount(2) or open(2) returns: it reads and writes nothing.",
                prevention: "The mount is refused. An open of the device is killed when it returns: not a byte is read or written.",
                exception: "Storage drivers (CSI node plug-ins) and backup containers that work on the host's disks.",
            },
            Self::Cg => Explanation {
                rule: "A task is not moved out of its container's cgroup by a task of the container.",
                catches: "writing to cgroup.procs of a cgroup above, to shake off limits (Houdini's escapes) and \
                          guards that go by cgroup.",
                tracepoint: "The task that writes dies when the move has been made.",
                prevention: "As in tracepoint mode: there is no hook for the move.",
                exception: "Containers that manage the host's cgroups: systemd or kubelet in a container.",
            },
            Self::SelfGuard => Explanation {
                rule: "A container does not get hold of the guard's maps, programs, links or pins, and does not signal \
                       its agent.",
                catches: "bpf(2) with BPF_*_GET_FD_BY_ID or BPF_OBJ_GET on the guard's objects by a container with \
                          CAP_BPF or CAP_SYS_ADMIN; kill(2) of the agent from the host's pid namespace.",
                tracepoint: "The task dies with the descriptor, before it can use it. A signal to the agent has been \
                             sent by then: verdicts and kills in the kernel go on without the agent.",
                prevention: "Map, program and link are refused, and the signal too. BPF_OBJ_GET on a link's pin is killed when it \
                             returns.",
                exception: "Other BPF tools in a container that list every map (bpftool, BPF exporters).",
            },
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No invariant has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no invariant is called `{0}`; there are NS, CRED, FS, SEC, WR, UMH, PROC, MNT, CG and SELF")]
pub struct UnknownInvariant(String);

impl FromStr for Invariant {
    type Err = UnknownInvariant;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|i| i.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownInvariant(name.to_owned()))
    }
}

impl Serialize for Invariant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_go_both_ways() {
        for (number, invariant) in Invariant::ALL.into_iter().enumerate() {
            assert_eq!(Invariant::from_number(u32::try_from(number).unwrap()), Some(invariant));
            assert_eq!(invariant.name().to_lowercase().parse(), Ok(invariant));
            assert_eq!(invariant.bit(), 1 << number);
        }
        assert_eq!(Invariant::from_number(10), None);
        assert!("NSX".parse::<Invariant>().is_err());
    }
}
