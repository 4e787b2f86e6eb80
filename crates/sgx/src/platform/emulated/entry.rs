//! The instructions that enter and leave: EENTER, ERESUME and EEXIT in software, and the way out after an AEX.
//!
//! Everything between `casemate_sgx_edge_start` and `_end`, and an enclave's thunk, may run with the enclave's FS and GS
//! bases; a signal handler that interrupts it there must not trust them.

use std::arch::global_asm;
use std::ffi::c_void;
use std::mem::offset_of;

use super::thread::Thread;
use crate::arch::Gprsgx;
use crate::platform::Registers;

global_asm!(
    ".pushsection .text.casemate_sgx_entry, \"ax\", @progbits",
    ".globl casemate_sgx_edge_start",
    "casemate_sgx_edge_start:",
    // What an entry keeps of the host: its registers, its stack, its segment bases. rdi = the thread, rsi = the registers.
    ".macro casemate_save_host",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rsi",
    "push rdi",
    "mov rbp, rsp",
    "mov [rdi + {host_rsp}], rsp",
    "rdfsbase rax",
    "mov [rdi + {host_fs}], rax",
    "rdgsbase rax",
    "mov [rdi + {host_gs}], rax",
    ".endm",
    // fn(thread: rdi, registers: rsi) -> eax: 0 after EEXIT, 1 after an exception.
    ".balign 16",
    ".globl casemate_sgx_enter",
    "casemate_sgx_enter:",
    "casemate_save_host",
    "mov r12, rdi",
    "mov r13, rsi",
    // Also from a signal handler that wants an entry: r12 the thread, r13 the registers, rsp and rbp the frame above.
    ".globl casemate_sgx_enter_again",
    "casemate_sgx_enter_again:",
    "mov rax, [r12 + {gprsgx}]",
    "mov [rax + {ursp}], rsp",
    "mov [rax + {urbp}], rbp",
    "mov rax, [r12 + {cssa}]",
    "mov rbx, [r12 + {tcs}]",
    "lea rcx, [rip + casemate_sgx_returned]",
    "mov r11, [r12 + {entry}]",
    "mov r10, [r12 + {enclave_fs}]",
    "mov r14, [r12 + {enclave_gs}]",
    "mov rdi, [r13 + {rdi}]",
    "mov rsi, [r13 + {rsi}]",
    "mov rdx, [r13 + {rdx}]",
    "mov r8, [r13 + {r8}]",
    "mov r9, [r13 + {r9}]",
    "cmp qword ptr [r12 + {step}], 0",
    "wrfsbase r10",
    "wrgsbase r14",
    "jne 2f",
    "jmp r11",
    "2:",
    "pushfq",
    "or qword ptr [rsp], 0x100",
    "popfq",
    "jmp r11",
    // Where EEXIT goes. rcx is the asynchronous exit pointer, for which the emulator gives the thread.
    ".balign 16",
    "casemate_sgx_returned:",
    "mov rsp, [rcx + {host_rsp}]",
    // EEXIT gives RFLAGS.TF back as it was at EENTER.
    "cmp qword ptr [rcx + {step}], 0",
    "je 7f",
    "pushfq",
    "and qword ptr [rsp], -0x101",
    "popfq",
    "7:",
    "mov rax, [rsp + 8]",
    "mov [rax + {rdi}], rdi",
    "mov [rax + {rsi}], rsi",
    "mov [rax + {rdx}], rdx",
    "mov [rax + {r8}], r8",
    "mov [rax + {r9}], r9",
    "xor eax, eax",
    "jmp 3f",
    // Where an exception leads after its AEX, with rsp the host's.
    ".globl casemate_sgx_excepted",
    "casemate_sgx_excepted:",
    "mov eax, 1",
    "3:",
    "cld",
    "add rsp, 16",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    // fn(thread: rdi, registers: rsi) -> eax, as above: ERESUME of the frame at `frame`.
    ".balign 16",
    ".globl casemate_sgx_resume",
    "casemate_sgx_resume:",
    "casemate_save_host",
    "mov rbx, [rdi + {gprsgx}]",
    "mov [rbx + {ursp}], rsp",
    "mov [rbx + {urbp}], rbp",
    "mov rcx, [rdi + {frame}]",
    "mov eax, [rdi + {xfrm}]",
    "mov edx, [rdi + {xfrm} + 4]",
    "xrstor64 [rcx]",
    "mov eax, ss",
    "push rax",
    "push [rbx + {rsp}]",
    "push [rbx + {rflags}]",
    "mov eax, cs",
    "push rax",
    "push [rbx + {rip}]",
    "mov rax, [rdi + {enclave_fs}]",
    "mov rcx, [rdi + {enclave_gs}]",
    // GPRSGX begins with rax rcx rdx rbx rsp rbp rsi rdi r8..r15, eight bytes each.
    "push [rbx + 0x00]",
    "push [rbx + 0x08]",
    "push [rbx + 0x10]",
    "push [rbx + 0x18]",
    "push [rbx + 0x28]",
    "push [rbx + 0x30]",
    "push [rbx + 0x38]",
    "push [rbx + 0x40]",
    "push [rbx + 0x48]",
    "push [rbx + 0x50]",
    "push [rbx + 0x58]",
    "push [rbx + 0x60]",
    "push [rbx + 0x68]",
    "push [rbx + 0x70]",
    "push [rbx + 0x78]",
    "wrfsbase rax",
    "wrgsbase rcx",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdi",
    "pop rsi",
    "pop rbp",
    "pop rbx",
    "pop rdx",
    "pop rcx",
    "pop rax",
    "iretq",
    // EEXIT from the patched stub: rax the thread, rbx the target. rcx is free: it becomes the exit pointer.
    ".balign 16",
    ".globl casemate_sgx_eexit",
    "casemate_sgx_eexit:",
    "mov rcx, [rax + {host_fs}]",
    "wrfsbase rcx",
    "mov rcx, [rax + {host_gs}]",
    "wrgsbase rcx",
    "mov rcx, [rax + {busy}]",
    "mov dword ptr [rcx], 0",
    "mov rcx, rax",
    "mov eax, 4",
    "jmp rbx",
    // Every other leaf from the patched stub: rax the thread, its `leaf` the number. Returns with `ret` for the stub.
    ".balign 16",
    ".globl casemate_sgx_leaf",
    "casemate_sgx_leaf:",
    "mov [rax + {saved} + 0x08], rcx",
    "mov [rax + {saved} + 0x10], rdx",
    "mov [rax + {saved} + 0x18], rbx",
    "mov [rax + {saved} + 0x20], rsp",
    "mov [rax + {saved} + 0x28], rbp",
    "mov [rax + {saved} + 0x30], rsi",
    "mov [rax + {saved} + 0x38], rdi",
    "mov [rax + {saved} + 0x40], r8",
    "mov [rax + {saved} + 0x48], r9",
    "mov [rax + {saved} + 0x50], r10",
    "mov [rax + {saved} + 0x58], r11",
    "mov [rax + {saved} + 0x60], r12",
    "mov [rax + {saved} + 0x68], r13",
    "mov [rax + {saved} + 0x70], r14",
    "mov [rax + {saved} + 0x78], r15",
    "mov rbx, rax",
    "mov rax, [rbx + {leaf}]",
    "mov [rbx + {saved}], rax",
    "mov rsp, [rbx + {host_rsp}]",
    "sub rsp, 256",
    "and rsp, -16",
    "pushfq",
    "pop qword ptr [rbx + {thread_rflags}]",
    "rdfsbase rcx",
    "mov [rbx + {enclave_fs}], rcx",
    "rdgsbase rcx",
    "mov [rbx + {enclave_gs}], rcx",
    "mov rcx, [rbx + {host_fs}]",
    "wrfsbase rcx",
    "mov rcx, [rbx + {host_gs}]",
    "wrgsbase rcx",
    // DF, AC and TF of the enclave's are not for the code below.
    "push 0x202",
    "popfq",
    "mov eax, 0xe7",
    "xor edx, edx",
    "xsave64 [rbx]",
    "mov rdi, rbx",
    "call {emulate_leaf}",
    "test eax, eax",
    "jnz 4f",
    "mov eax, 0xe7",
    "xor edx, edx",
    "xrstor64 [rbx]",
    "mov rcx, [rbx + {enclave_fs}]",
    "wrfsbase rcx",
    "mov rcx, [rbx + {enclave_gs}]",
    "wrgsbase rcx",
    "push qword ptr [rbx + {thread_rflags}]",
    "popfq",
    "mov rax, [rbx + {saved}]",
    "mov rcx, [rbx + {saved} + 0x08]",
    "mov rdx, [rbx + {saved} + 0x10]",
    "mov rsp, [rbx + {saved} + 0x20]",
    "mov rbp, [rbx + {saved} + 0x28]",
    "mov rsi, [rbx + {saved} + 0x30]",
    "mov rdi, [rbx + {saved} + 0x38]",
    "mov r8, [rbx + {saved} + 0x40]",
    "mov r9, [rbx + {saved} + 0x48]",
    "mov r10, [rbx + {saved} + 0x50]",
    "mov r11, [rbx + {saved} + 0x58]",
    "mov r12, [rbx + {saved} + 0x60]",
    "mov r13, [rbx + {saved} + 0x68]",
    "mov r14, [rbx + {saved} + 0x70]",
    "mov r15, [rbx + {saved} + 0x78]",
    "mov rbx, [rbx + {saved} + 0x18]",
    "ret",
    "4:",
    "mov rsp, [rbx + {host_rsp}]",
    "jmp casemate_sgx_excepted",
    ".globl casemate_sgx_edge_end",
    "casemate_sgx_edge_end:",
    // The thunk that a stub is patched to jump to. Copied once an enclave, the three constants filled in: what lies
    // between GS and the slot with the thread, and the two addresses above. Only rax is free, once the leaf is known.
    ".balign 16",
    ".globl casemate_sgx_thunk",
    "casemate_sgx_thunk:",
    "cmp eax, 4",
    "jne 5f",
    "mov rax, [rip + 9f]",
    "mov rax, gs:[rax]",
    "jmp [rip + 10f]",
    ".macro casemate_leaf number",
    "cmp eax, \\number",
    "jne 6f",
    "mov rax, [rip + 9f]",
    "mov rax, gs:[rax]",
    "mov qword ptr [rax + {leaf}], \\number",
    "jmp [rip + 11f]",
    "6:",
    ".endm",
    "5:",
    "casemate_leaf 5",
    "casemate_leaf 6",
    "casemate_leaf 0",
    "casemate_leaf 1",
    "casemate_leaf 7",
    "casemate_leaf 9",
    "mov rax, [rip + 9f]",
    "mov rax, gs:[rax]",
    "mov qword ptr [rax + {leaf}], -1",
    "jmp [rip + 11f]",
    ".balign 8",
    ".globl casemate_sgx_thunk_constants",
    "casemate_sgx_thunk_constants:",
    "9: .quad 0",
    "10: .quad 0",
    "11: .quad 0",
    ".globl casemate_sgx_thunk_end",
    "casemate_sgx_thunk_end:",
    ".popsection",
    host_rsp = const offset_of!(Thread, host_rsp),
    host_fs = const offset_of!(Thread, host_fs),
    host_gs = const offset_of!(Thread, host_gs),
    enclave_fs = const offset_of!(Thread, enclave_fs),
    enclave_gs = const offset_of!(Thread, enclave_gs),
    entry = const offset_of!(Thread, entry),
    tcs = const offset_of!(Thread, tcs),
    cssa = const offset_of!(Thread, cssa),
    gprsgx = const offset_of!(Thread, gprsgx),
    frame = const offset_of!(Thread, frame),
    xfrm = const offset_of!(Thread, xfrm),
    busy = const offset_of!(Thread, busy),
    leaf = const offset_of!(Thread, leaf),
    saved = const offset_of!(Thread, saved),
    thread_rflags = const offset_of!(Thread, rflags),
    step = const offset_of!(Thread, step),
    ursp = const offset_of!(Gprsgx, ursp),
    urbp = const offset_of!(Gprsgx, urbp),
    rsp = const offset_of!(Gprsgx, rsp),
    rip = const offset_of!(Gprsgx, rip),
    rflags = const offset_of!(Gprsgx, rflags),
    rdi = const offset_of!(Registers, rdi),
    rsi = const offset_of!(Registers, rsi),
    rdx = const offset_of!(Registers, rdx),
    r8 = const offset_of!(Registers, r8),
    r9 = const offset_of!(Registers, r9),
    emulate_leaf = sym super::leaf::emulate_leaf,
);

unsafe extern "C" {
    /// EENTER, as the [`Thread`] says. Returns 0 after EEXIT, with the registers stored, 1 after an exception.
    pub(super) fn casemate_sgx_enter(thread: *mut c_void, registers: *mut Registers) -> u32;
    /// ERESUME, likewise.
    pub(super) fn casemate_sgx_resume(thread: *mut c_void, registers: *mut Registers) -> u32;

    static casemate_sgx_edge_start: u8;
    static casemate_sgx_edge_end: u8;
    static casemate_sgx_enter_again: u8;
    static casemate_sgx_excepted: u8;
    static casemate_sgx_eexit: u8;
    static casemate_sgx_leaf: u8;
    static casemate_sgx_thunk: u8;
    static casemate_sgx_thunk_constants: u8;
    static casemate_sgx_thunk_end: u8;
}

/// Addresses of the labels above.
macro_rules! address {
    ($label:ident) => {
        (&raw const $label).expose_provenance() as u64
    };
}

/// Whether the emulator's own instructions at `rip` may run with the enclave's segment bases.
pub(super) fn is_edge(rip: u64) -> bool {
    (address!(casemate_sgx_edge_start)..address!(casemate_sgx_edge_end)).contains(&rip)
}

/// Where a thread goes that shall report an exception; RSP must be the host's.
pub(super) fn excepted() -> u64 {
    address!(casemate_sgx_excepted)
}

/// Where a thread goes that shall enter again: R12 the thread, R13 the registers, RSP and RBP the host's.
pub(super) fn enter_again() -> u64 {
    address!(casemate_sgx_enter_again)
}

/// The thunk's code for an enclave whose thread slots lie `distance` bytes beyond its GS bases.
pub(super) fn thunk(distance: u64) -> Vec<u8> {
    let start = address!(casemate_sgx_thunk);
    let length = address!(casemate_sgx_thunk_end) - start;
    let constants = address!(casemate_sgx_thunk_constants) - start;
    let mut code = vec![0; crate::platform::memory::size(length)];
    let source = &raw const casemate_sgx_thunk;
    // SAFETY: the template lies between the two labels of the block above, in this program's text.
    unsafe { source.copy_to_nonoverlapping(code.as_mut_ptr(), code.len()) };
    let values = [distance, address!(casemate_sgx_eexit), address!(casemate_sgx_leaf)];
    let constants = &mut code[crate::platform::memory::size(constants)..];
    for (place, value) in constants.chunks_exact_mut(8).zip(values) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    code
}
