//! A model of SGX and its host for the tests of the page manager: refuses wrong use, keeps one number a page as its
//! content, and fails when told to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use casemate_enclave::mm::{Access, AddressSpace, Hardware, HwError, PAGE_SIZE, Prot, Range};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) epcm: Prot,
    pub(crate) content: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) accept_new: u32,
    pub(crate) extend: u32,
    pub(crate) restrict: u32,
    pub(crate) trim: u32,
    pub(crate) protect: u32,
    pub(crate) zero: u32,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) dynamic: bool,
    bounds: Range,
    exclusion: Option<Range>,
    pages: BTreeMap<u64, Page>,
    host: BTreeMap<u64, Prot>,
    pub(crate) calls: Calls,
    /// Calls until the one that fails.
    pub(crate) fail_after: Option<u32>,
}

/// The model; a clone is the same machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine(pub(crate) Rc<RefCell<State>>);

pub(crate) fn pages(range: Range) -> impl Iterator<Item = u64> {
    (range.start()..range.end()).step_by(4096)
}

impl State {
    /// The page, as it is in the enclave.
    pub(crate) fn page(&self, at: u64) -> Option<Page> {
        // Added without being measured: the host chose what is in it.
        let first = Page { epcm: Prot::RWX, content: !at };
        self.pages.get(&at).copied().or_else(|| (!self.dynamic && self.is_inside(at)).then_some(first))
    }

    pub(crate) fn host(&self, at: u64) -> Prot {
        let first = if self.dynamic { Prot::RWX } else { Prot::NONE };
        self.host.get(&at).copied().unwrap_or(first)
    }

    /// Whether an instruction of the program could do it.
    pub(crate) fn can(&self, at: u64, access: Access) -> bool {
        self.page(at).is_some_and(|page| (page.epcm & self.host(at)).contains(access.needs()))
    }

    pub(crate) fn write(&mut self, at: u64, content: u64) {
        assert!(self.can(at, Access::Write), "write to {at:#x}");
        let epcm = self.page(at).unwrap().epcm;
        self.pages.insert(at, Page { epcm, content });
    }

    pub(crate) fn copy(&mut self, from: Range, to: Range) {
        assert_eq!(from.len(), to.len());
        assert!(!from.overlaps(to));
        for (from, to) in pages(from).zip(pages(to)) {
            assert!(self.can(from, Access::Read), "copy from {from:#x}");
            let content = self.page(from).unwrap().content;
            self.write(to, content);
        }
    }

    fn is_inside(&self, at: u64) -> bool {
        self.bounds.contains(at) && !self.exclusion.is_some_and(|exclusion| exclusion.contains(at))
    }

    fn begin(&mut self, range: Range) -> Result<(), HwError> {
        assert!(self.bounds.includes(range), "{range:?} is not in {:?}", self.bounds);
        for at in pages(range) {
            assert!(self.is_inside(at), "{at:#x} belongs to the kernel");
        }
        match &mut self.fail_after {
            Some(0) => {
                self.fail_after = None;
                Err(HwError::OutOfMemory)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// ENCLU works on pages that exist and that the page table shows.
    fn enclu(&self, range: Range, exists: bool) {
        assert!(self.dynamic, "EDMM where there is none");
        for at in pages(range) {
            assert_eq!(self.pages.contains_key(&at), exists, "existence of {at:#x}");
            assert!(self.host(at).contains(Prot::R), "ENCLU on {at:#x}, which the page table hides");
        }
    }
}

impl Hardware for Machine {
    fn dynamic(&self) -> bool {
        self.0.borrow().dynamic
    }

    fn accept_new(&mut self, range: Range) -> Result<(), HwError> {
        let mut state = self.0.borrow_mut();
        state.begin(range)?;
        state.calls.accept_new += 1;
        state.enclu(range, false);
        state.pages.extend(pages(range).map(|at| (at, Page { epcm: Prot::RW, content: 0 })));
        Ok(())
    }

    fn extend(&mut self, range: Range, perms: Prot) -> Result<(), HwError> {
        let mut state = self.0.borrow_mut();
        state.begin(range)?;
        state.calls.extend += 1;
        state.enclu(range, true);
        assert!(perms.contains(Prot::R));
        for at in pages(range) {
            state.pages.get_mut(&at).unwrap().epcm |= perms;
        }
        Ok(())
    }

    fn restrict(&mut self, range: Range, perms: Prot) -> Result<(), HwError> {
        let mut state = self.0.borrow_mut();
        state.begin(range)?;
        state.calls.restrict += 1;
        state.enclu(range, true);
        assert!(perms.contains(Prot::R));
        for at in pages(range) {
            let page = state.pages.get_mut(&at).unwrap();
            assert!(page.epcm.contains(perms) && page.epcm != perms, "restrict {at:#x} for nothing");
            page.epcm = perms;
        }
        Ok(())
    }

    fn trim(&mut self, range: Range) -> Result<(), HwError> {
        let mut state = self.0.borrow_mut();
        state.begin(range)?;
        state.calls.trim += 1;
        state.enclu(range, true);
        for at in pages(range) {
            state.pages.remove(&at);
        }
        Ok(())
    }

    fn protect(&mut self, range: Range, prot: Prot) -> Result<(), HwError> {
        let mut state = self.0.borrow_mut();
        state.begin(range)?;
        state.calls.protect += 1;
        state.host.extend(pages(range).map(|at| (at, prot)));
        Ok(())
    }

    fn zero(&mut self, range: Range) -> Result<(), HwError> {
        let mut state = self.0.borrow_mut();
        state.begin(range)?;
        state.calls.zero += 1;
        for at in pages(range) {
            state.write(at, 0);
        }
        Ok(())
    }
}

pub(crate) const BASE: u64 = 0x1000_0000;

/// The address of a page of the tests.
pub(crate) const fn at(page: u64) -> u64 {
    BASE + page * PAGE_SIZE
}

pub(crate) fn range(start: u64, end: u64) -> Range {
    Range::new(at(start), at(end)).unwrap()
}

/// An address space of `count` pages of which at most `limit` are committed.
pub(crate) fn space(
    dynamic: bool,
    count: u64,
    exclusion: Option<Range>,
    limit: u64,
) -> (AddressSpace<Machine>, Machine) {
    let bounds = range(0, count);
    let machine = Machine(Rc::new(RefCell::new(State {
        dynamic,
        bounds,
        exclusion,
        pages: BTreeMap::new(),
        host: BTreeMap::new(),
        calls: Calls::default(),
        fail_after: None,
    })));
    let exclusions: Vec<Range> = exclusion.into_iter().collect();
    (AddressSpace::new(machine.clone(), bounds, &exclusions, limit * PAGE_SIZE), machine)
}
