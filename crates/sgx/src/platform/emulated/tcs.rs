//! A TCS as the processor keeps it: what the page said when it was added, and the state of the thread.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::arch::{PAGE_SIZE, SsaFrame, Tcs};

/// One thread of an enclave.
#[derive(Debug)]
pub(super) struct TcsState {
    pub(super) tcs: Tcs,
    /// 1 while a processor is inside by this TCS. The assembly clears it at EEXIT.
    pub(super) busy: AtomicU32,
    /// The next free SSA frame.
    pub(super) cssa: AtomicU32,
    /// For each of the first frames the generation of the enclave's pages in which an entry with it was found possible.
    pub(super) checked: [AtomicU64; 4],
}

impl TcsState {
    /// The TCS in a page's bytes. EADD and EACCEPT refuse what the manual reserves, and offsets that are not whole pages
    /// (SDM vol. 3D, EADD).
    pub(super) fn new(tcs: Tcs, enclave_size: u64) -> Result<Self, &'static str> {
        let page = PAGE_SIZE as u64;
        if !tcs.reserved.is_zero() || !tcs.flags.is_empty() {
            return Err("sets bits of its TCS that are reserved, or that are not for it to set");
        }
        if tcs.cssa != 0 || tcs.stage != 0 || tcs.aep != 0 {
            return Err("has a TCS that says it runs already");
        }
        if !tcs.ossa.is_multiple_of(page)
            || !tcs.ofsbase.is_multiple_of(page)
            || !tcs.ogsbase.is_multiple_of(page)
        {
            return Err("has a TCS whose SSA, FS or GS offset is not that of a page");
        }
        if tcs.oentry >= enclave_size || tcs.ossa >= enclave_size {
            return Err("has a TCS whose entry point or SSA lies outside the enclave");
        }
        Ok(Self { tcs, busy: AtomicU32::new(0), cssa: AtomicU32::new(0), checked: Default::default() })
    }

    /// Takes the TCS for this processor; `false` where another has it.
    pub(super) fn acquire(&self) -> bool {
        self.busy.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    pub(super) fn release(&self) {
        self.busy.store(0, Ordering::Release);
    }

    pub(super) fn frame_offset(&self, frame: SsaFrame, cssa: u32) -> Option<u64> {
        frame.offset(self.tcs.ossa, cssa)
    }
}
