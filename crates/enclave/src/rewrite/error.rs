//! Why a plan cannot be carried out.

use core::error::Error;
use core::fmt::{self, Display, Formatter};

/// Why a plan cannot be carried out at all. The code is unchanged then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewriteError {
    /// The code is not the segment that was scanned: another address or length.
    OtherSegment {
        /// Address of the code given.
        address: u64,
        /// Bytes given.
        len: usize,
    },
    /// The bytes around this address are not those that were scanned.
    Changed(u64),
    /// The island is farther than a jump reaches, or overlaps the segment.
    Island(u64),
}

impl Display for RewriteError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherSegment { address, len } => {
                write!(f, "{len} bytes of code at {address:#x} are not the segment that was scanned")
            }
            Self::Changed(address) => write!(f, "the code at {address:#x} has changed since it was scanned"),
            Self::Island(address) => write!(f, "no island for trampolines is possible at {address:#x}"),
        }
    }
}

impl Error for RewriteError {}
