//! The address space: `mmap`, `munmap`, `mprotect`, `madvise` and their kin, with Linux's semantics.

mod brk;
mod carry;
mod fault;
mod outside;
mod place;
mod remap;

use alloc::vec::Vec;
use core::fmt;

use super::error::{Cause, MapError};
use super::gaps::Window;
use super::hardware::Hardware;
use super::maps;
use super::memory::Memory;
use super::prot::{Access, Prot};
use super::range::{PAGE_SIZE, Range, TASK_SIZE, align_up, is_aligned};
use super::set::{Mapping, VmaSet};
use super::vma::{Kind, Vma, VmaFlags};

pub use remap::{PageCopy, RemapFlags, Remapped};

use brk::Brk;
use fault::Around;

/// Anonymous mappings up to this many bytes are committed when they are made: a fault costs more than the pages.
const EAGER: u64 = 128 << 10;

/// `MADV_DONTNEED` zeroes spans up to this many bytes instead of giving them back: a host call costs more.
const SHORT: u64 = 16 * PAGE_SIZE;

/// How to map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MapFlags {
    /// `MAP_FIXED`: exactly at the hint, in place of what is there.
    pub fixed: bool,
    /// `MAP_FIXED_NOREPLACE`: exactly at the hint, or EEXIST.
    pub fixed_noreplace: bool,
    /// `MAP_NORESERVE`.
    pub noreserve: bool,
    /// `MAP_STACK`: see [`VmaFlags::STACK`].
    pub stack: bool,
    /// `MAP_GROWSDOWN`.
    pub grows_down: bool,
    /// `MAP_POPULATE`: commit all pages now. What has to be filled by the caller is mapped so.
    pub populate: bool,
    /// `MAP_SHARED`.
    pub shared: bool,
    /// Never becomes writable: a shared mapping of a file opened for reading.
    pub read_only: bool,
}

impl MapFlags {
    fn vma_flags(self) -> VmaFlags {
        let mut flags = VmaFlags::empty();
        flags.set(VmaFlags::SHARED, self.shared);
        flags.set(VmaFlags::NORESERVE, self.noreserve);
        flags.set(VmaFlags::GROWS_DOWN, self.grows_down);
        flags.set(VmaFlags::STACK, self.stack);
        flags.set(VmaFlags::READ_ONLY, self.read_only);
        flags
    }
}

/// How much is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Bytes of pages that exist for the program.
    pub committed: u64,
    /// Bytes that are mapped, committed or not.
    pub reserved: u64,
}

/// The address space of the program.
#[derive(Debug)]
pub struct AddressSpace<H> {
    memory: Memory<H>,
    vmas: VmaSet,
    /// Where the program may map, highest first.
    windows: Vec<Window>,
    /// Where segments of the host's may be mapped, if that is wanted.
    outside: Option<Window>,
    brk: Option<Brk>,
    around: Around,
}

impl<H: Hardware> AddressSpace<H> {
    /// An empty address space within `bounds` without the `exclusions` (the kernel's own image). At most `heap_limit`
    /// bytes are ever committed.
    ///
    /// The pages of `bounds` without the exclusions are as [`Hardware`] says for the start.
    #[must_use]
    pub fn new(hardware: H, bounds: Range, exclusions: &[Range], heap_limit: u64) -> Self {
        let mut windows = alloc::vec![bounds];
        for exclusion in exclusions {
            windows = windows
                .iter()
                .flat_map(|window| [window.until(exclusion.start()), window.from(exclusion.end())])
                .flatten()
                .collect();
        }
        windows.sort_by(|a, b| b.cmp(a));
        windows.dedup();
        Self {
            memory: Memory::new(hardware, bounds, heap_limit),
            vmas: VmaSet::default(),
            windows: windows.into_iter().map(Window::new).collect(),
            outside: None,
            brk: None,
            around: Around::default(),
        }
    }

    /// The hardware below.
    #[must_use]
    pub fn hardware(&self) -> &H {
        self.memory.hardware()
    }

    /// The hardware below. Pages that are changed behind the back of the address space are the caller's problem.
    pub fn hardware_mut(&mut self) -> &mut H {
        self.memory.hardware_mut()
    }

    /// Sets the limit of all mappings together in bytes (RLIMIT_AS).
    pub fn set_size_limit(&mut self, bytes: u64) {
        self.vmas.set_max_bytes(bytes);
    }

    /// All mappings.
    #[must_use]
    pub fn vmas(&self) -> &VmaSet {
        &self.vmas
    }

    /// The mapping that holds `address`.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        self.vmas.find(address)
    }

    /// Whether all of `range` is mapped and allows `access`.
    #[must_use]
    pub fn covers(&self, range: Range, access: Access) -> bool {
        self.vmas.covers(range, access)
    }

    /// Bytes committed and reserved.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage { committed: self.memory.committed_bytes(), reserved: self.vmas.bytes() }
    }

    /// Writes `/proc/self/maps`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn maps(&self, out: &mut impl fmt::Write) -> fmt::Result {
        self.vmas.iter().try_for_each(|mapping| maps::write_line(mapping, out))
    }

    /// Maps `len` bytes, rounded up to pages, and returns where: `mmap(2)`.
    ///
    /// Without `fixed` the hint is taken if it is free. Small anonymous writable mappings are committed at once; so is
    /// what has `populate`, whose pages the caller may then fill; everything else at the first touch.
    ///
    /// # Errors
    /// EINVAL: zero length, unaligned fixed address or file offset. ENOMEM: no place, more writable memory than the heap
    /// limit, no memory for what is committed now. EEXIST: `fixed_noreplace` over a mapping. EPERM: `fixed` over a
    /// sealed one. EACCES: writable and `read_only`. EOVERFLOW: file offset. After an error of the host with `fixed`,
    /// what was there may be gone, as in Linux.
    pub fn map(
        &mut self,
        hint: Option<u64>,
        len: u64,
        prot: Prot,
        flags: MapFlags,
        kind: Kind,
    ) -> Result<u64, MapError> {
        if len == 0 {
            return Err(MapError::Invalid { what: "length", value: len });
        }
        let len = align_up(len).ok_or(MapError::NoMemory { bytes: len })?;
        if let Kind::File { offset, .. } = kind {
            if !is_aligned(offset) {
                return Err(MapError::Invalid { what: "file offset", value: offset });
            }
            offset.checked_add(len).ok_or(MapError::Overflow { offset })?;
        }
        if flags.read_only && prot.contains(Prot::W) {
            return Err(MapError::ReadOnly { at: hint.unwrap_or(0) });
        }
        let vma = Vma { prot, kind, flags: flags.vma_flags() };
        self.check_accountable(&vma, len)?;
        let range = self.place(hint, len, flags)?;
        self.check_sealed(range)?;
        self.vmas.room_for(1 + self.vmas.cuts(range))?;
        self.vmas.room_for_bytes(len, self.vmas.bytes_in(range))?;

        let eager = flags.populate
            || (len <= EAGER && prot.contains(Prot::RW) && matches!(vma.kind, Kind::Anonymous | Kind::Stack));
        if eager && !prot.is_empty() {
            self.map_committed(range, vma)?;
        } else {
            self.memory.discard(range)?;
            self.remove(range);
            self.vmas.insert(range, vma)?;
        }
        Ok(range.start())
    }

    /// Unmaps `len` bytes, rounded up to pages: `munmap(2)`. Holes are no error.
    ///
    /// # Errors
    /// EINVAL: unaligned address, zero length, beyond what can be mapped. EPERM: something there is sealed. ENOMEM: too
    /// many mappings, or the host did not take the pages.
    pub fn unmap(&mut self, address: u64, len: u64) -> Result<(), MapError> {
        let range = Range::at(address, len)
            .filter(|range| range.end() <= TASK_SIZE)
            .ok_or(MapError::Invalid { what: "range to unmap, from", value: address })?;
        self.check_sealed(range)?;
        // Only a mapping cut in its middle makes two of one.
        let inside = self
            .vmas
            .find(range.start())
            .is_some_and(|m| m.range.start() < range.start() && m.range.end() > range.end());
        self.vmas.room_for(usize::from(inside))?;
        self.memory.discard(range)?;
        self.leave_outside(range)?;
        self.remove(range);
        Ok(())
    }

    /// Sets the protection of `len` bytes, rounded up to pages: `mprotect(2)`.
    ///
    /// # Errors
    /// EINVAL: unaligned address. ENOMEM: a hole (the pieces before it are changed), too many mappings, or the host did
    /// not change the pages. EPERM: sealed, EACCES: writable and `read_only`; in both cases the pieces before are
    /// changed.
    pub fn protect(&mut self, address: u64, len: u64, prot: Prot) -> Result<(), MapError> {
        let Some(range) = optional_range(address, len)? else { return Ok(()) };
        let (range, error) = self.changeable(range, prot);
        if let Some(range) = range {
            self.vmas.room_for(self.vmas.cuts(range))?;
            self.memory.tighten(range, prot)?;
            self.protect_outside(range, prot)?;
            self.vmas.protect(range, prot);
            self.memory.loosen(range, prot)?;
        }
        error.map_or(Ok(()), Err)
    }

    /// Seals `len` bytes, rounded up to pages, against all later changes of their mappings: `mseal(2)`. The kernel does
    /// so with its own code in the program's address space.
    ///
    /// # Errors
    /// EINVAL: unaligned address. ENOMEM: a hole or too many mappings; nothing is sealed then.
    pub fn seal(&mut self, address: u64, len: u64) -> Result<(), MapError> {
        let Some(range) = optional_range(address, len)? else { return Ok(()) };
        if let Some(at) = self.vmas.hole(range) {
            return Err(MapError::Hole { at });
        }
        self.vmas.room_for(self.vmas.cuts(range))?;
        self.vmas.add_flags(range, VmaFlags::SEALED);
        Ok(())
    }

    /// Forgets the bytes of `len` bytes, rounded up to pages: `madvise(MADV_DONTNEED)`. Memory of its own reads as zero
    /// afterwards.
    ///
    /// Mappings of files are left as they are and returned, cut to the range: the caller has the file and copies its
    /// bytes in again where they may differ.
    ///
    /// # Errors
    /// EINVAL: unaligned address or no such range. ENOMEM: a hole (everything around it is done), or the host did not take
    /// the pages. EPERM: sealed and not writable (nothing is done).
    pub fn advise_dontneed(&mut self, address: u64, len: u64) -> Result<Vec<Mapping>, MapError> {
        let invalid = MapError::Invalid { what: "range to forget, from", value: address };
        let range = match optional_range(address, len) {
            Ok(Some(range)) => range,
            Ok(None) => return Ok(Vec::new()),
            Err(_) => return Err(invalid),
        };
        let sealed = |m: &&Mapping| m.vma.flags.contains(VmaFlags::SEALED) && !m.vma.prot.contains(Prot::W);
        if let Some(mapping) = self.vmas.overlapping(range).find(sealed) {
            return Err(MapError::Sealed { at: mapping.range.start() });
        }
        let pieces: Vec<Mapping> = self
            .vmas
            .overlapping(range)
            .filter_map(|m| {
                let piece = m.range.intersect(range)?;
                Some(Mapping { range: piece, vma: m.vma.advanced(piece.start() - m.range.start()) })
            })
            .collect();
        let (files, own): (Vec<Mapping>, Vec<Mapping>) =
            pieces.into_iter().partition(|piece| matches!(piece.vma.kind, Kind::File { .. }));
        for piece in own {
            self.memory.forget(piece.range, SHORT)?;
        }
        match self.vmas.hole(range) {
            Some(at) => Err(MapError::Hole { at }),
            None => Ok(files),
        }
    }

    /// Maps `range`, where something may be, and commits all of it.
    fn map_committed(&mut self, range: Range, vma: Vma) -> Result<(), MapError> {
        let prot = vma.prot;
        if self.memory.absent_bytes(range) > self.memory.room() {
            return Err(MapError::NoMemory { bytes: range.len() });
        }
        let recycled = self.memory.recycle(range);
        self.remove(range);
        let done = recycled.map_err(MapError::from).and_then(|()| {
            self.vmas.insert(range, vma)?;
            self.memory.ensure(range, prot).map_err(|cause| match cause {
                Cause::Host(error) => MapError::Host(error),
                _ => MapError::NoMemory { bytes: range.len() },
            })
        });
        if done.is_err() {
            // Best effort: a host that also refuses to take pages keeps them committed and counted.
            let _ = self.memory.discard(range);
            self.remove(range);
        }
        done
    }

    /// The part of `range` from its start whose mappings may all get `prot`, and what is wrong behind it.
    fn changeable(&self, range: Range, prot: Prot) -> (Option<Range>, Option<MapError>) {
        let wrong = self.vmas.overlapping(range).find_map(|m| {
            let at = m.range.start();
            let refused = if m.vma.flags.contains(VmaFlags::SEALED) {
                MapError::Sealed { at }
            } else if m.vma.flags.contains(VmaFlags::READ_ONLY) && prot.contains(Prot::W) {
                MapError::ReadOnly { at }
            } else {
                return None;
            };
            Some((at.max(range.start()), refused))
        });
        let hole = self.vmas.hole(range).map(|at| (at, MapError::Hole { at }));
        let first = [wrong, hole].into_iter().flatten().min_by_key(|(at, _)| *at);
        match first {
            Some((at, error)) => (range.until(at), Some(error)),
            None => (Some(range), None),
        }
    }

    fn check_sealed(&self, range: Range) -> Result<(), MapError> {
        match self.vmas.overlapping(range).find(|m| m.vma.flags.contains(VmaFlags::SEALED)) {
            Some(mapping) => Err(MapError::Sealed { at: mapping.range.start() }),
            None => Ok(()),
        }
    }

    /// Refuses what can never be used in full, as Linux does when it overcommits by heuristics (mm/util.c,
    /// `__vm_enough_memory`).
    fn check_accountable(&self, vma: &Vma, more: u64) -> Result<(), MapError> {
        if vma.is_accountable() && more > self.memory.limit() {
            return Err(MapError::NoMemory { bytes: more });
        }
        Ok(())
    }

    /// Takes the mappings in `range` away; their pages are gone already.
    fn remove(&mut self, range: Range) {
        self.vmas.remove(range);
        for window in self.windows.iter_mut().chain(&mut self.outside) {
            window.removed(&self.vmas, range);
        }
    }
}

/// `len` bytes, rounded up to pages, at an aligned address; none if the length is zero.
fn optional_range(address: u64, len: u64) -> Result<Option<Range>, MapError> {
    if !is_aligned(address) {
        return Err(MapError::Invalid { what: "address", value: address });
    }
    if len == 0 {
        return Ok(None);
    }
    Range::at(address, len).map(Some).ok_or(MapError::NoMemory { bytes: len })
}
