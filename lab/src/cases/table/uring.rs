//! Lets io_uring make the calls.

use super::super::Leaves::Effect;
use super::super::{Case, Proof};
use super::{BASE, FS_WR, WR_UMH, leaked};
use crate::probe;

pub(super) const CASES: &[Case] = &[
    Case {
        shape: "io_uring: openat below a leaked directory",
        unsupported: probe::no_io_uring,
        ..leaked("iouring-openat", &["/lab/iouring", "openat"], Proof::Secret)
    },
    Case {
        shape: "io_uring: unlinkat below a leaked directory",
        leaves: Effect,
        invariants: FS_WR,
        unsupported: probe::no_io_uring,
        ..leaked("iouring-unlinkat", &["/lab/iouring", "unlinkat"], Proof::Gone("prey"))
    },
    Case {
        shape: "io_uring: mkdirat below a leaked directory",
        leaves: Effect,
        invariants: FS_WR,
        unsupported: probe::no_io_uring,
        ..leaked("iouring-mkdirat", &["/lab/iouring", "mkdirat"], Proof::Made("made"))
    },
    Case {
        shape: "io_uring: open without completion or descriptor, read, in one call",
        unsupported: probe::no_io_uring_slots,
        ..leaked("iouring-skip", &["/lab/iouring", "skip"], Proof::Secret)
    },
    Case {
        shape: "io_uring: a kernel thread opens and reads, no call at all",
        unsupported: probe::no_io_uring_slots,
        ..leaked("iouring-sqpoll", &["/lab/iouring", "sqpoll"], Proof::Secret)
    },
    Case {
        name: "iouring-core-pattern",
        shape: "io_uring: open and write core_pattern in one call",
        argv: &["/lab/iouring", "core_pattern"],
        invariants: WR_UMH,
        proof: Proof::Mark,
        unsupported: probe::no_io_uring_slots,
        ..BASE
    },
];
