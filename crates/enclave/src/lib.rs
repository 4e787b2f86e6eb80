//! The kernel inside the enclave.

#![no_std]

extern crate alloc;

pub mod elf;
pub mod mm;
pub mod rewrite;
pub mod vfs;
