//! Why a platform refuses.

use std::io;

use crate::arch::Permissions;

/// Why a platform refuses what it was asked. `EinitError` codes are those of the manual (SDM vol. 3D, EINIT).
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// This machine has no such platform.
    #[error("{platform}: {reason}")]
    Missing {
        /// Which.
        platform: &'static str,
        /// What is missing.
        reason: String,
    },
    /// ELRANGE: not a power of two, not aligned to its size, or beyond what the processor takes.
    #[error("an enclave of {size:#x} bytes at {base:#x} is not possible: {reason}")]
    Range {
        /// Base address asked for.
        base: u64,
        /// Size asked for.
        size: u64,
        /// Why not.
        reason: &'static str,
    },
    /// A page range that does not lie in the enclave, or is no whole number of pages.
    #[error(
        "pages {offset:#x}..+{length:#x} do not lie in the enclave of {size:#x} bytes, or are no whole pages"
    )]
    Outside {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// The enclave's size.
        size: u64,
    },
    /// A page is in a state that the operation does not take.
    #[error("the page at offset {offset:#x} {problem}")]
    Page {
        /// Of the page.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// More than the page was added with.
    #[error("the page at offset {offset:#x} cannot be mapped {wanted:?}: it has only {allowed:?}")]
    Permissions {
        /// Of the page.
        offset: u64,
        /// Asked for.
        wanted: Permissions,
        /// There.
        allowed: Permissions,
    },
    /// The enclave is in the wrong state: initialised already, or not yet.
    #[error("the enclave is {0}")]
    State(&'static str),
    /// Attributes or MISCSELECT that the platform does not give.
    #[error("the platform refuses {name} {value:#x}, it supports {supported:#x}")]
    Attribute {
        /// Which field.
        name: &'static str,
        /// Asked for.
        value: u64,
        /// Supported.
        supported: u64,
    },
    /// EINIT refuses.
    #[error("the signature structure does not fit the enclave: {0}")]
    Einit(String),
    /// A system call of the host failed.
    #[error("{what}: {source}")]
    System {
        /// The call and its object.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// No quoting enclave, or it refuses.
    #[error("no quote: {0}")]
    Quote(String),
}

impl PlatformError {
    /// The last error of the C library, with what was tried.
    pub(crate) fn last(what: &'static str) -> Self {
        Self::System { what, source: io::Error::last_os_error() }
    }
}
