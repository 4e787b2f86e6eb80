//! The parts of the kernel inside the enclave that touch nothing but memory of their own: safe code, tested outside.
//!
//! The machine, which is the rest, is the binary of this crate (`src/kernel`).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod elf;
pub mod mm;
pub mod rewrite;
pub mod vfs;
