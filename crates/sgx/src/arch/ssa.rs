//! SSA: where an asynchronous exit leaves the thread's registers.

use core::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Exinfo, ExitInfo, PAGE_SIZE, Reserved};

/// Bytes of the XSAVE area that every state frame has: legacy region and header (SDM vol. 1, 13.4).
pub const XSAVE_HEADER_END: usize = 576;

/// GPRSGX: general registers, at the end of a state frame (SDM vol. 3D, ch. 37).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Gprsgx {
    /// RAX.
    pub rax: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// RBX.
    pub rbx: u64,
    /// RSP.
    pub rsp: u64,
    /// RBP.
    pub rbp: u64,
    /// RSI.
    pub rsi: u64,
    /// RDI.
    pub rdi: u64,
    /// R8.
    pub r8: u64,
    /// R9.
    pub r9: u64,
    /// R10.
    pub r10: u64,
    /// R11.
    pub r11: u64,
    /// R12.
    pub r12: u64,
    /// R13.
    pub r13: u64,
    /// R14.
    pub r14: u64,
    /// R15.
    pub r15: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// RIP.
    pub rip: u64,
    /// RSP outside, saved by EENTER.
    pub ursp: u64,
    /// RBP outside, saved by EENTER.
    pub urbp: u64,
    /// Why the exit happened.
    pub exitinfo: ExitInfo,
    /// Zero.
    pub reserved: Reserved<3>,
    /// Bit 0: ERESUME turns into EENTER, so that the enclave learns of the exit.
    pub aexnotify: u8,
    /// FS base.
    pub fsbase: u64,
    /// GS base.
    pub gsbase: u64,
}

/// A state frame's geometry: XSAVE area from the start, then the MISC region and GPRSGX, which both end with
/// the frame (SDM vol. 3D, ch. 37).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsaFrame {
    bytes: usize,
}

impl SsaFrame {
    /// A frame of SECS.SSAFRAMESIZE pages; `None` for none, and for what does not fit an address.
    #[must_use]
    pub const fn new(ssaframesize: u32) -> Option<Self> {
        // Widens: usize has 64 bits wherever there is SGX.
        const { assert!(size_of::<usize>() == 8) };
        match (ssaframesize as usize).checked_mul(PAGE_SIZE) {
            None | Some(0) => None,
            Some(bytes) => Some(Self { bytes }),
        }
    }

    /// Bytes in a frame.
    #[must_use]
    pub const fn size(self) -> usize {
        self.bytes
    }

    /// Offset in ELRANGE of frame number `cssa` of a thread whose frames begin at `ossa`; `None` if it does
    /// not fit.
    #[must_use]
    pub fn offset(self, ossa: u64, cssa: u32) -> Option<u64> {
        let size = u64::try_from(self.bytes).ok()?;
        ossa.checked_add(size.checked_mul(u64::from(cssa))?)
    }

    /// Offset of GPRSGX in a frame.
    #[must_use]
    pub const fn gprsgx(self) -> usize {
        // A frame has a page at least.
        self.bytes - size_of::<Gprsgx>()
    }

    /// Offset of EXINFO in a frame; it is there if MISCSELECT.EXINFO is set.
    #[must_use]
    pub const fn exinfo(self) -> usize {
        self.gprsgx() - size_of::<Exinfo>()
    }

    /// Bytes that the XSAVE area may take, from the start of the frame.
    #[must_use]
    pub const fn xsave_room(self) -> usize {
        self.exinfo()
    }
}

const _: () = assert!(size_of::<Gprsgx>() == 184);
const _: () = assert!(offset_of!(Gprsgx, r8) == 64);
const _: () = assert!(offset_of!(Gprsgx, rflags) == 128);
const _: () = assert!(offset_of!(Gprsgx, rip) == 136);
const _: () = assert!(offset_of!(Gprsgx, ursp) == 144);
const _: () = assert!(offset_of!(Gprsgx, exitinfo) == 160);
const _: () = assert!(offset_of!(Gprsgx, aexnotify) == 167);
const _: () = assert!(offset_of!(Gprsgx, fsbase) == 168);
const _: () = assert!(offset_of!(Gprsgx, gsbase) == 176);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_ends_with_the_registers() {
        let frame = SsaFrame::new(4).unwrap();
        assert_eq!((frame.size(), frame.gprsgx(), frame.exinfo()), (16384, 16200, 16184));
        assert_eq!(frame.offset(0x10000, 2), Some(0x18000));
        assert_eq!(frame.offset(u64::MAX, 1), None);
        assert_eq!(SsaFrame::new(0), None);
        assert_eq!(SsaFrame::new(u32::MAX).unwrap().offset(0, u32::MAX), None);
    }
}
