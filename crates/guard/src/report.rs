//! What `casemate doctor` says: the kernel's offer, the mode that follows from it, and why.

use serde::Serialize;

use crate::mode::Mode;
use crate::pins;
use crate::probe::{self, Offer};

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
    /// All modes that work here, the strongest first.
    pub modes: Vec<&'static str>,
    /// Why that one.
    pub reason: String,
    /// Is a guard there already? `None`: only root can tell.
    pub running: Option<bool>,
}

/// Looks at the running kernel. Prevention is tried out with a small program, which is gone again afterwards.
#[must_use]
pub fn report() -> Report {
    let root = rustix::process::geteuid().is_root();
    let offer = probe::offer();
    let mut findings = basics(root, &offer);
    let tried = if root && probe::has_btf() { try_modes(&offer) } else { Vec::new() };
    let modes: Vec<Mode> = tried.iter().filter(|(_, result)| result.is_ok()).map(|(mode, _)| *mode).collect();
    let reason = match (modes.first(), tried.last()) {
        (Some(mode), _) if mode.prevents() => "the strongest that works here: refuses, then kills".to_owned(),
        (Some(_), _) => {
            "kills before the task returns to user space; prevention does not work here".to_owned()
        }
        (None, Some((_, Err(reason)))) => reason.clone(),
        (None, _) if !root => "not root: what the kernel lets root do cannot be tried out".to_owned(),
        (None, _) => "BTF is missing".to_owned(),
    };
    findings.extend(tried.iter().map(|(mode, result)| mode_finding(&offer, *mode, result)));
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let running = root.then(|| pins::exist() && pins::mounted());
    Report {
        kernel,
        findings,
        mode: modes.first().copied().map(Mode::name),
        modes: modes.into_iter().map(Mode::name).collect(),
        reason,
        running,
    }
}

fn finding(feature: &'static str, present: bool, required: bool, note: impl Into<String>) -> Finding {
    Finding { feature, present, required, note: note.into() }
}

fn basics(root: bool, offer: &Offer) -> Vec<Finding> {
    let lost =
        if offer.missing.is_empty() { "there".to_owned() } else { offer.missing.join(", ") + " missing" };
    let points: Vec<_> = offer.sensors(Mode::Tracepoint).into_iter().map(|sensor| sensor.program).collect();
    let sysctl = offer.sysctl();
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
            sysctl.is_some(),
            false,
            "tracepoint mode refuses writes to core_pattern and modprobe as they are made; without cgroup v2, the writer dies after the call",
        ),
        finding(
            "bpf_send_signal_task",
            offer.kills_others,
            false,
            "6.13: the whole container dies from inside the kernel; without it, the agent finishes the rest",
        ),
    ]
}

fn try_modes(offer: &Offer) -> Vec<(Mode, Result<(), String>)> {
    Mode::ALL.into_iter().map(|mode| (mode, offer.check(mode))).collect()
}

fn mode_finding(offer: &Offer, mode: Mode, result: &Result<(), String>) -> Finding {
    let feature = match mode {
        Mode::Lsm => "mode lsm",
        Mode::FmodRet => "mode fmod_ret",
        Mode::Tracepoint => "mode tracepoint",
    };
    let lacking = offer.lacking(mode);
    let note = match result {
        Err(reason) => reason.clone(),
        Ok(()) if lacking.is_empty() => "works, with every checkpoint".to_owned(),
        Ok(()) => format!("works, without {}", lacking.join(", ")),
    };
    finding(feature, result.is_ok(), false, note)
}
