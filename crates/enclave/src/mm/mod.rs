//! The address space of the program inside the enclave: which ranges are mapped, with which protection, and
//! which of their pages exist.
//!
//! Layers, from the bottom:
//!
//! | module | what it knows |
//! |---|---|
//! | [`range`], [`prot`], [`error`] | page-aligned ranges, protections, errors and their errno |
//! | [`hardware`] | the trait through which pages are made, changed and taken away |
//! | [`pages`] | the state of every page: committed or not, permissions in the EPCM and at the host |
//! | `memory` | commit, discard and change pages: [`pages`] and [`hardware`] in step |
//! | [`vma`], [`set`], `gaps`, `maps` | the mappings, the holes between them, `/proc/self/maps` |
//! | [`space`] | the system calls on all of that: [`AddressSpace`] |
//!
//! Nothing here locks: whoever calls holds the lock of the address space. Nothing here is `unsafe`: memory itself
//! is touched by the implementation of [`Hardware`] and by the callback of [`AddressSpace::remap`].
//!
//! # What enforces a protection
//! * With EDMM the EPCM does, for writing and executing: a page never has W or X there that its mapping does not
//!   have. The EPCM cannot take R away from a page, so `PROT_NONE` over committed pages is made by the host's page
//!   table and is *advisory*: a host that ignores it lets the program read its own memory, nothing else.
//! * Without EDMM every page was added to the enclave RWX and all protections are made by the host's page table:
//!   advisory. They catch the program's own mistakes, not a hostile host.
//!   The pages were not measured, so each is zeroed before its first use.
//! * On x86 write or execute imply read, here as in Linux.

pub mod error;
pub mod hardware;
pub mod pages;
pub mod prot;
pub mod range;
pub mod set;
pub mod space;
pub mod vma;

mod gaps;
mod maps;
mod memory;

pub use error::{Cause, Fault, FaultOutcome, MapError};
pub use hardware::{Hardware, HwError};
pub use prot::{Access, Prot};
pub use range::{PAGE_SIZE, Range};
pub use set::{Mapping, VmaSet};
pub use space::{AddressSpace, MapFlags, PageCopy, RemapFlags, Remapped, Usage};
pub use vma::{Kind, Vma, VmaFlags};
