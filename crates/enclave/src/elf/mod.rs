//! Reading programs: ELF headers, `#!` lines, unwind tables, and the first stack of a process.
//!
//! Everything here is pure: bytes in, values out. Every byte of a file is taken as hostile; work is linear in what is
//! given, and nothing panics. Only 64-bit little-endian x86-64 files of type `ET_EXEC` and `ET_DYN` are programs here.
//!
//! ```
//! # use casemate_enclave::elf;
//! # fn load(file: &[u8]) -> Result<(), elf::ElfError> {
//! let len = u64::try_from(file.len()).unwrap_or(u64::MAX);
//! let headers = elf::Elf::headers_len(file.get(..64).unwrap_or(file))?;
//! let program = elf::parse(file.get(..headers).unwrap_or(file), len)?;
//! for segment in &program.segments {
//!     println!("{:#x}..{:#x}", segment.address, segment.address + segment.mem_size);
//! }
//! # Ok(())
//! # }
//! ```

mod eh_frame;
mod error;
mod header;
mod segment;
mod shebang;
pub mod stack;

pub use eh_frame::function_starts;
pub use error::{ElfError, SegmentProblem};
pub use header::{EHDR_LEN, Elf, MAX_HEADERS_LEN, MAX_INTERPRETER_LEN, MAX_SPAN, parse};
pub use segment::{FileRange, Kind, MemoryRange, Segment};
pub use shebang::{SHEBANG_LEN, shebang};
