//! Linux's semantics of the memory system calls, case by case, with and without EDMM.

mod mm_support;

use casemate_enclave::mm::{
    Access, AddressSpace, Cause, Fault, FaultOutcome, Kind, MapError, MapFlags, PAGE_SIZE, Prot, Range,
    RemapFlags, Remapped, Usage,
};
use mm_support::{BASE, Machine, at, pages, range, space};

const FIXED: MapFlags = MapFlags {
    fixed: true,
    fixed_noreplace: false,
    noreserve: false,
    stack: false,
    grows_down: false,
    populate: false,
    shared: false,
    read_only: false,
};

type Space = AddressSpace<Machine>;

/// Runs a case with EDMM and without, in 1000 pages.
fn both(case: impl Fn(Space, Machine)) {
    for dynamic in [true, false] {
        let (space, machine) = space(dynamic, 1000, None, 1000);
        case(space, machine);
    }
}

fn map(space: &mut Space, start: u64, end: u64, prot: Prot) {
    let mapped = space.map(Some(at(start)), (end - start) * PAGE_SIZE, prot, FIXED, Kind::Anonymous);
    assert_eq!(mapped, Ok(at(start)));
}

fn layout(space: &Space) -> Vec<(Range, Prot)> {
    space.vmas().iter().map(|mapping| (mapping.range, mapping.vma.prot)).collect()
}

fn errno<T: std::fmt::Debug>(result: Result<T, MapError>) -> i32 {
    result.unwrap_err().errno()
}

fn write(space: &mut Space, machine: &Machine, page: u64, content: u64) {
    assert!(!matches!(space.fault(at(page), Access::Write), FaultOutcome::Denied(_)));
    machine.0.borrow_mut().write(at(page), content);
}

fn read(space: &mut Space, machine: &Machine, page: u64) -> u64 {
    assert!(!matches!(space.fault(at(page), Access::Read), FaultOutcome::Denied(_)));
    let state = machine.0.borrow();
    assert!(state.can(at(page), Access::Read));
    state.page(at(page)).unwrap().content
}

#[test]
fn munmap_in_the_middle() {
    both(|mut space, machine| {
        map(&mut space, 10, 20, Prot::RW);
        write(&mut space, &machine, 12, 7);
        write(&mut space, &machine, 19, 8);
        space.unmap(at(12), 0x3001).unwrap();
        assert_eq!(layout(&space), [(range(10, 12), Prot::RW), (range(16, 20), Prot::RW)]);
        assert_eq!(read(&mut space, &machine, 19), 8);
        let gone = Fault { at: at(12), cause: Cause::NotMapped };
        assert_eq!(space.fault(at(12), Access::Read), FaultOutcome::Denied(gone));
        assert!(!machine.0.borrow().can(at(12), Access::Read));
        map(&mut space, 12, 13, Prot::RW);
        assert_eq!(read(&mut space, &machine, 12), 0, "what was there is gone");
    });
}

#[test]
fn munmap_arguments() {
    both(|mut space, _| {
        map(&mut space, 10, 20, Prot::RW);
        assert_eq!(errno(space.unmap(at(12) + 1, PAGE_SIZE)), 22);
        assert_eq!(errno(space.unmap(at(12), 0)), 22);
        assert_eq!(errno(space.unmap(at(12), u64::MAX)), 22);
        assert_eq!(errno(space.unmap(1 << 47, PAGE_SIZE)), 22);
        space.unmap(0, (1 << 47) - PAGE_SIZE).unwrap();
        assert_eq!(space.usage(), Usage { committed: 0, reserved: 0 });
        space.unmap(at(12), PAGE_SIZE).unwrap();
    });
}

#[test]
fn mprotect_over_holes_changes_what_is_before() {
    both(|mut space, machine| {
        map(&mut space, 10, 12, Prot::RW);
        map(&mut space, 14, 16, Prot::RW);
        assert_eq!(space.protect(at(10), 6 * PAGE_SIZE, Prot::R), Err(MapError::Hole { at: at(12) }));
        assert_eq!(layout(&space), [(range(10, 12), Prot::R), (range(14, 16), Prot::RW)]);
        assert!(!machine.0.borrow().can(at(11), Access::Write));
        assert!(machine.0.borrow().can(at(14), Access::Write));
        assert_eq!(errno(space.protect(at(12), PAGE_SIZE, Prot::R)), 12);
        assert_eq!(errno(space.protect(at(10) + 8, PAGE_SIZE, Prot::R)), 22);
        assert_eq!(errno(space.protect(at(10), u64::MAX, Prot::R)), 12);
        assert_eq!(space.protect(at(12), 0, Prot::R), Ok(()));
    });
}

#[test]
fn protections_of_committed_pages() {
    both(|mut space, machine| {
        map(&mut space, 10, 12, Prot::RW);
        write(&mut space, &machine, 10, 5);
        let can = |access| machine.0.borrow().can(at(10), access);
        space.protect(at(10), 2 * PAGE_SIZE, Prot::RX).unwrap();
        assert!(can(Access::Exec) && can(Access::Read) && !can(Access::Write));
        space.protect(at(10), 2 * PAGE_SIZE, Prot::NONE).unwrap();
        assert!(!can(Access::Exec) && !can(Access::Read) && !can(Access::Write));
        let denied = Fault { at: at(10) + 9, cause: Cause::NoAccess };
        assert_eq!(space.fault(at(10) + 9, Access::Read), FaultOutcome::Denied(denied));
        space.protect(at(10), 2 * PAGE_SIZE, Prot::RWX).unwrap();
        assert!(can(Access::Exec) && can(Access::Read) && can(Access::Write));
        assert_eq!(read(&mut space, &machine, 10), 5, "bytes stay");
        assert_eq!(space.vmas().len(), 1);
        space.protect(at(10), PAGE_SIZE, Prot::W).unwrap();
        assert_eq!(space.fault(at(10), Access::Read), FaultOutcome::Again, "W implies R");
    });
}

#[test]
fn write_to_execute_never_passes_both() {
    let (mut space, machine) = space(true, 1000, None, 1000);
    map(&mut space, 10, 30, Prot::RW);
    machine.0.borrow_mut().calls = mm_support::Calls::default();
    // The second call after the next one fails: EMODPE, after the restriction went through.
    machine.0.borrow_mut().fail_after = Some(1);
    assert_eq!(errno(space.protect(at(10), 20 * PAGE_SIZE, Prot::RX)), 12);
    assert_eq!(machine.0.borrow().page(at(10)).unwrap().epcm, Prot::R);
    assert_eq!(machine.0.borrow().calls.restrict, 1, "one host call for all pages");
    assert_eq!(space.fault(at(10), Access::Exec), FaultOutcome::Committed, "a fault mends it");
    assert_eq!(machine.0.borrow().page(at(10)).unwrap().epcm, Prot::RX);
}

#[test]
fn fixed_replaces_neighbours() {
    both(|mut space, machine| {
        map(&mut space, 10, 14, Prot::RW);
        map(&mut space, 14, 18, Prot::R);
        write(&mut space, &machine, 13, 3);
        map(&mut space, 12, 16, Prot::RW);
        assert_eq!(layout(&space), [(range(10, 16), Prot::RW), (range(16, 18), Prot::R)]);
        assert_eq!(read(&mut space, &machine, 13), 0);
        let noreplace = MapFlags { fixed_noreplace: true, ..MapFlags::default() };
        let len = 4 * PAGE_SIZE;
        let result = space.map(Some(at(17)), len, Prot::RW, noreplace, Kind::Anonymous);
        assert_eq!(result, Err(MapError::Exists { at: at(16) }));
        assert_eq!(space.map(Some(at(18)), len, Prot::RW, noreplace, Kind::Anonymous), Ok(at(18)));
        assert_eq!(errno(space.map(Some(at(18) + 1), len, Prot::RW, FIXED, Kind::Anonymous)), 22);
        assert_eq!(errno(space.map(Some(0), len, Prot::RW, FIXED, Kind::Anonymous)), 12);
        assert_eq!(errno(space.map(Some(at(999)), len, Prot::RW, FIXED, Kind::Anonymous)), 12);
    });
}

#[test]
fn hints() {
    both(|mut space, _| {
        let any = MapFlags::default();
        let mut map = |hint, pages: u64| {
            space.map(hint, pages * PAGE_SIZE, Prot::RW, any, Kind::Anonymous).map(|a| (a - BASE) / PAGE_SIZE)
        };
        assert_eq!(map(None, 2), Ok(998), "from the top down");
        assert_eq!(map(Some(0), 2), Ok(996));
        assert_eq!(map(Some(at(500)), 2), Ok(500), "a free hint is taken");
        assert_eq!(map(Some(at(502) + 1), 2), Ok(503), "rounded up");
        assert_eq!(map(Some(at(499)), 2), Ok(994), "a hint that is in use is not");
        assert_eq!(map(Some(at(999)), 2), Ok(992), "nor one that is out of bounds");
        assert_eq!(map(Some(u64::MAX), 2), Ok(990));
        assert_eq!(map(None, 1000), Err(MapError::NoMemory { bytes: 1000 * PAGE_SIZE }));
        assert_eq!(map(None, 0).map_err(MapError::errno), Err(22));
        let result = space.map(None, u64::MAX, Prot::RW, any, Kind::Anonymous);
        assert_eq!(errno(result), 12);
    });
}

#[test]
fn the_kernel_is_left_out() {
    let (mut space, _) = space(true, 100, Some(range(40, 50)), 100);
    let any = MapFlags { noreserve: true, ..MapFlags::default() };
    let mut map = |pages: u64| space.map(None, pages * PAGE_SIZE, Prot::R, any, Kind::Anonymous);
    assert_eq!(map(50), Ok(at(50)));
    assert_eq!(map(41).map_err(MapError::errno), Err(12));
    assert_eq!(map(40), Ok(at(0)));
    assert_eq!(map(1).map_err(MapError::errno), Err(12));
    assert_eq!(errno(space.map(Some(at(45)), 1, Prot::R, FIXED, Kind::Anonymous)), 12);
    assert_eq!(errno(space.map(Some(at(39)), 2 * PAGE_SIZE, Prot::R, FIXED, Kind::Anonymous)), 12);
}

#[test]
fn small_maps_are_committed_and_large_ones_are_not() {
    both(|mut space, machine| {
        let any = MapFlags::default();
        let small = space.map(None, 128 << 10, Prot::RW, any, Kind::Anonymous).unwrap();
        assert_eq!(space.usage().committed, 128 << 10);
        assert!(machine.0.borrow().can(small, Access::Write));
        let large = space.map(None, (128 << 10) + 1, Prot::RW, any, Kind::Anonymous).unwrap();
        assert_eq!(space.usage().committed, 128 << 10);
        assert!(!machine.0.borrow().can(large, Access::Read));
        let populate = MapFlags { populate: true, ..any };
        space.map(None, 1 << 20, Prot::R, populate, Kind::Anonymous).unwrap();
        assert_eq!(space.usage().committed, (128 << 10) + (1 << 20));
        space.map(None, PAGE_SIZE, Prot::NONE, populate, Kind::Anonymous).unwrap();
        assert_eq!(space.usage().committed, (128 << 10) + (1 << 20));
    });
}

#[test]
fn clusters_double_upwards_and_downwards() {
    both(|mut space, _| {
        map(&mut space, 100, 500, Prot::RW);
        let committed = |space: &Space| space.usage().committed / PAGE_SIZE;
        for (page, expected) in [(100, 16), (116, 48), (148, 112), (212, 176), (300, 192)] {
            assert_eq!(space.fault(at(page), Access::Write), FaultOutcome::Committed);
            assert_eq!(committed(&space), expected);
        }
        assert_eq!(space.fault(at(301), Access::Write), FaultOutcome::Again);
        assert_eq!(space.fault(at(299), Access::Read), FaultOutcome::Committed);
        assert_eq!(committed(&space), 192 + 24, "twice 16 down from page 299, of which eight are there");
        let stack = MapFlags { stack: true, ..FIXED };
        space.map(Some(at(600)), 100 * PAGE_SIZE, Prot::RW, stack, Kind::Stack).unwrap();
        assert_eq!(space.fault(at(699), Access::Write), FaultOutcome::Committed);
        assert_eq!(space.fault(at(684), Access::Write), FaultOutcome::Again);
        assert_eq!(space.fault(at(683), Access::Write), FaultOutcome::Committed);
        assert_eq!(space.fault(at(652), Access::Write), FaultOutcome::Again);
        assert_eq!(space.fault(at(651), Access::Write), FaultOutcome::Committed);
    });
}

#[test]
fn lazily_committed_pages_are_as_protected() {
    both(|mut space, machine| {
        for (start, prot) in [(100, Prot::R), (200, Prot::RX), (300, Prot::RWX), (400, Prot::RW)] {
            map(&mut space, start, start + 50, prot);
            assert_eq!(space.fault(at(start), Access::Read), FaultOutcome::Committed);
            let state = machine.0.borrow();
            for access in [Access::Read, Access::Write, Access::Exec] {
                assert_eq!(state.can(at(start), access), prot.allows(access), "{prot:?} {access:?}");
            }
            assert_eq!(state.page(at(start)).unwrap().content, 0, "nothing that the host chose");
        }
        let calls = &machine.0.borrow().calls;
        if machine.0.borrow().dynamic {
            assert_eq!((calls.accept_new, calls.restrict, calls.extend, calls.protect), (4, 2, 2, 0));
        } else {
            assert_eq!((calls.protect, calls.zero), (2 + 2 + 1 + 1, 4), "opened to be zeroed, then closed");
        }
    });
}

#[test]
fn brk() {
    both(|mut space, machine| {
        let start = at(100) + 0x10;
        assert_eq!(space.brk(start), 0, "no heap yet");
        space.set_brk_start(start);
        assert_eq!(space.brk(0), start);
        assert_eq!(space.brk(start - 1), start);
        assert_eq!(space.brk(start + 0x20), start + 0x20, "before the end of the page the data are in");
        assert_eq!(space.brk(at(101)), at(101));
        assert_eq!(space.usage().reserved, 0);
        assert_eq!(space.brk(at(103) + 1), at(103) + 1);
        assert_eq!(layout(&space), [(range(101, 104), Prot::RW)]);
        assert_eq!(space.usage().committed, 3 * PAGE_SIZE, "small growth is committed");
        write(&mut space, &machine, 102, 9);
        assert_eq!(space.brk(at(102)), at(102));
        assert_eq!(space.brk(at(104)), at(104));
        assert_eq!(read(&mut space, &machine, 102), 0);
        map(&mut space, 110, 111, Prot::RW);
        assert_eq!(space.brk(at(110)), at(104), "one page stays free");
        assert_eq!(space.brk(at(120)), at(104));
        assert_eq!(space.brk(u64::MAX), at(104));
        assert_eq!(space.brk(at(109)), at(109));
        let mut maps = String::new();
        space.maps(&mut maps).unwrap();
        assert!(maps.starts_with("10065000-1006d000 rw-p 00000000 00:00 0 "), "{maps}");
        assert!(maps.lines().next().unwrap().ends_with(" [heap]"), "{maps}");
    });
}

fn remap(
    space: &mut Space,
    machine: &Machine,
    old: u64,
    pages: (u64, u64),
    flags: RemapFlags,
) -> Result<Remapped, MapError> {
    let (old_len, new_len) = (pages.0 * PAGE_SIZE, pages.1 * PAGE_SIZE);
    space.remap(at(old), old_len, new_len, flags, |copy| machine.0.borrow_mut().copy(copy.from, copy.to))
}

const MAYMOVE: RemapFlags = RemapFlags { maymove: true, fixed: None, dontunmap: false };

#[test]
fn mremap_in_place() {
    both(|mut space, machine| {
        let stay = RemapFlags::default();
        map(&mut space, 10, 14, Prot::RW);
        write(&mut space, &machine, 13, 4);
        assert_eq!(remap(&mut space, &machine, 10, (4, 6), stay), Ok(Remapped::InPlace { at: at(10) }));
        assert_eq!(layout(&space), [(range(10, 16), Prot::RW)]);
        assert_eq!(remap(&mut space, &machine, 10, (6, 4), stay), Ok(Remapped::InPlace { at: at(10) }));
        assert_eq!(layout(&space), [(range(10, 14), Prot::RW)]);
        assert_eq!(read(&mut space, &machine, 13), 4);
        map(&mut space, 15, 16, Prot::R);
        assert_eq!(errno(remap(&mut space, &machine, 10, (4, 6), stay)), 12, "in the way");
        assert_eq!(errno(remap(&mut space, &machine, 10, (3, 5), stay)), 12, "not the end of the mapping");
        assert_eq!(remap(&mut space, &machine, 10, (4, 5), stay), Ok(Remapped::InPlace { at: at(10) }));
    });
}

#[test]
fn mremap_moves() {
    both(|mut space, machine| {
        map(&mut space, 10, 14, Prot::RW);
        map(&mut space, 14, 15, Prot::R);
        write(&mut space, &machine, 12, 6);
        let moved = remap(&mut space, &machine, 10, (4, 60), MAYMOVE).unwrap();
        assert_eq!(moved, Remapped::Moved { from: at(10), to: at(940), len: 4 * PAGE_SIZE });
        assert_eq!(layout(&space), [(range(14, 15), Prot::R), (range(940, 1000), Prot::RW)]);
        assert_eq!(read(&mut space, &machine, 942), 6);
        assert_eq!(read(&mut space, &machine, 999), 0);
        let fixed = RemapFlags { fixed: Some(at(14)), ..MAYMOVE };
        let moved = remap(&mut space, &machine, 942, (1, 1), fixed).unwrap();
        assert_eq!(moved.address(), at(14));
        assert_eq!(read(&mut space, &machine, 14), 6);
        assert_eq!(layout(&space).first(), Some(&(range(14, 15), Prot::RW)));
        assert!(space.find(at(942)).is_none());
        let keep = RemapFlags { dontunmap: true, ..MAYMOVE };
        let moved = remap(&mut space, &machine, 14, (1, 1), keep).unwrap();
        assert_eq!(read(&mut space, &machine, (moved.address() - BASE) / PAGE_SIZE), 6);
        assert_eq!(read(&mut space, &machine, 14), 0, "still mapped, but empty");
    });
}

#[test]
fn mremap_moves_what_cannot_be_read_or_written() {
    both(|mut space, machine| {
        for (start, prot) in [(10, Prot::NONE), (20, Prot::RX), (30, Prot::R)] {
            map(&mut space, start, start + 4, Prot::RW);
            write(&mut space, &machine, start + 1, start);
            space.protect(at(start), 4 * PAGE_SIZE, prot).unwrap();
            let fixed = RemapFlags { fixed: Some(at(100 + start)), ..MAYMOVE };
            remap(&mut space, &machine, start, (4, 4), fixed).unwrap();
            assert_eq!(machine.0.borrow().page(at(101 + start)).unwrap().content, start);
            for access in [Access::Read, Access::Write, Access::Exec] {
                assert_eq!(machine.0.borrow().can(at(101 + start), access), prot.allows(access));
                assert!(!machine.0.borrow().can(at(1 + start), access));
            }
        }
    });
}

#[test]
fn mremap_arguments() {
    both(|mut space, machine| {
        map(&mut space, 10, 14, Prot::RW);
        map(&mut space, 14, 16, Prot::R);
        let mut errno = |old, pages, flags| errno(remap(&mut space, &machine, old, pages, flags));
        assert_eq!(errno(10, (4, 0), MAYMOVE), 22);
        assert_eq!(errno(10, (0, 4), MAYMOVE), 22);
        assert_eq!(errno(20, (1, 2), MAYMOVE), 14);
        assert_eq!(errno(12, (3, 8), MAYMOVE), 14, "over two mappings");
        let fixed = |page, maymove| RemapFlags { fixed: Some(at(page)), maymove, dontunmap: false };
        assert_eq!(errno(10, (4, 4), fixed(30, false)), 22);
        assert_eq!(errno(10, (4, 4), fixed(12, true)), 22, "onto itself");
        assert_eq!(errno(10, (4, 4), fixed(998, true)), 22, "out of bounds");
        assert_eq!(errno(10, (4, 5), RemapFlags { dontunmap: true, ..MAYMOVE }), 22);
        assert_eq!(errno(10, (4, 2000), MAYMOVE), 12);
        assert_eq!(layout(&space), [(range(10, 14), Prot::RW), (range(14, 16), Prot::R)]);
    });
}

#[test]
fn a_failed_move_leaves_the_old_mapping() {
    both(|mut space, machine| {
        map(&mut space, 10, 14, Prot::RW);
        map(&mut space, 14, 15, Prot::R);
        write(&mut space, &machine, 12, 6);
        let before = space.usage();
        machine.0.borrow_mut().fail_after = Some(0);
        assert_eq!(errno(remap(&mut space, &machine, 10, (4, 60), MAYMOVE)), 12);
        assert_eq!(layout(&space), [(range(10, 14), Prot::RW), (range(14, 15), Prot::R)]);
        assert_eq!(space.usage(), before);
        assert_eq!(read(&mut space, &machine, 12), 6);
    });
}

#[test]
fn a_move_that_fails_anywhere_leaves_nothing_open() {
    for (dynamic, fail) in (0..12).flat_map(|fail| [(true, fail), (false, fail)]) {
        let (mut space, machine) = space(dynamic, 1000, None, 1000);
        map(&mut space, 10, 14, Prot::RW);
        write(&mut space, &machine, 11, 6);
        space.protect(at(10), 2 * PAGE_SIZE, Prot::NONE).unwrap();
        machine.0.borrow_mut().fail_after = Some(fail);
        let fixed = RemapFlags { fixed: Some(at(50)), ..MAYMOVE };
        let moved = remap(&mut space, &machine, 10, (2, 2), fixed);
        let state = machine.0.borrow();
        assert_eq!(moved.is_ok(), state.fail_after.is_some());
        for page in pages(range(0, 100)) {
            let can = state.can(page, Access::Read);
            assert_eq!(can, range(12, 14).contains(page), "{page:#x} when call {fail} failed");
            assert!(!dynamic || state.page(page).is_none() || space.find(page).is_some());
        }
    }
}

#[test]
fn a_commit_that_fails_half_way_leaves_nothing() {
    both(|mut space, machine| {
        map(&mut space, 10, 60, Prot::RW);
        space.populate(range(10, 60), Access::Write).unwrap();
        space.unmap(at(10), 50 * PAGE_SIZE).unwrap();
        map(&mut space, 10, 60, Prot::R);
        // The pages come, or are opened to be zeroed, but then they cannot be made read-only.
        machine.0.borrow_mut().fail_after = Some(if machine.0.borrow().dynamic { 1 } else { 2 });
        let refused = space.populate(range(10, 60), Access::Read).unwrap_err();
        assert_eq!((refused.at, refused.cause.si_code()), (at(10), None));
        assert_eq!(space.usage().committed, 0);
        assert!(pages(range(10, 60)).all(|page| !machine.0.borrow().can(page, Access::Read)));
        space.populate(range(10, 60), Access::Read).unwrap();
        assert_eq!(read(&mut space, &machine, 20), 0);
    });
}

#[test]
fn holes_are_used_again() {
    both(|mut space, _| {
        let any = MapFlags::default();
        let mut taken = Vec::new();
        while let Ok(address) = space.map(None, 10 * PAGE_SIZE, Prot::NONE, any, Kind::Anonymous) {
            taken.push(address);
        }
        assert_eq!(taken.len(), 100);
        for hole in [1, 50, 99, 0] {
            space.unmap(taken[hole], 10 * PAGE_SIZE).unwrap();
            let again = space.map(None, 10 * PAGE_SIZE, Prot::NONE, any, Kind::Anonymous);
            assert_eq!(again, Ok(taken[hole]));
        }
    });
}

#[test]
fn dontneed() {
    both(|mut space, machine| {
        map(&mut space, 10, 20, Prot::RW);
        map(&mut space, 100, 200, Prot::RW);
        space.populate(range(100, 200), Access::Write).unwrap();
        for page in [11, 12, 19, 150] {
            write(&mut space, &machine, page, page);
        }
        let committed = space.usage().committed;
        assert_eq!(space.advise_dontneed(at(10), 3 * PAGE_SIZE), Ok(vec![]));
        assert_eq!(space.usage().committed, committed, "a few pages are zeroed");
        assert_eq!(read(&mut space, &machine, 12), 0);
        assert_eq!(read(&mut space, &machine, 19), 19);
        space.advise_dontneed(at(100), 100 * PAGE_SIZE).unwrap();
        assert_eq!(space.usage().committed, committed - 100 * PAGE_SIZE, "many are given back");
        assert_eq!(read(&mut space, &machine, 150), 0);
        assert_eq!(errno(space.advise_dontneed(at(15), 100 * PAGE_SIZE)), 12, "a hole");
        assert_eq!(read(&mut space, &machine, 19), 0, "but the rest is done");
        assert_eq!(errno(space.advise_dontneed(at(15) + 1, PAGE_SIZE)), 22);
        assert_eq!(errno(space.advise_dontneed(at(15), u64::MAX)), 22);
        assert_eq!(space.advise_dontneed(at(500), 0), Ok(vec![]));
    });
}

#[test]
fn dontneed_of_a_file_is_for_the_caller() {
    both(|mut space, machine| {
        let populate = MapFlags { populate: true, ..FIXED };
        let file = Kind::File { name: "/lib/x".into(), offset: 0x5000 };
        space.map(Some(at(10)), 4 * PAGE_SIZE, Prot::RW, populate, file).unwrap();
        write(&mut space, &machine, 12, 6);
        let pieces = space.advise_dontneed(at(11), 2 * PAGE_SIZE).unwrap();
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].range, range(11, 13));
        assert_eq!(pieces[0].vma.kind, Kind::File { name: "/lib/x".into(), offset: 0x6000 });
        assert_eq!(read(&mut space, &machine, 12), 6);
    });
}

#[test]
fn the_heap_limit() {
    for dynamic in [true, false] {
        let (mut space, machine) = space(dynamic, 1000, None, 100);
        let any = MapFlags::default();
        assert_eq!(
            errno(space.map(None, 101 * PAGE_SIZE, Prot::RW, any, Kind::Anonymous)),
            12,
            "never to be used"
        );
        let noreserve = MapFlags { noreserve: true, ..any };
        let large = space.map(None, 500 * PAGE_SIZE, Prot::RW, noreserve, Kind::Anonymous).unwrap();
        let first = (large - BASE) / PAGE_SIZE;
        let mut page = first;
        while space.usage().committed < 100 * PAGE_SIZE {
            assert_eq!(space.fault(at(page), Access::Write), FaultOutcome::Committed);
            page += 1;
            while machine.0.borrow().can(at(page), Access::Write) {
                page += 1;
            }
        }
        let denied = Fault { at: at(page), cause: Cause::OutOfMemory };
        assert_eq!(space.fault(at(page), Access::Write), FaultOutcome::Denied(denied));
        assert_eq!(errno(space.map(None, PAGE_SIZE, Prot::RW, any, Kind::Anonymous)), 12);
        assert_eq!(space.populate(range(first, page + 1), Access::Write), Err(denied));
        // A mapping that takes the place of committed pages needs no more of them.
        let again = space.map(Some(at(first)), 8 * PAGE_SIZE, Prot::RW, FIXED, Kind::Anonymous);
        assert_eq!(again, Ok(at(first)));
        space.unmap(at(first), 20 * PAGE_SIZE).unwrap();
        assert_eq!(space.fault(at(page), Access::Write), FaultOutcome::Committed);
    }
}

#[test]
fn growing_down() {
    both(|mut space, _| {
        let grows = MapFlags { grows_down: true, ..FIXED };
        space.map(Some(at(900)), 2 * PAGE_SIZE, Prot::RW, grows, Kind::Anonymous).unwrap();
        assert_eq!(space.fault(at(890) + 5, Access::Write), FaultOutcome::Committed);
        assert_eq!(layout(&space), [(range(890, 902), Prot::RW)]);
        map(&mut space, 600, 610, Prot::RW);
        let denied = |page| FaultOutcome::Denied(Fault { at: at(page), cause: Cause::NotMapped });
        assert_eq!(space.fault(at(865), Access::Write), denied(865), "less than the guard gap left");
        assert_eq!(space.fault(at(866), Access::Write), FaultOutcome::Committed);
        assert_eq!(space.fault(at(950), Access::Write), denied(950));
        assert_eq!(space.populate(range(864, 866), Access::Read).map_err(|fault| fault.at), Err(at(864)));
        let low = space.map(None, 200 * PAGE_SIZE, Prot::NONE, MapFlags::default(), Kind::Anonymous);
        assert_eq!(low, Ok(at(400)), "the guard gap is not for others");
        space.unmap(at(600), 10 * PAGE_SIZE).unwrap();
        map(&mut space, 850, 860, Prot::NONE);
        assert_eq!(
            space.fault(at(862), Access::Write),
            FaultOutcome::Committed,
            "a guard page is guard enough"
        );
    });
}

#[test]
fn sealed_and_read_only() {
    both(|mut space, machine| {
        map(&mut space, 10, 16, Prot::RW);
        space.protect(at(12), 2 * PAGE_SIZE, Prot::RX).unwrap();
        space.seal(at(12), 2 * PAGE_SIZE).unwrap();
        assert_eq!(errno(space.unmap(at(10), 6 * PAGE_SIZE)), 1);
        assert_eq!(errno(space.map(Some(at(13)), PAGE_SIZE, Prot::RW, FIXED, Kind::Anonymous)), 1);
        assert_eq!(errno(space.advise_dontneed(at(12), PAGE_SIZE)), 1);
        assert_eq!(
            errno(remap(&mut space, &machine, 12, (1, 1), RemapFlags { fixed: Some(at(50)), ..MAYMOVE })),
            1
        );
        assert_eq!(errno(space.protect(at(10), 6 * PAGE_SIZE, Prot::R)), 1);
        let now = [(range(10, 12), Prot::R), (range(12, 14), Prot::RX), (range(14, 16), Prot::RW)];
        assert_eq!(layout(&space), now);
        assert_eq!(errno(space.seal(at(15), 2 * PAGE_SIZE)), 12);

        let shared = MapFlags { shared: true, read_only: true, populate: true, ..FIXED };
        let file = || Kind::File { name: "/f".into(), offset: 0 };
        assert_eq!(errno(space.map(Some(at(30)), PAGE_SIZE, Prot::RW, shared, file())), 13);
        space.map(Some(at(30)), PAGE_SIZE, Prot::R, shared, file()).unwrap();
        assert_eq!(errno(space.protect(at(30), PAGE_SIZE, Prot::RW)), 13);
        space.protect(at(30), PAGE_SIZE, Prot::RX).unwrap();
    });
}

#[test]
fn file_offsets() {
    both(|mut space, _| {
        let mut map = |offset| {
            let file = Kind::File { name: "/f".into(), offset };
            space.map(None, PAGE_SIZE, Prot::R, MapFlags::default(), file).map_err(MapError::errno)
        };
        assert_eq!(map(1), Err(22));
        assert_eq!(map(!0xfff), Err(75));
        assert!(map(!0x1fff).is_ok());
    });
}

#[test]
fn islands_keep_away_from_the_heap() {
    both(|mut space, _| {
        map(&mut space, 100, 110, Prot::RX);
        assert_eq!(space.gap_near(at(109), PAGE_SIZE, 1 << 31), Some(range(110, 111)));
        space.set_brk_start(at(109) + 8);
        assert_eq!(space.gap_near(at(109), PAGE_SIZE, 1 << 31), Some(range(99, 100)));
        map(&mut space, 0, 100, Prot::NONE);
        assert_eq!(
            space.gap_near(at(109), PAGE_SIZE, 1 << 31),
            Some(range(110, 111)),
            "if there is nothing else"
        );
        map(&mut space, 120, 121, Prot::NONE);
        assert_eq!(space.gap_near(at(109), PAGE_SIZE, 1 << 31), Some(range(121, 122)));
        assert_eq!(space.gap_near(at(109), PAGE_SIZE, 0x4000), Some(range(110, 111)));
        assert_eq!(space.gap_near(at(109), 20 * PAGE_SIZE, 0x4000), None);
    });
}

#[test]
fn large_ranges_cost_few_host_calls() {
    let (mut space, machine) = space(true, 1000, None, 1000);
    map(&mut space, 0, 1000, Prot::RW);
    for page in (0..1000).step_by(50) {
        space.fault(at(page), Access::Write);
    }
    machine.0.borrow_mut().calls = mm_support::Calls::default();
    space.protect(at(0), 1000 * PAGE_SIZE, Prot::NONE).unwrap();
    assert_eq!(machine.0.borrow().calls.protect, 1);
    space.protect(at(0), 1000 * PAGE_SIZE, Prot::RW).unwrap();
    assert_eq!(machine.0.borrow().calls.protect, 2);
    assert!(pages(range(0, 1000)).filter(|page| machine.0.borrow().can(*page, Access::Write)).count() >= 320);
}

#[test]
fn the_limit_of_all_mappings() {
    both(|mut space, _| {
        space.set_size_limit(10 * PAGE_SIZE);
        map(&mut space, 0, 8, Prot::RW);
        assert_eq!(
            errno(space.map(None, 3 * PAGE_SIZE, Prot::NONE, MapFlags::default(), Kind::Anonymous)),
            12
        );
        map(&mut space, 6, 10, Prot::R);
        assert_eq!(space.usage().reserved, 10 * PAGE_SIZE);
        space.set_brk_start(at(20));
        assert_eq!(space.brk(at(22)), at(20));
    });
}
