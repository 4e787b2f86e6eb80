//! What is mounted where: the host's root directory below everything, synthetic directories and memory over it.

use alloc::sync::Arc;

use casemate_enclave::vfs::path;
use casemate_enclave::vfs::procfs::Mount;
use casemate_enclave::vfs::records;
use casemate_enclave::vfs::tmpfs::{Budget, Make, Tree};
use casemate_enclave_abi::{Errno, StatFs};
use spin::Once;

use crate::fs::devices::{TMPFS, now};
use crate::process::process;

/// What all files in memory may take together. The kernel's heap has about twice as much.
const MEMORY: u64 = 96 << 20;

/// The device of files without a name.
pub(in crate::fs) const MEMFD_DEVICE: u64 = records::device(0, 1);

/// A file system in memory.
pub(in crate::fs) struct MemoryMount {
    pub(in crate::fs) place: &'static str,
    pub(in crate::fs) device: u64,
    /// What the host's directory at the same place has, and memory has not, can be read.
    pub(in crate::fs) see_through: bool,
    mode: u32,
    tree: Once<Tree>,
}

impl MemoryMount {
    const fn new(place: &'static str, minor: u8, see_through: bool, mode: u32) -> Self {
        Self { place, device: records::device(0, minor), see_through, mode, tree: Once::new() }
    }

    /// Its files, if there have ever been any.
    pub(in crate::fs) fn used(&self) -> Option<&Tree> {
        self.tree.get()
    }

    /// Its files.
    pub(in crate::fs) fn tree(&self) -> Result<&Tree, Errno> {
        self.tree.try_call_once(|| Tree::new(budget(), make(self.mode)))
    }
}

static MEMORY_MOUNTS: [MemoryMount; 4] = [
    MemoryMount::new("/tmp", 40, true, 0o1777),
    MemoryMount::new("/var/tmp", 41, true, 0o1777),
    MemoryMount::new("/run", 42, true, 0o755),
    MemoryMount::new("/dev/shm", 43, false, 0o1777),
];

const SYNTHETIC: [(&str, &str); 3] = [("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "devtmpfs")];

/// Who has a path.
pub(in crate::fs) enum Mounted<'a> {
    Host,
    /// The mount, and the path in it.
    Memory(&'static MemoryMount, &'a str),
    Synthetic,
}

/// Who has a normal path.
pub(in crate::fs) fn of(path: &str) -> Mounted<'_> {
    for mount in &MEMORY_MOUNTS {
        if let Some(inside) = path::below(path, mount.place) {
            return Mounted::Memory(mount, inside);
        }
    }
    if SYNTHETIC.iter().any(|(place, _)| path::below(path, place).is_some()) {
        return Mounted::Synthetic;
    }
    Mounted::Host
}

/// File systems in memory.
pub(in crate::fs) fn in_memory() -> &'static [MemoryMount] {
    &MEMORY_MOUNTS
}

/// All mounts, for `/proc/self/mounts`.
pub(in crate::fs) fn all() -> impl Iterator<Item = Mount> {
    let root = Mount { place: "/", kind: "casemate", read_only: true };
    let synthetic = SYNTHETIC.iter().map(|(place, kind)| Mount { place, kind, read_only: false });
    let memory =
        MEMORY_MOUNTS.iter().map(|mount| Mount { place: mount.place, kind: "tmpfs", read_only: false });
    core::iter::once(root).chain(synthetic).chain(memory)
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
