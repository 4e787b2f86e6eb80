//! Runs generated machine code in this process, with every register of our choice, and takes the registers back.
//!
//! The code lives in an [`Arena`]; it must end in [`EXIT`]. The base of `gs`, which nothing else in a Linux process of
//! x86-64 uses, points to a block with the entries that trampolines jump to.

use std::arch::{asm, global_asm};
use std::mem::offset_of;
use std::ptr::{self, NonNull};

use casemate_enclave::rewrite::Entry;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// `jmp *%gs:exit`, the end of every program.
pub(crate) const EXIT: [u8; 8] = [0x65, 0xff, 0x24, 0x25, 32, 0, 0, 0];
/// Where the trampolines jump to.
pub(crate) const ENTRY: Entry = Entry { syscall: 0, cpuid: 8, rdtsc: 16, rdtscp: 24 };

/// Registers at the beginning or the end of a program.
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registers {
    /// rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15: as instructions number them.
    pub(crate) general: [u64; 16],
    pub(crate) flags: u64,
    pub(crate) vector: [u128; 16],
}

/// What `gs` points to. The offsets are those of [`ENTRY`] and [`EXIT`], and of the assembly below.
#[repr(C)]
struct Block {
    entries: [u64; 4],
    exit: u64,
    host_rsp: u64,
    registers: u64,
    target: u64,
    scratch: u64,
    back: u64,
}

const _: () = assert!(offset_of!(Block, exit) == 32 && offset_of!(Block, back) == 72);
const _: () = assert!(offset_of!(Registers, flags) == 128 && offset_of!(Registers, vector) == 144);

global_asm!(
    ".pushsection .text",
    // rdi: registers, rsi: code
    "casemate_test_run:",
    "push rbx; push rbp; push r12; push r13; push r14; push r15",
    "mov gs:[40], rsp",
    "mov gs:[48], rdi",
    "mov gs:[56], rsi",
    ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
    "movdqu xmm\\n, [rdi + 144 + 16 * \\n]",
    ".endr",
    "push [rdi + 128]",
    "popfq",
    "mov rax, [rdi]; mov rcx, [rdi + 8]; mov rdx, [rdi + 16]; mov rbx, [rdi + 24]; mov rsp, [rdi + 32]",
    "mov rbp, [rdi + 40]; mov rsi, [rdi + 48]",
    ".irp n,8,9,10,11,12,13,14,15",
    "mov r\\n, [rdi + 8 * \\n]",
    ".endr",
    "mov rdi, [rdi + 56]",
    "jmp gs:[56]",
    "casemate_test_exit:",
    "mov gs:[64], rdi",
    "mov rdi, gs:[48]",
    "mov [rdi], rax; mov [rdi + 8], rcx; mov [rdi + 16], rdx; mov [rdi + 24], rbx; mov [rdi + 32], rsp",
    "mov [rdi + 40], rbp; mov [rdi + 48], rsi",
    ".irp n,8,9,10,11,12,13,14,15",
    "mov [rdi + 8 * \\n], r\\n",
    ".endr",
    "mov rax, gs:[64]",
    "mov [rdi + 56], rax",
    "mov rsp, gs:[40]",
    "pushfq",
    "pop [rdi + 128]",
    ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
    "movdqu [rdi + 144 + 16 * \\n], xmm\\n",
    ".endr",
    "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx",
    "ret",
    // What the kernel inside the enclave does at its entries, by the contract in the documentation of `rewrite`.
    "casemate_test_syscall:",
    "mov gs:[72], rcx",
    "syscall",
    "mov rcx, gs:[72]",
    "jmp rcx",
    "casemate_test_cpuid:",
    "mov gs:[72], rbx",
    "cpuid",
    "jmp gs:[72]",
    "casemate_test_rdtsc:",
    "mov gs:[72], rdx",
    "rdtsc",
    "jmp gs:[72]",
    "casemate_test_rdtscp:",
    "mov gs:[72], rdx",
    "rdtscp",
    "jmp gs:[72]",
    ".popsection",
);

unsafe extern "C" {
    fn casemate_test_run(registers: *mut Registers, code: u64);
    fn casemate_test_exit();
    fn casemate_test_syscall();
    fn casemate_test_cpuid();
    fn casemate_test_rdtsc();
    fn casemate_test_rdtscp();
}

/// Memory for code, its data and its stack, and the block behind `gs`. Belongs to the thread that made it.
pub(crate) struct Arena {
    memory: NonNull<u8>,
    len: usize,
    /// Read and written by the assembly alone, through `gs`.
    _block: Box<Block>,
}

impl Arena {
    pub(crate) fn new(len: usize) -> Self {
        let protection = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let memory = unsafe { mmap_anonymous(ptr::null_mut(), len, protection, MapFlags::PRIVATE) };
        let entry = |function: unsafe extern "C" fn()| (function as *const ()).addr() as u64;
        let block = Box::new(Block {
            entries: [
                entry(casemate_test_syscall),
                entry(casemate_test_cpuid),
                entry(casemate_test_rdtsc),
                entry(casemate_test_rdtscp),
            ],
            exit: entry(casemate_test_exit),
            host_rsp: 0,
            registers: 0,
            target: 0,
            scratch: 0,
            back: 0,
        });
        let result: i64;
        // SAFETY: arch_prctl(ARCH_SET_GS) sets the base of gs, which neither Rust nor the C library uses.
        unsafe {
            asm!("syscall", inlateout("rax") 158_i64 => result, in("rdi") 0x1001, in("rsi") ptr::from_ref(&*block),
                lateout("rcx") _, lateout("r11") _);
        }
        assert_eq!(result, 0, "arch_prctl");
        let memory = NonNull::new(memory.expect("memory that can be executed").cast()).expect("an address");
        Self { memory, len, _block: block }
    }

    pub(crate) fn address(&self) -> u64 {
        self.memory.addr().get() as u64
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is `len` bytes, lives as long as `self`, and is only used through this borrow or by
        // programs, which run under `&mut self` too.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.len) }
    }

    /// Runs the code at `address` from the given registers on; returns those at its end.
    ///
    /// # Safety
    /// The code must end in [`EXIT`], access no memory outside the arena, keep `gs`, and have its stack in the arena.
    pub(crate) unsafe fn run(&mut self, address: u64, registers: &Registers) -> Registers {
        let mut registers = registers.clone();
        // SAFETY: by the contract of this function the code comes back through `casemate_test_exit`, which restores the
        // registers that a C function keeps and the stack.
        unsafe { casemate_test_run(&raw mut registers, address) };
        registers
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing borrows it any more.
        let result = unsafe { munmap(self.memory.as_ptr().cast(), self.len) };
        result.expect("the mapping is there");
    }
}
