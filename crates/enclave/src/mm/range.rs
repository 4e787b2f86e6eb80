//! Page-aligned ranges of addresses.

use core::fmt;

/// Bytes of a page.
pub const PAGE_SIZE: u64 = 4096;

/// The first address that a program cannot map: `TASK_SIZE_MAX` of 4-level paging (arch/x86/include/asm/page_64.h).
pub const TASK_SIZE: u64 = (1 << 47) - PAGE_SIZE;

/// Whether `address` is the start of a page.
#[must_use]
pub const fn is_aligned(address: u64) -> bool {
    address.is_multiple_of(PAGE_SIZE)
}

/// The start of the page that holds `address`.
#[must_use]
pub const fn align_down(address: u64) -> u64 {
    address & !(PAGE_SIZE - 1)
}

/// The first start of a page at or after `address`; `None` past the last page.
#[must_use]
pub const fn align_up(address: u64) -> Option<u64> {
    match address.checked_add(PAGE_SIZE - 1) {
        Some(sum) => Some(align_down(sum)),
        None => None,
    }
}

/// A range of whole pages: never empty, `start` and `end` (exclusive) are starts of pages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    start: u64,
    end: u64,
}

impl Range {
    /// The range `start..end`; `None` if it is empty or not made of whole pages.
    #[must_use]
    pub const fn new(start: u64, end: u64) -> Option<Self> {
        if start < end && is_aligned(start) && is_aligned(end) { Some(Self { start, end }) } else { None }
    }

    /// `len` bytes, rounded up to whole pages, from the page start `start`. `None` if `start` is no page start, `len`
    /// is zero or the end is not an address.
    #[must_use]
    pub fn at(start: u64, len: u64) -> Option<Self> {
        Self::new(start, start.checked_add(align_up(len)?)?)
    }

    /// All pages that hold a byte of the `len` bytes at `address`, neither of which needs to be aligned.
    #[must_use]
    pub fn covering(address: u64, len: u64) -> Option<Self> {
        Self::new(align_down(address), align_up(address.checked_add(len)?)?)
    }

    /// The first address.
    #[must_use]
    pub const fn start(self) -> u64 {
        self.start
    }

    /// The first address behind the range.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.end
    }

    /// Bytes, a multiple of [`PAGE_SIZE`], never zero.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether `address` is inside.
    #[must_use]
    pub const fn contains(self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// Whether all of `other` is inside.
    #[must_use]
    pub const fn includes(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Whether the two have a page in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The pages that both have.
    #[must_use]
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The part from the page start `address` on.
    #[must_use]
    pub fn from(self, address: u64) -> Option<Self> {
        Self::new(self.start.max(address), self.end)
    }

    /// The part before the page start `address`.
    #[must_use]
    pub fn until(self, address: u64) -> Option<Self> {
        Self::new(self.start, self.end.min(address))
    }
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages() {
        assert!(Range::new(0x1000, 0x1000).is_none());
        assert!(Range::new(0x2000, 0x1000).is_none());
        assert!(Range::new(0x1001, 0x2000).is_none());
        assert!(Range::new(0x1000, 0x2001).is_none());
        assert_eq!(Range::at(0x1000, 1), Range::new(0x1000, 0x2000));
        assert_eq!(Range::at(0x1000, 0), None);
        assert_eq!(Range::at(0x1000, u64::MAX), None);
        assert_eq!(Range::at(!0xfff, 1), None);
    }

    #[test]
    fn covering_rounds_outwards() {
        assert_eq!(Range::covering(0x1fff, 2), Range::new(0x1000, 0x3000));
        assert_eq!(Range::covering(0x1fff, 1), Range::new(0x1000, 0x2000));
        assert_eq!(Range::covering(0x1000, 0), None);
        assert_eq!(Range::covering(u64::MAX, 1), None);
        assert_eq!(Range::covering(1, u64::MAX), None);
    }

    #[test]
    fn parts() {
        let range = Range::new(0x1000, 0x4000).unwrap();
        assert_eq!(range.from(0x2000), Range::new(0x2000, 0x4000));
        assert_eq!(range.from(0x4000), None);
        assert_eq!(range.from(0), Some(range));
        assert_eq!(range.until(0x2000), Range::new(0x1000, 0x2000));
        assert_eq!(range.until(0x1000), None);
        assert_eq!(range.intersect(Range::new(0x4000, 0x5000).unwrap()), None);
        assert_eq!(range.len(), 0x3000);
    }
}
