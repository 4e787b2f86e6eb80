//! What this kernel offers: every test for a feature is here, and its result is passed down as a value.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use libbpf_rs::btf::{Btf, BtfType};
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};

use crate::bpf::ProbeSkelBuilder;
use crate::mode::Mode;
use crate::sensors::{self, SYSCTL, SYSCTL_BY_NS, Sensor};
use crate::verifier_log;

const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";
/// What the experiment opens.
const EXPERIMENT: &str = "/dev/null";

/// What the guard found of a kernel.
#[derive(Debug, Default)]
pub(crate) struct Offer {
    cgroup2: Option<PathBuf>,
    /// A task can be preempted in a program at a tracepoint: each of these is attached twice.
    pub(crate) twins: bool,
    /// `bpf_send_signal_task` (since 6.13).
    pub(crate) kills_others: bool,
    /// Types and helpers without which there is no guard: what is missing.
    pub(crate) missing: Vec<&'static str>,
    present: HashSet<String>,
}

/// What every mode wants, and the BTF type that tells.
const NEEDED: [(&str, &str); 2] =
    [("task-local storage (5.11)", "bpf_local_storage"), ("bpf_loop (5.17)", "bpf_loop")];

/// Tracepoints whose arguments are not always what the programs expect, and the type that tells.
const SHAPES: [(&str, &str); 2] =
    [("btf_trace_io_uring_complete", "io_cqe"), ("btf_trace_io_uring_submit_req", "io_open")];

/// Linux 7.0: tracepoints run under SRCU, and no longer with preemption off (include/linux/tracepoint.h).
const PREEMPTIBLE_TRACEPOINTS: u32 = 7;

fn kernel_major() -> u32 {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    release.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(u32::MAX)
}

fn has(btf: &Btf<'_>, name: &str) -> bool {
    btf.type_by_name::<BtfType<'_>>(name).is_some()
}

/// Looks at the kernel's types and at the mounts; loads nothing.
pub(crate) fn offer() -> Offer {
    let Ok(btf) = Btf::from_vmlinux() else { return Offer::default() };
    let mut present = sensors::functions(&btf);
    for sensor in sensors::of(Mode::Tracepoint) {
        let shape = SHAPES.iter().find(|(point, _)| *point == sensor.target);
        if has(&btf, &sensor.target) && shape.is_none_or(|(_, shape)| has(&btf, shape)) {
            present.insert(sensor.target);
        }
    }
    Offer {
        cgroup2: cgroup2_mount(),
        twins: kernel_major() >= PREEMPTIBLE_TRACEPOINTS,
        kills_others: present.contains("bpf_send_signal_task"),
        missing: NEEDED.iter().filter(|(_, name)| !has(&btf, name)).map(|(what, _)| *what).collect(),
        present,
    }
}

impl Offer {
    /// The programs of a mode that can be attached here.
    pub(crate) fn sensors(&self, mode: Mode) -> Vec<Sensor> {
        let mut all: Vec<Sensor> =
            sensors::of(mode).into_iter().filter(|sensor| self.present.contains(&sensor.target)).collect();
        if self.twins {
            let twins: Vec<Sensor> = all.iter().filter_map(Sensor::twin).collect();
            all.extend(twins);
        }
        all
    }

    /// The program that refuses writes to sysctls in tracepoint mode, and the root of cgroup v2, where it is attached.
    /// `None` where that is not mounted.
    pub(crate) fn sysctl(&self) -> Option<(&'static str, &Path)> {
        let path = self.cgroup2.as_deref()?;
        Some((if loads("sysctl") { SYSCTL } else { SYSCTL_BY_NS }, path))
    }

    /// The targets that a mode wants and this kernel does not have.
    fn lacks(&self, mode: Mode, required: bool) -> Vec<String> {
        let lacking = |s: &Sensor| s.required == required && !self.present.contains(&s.target);
        sensors::of(mode).into_iter().filter(lacking).map(|sensor| sensor.target).collect()
    }

    /// What a mode does without on this kernel. Entries for 32-bit callers are missing where there are none.
    pub(crate) fn lacking(&self, mode: Mode) -> Vec<String> {
        self.lacks(mode, false).into_iter().filter(|target| !target.starts_with("__ia32_")).collect()
    }

    /// Whether a mode works here; if not, why. Prevention is tried out: a thread of ours is refused a file.
    pub(crate) fn check(&self, mode: Mode) -> Result<(), String> {
        if !self.missing.is_empty() {
            return Err(format!("the kernel lacks {}", self.missing.join(", ")));
        }
        let lacking = self.lacks(mode, true);
        if !lacking.is_empty() {
            return Err(format!("the kernel lacks {}", lacking.join(", ")));
        }
        if mode.prevents() { experiment(mode) } else { Ok(()) }
    }

    /// The strongest mode that works here; the reason against the least demanding one, if none does.
    pub(crate) fn choose(&self) -> Result<Mode, String> {
        let mut reason = String::new();
        for mode in Mode::ALL {
            match self.check(mode) {
                Ok(()) => return Ok(mode),
                Err(why) => reason = why,
            }
        }
        Err(reason)
    }
}

/// Attaches one program of the kind and sees whether it can refuse an open, then whether a program can run behind a
/// system call.
fn experiment(mode: Mode) -> Result<(), String> {
    verifier_log::start();
    let mut storage = MaybeUninit::uninit();
    let mut open = ProbeSkelBuilder::default().open(&mut storage).map_err(|e| e.to_string())?;
    open.progs.lsm.set_autoload(mode == Mode::Lsm);
    open.progs.fmod_ret.set_autoload(mode == Mode::FmodRet);
    open.progs.sysctl.set_autoload(false);
    let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    open.maps.rodata_data.as_mut().expect("the skeleton maps its .rodata").thread = thread;
    let refused = |e: libbpf_rs::Error| {
        if e.kind() == libbpf_rs::ErrorKind::PermissionDenied {
            "the kernel refuses such programs (EPERM)".to_owned()
        } else {
            format!("such programs cannot be loaded: {e}")
        }
    };
    let mut skel = open.load().map_err(refused)?;
    skel.attach().map_err(|e| format!("such programs cannot be attached: {e}"))?;
    match File::open(EXPERIMENT) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(e) => Err(format!("cannot open {EXPERIMENT} to try it out: {e}")),
        Ok(_) if mode == Mode::Lsm => {
            Err("it has no effect: `bpf` is not in the list of active modules (boot with lsm=...,bpf)"
                .to_owned())
        }
        Ok(_) => Err("it has no effect on this kernel".to_owned()),
    }
}

/// Whether the kernel loads this one of the small programs.
fn loads(program: &str) -> bool {
    verifier_log::start();
    let mut storage = MaybeUninit::uninit();
    ProbeSkelBuilder::default().open(&mut storage).is_ok_and(|mut open| {
        for mut other in open.open_object_mut().progs_mut() {
            let wanted = other.name() == program;
            other.set_autoload(wanted);
        }
        open.load().is_ok()
    })
}

/// The mount point of the version 2 hierarchy: proc_pid_mountinfo(5), field 5, type behind the dash.
fn cgroup2_mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        file_system.starts_with("cgroup2 ").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

pub(crate) fn has_btf() -> bool {
    Path::new(VMLINUX_BTF).exists()
}
