//! System calls about files, as the kernel has them, over a host that is played by this process.
//!
//! The kernel's own sources are compiled in; what touches the processor, the scheduler and guest memory is replaced by what
//! a process of Linux has. Guest memory is the memory of this process.

#![expect(
    dead_code,
    unused_imports,
    unused_qualifications,
    reason = "the sources of a kernel without std, of which only a part is here"
)]

extern crate alloc;

mod arch;
mod calls;
mod clock;
mod cpuid;
mod family;
#[path = "../../src/kernel/fs/mod.rs"]
mod fs;
mod host;
mod net;
mod process;
mod sched;
mod signal;
mod syscall;
mod timers;
mod user;

mod against_linux;
mod descriptors;
mod host_files;
mod identity;
mod memory_files;
mod pipes;
mod polling;
mod synthetic;
