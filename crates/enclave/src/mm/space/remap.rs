//! `mremap(2)`.

use super::super::error::MapError;
use super::super::hardware::Hardware;
use super::super::range::{Range, align_up, is_aligned};
use super::super::vma::{Kind, Vma};
use super::{AddressSpace, MapFlags, optional_range};

/// How to remap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RemapFlags {
    /// `MREMAP_MAYMOVE`.
    pub maymove: bool,
    /// `MREMAP_FIXED`: move to exactly this address, in place of what is there.
    pub fixed: Option<u64>,
    /// `MREMAP_DONTUNMAP`: the old mapping stays, without its pages.
    pub dontunmap: bool,
}

/// What became of a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remapped {
    /// It is where it was.
    InPlace {
        /// Its address.
        at: u64,
    },
    /// It is somewhere else; its bytes have been copied.
    Moved {
        /// Where it was.
        from: u64,
        /// Where it is.
        to: u64,
        /// Bytes of the old mapping that the new one has.
        len: u64,
    },
}

impl Remapped {
    /// What the system call returns.
    #[must_use]
    pub const fn address(self) -> u64 {
        match self {
            Self::InPlace { at } => at,
            Self::Moved { to, .. } => to,
        }
    }
}

/// Bytes to copy: both ranges are as long, committed, and can be read and written in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageCopy {
    /// Where they are.
    pub from: Range,
    /// Where they go.
    pub to: Range,
}

impl<H: Hardware> AddressSpace<H> {
    /// Makes a mapping longer, shorter, or moves it. Enclave pages cannot move, so `copy` is called for each span of
    /// committed pages that has to; both places count as committed until the old one is unmapped, and the heap limit is
    /// not applied to that.
    ///
    /// What becomes longer is committed at the first touch. The new part of a file mapping is for the caller to fill.
    ///
    /// # Errors
    /// EINVAL: unaligned or empty arguments, overlapping or impossible `fixed` target, contradictory flags. EFAULT: the old
    /// range is not within one mapping. ENOMEM: cannot grow here and may not move, no place, or the host refused; the old
    /// mapping is as it was, what was at a `fixed` target may be gone. EPERM: sealed.
    pub fn remap(
        &mut self,
        old: u64,
        old_len: u64,
        new_len: u64,
        flags: RemapFlags,
        mut copy: impl FnMut(PageCopy),
    ) -> Result<Remapped, MapError> {
        let invalid = |what, value| MapError::Invalid { what, value };
        let moves = flags.fixed.is_some() || flags.dontunmap;
        if moves && !flags.maymove {
            return Err(invalid("flags without MREMAP_MAYMOVE, address", old));
        }
        // A length of zero would duplicate a shared mapping, which the pages of an enclave cannot be.
        let from = optional_range(old, old_len)?.ok_or(invalid("old length", old_len))?;
        let new_len = align_up(new_len).filter(|len| *len > 0).ok_or(invalid("new length", new_len))?;
        if flags.dontunmap && from.len() != new_len {
            return Err(invalid("new length with MREMAP_DONTUNMAP", new_len));
        }
        let mapping = self.vmas.find(old).ok_or(MapError::BadAddress { at: old })?;
        let (whole, vma) = (mapping.range, mapping.vma.advanced(old - mapping.range.start()));
        if !moves && new_len <= from.len() {
            // Linux lets a shrinking range reach over several mappings.
            if let Some(tail) = from.from(old.saturating_add(new_len)) {
                self.unmap(tail.start(), tail.len())?;
            }
            return Ok(Remapped::InPlace { at: old });
        }
        if !whole.includes(from) {
            return Err(MapError::BadAddress { at: whole.end() });
        }
        if matches!(vma.kind, Kind::Outside { .. }) {
            // Others map it too, at this place, as long as it is.
            return Err(MapError::NoMemory { bytes: new_len });
        }
        self.check_sealed(from)?;
        let growth = new_len.saturating_sub(from.len());
        self.check_accountable(&vma, growth)?;
        if let Kind::File { offset, .. } = vma.kind {
            offset.checked_add(new_len).ok_or(MapError::Overflow { offset })?;
        }
        if !moves && self.grow_in_place(from, growth, &vma)? {
            return Ok(Remapped::InPlace { at: old });
        }
        if !flags.maymove {
            return Err(MapError::NoMemory { bytes: new_len });
        }
        let to = self.target(from, new_len, flags)?;
        self.relocate(from, to, vma, flags.dontunmap, &mut |from, to| copy(PageCopy { from, to }))
    }

    /// Makes the mapping of `range` longer at its end. False if there is no room.
    fn grow_in_place(&mut self, range: Range, growth: u64, vma: &Vma) -> Result<bool, MapError> {
        let Some(added) = Range::at(range.end(), growth) else { return Ok(false) };
        if !self.is_allowed(added) || !self.vmas.is_free(added) {
            return Ok(false);
        }
        self.vmas.insert(added, vma.advanced(range.len()))?;
        Ok(true)
    }

    /// Where a mapping moves; what was at a fixed target is unmapped.
    fn target(&mut self, from: Range, new_len: u64, flags: RemapFlags) -> Result<Range, MapError> {
        let Some(address) = flags.fixed else {
            return self.place(None, new_len, MapFlags::default());
        };
        let invalid = MapError::Invalid { what: "new address", value: address };
        let to = Range::at(address, new_len)
            .filter(|to| is_aligned(address) && !to.overlaps(from) && self.is_allowed(*to))
            .ok_or(invalid)?;
        // Room for the cuts of unmapping here and at the old place, and for the new one.
        self.vmas.room_for(4)?;
        self.unmap(to.start(), to.len())?;
        Ok(to)
    }

    fn relocate(
        &mut self,
        from: Range,
        to: Range,
        mut vma: Vma,
        keep_old: bool,
        copy: &mut dyn FnMut(Range, Range),
    ) -> Result<Remapped, MapError> {
        // The old place goes only at the end, but does not count twice.
        let freed = if keep_old { 0 } else { from.len() };
        self.vmas.room_for_bytes(to.len(), freed)?;
        self.vmas.room_for(1 + self.vmas.cuts(from))?;
        if matches!(vma.kind, Kind::Heap | Kind::Stack) {
            vma.kind = Kind::Anonymous;
        }
        let prot = vma.prot;
        let source = from.until(from.start().saturating_add(to.len())).unwrap_or(from);
        let done = self.vmas.insert(to, vma).and_then(|()| {
            self.memory.transfer(source, to, prot, copy)?;
            self.memory.discard(from)?;
            Ok(())
        });
        if let Err(error) = done {
            // Best effort: a host that also refuses this leaves pages committed and counted.
            let _ = self.memory.discard(to);
            let _ = self.memory.tighten(from, prot);
            self.remove(to);
            return Err(error);
        }
        if !keep_old {
            self.remove(from);
        }
        Ok(Remapped::Moved { from: from.start(), to: to.start(), len: source.len() })
    }
}
