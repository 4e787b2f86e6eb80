//! One emulated enclave: ECREATE, EADD, EEXTEND, EINIT and the kernel's EDMM calls, on real measurements.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use zerocopy::FromBytes as _;

use super::epcm::{Entry, Epcm};
use super::page_table::PageTable;
use super::stub::Stub;
use super::tcs::TcsState;
use super::{Options, enter, keys};
use crate::arch::{
    AttributeFlags, Attributes, EEXTEND_SIZE, Miscselect, PAGE_SIZE, PageType, Permissions, SecInfo, Secs,
    Sigstruct, SsaFrame, Tcs,
};
use crate::measure::Measurement;
use crate::platform::memory::{LOWEST_ADDRESS, Reserved, size};
use crate::platform::{Enclave, EnterLeaf, Exit, PlatformError, Registers, Source, check_range, whole_pages};
use crate::sign;

const PAGE: u64 = PAGE_SIZE as u64;

/// What changes under the lock.
#[derive(Debug)]
struct Mutable {
    /// While it is being built; `None` once initialised.
    measurement: Option<Measurement>,
    page_table: PageTable,
}

/// How often the wall was crossed.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) eenter: AtomicU64,
    pub(super) eexit: AtomicU64,
    pub(super) eresume: AtomicU64,
    pub(super) aex: AtomicU64,
}

/// An enclave in this process's memory.
#[derive(Debug)]
pub struct EmulatedEnclave {
    base: u64,
    size: u64,
    pub(super) options: Arc<Options>,
    pub(super) frame: SsaFrame,
    pub(super) xfrm: u64,
    pub(super) miscselect: Miscselect,
    pub(super) memory: Reserved,
    pub(super) epcm: Epcm,
    /// The SECS; MRENCLAVE and the signer's fields are set by EINIT.
    secs: RwLock<Secs>,
    initialised: AtomicBool,
    mutable: Mutex<Mutable>,
    tcs: RwLock<HashMap<u64, Arc<TcsState>>>,
    pub(super) stub: Option<Stub>,
    pub(super) counters: Counters,
    /// Goes up with every change of the EPCM or of the page table, once the change is made.
    generation: AtomicU64,
}

impl EmulatedEnclave {
    pub(super) fn create(options: Arc<Options>, secs: &Secs) -> Result<Self, PlatformError> {
        let (base, size) = (secs.baseaddr, secs.size);
        let range = |reason| PlatformError::Range { base, size, reason };
        check_range(secs, super::MAX_SIZE_LOG2)?;
        let frame = SsaFrame::new(secs.ssaframesize).ok_or(range("its SSA frames have no size"))?;
        super::attributes::check(secs, frame)?;
        let memory = Reserved::at(base, size)?;
        let stub = match options.stub_offset {
            Some(offset) if !options.strict => Some(Stub::new(base, size, offset)?),
            _ => None,
        };
        Ok(Self {
            base,
            size,
            frame,
            xfrm: secs.attributes.xfrm,
            miscselect: secs.miscselect,
            memory,
            epcm: Epcm::new(size)?,
            secs: RwLock::new(secs.clone()),
            initialised: AtomicBool::new(false),
            mutable: Mutex::new(Mutable {
                measurement: Some(Measurement::create(secs.ssaframesize, size)),
                page_table: PageTable::default(),
            }),
            tcs: RwLock::default(),
            stub,
            counters: Counters::default(),
            generation: AtomicU64::new(1),
            options,
        })
    }

    pub(super) fn is_initialised(&self) -> bool {
        self.initialised.load(Ordering::Acquire)
    }

    /// The state of all pages, as a number that no other state has.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn pages_changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(super) fn secs(&self) -> Secs {
        self.secs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether an address lies in the ELRANGE.
    pub(super) fn contains(&self, address: u64) -> bool {
        address.wrapping_sub(self.base) < self.size
    }

    /// Whole pages inside, in offsets: where they begin and end.
    fn check(&self, offset: u64, length: u64) -> Result<(u64, u64), PlatformError> {
        whole_pages(offset, length, self.size)
    }

    fn lock(&self) -> MutexGuard<'_, Mutable> {
        self.mutable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The TCS whose page is at this address, if that is what it is and its owner has accepted it.
    pub(super) fn tcs_at(&self, address: u64) -> Option<Arc<TcsState>> {
        let offset = address.wrapping_sub(self.base);
        let entry = self.epcm.get(offset);
        if !entry.valid || entry.page_type != PageType::Tcs || entry.pending || entry.modified {
            return None;
        }
        self.tcs.read().unwrap_or_else(PoisonError::into_inner).get(&offset).cloned()
    }

    /// Gives the pages of `start..end` the protection that EPCM and page table allow together, run by run.
    fn apply(&self, mutable: &Mutable, start: u64, end: u64) -> Result<(), PlatformError> {
        let start = start.max(LOWEST_ADDRESS.saturating_sub(self.base));
        let mut run = start;
        while run < end {
            let mapped_until = mutable.page_table.run_end(run, end);
            let mapped = mutable.page_table.get(run);
            let access = self.epcm.get(run).access() & mapped;
            let mut next = run + PAGE;
            while next < mapped_until && self.epcm.get(next).access() & mapped == access {
                next += PAGE;
            }
            self.memory.protect(self.base + run, next - run, access)?;
            run = next;
        }
        Ok(())
    }

    /// Runs `change` on a page's entry under the lock, and brings its protection up to date. What it returns is passed on.
    pub(super) fn change_page<T>(
        &self,
        offset: u64,
        change: impl FnOnce(Entry, Permissions) -> Result<(Entry, T), T>,
    ) -> T {
        let mutable = self.lock();
        let before = self.epcm.get(offset);
        match change(before, mutable.page_table.get(offset)) {
            Err(result) => result,
            Ok((after, result)) => {
                self.epcm.set(offset, after);
                let mapped = mutable.page_table.get(offset);
                if before.access() & mapped != after.access() & mapped {
                    self.apply(&mutable, offset, offset + PAGE).expect("the protection of one page");
                }
                self.pages_changed();
                result
            }
        }
    }

    /// What the host's page table allows at an offset.
    pub(super) fn mapped(&self, offset: u64) -> Permissions {
        self.lock().page_table.get(offset)
    }

    /// Registers a page of the enclave's as the TCS that its bytes say.
    pub(super) fn add_tcs(&self, offset: u64, bytes: &[u8]) -> Result<(), PlatformError> {
        let refuse = |problem| PlatformError::Page { offset, problem };
        let tcs = Tcs::read_from_bytes(bytes).map_err(|_| refuse("is no whole page"))?;
        let state = TcsState::new(tcs, self.size).map_err(refuse)?;
        self.tcs.write().unwrap_or_else(PoisonError::into_inner).insert(offset, Arc::new(state));
        Ok(())
    }

    /// The contents of a page, whatever its protection.
    pub(super) fn peek_page(&self, offset: u64) -> Vec<u8> {
        let mutable = self.lock();
        let mut bytes = vec![0; PAGE_SIZE];
        self.memory.protect(self.base + offset, PAGE, Permissions::R).expect("the protection of one page");
        self.memory.read(self.base + offset, &mut bytes);
        self.apply(&mutable, offset, offset + PAGE).expect("the protection of one page");
        bytes
    }

    /// Writes a page whatever its protection.
    pub(super) fn poke_page(&self, offset: u64, bytes: &[u8]) {
        let mutable = self.lock();
        self.memory.protect(self.base + offset, PAGE, Permissions::RW).expect("the protection of one page");
        self.memory.write(self.base + offset, bytes);
        self.apply(&mutable, offset, offset + PAGE).expect("the protection of one page");
    }

    /// The pages of an EDMM call, one by one, as far as they go; an error only where the first one fails.
    fn each_page(
        &self,
        offset: u64,
        length: u64,
        mut change: impl FnMut(u64, Entry) -> Result<Entry, &'static str>,
    ) -> Result<u64, PlatformError> {
        let (start, end) = self.check(offset, length)?;
        if !self.is_initialised() {
            return Err(PlatformError::State("not initialised yet"));
        }
        if !self.options.edmm {
            return Err(PlatformError::Missing {
                platform: "emulated",
                reason: "EDMM is switched off".into(),
            });
        }
        let mutable = self.lock();
        let mut done = start;
        let mut refused = None;
        while done < end {
            match change(done, self.epcm.get(done)) {
                Ok(entry) => self.epcm.set(done, entry),
                Err(problem) => {
                    refused = Some(PlatformError::Page { offset: done, problem });
                    break;
                }
            }
            done += PAGE;
        }
        if done > start {
            self.pages_changed();
            self.apply(&mutable, start, done)?;
        }
        match refused {
            Some(error) if done == start => Err(error),
            _ => Ok(done - start),
        }
    }

    fn measure(measurement: &mut Measurement, source: Source<'_>, offset: u64, kind: &SecInfo, extend: bool) {
        const ZERO: [u8; PAGE_SIZE] = [0; PAGE_SIZE];
        let pages = source.len() / PAGE;
        for page in 0..pages {
            let at = offset + page * PAGE;
            measurement.add(at, kind);
            if !extend {
                continue;
            }
            let bytes = match source {
                Source::Bytes(bytes) => &bytes[size(page * PAGE)..][..PAGE_SIZE],
                Source::Zeros(_) => &ZERO,
            };
            for (chunk, place) in bytes.chunks_exact(EEXTEND_SIZE).zip((at..).step_by(EEXTEND_SIZE)) {
                measurement.extend(place, chunk.try_into().expect("256 bytes"));
            }
        }
    }
}

impl Enclave for EmulatedEnclave {
    fn base(&self) -> u64 {
        self.base
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn add_pages(
        &self,
        source: Source<'_>,
        offset: u64,
        kind: &SecInfo,
        measure: bool,
    ) -> Result<(), PlatformError> {
        let (start, end) = self.check(offset, source.len())?;
        let refuse = |problem| Err(PlatformError::Page { offset, problem });
        let permissions = kind.permissions();
        let Some(page_type @ (PageType::Reg | PageType::Tcs)) = kind.page_type() else {
            return refuse("is neither regular nor a TCS");
        };
        if !kind.reserved_is_zero() || !kind.state().is_empty() {
            return refuse("has a SECINFO with reserved or state bits set");
        }
        if !permissions.is_valid() {
            return refuse("is writable without being readable");
        }
        if page_type == PageType::Tcs && !permissions.is_empty() {
            return refuse("is a TCS with permissions");
        }
        if self.base + start < LOWEST_ADDRESS {
            return refuse("lies in the first pages of the address space, which the kernel gives nobody");
        }
        let mut mutable = self.lock();
        let Some(measurement) = mutable.measurement.as_mut() else {
            return Err(PlatformError::State("initialised already"));
        };
        if let Some(taken) = (start..end).step_by(PAGE_SIZE).find(|page| self.epcm.get(*page).valid) {
            return Err(PlatformError::Page { offset: taken, problem: "was added before" });
        }
        Self::measure(measurement, source, start, kind, measure);
        if let Source::Bytes(bytes) = source {
            self.memory.protect(self.base + start, end - start, Permissions::RW)?;
            self.memory.write(self.base + start, bytes);
            self.memory.protect(self.base + start, end - start, Permissions::empty())?;
        }
        let entry = Entry::added(page_type, permissions);
        for page in (start..end).step_by(PAGE_SIZE) {
            self.epcm.set(page, entry);
        }
        drop(mutable);
        if page_type == PageType::Tcs {
            let Source::Bytes(bytes) = source else {
                return refuse("is a TCS without SSA");
            };
            for (page, at) in bytes.chunks_exact(PAGE_SIZE).zip((start..).step_by(PAGE_SIZE)) {
                self.add_tcs(at, page)?;
            }
        }
        Ok(())
    }

    fn init(&self, sigstruct: &Sigstruct) -> Result<(), PlatformError> {
        let mut mutable = self.lock();
        let Some(measurement) = mutable.measurement.take() else {
            return Err(PlatformError::State("initialised already"));
        };
        let mrenclave = measurement.finish();
        let mut secs = self.secs.write().unwrap_or_else(PoisonError::into_inner);
        super::attributes::check_signature(&secs, &mrenclave, sigstruct, self.options.provision)?;
        secs.mrenclave = mrenclave;
        secs.mrsigner = sign::mrsigner(sigstruct);
        secs.isvprodid = sigstruct.isvprodid;
        secs.isvsvn = sigstruct.isvsvn;
        secs.attributes.flags |= AttributeFlags::INIT;
        if let Some(stub) = &self.stub {
            stub.patch(&self.memory)?;
            self.apply(&mutable, stub.page_offset(), stub.page_offset() + PAGE)?;
        }
        self.initialised.store(true, Ordering::Release);
        Ok(())
    }

    fn attributes(&self) -> Attributes {
        self.secs().attributes
    }

    fn protect(&self, offset: u64, length: u64, permissions: Permissions) -> Result<(), PlatformError> {
        let (start, end) = self.check(offset, length)?;
        let mut mutable = self.lock();
        if !self.is_initialised() {
            return Err(PlatformError::State("not initialised yet"));
        }
        // `sgx_encl_may_map` of the kernel: no more than each page was added with.
        let mut next = self.epcm.next_used(start, end);
        while let Some(page) = next {
            let entry = self.epcm.get(page);
            if entry.valid && !entry.mappable.contains(permissions) {
                return Err(PlatformError::Permissions {
                    offset: page,
                    wanted: permissions,
                    allowed: entry.mappable,
                });
            }
            next = self.epcm.next_used(page + PAGE, end);
        }
        mutable.page_table.set(start, end, permissions);
        self.pages_changed();
        if !self.options.edmm || end - start <= super::SMALL_RANGE {
            return self.apply(&mutable, start, end);
        }
        // Of a large range only the pages that are there matter; the rest has no access already.
        let mut next = self.epcm.next_used(start, end);
        while let Some(first) = next {
            let mut page = first;
            while page < end && self.epcm.get(page).valid {
                page += PAGE;
            }
            if page > first {
                self.apply(&mutable, first, page)?;
            }
            next = self.epcm.next_used(page.max(first + PAGE), end);
        }
        Ok(())
    }

    fn restrict_permissions(
        &self,
        offset: u64,
        length: u64,
        permissions: Permissions,
    ) -> Result<u64, PlatformError> {
        if !permissions.is_valid() || !permissions.contains(Permissions::R) {
            return Err(PlatformError::Page { offset, problem: "cannot lose the permission to read" });
        }
        self.each_page(offset, length, |_, entry| {
            if !entry.valid || entry.page_type != PageType::Reg || entry.pending || entry.modified {
                return Err("is not a regular page that is accepted");
            }
            Ok(Entry { permissions: entry.permissions & permissions, restricted: true, ..entry })
        })
    }

    fn modify_types(&self, offset: u64, length: u64, page_type: PageType) -> Result<u64, PlatformError> {
        if !matches!(page_type, PageType::Tcs | PageType::Trim) {
            return Err(PlatformError::Page {
                offset,
                problem: "can become a TCS or be trimmed, nothing else",
            });
        }
        self.each_page(offset, length, |_, entry| {
            if !entry.valid || entry.pending || entry.modified {
                return Err("is not there or not accepted");
            }
            match (entry.page_type, page_type) {
                (PageType::Reg, PageType::Tcs) if !entry.mappable.contains(Permissions::RW) => {
                    Err("cannot become a TCS: it was not added to be read and written")
                }
                (PageType::Reg, PageType::Tcs) | (PageType::Reg | PageType::Tcs, PageType::Trim) => {
                    let mappable = if page_type == PageType::Tcs { Permissions::RW } else { entry.mappable };
                    let permissions = Permissions::empty();
                    Ok(Entry { page_type, permissions, modified: true, restricted: false, mappable, ..entry })
                }
                _ => Err("cannot change to that type"),
            }
        })
    }

    fn remove_pages(&self, offset: u64, length: u64) -> Result<u64, PlatformError> {
        let done = self.each_page(offset, length, |page, entry| {
            if !entry.valid || entry.page_type != PageType::Trim || entry.modified {
                return Err("is not trimmed and accepted");
            }
            let mut tcs = self.tcs.write().unwrap_or_else(PoisonError::into_inner);
            if tcs.get(&page).is_some_and(|state| state.busy.load(Ordering::Acquire) != 0) {
                return Err("is a TCS in use");
            }
            tcs.remove(&page);
            Ok(Entry::NONE)
        })?;
        self.memory.discard(self.base + offset, done);
        Ok(done)
    }

    unsafe fn enter(&self, tcs: u64, leaf: EnterLeaf, registers: Registers) -> Result<Exit, PlatformError> {
        // SAFETY: passed on to the caller.
        unsafe { enter::enter(self, tcs, leaf, registers) }
    }
}

impl Drop for EmulatedEnclave {
    fn drop(&mut self) {
        super::registry::remove(self);
    }
}

impl EmulatedEnclave {
    /// EREPORT's answer for this enclave.
    pub(super) fn report(&self, target: &crate::arch::TargetInfo, data: &[u8; 64]) -> crate::arch::Report {
        keys::report(&self.options.secret, self.options.keyid, &self.secs(), target, data)
    }

    /// EGETKEY's answer for this enclave.
    pub(super) fn key(&self, request: &crate::arch::KeyRequest) -> Result<[u8; 16], crate::arch::ErrorCode> {
        keys::key(&self.options.secret, &self.secs(), request)
    }
}
