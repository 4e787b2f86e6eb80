//! Faults of guest code, on the thread's kernel stack: pages that come on demand, and signals.

use casemate_enclave::mm::{Access, Cause, FaultOutcome};
use casemate_sgx::arch::{PageFaultCode, Vector};

use crate::arch::frame::Frame;
use crate::exception::PREEMPTED;
use crate::loader::islands;
use crate::signal::{self, Info};
use crate::{host, sched, syscall, user};

/// `si_code` of a SIGSEGV that has no address (a general protection fault), SI_KERNEL.
const SI_KERNEL: i32 = 0x80;

/// Called by the entry code: `vector` with its address and error code happened in guest code, whose registers are in `frame`.
#[unsafe(no_mangle)]
extern "C" fn guest_fault(vector: u64, address: u64, error: u64, frame: &mut Frame) {
    if vector == PREEMPTED {
        host::kicked();
        sched::yield_now();
    } else {
        let vector = Vector(vector.to_le_bytes()[0]);
        handle(vector, address, error, frame);
    }
    syscall::before_guest(frame);
}

fn handle(vector: Vector, address: u64, error: u64, frame: &mut Frame) {
    if vector == Vector::PF {
        let code = PageFaultCode::from_bits_truncate(u32::try_from(error & 0xffff_ffff).unwrap_or(0));
        let access = if code.contains(PageFaultCode::FETCH) {
            Access::Exec
        } else if code.contains(PageFaultCode::WRITE) {
            Access::Write
        } else {
            Access::Read
        };
        match user::fault(address, access) {
            FaultOutcome::Committed | FaultOutcome::Again => {}
            FaultOutcome::Denied(fault) => {
                // No memory left is what Linux's out-of-memory killer is for.
                let (signal, si_code) = match fault.cause {
                    Cause::OutOfMemory | Cause::Host(_) => (signal::SIGKILL, SI_KERNEL),
                    Cause::NotMapped => (signal::SIGSEGV, 1),
                    Cause::NoAccess => (signal::SIGSEGV, 2),
                };
                raise(signal, si_code, address, vector, address, error);
            }
        }
        return;
    }
    if is_int3(frame.rip) {
        // Where an instruction has gone to an island, and somebody has come to its old place.
        let resumed = islands::resumed(frame.rip);
        if resumed != frame.rip {
            frame.rip = resumed;
            return;
        }
    }
    let (signal, code) = match vector {
        // FPE_INTDIV; what x87 and SSE found is in their status, which handlers look at.
        Vector::DE => (signal::SIGFPE, 1),
        Vector::MF | Vector::XM => (signal::SIGFPE, 0),
        Vector::BP => (signal::SIGTRAP, SI_KERNEL),
        // `int3` is not allowed in an enclave either.
        Vector::UD if is_int3(frame.rip) => {
            frame.rip += 1;
            (signal::SIGTRAP, SI_KERNEL)
        }
        // ILL_ILLOPN
        Vector::UD => (signal::SIGILL, 2),
        // BUS_ADRALN
        Vector::AC => (signal::SIGBUS, 1),
        _ => (signal::SIGSEGV, SI_KERNEL),
    };
    let at = if code == SI_KERNEL { 0 } else { frame.rip };
    raise(signal, code, at, vector, 0, error);
}

/// Whether a breakpoint instruction stands there.
fn is_int3(rip: u64) -> bool {
    let mut byte = [0];
    user::read(rip, &mut byte).is_ok() && byte == [0xcc]
}

fn raise(signal: u8, code: i32, at: u64, vector: Vector, address: u64, error: u64) {
    let fault = Some((u64::from(vector.0), error, address));
    signal::force(signal, Info { code, first: at, second: 0, fault });
}
