//! Errors of the address space and the errno or signal that each becomes.

use core::error::Error;
use core::fmt;

use super::hardware::HwError;

/// Why a mapping operation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// An argument that can never be right: unaligned, empty, contradictory. EINVAL.
    Invalid {
        /// Which argument.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// No address range or no memory for this many bytes. ENOMEM.
    NoMemory {
        /// The bytes asked for.
        bytes: u64,
    },
    /// A hole where a mapping is needed. ENOMEM.
    Hole {
        /// The first address of the hole.
        at: u64,
    },
    /// More mappings than `vm.max_map_count`. ENOMEM.
    TooMany,
    /// `MAP_FIXED_NOREPLACE` over a mapping. EEXIST.
    Exists {
        /// Where that mapping begins.
        at: u64,
    },
    /// The mapping is sealed. EPERM.
    Sealed {
        /// Where it begins.
        at: u64,
    },
    /// The mapping may not become writable: a shared mapping of a file opened for reading. EACCES.
    ReadOnly {
        /// Where it begins.
        at: u64,
    },
    /// `mremap` of something that is not one mapping. EFAULT.
    BadAddress {
        /// The first address that is not part of the mapping.
        at: u64,
    },
    /// The offset of a file mapping is too large. EOVERFLOW.
    Overflow {
        /// The offset in bytes.
        offset: u64,
    },
    /// The host did not give memory or did not change it. ENOMEM.
    Host(HwError),
}

impl MapError {
    /// The positive errno of include/uapi/asm-generic/errno-base.h and errno.h.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::Sealed { .. } => 1,
            Self::NoMemory { .. } | Self::Hole { .. } | Self::TooMany | Self::Host(_) => 12,
            Self::ReadOnly { .. } => 13,
            Self::BadAddress { .. } => 14,
            Self::Exists { .. } => 17,
            Self::Invalid { .. } => 22,
            Self::Overflow { .. } => 75,
        }
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { what, value } => write!(f, "invalid {what} {value:#x}"),
            Self::NoMemory { bytes } => write!(f, "no memory or address range for {bytes} bytes"),
            Self::Hole { at } => write!(f, "nothing mapped at {at:#x}"),
            Self::TooMany => write!(f, "too many mappings"),
            Self::Exists { at } => write!(f, "a mapping is already at {at:#x}"),
            Self::Sealed { at } => write!(f, "the mapping at {at:#x} is sealed"),
            Self::ReadOnly { at } => write!(f, "the mapping at {at:#x} may not become writable"),
            Self::BadAddress { at } => write!(f, "no single mapping reaches {at:#x}"),
            Self::Overflow { offset } => write!(f, "file offset {offset:#x} is too large"),
            Self::Host(error) => write!(f, "{error}"),
        }
    }
}

impl Error for MapError {}

impl From<HwError> for MapError {
    fn from(error: HwError) -> Self {
        Self::Host(error)
    }
}

/// An access that cannot be made possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The first address where it fails.
    pub at: u64,
    /// Why.
    pub cause: Cause,
}

/// Why an access is impossible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Nothing is mapped there: SIGSEGV with SEGV_MAPERR.
    NotMapped,
    /// The mapping does not allow it: SIGSEGV with SEGV_ACCERR.
    NoAccess,
    /// The heap limit is reached: what Linux's out-of-memory killer is for.
    OutOfMemory,
    /// The host did not give the page.
    Host(HwError),
}

impl Cause {
    /// The `si_code` of the SIGSEGV (include/uapi/asm-generic/siginfo.h); `None` where Linux would end the process.
    #[must_use]
    pub const fn si_code(self) -> Option<i32> {
        match self {
            Self::NotMapped => Some(1),
            Self::NoAccess => Some(2),
            Self::OutOfMemory | Self::Host(_) => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at;
        match self.cause {
            Cause::NotMapped => write!(f, "nothing mapped at {at:#x}"),
            Cause::NoAccess => write!(f, "access not allowed at {at:#x}"),
            Cause::OutOfMemory => write!(f, "out of enclave memory at {at:#x}"),
            Cause::Host(error) => write!(f, "{error} at {at:#x}"),
        }
    }
}

impl Error for Fault {}

/// What became of a page fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultOutcome {
    /// The page is there now with what the access needs: run the instruction again.
    Committed,
    /// It was already: a spurious fault, or another vCPU was faster. Run the instruction again; if the same fault
    /// comes back without end the host does not give what it said it gave.
    Again,
    /// The access cannot be made possible.
    Denied(Fault),
}
