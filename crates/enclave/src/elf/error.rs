//! Why a file is no program that can be loaded.

use core::error::Error;
use core::fmt::{self, Display, Formatter};

/// Why a file is no program that can be loaded. Linux answers all of these with `ENOEXEC` or `EINVAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfError {
    /// The first bytes are not those of an ELF file.
    NotElf,
    /// A 32-bit file.
    Class32,
    /// A big-endian file.
    BigEndian,
    /// `e_machine` is not x86-64.
    Machine(u16),
    /// `e_type` is neither `ET_EXEC` nor `ET_DYN`.
    Type(u16),
    /// `e_phentsize` is not that of a 64-bit file.
    HeaderSize(u16),
    /// No program headers, or more than Linux takes.
    HeaderCount(u16),
    /// The program headers do not lie within the first [`MAX_HEADERS_LEN`](super::MAX_HEADERS_LEN) bytes of the file.
    HeadersTooFar(u64),
    /// More of the file is needed; this many bytes from its beginning.
    NeedMore(usize),
    /// Nothing to load.
    NoSegments,
    /// A segment, by its place among the program headers, is wrong.
    Segment(usize, SegmentProblem),
    /// The segments together take more address space than a program may have.
    Span(u64),
    /// The path of the interpreter is empty, too long, or has no end.
    InterpreterPath,
    /// More than one interpreter is named.
    TwoInterpreters,
}

/// What is wrong with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentProblem {
    /// Its bytes end beyond the file.
    BeyondFile,
    /// It is larger in the file than in memory.
    LargerInFile,
    /// Its address plus its size wraps around, or leaves the address space of a program.
    Wraps,
    /// Its alignment is no power of two.
    Alignment(u64),
    /// Address and file offset differ within a page, so that it cannot be mapped.
    Incongruent,
    /// It does not lie above the segment before it.
    Order,
}

impl Display for SegmentProblem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeyondFile => f.write_str("ends beyond the file"),
            Self::LargerInFile => f.write_str("is larger in the file than in memory"),
            Self::Wraps => f.write_str("ends beyond the address space"),
            Self::Alignment(align) => write!(f, "has alignment {align:#x}, which is no power of two"),
            Self::Incongruent => f.write_str("has an address and a file offset that differ within a page"),
            Self::Order => f.write_str("does not lie above the segment before it"),
        }
    }
}

impl Display for ElfError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => f.write_str("not an ELF file"),
            Self::Class32 => f.write_str("32-bit ELF file"),
            Self::BigEndian => f.write_str("big-endian ELF file"),
            Self::Machine(machine) => match machine_name(*machine) {
                Some(name) => write!(f, "ELF file for another machine ({name})"),
                None => write!(f, "ELF file for another machine (number {machine})"),
            },
            Self::Type(kind) => match kind {
                1 => f.write_str("ELF object file, not a program"),
                4 => f.write_str("ELF core dump, not a program"),
                _ => write!(f, "ELF file of type {kind}, not a program"),
            },
            Self::HeaderSize(size) => write!(f, "ELF file with program headers of {size} bytes, expected 56"),
            Self::HeaderCount(count) => {
                write!(f, "ELF file with {count} program headers, expected 1 to 1170")
            }
            Self::HeadersTooFar(end) => {
                write!(f, "ELF file whose program headers end at byte {end}, too far")
            }
            Self::NeedMore(len) => write!(f, "ELF file shorter than its headers ({len} bytes)"),
            Self::NoSegments => f.write_str("ELF file without a segment to load"),
            Self::Segment(index, problem) => write!(f, "segment {index} {problem}"),
            Self::Span(span) => write!(f, "segments span {span} bytes, more than a program may have"),
            Self::InterpreterPath => {
                f.write_str("the path of the interpreter is empty, too long or without an end")
            }
            Self::TwoInterpreters => f.write_str("more than one interpreter is named"),
        }
    }
}

impl Error for ElfError {}

/// Names of the machines that are met in practice (`e_machine`, System V ABI, "Machine Information").
fn machine_name(machine: u16) -> Option<&'static str> {
    Some(match machine {
        3 => "i386",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "PowerPC 64",
        22 => "S390",
        40 => "ARM",
        183 => "AArch64",
        243 => "RISC-V",
        247 => "BPF",
        258 => "LoongArch",
        _ => return None,
    })
}
