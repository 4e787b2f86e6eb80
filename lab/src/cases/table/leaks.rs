//! Uses a directory of the host that it was handed.

use super::super::Leaves::Effect;
use super::super::Need::{Joiner, LeakedDir};
use super::super::{Case, Proof};
use super::{FS_WR, leaked};
use crate::probe;

pub(super) const CASES: &[Case] = &[
    leaked("leak-fchdir", &["/lab/leaked_fd", "fchdir"], Proof::Secret),
    leaked("leak-chroot", &["/lab/leaked_fd", "chroot"], Proof::Secret),
    leaked("leak-openat", &["/lab/leaked_fd", "openat"], Proof::Secret),
    Case { invariants: FS_WR, ..leaked("leak-create", &["/lab/leaked_fd", "create"], Proof::Mark) },
    leaked("leak-magic-open", &["/lab/leaked_fd", "magic_open"], Proof::Secret),
    leaked("leak-getdents", &["/lab/leaked_fd", "getdents"], Proof::Secret),
    Case {
        leaves: Effect,
        invariants: FS_WR,
        ..leaked("leak-mkdirat", &["/lab/leaked_fd", "mkdirat"], Proof::Made("made"))
    },
    Case {
        leaves: Effect,
        invariants: FS_WR,
        ..leaked("leak-magic-mkdir", &["/lab/leaked_fd", "magic_mkdir"], Proof::Made("made"))
    },
    Case {
        leaves: Effect,
        invariants: FS_WR,
        ..leaked("leak-truncate", &["/lab/leaked_fd", "truncate"], Proof::Emptied("prey"))
    },
    // The call does not return to who made it: nothing can be stored behind it.
    Case { immediate: false, ..leaked("leak-execve", &["/lab/leaked_fd", "execve"], Proof::Line("RAN")) },
    Case {
        leaves: Effect,
        invariants: FS_WR,
        ..leaked("leak-unlinkat", &["/lab/leaked_fd", "unlinkat"], Proof::Gone("prey"))
    },
    Case {
        leaves: Effect,
        invariants: FS_WR,
        ..leaked("leak-renameat", &["/lab/leaked_fd", "renameat"], Proof::Made("renamed"))
    },
    Case {
        shape: "leaked directory by the 32-bit gate",
        unsupported: probe::no_32_bit_calls,
        ..leaked("leak-int80", &["/lab/leaked_fd", "int80"], Proof::Secret)
    },
    Case {
        shape: "leaked directory of a program that joined by exec",
        needs: &[LeakedDir, Joiner],
        ..leaked("leak-getdents-exec", &["/lab/leaked_fd", "getdents"], Proof::Secret)
    },
    Case {
        shape: "leaked directory, garbage above the call's number",
        ..leaked("leak-openat-rax", &["/lab/leaked_fd", "openat_rax"], Proof::Secret)
    },
    Case {
        leaves: Effect,
        invariants: FS_WR,
        ..leaked("leak-magic-unlink", &["/lab/leaked_fd", "magic_unlink"], Proof::Gone("prey"))
    },
    Case {
        leaves: Effect,
        invariants: FS_WR,
        ..leaked("leak-magic-rename", &["/lab/leaked_fd", "magic_rename"], Proof::Made("renamed"))
    },
    Case {
        shape: "directory received over a Unix socket",
        needs: &[],
        ..leaked("socket-openat", &["/lab/leaked_fd", "openat", "socket"], Proof::Secret)
    },
    Case {
        shape: "directory received over a Unix socket",
        needs: &[],
        ..leaked("socket-fchdir", &["/lab/leaked_fd", "fchdir", "socket"], Proof::Secret)
    },
];
