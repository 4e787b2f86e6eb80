//! What can go wrong while the guard is set up.

use std::path::PathBuf;

use crate::mode::Mode;
use crate::verifier_log;

/// The guard could not be started, stopped or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not root.
    #[error("the guard can be run, stopped and read by root only: use sudo, or a systemd service")]
    NotRoot,
    /// The kernel has no type information.
    #[error(
        "/sys/kernel/btf/vmlinux is missing: this kernel was built without CONFIG_DEBUG_INFO_BTF; `casemate doctor` lists kernels that have it"
    )]
    NoBtf,
    /// A second agent.
    #[error(
        "another `casemate guard` is running (pid {pid}); stop it, or end the guard with `casemate guard --stop`"
    )]
    AlreadyRunning {
        /// Its process id, 0 where it is not known.
        pid: i32,
    },
    /// The guard is not there.
    #[error("the guard is not running: start it with `casemate guard`")]
    NotRunning,
    /// The mode that was asked for does not work here.
    #[error("mode {mode} does not work on this kernel: {reason}; `casemate doctor` says which one does")]
    Mode {
        /// The mode.
        mode: Mode,
        /// Why not.
        reason: String,
    },
    /// No mode works here.
    #[error("the guard cannot run on this kernel: {reason}; see `casemate doctor`")]
    NoMode {
        /// Why not the least demanding one.
        reason: String,
    },
    /// `deny` without prevention.
    #[error(
        "the configuration denies preconditions (`deny`), which needs mode lsm or fmod_ret, and only tracepoint is used here: remove `deny`, or see `casemate doctor` for what the other modes lack"
    )]
    CannotDeny,
    /// Pinned maps of another version.
    #[error(
        "the pinned guard in {path} is of another version of casemate, with other records: run `casemate guard --stop`, then start this one (running containers are adopted)"
    )]
    OtherVersion {
        /// Where the pins are.
        path: PathBuf,
    },
    /// A file or directory of ours.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// libbpf or the kernel's verifier.
    #[error("cannot {action} the BPF programs{hint}{log}")]
    Bpf {
        /// What was tried.
        action: &'static str,
        /// What may help.
        hint: &'static str,
        /// What libbpf and the verifier said, where they said something.
        log: String,
        /// What libbpf said.
        source: libbpf_rs::Error,
    },
    /// A system call without a file.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

pub(crate) fn file_error(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.into();
    move |source| Error::File { action, path, source }
}

pub(crate) fn bpf_error(action: &'static str) -> impl FnOnce(libbpf_rs::Error) -> Error {
    move |source| {
        let log = verifier_log::take();
        let hint = match source.kind() {
            _ if log.contains(verifier_log::REJECTED) => {
                ": this kernel's verifier rejects one; please report the lines below, and see `casemate doctor` for other modes"
            }
            libbpf_rs::ErrorKind::PermissionDenied => {
                ": the kernel refuses them (CAP_BPF and CAP_PERFMON are needed, and no lockdown); see `casemate doctor`"
            }
            _ => "; see `casemate doctor` for what this kernel offers",
        };
        Error::Bpf { action, hint, log, source }
    }
}
