//! Page faults, and what the kernel does instead of faulting.

use super::super::error::{Cause, Fault, FaultOutcome};
use super::super::gaps::STACK_GUARD;
use super::super::hardware::Hardware;
use super::super::prot::{Access, Prot};
use super::super::range::{PAGE_SIZE, Range, align_down};
use super::super::set::Mapping;
use super::super::vma::{Kind, VmaFlags};
use super::AddressSpace;

/// Bytes committed around a fault: at first, and after faults one after the other.
const CLUSTER: core::ops::RangeInclusive<u64> = 16 * PAGE_SIZE..=64 * PAGE_SIZE;

/// How long a mapping can get by growing down: the default RLIMIT_STACK.
const STACK_LIMIT: u64 = 8 << 20;

/// What was committed around the last fault.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around {
    start: u64,
    end: u64,
    len: u64,
}

impl<H: Hardware> AddressSpace<H> {
    /// Handles a page fault at `address`: commits the page and some around it if the mapping allows the access.
    pub fn fault(&mut self, address: u64, access: Access) -> FaultOutcome {
        let Some(page) = Range::covering(address, 1) else {
            return FaultOutcome::Denied(Fault { at: address, cause: Cause::NotMapped });
        };
        if self.vmas.find(address).is_none() {
            self.grow_stack(page);
        }
        let outcome = match self.vmas.find(address) {
            None => Err(Cause::NotMapped),
            Some(mapping) if !mapping.vma.prot.allows(access) => Err(Cause::NoAccess),
            Some(_) if self.memory.allows(page, access) => Ok(FaultOutcome::Again),
            Some(mapping) => {
                let (around, prot) = (self.around(page, mapping), mapping.vma.prot);
                self.commit_around(page, around, prot).map(|()| FaultOutcome::Committed)
            }
        };
        outcome.unwrap_or_else(|cause| FaultOutcome::Denied(Fault { at: address, cause }))
    }

    /// Makes `access` to all of `range` possible, before the kernel itself copies from or to the program's memory. All
    /// of it is committed, so what may turn out shorter than asked for is better populated piece by piece.
    ///
    /// # Errors
    /// The first place where it cannot be; everything before it can be accessed.
    pub fn populate(&mut self, range: Range, access: Access) -> Result<(), Fault> {
        if self.memory.allows(range, access) {
            return Ok(());
        }
        let mut rest = Some(range);
        while let Some(part) = rest {
            let at = part.start();
            if self.vmas.find(at).is_none() {
                self.grow_stack(Range::at(at, PAGE_SIZE).unwrap_or(part));
            }
            let mapping = self.vmas.find(at).ok_or(Fault { at, cause: Cause::NotMapped })?;
            if !mapping.vma.prot.allows(access) {
                return Err(Fault { at, cause: Cause::NoAccess });
            }
            let (end, prot) = (mapping.range.end(), mapping.vma.prot);
            if let Some(piece) = part.until(end) {
                self.memory.ensure(piece, prot).map_err(|cause| Fault {
                    at: self.memory.first_missing(piece, access).unwrap_or(at),
                    cause,
                })?;
            }
            rest = range.from(end);
        }
        Ok(())
    }

    fn commit_around(&mut self, page: Range, around: Range, prot: Prot) -> Result<(), Cause> {
        match self.memory.ensure(around, prot) {
            Ok(()) => {
                self.around = Around { start: around.start(), end: around.end(), len: around.len() };
                Ok(())
            }
            // Near the limit, or where the host is short of pages, one may still be had.
            Err(_) => self.memory.ensure(page, prot),
        }
    }

    /// The pages to commit for a fault in `page` of `mapping`.
    fn around(&self, page: Range, mapping: &Mapping) -> Range {
        let last = self.around;
        let (up, down) = (page.start() == last.end, page.end() == last.start);
        let len = if up || down { last.len.saturating_mul(2) } else { *CLUSTER.start() };
        let len = len.clamp(*CLUSTER.start(), *CLUSTER.end());
        let grows = VmaFlags::STACK | VmaFlags::GROWS_DOWN;
        let downwards =
            down || matches!(mapping.vma.kind, Kind::Stack) || mapping.vma.flags.intersects(grows);
        let wanted = if downwards && !up {
            Range::new(page.end().saturating_sub(len), page.end())
        } else {
            Range::new(page.start(), page.start().saturating_add(len))
        };
        wanted.and_then(|wanted| wanted.intersect(mapping.range)).unwrap_or(page)
    }

    /// Lets a mapping that grows down reach `page` if it may (mm/mmap.c, `expand_downwards`).
    fn grow_stack(&mut self, page: Range) {
        let Some(above) = self.vmas.after(page.start()) else { return };
        let start = above.range.start();
        let long = above.range.end() - page.start() > STACK_LIMIT;
        if long
            || !above.vma.flags.contains(VmaFlags::GROWS_DOWN)
            || above.vma.flags.contains(VmaFlags::SEALED)
        {
            return;
        }
        let below = self.vmas.before(page.start());
        // What cannot be accessed may be close: it is a guard already.
        let close = below.is_some_and(|below| {
            !below.vma.prot.is_empty() && page.start() - below.range.end() < STACK_GUARD
        });
        let allowed = Range::new(page.start(), start).is_some_and(|added| self.is_allowed(added));
        if !close && allowed {
            self.vmas.grow_down(start, align_down(page.start()));
        }
    }
}
