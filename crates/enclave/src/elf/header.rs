//! The headers of an ELF file, checked as Linux's fs/binfmt_elf.c checks them.

use alloc::vec::Vec;

use ::elf::abi::{
    EM_X86_64, ET_DYN, ET_EXEC, PF_X, PT_GNU_EH_FRAME, PT_GNU_RELRO, PT_GNU_STACK, PT_INTERP, PT_LOAD,
    PT_PHDR, PT_TLS,
};
use ::elf::endian::{AnyEndian, EndianParse, LittleEndian};
use ::elf::file::{Class, FileHeader, parse_ident};
use ::elf::segment::{ProgramHeader, SegmentTable};

use super::error::{ElfError, SegmentProblem};
use super::segment::{FileRange, Kind, MemoryRange, Segment};

/// Bytes of the ELF header itself.
pub const EHDR_LEN: usize = 64;
/// Bytes of one program header.
const PHDR_LEN: usize = 56;
/// Bytes of the identification at the beginning.
const IDENT_LEN: usize = 16;
/// Linux takes at most 64 KiB of program headers (`load_elf_phdrs`).
const MAX_PHDRS: u16 = 1170;
/// Program headers must end within so many bytes from the file's beginning.
pub const MAX_HEADERS_LEN: usize = 1 << 20;
/// Longest path of an interpreter, with its end (`PATH_MAX`).
pub const MAX_INTERPRETER_LEN: u64 = 4096;
/// Highest address that a program may name, and the most that its segments may span: user space of x86-64.
pub const MAX_SPAN: u64 = (1 << 47) - 4096;

/// A program or library that can be loaded. Addresses are without the load bias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// Where it may lie.
    pub kind: Kind,
    /// Address of the first instruction. Not checked to lie in a segment: Linux does not either, the jump faults.
    pub entry: u64,
    /// Program headers (`AT_PHNUM`).
    pub header_count: u16,
    /// Where the program headers are in memory (`AT_PHDR`): as `PT_PHDR` says, or else where a segment puts them.
    pub headers_address: Option<u64>,
    /// What to load, ascending, not overlapping; never empty.
    pub segments: Vec<Segment>,
    /// Greatest alignment that a segment asks for, at least a page: the load bias is a multiple of it.
    pub alignment: u64,
    /// Where the file names its interpreter; the bytes go to [`Elf::interpreter_path`].
    pub interpreter: Option<FileRange>,
    /// `PT_GNU_STACK` asks for a stack that can be executed. Without that header Linux says no on x86-64.
    pub executable_stack: bool,
    /// What the program makes read-only once it has relocated itself (`PT_GNU_RELRO`). A hint; Linux does not use it.
    pub relro: Option<MemoryRange>,
    /// The index of unwind tables (`PT_GNU_EH_FRAME`); its bytes go to [`function_starts`](super::function_starts).
    pub eh_frame_hdr: Option<MemoryRange>,
    /// The template of thread-local storage (`PT_TLS`). The program itself sets it up.
    pub tls: Option<MemoryRange>,
}

impl Elf {
    /// How many bytes from the beginning of the file [`parse`] needs, told from the first [`EHDR_LEN`].
    ///
    /// # Errors
    /// Whatever makes the file no program can be seen already; [`ElfError::NeedMore`] if not even the header is there.
    pub fn headers_len(first: &[u8]) -> Result<usize, ElfError> {
        file_header(first).and_then(|header| headers_end(&header))
    }

    /// Bytes of address space from the first page to the last.
    #[must_use]
    pub fn span(&self) -> MemoryRange {
        let first = self.segments.first().map_or(0, |segment| segment.address & !4095);
        let end = self.segments.last().map_or(0, Segment::end);
        MemoryRange { address: first, len: end.saturating_sub(first).next_multiple_of(4096) }
    }

    /// The interpreter's path from the bytes that [`Elf::interpreter`] names, without its end.
    ///
    /// # Errors
    /// [`ElfError::InterpreterPath`] if it is empty or its last byte is not zero (as Linux demands).
    pub fn interpreter_path(bytes: &[u8]) -> Result<&[u8], ElfError> {
        let Some((0, path)) = bytes.split_last() else { return Err(ElfError::InterpreterPath) };
        match path.split(|&byte| byte == 0).next() {
            Some(path) if !path.is_empty() => Ok(path),
            _ => Err(ElfError::InterpreterPath),
        }
    }
}

/// Reads and checks the headers of a file of `file_len` bytes; `header_bytes` are its first bytes.
///
/// # Errors
/// What is wrong with the file; [`ElfError::NeedMore`] if `header_bytes` end before the program headers.
pub fn parse(header_bytes: &[u8], file_len: u64) -> Result<Elf, ElfError> {
    let header = file_header(header_bytes)?;
    let end = headers_end(&header)?;
    let too_long = u64::try_from(end).map_or(true, |end| end > file_len);
    let start = usize::try_from(header.e_phoff).unwrap_or(usize::MAX);
    let Some(table) = header_bytes.get(start..end).filter(|_| !too_long) else {
        return Err(ElfError::NeedMore(end));
    };
    let mut elf = Elf {
        kind: if header.e_type == ET_DYN { Kind::Movable } else { Kind::Fixed },
        entry: header.e_entry,
        header_count: header.e_phnum,
        headers_address: None,
        segments: Vec::new(),
        alignment: 4096,
        interpreter: None,
        executable_stack: false,
        relro: None,
        eh_frame_hdr: None,
        tls: None,
    };
    for (index, program_header) in SegmentTable::new(LittleEndian, Class::ELF64, table).iter().enumerate() {
        elf.take(index, &program_header, file_len)?;
    }
    let span = elf.span().len;
    if elf.segments.is_empty() {
        return Err(ElfError::NoSegments);
    }
    if span > MAX_SPAN {
        return Err(ElfError::Span(span));
    }
    if elf.headers_address.is_none() {
        elf.headers_address = elf.segments.iter().find_map(|segment| {
            let within = header.e_phoff.checked_sub(segment.file.offset)?;
            (within < segment.file.len).then(|| segment.address.saturating_add(within))
        });
    }
    Ok(elf)
}

impl Elf {
    /// Takes one program header in.
    fn take(&mut self, index: usize, header: &ProgramHeader, file_len: u64) -> Result<(), ElfError> {
        let memory = MemoryRange { address: header.p_vaddr, len: header.p_memsz };
        match header.p_type {
            PT_LOAD => {
                let segment = Segment::from_header(header, file_len)
                    .map_err(|problem| ElfError::Segment(index, problem))?;
                if self.segments.last().is_some_and(|last| last.end() > segment.address) {
                    return Err(ElfError::Segment(index, SegmentProblem::Order));
                }
                self.alignment = self.alignment.max(header.p_align);
                self.segments.push(segment);
            }
            PT_INTERP => {
                if self.interpreter.is_some() {
                    return Err(ElfError::TwoInterpreters);
                }
                if !(2..=MAX_INTERPRETER_LEN).contains(&header.p_filesz) {
                    return Err(ElfError::InterpreterPath);
                }
                if header.p_offset.checked_add(header.p_filesz).is_none_or(|end| end > file_len) {
                    return Err(ElfError::Segment(index, SegmentProblem::BeyondFile));
                }
                self.interpreter = Some(FileRange { offset: header.p_offset, len: header.p_filesz });
            }
            PT_GNU_STACK => self.executable_stack = header.p_flags & PF_X != 0,
            PT_GNU_RELRO => self.relro = Some(memory),
            PT_GNU_EH_FRAME => self.eh_frame_hdr = Some(memory),
            PT_TLS => self.tls = Some(memory),
            PT_PHDR => self.headers_address = Some(header.p_vaddr),
            _ => {}
        }
        Ok(())
    }
}

/// The ELF header, if it is one of a program for this machine.
fn file_header(bytes: &[u8]) -> Result<FileHeader<LittleEndian>, ElfError> {
    if !bytes.starts_with(&::elf::abi::ELFMAGIC) {
        return Err(ElfError::NotElf);
    }
    let (Some(ident), Some(tail)) = (bytes.get(..IDENT_LEN), bytes.get(IDENT_LEN..EHDR_LEN)) else {
        return Err(ElfError::NeedMore(EHDR_LEN));
    };
    let (endian, class, osabi, abiversion) = parse_ident::<AnyEndian>(ident).map_err(|_| ElfError::NotElf)?;
    if class != Class::ELF64 {
        return Err(ElfError::Class32);
    }
    if endian.is_big() {
        return Err(ElfError::BigEndian);
    }
    let header = FileHeader::parse_tail((LittleEndian, class, osabi, abiversion), tail)
        .map_err(|_| ElfError::NotElf)?;
    if header.e_machine != EM_X86_64 {
        return Err(ElfError::Machine(header.e_machine));
    }
    if header.e_type != ET_EXEC && header.e_type != ET_DYN {
        return Err(ElfError::Type(header.e_type));
    }
    if usize::from(header.e_phentsize) != PHDR_LEN {
        return Err(ElfError::HeaderSize(header.e_phentsize));
    }
    if !(1..=MAX_PHDRS).contains(&header.e_phnum) {
        return Err(ElfError::HeaderCount(header.e_phnum));
    }
    Ok(header)
}

/// Where the program headers end in the file, and not before the ELF header does.
fn headers_end(header: &FileHeader<LittleEndian>) -> Result<usize, ElfError> {
    // At most 1170 * 56 bytes, so that only the offset can make the sum too large.
    let table = usize::from(header.e_phnum).saturating_mul(PHDR_LEN);
    let end = usize::try_from(header.e_phoff).unwrap_or(usize::MAX).saturating_add(table);
    if end > MAX_HEADERS_LEN {
        return Err(ElfError::HeadersTooFar(u64::try_from(end).unwrap_or(u64::MAX)));
    }
    Ok(end.max(EHDR_LEN))
}
