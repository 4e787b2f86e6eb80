//! Where a new mapping goes.

use super::super::error::MapError;
use super::super::hardware::Hardware;
use super::super::range::{PAGE_SIZE, Range, align_up, is_aligned};
use super::{AddressSpace, MapFlags};

impl<H: Hardware> AddressSpace<H> {
    /// A hole of `len` bytes that lies entirely within `max_distance` bytes of `address`, on either side, as near as
    /// possible: for what has to be reached by relative jumps. The room above the program break is taken last, so
    /// that `brk` can grow. Nothing is mapped yet.
    #[must_use]
    pub fn gap_near(&self, address: u64, len: u64, max_distance: u64) -> Option<Range> {
        let keep = self.room_for_brk();
        let bounds = || self.windows.iter().map(|window| window.bounds());
        let apart = bounds().flat_map(|window| match keep {
            Some(keep) => [window.until(keep.start()), window.from(keep.end())],
            None => [Some(window), None],
        });
        let nearest = |parts: &mut dyn Iterator<Item = Range>| {
            parts
                .filter_map(|part| self.vmas.gap_near(address, len, max_distance, part))
                .min_by_key(|gap| gap.start().abs_diff(address))
        };
        nearest(&mut apart.flatten()).or_else(|| nearest(&mut bounds()))
    }

    /// Whether the program may map all of `range`.
    pub(super) fn is_allowed(&self, range: Range) -> bool {
        self.windows.iter().any(|window| window.bounds().includes(range))
    }

    /// The place for `len` bytes, a multiple of the page size.
    pub(super) fn place(&mut self, hint: Option<u64>, len: u64, flags: MapFlags) -> Result<Range, MapError> {
        let nowhere = MapError::NoMemory { bytes: len };
        if flags.fixed || flags.fixed_noreplace {
            let address = hint.unwrap_or(0);
            if !is_aligned(address) {
                return Err(MapError::Invalid { what: "fixed address", value: address });
            }
            let range = Range::at(address, len).filter(|range| self.is_allowed(*range)).ok_or(nowhere)?;
            if flags.fixed_noreplace
                && let Some(mapping) = self.vmas.overlapping(range).next()
            {
                return Err(MapError::Exists { at: mapping.range.start() });
            }
            return Ok(range);
        }
        let hinted = hint.filter(|hint| *hint != 0).and_then(align_up).and_then(|hint| Range::at(hint, len));
        if let Some(range) = hinted.filter(|range| self.is_allowed(*range) && self.vmas.is_free(*range)) {
            return Ok(range);
        }
        let Self { windows, vmas, .. } = self;
        windows.iter_mut().find_map(|window| window.first_gap(vmas, len, PAGE_SIZE)).ok_or(nowhere)
    }
}
