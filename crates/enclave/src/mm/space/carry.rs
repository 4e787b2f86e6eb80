//! What carries an address space to another enclave, and what replaces the program in one.

use alloc::vec::Vec;

use super::super::error::{Cause, MapError};
use super::super::hardware::Hardware;
use super::super::pages::PageState;
use super::super::prot::Prot;
use super::super::range::Range;
use super::super::vma::{Kind, Vma};
use super::AddressSpace;

impl<H: Hardware> AddressSpace<H> {
    /// Takes every mapping away, sealed ones too: what execve(2) does to the old program.
    ///
    /// # Errors
    /// The host did not take the pages.
    pub fn clear(&mut self) -> Result<(), MapError> {
        let ranges: Vec<Range> = self.vmas.iter().map(|mapping| mapping.range).collect();
        for range in ranges {
            self.memory.discard(range)?;
            self.leave_outside(range)?;
            self.remove(range);
        }
        self.brk = None;
        Ok(())
    }

    /// The parts of a range whose pages exist.
    #[must_use]
    pub fn committed(&self, range: Range) -> Vec<Range> {
        self.memory.committed(range)
    }

    /// Makes a mapping as it was elsewhere, without pages.
    ///
    /// # Errors
    /// EINVAL: not where the program may map. EEXIST: something is there. ENOMEM: too many mappings, or too large.
    pub fn restore(&mut self, range: Range, vma: Vma) -> Result<(), MapError> {
        if let Kind::Outside { segment, offset } = vma.kind {
            return self.restore_outside(range, vma, segment, offset);
        }
        if !self.is_allowed(range) {
            return Err(MapError::Invalid { what: "range to restore, from", value: range.start() });
        }
        if !self.vmas.is_free(range) {
            return Err(MapError::Exists { at: range.start() });
        }
        self.vmas.room_for(1)?;
        self.vmas.room_for_bytes(range.len(), 0)?;
        self.vmas.insert(range, vma)
    }

    /// Makes the pages of a range exist with a protection that may be another than that of their mapping, while bytes are
    /// carried. Followed by the same with the mapping's own.
    ///
    /// # Errors
    /// No memory, or the host did not do its part.
    pub fn settle(&mut self, range: Range, prot: Prot) -> Result<(), Cause> {
        if self.memory.all(range, PageState::is_committed) {
            return self.memory.change(range, prot);
        }
        self.memory.ensure(range, prot)
    }
}
