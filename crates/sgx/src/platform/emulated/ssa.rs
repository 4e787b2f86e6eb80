//! Writing an SSA frame: what the processor does at an AEX.

use std::sync::atomic::Ordering;

use zerocopy::IntoBytes as _;

use super::bases::Bases;
use super::context::Context;
use super::enclave::EmulatedEnclave;
use super::signal::Fault;
use super::thread::Thread;
use crate::arch::{Exinfo, ExitInfo, Gprsgx, Miscselect, Vector};

/// AEX: stores the interrupted state in the current frame, and leaves the TCS.
pub(super) fn exit(
    enclave: &EmulatedEnclave,
    state: &mut Thread,
    context: &mut Context,
    bases: Bases,
    fault: Option<Fault>,
) {
    let mut gprsgx = context.registers();
    gprsgx.fsbase = bases.fs;
    gprsgx.gsbase = bases.gs;
    store(enclave, state, gprsgx, context.xsave(), fault);
}

/// The same from registers and an XSAVE area that are at hand.
pub(super) fn store(
    enclave: &EmulatedEnclave,
    state: &mut Thread,
    mut gprsgx: Gprsgx,
    xsave: Option<&mut [u8]>,
    fault: Option<Fault>,
) {
    if let Some(xsave) = xsave {
        let room = enclave.frame.xsave_room().min(xsave.len());
        let area = &mut xsave[..room];
        if area.len() >= 576 {
            let components = u64::from_ne_bytes(area[512..520].try_into().expect("eight bytes"));
            let kept = (components & enclave.xfrm).to_ne_bytes();
            // The bytes that software may use in the legacy area are the kernel's here, not the enclave's.
            enclave.memory.write(state.frame, &area[..464]);
            enclave.memory.write(state.frame + 464, &[0; 48]);
            enclave.memory.write(state.frame + 512, &kept);
            enclave.memory.write(state.frame + 520, &[0; 56]);
            enclave.memory.write(state.frame + 576, &area[576..]);
        }
    }
    // EENTER has left the host's stack pointers in the frame.
    let mut outside = [0; 16];
    let at = state.gprsgx + std::mem::offset_of!(Gprsgx, ursp) as u64;
    enclave.memory.read(at, &mut outside);
    gprsgx.ursp = u64::from_ne_bytes(outside[..8].try_into().expect("eight bytes"));
    gprsgx.urbp = u64::from_ne_bytes(outside[8..].try_into().expect("eight bytes"));
    gprsgx.exitinfo =
        fault.map_or(ExitInfo::NONE, |fault| ExitInfo::for_vector(fault.vector, enclave.miscselect));
    if enclave.miscselect.contains(Miscselect::EXINFO) {
        let exinfo = match fault {
            Some(fault) if fault.vector == Vector::PF => Exinfo::new(fault.address, fault.error_code),
            Some(fault) if fault.vector == Vector::GP => Exinfo::new(0, fault.error_code),
            _ => Exinfo::default(),
        };
        enclave.memory.write(state.frame + enclave.frame.exinfo() as u64, exinfo.as_bytes());
    }
    enclave.memory.write(state.gprsgx, gprsgx.as_bytes());
    if let Some(tcs) = enclave.tcs_at(state.tcs) {
        tcs.cssa.fetch_add(1, Ordering::Relaxed);
        tcs.release();
    }
    enclave.counters.aex.fetch_add(1, Ordering::Relaxed);
}

/// ERESUME of the frame that [`exit`] has just stored.
///
/// `false` where another thread has used the TCS in between. (The processor raises #GP only while it is in use.)
pub(super) fn undo_exit(enclave: &EmulatedEnclave, state: &Thread) -> bool {
    let Some(tcs) = enclave.tcs_at(state.tcs).filter(|tcs| tcs.acquire()) else { return false };
    let current = u32::try_from(state.cssa).unwrap_or(u32::MAX);
    if tcs.cssa.load(Ordering::Relaxed) != current.saturating_add(1) {
        tcs.release();
        return false;
    }
    tcs.cssa.store(current, Ordering::Relaxed);
    enclave.counters.eresume.fetch_add(1, Ordering::Relaxed);
    true
}
