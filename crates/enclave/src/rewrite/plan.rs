//! What is to be rewritten, and what is not.

use alloc::vec::Vec;
use core::ops::Range;

/// So many sites of a segment are considered; a bound on memory. The largest libraries have about 600.
pub const MAX_SITES: usize = 1 << 16;

/// Which instructions to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `syscall`.
    pub syscall: bool,
    /// `cpuid`.
    pub cpuid: bool,
    /// `rdtsc` and `rdtscp`: illegal in enclaves on processors before Ice Lake.
    pub rdtsc: bool,
}

impl Wanted {
    /// Everything.
    pub const ALL: Self = Self { syscall: true, cpuid: true, rdtsc: true };

    /// Whether such sites are wanted.
    #[must_use]
    pub const fn contains(self, kind: SiteKind) -> bool {
        match kind {
            SiteKind::Syscall => self.syscall,
            SiteKind::Cpuid => self.cpuid,
            SiteKind::Rdtsc | SiteKind::Rdtscp => self.rdtsc,
        }
    }
}

/// The instruction at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SiteKind {
    /// `0f 05`.
    Syscall,
    /// `0f a2`.
    Cpuid,
    /// `0f 31`.
    Rdtsc,
    /// `0f 01 f9`.
    Rdtscp,
}

/// What a window is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// One preceding instruction of at least five bytes, and the site, whose bytes stay.
    A,
    /// Several preceding instructions, and the site.
    B,
    /// The site, and following instructions.
    C,
}

/// An instruction that can be rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Run-time address of the instruction, with its prefixes.
    pub address: u64,
    /// Bytes of the instruction.
    pub len: u8,
    /// Which it is.
    pub kind: SiteKind,
    /// The bytes that may be overwritten, at least five: whole instructions, the site among them.
    pub window: Range<u64>,
    /// How the window is made up.
    pub class: Class,
}

impl Site {
    /// The address after the instruction.
    #[must_use]
    pub const fn after(&self) -> u64 {
        self.address.saturating_add(self.len as u64)
    }

    /// Whether the instruction's own bytes stay as they are: the jump fits before them.
    #[must_use]
    pub const fn stays(&self) -> bool {
        self.address.saturating_sub(self.window.start) >= super::emit::JUMP_LEN as u64
    }
}

/// Why an instruction is left to trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It is not certain that an instruction begins here: within 256 bytes before or behind, in the same function, are
    /// bytes that cannot be decoded, or readings from different bytes before it do not meet.
    Uncertain,
    /// The instructions around it are too short, or cannot be displaced (branches, other sites, a function's beginning).
    NoWindow,
    /// A direct branch lands inside every window there is.
    BranchTarget,
    /// What would have to be displaced refers to memory that the island does not reach. Known when the plan is applied.
    OutOfReach,
}

/// An instruction that is left to trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its run-time address.
    pub address: u64,
    /// Which it is.
    pub kind: SiteKind,
    /// Why.
    pub reason: Reason,
}

/// The sites of one executable segment. Depends on nothing but the segment's bytes and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Run-time address of the segment.
    pub(super) address: u64,
    /// Bytes of the segment.
    pub(super) len: usize,
    pub(super) sites: Vec<Site>,
    pub(super) left: Vec<Left>,
    pub(super) complete: bool,
}

impl Plan {
    /// What is to be rewritten, ascending; windows do not overlap.
    #[must_use]
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// What is left to trap, ascending.
    #[must_use]
    pub fn left(&self) -> &[Left] {
        &self.left
    }

    /// Whether there is nothing to rewrite, so that no island is needed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    /// Whether all of the segment was looked at; false if it holds more than [`MAX_SITES`].
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }
}

/// An upper bound of the bytes that the island of this plan takes.
#[must_use]
pub fn island_size(plan: &Plan) -> usize {
    plan.sites.iter().fold(0, |sum, site| {
        let window = usize::try_from(site.window.end.saturating_sub(site.window.start)).unwrap_or(usize::MAX);
        sum.saturating_add(window).saturating_add(super::emit::OVERHEAD)
    })
}
