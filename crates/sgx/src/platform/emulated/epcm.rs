//! The EPCM: what the processor knows of each page of an enclave (SDM vol. 3D, "Enclave Page Cache Map").

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use crate::arch::{PAGE_SIZE, PageType, Permissions};
use crate::platform::PlatformError;
use crate::platform::memory::{Reserved, pointer};

/// One entry: whether the page is there, what it is, what is allowed, and what the enclave has not yet accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The page belongs to the enclave.
    pub(super) valid: bool,
    /// What the enclave may do with it.
    pub(super) permissions: Permissions,
    /// Regular, TCS, being trimmed.
    pub(super) page_type: PageType,
    /// Added by EAUG, not accepted.
    pub(super) pending: bool,
    /// Its type was changed, not accepted.
    pub(super) modified: bool,
    /// Its permissions were restricted, not accepted.
    pub(super) restricted: bool,
    /// The most that the host can map it with (`vm_max_prot_bits` of the kernel's `struct sgx_encl_page`).
    pub(super) mappable: Permissions,
}

impl Entry {
    /// No page.
    pub(super) const NONE: Self = Self {
        valid: false,
        permissions: Permissions::empty(),
        page_type: PageType::Reg,
        pending: false,
        modified: false,
        restricted: false,
        mappable: Permissions::RWX,
    };

    /// A page as EADD makes it.
    pub(super) fn added(page_type: PageType, permissions: Permissions) -> Self {
        // The processor accesses a TCS through the host's page table (`sgx_encl_page_alloc`).
        let mappable = if page_type == PageType::Tcs { Permissions::RW } else { permissions };
        Self { valid: true, permissions, page_type, mappable, ..Self::NONE }
    }

    /// A page as EAUG makes it: regular, readable and writable, pending.
    pub(super) fn augmented() -> Self {
        Self { pending: true, mappable: Permissions::RWX, ..Self::added(PageType::Reg, Permissions::RW) }
    }

    /// What software inside can do with the page now.
    pub(super) fn access(self) -> Permissions {
        if self.valid && self.page_type == PageType::Reg && !self.pending && !self.modified {
            self.permissions
        } else {
            Permissions::empty()
        }
    }

    fn encode(self) -> u16 {
        u16::from(self.valid)
            | u16::from(self.permissions.bits()) << 1
            | u16::from(self.pending) << 4
            | u16::from(self.modified) << 5
            | u16::from(self.restricted) << 6
            | u16::from(self.page_type.raw()) << 8
            | u16::from(self.mappable.bits()) << 12
    }

    fn decode(word: u16) -> Self {
        let bit = |n: u16| word >> n & 1 == 1;
        Self {
            valid: bit(0),
            permissions: Permissions::from_bits_truncate(u8::try_from(word >> 1 & 7).expect("three bits")),
            pending: bit(4),
            modified: bit(5),
            restricted: bit(6),
            page_type: PageType::from_raw(word.to_le_bytes()[1] & 0xf).unwrap_or(PageType::Reg),
            mappable: Permissions::from_bits_truncate(u8::try_from(word >> 12 & 7).expect("three bits")),
        }
    }
}

/// The entries of one enclave, by page. Memory is used only for those that were ever set.
#[derive(Debug)]
pub(super) struct Epcm {
    table: Reserved,
    pages: u64,
    /// For each chunk of pages, whether any entry of it was ever set.
    used: Vec<AtomicBool>,
}

/// Pages in a chunk: 2 MiB of enclave.
const CHUNK: u64 = 512;

impl Epcm {
    pub(super) fn new(enclave_size: u64) -> Result<Self, PlatformError> {
        let pages = enclave_size / PAGE_SIZE as u64;
        let bytes = (pages * 2).next_multiple_of(PAGE_SIZE as u64);
        let table = Reserved::anywhere(bytes)?;
        table.protect(table.start(), bytes, Permissions::R | Permissions::W)?;
        let used = (0..pages.div_ceil(CHUNK)).map(|_| AtomicBool::new(false)).collect();
        Ok(Self { table, pages, used })
    }

    /// The entry of the page at an offset; none for offsets beyond the enclave.
    pub(super) fn get(&self, offset: u64) -> Entry {
        self.word(offset).map_or(Entry::NONE, |word| Entry::decode(word.load(Ordering::Relaxed)))
    }

    /// Sets the entry of the page at an offset inside. The caller holds the enclave's lock.
    pub(super) fn set(&self, offset: u64, entry: Entry) {
        self.word(offset).expect("an offset inside the enclave").store(entry.encode(), Ordering::Relaxed);
        if let Some(used) = self.chunk(offset) {
            used.store(true, Ordering::Relaxed);
        }
    }

    /// The first page of `offset..end` that may have an entry: chunks in which none was ever set are passed over.
    pub(super) fn next_used(&self, mut offset: u64, end: u64) -> Option<u64> {
        let bytes = CHUNK * PAGE_SIZE as u64;
        while offset < end {
            if self.chunk(offset).is_some_and(|used| used.load(Ordering::Relaxed)) {
                return Some(offset);
            }
            offset = (offset / bytes + 1) * bytes;
        }
        None
    }

    fn chunk(&self, offset: u64) -> Option<&AtomicBool> {
        self.used.get(usize::try_from(offset / (CHUNK * PAGE_SIZE as u64)).ok()?)
    }

    fn word(&self, offset: u64) -> Option<&AtomicU16> {
        let page = offset / PAGE_SIZE as u64;
        if page >= self.pages {
            return None;
        }
        let address = self.table.start() + page * 2;
        // SAFETY: inside the table (checked), readable and writable for as long as `self` lives, aligned to two bytes, and
        // only ever used as an atomic.
        Some(unsafe { AtomicU16::from_ptr(pointer(address).cast()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_its_encoding() {
        for word in 0..1u16 << 7 {
            for page_type in [PageType::Tcs, PageType::Reg, PageType::Trim] {
                for mappable in [Permissions::empty(), Permissions::R, Permissions::RWX] {
                    let entry = Entry { page_type, mappable, ..Entry::decode(word) };
                    assert_eq!(Entry::decode(entry.encode()), entry);
                }
            }
        }
    }
}
