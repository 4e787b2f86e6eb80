//! The image that runs inside the enclave: a kernel for one unmodified Linux program.
//!
//! The machine-independent parts are in the library of this crate, and are safe code. Here is what touches the processor,
//! the host and guest memory.

#![no_std]
#![no_main]

extern crate alloc;

mod arch;
mod boot;
mod clock;
mod cpuid;
mod exception;
mod family;
mod fault;
mod fs;
mod heap;
mod host;
mod loader;
mod memory;
mod net;
mod panic;
mod process;
mod sched;
mod shared;
mod signal;
mod stats;
mod syscall;
mod timers;
mod user;
mod vdso;
