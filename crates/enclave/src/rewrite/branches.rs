//! Which bytes of the windows a direct branch can land on.
//!
//! Far branches (`rel32`) are looked for at every byte of the segment, not only where instructions are known to begin:
//! that is faster than decoding and misses nothing, and the odd false find only makes a site trap. Short ones (`rel8`)
//! would be found falsely too often, so what is within their reach is decoded.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::Range;

use super::sweep::{Segment, Sweep};

/// How far a short branch reaches, with its own length.
const SHORT_REACH: usize = 144;

/// Offsets of guarded bytes on which a direct branch of the segment can land.
#[derive(Debug, Default)]
pub(super) struct Landings(BTreeSet<usize>);

impl Landings {
    /// Looks for branches into the ranges `guarded`: offsets, ascending by their start.
    pub(super) fn find(segment: Segment<'_>, guarded: impl Iterator<Item = Range<usize>>) -> Self {
        let guarded = joined(guarded, 0);
        let mut landings = Self::default();
        if !guarded.is_empty() {
            landings.far(segment, &guarded);
            landings.short(segment, &guarded);
        }
        landings
    }

    /// Whether a branch lands in the range.
    pub(super) fn hit(&self, range: Range<usize>) -> bool {
        range.start < range.end && self.0.range(range).next().is_some()
    }

    fn add(&mut self, guarded: &[Range<usize>], target: usize) {
        let index = guarded.partition_point(|range| range.end <= target);
        if guarded.get(index).is_some_and(|range| range.contains(&target)) {
            self.0.insert(target);
        }
    }

    fn far(&mut self, segment: Segment<'_>, guarded: &[Range<usize>]) {
        let code = segment.code;
        for (offset, pair) in code.windows(2).enumerate() {
            let opcode_len = match *pair {
                // call, jmp
                [0xe8 | 0xe9, _] => 1,
                // jcc, xbegin
                [0x0f, 0x80..=0x8f] | [0xc7, 0xf8] => 2,
                _ => continue,
            };
            let at = offset.saturating_add(opcode_len);
            let Some(displacement) = code.get(at..).and_then(<[u8]>::first_chunk) else { continue };
            let Ok(displacement) = isize::try_from(i32::from_le_bytes(*displacement)) else { continue };
            if let Some(target) = at.saturating_add(4).checked_add_signed(displacement) {
                self.add(guarded, target);
            }
        }
    }

    fn short(&mut self, segment: Segment<'_>, guarded: &[Range<usize>]) {
        let around = guarded
            .iter()
            .map(|range| range.start.saturating_sub(SHORT_REACH)..range.end.saturating_add(SHORT_REACH));
        for range in joined(around, SHORT_REACH) {
            let mut sweep = Sweep::before(segment, range.start);
            while sweep.position() < range.end {
                let Some(step) = sweep.next() else { break };
                if let Some(target) = step.target.and_then(|target| segment.offset_of(target)) {
                    self.add(guarded, target);
                }
            }
        }
    }
}

/// Ranges, ascending by their start, with those joined that overlap or are at most `gap` apart.
fn joined(ranges: impl Iterator<Item = Range<usize>>, gap: usize) -> Vec<Range<usize>> {
    let mut result: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match result.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap) => last.end = last.end.max(range.end),
            _ => result.push(range),
        }
    }
    result
}
