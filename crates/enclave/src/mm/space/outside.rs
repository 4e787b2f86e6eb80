//! Mappings outside the enclave: segments of the host's, which other enclaves map at the same addresses.
//!
//! They have no pages here, so what commits, changes and takes away pages finds none and does nothing. Which addresses are
//! mapped is decided and remembered inside all the same.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::super::error::MapError;
use super::super::gaps::Window;
use super::super::hardware::Hardware;
use super::super::prot::Prot;
use super::super::range::{PAGE_SIZE, Range, align_up};
use super::super::vma::{Kind, Vma};
use super::{AddressSpace, MapFlags};

impl<H: Hardware> AddressSpace<H> {
    /// Lets segments be mapped within `addresses`, which lie outside the enclave.
    pub fn allow_outside(&mut self, addresses: Range) {
        self.outside = Some(Window::new(addresses));
    }

    /// Maps the first `len` bytes of a segment, and returns where.
    ///
    /// # Errors
    /// EINVAL: zero length. ENOMEM: no place, too many mappings, or the host did not do it.
    pub fn map_outside(
        &mut self,
        segment: u64,
        len: u64,
        prot: Prot,
        flags: MapFlags,
    ) -> Result<u64, MapError> {
        let nowhere = MapError::NoMemory { bytes: len };
        if len == 0 {
            return Err(MapError::Invalid { what: "length", value: len });
        }
        let len = align_up(len).ok_or(nowhere)?;
        let Self { outside, vmas, .. } = self;
        let gap = outside.as_mut().and_then(|window| window.first_gap(vmas, len, PAGE_SIZE));
        let range = gap.ok_or(nowhere)?;
        let vma = Vma { prot, kind: Kind::Outside { segment, offset: 0 }, flags: flags.vma_flags() };
        self.restore_outside(range, vma, segment, 0)?;
        Ok(range.start())
    }

    /// Maps a part of a segment where it was mapped in another enclave.
    pub(super) fn restore_outside(
        &mut self,
        range: Range,
        vma: Vma,
        segment: u64,
        offset: u64,
    ) -> Result<(), MapError> {
        if !self.outside.as_ref().is_some_and(|window| window.bounds().includes(range)) {
            return Err(MapError::Invalid { what: "range outside, from", value: range.start() });
        }
        if !self.vmas.is_free(range) {
            return Err(MapError::Exists { at: range.start() });
        }
        self.vmas.room_for(1)?;
        self.vmas.room_for_bytes(range.len(), 0)?;
        self.memory.hardware_mut().map_outside(range, segment, offset, vma.prot)?;
        self.vmas.insert(range, vma)
    }

    /// Whether all of `range` is mapped there.
    #[must_use]
    pub fn is_outside(&self, range: Range) -> bool {
        self.outside.as_ref().is_some_and(|window| window.bounds().includes(range))
            && self.vmas.hole(range).is_none()
    }

    /// Takes away what of `range` is mapped outside; the mappings themselves are the caller's to remove, next.
    pub(super) fn leave_outside(&mut self, range: Range) -> Result<(), MapError> {
        let Some(range) = self.outside.as_ref().and_then(|window| range.intersect(window.bounds())) else {
            return Ok(());
        };
        let segment_of = |vma: &Vma| match vma.kind {
            Kind::Outside { segment, .. } => Some(segment),
            _ => None,
        };
        let mut leaving: BTreeSet<u64> =
            self.vmas.overlapping(range).filter_map(|mapping| segment_of(&mapping.vma)).collect();
        if leaving.is_empty() {
            return Ok(());
        }
        for mapping in self.vmas.iter().filter(|mapping| !range.includes(mapping.range)) {
            if let Some(segment) = segment_of(&mapping.vma) {
                leaving.remove(&segment);
            }
        }
        let segments: Vec<u64> = leaving.into_iter().collect();
        Ok(self.memory.hardware_mut().unmap_outside(range, &segments)?)
    }

    /// Gives what of `range` is mapped outside another protection.
    pub(super) fn protect_outside(&mut self, range: Range, prot: Prot) -> Result<(), MapError> {
        let Some(range) = self.outside.as_ref().and_then(|window| range.intersect(window.bounds())) else {
            return Ok(());
        };
        Ok(self.memory.hardware_mut().protect_outside(range, prot)?)
    }
}
