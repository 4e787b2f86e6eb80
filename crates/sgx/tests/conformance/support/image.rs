//! The program inside: a few operations in assembly, position independent, with its one ENCLU in the padded stub.
//!
//! Entered with the operation in RDI and arguments in RSI, RDX, R8 and R9; answers in the same registers. Each level of
//! CSSA has a stack and a record of the entry of its own, both found from GS, so that every operation works at every
//! level.
//!
//! What lies at GS, in bytes: 0x80 the working state of `PATTERN`; 0x100 + 128 * level the record of an entry (RAX, RBX,
//! RCX, RSP, RBP, RFLAGS); 0x300 registers after an instruction under test, 0x380 its flags, 0x400 its XSAVE area;
//! 0x6000 + 4096 * level the top of a stack.

use std::arch::global_asm;

global_asm!(
    ".pushsection .rodata.casemate_conformance, \"a\", @progbits",
    ".balign 4096",
    ".globl casemate_conformance_start",
    "casemate_conformance_start:",
    // No instruction before the record of the flags may change them.
    "lea r10, [rax * 8]",
    "lea r10, [r10 * 8]",
    "lea r10, [r10 * 2]",
    "mov gs:[r10 + 0x100], rax",
    "mov gs:[r10 + 0x108], rbx",
    "mov gs:[r10 + 0x110], rcx",
    "mov gs:[r10 + 0x118], rsp",
    "mov gs:[r10 + 0x120], rbp",
    "rdgsbase r11",
    "lea rbp, [r10 * 8]",
    "lea rbp, [rbp * 4]",
    "lea rsp, [r11 + rbp + 0x6000]",
    "pushfq",
    "pop qword ptr gs:[r10 + 0x128]",
    "cld",
    "mov r15, r10",
    "cmp rdi, 12",
    "jae 40f",
    "lea r11, [rip + 20f]",
    "movsxd r10, dword ptr [r11 + rdi * 4]",
    "add r10, r11",
    "jmp r10",
    ".balign 4",
    "20:",
    ".long 40f - 20b",
    ".long 21f - 20b",
    ".long 22f - 20b",
    ".long 23f - 20b",
    ".long 24f - 20b",
    ".long 25f - 20b",
    ".long 26f - 20b",
    ".long 27f - 20b",
    ".long 28f - 20b",
    ".long 29f - 20b",
    ".long 31f - 20b",
    ".long 32f - 20b",
    // Leaves: NOP, and the end of every operation.
    "40:",
    "mov rbx, gs:[r15 + 0x110]",
    "mov rsp, gs:[r15 + 0x118]",
    "mov rbp, gs:[r15 + 0x120]",
    "mov eax, 4",
    "jmp casemate_conformance_stub",
    // PUT: [rsi] = rdx.
    "21:",
    ".globl casemate_conformance_put",
    "casemate_conformance_put:",
    "mov [rsi], rdx",
    "jmp 40b",
    // GET: rdx = [rsi].
    "22:",
    ".globl casemate_conformance_get",
    "casemate_conformance_get:",
    "mov rdx, [rsi]",
    "jmp 40b",
    // ENTRY: the record of this entry, and FS and GS bases, to [rsi].
    "23:",
    "lea r9, [r15 + 0x100]",
    "xor ecx, ecx",
    "2:",
    "mov r10, gs:[r9 + rcx * 8]",
    "mov [rsi + rcx * 8], r10",
    "inc ecx",
    "cmp ecx, 6",
    "jne 2b",
    "rdfsbase r10",
    "mov [rsi + 48], r10",
    "rdgsbase r10",
    "mov [rsi + 56], r10",
    "jmp 40b",
    // ENCLU: leaf rsi with rbx = rdx, rcx = r8, rdx = r9; answers rsi = rax, rdx = flags.
    "24:",
    "mov rax, rsi",
    "mov rbx, rdx",
    "mov rcx, r8",
    "mov rdx, r9",
    "call casemate_conformance_stub",
    "33:",
    "pushfq",
    "pop rdx",
    "mov rsi, rax",
    "jmp 40b",
    // COPY: r8 bytes from [rsi] to [rdx].
    "25:",
    "mov rcx, r8",
    "mov rdi, rdx",
    "rep movsb",
    "jmp 40b",
    // PATTERN: loads the registers of the block at rsi and executes instruction under test rdx.
    "26:",
    "mov gs:[0x90], r15",
    "mov gs:[0x98], rsp",
    "shl rdx, 4",
    "lea r11, [rip + casemate_conformance_kinds]",
    "add r11, rdx",
    "mov gs:[0x80], r11",
    "mov rax, [rsi + 0x1088]",
    "mov gs:[0x88], rax",
    "mov edx, gs:[0x8c]",
    "xrstor64 [rsi]",
    "push qword ptr [rsi + 0x1080]",
    "popfq",
    "mov rax, [rsi + 0x1000]",
    "mov rcx, [rsi + 0x1008]",
    "mov rdx, [rsi + 0x1010]",
    "mov rbx, [rsi + 0x1018]",
    "mov rsp, [rsi + 0x1020]",
    "mov rbp, [rsi + 0x1028]",
    "mov rdi, [rsi + 0x1038]",
    "mov r8, [rsi + 0x1040]",
    "mov r9, [rsi + 0x1048]",
    "mov r10, [rsi + 0x1050]",
    "mov r11, [rsi + 0x1058]",
    "mov r12, [rsi + 0x1060]",
    "mov r13, [rsi + 0x1068]",
    "mov r14, [rsi + 0x1070]",
    "mov r15, [rsi + 0x1078]",
    "mov rsi, [rsi + 0x1030]",
    "jmp gs:[0x80]",
    // CHECKSUM: of rdx words at [rsi], r8 times over; answers rdx and r8.
    "27:",
    "xor eax, eax",
    "pxor xmm0, xmm0",
    "2:",
    "mov rcx, rdx",
    "mov r9, rsi",
    "3:",
    "mov r10, [r9]",
    "add rax, r10",
    "push rax",
    "rol rax, 7",
    "movq xmm1, r10",
    "paddq xmm0, xmm1",
    "pop r11",
    "xor rax, r11",
    "add r9, 8",
    "dec rcx",
    "jnz 3b",
    "dec r8",
    "jnz 2b",
    "mov rdx, rax",
    "movq r8, xmm0",
    "jmp 40b",
    // SPIN: counts at [rsi + 8] until [rsi] is not zero.
    "28:",
    "inc qword ptr [rsi + 8]",
    "cmp qword ptr [rsi], 0",
    "je 28b",
    "jmp 40b",
    // DECCSSA: a level down by EDECCSSA; then UD2 where rsi, else out by the record of the level below.
    "29:",
    "mov r14, rsi",
    "mov eax, 9",
    "call casemate_conformance_stub",
    "sub r15, 128",
    "test r14, r14",
    "jz 40b",
    ".globl casemate_conformance_decremented",
    "casemate_conformance_decremented:",
    "ud2",
    "jmp 40b",
    // PAGES: writes the address of each of rdx pages at [rsi] into it.
    "31:",
    "mov [rsi], rsi",
    "add rsi, 4096",
    "dec rdx",
    "jnz 31b",
    "jmp 40b",
    // RAW: as ENCLU, by an instruction that is not in the stub.
    "32:",
    "mov rax, rsi",
    "mov rbx, rdx",
    "mov rcx, r8",
    "mov rdx, r9",
    "enclu",
    "jmp 33b",
    // Behind an instruction under test: keeps what it left.
    ".globl casemate_conformance_after",
    "casemate_conformance_after:",
    "mov gs:[0x300], rax",
    "mov gs:[0x308], rcx",
    "mov gs:[0x310], rdx",
    "mov gs:[0x318], rbx",
    "mov gs:[0x320], rsp",
    "mov gs:[0x328], rbp",
    "mov gs:[0x330], rsi",
    "mov gs:[0x338], rdi",
    "mov gs:[0x340], r8",
    "mov gs:[0x348], r9",
    "mov gs:[0x350], r10",
    "mov gs:[0x358], r11",
    "mov gs:[0x360], r12",
    "mov gs:[0x368], r13",
    "mov gs:[0x370], r14",
    "mov gs:[0x378], r15",
    "mov rsp, gs:[0x98]",
    "pushfq",
    "pop qword ptr gs:[0x380]",
    "push 2",
    "popfq",
    "mov eax, gs:[0x88]",
    "mov edx, gs:[0x8c]",
    "xsave64 gs:[0x400]",
    "fninit",
    "mov dword ptr gs:[0xa0], 0x1f80",
    "ldmxcsr gs:[0xa0]",
    "mov r15, gs:[0x90]",
    "jmp 40b",
    // Instructions under test, sixteen bytes each.
    ".macro casemate_kind instruction:vararg",
    ".balign 16, 0xcc",
    "\\instruction",
    "jmp casemate_conformance_after",
    ".endm",
    ".balign 16, 0xcc",
    ".globl casemate_conformance_kinds",
    "casemate_conformance_kinds:",
    "casemate_kind nop",
    "casemate_kind ud2",
    "casemate_kind div qword ptr gs:[0xf0]",
    "casemate_kind int3",
    "casemate_kind mov [rbx], rcx",
    "casemate_kind mov rcx, [rbx]",
    "casemate_kind hlt",
    "casemate_kind syscall",
    "casemate_kind int 0x80",
    "casemate_kind divss xmm0, xmm1",
    "casemate_kind fwait",
    "casemate_kind in al, dx",
    "casemate_kind jmp rbx",
    "casemate_kind jmp [rbx]",
    "casemate_kind int 0x21",
    ".balign 16, 0xcc",
    ".globl casemate_conformance_stub",
    "casemate_conformance_stub:",
    "enclu",
    "ret",
    ".fill 12, 1, 0xcc",
    ".balign 4096, 0xcc",
    ".globl casemate_conformance_end",
    "casemate_conformance_end:",
    ".popsection",
);

unsafe extern "C" {
    static casemate_conformance_start: u8;
    static casemate_conformance_put: u8;
    static casemate_conformance_get: u8;
    static casemate_conformance_decremented: u8;
    static casemate_conformance_after: u8;
    static casemate_conformance_kinds: u8;
    static casemate_conformance_stub: u8;
    static casemate_conformance_end: u8;
}

/// Offset of a label in the program.
macro_rules! offset {
    ($label:ident) => {
        (&raw const $label).addr() - (&raw const casemate_conformance_start).addr()
    };
}

/// What the program can be asked for, in RDI.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// Nothing.
    Nop = 0,
    /// `[rsi] = rdx`.
    Put = 1,
    /// `rdx = [rsi]`.
    Get = 2,
    /// The record of this entry to `[rsi]`.
    Entry = 3,
    /// ENCLU by the stub.
    Enclu = 4,
    /// Copies memory.
    Copy = 5,
    /// An instruction under test, on known registers.
    Pattern = 6,
    /// A checksum.
    Checksum = 7,
    /// Waits for a word.
    Spin = 8,
    /// EDECCSSA.
    Deccssa = 9,
    /// Touches pages.
    Pages = 10,
    /// ENCLU outside the stub.
    Raw = 11,
}

/// Instructions under test, in their order in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nop = 0,
    Ud2 = 1,
    DivideByZero = 2,
    Int3 = 3,
    /// `[rbx] = rcx`
    Store = 4,
    /// `rcx = [rbx]`
    Load = 5,
    Hlt = 6,
    Syscall = 7,
    Int80 = 8,
    /// `divss xmm0, xmm1`
    DivideSingle = 9,
    /// Raises what the x87 has pending.
    Fwait = 10,
    In = 11,
    /// `jmp rbx`
    Jump = 12,
    /// `jmp [rbx]`: stays where it is for as long as that is what `[rbx]` says.
    JumpThere = 13,
    Int21 = 14,
}

/// The program's bytes, whole pages.
pub(crate) fn code() -> &'static [u8] {
    let length = offset!(casemate_conformance_end);
    // SAFETY: the block above lies between the two labels, in this program's read-only data.
    unsafe { std::slice::from_raw_parts(&raw const casemate_conformance_start, length) }
}

fn at(offset: usize) -> u64 {
    u64::try_from(offset).expect("64-bit")
}

/// Offset of the ENCLU stub.
pub(crate) fn stub() -> u64 {
    at(offset!(casemate_conformance_stub))
}

/// Offset of the store of `Put`.
pub(crate) fn put() -> u64 {
    at(offset!(casemate_conformance_put))
}

/// Offset of the load of `Get`.
pub(crate) fn get() -> u64 {
    at(offset!(casemate_conformance_get))
}

/// Offset of the UD2 of `Deccssa`.
pub(crate) fn decremented() -> u64 {
    at(offset!(casemate_conformance_decremented))
}

/// Offset of what follows an instruction under test.
pub(crate) fn after() -> u64 {
    at(offset!(casemate_conformance_after))
}

/// Offset of an instruction under test.
pub(crate) fn kind(kind: Kind) -> u64 {
    at(offset!(casemate_conformance_kinds) + 16 * kind as usize)
}
