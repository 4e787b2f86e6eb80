//! What is mounted where: the host's root directory below everything; synthetic directories, memory, and what the host was
//! asked to pass through over it.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::path::{self, Path};
use casemate_enclave::vfs::procfs::Mount as Line;
use casemate_enclave::vfs::records;
use casemate_enclave::vfs::tmpfs::{Budget, Make, Tree};
use casemate_enclave_abi::{Errno, StatFs};
use spin::{Mutex, Once};

use crate::fs::devices::{TMPFS, now};
use crate::fs::host_file::Place;
use crate::process::process;

/// What all files in memory may take together. The kernel's heap has about twice as much.
const MEMORY: u64 = 96 << 20;

/// The device of files without a name.
pub(in crate::fs) const MEMFD_DEVICE: u64 = records::device(0, 1);

/// The first device number of file systems in memory.
const FIRST_MINOR: u8 = 40;

/// A directory, or a file, of the host's.
#[derive(Debug)]
pub(in crate::fs) struct HostMount {
    pub(in crate::fs) place: &'static str,
    /// In host calls; 0 is the root directory.
    number: u64,
    pub(in crate::fs) read_only: bool,
}

impl HostMount {
    /// A path without links as the host is asked for it.
    pub(in crate::fs) fn place<'a>(&self, real: &'a str) -> Place<'a> {
        if self.number == 0 {
            return Place { mount: 0, path: real };
        }
        let inside = path::below(real, self.place).filter(|inside| !inside.is_empty());
        Place { mount: self.number, path: inside.unwrap_or(".") }
    }

    /// Its number in host calls.
    pub(in crate::fs) fn number(&self) -> u64 {
        self.number
    }

    /// Whether it is the root directory.
    pub(in crate::fs) fn is_root(&self) -> bool {
        self.number == 0
    }
}

/// The host's root directory.
pub(in crate::fs) static ROOT: HostMount = HostMount { place: "/", number: 0, read_only: true };

/// A file system in memory.
pub(in crate::fs) struct MemoryMount {
    pub(in crate::fs) place: &'static str,
    pub(in crate::fs) device: u64,
    /// What the host's directory at the same place has, and memory has not, can be read.
    pub(in crate::fs) see_through: bool,
    mode: u32,
    tree: Once<Tree>,
    /// Names of the host's that do not show through any more: the program has removed them.
    hidden: Mutex<BTreeSet<String>>,
}

impl MemoryMount {
    fn new(place: &'static str, minor: u8, see_through: bool, mode: u32) -> Self {
        Self {
            place,
            device: records::device(0, minor),
            see_through,
            mode,
            tree: Once::new(),
            hidden: Mutex::new(BTreeSet::new()),
        }
    }

    /// Its files, if there have ever been any.
    pub(in crate::fs) fn used(&self) -> Option<&Tree> {
        self.tree.get()
    }

    /// Its files.
    pub(in crate::fs) fn tree(&self) -> Result<&Tree, Errno> {
        self.tree.try_call_once(|| Tree::new(budget(), make(self.mode)))
    }

    /// Lets a name of the host's, and what is below it, show through no more.
    pub(in crate::fs) fn hide(&self, real: &str) {
        if self.see_through {
            self.hidden.lock().insert(real.into());
        }
    }

    /// Whether a name of the host's could show through.
    pub(in crate::fs) fn shows(&self, real: &str) -> bool {
        if !self.see_through {
            return false;
        }
        let hidden = self.hidden.lock();
        !hidden.iter().any(|name| path::below(real, name).is_some())
    }
}

/// What a mount is of.
enum What {
    Host(HostMount),
    Memory(MemoryMount),
    Synthetic(&'static str),
}

/// A mount.
struct Mount {
    place: &'static str,
    what: What,
}

/// Longest place first.
static MOUNTS: Once<Vec<Mount>> = Once::new();

fn memory(place: &'static str, minor: u8, see_through: bool, mode: u32) -> Mount {
    Mount { place, what: What::Memory(MemoryMount::new(place, minor, see_through, mode)) }
}

fn standard() -> Vec<Mount> {
    let synthetic = [("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "devtmpfs")]
        .map(|(place, kind)| Mount { place, what: What::Synthetic(kind) });
    let mut mounts: Vec<Mount> = synthetic.into();
    mounts.push(memory("/tmp", FIRST_MINOR, true, 0o1777));
    mounts.push(memory("/var/tmp", FIRST_MINOR + 1, true, 0o1777));
    mounts.push(memory("/run", FIRST_MINOR + 2, false, 0o755));
    mounts.push(memory("/dev/shm", FIRST_MINOR + 3, false, 0o1777));
    mounts
}

/// Mounts what the start-up block names, at boot. What cannot be a mount is left out: the host can deny service, no more.
pub(crate) fn init(asked: &[String]) {
    MOUNTS.call_once(|| {
        let mut mounts = standard();
        let mut number = 0;
        let mut minor = FIRST_MINOR + 4;
        for text in asked {
            let Some((kind, place)) = text.split_once(':') else { continue };
            let host = matches!(kind, "rw" | "ro");
            number += u64::from(host);
            let normal = Path::new("/", place.as_bytes()).map(|path| path.normal);
            if normal.as_deref() != Ok(place) || place == "/" {
                continue;
            }
            let place: &'static str = Box::leak(place.to_string().into_boxed_str());
            mounts.retain(|mount| mount.place != place);
            if host {
                let what = What::Host(HostMount { place, number, read_only: kind == "ro" });
                mounts.push(Mount { place, what });
            } else if kind == "tmpfs" {
                mounts.push(memory(place, minor, false, 0o1777));
                minor = minor.saturating_add(1);
            }
        }
        sorted(mounts)
    });
}

fn sorted(mut mounts: Vec<Mount>) -> Vec<Mount> {
    mounts.sort_by_key(|mount| core::cmp::Reverse(mount.place.len()));
    mounts
}

fn mounts() -> &'static [Mount] {
    MOUNTS.call_once(|| sorted(standard()))
}

/// Who has a path.
pub(in crate::fs) enum Mounted<'a> {
    Host(&'static HostMount),
    /// The mount, and the path in it.
    Memory(&'static MemoryMount, &'a str),
    Synthetic,
}

/// Who has a normal path.
pub(in crate::fs) fn of(path: &str) -> Mounted<'_> {
    for mount in mounts() {
        let Some(inside) = path::below(path, mount.place) else { continue };
        return match &mount.what {
            What::Host(host) => Mounted::Host(host),
            What::Memory(memory) => Mounted::Memory(memory, inside),
            What::Synthetic(_) => Mounted::Synthetic,
        };
    }
    Mounted::Host(&ROOT)
}

/// Whether a mount lies below a path, or at it: it is a directory then, whether the file system there has one or not.
pub(in crate::fs) fn leads_to_mount(path: &str) -> bool {
    mounts().iter().any(|mount| path::below(mount.place, path).is_some())
}

/// Whether something is mounted at just this path.
pub(in crate::fs) fn is_mount_point(path: &str) -> bool {
    path == "/" || mounts().iter().any(|mount| mount.place == path)
}

/// The names in a directory that lead to mounts.
pub(in crate::fs) fn names_below(path: &str) -> BTreeSet<&'static str> {
    let below = mounts().iter().filter_map(|mount| path::below(mount.place, path));
    below.filter_map(|rest| rest.split('/').next()).filter(|name| !name.is_empty()).collect()
}

/// File systems in memory.
pub(in crate::fs) fn in_memory() -> impl Iterator<Item = &'static MemoryMount> {
    mounts().iter().filter_map(|mount| match &mount.what {
        What::Memory(memory) => Some(memory),
        _ => None,
    })
}

/// All mounts, for `/proc/self/mounts`.
pub(in crate::fs) fn all() -> impl Iterator<Item = Line> {
    let root = Line { place: "/", kind: "casemate", read_only: true };
    let line = |mount: &'static Mount| {
        let (kind, read_only) = match &mount.what {
            What::Host(host) => ("casemate", host.read_only),
            What::Memory(_) => ("tmpfs", false),
            What::Synthetic(kind) => (*kind, false),
        };
        Line { place: mount.place, kind, read_only }
    };
    core::iter::once(root).chain(mounts().iter().rev().map(line))
}

/// What files in memory share.
pub(in crate::fs) fn budget() -> &'static Arc<Budget> {
    static BUDGET: Once<Arc<Budget>> = Once::new();
    BUDGET.call_once(|| Arc::new(Budget::new(MEMORY)))
}

/// A new file of the program's, now.
pub(in crate::fs) fn make(mode: u32) -> Make {
    let start = &process().start;
    let id = |value| u32::try_from(value).unwrap_or(0);
    Make { mode, uid: id(start.euid), gid: id(start.egid), now: now() }
}

/// What statfs(2) shows of memory.
pub(in crate::fs) fn stat_fs() -> StatFs {
    let free = (budget().limit().saturating_sub(budget().used())) / 4096;
    StatFs {
        kind: TMPFS,
        bsize: 4096,
        blocks: budget().limit() / 4096,
        bfree: free,
        bavail: free,
        files: budget().limit() / 512,
        ffree: free * 8,
        fsid: 0,
        namelen: 255,
        frsize: 4096,
        flags: 0,
    }
}
