//! Fast mode: the enclave's one ENCLU, in its padded stub, is overwritten after measuring with a jump to the emulator.

use super::entry;
use super::thread::Thread;
use crate::arch::{PAGE_SIZE, Permissions};
use crate::platform::PlatformError;
use crate::platform::memory::{LOWEST_ADDRESS, Reserved, page_of};

/// What a stub holds before it is patched: ENCLU, `ret`, and padding. Sixteen bytes, sixteen-byte aligned.
pub const STUB: [u8; 16] =
    [0x0f, 0x01, 0xd7, 0xc3, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc];

/// The patched stub of an enclave, and how its code finds the thread that it runs on.
///
/// Between ENCLU and the emulator no register is free but one, and FS is the enclave's. What is known is GS: the slot of
/// a thread lies `distance` bytes beyond the GS base that it entered with, in a shadow of the ELRANGE that is only
/// reserved. Enclaves that move GS, or give two TCS the same GS base, need strict mode.
#[derive(Debug)]
pub(super) struct Stub {
    address: u64,
    offset: u64,
    shadow: Reserved,
    thunk: Reserved,
    base: u64,
}

impl Stub {
    pub(super) fn new(base: u64, size: u64, offset: u64) -> Result<Self, PlatformError> {
        if !offset.is_multiple_of(16) || offset >= size || base + offset < LOWEST_ADDRESS {
            return Err(PlatformError::Page { offset, problem: "cannot hold the ENCLU stub" });
        }
        let shadow = Reserved::anywhere(size)?;
        // Read-only zeros wherever no thread has entered: the thunk then faults on a null thread, not on nothing.
        shadow.protect(shadow.start(), size, Permissions::R)?;
        let thunk = Reserved::anywhere(PAGE_SIZE as u64)?;
        let distance = shadow.start().wrapping_sub(base);
        thunk.protect(thunk.start(), PAGE_SIZE as u64, Permissions::RW)?;
        thunk.write(thunk.start(), &entry::thunk(distance));
        thunk.protect(thunk.start(), PAGE_SIZE as u64, Permissions::RX)?;
        Ok(Self { address: base + offset, offset, shadow, thunk, base })
    }

    /// Offset of the page that holds the stub.
    pub(super) fn page_offset(&self) -> u64 {
        page_of(self.offset)
    }

    /// Address of ENCLU.
    pub(super) fn address(&self) -> u64 {
        self.address
    }

    /// The page that holds the thunk.
    pub(super) fn thunk(&self) -> u64 {
        self.thunk.start()
    }

    /// Overwrites the stub. The page's protection is the caller's to set afterwards.
    pub(super) fn patch(&self, memory: &Reserved) -> Result<(), PlatformError> {
        let page = page_of(self.address);
        memory.protect(page, PAGE_SIZE as u64, Permissions::RW)?;
        let mut found = [0; STUB.len()];
        memory.read(self.address, &mut found);
        if found != STUB {
            return Err(PlatformError::Page { offset: self.offset, problem: "does not hold the ENCLU stub" });
        }
        // jmp [rip + 0]; the address
        let mut code = [0xcc; STUB.len()];
        code[..6].copy_from_slice(&[0xff, 0x25, 0, 0, 0, 0]);
        code[6..14].copy_from_slice(&self.thunk.start().to_le_bytes());
        memory.write(self.address, &code);
        Ok(())
    }

    /// Makes `thread` the one that is found by this GS base.
    pub(super) fn register(&self, gs: u64, thread: *mut Thread) -> Result<(), PlatformError> {
        let slot = gs.wrapping_sub(self.base).wrapping_add(self.shadow.start());
        if !self.shadow.contains(slot, 8) {
            return Err(PlatformError::Page { offset: gs, problem: "cannot be a GS base in fast mode" });
        }
        // One call a thread and TCS would do; it is cheap beside what follows only the first time.
        let page = page_of(slot);
        let known = self.read(slot);
        if known == thread.addr() as u64 {
            return Ok(());
        }
        self.shadow.protect(page, PAGE_SIZE as u64, Permissions::RW)?;
        self.shadow.write(slot, &(thread.expose_provenance() as u64).to_ne_bytes());
        Ok(())
    }

    fn read(&self, slot: u64) -> u64 {
        let mut bytes = [0; 8];
        self.shadow.read(slot, &mut bytes);
        u64::from_ne_bytes(bytes)
    }
}
