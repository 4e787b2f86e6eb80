//! Where the guard lives between agents: a BPF file system of its own, so that a container which is given
//! `/sys/fs/bpf` has not been given the guard.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libbpf_rs::{Link, Program};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::error::{Error, bpf_error, file_error};

/// State of the running guard: lock and the mount below.
const RUN: &str = "/run/casemate";
/// Our own instance of bpffs.
const PINS: &str = "/run/casemate/bpf";
const LINK: &str = "link_";
const MAP: &str = "map_";
/// How long programs may take to end that nobody holds any more.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// `BPF_FS_MAGIC` of include/uapi/linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

pub(crate) fn root() -> &'static Path {
    Path::new(PINS)
}

pub(crate) fn map(name: &str) -> PathBuf {
    root().join(format!("{MAP}{name}"))
}

/// What the names of a generation's links begin with.
pub(crate) fn link_prefix(generation: u64) -> String {
    format!("{LINK}{generation:016x}_")
}

pub(crate) fn link(generation: u64, name: &str) -> PathBuf {
    root().join(link_prefix(generation) + name)
}

/// Is there a guard, whether or not an agent runs?
pub(crate) fn exist() -> bool {
    names().is_ok_and(|names| {
        names.iter().any(|name| name.starts_with(LINK) && name.ends_with(crate::sensors::ALWAYS))
    })
}

/// The names of all pins. The kernel puts files of its own (maps.debug) into every new bpffs: they are none.
fn names() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(LINK) || name.starts_with(MAP) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes those pins of links whose names are `unwanted`. Their programs run on for a moment: the kernel detaches
/// them in its own time.
pub(crate) fn remove_links(unwanted: impl Fn(&str) -> bool) -> Result<(), Error> {
    for name in names().map_err(file_error("read the pins in", PINS))? {
        if name.starts_with(LINK) && unwanted(&name) {
            let path = root().join(name);
            fs::remove_file(&path).map_err(file_error("remove the pin", path))?;
        }
    }
    Ok(())
}

fn is_bpffs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|s| u64::try_from(s.f_type).is_ok_and(|t| t == BPF_FS_MAGIC))
}

/// Makes the directory and mounts the file system, where they are not there yet.
pub(crate) fn prepare() -> Result<(), Error> {
    make_directory(RUN)?;
    make_directory(PINS)?;
    if is_bpffs(root()) {
        return Ok(());
    }
    let failed = |e: rustix::io::Errno| Error::File {
        action: "mount a BPF file system on",
        path: root().to_owned(),
        source: e.into(),
    };
    rustix::mount::mount(
        "bpf",
        PINS,
        "bpf",
        MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV,
        Some(c"mode=0700"),
    )
    .map_err(failed)?;
    rustix::mount::mount_change(PINS, MountPropagationFlags::PRIVATE).map_err(failed)
}

fn make_directory(path: &'static str) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(file_error("make the directory", path))
}

/// Takes away every pin: links first, so that nothing runs on half a set of maps. Returns when no program runs any
/// more; false where there was no guard.
pub(crate) fn remove() -> Result<bool, Error> {
    let existed = exist();
    if is_bpffs(root()) {
        let programs = programs()?;
        remove_links(|_| true)?;
        for name in names().map_err(file_error("read the pins in", PINS))? {
            let path = root().join(name);
            fs::remove_file(&path).map_err(file_error("remove the pin", path))?;
        }
        rustix::mount::unmount(PINS, UnmountFlags::DETACH)
            .map_err(|e| file_error("unmount", PINS)(e.into()))?;
        wait_for_end(&programs)?;
    }
    match fs::remove_dir(PINS) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(file_error("remove", PINS)(e)),
        _ => Ok(existed),
    }
}

/// The ids of the programs behind the links.
fn programs() -> Result<Vec<u32>, Error> {
    let mut ids = Vec::new();
    for name in names().map_err(file_error("read the pins in", PINS))? {
        if name.starts_with(LINK) {
            let link = Link::open(root().join(name)).map_err(bpf_error("look up"))?;
            ids.push(link.info().map_err(bpf_error("look up"))?.prog_id);
        }
    }
    Ok(ids)
}

/// The kernel detaches and frees what nobody holds in its own time, behind a grace period.
fn wait_for_end(programs: &[u32]) -> Result<(), Error> {
    let start = Instant::now();
    for id in programs {
        while Program::fd_from_id(*id).is_ok() {
            if start.elapsed() > PATIENCE {
                let source = io::Error::other(format!("BPF program {id} is still held by another process"));
                return Err(Error::System { action: "see the end of the guard's programs", source });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    Ok(())
}

/// Something pinned, and a descriptor that keeps it alive should the pin be removed.
#[derive(Debug)]
pub(crate) struct Pin {
    path: PathBuf,
    object: OwnedFd,
}

impl Pin {
    pub(crate) fn new(path: PathBuf, object: BorrowedFd<'_>) -> Result<Self, Error> {
        let failed = |source| Error::System { action: "duplicate a descriptor", source };
        Ok(Self { path, object: object.try_clone_to_owned().map_err(failed)? })
    }

    /// A descriptor on the pin itself, not on what is pinned.
    pub(crate) fn look_up(&self) -> Result<OwnedFd, Error> {
        rustix::fs::open(&self.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| file_error("look up the pin", self.path.clone())(e.into()))
    }

    /// Pins again what is no longer pinned.
    pub(crate) fn repair(&self) -> Result<bool, Error> {
        if self.path.exists() {
            return Ok(false);
        }
        let failed = || file_error("pin again", self.path.clone());
        let path = CString::new(self.path.as_os_str().as_bytes()).map_err(|e| failed()(e.into()))?;
        // SAFETY: the path is a C string that lives across the call, the descriptor is open.
        let result = unsafe { libbpf_rs::libbpf_sys::bpf_obj_pin(self.object.as_raw_fd(), path.as_ptr()) };
        if result != 0 { Err(failed()(io::Error::from_raw_os_error(-result))) } else { Ok(true) }
    }
}

/// Held by the one agent; the kernel lets go of it however the agent ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: fs::File,
}

impl Lock {
    pub(crate) fn take() -> Result<Self, Error> {
        make_directory(RUN)?;
        let path = Path::new(RUN).join("agent.lock");
        let failed = || file_error("open", path.clone());
        let mut file = fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed())?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(failed())?;
            return Err(Error::AlreadyRunning { pid: pid.trim().parse().unwrap_or(0) });
        }
        file.set_len(0).map_err(failed())?;
        file.rewind().map_err(failed())?;
        writeln!(file, "{}", std::process::id()).map_err(failed())?;
        Ok(Self { _file: file })
    }
}

/// Is `path` on the file system of the pins? For `doctor`.
pub(crate) fn mounted() -> bool {
    is_bpffs(root()) && fs::metadata(root()).is_ok_and(|m| m.is_dir() && m.uid() == 0)
}
