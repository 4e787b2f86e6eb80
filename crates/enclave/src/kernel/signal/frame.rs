//! The frame of a handler on the guest's stack, as Linux lays it out (`arch/x86/kernel/signal_64.c`).

use casemate_enclave_abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Action, AltStack, Info, SIG_DFL, bit, flag};
use crate::arch::cpu;
use crate::arch::frame::Frame;
use crate::loader::islands;
use crate::process::process;
use crate::sched::{self, Thread};
use crate::{syscall, user};

/// `struct sigcontext`, without the state components that it points to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
struct MachineContext {
    r8_to_r15: [u64; 8],
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    rflags: u64,
    segments: u64,
    error_code: u64,
    vector: u64,
    old_mask: u64,
    address: u64,
    state: u64,
    reserved: [u64; 8],
}

/// `stack_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub(crate) struct StackT {
    pub(crate) start: u64,
    pub(crate) flags: i32,
    pub(crate) padding: u32,
    pub(crate) size: u64,
}

/// `struct rt_sigframe`: what RSP points to in a handler.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
struct SignalFrame {
    restorer: u64,
    flags: u64,
    link: u64,
    stack: StackT,
    context: MachineContext,
    mask: u64,
    info: [u8; 128],
}

const _: () = assert!(size_of::<SignalFrame>() == 440);

/// `UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS`.
const UC_FLAGS: u64 = 7;
/// User code and stack segments.
const SEGMENTS: u64 = 0x33 | 0x2b << 48;
/// Bytes of state components in a frame: as much as an SSA frame holds.
const STATE: usize = 2816;
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// Flags that a handler's return may change.
const CHANGEABLE_FLAGS: u64 = 0x0005_0dd5;
const MXCSR_INITIAL: u32 = 0x1f80;
const SS_ONSTACK: i32 = 1;
const SS_DISABLE: i32 = 2;
const SS_AUTODISARM: i32 = 1 << 31;

/// A thread's alternate stack as sigaltstack(2) shows it.
pub(crate) fn stack_t(stack: &AltStack, rsp: u64) -> StackT {
    let mut flags = if stack.size == 0 {
        SS_DISABLE
    } else if stack.holds(rsp) {
        SS_ONSTACK
    } else {
        0
    };
    if stack.autodisarm {
        flags |= SS_AUTODISARM;
    }
    StackT { start: stack.start, flags, padding: 0, size: stack.size }
}

/// Where a handler's frame goes, below this.
fn top(frame: &Frame, stack: &AltStack, action: &Action) -> u64 {
    if action.flags & flag::ONSTACK != 0 && stack.size != 0 && !stack.holds(frame.rsp) {
        stack.start.wrapping_add(stack.size)
    } else {
        // The red zone stays as it is.
        frame.rsp.wrapping_sub(128)
    }
}

/// Makes the thread go on in a handler. Its state components have been saved.
pub(super) fn enter(
    thread: &Thread,
    frame: &mut Frame,
    signal: u8,
    info: &Info,
    action: &Action,
) -> Result<(), Errno> {
    let mut signals = thread.signals.lock();
    let mut stack = signals.alt_stack;
    let state_at = (top(frame, &stack, action).wrapping_sub(STATE as u64 + 4)) & !63;
    let at = (state_at.wrapping_sub(size_of::<SignalFrame>() as u64) & !15).wrapping_sub(8);
    // As under Linux, what does not fit on the alternate stack is no frame; and a handler is at an address.
    let alternate = action.flags & flag::ONSTACK != 0 && stack.size != 0;
    if alternate && at.wrapping_sub(stack.start) >= stack.size || action.handler >> 47 != 0 {
        return Err(Errno::EFAULT);
    }
    // SAFETY: the thread is the current one, and its components have been saved.
    let area = unsafe { thread.area() };
    if frame.full == 0 {
        // The area has what kernel code left in the low halves.
        area.set_low_xmm(&frame.xmm);
    }
    let mut state = [0; STATE + 4];
    state[..STATE].copy_from_slice(&area.bytes()[..STATE]);
    state[464..512].fill(0);
    state[464..468].copy_from_slice(&FP_XSTATE_MAGIC1.to_le_bytes());
    state[468..472].copy_from_slice(&u32::try_from(STATE + 4).unwrap_or(0).to_le_bytes());
    state[472..480].copy_from_slice(&0xe7_u64.to_le_bytes());
    state[480..484].copy_from_slice(&u32::try_from(STATE).unwrap_or(0).to_le_bytes());
    state[STATE..].copy_from_slice(&FP_XSTATE_MAGIC2.to_le_bytes());
    let (vector, error_code, address) = info.fault.unwrap_or((0, 0, 0));
    if action.flags & flag::RESTART != 0
        && frame.rax == Errno::EINTR.to_result()
        && syscall::restarts(frame.orig_rax)
    {
        // When the handler returns the call is made again: a `syscall` instruction always stands before the return address.
        frame.rip -= 2;
        frame.rax = frame.orig_rax;
    }
    frame.orig_rax = u64::MAX;
    let f = *frame;
    let context = MachineContext {
        r8_to_r15: [f.r8, f.r9, f.r10, f.r11, f.r12, f.r13, f.r14, f.r15],
        rdi: f.rdi,
        rsi: f.rsi,
        rbp: f.rbp,
        rbx: f.rbx,
        rdx: f.rdx,
        rax: f.rax,
        rcx: f.rcx,
        rsp: f.rsp,
        rip: islands::shown(f.rip),
        rflags: f.rflags,
        segments: SEGMENTS,
        error_code,
        vector,
        old_mask: signals.mask,
        address,
        state: state_at,
        reserved: [0; 8],
    };
    let mut info_bytes = [0; 128];
    info_bytes[0..4].copy_from_slice(&i32::from(signal).to_le_bytes());
    info_bytes[8..12].copy_from_slice(&info.code.to_le_bytes());
    info_bytes[16..24].copy_from_slice(&info.first.to_le_bytes());
    info_bytes[24..32].copy_from_slice(&info.second.to_le_bytes());
    let saved = signals.saved_mask.take().unwrap_or(signals.mask);
    let signal_frame = SignalFrame {
        restorer: action.restorer,
        flags: UC_FLAGS,
        link: 0,
        stack: stack_t(&stack, f.rsp),
        context,
        mask: saved,
        info: info_bytes,
    };
    user::write(state_at, &state)?;
    user::write_value(at, &signal_frame)?;
    if stack.autodisarm {
        stack = AltStack::default();
        signals.alt_stack = stack;
    }
    let own = if action.flags & flag::NODEFER == 0 { bit(signal) } else { 0 };
    let mask = signals.mask | action.mask | own;
    signals.set_mask(mask);
    drop(signals);
    if action.flags & flag::RESETHAND != 0 {
        process().actions.lock().set(signal, Action { handler: SIG_DFL, ..*action });
    }
    *frame = Frame {
        rdi: u64::from(signal),
        rsi: at + core::mem::offset_of!(SignalFrame, info) as u64,
        rdx: at + core::mem::offset_of!(SignalFrame, flags) as u64,
        rax: 0,
        rip: action.handler,
        rsp: at,
        rflags: f.rflags & !0x0004_0500,
        full: 1,
        ..f
    };
    // The handler starts with the components in their initial state, as Linux has it (`fpu__clear_user_states`); XRSTOR takes
    // MXCSR from the area in any case.
    area.bytes_mut()[512..520].fill(0);
    area.bytes_mut()[24..28].copy_from_slice(&MXCSR_INITIAL.to_le_bytes());
    Ok(())
}

/// rt_sigreturn(2): everything as the frame at RSP says.
pub(crate) fn sigreturn(frame: &mut Frame) -> Result<u64, Errno> {
    let thread = sched::current();
    // `ret` of the handler has taken the restorer's address.
    let at = frame.rsp.wrapping_sub(8);
    let Ok(signal_frame) = user::read_value::<SignalFrame>(at) else { process().kill(super::SIGSEGV) };
    let context = signal_frame.context;
    if context.rip >> 47 != 0 {
        process().kill(super::SIGSEGV)
    }
    {
        thread.attend();
        let mut signals = thread.signals.lock();
        signals.set_mask(signal_frame.mask);
        let stack = signal_frame.stack;
        if stack.flags & SS_ONSTACK == 0 {
            signals.alt_stack = AltStack {
                start: stack.start,
                size: if stack.flags & SS_DISABLE != 0 { 0 } else { stack.size },
                autodisarm: stack.flags & SS_AUTODISARM != 0,
            };
        }
    }
    crate::arch::xstate::save_current();
    // SAFETY: the current thread, whose components have just been saved.
    let area = unsafe { thread.area() };
    if context.state == 0 {
        area.bytes_mut()[512..520].fill(0);
    } else {
        let mut state = [0; STATE];
        if user::read(context.state, &mut state).is_err() {
            process().kill(super::SIGSEGV);
        }
        restore_state(area.bytes_mut(), &mut state);
    }
    let [r8, r9, r10, r11, r12, r13, r14, r15] = context.r8_to_r15;
    *frame = Frame {
        xmm: [[0; 2]; 16],
        full: 1,
        r15,
        r14,
        r13,
        r12,
        rbp: context.rbp,
        rbx: context.rbx,
        r11,
        r10,
        r9,
        r8,
        rax: context.rax,
        rcx: context.rcx,
        rdx: context.rdx,
        rsi: context.rsi,
        rdi: context.rdi,
        orig_rax: u64::MAX,
        rip: islands::resumed(context.rip),
        rsp: context.rsp,
        rflags: context.rflags & CHANGEABLE_FLAGS | 0x202,
    };
    Ok(context.rax)
}

/// Takes state components from a frame that the guest could write: only what XRSTOR accepts.
fn restore_state(area: &mut [u8], state: &mut [u8; STATE]) {
    let components = u64::from_le_bytes(state[512..520].try_into().unwrap_or([0; 8])) & cpu::components();
    let mxcsr = u32::from_le_bytes(state[24..28].try_into().unwrap_or([0; 4])) & 0xffff;
    state[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    state[512..520].copy_from_slice(&components.to_le_bytes());
    state[520..576].fill(0);
    area[..STATE].copy_from_slice(&state[..]);
}
