//! What this kernel offers: every test for a feature is here, and its result is passed down as a value.

use std::fs;
use std::path::{Path, PathBuf};

use libbpf_rs::btf::Btf;
use serde::Serialize;

use crate::pins;

const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Tracepoints, fields and mounts that not every host has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offer {
    /// `io_uring_complete` with a request (since 5.19).
    pub(crate) io_uring: bool,
    /// `io_uring_submit_req` (since 6.3).
    pub(crate) io_uring_submit: bool,
    /// `cgroup_attach_task`.
    pub(crate) cgroup_attach: bool,
    /// Where the version 2 hierarchy is mounted.
    pub(crate) cgroup2: Option<PathBuf>,
    required: bool,
}

fn has(btf: &Btf<'_>, name: &str) -> bool {
    btf.type_by_name::<libbpf_rs::btf::BtfType<'_>>(name).is_some()
}

pub(crate) fn offer() -> Offer {
    let Ok(btf) = Btf::from_vmlinux() else { return Offer::default() };
    Offer {
        cgroup2: cgroup2_mount(),
        io_uring: has(&btf, "btf_trace_io_uring_complete") && has(&btf, "io_cqe"),
        io_uring_submit: has(&btf, "btf_trace_io_uring_submit_req") && has(&btf, "io_open"),
        cgroup_attach: has(&btf, "btf_trace_cgroup_attach_task"),
        required: ["sys_exit", "task_newtask", "sched_process_exec", "sched_process_exit"]
            .iter()
            .all(|t| has(&btf, &format!("btf_trace_{t}")))
            && has(&btf, "bpf_local_storage")
            && has(&btf, "bpf_loop"),
    }
}

/// The mount point of the version 2 hierarchy: proc_pid_mountinfo(5), field 5, type behind the dash.
fn cgroup2_mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        file_system.starts_with("cgroup2 ").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// One thing the guard wants of a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What.
    pub feature: &'static str,
    /// Is it there?
    pub present: bool,
    /// Can the guard run without it?
    pub required: bool,
    /// What it is for, or what is lost without it.
    pub note: String,
}

/// What the kernel offers, and the mode that follows from it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `uname -r`.
    pub kernel: String,
    /// Each feature.
    pub findings: Vec<Finding>,
    /// The mode that `casemate guard` would run in, or `None`.
    pub mode: Option<&'static str>,
    /// Why that one.
    pub reason: String,
    /// Is a guard there already?
    pub running: bool,
}

/// Looks at the running kernel. Loads nothing.
#[must_use]
pub fn report() -> Report {
    let root = rustix::process::geteuid().is_root();
    let btf = Path::new(VMLINUX_BTF).exists();
    let points = offer();
    let signal = Btf::from_vmlinux().is_ok_and(|b| has(&b, "bpf_send_signal_task"));
    let lsm = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let lsm = lsm.trim();
    let finding = |feature, present, required, note: &str| Finding {
        feature,
        present,
        required,
        note: note.to_owned(),
    };
    let findings = vec![
        finding("root", root, true, "loading BPF programs needs CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN"),
        finding("BTF", btf, true, "CONFIG_DEBUG_INFO_BTF: where the kernel's fields are"),
        finding(
            "tracepoints",
            points.required,
            true,
            "sys_exit, task_newtask, sched_process_exec and _exit as BTF tracepoints, task-local storage (5.11) and bpf_loop (5.17)",
        ),
        finding(
            "io_uring_complete",
            points.io_uring,
            false,
            "5.19: files opened through io_uring; without it, they are seen when used by a system call",
        ),
        finding("cgroup_attach_task", points.cgroup_attach, false, "moves out of a cgroup (invariant CG)"),
        finding(
            "cgroup v2 mount",
            points.cgroup2.is_some(),
            false,
            "refuses writes to core_pattern and modprobe as they are made; without it, the writer dies after the call",
        ),
        finding(
            "bpf_send_signal_task",
            signal,
            false,
            "6.13: the whole container dies from inside the kernel; without it, the agent finishes the rest",
        ),
        finding("task iterator", points.required, true, "adopts running containers, sweeps every second"),
        finding(
            "BPF LSM",
            lsm.split(',').any(|l| l == "bpf"),
            false,
            &format!(
                "for the prevention mode to come; active modules: {}",
                if lsm.is_empty() { "unknown (securityfs is not mounted)" } else { lsm }
            ),
        ),
    ];
    let missing: Vec<_> = findings.iter().filter(|f| f.required && !f.present).map(|f| f.feature).collect();
    let (mode, reason) = if missing.is_empty() {
        (
            Some("tracepoint"),
            "the only mode of this version: kill before the task returns to user space".to_owned(),
        )
    } else {
        (None, format!("missing: {}", missing.join(", ")))
    };
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Report { kernel, findings, mode, reason, running: pins::exist() && pins::mounted() }
}

pub(crate) fn has_btf() -> bool {
    Path::new(VMLINUX_BTF).exists()
}
