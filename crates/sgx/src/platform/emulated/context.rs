//! The registers of the code that a signal interrupted, as the kernel keeps them on the signal stack.

use super::signal::Fault;
use crate::arch::{Gprsgx, Vector};

/// `struct _fpx_sw_bytes` in the legacy XSAVE area: where it lies, and its magic (`arch/x86/include/uapi/asm/sigcontext.h`).
const SW_BYTES: usize = 464;
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;

/// MXCSR and x87 control word in their initial state.
const MXCSR_INIT: u32 = 0x1f80;
const FCW_INIT: u16 = 0x37f;

/// The context that a handler was given.
#[repr(transparent)]
pub(super) struct Context(libc::ucontext_t);

impl Context {
    /// # Safety
    /// `context` is a handler's third argument, used by nobody else until the handler returns.
    pub(super) unsafe fn new<'a>(context: *mut libc::c_void) -> &'a mut Self {
        // SAFETY: the caller's; the type is transparent.
        unsafe { &mut *context.cast::<Self>() }
    }

    fn register(&self, index: i32) -> u64 {
        self.0.uc_mcontext.gregs[usize::try_from(index).expect("an index")].cast_unsigned()
    }

    pub(super) fn set(&mut self, index: i32, value: u64) {
        self.0.uc_mcontext.gregs[usize::try_from(index).expect("an index")] = value.cast_signed();
    }

    pub(super) fn rip(&self) -> u64 {
        self.register(libc::REG_RIP)
    }

    /// The general registers as GPRSGX has them.
    pub(super) fn registers(&self) -> Gprsgx {
        Gprsgx {
            rax: self.register(libc::REG_RAX),
            rcx: self.register(libc::REG_RCX),
            rdx: self.register(libc::REG_RDX),
            rbx: self.register(libc::REG_RBX),
            rsp: self.register(libc::REG_RSP),
            rbp: self.register(libc::REG_RBP),
            rsi: self.register(libc::REG_RSI),
            rdi: self.register(libc::REG_RDI),
            r8: self.register(libc::REG_R8),
            r9: self.register(libc::REG_R9),
            r10: self.register(libc::REG_R10),
            r11: self.register(libc::REG_R11),
            r12: self.register(libc::REG_R12),
            r13: self.register(libc::REG_R13),
            r14: self.register(libc::REG_R14),
            r15: self.register(libc::REG_R15),
            rflags: self.register(libc::REG_EFL),
            rip: self.rip(),
            ..Gprsgx::default()
        }
    }

    /// The exception that the kernel turned into this signal; `None` for a signal that somebody sent.
    pub(super) fn fault(&mut self, signal: i32) -> Option<Fault> {
        if signal == libc::SIGSYS {
            // A refused `syscall`: the processor would have raised #UD at it. RCX and R11 are gone, as after any call.
            self.set(libc::REG_RIP, self.rip() - 2);
            return Some(Fault { vector: Vector::UD, error_code: 0, address: 0 });
        }
        let number = u8::try_from(self.register(libc::REG_TRAPNO)).ok()?;
        let vector = Vector(number);
        let expected = match vector {
            Vector::PF => matches!(signal, libc::SIGSEGV | libc::SIGBUS),
            Vector::GP => signal == libc::SIGSEGV,
            Vector::UD => signal == libc::SIGILL,
            Vector::DE | Vector::MF | Vector::XM => signal == libc::SIGFPE,
            Vector::DB | Vector::BP => signal == libc::SIGTRAP,
            Vector::AC => signal == libc::SIGBUS,
            Vector::BR | Vector::CP => signal == libc::SIGSEGV,
            _ => false,
        };
        let address = if vector == Vector::PF { self.register(libc::REG_CR2) } else { 0 };
        let error_code = u32::try_from(self.register(libc::REG_ERR) & 0xffff_ffff).ok()?;
        expected.then_some(Fault { vector, error_code, address })
    }

    /// The XSAVE area of the interrupted code, in standard format, as long as the kernel says.
    pub(super) fn xsave(&mut self) -> Option<&mut [u8]> {
        let area = self.0.uc_mcontext.fpregs.cast::<u8>();
        if area.is_null() {
            return None;
        }
        // SAFETY: the kernel's frame has the legacy area of 512 bytes at least.
        let legacy = unsafe { std::slice::from_raw_parts(area, 512) };
        let word = |at: usize| u32::from_ne_bytes(legacy[at..at + 4].try_into().expect("four bytes"));
        let length = if word(SW_BYTES) == FP_XSTATE_MAGIC1 { word(SW_BYTES + 16) } else { 512 };
        // SAFETY: the kernel wrote `xstate_size` bytes here; nobody else refers to the frame.
        Some(unsafe { std::slice::from_raw_parts_mut(area, usize::try_from(length).ok()?) })
    }

    /// Makes the handler return to the host's `rip` and `rsp`, every other register and state component as after an AEX
    /// (SDM vol. 3D, "Synthetic state").
    pub(super) fn leave(&mut self, rip: u64, rsp: u64) {
        for index in [
            libc::REG_RCX,
            libc::REG_RDX,
            libc::REG_RSI,
            libc::REG_RDI,
            libc::REG_R8,
            libc::REG_R9,
            libc::REG_R10,
            libc::REG_R11,
            libc::REG_R12,
            libc::REG_R13,
            libc::REG_R14,
            libc::REG_R15,
            libc::REG_RBP,
            libc::REG_RBX,
            libc::REG_RAX,
        ] {
            self.set(index, 0);
        }
        self.set(libc::REG_RIP, rip);
        self.set(libc::REG_RSP, rsp);
        self.set(libc::REG_EFL, 0x202);
        if let Some(xsave) = self.xsave() {
            xsave[0..2].copy_from_slice(&FCW_INIT.to_ne_bytes());
            xsave[2..24].fill(0);
            xsave[24..28].copy_from_slice(&MXCSR_INIT.to_ne_bytes());
            xsave[32..416].fill(0);
            if let Some(components) = xsave.get_mut(512..520) {
                components.fill(0);
            }
        }
    }

    /// What the code behind [`super::entry::enter_again`] expects.
    pub(super) fn set_arguments(&mut self, thread: u64, registers: u64, frame: u64) {
        self.set(libc::REG_R12, thread);
        self.set(libc::REG_R13, registers);
        self.set(libc::REG_RBP, frame);
    }
}
