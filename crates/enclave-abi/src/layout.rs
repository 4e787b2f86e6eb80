//! Where everything is in the window. A pure function of three numbers, so both sides compute it for themselves.

use crate::net;
use crate::ring;
use crate::slot::{REQUEST_WORDS, RESPONSE_WORDS};
use crate::window::{Offset, Region};

/// The unit of everything here: each part starts and ends on a page.
pub const PAGE: u64 = 4096;

/// The most vCPUs that a window can have.
pub const MAX_VCPUS: u64 = 16;

/// The most bytes that the blob may have. Linux takes 6 MiB of arguments and environment at most
/// (`fs/exec.c`, `bprm_stack_limits`).
pub const MAX_BLOB: u64 = 16 << 20;

/// Entries in a submission and in a completion ring, and so the most requests that a vCPU can have outstanding.
pub const RING_ENTRIES: u64 = 128;

const SUBMISSION_LEN: u64 = whole_pages(ring::bytes(REQUEST_WORDS, RING_ENTRIES));
const COMPLETION_LEN: u64 = whole_pages(ring::bytes(RESPONSE_WORDS, RING_ENTRIES));
const VCPU_LEN: u64 = PAGE + SUBMISSION_LEN + COMPLETION_LEN;

const START: Region = Region { offset: Offset(0), len: PAGE };
const CLOCK: Region = Region { offset: Offset(PAGE), len: PAGE };
const PANIC: Region = Region { offset: Offset(2 * PAGE), len: PAGE };
const VCPUS: u64 = 3 * PAGE;

/// Rounds up a size known at compile time, where an overflow stops the build.
const fn whole_pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE) * PAGE
}

/// The parts of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    vcpus: u64,
    blob: Region,
    arena: Region,
    sockets: Region,
    socket_count: u64,
    total: u64,
}

/// The parts that one vCPU has for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuArea {
    /// The control page, see [`crate::control`].
    pub control: Region,
    /// The ring of requests, enclave to host.
    pub submission: Region,
    /// The ring of responses, host to enclave.
    pub completion: Region,
}

impl Layout {
    /// The layout for `vcpus` vCPUs and an arena and a blob of so many bytes, both rounded up to whole pages.
    ///
    /// `None`: no vCPU or more than [`MAX_VCPUS`], a blob above [`MAX_BLOB`], or sums that are not a `u64`.
    #[must_use]
    pub fn new(vcpus: u64, arena: u64, blob: u64) -> Option<Self> {
        if vcpus == 0 || vcpus > MAX_VCPUS || blob > MAX_BLOB {
            return None;
        }
        let blob_start = VCPUS.checked_add(vcpus.checked_mul(VCPU_LEN)?)?;
        let blob = Region { offset: Offset(blob_start), len: blob.checked_next_multiple_of(PAGE)? };
        let arena = Region { offset: blob.end()?, len: arena.checked_next_multiple_of(PAGE)? };
        let end = arena.end()?;
        let sockets = Region { offset: end, len: 0 };
        Some(Self { vcpus, blob, arena, sockets, socket_count: 0, total: end.0 })
    }

    /// The same with room for so many sockets behind it.
    ///
    /// `None`: more than [`net::MAX_SOCKETS`], or sums that are not a `u64`.
    #[must_use]
    pub fn with_sockets(self, count: u64) -> Option<Self> {
        let sockets = net::region(self.arena.end()?, count)?;
        Some(Self { sockets, socket_count: count, total: sockets.end()?.0, ..self })
    }

    /// The window's size in bytes.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// How many vCPUs it is for.
    #[must_use]
    pub const fn vcpus(&self) -> u64 {
        self.vcpus
    }

    /// The start-up block, at the window's start.
    #[must_use]
    pub const fn start(&self) -> Region {
        START
    }

    /// The clock page.
    #[must_use]
    pub const fn clock(&self) -> Region {
        CLOCK
    }

    /// Where the enclave leaves its last words, see [`crate::exit::Exit::Fatal`].
    #[must_use]
    pub const fn panic(&self) -> Region {
        PANIC
    }

    /// The parts of vCPU `index`, counted from 0. `None`: there is no such vCPU.
    #[must_use]
    pub fn vcpu(&self, index: u64) -> Option<VcpuArea> {
        if index >= self.vcpus {
            return None;
        }
        let control = Region { offset: Offset(VCPUS.checked_add(index.checked_mul(VCPU_LEN)?)?), len: PAGE };
        let submission = Region { offset: control.end()?, len: SUBMISSION_LEN };
        let completion = Region { offset: submission.end()?, len: COMPLETION_LEN };
        Some(VcpuArea { control, submission, completion })
    }

    /// Arguments, environment, CPUID table, see [`crate::blob`].
    #[must_use]
    pub const fn blob(&self) -> Region {
        self.blob
    }

    /// The arena, see [`crate::arena`].
    #[must_use]
    pub const fn arena(&self) -> Region {
        self.arena
    }

    /// The sockets, see [`crate::net`].
    #[must_use]
    pub const fn sockets(&self) -> Region {
        self.sockets
    }

    /// For how many sockets there is room.
    #[must_use]
    pub const fn socket_count(&self) -> u64 {
        self.socket_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_without_gap_or_overlap() {
        for vcpus in 1..=MAX_VCPUS {
            let layout = Layout::new(vcpus, 1 << 20, 5000).unwrap().with_sockets(100).unwrap();
            let mut parts = std::vec![layout.start(), layout.clock(), layout.panic()];
            for index in 0..vcpus {
                let area = layout.vcpu(index).unwrap();
                parts.extend([area.control, area.submission, area.completion]);
            }
            parts.extend([layout.blob(), layout.arena(), layout.sockets()]);
            let mut at = Offset(0);
            for part in parts {
                assert_eq!(part.offset, at);
                assert!(part.offset.0.is_multiple_of(PAGE) && part.len.is_multiple_of(PAGE) && part.len > 0);
                at = part.end().unwrap();
            }
            assert_eq!(at.0, layout.total());
            assert_eq!(layout.vcpu(vcpus), None);
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        assert_eq!(Layout::new(0, PAGE, PAGE), None);
        assert_eq!(Layout::new(MAX_VCPUS + 1, PAGE, PAGE), None);
        assert_eq!(Layout::new(1, u64::MAX, PAGE), None);
        assert_eq!(Layout::new(1, u64::MAX - 2 * PAGE, PAGE), None);
        assert_eq!(Layout::new(1, PAGE, MAX_BLOB + 1), None);
        assert_eq!(Layout::new(u64::MAX, u64::MAX, u64::MAX), None);
        assert_eq!(Layout::new(1, PAGE, PAGE).unwrap().with_sockets(net::MAX_SOCKETS + 1), None);
    }
}
