//! Any sequence of operations on the address space, compared with a map from page to protection and content.

mod mm_support;

use std::collections::BTreeMap;

use casemate_enclave::mm::{
    Access, AddressSpace, Cause, FaultOutcome, Kind, MapError, MapFlags, PAGE_SIZE, Prot, Range, RemapFlags,
    Remapped,
};
use mm_support::{BASE, Machine, at, pages, range, space};
use proptest::prelude::*;

const COUNT: u64 = 300;
const LIMIT: u64 = 150;
const KERNEL: (u64, u64) = (120, 130);

#[derive(Clone, Debug)]
enum Op {
    Map { hint: Option<u64>, len: u64, prot: Prot, flags: MapFlags, file: bool },
    Unmap { address: u64, len: u64 },
    Protect { address: u64, len: u64, prot: Prot },
    Remap { old: u64, old_len: u64, new_len: u64, flags: RemapFlags },
    Brk { new: u64 },
    DontNeed { address: u64, len: u64 },
    Fault { address: u64, access: Access },
    Populate { range: Range, access: Access },
    Write { page: u64, content: u64 },
    Seal { address: u64, len: u64 },
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Mapped {
    prot: Prot,
    content: u64,
    file: bool,
    sealed: bool,
}

type Expected = BTreeMap<u64, Mapped>;

fn any_prot() -> impl Strategy<Value = Prot> {
    prop_oneof![3 => Just(Prot::RW), 5 => (0..8u8).prop_map(Prot::from_bits_truncate)]
}

fn any_access() -> impl Strategy<Value = Access> {
    prop_oneof![Just(Access::Read), Just(Access::Write), Just(Access::Exec)]
}

fn any_address() -> impl Strategy<Value = u64> {
    prop_oneof![60 => (0..COUNT).prop_map(at), 1 => (0..COUNT * PAGE_SIZE).prop_map(|a| BASE + a), 1 => any::<u64>()]
}

fn any_len() -> impl Strategy<Value = u64> {
    prop_oneof![
        40 => (1..12u64).prop_map(|pages| pages * PAGE_SIZE),
        10 => (1..120u64).prop_map(|pages| pages * PAGE_SIZE),
        2 => 0..20_000u64,
        1 => any::<u64>()
    ]
}

prop_compose! {
    fn any_flags()(bits in any::<[bool; 6]>(), fixed in 0..4u8) -> MapFlags {
        MapFlags {
            fixed: fixed == 1,
            fixed_noreplace: fixed == 2,
            noreserve: bits[0],
            stack: bits[1],
            populate: bits[2] && bits[3],
            shared: bits[4] && bits[5],
            ..MapFlags::default()
        }
    }
}

fn any_op(seals: bool) -> impl Strategy<Value = Op> {
    let hint = prop_oneof![1 => Just(None), 4 => any_address().prop_map(Some)];
    let remap = (any::<bool>(), prop_oneof![2 => Just(None), 1 => any_address().prop_map(Some)], 0..6u8)
        .prop_map(|(maymove, fixed, keep)| RemapFlags {
            maymove: maymove || fixed.is_some(),
            fixed,
            dontunmap: keep == 0,
        });
    prop_oneof![
        8 => (hint, any_len(), any_prot(), any_flags(), prop::bool::weighted(0.2))
            .prop_map(|(hint, len, prot, flags, file)| Op::Map { hint, len, prot, flags, file }),
        4 => (any_address(), any_len()).prop_map(|(address, len)| Op::Unmap { address, len }),
        6 => (any_address(), any_len(), any_prot())
            .prop_map(|(address, len, prot)| Op::Protect { address, len, prot }),
        4 => (any_address(), any_len(), any_len(), remap)
            .prop_map(|(old, old_len, new_len, flags)| Op::Remap { old, old_len, new_len, flags }),
        2 => any_address().prop_map(|new| Op::Brk { new }),
        3 => (any_address(), any_len()).prop_map(|(address, len)| Op::DontNeed { address, len }),
        8 => (any_address(), any_access()).prop_map(|(address, access)| Op::Fault { address, access }),
        3 => (any_address(), any_len(), any_access()).prop_filter_map("a range", |(address, len, access)|
            Some(Op::Populate { range: Range::covering(address, len)?, access })),
        12 => (0..COUNT, 1..u64::MAX).prop_map(|(page, content)| Op::Write { page, content }),
        u32::from(seals) => (any_address(), any_len()).prop_map(|(address, len)| Op::Seal { address, len }),
    ]
}

/// What an operation did, by the machine and by the expectation.
struct Run {
    space: AddressSpace<Machine>,
    machine: Machine,
    expected: Expected,
    brk: u64,
    /// Without failures of the host every outcome is foretold; with them only what must never happen is checked.
    exact: bool,
}

impl Run {
    fn new(dynamic: bool, fail_after: Option<u32>) -> Self {
        let kernel = range(KERNEL.0, KERNEL.1);
        let (mut space, machine) = space(dynamic, COUNT, Some(kernel), LIMIT);
        let brk = at(20) + 0x123;
        space.set_brk_start(brk);
        machine.0.borrow_mut().fail_after = fail_after;
        Self { space, machine, expected: Expected::new(), brk, exact: fail_after.is_none() }
    }

    fn mapped(&self, range: Range) -> impl Iterator<Item = (&u64, &Mapped)> {
        self.expected.range(range.start()..range.end())
    }

    fn is_sealed(&self, range: Range) -> bool {
        self.mapped(range).any(|(_, page)| page.sealed)
    }

    fn take(&mut self, range: Range) {
        self.expected.retain(|page, _| !range.contains(*page));
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Map { hint, len, prot, flags, file } => {
                let kind =
                    if file { Kind::File { name: "/f".into(), offset: 0x3000 } } else { Kind::Anonymous };
                let place = hint.and_then(|hint| Range::at(hint, len));
                let busy = place.is_some_and(|place| self.mapped(place).next().is_some());
                let sealed = place.is_some_and(|place| self.is_sealed(place));
                let result = self.space.map(hint, len, prot, flags, kind);
                match result {
                    Ok(address) => {
                        let new = Range::at(address, len).unwrap();
                        assert!(range(0, COUNT).includes(new) && !new.overlaps(range(KERNEL.0, KERNEL.1)));
                        if flags.fixed || flags.fixed_noreplace {
                            assert_eq!(Some(address), hint);
                            assert!(!(sealed || flags.fixed_noreplace && busy));
                        } else {
                            assert_eq!(self.mapped(new).next(), None, "not free");
                        }
                        if let (Some(place), false) = (place, busy)
                            && range(0, COUNT).includes(place)
                            && !place.overlaps(range(KERNEL.0, KERNEL.1))
                        {
                            assert_eq!(address, place.start(), "the hint was free");
                        }
                        self.take(new);
                        let page = Mapped { prot, content: 0, file, sealed: false };
                        self.expected.extend(pages(new).map(|at| (at, page)));
                    }
                    Err(MapError::Exists { .. }) => assert!(busy && flags.fixed_noreplace),
                    Err(MapError::Sealed { .. }) => assert!(sealed && flags.fixed),
                    Err(error) => assert!([12, 22, 75].contains(&error.errno()), "{error}"),
                }
            }
            Op::Unmap { address, len } => {
                let result = self.space.unmap(address, len);
                let range = Range::at(address, len);
                match result {
                    Ok(()) => self.take(range.unwrap()),
                    Err(error) if self.exact => match range {
                        Some(range) if range.end() < 1 << 47 => {
                            assert_eq!((error.errno(), self.is_sealed(range)), (1, true));
                        }
                        _ => assert_eq!(error.errno(), 22),
                    },
                    Err(_) => {}
                }
            }
            Op::Protect { address, len, prot } => {
                let result = self.space.protect(address, len, prot);
                let Some(range) = Range::at(address, len) else {
                    return if address.is_multiple_of(PAGE_SIZE) && len == 0 {
                        assert_eq!(result, Ok(()));
                    } else {
                        assert!(result.is_err());
                    };
                };
                let stop =
                    pages(range.until(at(COUNT + 1)).unwrap_or(range).intersect(range_all(range)).unwrap())
                        .find(|page| self.expected.get(page).is_none_or(|page| page.sealed));
                if self.exact {
                    let errno = match stop.map(|stop| self.expected.get(&stop)) {
                        None => Ok(()),
                        Some(None) => Err(12),
                        Some(Some(_)) => Err(1),
                    };
                    assert_eq!(result.map_err(MapError::errno), errno);
                } else if result.is_err_and(|error| matches!(error, MapError::Host(_))) {
                    // The mappings may have changed or not; what counts is that the pages agree with them.
                    self.follow();
                    return;
                }
                let end = stop.unwrap_or(range.end());
                for (_, page) in self.expected.range_mut(range.start()..end.max(range.start())) {
                    page.prot = prot;
                }
            }
            Op::Remap { old, old_len, new_len, flags } => self.remap(old, old_len, new_len, flags),
            Op::Brk { new } => {
                let result = self.space.brk(new);
                let round = |a: u64| a.next_multiple_of(PAGE_SIZE);
                if result == new && new != self.brk {
                    let page = Mapped { prot: Prot::RW, content: 0, file: false, sealed: false };
                    if let Some(growth) = Range::new(round(self.brk), round(new)) {
                        assert_eq!(self.mapped(growth).next(), None);
                        self.expected.extend(pages(growth).map(|at| (at, page)));
                    } else if let Some(rest) = Range::new(round(new), round(self.brk)) {
                        self.take(rest);
                    }
                    self.brk = new;
                }
                assert_eq!(result, self.brk);
            }
            Op::DontNeed { address, len } => {
                let result = self.space.advise_dontneed(address, len);
                let Some(range) = Range::at(address, len) else { return };
                if self.exact {
                    let sealed =
                        self.mapped(range).any(|(_, page)| page.sealed && !page.prot.contains(Prot::W));
                    if sealed {
                        assert_eq!(result.map_err(MapError::errno), Err(1));
                        return;
                    }
                    let holes = self.mapped(range).count() as u64 * PAGE_SIZE != range.len();
                    assert_eq!(result.is_err(), holes);
                    for (_, page) in self.expected.range_mut(range.start()..range.end()) {
                        if !page.file {
                            page.content = 0;
                        }
                    }
                }
            }
            Op::Fault { address, access } => {
                let page = address & !(PAGE_SIZE - 1);
                let outcome = self.space.fault(address, access);
                match self.expected.get(&page) {
                    None => assert!(denied(outcome, Cause::NotMapped), "{outcome:?}"),
                    Some(mapped) if !mapped.prot.allows(access) => {
                        assert!(denied(outcome, Cause::NoAccess), "{outcome:?}");
                    }
                    Some(_) if denied(outcome, Cause::OutOfMemory) => {
                        assert_eq!(self.space.usage().committed, LIMIT * PAGE_SIZE);
                    }
                    Some(_) => match outcome {
                        FaultOutcome::Denied(fault) => {
                            assert!(!self.exact && matches!(fault.cause, Cause::Host(_)), "{fault}");
                        }
                        _ => assert!(self.machine.0.borrow().can(page, access)),
                    },
                }
            }
            Op::Populate { range, access } => {
                let ok = |expected: &Expected, page| {
                    expected.get(&page).is_some_and(|mapped| mapped.prot.allows(access))
                };
                match self.space.populate(range, access) {
                    Ok(()) => {
                        for page in pages(range) {
                            assert!(ok(&self.expected, page) && self.machine.0.borrow().can(page, access));
                        }
                    }
                    Err(fault) => {
                        assert!(range.contains(fault.at));
                        for page in pages(range).take_while(|page| *page < fault.at) {
                            assert!(self.machine.0.borrow().can(page, access));
                        }
                        let unmapped = matches!(fault.cause, Cause::NotMapped | Cause::NoAccess);
                        assert_eq!(ok(&self.expected, fault.at), !unmapped);
                    }
                }
            }
            Op::Write { page, content } => {
                let page = at(page);
                if !matches!(self.space.fault(page, Access::Write), FaultOutcome::Denied(_)) {
                    self.machine.0.borrow_mut().write(page, content);
                    self.expected.get_mut(&page).unwrap().content = content;
                }
            }
            Op::Seal { address, len } => {
                if self.space.seal(address, len).is_ok()
                    && let Some(range) = Range::at(address, len)
                {
                    assert_eq!(self.mapped(range).count() as u64 * PAGE_SIZE, range.len());
                    self.expected
                        .range_mut(range.start()..range.end())
                        .for_each(|(_, page)| page.sealed = true);
                }
            }
        }
    }

    fn remap(&mut self, old: u64, old_len: u64, new_len: u64, flags: RemapFlags) {
        let machine = self.machine.clone();
        let result = self.space.remap(old, old_len, new_len, flags, |copy| {
            machine.0.borrow_mut().copy(copy.from, copy.to);
        });
        let target = flags.fixed.and_then(|to| Range::at(to, new_len));
        let Ok(done) = result else {
            // What was at a fixed target may be gone, and only that.
            if let Some(target) = target {
                let still: Vec<u64> = self.mapped(target).map(|(page, _)| *page).collect();
                let gone = still.iter().filter(|page| self.space.find(**page).is_none());
                let gone: Vec<u64> = gone.copied().collect();
                assert!(gone.is_empty() || gone.len() == still.len() || !self.exact);
                self.expected.retain(|page, _| !gone.contains(page));
            }
            return;
        };
        let old_range = Range::at(old, old_len).unwrap();
        let new_range = Range::at(done.address(), new_len).unwrap();
        if let (Remapped::Moved { .. }, None) = (done, flags.fixed) {
            assert_eq!(self.mapped(new_range).next(), None);
        }
        if let Some(target) = target {
            assert_eq!(target, new_range);
            self.take(target);
        }
        let source: Vec<Mapped> = self.mapped(old_range).map(|(_, page)| *page).collect();
        let first = *source.first().expect("something was mapped");
        match done {
            Remapped::InPlace { at } => {
                assert_eq!(at, old);
                if let Some(tail) = Range::new(new_range.end(), old_range.end()) {
                    self.take(tail);
                } else if let Some(added) = Range::new(old_range.end(), new_range.end()) {
                    assert_eq!(self.mapped(added).next(), None);
                    self.expected.extend(pages(added).map(|at| (at, Mapped { content: 0, ..first })));
                }
            }
            Remapped::Moved { .. } => {
                if flags.dontunmap {
                    for (_, page) in self.expected.range_mut(old_range.start()..old_range.end()) {
                        page.content = 0;
                    }
                } else {
                    self.take(old_range);
                }
                let rest = core::iter::repeat(Mapped { content: 0, ..first });
                self.expected.extend(pages(new_range).zip(source.into_iter().chain(rest)));
            }
        }
    }

    /// Takes over the protections that the mappings have.
    fn follow(&mut self) {
        for (page, mapped) in &mut self.expected {
            mapped.prot = self.space.find(*page).expect("mapped").vma.prot;
        }
    }

    fn check(&mut self) {
        if !self.exact {
            let space = &self.space;
            self.expected.retain(|page, _| space.find(*page).is_some());
        }
        let state = self.machine.0.borrow();
        let mut committed = 0;
        for page in pages(range(0, COUNT)) {
            let vma = self.space.find(page).map(|mapping| mapping.vma.prot);
            let expected = self.expected.get(&page);
            if self.exact {
                assert_eq!(vma, expected.map(|expected| expected.prot), "mapping of {page:#x}");
            }
            let allowed = vma.unwrap_or(Prot::NONE);
            let (hardware, host) = (state.page(page), state.host(page));
            if state.dynamic {
                committed += u64::from(hardware.is_some()) * PAGE_SIZE;
                assert!(hardware.is_none() || vma.is_some(), "{page:#x} leaked");
            }
            if let Some(hardware) = hardware {
                let can = hardware.epcm & host;
                let more = can.difference(allowed.effective());
                if state.dynamic {
                    let enforced = hardware.epcm.difference(allowed) & (Prot::W | Prot::X);
                    assert!(enforced.is_empty(), "{page:#x} has {:?}, mapping {allowed:?}", hardware.epcm);
                }
                if self.exact {
                    assert!(more.is_empty(), "{page:#x} can {can:?}, mapping {allowed:?}");
                    if let (true, Some(expected)) = (can.contains(Prot::R), expected) {
                        assert_eq!(hardware.content, expected.content, "content of {page:#x}");
                    }
                }
            }
        }
        let usage = self.space.usage();
        assert!(usage.committed <= LIMIT * PAGE_SIZE);
        if state.dynamic {
            assert_eq!(usage.committed, committed);
        }
        if self.exact {
            assert_eq!(usage.reserved, self.expected.len() as u64 * PAGE_SIZE);
        }
    }

    /// Every page that can be read has the content that it should have.
    fn check_contents(&mut self) {
        let expected: Vec<(u64, Mapped)> =
            self.expected.iter().map(|(page, mapped)| (*page, *mapped)).collect();
        for (page, mapped) in expected {
            if self.space.populate(Range::at(page, 1).unwrap(), Access::Read).is_ok() {
                let state = self.machine.0.borrow();
                assert_eq!(state.page(page).unwrap().content, mapped.content, "content of {page:#x}");
            }
        }
    }
}

/// The part of a range that a test has to look at: all behind is unmapped.
fn range_all(range: Range) -> Range {
    range.until(range.start().saturating_add((COUNT + 1) * PAGE_SIZE) & !(PAGE_SIZE - 1)).unwrap_or(range)
}

fn denied(outcome: FaultOutcome, cause: Cause) -> bool {
    matches!(outcome, FaultOutcome::Denied(fault) if fault.cause == cause)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn as_the_model_says(
        dynamic in any::<bool>(),
        ops in any::<bool>().prop_flat_map(|seals| prop::collection::vec(any_op(seals), 1..60)),
    ) {
        let mut run = Run::new(dynamic, None);
        for op in ops {
            run.apply(&op);
            run.check();
        }
        run.check_contents();
    }

    #[test]
    fn a_host_that_fails_once_gains_nothing(
        dynamic in any::<bool>(),
        fail_after in 0..60u32,
        ops in prop::collection::vec(any_op(false), 1..60),
    ) {
        let mut run = Run::new(dynamic, Some(fail_after));
        for op in ops {
            run.apply(&op);
            run.check();
        }
    }

    #[test]
    fn no_argument_panics(dynamic in any::<bool>(), args in prop::collection::vec(any::<([u64; 4], u8)>(), 1..30)) {
        let edge = |value: u64| match value % 7 {
            0 => value,
            1 => at(value / 7 % COUNT),
            2 => u64::MAX - value % 9000,
            3 => (1 << 47) - value % 9000,
            4 => value % 9000,
            5 => (value % 80) * PAGE_SIZE,
            _ => value & !(PAGE_SIZE - 1),
        };
        let (mut space, machine) = space(dynamic, COUNT, None, LIMIT);
        for ([a, b, c, d], bits) in args {
            let (a, b, c, d) = (edge(a), edge(b), edge(c), edge(d));
            let prot = Prot::from_bits_truncate(bits);
            let fixed = bits & 8 != 0;
            let access = if bits & 16 != 0 { Access::Write } else { Access::Exec };
            let flags = MapFlags { fixed, grows_down: bits & 32 != 0, populate: bits & 64 != 0, ..MapFlags::default() };
            let _ = space.map(Some(a), b, prot, flags, Kind::File { name: "/f".into(), offset: c });
            let _ = space.map(Some(c), d, prot, flags, Kind::Anonymous);
            let _ = space.fault(d, access);
            let _ = space.protect(a, c, prot);
            let _ = space.gap_near(a, b, c);
            let _ = space.advise_dontneed(b, c);
            space.set_brk_start(d);
            space.brk(c);
            if let Some(range) = Range::covering(a, b) {
                let _ = space.populate(range, access);
                let _ = space.covers(range, access);
            }
            let flags = RemapFlags { maymove: true, fixed: fixed.then_some(d), dontunmap: bits & 32 != 0 };
            let _ = space.remap(a, b, c, flags, |copy| machine.0.borrow_mut().copy(copy.from, copy.to));
            let _ = space.unmap(c, d);
            let _ = space.seal(b, a % 5 * PAGE_SIZE);
            let mut maps = String::new();
            space.maps(&mut maps).unwrap();
        }
    }
}
