//! Signals of the host that interrupt an enclave.
//!
//! The kernel delivers them after the asynchronous exit, with RIP at the vDSO's ENCLU and RAX, RBX and RCX ready for
//! ERESUME (`vsgx.S`). When the handler returns, that is what happens; with RAX changed to EENTER it enters instead.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::arch::Leaf;
use crate::platform::{Disposition, InterruptHandler, PlatformError, watch};

/// Address of the vDSO's ENCLU. The vDSO is the same for the whole process.
static ENCLU: AtomicU64 = AtomicU64::new(0);

/// Has `handler` called for a signal of the host.
pub(super) fn watch(enclu: u64, signal: i32, handler: InterruptHandler) -> Result<(), PlatformError> {
    ENCLU.store(enclu, Ordering::Relaxed);
    watch::set(signal, handler)?;
    watch::install(signal, on_signal)
}

extern "C" fn on_signal(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(handler) = watch::get(signal) else { return };
    // SAFETY: the kernel passes the context of the interrupted code, which only this handler uses until it returns.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    redirect(&mut context.uc_mcontext.gregs, ENCLU.load(Ordering::Relaxed), handler);
}

fn register(index: i32) -> usize {
    usize::try_from(index).expect("an index of the C library's")
}

/// Calls the handler, and does as it says to the registers of an interrupted enclave.
fn redirect(registers: &mut [i64; 23], enclu: u64, handler: InterruptHandler) {
    let number = |leaf: Leaf| i64::from(leaf.raw());
    let in_enclave = registers[register(libc::REG_RIP)].cast_unsigned() == enclu
        && registers[register(libc::REG_RAX)] == number(Leaf::Eresume);
    match handler(in_enclave) {
        Disposition::Enter(event) if in_enclave => {
            registers[register(libc::REG_RAX)] = number(Leaf::Eenter);
            registers[register(libc::REG_RDI)] = event.cast_signed();
        }
        Disposition::Enter(_) | Disposition::Resume => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(rip: i64, rax: i64, handler: InterruptHandler) -> Option<(i64, i64)> {
        let mut registers: [i64; 23] = [7; 23];
        registers[register(libc::REG_RIP)] = rip;
        registers[register(libc::REG_RAX)] = rax;
        let before = registers;
        redirect(&mut registers, 0x7000, handler);
        let (rax, rdi) = (registers[register(libc::REG_RAX)], registers[register(libc::REG_RDI)]);
        let mut expected = before;
        expected[register(libc::REG_RAX)] = rax;
        expected[register(libc::REG_RDI)] = rdi;
        assert_eq!(registers, expected, "no other register changes");
        (registers != before).then_some((rax, rdi))
    }

    #[test]
    fn only_an_interrupted_enclave_is_redirected() {
        let enter: InterruptHandler = |_| Disposition::Enter(u64::MAX);
        assert_eq!(changed(0x7000, 3, enter), Some((2, -1)));
        assert_eq!(changed(0x7000, 2, enter), None, "about to enter");
        assert_eq!(changed(0x7003, 3, enter), None, "behind ENCLU");
        assert_eq!(changed(0x7000, 3, |_| Disposition::Resume), None);
    }

    #[test]
    fn the_handler_is_told() {
        let told: InterruptHandler =
            |inside| if inside { Disposition::Enter(1) } else { Disposition::Resume };
        assert_eq!(changed(0x7000, 3, told), Some((2, 1)));
        assert_eq!(changed(0x6000, 3, told), None);
    }
}
