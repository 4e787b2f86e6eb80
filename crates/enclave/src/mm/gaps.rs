//! The holes between mappings: where something new can go.

use super::range::{PAGE_SIZE, Range, align_down, align_up};
use super::set::{Mapping, VmaSet};
use super::vma::VmaFlags;

/// Kept free below a mapping that grows down: `stack_guard_gap` of mm/mmap.c, 256 pages.
pub(crate) const STACK_GUARD: u64 = 256 * PAGE_SIZE;

/// Classes of lengths by power of two of pages; the last one holds all that are longer.
const CLASSES: usize = 36;

/// Addresses that the program may use, and where a search from their top may begin.
///
/// For each class of lengths: no hole of the window that ends above the ceiling is as long as the shortest of that
/// class. Without this a program with thousands of mappings would pay for all of them at each `mmap`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    bounds: Range,
    ceilings: [u64; CLASSES],
}

impl Window {
    /// All of `bounds`, nothing known about its holes.
    pub(crate) fn new(bounds: Range) -> Self {
        Self { bounds, ceilings: [bounds.end(); CLASSES] }
    }

    /// The addresses.
    pub(crate) fn bounds(&self) -> Range {
        self.bounds
    }

    /// As [`VmaSet::first_gap`] in this window. To be told by [`Window::removed`] of all that is unmapped.
    pub(crate) fn first_gap(&mut self, set: &VmaSet, len: u64, align: u64) -> Option<Range> {
        let len = align_up(len).filter(|len| *len > 0)?;
        let align = align.max(PAGE_SIZE);
        if !align.is_power_of_two() {
            return None;
        }
        let (class, shortest) = class(len);
        let ceiling = self.ceilings.get_mut(class)?;
        let mut highest = self.bounds.start();
        let found = set.gaps_down(self.bounds.start(), *ceiling, |gap| {
            if gap.len() >= shortest {
                highest = highest.max(gap.end());
            }
            let start = gap.end().checked_sub(len)? & !(align - 1);
            Range::at(start, len).filter(|found| gap.includes(*found))
        });
        *ceiling = highest;
        found
    }

    /// `range` was taken out of the set: there is a longer hole now.
    pub(crate) fn removed(&mut self, set: &VmaSet, range: Range) {
        let start = set.before(range.end()).map_or(0, |m| m.range.end());
        let end = set.after(range.start()).map_or(u64::MAX, guarded_start);
        let (start, end) = (start.max(self.bounds.start()), end.min(self.bounds.end()));
        let (longest, shortest) = class(end.saturating_sub(start));
        if end.saturating_sub(start) >= shortest {
            for ceiling in self.ceilings.iter_mut().take(longest.saturating_add(1)) {
                *ceiling = end.max(*ceiling);
            }
        }
    }
}

/// The class of `len` bytes and the shortest length in it.
fn class(len: u64) -> (usize, u64) {
    let log = (len / PAGE_SIZE).max(1).ilog2();
    let class = usize::try_from(log).unwrap_or(CLASSES).min(CLASSES - 1);
    (class, PAGE_SIZE << class)
}

/// The lowest address that others keep away from.
fn guarded_start(mapping: &Mapping) -> u64 {
    let guard = if mapping.vma.flags.contains(VmaFlags::GROWS_DOWN) { STACK_GUARD } else { 0 };
    mapping.range.start().saturating_sub(guard)
}

impl VmaSet {
    /// Whether nothing is mapped in `range`, nor so close above it that it would be in a guard gap.
    #[must_use]
    pub fn is_free(&self, range: Range) -> bool {
        self.overlapping(range).next().is_none()
            && self.after(range.start()).is_none_or(|next| guarded_start(next) >= range.end())
    }

    /// The highest hole of `len` bytes within `bounds` whose start is a multiple of `align` (a power of two; at
    /// least a page is taken), placed at the hole's top: top-down as `mmap` does it.
    #[must_use]
    pub fn first_gap(&self, len: u64, bounds: Range, align: u64) -> Option<Range> {
        Window::new(bounds).first_gap(self, len, align)
    }

    /// A hole of `len` bytes within `bounds` that lies entirely within `max_distance` bytes of `address`, on either
    /// side, as near as possible.
    #[must_use]
    pub fn gap_near(&self, address: u64, len: u64, max_distance: u64, bounds: Range) -> Option<Range> {
        let len = align_up(len).filter(|len| *len > 0)?;
        let low = align_up(address.saturating_sub(max_distance))?;
        let high = align_down(address.saturating_add(max_distance));
        let near = Range::new(low, high)?.intersect(bounds)?;
        let below = near.until(align_down(address)).and_then(|part| self.highest(len, part));
        let above = near.from(align_up(address)?).and_then(|part| self.lowest(len, part));
        match (below, above) {
            (Some(down), Some(up)) => {
                Some(if up.end() - address < address - down.start() { up } else { down })
            }
            (below, above) => below.or(above),
        }
    }

    fn highest(&self, len: u64, bounds: Range) -> Option<Range> {
        self.gaps_down(bounds.start(), bounds.end(), |gap| {
            Range::at(gap.end().checked_sub(len)?, len).filter(|found| gap.includes(*found))
        })
    }

    fn lowest(&self, len: u64, bounds: Range) -> Option<Range> {
        let mut floor = self.find(bounds.start()).map_or(bounds.start(), |m| m.range.end());
        for (_, mapping) in self.map.range(floor..) {
            let end = guarded_start(mapping).min(bounds.end());
            let found = Range::at(floor, len).filter(|found| found.end() <= end);
            if found.is_some() || mapping.range.start() >= bounds.end() {
                return found;
            }
            floor = mapping.range.end();
        }
        Range::at(floor, len).filter(|found| bounds.includes(*found))
    }

    /// Calls `visit` for the holes between `low` and `high`, highest first, until it returns something.
    fn gaps_down(&self, low: u64, high: u64, mut visit: impl FnMut(Range) -> Option<Range>) -> Option<Range> {
        let mut ceiling = self.map.range(high..).next().map_or(high, |(_, m)| guarded_start(m).min(high));
        for (_, mapping) in self.map.range(..high).rev() {
            if let Some(found) = Range::new(mapping.range.end().max(low), ceiling).and_then(&mut visit) {
                return Some(found);
            }
            if mapping.range.start() <= low {
                return None;
            }
            ceiling = guarded_start(mapping);
        }
        Range::new(low, ceiling).and_then(visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::prot::Prot;
    use crate::mm::vma::{Kind, Vma};
    use alloc::vec::Vec;

    fn range(start: u64, end: u64) -> Range {
        Range::new(start * PAGE_SIZE, end * PAGE_SIZE).unwrap()
    }

    fn set(mapped: &[(u64, u64)]) -> VmaSet {
        let mut set = VmaSet::default();
        for (start, end) in mapped {
            let vma = Vma { prot: Prot::RW, kind: Kind::Anonymous, flags: VmaFlags::empty() };
            set.insert(range(*start, *end), vma).unwrap();
        }
        set
    }

    #[test]
    fn the_highest_hole_that_fits() {
        let set = set(&[(10, 12), (14, 15), (18, 20)]);
        let bounds = range(8, 20);
        assert_eq!(set.first_gap(0x1000, bounds, 1), Some(range(17, 18)));
        assert_eq!(set.first_gap(0x3000, bounds, 1), Some(range(15, 18)));
        assert_eq!(set.first_gap(0x1000, bounds, 0x4000), Some(range(16, 17)));
        assert_eq!(set.first_gap(0x2000, bounds, 0x4000), Some(range(16, 18)));
        assert_eq!(set.first_gap(0x3000, bounds, 0x4000), None);
        assert_eq!(set.first_gap(0x4000, bounds, 1), None);
        assert_eq!(set.first_gap(0, bounds, 1), None);
        assert_eq!(set.first_gap(u64::MAX, bounds, 1), None);
        assert_eq!(set.first_gap(0x1000, bounds, 0x3000), None);
    }

    #[test]
    fn a_stack_keeps_its_guard_gap() {
        let mut set = VmaSet::default();
        let stack = Vma { prot: Prot::RW, kind: Kind::Stack, flags: VmaFlags::GROWS_DOWN };
        set.insert(range(1000, 1001), stack).unwrap();
        assert_eq!(set.first_gap(0x1000, range(1, 1001), 1), Some(range(743, 744)));
        assert!(!set.is_free(range(800, 801)));
        assert!(set.is_free(range(743, 744)));
        assert!(set.is_free(range(1001, 1002)));
        assert_eq!(set.gap_near(999 * PAGE_SIZE, 0x1000, 0x10000, range(1, 1001)), None);
        assert_eq!(set.gap_near(999 * PAGE_SIZE, 0x1000, 0x10000, range(1, 1002)), Some(range(1001, 1002)));
    }

    #[test]
    fn near_looks_both_ways_and_keeps_the_distance() {
        let set = set(&[(100, 110), (112, 130)]);
        let bounds = range(1, 1000);
        let at = |page: u64| page * PAGE_SIZE + 0x123;
        assert_eq!(set.gap_near(at(101), 0x1000, 1 << 31, bounds), Some(range(99, 100)));
        assert_eq!(set.gap_near(at(108), 0x1000, 1 << 31, bounds), Some(range(110, 111)));
        assert_eq!(set.gap_near(at(108), 0x3000, 1 << 31, bounds), Some(range(97, 100)));
        assert_eq!(set.gap_near(at(129), 0x3000, 1 << 31, bounds), Some(range(130, 133)));
        assert_eq!(set.gap_near(at(120), 0x3000, 0x8000, bounds), None);
        assert_eq!(set.gap_near(at(120), 0x1000, 0xa000, bounds), Some(range(111, 112)));
        assert_eq!(set.gap_near(u64::MAX, 0x1000, 0xa000, bounds), None);
        assert_eq!(set.gap_near(0, 0x1000, u64::MAX, bounds), Some(range(1, 2)));
    }

    #[test]
    fn remembered_ceilings_change_no_answer() {
        // A fixed sequence of pseudo-random maps and unmaps, each search compared with one that remembers nothing.
        let bounds = range(16, 400);
        let mut window = Window::new(bounds);
        let mut set = VmaSet::default();
        let mut seed = 1u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        let mut mapped: Vec<Range> = Vec::new();
        for _ in 0..20_000 {
            if random(5) < 3 {
                let (len, align) = ((1 + random(20)) * PAGE_SIZE, PAGE_SIZE << random(3));
                let expected = set.first_gap(len, bounds, align);
                assert_eq!(window.first_gap(&set, len, align), expected);
                if let Some(found) = expected {
                    let flags = if random(40) == 0 { VmaFlags::GROWS_DOWN } else { VmaFlags::empty() };
                    set.insert(found, Vma { prot: Prot::RW, kind: Kind::Anonymous, flags }).unwrap();
                    mapped.push(found);
                }
            } else if let Some(index) = (!mapped.is_empty()).then(|| random(mapped.len() as u64)) {
                let gone = mapped.swap_remove(usize::try_from(index).unwrap());
                set.remove(gone);
                window.removed(&set, gone);
            }
        }
    }
}
