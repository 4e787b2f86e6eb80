//! Finds files and disks of the host without being handed anything.

use super::super::Case;
use super::super::Need::Disk;
use super::{BASE, FS};
use crate::probe;

const MNT: &[&str] = &["MNT"];

pub(super) const CASES: &[Case] = &[
    Case {
        name: "shocker-root",
        shape: "open_by_handle_at, the host's root",
        argv: &["/lab/shocker", "root"],
        invariants: FS,
        unsupported: probe::no_ext4_handles,
        ..BASE
    },
    Case {
        name: "shocker-file",
        shape: "open_by_handle_at, one file",
        argv: &["/lab/shocker", "file"],
        invariants: FS,
        unsupported: probe::no_ext4_handles,
        ..BASE
    },
    Case {
        name: "shocker-int80",
        shape: "open_by_handle_at by the 32-bit gate, which has an entry of its own",
        argv: &["/lab/shocker", "int80"],
        invariants: FS,
        unsupported: probe::no_32_bit_handles,
        ..BASE
    },
    Case {
        name: "disk-raw",
        shape: "mknod and a raw read of a mounted disk",
        argv: &["/lab/block_device", "raw"],
        needs: &[Disk],
        invariants: MNT,
        ..BASE
    },
    Case {
        name: "disk-mount",
        shape: "mknod and a mount of the host's disk",
        argv: &["/lab/block_device", "mount"],
        needs: &[Disk],
        invariants: MNT,
        ..BASE
    },
    Case {
        name: "disk-fsmount",
        shape: "fsopen and fsmount of the host's disk",
        argv: &["/lab/block_device", "fsmount"],
        needs: &[Disk],
        invariants: &["MNT", "FS"],
        ..BASE
    },
];
