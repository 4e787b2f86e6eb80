//! The set of all mappings: no two overlap, neighbours that are alike are one.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::error::MapError;
use super::prot::{Access, Prot};
use super::range::Range;
use super::vma::{Vma, VmaFlags};

/// The default of `vm.max_map_count` (include/linux/mm.h).
pub const MAX_MAPPINGS: usize = 65530;

/// A mapping and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Where it is.
    pub range: Range,
    /// What it is.
    pub vma: Vma,
}

/// What [`VmaSet::protect`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Protected {
    /// The pieces whose protection is another one now, as they were before.
    pub changed: Vec<Mapping>,
    /// Where a hole ended the work: `mprotect` fails with ENOMEM then.
    pub hole: Option<u64>,
}

/// All mappings of an address space, by address.
#[derive(Debug)]
pub struct VmaSet {
    pub(crate) map: BTreeMap<u64, Mapping>,
    bytes: u64,
    max_bytes: u64,
}

impl Default for VmaSet {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl VmaSet {
    /// An empty set that holds at most `max_bytes` of mappings in total (RLIMIT_AS) and [`MAX_MAPPINGS`] of them.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        Self { map: BTreeMap::new(), bytes: 0, max_bytes }
    }

    /// Sets the limit of the total size in bytes. What is mapped already stays.
    pub fn set_max_bytes(&mut self, max_bytes: u64) {
        self.max_bytes = max_bytes;
    }

    /// Bytes mapped.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of mappings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// All mappings, by rising address.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Mapping> {
        self.map.values()
    }

    /// The mapping that holds `address`.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        self.map.range(..=address).next_back().map(|(_, m)| m).filter(|m| m.range.contains(address))
    }

    /// The first mapping that begins after `address`.
    #[must_use]
    pub fn after(&self, address: u64) -> Option<&Mapping> {
        self.map.range(address.checked_add(1)?..).next().map(|(_, m)| m)
    }

    /// The last mapping that ends at or before `address`.
    #[must_use]
    pub fn before(&self, address: u64) -> Option<&Mapping> {
        self.map.range(..address).map(|(_, m)| m).rfind(|m| m.range.end() <= address)
    }

    /// All mappings with a page in `range`, whole, by rising address.
    pub fn overlapping(&self, range: Range) -> impl Iterator<Item = &Mapping> {
        let first = self.find(range.start()).map_or(range.start(), |m| m.range.start());
        self.map.range(first..range.end()).map(|(_, m)| m)
    }

    /// The first address of `range` that is not mapped.
    #[must_use]
    pub fn hole(&self, range: Range) -> Option<u64> {
        let mut mapped = range.start();
        for mapping in self.overlapping(range) {
            if mapping.range.start() > mapped {
                break;
            }
            mapped = mapping.range.end();
        }
        (mapped < range.end()).then_some(mapped)
    }

    /// Whether all of `range` is mapped and allows `access`.
    #[must_use]
    pub fn covers(&self, range: Range, access: Access) -> bool {
        self.hole(range).is_none() && self.overlapping(range).all(|m| m.vma.prot.allows(access))
    }

    /// How many mappings more there would be if those in `range` were cut at its ends.
    #[must_use]
    pub fn cuts(&self, range: Range) -> usize {
        let cut = |at: u64| usize::from(self.find(at).is_some_and(|m| m.range.start() < at));
        cut(range.start()) + cut(range.end())
    }

    /// Checks that `more` mappings are allowed.
    ///
    /// # Errors
    /// [`MapError::TooMany`] if not.
    pub fn room_for(&self, more: usize) -> Result<(), MapError> {
        if self.map.len().saturating_add(more) <= MAX_MAPPINGS { Ok(()) } else { Err(MapError::TooMany) }
    }

    /// Checks that `more` bytes, after `fewer` are unmapped, stay within the limit of the total size.
    ///
    /// # Errors
    /// [`MapError::NoMemory`] if not.
    pub fn room_for_bytes(&self, more: u64, fewer: u64) -> Result<(), MapError> {
        let rest = self.bytes.saturating_sub(fewer);
        match rest.checked_add(more) {
            Some(bytes) if bytes <= self.max_bytes => Ok(()),
            _ => Err(MapError::NoMemory { bytes: more }),
        }
    }

    /// Bytes of `range` that are mapped.
    #[must_use]
    pub fn bytes_in(&self, range: Range) -> u64 {
        self.overlapping(range).filter_map(|m| m.range.intersect(range)).map(Range::len).sum()
    }

    /// Adds a mapping, joined with its neighbours where they are alike.
    ///
    /// # Errors
    /// [`MapError::Exists`] if something is mapped there, [`MapError::NoMemory`] or [`MapError::TooMany`] if a limit
    /// is reached.
    pub fn insert(&mut self, range: Range, vma: Vma) -> Result<(), MapError> {
        if let Some(mapping) = self.overlapping(range).next() {
            return Err(MapError::Exists { at: mapping.range.start() });
        }
        self.room_for_bytes(range.len(), 0)?;
        self.room_for(1)?;
        self.bytes = self.bytes.saturating_add(range.len());
        self.map.insert(range.start(), Mapping { range, vma });
        self.merge(range);
        Ok(())
    }

    /// Takes away whatever is in `range` and returns the pieces.
    pub fn remove(&mut self, range: Range) -> Vec<Mapping> {
        self.split(range.start());
        self.split(range.end());
        let removed: Vec<Mapping> =
            self.map.extract_if(range.start()..range.end(), |_, _| true).map(|(_, m)| m).collect();
        let bytes = removed.iter().map(|m| m.range.len()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        removed
    }

    /// Sets the protection of `range` up to its first hole.
    pub fn protect(&mut self, range: Range, prot: Prot) -> Protected {
        let hole = self.hole(range);
        let Some(mapped) = range.until(hole.unwrap_or(range.end())) else {
            return Protected { changed: Vec::new(), hole };
        };
        let changed = self.update(mapped, |vma| {
            let changes = vma.prot != prot;
            vma.prot = prot;
            changes
        });
        Protected { changed, hole }
    }

    /// Adds flags to all mappings in `range`.
    pub fn add_flags(&mut self, range: Range, flags: VmaFlags) {
        self.update(range, |vma| {
            let changes = !vma.flags.contains(flags);
            vma.flags.insert(flags);
            changes
        });
    }

    /// Lets the mapping that begins at `start` begin at the page start `new_start` below it. False if there is none, or
    /// something is in the way, or the limit of the total size is reached.
    pub fn grow_down(&mut self, start: u64, new_start: u64) -> bool {
        let Some(added) = Range::new(new_start, start) else { return false };
        if self.overlapping(added).next().is_some() || self.room_for_bytes(added.len(), 0).is_err() {
            return false;
        }
        let Some(mapping) = self.map.remove(&start) else { return false };
        self.bytes = self.bytes.saturating_add(added.len());
        let range = Range::new(new_start, mapping.range.end()).unwrap_or(mapping.range);
        self.map.insert(range.start(), Mapping { range, vma: mapping.vma });
        self.merge(range);
        true
    }

    /// Applies `change` to every piece in `range`; returns those, as they were, for which it is true.
    fn update(&mut self, range: Range, mut change: impl FnMut(&mut Vma) -> bool) -> Vec<Mapping> {
        self.split(range.start());
        self.split(range.end());
        let mut changed = Vec::new();
        for (_, mapping) in self.map.range_mut(range.start()..range.end()) {
            let before = mapping.vma.clone();
            if change(&mut mapping.vma) {
                changed.push(Mapping { range: mapping.range, vma: before });
            }
        }
        self.merge(range);
        changed
    }

    /// Makes `address` the start of a mapping if it is inside one.
    fn split(&mut self, address: u64) {
        let Some(mapping) = self.find(address) else { return };
        let range = mapping.range;
        let (Some(low), Some(high)) = (range.until(address), range.from(address)) else { return };
        let vma = mapping.vma.advanced(low.len());
        if let Some(mapping) = self.map.get_mut(&range.start()) {
            mapping.range = low;
        }
        self.map.insert(high.start(), Mapping { range: high, vma });
    }

    /// Joins neighbours that are alike, from the one before `range` to the one behind it.
    fn merge(&mut self, range: Range) {
        let starts: Vec<u64> = self.map.range(range.start()..=range.end()).map(|(start, _)| *start).collect();
        for start in starts {
            let (Some((_, low)), Some(high)) = (self.map.range(..start).next_back(), self.map.get(&start))
            else {
                continue;
            };
            if low.range.end() != start || !low.vma.continues(low.range.len(), &high.vma) {
                continue;
            }
            let (low_start, end) = (low.range.start(), high.range.end());
            self.map.remove(&start);
            if let Some(joined) = Range::new(low_start, end)
                && let Some(low) = self.map.get_mut(&low_start)
            {
                low.range = joined;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::vma::Kind;
    use alloc::vec;

    fn range(start: u64, end: u64) -> Range {
        Range::new(start * 0x1000, end * 0x1000).unwrap()
    }

    fn anonymous(prot: Prot) -> Vma {
        Vma { prot, kind: Kind::Anonymous, flags: VmaFlags::empty() }
    }

    fn file(offset: u64) -> Vma {
        Vma { prot: Prot::R, kind: Kind::File { name: "/lib/a".into(), offset }, flags: VmaFlags::empty() }
    }

    fn ranges(set: &VmaSet) -> Vec<Range> {
        set.iter().map(|m| m.range).collect()
    }

    #[test]
    fn neighbours_that_are_alike_become_one() {
        let mut set = VmaSet::default();
        set.insert(range(1, 2), anonymous(Prot::RW)).unwrap();
        set.insert(range(3, 4), anonymous(Prot::RW)).unwrap();
        set.insert(range(2, 3), anonymous(Prot::RW)).unwrap();
        assert_eq!(ranges(&set), [range(1, 4)]);
        set.insert(range(4, 5), anonymous(Prot::R)).unwrap();
        assert_eq!(ranges(&set), [range(1, 4), range(4, 5)]);
        assert_eq!(set.bytes(), 0x4000);
    }

    #[test]
    fn parts_of_a_file_join_only_where_the_offsets_do() {
        let mut set = VmaSet::default();
        set.insert(range(1, 3), file(0)).unwrap();
        set.insert(range(3, 4), file(0x2000)).unwrap();
        set.insert(range(4, 5), file(0x2000)).unwrap();
        assert_eq!(ranges(&set), [range(1, 4), range(4, 5)]);
    }

    #[test]
    fn removing_the_middle_moves_the_offset_of_the_rest() {
        let mut set = VmaSet::default();
        set.insert(range(1, 6), file(0x7000)).unwrap();
        let removed = set.remove(range(2, 4));
        assert_eq!(removed, vec![Mapping { range: range(2, 4), vma: file(0x8000) }]);
        assert_eq!(ranges(&set), [range(1, 2), range(4, 6)]);
        assert_eq!(set.find(0x4000).unwrap().vma, file(0xa000));
        assert_eq!(set.bytes(), 0x3000);
    }

    #[test]
    fn protect_stops_at_the_first_hole() {
        let mut set = VmaSet::default();
        set.insert(range(1, 3), anonymous(Prot::RW)).unwrap();
        set.insert(range(4, 5), anonymous(Prot::RW)).unwrap();
        let done = set.protect(range(2, 5), Prot::R);
        assert_eq!(done.hole, Some(0x3000));
        assert_eq!(done.changed, vec![Mapping { range: range(2, 3), vma: anonymous(Prot::RW) }]);
        assert_eq!(set.find(0x2000).unwrap().vma.prot, Prot::R);
        assert_eq!(set.find(0x4000).unwrap().vma.prot, Prot::RW);
        assert_eq!(set.protect(range(3, 5), Prot::R), Protected { changed: vec![], hole: Some(0x3000) });
    }

    #[test]
    fn protect_back_joins_again() {
        let mut set = VmaSet::default();
        set.insert(range(1, 9), anonymous(Prot::RW)).unwrap();
        set.protect(range(3, 5), Prot::R);
        assert_eq!(set.len(), 3);
        set.protect(range(2, 6), Prot::RW);
        assert_eq!(ranges(&set), [range(1, 9)]);
    }

    #[test]
    fn covers_needs_every_page() {
        let mut set = VmaSet::default();
        set.insert(range(1, 3), anonymous(Prot::RW)).unwrap();
        set.insert(range(3, 4), anonymous(Prot::R)).unwrap();
        assert!(set.covers(range(1, 4), Access::Read));
        assert!(!set.covers(range(1, 4), Access::Write));
        assert!(set.covers(range(1, 3), Access::Write));
        assert!(!set.covers(range(1, 5), Access::Read));
        assert!(!set.covers(range(0, 2), Access::Read));
        assert!(!set.covers(range(1, 2), Access::Exec));
    }

    #[test]
    fn limits() {
        let mut set = VmaSet::new(0x3000);
        set.insert(range(1, 3), anonymous(Prot::RW)).unwrap();
        assert_eq!(set.insert(range(4, 6), anonymous(Prot::RW)), Err(MapError::NoMemory { bytes: 0x2000 }));
        assert_eq!(set.insert(range(2, 3), anonymous(Prot::RW)), Err(MapError::Exists { at: 0x1000 }));
        set.insert(range(4, 5), anonymous(Prot::RW)).unwrap();
        assert_eq!(set.bytes_in(range(2, 9)), 0x2000);
    }

    #[test]
    fn cuts_counts_only_inner_edges() {
        let mut set = VmaSet::default();
        set.insert(range(1, 5), anonymous(Prot::RW)).unwrap();
        assert_eq!(set.cuts(range(1, 5)), 0);
        assert_eq!(set.cuts(range(2, 5)), 1);
        assert_eq!(set.cuts(range(2, 4)), 2);
        assert_eq!(set.cuts(range(0, 9)), 0);
    }
}
