//! The program break.

use super::super::hardware::Hardware;
use super::super::prot::Prot;
use super::super::range::{PAGE_SIZE, Range, align_up};
use super::super::vma::{Kind, Vma, VmaFlags};
use super::AddressSpace;

/// Growth of the heap up to this many bytes is committed at once: glibc's malloc begins with 132 KiB and grows by as
/// much.
const EAGER_GROWTH: u64 = 256 << 10;

/// The heap: from `start`, where the loader put it, to `end`. Neither needs to be aligned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brk {
    start: u64,
    end: u64,
}

impl<H: Hardware> AddressSpace<H> {
    /// Sets where the heap begins: behind the program's data, by the ELF loader and before it asks
    /// [`AddressSpace::gap_near`] for islands. An `execve` sets it again.
    pub fn set_brk_start(&mut self, start: u64) {
        self.brk = Some(Brk { start, end: start });
    }

    /// Moves the program break and returns it: `brk(2)` as the kernel has it. If it cannot be moved to `new` (no place,
    /// no memory, below the start; `brk(0)` asks) it stays.
    pub fn brk(&mut self, new: u64) -> u64 {
        let Some(brk) = self.brk else { return 0 };
        if new >= brk.start
            && let (Some(old_end), Some(new_end)) = (align_up(brk.end), align_up(new))
        {
            let moved = match Range::new(old_end, new_end) {
                Some(growth) => self.grow_heap(growth),
                None => Range::new(new_end, old_end)
                    .is_none_or(|rest| self.unmap(rest.start(), rest.len()).is_ok()),
            };
            if moved {
                self.brk = Some(Brk { end: new, ..brk });
                return new;
            }
        }
        brk.end
    }

    /// Start and end of the heap, if there is one.
    #[must_use]
    pub fn brk_bounds(&self) -> Option<(u64, u64)> {
        self.brk.map(|brk| (brk.start, brk.end))
    }

    /// Sets both, where the mapping of the heap was restored.
    pub fn restore_brk(&mut self, start: u64, end: u64) {
        self.brk = Some(Brk { start, end });
    }

    /// The hole above the program break.
    pub(super) fn room_for_brk(&self) -> Option<Range> {
        let end = align_up(self.brk?.end)?;
        let next = self.vmas.after(end.saturating_sub(1)).map_or(u64::MAX, |m| m.range.start());
        self.windows.iter().find_map(|window| window.bounds().from(end)?.until(next))
    }

    fn grow_heap(&mut self, growth: Range) -> bool {
        let vma = Vma { prot: Prot::RW, kind: Kind::Heap, flags: VmaFlags::empty() };
        // Linux keeps a page free between heap and next mapping (mm/mmap.c, `brk`).
        let free = Range::at(growth.start(), growth.len().saturating_add(PAGE_SIZE))
            .is_some_and(|range| self.vmas.is_free(range));
        if !free
            || !self.is_allowed(growth)
            || self.check_accountable(&vma, growth.len()).is_err()
            || self.vmas.room_for(1).is_err()
            || self.vmas.room_for_bytes(growth.len(), 0).is_err()
        {
            return false;
        }
        if growth.len() <= EAGER_GROWTH {
            self.map_committed(growth, vma).is_ok()
        } else {
            self.vmas.insert(growth, vma).is_ok()
        }
    }
}
