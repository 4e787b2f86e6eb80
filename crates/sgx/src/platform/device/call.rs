//! Calling `__vdso_sgx_enter_enclave` on the thread's own stack.

use std::arch::global_asm;
use std::mem::offset_of;

use super::stack;
use crate::arch::linux::EnclaveRun;
use crate::arch::{Leaf, Vector};
use crate::platform::{EnterLeaf, Exception, Exit, PlatformError, Registers};

/// What the assembly takes.
#[repr(C)]
#[derive(Debug)]
struct Call {
    /// Top of the stack to call on.
    stack: u64,
    /// Address of `__vdso_sgx_enter_enclave`.
    function: u64,
    /// The structure that it takes on its stack.
    run: *mut EnclaveRun,
    /// ENCLU's leaf.
    leaf: u64,
    /// Passed in, and back.
    registers: Registers,
}

global_asm!(
    // fn(call: rdi) -> eax: what the vDSO's function returns. It keeps RBX and RBP; whatever else changes is the enclave's
    // doing (`vsgx.S`), so nothing is kept in a register.
    ".pushsection .text.casemate_sgx_device, \"ax\", @progbits",
    ".balign 16",
    ".globl casemate_sgx_device_call",
    "casemate_sgx_device_call:",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov rax, rsp",
    "mov rsp, [rdi + {stack}]",
    "push rax",
    "push rdi",
    // MXCSR and the x87 control word are the callee's to keep.
    "sub rsp, 8",
    "stmxcsr [rsp]",
    "fnstcw [rsp + 4]",
    "push qword ptr [rdi + {run}]",
    "mov r10, rdi",
    "mov r11, [r10 + {function}]",
    "mov ecx, [r10 + {leaf}]",
    "mov rdi, [r10 + {registers} + {rdi}]",
    "mov rsi, [r10 + {registers} + {rsi}]",
    "mov rdx, [r10 + {registers} + {rdx}]",
    "mov r8, [r10 + {registers} + {r8}]",
    "mov r9, [r10 + {registers} + {r9}]",
    "call r11",
    "add rsp, 8",
    "ldmxcsr [rsp]",
    "fldcw [rsp + 4]",
    "add rsp, 8",
    "pop r10",
    "pop rsp",
    "mov [r10 + {registers} + {rdi}], rdi",
    "mov [r10 + {registers} + {rsi}], rsi",
    "mov [r10 + {registers} + {rdx}], rdx",
    "mov [r10 + {registers} + {r8}], r8",
    "mov [r10 + {registers} + {r9}], r9",
    "cld",
    // Whatever the enclave left in RFLAGS.AC.
    "pushfq",
    "and qword ptr [rsp], -0x40001",
    "popfq",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    ".popsection",
    stack = const offset_of!(Call, stack),
    function = const offset_of!(Call, function),
    run = const offset_of!(Call, run),
    leaf = const offset_of!(Call, leaf),
    registers = const offset_of!(Call, registers),
    rdi = const offset_of!(Registers, rdi),
    rsi = const offset_of!(Registers, rsi),
    rdx = const offset_of!(Registers, rdx),
    r8 = const offset_of!(Registers, r8),
    r9 = const offset_of!(Registers, r9),
);

unsafe extern "C" {
    fn casemate_sgx_device_call(call: *mut Call) -> i32;
}

/// ENCLU's number of the leaf.
fn leaf_number(leaf: EnterLeaf) -> u32 {
    match leaf {
        EnterLeaf::Enter => Leaf::Eenter.raw(),
        EnterLeaf::Resume => Leaf::Eresume.raw(),
    }
}

/// Enters by the TCS at `tcs`, and says how the stay ended.
///
/// # Safety
/// `function` is `__vdso_sgx_enter_enclave` or keeps its contract; the enclave as in [`crate::platform::Enclave::enter`].
pub(super) unsafe fn enter(
    function: u64,
    tcs: u64,
    leaf: EnterLeaf,
    registers: Registers,
) -> Result<Exit, PlatformError> {
    let mut run = EnclaveRun { tcs, ..EnclaveRun::default() };
    let mut call =
        Call { stack: stack::top()?, function, run: &raw mut run, leaf: leaf_number(leaf).into(), registers };
    // SAFETY: the structure is complete, and the caller vouches for what is called.
    let result = unsafe { casemate_sgx_device_call(&raw mut call) };
    if result != 0 {
        let source = std::io::Error::from_raw_os_error(result.saturating_neg());
        return Err(PlatformError::System { what: "__vdso_sgx_enter_enclave", source });
    }
    let leaf = match Leaf::from_raw(run.function) {
        Some(Leaf::Eexit) => return Ok(Exit::Exited(call.registers)),
        Some(Leaf::Eenter) => EnterLeaf::Enter,
        Some(Leaf::Eresume) => EnterLeaf::Resume,
        _ => return Err(PlatformError::State("left by a leaf that does not exist")),
    };
    // Every vector that the vDSO reports fits.
    let vector = u8::try_from(run.exception_vector).unwrap_or(u8::MAX);
    let error_code = run.exception_error_code;
    // Only a page fault has an address; the kernel passes on what CR2 holds.
    let address = if vector == Vector::PF.0 { run.exception_addr } else { 0 };
    Ok(Exit::Exception(Exception { leaf, vector, error_code, address }))
}

#[cfg(test)]
mod tests {
    use super::*;

    global_asm!(
        ".pushsection .text.casemate_sgx_device_test, \"ax\", @progbits",
        // Stands in for the vDSO's function: an enclave that changes every register that it may, and leaves.
        ".globl casemate_sgx_fake_exit",
        "casemate_sgx_fake_exit:",
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "mov rax, [rbp + 16]",
        "mov dword ptr [rax + 8], 4",
        // The leaf and the stack's alignment are told in R8 and R9.
        "mov r8d, ecx",
        "mov r9, rsp",
        "and r9, 15",
        "lea rdi, [rdi + 1]",
        "lea rsi, [rsi + 2]",
        "mov rdx, rbp",
        "mov r10, -1",
        "mov r11, -1",
        "mov r12, -1",
        "mov r13, -1",
        "mov r14, -1",
        "mov r15, -1",
        "mov rcx, -1",
        "push 0x1f80 + 0x6000",
        "ldmxcsr [rsp]",
        "pop rbx",
        "std",
        "xor eax, eax",
        "pop rbx",
        "leave",
        "ret",
        // One whose stay ends with a page fault.
        ".globl casemate_sgx_fake_fault",
        "casemate_sgx_fake_fault:",
        "mov rax, [rsp + 8]",
        "mov [rax + 8], ecx",
        "mov word ptr [rax + 12], 14",
        "mov word ptr [rax + 14], 0x8007",
        "mov qword ptr [rax + 16], 0x1234",
        "mov rdi, -1",
        "xor eax, eax",
        "ret",
        // One that is refused.
        ".globl casemate_sgx_fake_refusal",
        "casemate_sgx_fake_refusal:",
        "mov eax, -22",
        "ret",
        ".popsection",
    );

    unsafe extern "C" {
        static casemate_sgx_fake_exit: u8;
        static casemate_sgx_fake_fault: u8;
        static casemate_sgx_fake_refusal: u8;
    }

    fn call(function: *const u8, leaf: EnterLeaf, registers: Registers) -> Result<Exit, PlatformError> {
        // SAFETY: the functions above keep the contract.
        unsafe { enter(function.expose_provenance() as u64, 0x5000, leaf, registers) }
    }

    fn mxcsr() -> u32 {
        let mut value = 0_u32;
        // SAFETY: stores four bytes.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack)) };
        value
    }

    #[test]
    fn registers_pass_and_the_stack_is_the_same_each_time() {
        let mut frames = Vec::new();
        let before = mxcsr();
        for leaf in [EnterLeaf::Enter, EnterLeaf::Resume, EnterLeaf::Enter] {
            let registers = Registers { rdi: 10, rsi: 20, ..Registers::default() };
            let exit = call(&raw const casemate_sgx_fake_exit, leaf, registers).unwrap();
            let Exit::Exited(left) = exit else { panic!("{exit:?}") };
            assert_eq!((left.rdi, left.rsi, left.r8), (11, 22, leaf_number(leaf).into()));
            // Two pushes behind an aligned call.
            assert_eq!(left.r9, 8);
            frames.push(left.rdx);
        }
        assert!(frames.iter().all(|frame| *frame == frames[0]));
        assert_eq!(mxcsr() & !0x3f, before & !0x3f);
        let here = &raw const frames;
        assert!((here.addr() as u64).abs_diff(frames[0]) > 4096, "another stack than this one");
        let elsewhere = std::thread::spawn(|| {
            match call(&raw const casemate_sgx_fake_exit, EnterLeaf::Enter, Registers::default()) {
                Ok(Exit::Exited(left)) => left.rdx,
                other => panic!("{other:?}"),
            }
        });
        assert_ne!(elsewhere.join().unwrap(), frames[0]);
    }

    #[test]
    fn an_exception_is_reported() {
        let exit = call(&raw const casemate_sgx_fake_fault, EnterLeaf::Resume, Registers::default()).unwrap();
        let expected = Exception { leaf: EnterLeaf::Resume, vector: 14, error_code: 0x8007, address: 0x1234 };
        assert_eq!(exit, Exit::Exception(expected));
    }

    #[test]
    fn a_refusal_is_an_error() {
        let error =
            call(&raw const casemate_sgx_fake_refusal, EnterLeaf::Enter, Registers::default()).unwrap_err();
        assert!(error.to_string().contains("__vdso_sgx_enter_enclave"), "{error}");
    }
}
