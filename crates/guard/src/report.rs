//! What `casemate doctor` says: the kernel's offer, the mode that follows from it, and why.

use serde::Serialize;

use crate::mode::Mode;
use crate::pins;
use crate::probe::{self, Choice, Offer};

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

/// Looks at the running kernel. Prevention is tried out with a small program, which is gone again afterwards.
#[must_use]
pub fn report() -> Report {
    let root = rustix::process::geteuid().is_root();
    let offer = probe::offer();
    let mut findings = basics(root, &offer);
    let (mode, reason) = if !root {
        (None, "not root: what the kernel lets root do cannot be tried out".to_owned())
    } else if !probe::has_btf() {
        (None, "missing: BTF".to_owned())
    } else {
        let Choice { mode, refused } = offer.choose();
        findings.extend(modes(&offer, mode, &refused));
        match mode {
            Some(strongest) if strongest.prevents() => {
                (mode, "the strongest that works here: refuses, then kills".to_owned())
            }
            Some(_) => (
                mode,
                "kills before the task returns to user space; prevention does not work here".to_owned(),
            ),
            None => (None, refused.last().map_or_else(String::new, |(_, reason)| reason.clone())),
        }
    };
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let running = pins::exist() && pins::mounted();
    Report { kernel, findings, mode: mode.map(Mode::name), reason, running }
}

fn finding(feature: &'static str, present: bool, required: bool, note: impl Into<String>) -> Finding {
    Finding { feature, present, required, note: note.into() }
}

fn basics(root: bool, offer: &Offer) -> Vec<Finding> {
    let lost =
        if offer.missing.is_empty() { "there".to_owned() } else { offer.missing.join(", ") + " missing" };
    let points: Vec<_> = offer.sensors(Mode::Tracepoint).into_iter().map(|sensor| sensor.program).collect();
    let sysctl = if root { offer.sysctl() } else { Err("not root") };
    let has = |program: &str| points.iter().any(|point| point == program);
    vec![
        finding("root", root, true, "loading BPF programs needs CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN"),
        finding("BTF", probe::has_btf(), true, "CONFIG_DEBUG_INFO_BTF: where the kernel's fields are"),
        finding(
            "kernel 5.17",
            offer.missing.is_empty(),
            true,
            format!("task-local storage and bpf_loop: {lost}"),
        ),
        finding(
            "io_uring_complete",
            has("on_io_uring"),
            false,
            "5.19, tracepoint mode: files opened through io_uring; without it, they are seen when used by a system call",
        ),
        finding("cgroup_attach_task", has("on_cgroup_move"), false, "moves out of a cgroup (invariant CG)"),
        finding(
            "sysctl programs",
            sysctl.is_ok(),
            false,
            format!(
                "tracepoint mode refuses writes to core_pattern and modprobe as they are made; without, the writer dies after the call{}",
                sysctl.err().map_or_else(String::new, |reason| format!(" ({reason})"))
            ),
        ),
        finding(
            "bpf_send_signal_task",
            offer.kills_others,
            false,
            "6.13: the whole container dies from inside the kernel; without it, the agent finishes the rest",
        ),
    ]
}

/// Each mode that was tried: the usable one, and those before it.
fn modes(offer: &Offer, usable: Option<Mode>, refused: &[(Mode, String)]) -> Vec<Finding> {
    const FEATURES: [(Mode, &str); 3] =
        [(Mode::Lsm, "mode lsm"), (Mode::FmodRet, "mode fmod_ret"), (Mode::Tracepoint, "mode tracepoint")];
    FEATURES
        .into_iter()
        .filter_map(|(mode, feature)| {
            if usable == Some(mode) {
                let lacking = offer.lacking(mode);
                let note = if lacking.is_empty() {
                    "works, with every hook".to_owned()
                } else {
                    format!("works, without {}", lacking.join(", "))
                };
                return Some(finding(feature, true, false, note));
            }
            let (_, reason) = refused.iter().find(|(tried, _)| *tried == mode)?;
            Some(finding(feature, false, false, reason.clone()))
        })
        .collect()
}
