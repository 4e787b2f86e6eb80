//! Turning instructions that an enclave cannot execute into jumps to the kernel.
//!
//! `syscall` and `cpuid` (and, where wanted, `rdtsc` and `rdtscp`) are illegal in an enclave. Whenever executable pages
//! of a file are mapped, [`scan()`] finds these *sites* and [`apply`] overwrites a *window* of at least five bytes around
//! each with `jmp rel32` to a *trampoline* in the module's *island*. What is not rewritten raises #UD and is served there.
//!
//! Text segments hold tables too. A site is touched only where it is certain that an instruction begins there: see
//! [`Reason::Uncertain`].
//!
//! Only jumps are used, never a call or a push: the program's red zone stays as it is. Nothing but registers that the
//! instruction itself writes is touched, and no flag.
//!
//! # Where the instruction's neighbours go
//! * [`Class::A`]: one preceding instruction of at least five bytes is displaced; the site's own bytes stay, so that a jump
//!   straight to it still traps correctly. Nobody jumps into the middle of an instruction, so this is always safe.
//! * [`Class::B`]: several preceding instructions are displaced. Where they have five bytes the site's own bytes stay, else
//!   they are overwritten too.
//! * [`Class::C`]: the site and the instructions after it are displaced; these run after the kernel's return.
//!
//! B and C are used only if no direct branch of the segment can land inside the window, at whatever alignment its bytes
//! are read (branches from another segment are not looked for: they go to where functions begin). Overwritten bytes behind the jump are `int3`: an indirect jump into a window traps, and
//! [`Island::resume_at`] says where to go on.
//!
//! # Contract of the kernel's entries
//! A trampoline ends in `jmp *%gs:disp32`; [`Entry`] holds the displacements. At an entry every register, the flags and the
//! stack are the program's own, except one register that carries the return address. That register is always one that the
//! instruction writes and does not read:
//!
//! | entry | return address in | the kernel sets | how it returns |
//! |---|---|---|---|
//! | `syscall` | `rcx` | `rax`; `r11` = flags; `rcx` stays | `jmp *%rcx` |
//! | `cpuid` | `rbx` | `eax`, `ebx`, `ecx`, `edx` (upper halves zero) | `jmp *%gs:slot`, where it put `rbx` at entry |
//! | `rdtsc` | `rdx` | `eax`, `edx` (upper halves zero) | likewise, `rdx` |
//! | `rdtscp` | `rdx` | `eax`, `edx`, `ecx` (upper halves zero) | likewise, `rdx` |
//!
//! Flags and all other registers must be as at the entry when it returns.
//!
//! For `syscall`, the two bytes before the return address are always a `syscall` instruction, as Linux has it: the kernel
//! restarts a system call by going on at `rcx - 2` with the number in `rax`. That instruction traps and is served. Where the
//! original `syscall` was overwritten, the return address is in the island, behind such an instruction; the code there
//! first sets `rcx` to the original address, so that the program sees what it saw natively.
//! [`Island::original_of`] turns an address in the island into the original one, for signal frames and fault reports.

mod branches;
mod emit;
mod error;
mod island;
mod plan;
mod scan;
mod sweep;

pub use error::RewriteError;
pub use island::{Entry, Island, Patched, apply};
pub use plan::{Class, Left, MAX_SITES, Plan, Reason, Site, SiteKind, Wanted, island_size};
pub use scan::scan;
