//! AEX: the host's signals as what they are in an enclave, exceptions and interrupts (SDM vol. 3D, "Asynchronous enclave exit").
//!
//! The kernel delivers a fault as a signal, on the thread's own signal stack, with the enclave's FS and GS bases still
//! loaded. The handler stores the interrupted registers in the SSA frame, makes the signal's frame that of the host, and
//! so, when it returns, the thread is outside.

use std::arch::asm;
use std::ptr;
use std::sync::{Mutex, Once, PoisonError};

use super::bases::{self, Bases};
use super::context::Context;
use super::enclave::EmulatedEnclave;
use super::enter::Refusal;
use super::leaf::{self, Outcome};
use super::registry::{Place, holds, place};
use super::thread::Thread;
use super::{enter, entry, ssa};
use crate::arch::{PageFaultCode, Permissions, Vector};
use crate::platform::memory::page_of;
use crate::platform::{
    Disposition, Enclave as _, EnterLeaf, Exception, InterruptHandler, PlatformError, Registers, watch,
};

/// Signals by which the kernel tells of an exception; SIGSYS is a `syscall` that was refused.
const EXCEPTIONS: [i32; 6] =
    [libc::SIGSEGV, libc::SIGILL, libc::SIGBUS, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];

/// Installs the handler for exceptions, once in a process.
pub(super) fn install() -> Result<(), PlatformError> {
    static INSTALLED: Once = Once::new();
    static FAILURE: Mutex<Option<PlatformError>> = Mutex::new(None);
    INSTALLED.call_once(|| {
        for signal in EXCEPTIONS {
            if let Err(error) = watch::install(signal, on_signal) {
                *FAILURE.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        }
    });
    match FAILURE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Has `handler` called for a signal of the host.
pub(super) fn watch(signal: i32, handler: InterruptHandler) -> Result<(), PlatformError> {
    watch::set(signal, handler)?;
    watch::install(signal, on_signal)
}

extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // The kernel leaves RFLAGS.AC as the interrupted code had it; the code below does not keep to alignment.
    // SAFETY: changes one flag; the stack is the signal stack.
    unsafe { asm!("pushfq", "and qword ptr [rsp], -0x40001", "popfq") };
    // SAFETY: the kernel passes a valid structure.
    let code = unsafe { (*info).si_code };
    // SAFETY: the kernel passes the context of the interrupted code, which only this handler uses until it returns.
    let context = unsafe { Context::new(context) };
    let place = match place(context.rip()) {
        // An enclave that has jumped out of itself still has its own GS base.
        Place::Host if holds(bases::get().gs) => Place::Enclave,
        place => place,
    };
    match place {
        Place::Host => outside(signal),
        Place::Edge => {
            let found = bases::get();
            let thread = Thread::of_signal_stack(ptr::from_ref(&found).addr() as u64);
            // SAFETY: code at the edge runs only on threads that have a block, on whose stack this handler is.
            bases::set(unsafe { Bases::of_host(thread) });
            outside(signal);
            bases::set(found);
        }
        Place::Enclave => {
            let found = bases::get();
            let thread = Thread::of_signal_stack(ptr::from_ref(&found).addr() as u64);
            // SAFETY: as above.
            bases::set(unsafe { Bases::of_host(thread) });
            // SAFETY: as above; `enter` waits for the thread to come out and uses nothing of it.
            let state = unsafe { &mut *thread };
            // What the kernel itself raises has a positive code.
            let signal = Signal { number: signal, is_exception: code > 0 };
            if inside(signal, context, state, thread, found) == Then::Inside {
                bases::set(found);
            }
        }
    }
}

/// A signal while the thread was not in an enclave.
fn outside(signal: i32) {
    if let Some(handler) = watch::get(signal) {
        handler(false);
    } else {
        // A fault of this program itself: let it happen again, without a handler.
        // SAFETY: the default action is always valid.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Where the thread is when the handler returns.
#[derive(PartialEq, Eq)]
enum Then {
    Inside,
    Outside,
}

/// A signal, and whether the kernel made it of an exception.
#[derive(Clone, Copy)]
struct Signal {
    number: i32,
    is_exception: bool,
}

fn inside(
    signal: Signal,
    context: &mut Context,
    state: &mut Thread,
    thread: *mut Thread,
    found: Bases,
) -> Then {
    // SAFETY: the thread is in this enclave, whose owner is waiting in `enter`.
    let enclave = unsafe { &*state.enclave };
    if let Some(handler) = watch::get(signal.number) {
        ssa::exit(enclave, state, context, found, None);
        return match handler(true) {
            Disposition::Resume => {
                // ERESUME of a frame that nobody has touched changes nothing.
                if ssa::undo_exit(enclave, state) {
                    return Then::Inside;
                }
                state.exception = Some(exception(Fault::GP));
                context.leave(entry::excepted(), state.host_rsp);
                Then::Outside
            }
            Disposition::Enter(event) => {
                enter_again(enclave, context, state, thread, event);
                Then::Outside
            }
        };
    }
    let Some(mut fault) = signal.is_exception.then(|| context.fault(signal.number)).flatten() else {
        // Sent by somebody: no exception, and nobody watches it.
        outside(signal.number);
        return Then::Inside;
    };
    if !enclave.contains(context.rip()) {
        // A fetch outside (SDM vol. 3D, "Access-control requirements").
        fault = Fault::GP;
    } else if matches!(fault.vector, Vector::UD | Vector::GP | Vector::PF) && is_enclu(enclave, context.rip())
    {
        match leaf::in_strict_mode(enclave, state, context, thread) {
            Outcome::Done => return Then::Inside,
            Outcome::Exited => return Then::Outside,
            Outcome::Fault(other) => fault = other,
        }
    } else if fault.vector == Vector::PF {
        explain(enclave, &mut fault);
    } else if fault.vector == Vector::BP {
        // INT3 is a fault in an enclave, and #UD without a debugger that has opted in (SDM vol. 3D, "INT3 consideration").
        context.set(libc::REG_RIP, context.rip() - 1);
        fault = Fault { vector: Vector::UD, error_code: 0, address: 0 };
    } else if fault.vector == Vector::GP && is_illegal(enclave, context.rip()) {
        fault = Fault { vector: Vector::UD, error_code: 0, address: 0 };
    }
    report(enclave, state, context, found, fault);
    Then::Outside
}

/// An exception as the kernel reported it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) vector: Vector,
    pub(super) error_code: u32,
    pub(super) address: u64,
}

impl Fault {
    /// #GP(0).
    pub(super) const GP: Self = Self { vector: Vector::GP, error_code: 0, address: 0 };
}

/// Records an exception: AEX, and the way out.
fn report(enclave: &EmulatedEnclave, state: &mut Thread, context: &mut Context, found: Bases, fault: Fault) {
    ssa::exit(enclave, state, context, found, Some(fault));
    state.exception = Some(exception(fault));
    context.leave(entry::excepted(), state.host_rsp);
}

/// What the host is told of a fault inside.
pub(super) fn exception(fault: Fault) -> Exception {
    Exception {
        leaf: EnterLeaf::Resume,
        vector: fault.vector.0,
        error_code: u16::try_from(fault.error_code & 0xffff).expect("sixteen bits"),
        address: fault.address,
    }
}

/// The bits of a page fault's error code that only an SGX processor sets; and a page that is not there is augmented, as
/// Linux's driver does it (`sgx_vma_fault`).
fn explain(enclave: &EmulatedEnclave, fault: &mut Fault) {
    if !enclave.contains(fault.address) {
        return;
    }
    let offset = page_of(fault.address - enclave.base());
    let wanted = if fault.error_code & PageFaultCode::WRITE.bits() != 0 {
        Permissions::W
    } else if fault.error_code & PageFaultCode::FETCH.bits() != 0 {
        Permissions::X
    } else {
        Permissions::R
    };
    let mapped = enclave.mapped(offset).contains(wanted);
    if mapped && leaf::augment(enclave, offset).is_some() {
        fault.error_code |= (PageFaultCode::PRESENT | PageFaultCode::SGX).bits();
    }
}

fn enter_again(
    enclave: &EmulatedEnclave,
    context: &mut Context,
    state: &mut Thread,
    thread: *mut Thread,
    event: u64,
) {
    let tcs = state.tcs;
    let prepared = enter::prepare(enclave, tcs, EnterLeaf::Enter, state, thread);
    let Err(refusal) = prepared else {
        state.event = Registers { rdi: event, ..Registers::default() };
        context.leave(entry::enter_again(), state.host_rsp);
        context.set_arguments(thread.addr() as u64, (&raw const state.event).addr() as u64, state.host_rsp);
        return;
    };
    let fault = match refusal {
        Refusal::Fault(fault) => fault,
        Refusal::Platform(_) => Fault::GP,
    };
    state.exception = Some(Exception { leaf: EnterLeaf::Enter, ..exception(fault) });
    context.leave(entry::excepted(), state.host_rsp);
}

/// Whether ENCLU stands at `rip`, which is in the enclave.
fn is_enclu(enclave: &EmulatedEnclave, rip: u64) -> bool {
    code_at(enclave, rip) == Some([0x0f, 0x01, 0xd7])
}

/// Whether an instruction stands at `rip` that raises #GP outside and #UD in an enclave: `int n`, `in`, `out` and their
/// string forms (SDM vol. 3D, "Illegal instructions").
fn is_illegal(enclave: &EmulatedEnclave, rip: u64) -> bool {
    matches!(code_at(enclave, rip), Some([0xcd | 0xe4..=0xe7 | 0xec..=0xef | 0x6c..=0x6f, _, _]))
}

/// Three bytes of code, if all of them can be read.
fn code_at(enclave: &EmulatedEnclave, rip: u64) -> Option<[u8; 3]> {
    let mut bytes = [0; 3];
    let readable = [rip, rip.saturating_add(2)].iter().all(|address| {
        let offset = page_of(address.wrapping_sub(enclave.base()));
        enclave.epcm.get(offset).access().contains(Permissions::R)
            && enclave.mapped(offset).contains(Permissions::R)
    });
    if !readable || !enclave.memory.contains(rip, 3) {
        return None;
    }
    enclave.memory.read(rip, &mut bytes);
    Some(bytes)
}
