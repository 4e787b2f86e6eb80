//! State components of a guest thread while the processor does not hold them.

use core::ptr;

use super::cpu;
use super::vcpu::Vcpu;

/// An XSAVE area in standard format. As large as an SSA frame's.
#[repr(C, align(64))]
pub(crate) struct Area([u8; 4096]);

impl Area {
    /// Every component in its initial state.
    pub(crate) const fn initial() -> Self {
        let mut bytes = [0; 4096];
        bytes[0] = 0x7f;
        bytes[1] = 0x03;
        bytes[24] = 0x80;
        bytes[25] = 0x1f;
        Self(bytes)
    }

    pub(crate) fn address(&self) -> u64 {
        ptr::from_ref(self).addr() as u64
    }

    /// Replaces it by the XSAVE part of an SSA frame.
    pub(crate) fn copy_from_ssa(&mut self, bytes: &[u8]) {
        let length = bytes.len().min(self.0.len());
        self.0[..length].copy_from_slice(&bytes[..length]);
    }

    /// Puts the low halves of the vector registers in, which a system call keeps in its frame.
    pub(crate) fn set_low_xmm(&mut self, xmm: &[[u64; 2]; 16]) {
        for (place, value) in self.0[160..416].chunks_exact_mut(8).zip(xmm.iter().flatten()) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        // XSTATE_BV: the SSE component is not in its initial state.
        self.0[512] |= 2;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Takes the state components of the current guest thread out of the processor, if it still holds them. Before anything
/// that loses them: another thread, an exit.
pub(crate) fn save_current() {
    let vcpu = Vcpu::current();
    // SAFETY: the page of this vCPU, which only code on this vCPU uses.
    let vcpu = unsafe { &mut *vcpu };
    if vcpu.live != 0 && vcpu.xsave_area != 0 {
        // SAFETY: the scheduler sets the field to the area of the thread that runs here.
        unsafe { cpu::save_state(vcpu.xsave_area) };
    }
    vcpu.live = 0;
}
