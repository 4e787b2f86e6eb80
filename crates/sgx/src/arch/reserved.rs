//! Fields that the manual reserves.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `N` bytes that must be zero. Printed as one word, so that a page-sized structure can be read in a log.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Reserved<const N: usize>(pub [u8; N]);

impl<const N: usize> Reserved<N> {
    /// As the manual wants it.
    pub const ZERO: Self = Self([0; N]);

    /// Whether every byte is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|&byte| byte == 0)
    }
}

impl<const N: usize> Default for Reserved<N> {
    fn default() -> Self {
        Self::ZERO
    }
}

impl<const N: usize> fmt::Debug for Reserved<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_zero() { "zero" } else { "NOT ZERO" })
    }
}
