//! One loadable segment, and the checks that Linux makes before mapping it.

use ::elf::abi::{PF_R, PF_W, PF_X};
use ::elf::segment::ProgramHeader;

use super::error::SegmentProblem;
use super::header::MAX_SPAN;

/// Bytes of a page; segments are mapped by whole pages.
const PAGE: u64 = 4096;

/// `ET_EXEC` or `ET_DYN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Lies where its headers say (`ET_EXEC`).
    Fixed,
    /// May lie anywhere (`ET_DYN`): a position-independent program or a library.
    Movable,
}

/// Bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// Bytes of memory, before the load bias is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub len: u64,
}

/// A `PT_LOAD` program header. Addresses are without the load bias.
///
/// Segments do not overlap byte by byte, but two may share a page (an old link editor packs them so); Linux maps the
/// later one over the earlier one, page by page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in memory.
    pub address: u64,
    /// Bytes in memory; those beyond `file.len` are zero.
    pub mem_size: u64,
    /// The bytes of the file that fill its beginning.
    pub file: FileRange,
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// May be executed.
    pub execute: bool,
}

impl Segment {
    /// The address after its last byte.
    #[must_use]
    pub const fn end(&self) -> u64 {
        // Checked at construction, so this never saturates.
        self.address.saturating_add(self.mem_size)
    }

    /// Checks a `PT_LOAD` header as `elf_load` and `elf_map` of fs/binfmt_elf.c do, and that its bytes are in the file.
    pub(super) fn from_header(header: &ProgramHeader, file_len: u64) -> Result<Self, SegmentProblem> {
        if header.p_filesz > header.p_memsz {
            return Err(SegmentProblem::LargerInFile);
        }
        match header.p_vaddr.checked_add(header.p_memsz) {
            Some(end) if end <= MAX_SPAN => {}
            _ => return Err(SegmentProblem::Wraps),
        }
        match header.p_offset.checked_add(header.p_filesz) {
            Some(end) if end <= file_len || header.p_filesz == 0 => {}
            _ => return Err(SegmentProblem::BeyondFile),
        }
        if header.p_align > 1 && !header.p_align.is_power_of_two() {
            return Err(SegmentProblem::Alignment(header.p_align));
        }
        if header.p_filesz > 0 && header.p_vaddr % PAGE != header.p_offset % PAGE {
            return Err(SegmentProblem::Incongruent);
        }
        Ok(Self {
            address: header.p_vaddr,
            mem_size: header.p_memsz,
            file: FileRange { offset: header.p_offset, len: header.p_filesz },
            read: header.p_flags & PF_R != 0,
            write: header.p_flags & PF_W != 0,
            execute: header.p_flags & PF_X != 0,
        })
    }
}
