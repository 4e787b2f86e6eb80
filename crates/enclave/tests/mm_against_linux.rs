//! The same operations on our address space and on the one that Linux gives this process: same errno, same mappings,
//! same contents.
//!
//! The place is far away from where Linux puts anything by itself, so nobody else maps there.

mod mm_support;

use std::fs::{File, read_to_string};
use std::os::unix::fs::FileExt;
use std::ptr::without_provenance_mut;

use casemate_enclave::mm::{Access, Kind, MapError, MapFlags, PAGE_SIZE, Prot, RemapFlags};
use mm_support::{BASE, at, range, space};
use proptest::prelude::*;
use rustix::io::Errno;
use rustix::mm;

const COUNT: u64 = 64;
/// The address in this process of what is [`BASE`] in the model.
const REAL: u64 = 0x1000_0000_0000;

#[derive(Clone, Copy, Debug)]
enum Op {
    Map { page: u64, len: u64, prot: Prot, fixed: u8 },
    Unmap { address: u64, len: u64 },
    Protect { address: u64, len: u64, prot: Prot },
    Remap { page: u64, old_len: u64, new_len: u64, to: Option<u64>, dontunmap: bool },
    DontNeed { address: u64, len: u64 },
    Write { page: u64, content: u64 },
}

fn any_prot() -> impl Strategy<Value = Prot> {
    (0..8u8).prop_map(Prot::from_bits_truncate)
}

/// An address and a length within the place, sometimes not aligned.
fn any_place() -> impl Strategy<Value = (u64, u64)> {
    (0..COUNT, 1..20u64, 0..30u8).prop_map(|(page, pages, odd)| {
        let pages = pages.min(COUNT - page);
        match odd {
            0 => (at(page) + 8, pages * PAGE_SIZE),
            1 => (at(page), 0),
            2 => (at(page), pages * PAGE_SIZE - 100),
            _ => (at(page), pages * PAGE_SIZE),
        }
    })
}

fn any_op() -> impl Strategy<Value = Op> {
    let sizes = (0..COUNT, 1..12u64, 0..12u64, prop::option::of(0..COUNT), prop::bool::weighted(0.1));
    prop_oneof![
        5 => (0..COUNT, 1..20u64, any_prot(), 0..3u8).prop_map(|(page, pages, prot, fixed)| {
            Op::Map { page, len: pages.min(COUNT - page) * PAGE_SIZE, prot, fixed }
        }),
        3 => any_place().prop_map(|(address, len)| Op::Unmap { address, len }),
        5 => (any_place(), any_prot()).prop_map(|((address, len), prot)| Op::Protect { address, len, prot }),
        5 => sizes.prop_map(|(page, old, new, to, dontunmap)| {
            Op::Remap { page, old_len: old * PAGE_SIZE, new_len: new * PAGE_SIZE, to, dontunmap }
        }),
        2 => any_place().prop_map(|(address, len)| Op::DontNeed { address, len }),
        6 => (0..COUNT, 1..u64::MAX).prop_map(|(page, content)| Op::Write { page, content }),
    ]
}

/// The process's own mappings at the place, as (start, end, protection) in the model's addresses.
fn real_mappings() -> Vec<(u64, u64, Prot)> {
    let maps = read_to_string("/proc/self/maps").unwrap();
    let parse = |line: &str| {
        let (start, rest) = line.split_once('-')?;
        let (end, perms) = rest.split_once(' ')?;
        let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        let mut prot = Prot::NONE;
        for (letter, bit) in [('r', Prot::R), ('w', Prot::W), ('x', Prot::X)] {
            prot.set(bit, perms.chars().take(3).any(|perm| perm == letter));
        }
        let inside = start < REAL + COUNT * PAGE_SIZE && end > REAL;
        inside.then(|| (start - REAL + BASE, end - REAL + BASE, prot))
    };
    maps.lines().filter_map(parse).collect()
}

/// The protections of all pages.
fn by_page(mappings: &[(u64, u64, Prot)]) -> Vec<Option<Prot>> {
    (0..COUNT)
        .map(|page| mappings.iter().find(|(start, end, _)| (*start..*end).contains(&at(page))).map(|m| m.2))
        .collect()
}

fn real(address: u64) -> *mut core::ffi::c_void {
    without_provenance_mut(usize::try_from(address - BASE + REAL).unwrap())
}

fn size(len: u64) -> usize {
    usize::try_from(len).unwrap()
}

fn real_map(page: u64, len: u64, prot: Prot, flags: mm::MapFlags) -> Result<(), Errno> {
    let flags = flags | mm::MapFlags::PRIVATE;
    let prot = mm::ProtFlags::from_bits_retain(u32::from(prot.bits()));
    // SAFETY: the place belongs to this test.
    let mapped = unsafe { mm::mmap_anonymous(real(at(page)), size(len), prot, flags) }?;
    assert_eq!(mapped, real(at(page)));
    Ok(())
}

fn real_unmap(address: u64, len: u64) -> Result<(), Errno> {
    // SAFETY: the place belongs to this test.
    unsafe { mm::munmap(real(address), size(len)) }
}

fn real_protect(address: u64, len: u64, prot: Prot) -> Result<(), Errno> {
    let prot = mm::MprotectFlags::from_bits_retain(u32::from(prot.bits()));
    // SAFETY: the place belongs to this test.
    unsafe { mm::mprotect(real(address), size(len), prot) }
}

fn real_remap(page: u64, old: u64, new: u64, to: Option<u64>, dontunmap: bool) -> Result<(), Errno> {
    let Some(to) = to else {
        // SAFETY: the place belongs to this test; nothing moves.
        return unsafe { mm::mremap(real(at(page)), size(old), size(new), mm::MremapFlags::empty()) }
            .map(drop);
    };
    let mut flags = mm::MremapFlags::MAYMOVE;
    flags.set(mm::MremapFlags::DONTUNMAP, dontunmap);
    // SAFETY: both places belong to this test.
    unsafe { mm::mremap_fixed(real(at(page)), size(old), size(new), flags, real(at(to))) }.map(drop)
}

fn real_dontneed(address: u64, len: u64) -> Result<(), Errno> {
    // SAFETY: the place belongs to this test.
    unsafe { mm::madvise(real(address), size(len), mm::Advice::LinuxDontNeed) }
}

fn same<T, U>(op: Op, ours: Result<T, MapError>, linux: Result<U, Errno>) {
    let ours = ours.map(drop).map_err(MapError::errno);
    let linux = linux.map(drop).map_err(Errno::raw_os_error);
    assert_eq!(ours, linux, "{op:?}");
}

fn compare(dynamic: bool, ops: Vec<Op>) {
    real_unmap(BASE, COUNT * PAGE_SIZE).unwrap();
    let (mut space, machine) = space(dynamic, COUNT, None, COUNT);
    let memory = File::options().read(true).write(true).open("/proc/self/mem").unwrap();
    for op in ops {
        match op {
            Op::Map { page, len, prot, fixed } => {
                let free = space.vmas().is_free(range(page, page + len / PAGE_SIZE));
                let mut flags = MapFlags::default();
                let linux = match fixed {
                    0 if free => mm::MapFlags::empty(),
                    1 => {
                        flags.fixed_noreplace = true;
                        mm::MapFlags::FIXED_NOREPLACE
                    }
                    _ => {
                        flags.fixed = true;
                        mm::MapFlags::FIXED
                    }
                };
                let ours = space.map(Some(at(page)), len, prot, flags, Kind::Anonymous);
                same(op, ours, real_map(page, len, prot, linux));
            }
            Op::Unmap { address, len } => same(op, space.unmap(address, len), real_unmap(address, len)),
            Op::Protect { address, len, prot } => {
                same(op, space.protect(address, len, prot), real_protect(address, len, prot));
            }
            Op::Remap { page, old_len, new_len, to, dontunmap } => {
                let end = to.map_or(at(page), at) + new_len;
                // Linux joins mappings less often (it looks at their anon_vma) and kernels differ in what they do with a
                // range over several: only ranges within what is one mapping on both sides.
                let ours = space.find(at(page)).map(|m| (m.range.start(), m.range.end(), m.vma.prot));
                let comparable =
                    ours.is_none_or(|ours| real_mappings().contains(&ours) && at(page) + old_len <= ours.1);
                if !comparable || end > at(COUNT) || (to.is_some() && ours.is_none()) {
                    continue;
                }
                let flags = RemapFlags {
                    maymove: to.is_some(),
                    fixed: to.map(at),
                    dontunmap: dontunmap && to.is_some(),
                };
                let ours = space.remap(at(page), old_len, new_len, flags, |copy| {
                    machine.0.borrow_mut().copy(copy.from, copy.to);
                });
                same(op, ours, real_remap(page, old_len, new_len, to, dontunmap));
            }
            Op::DontNeed { address, len } => {
                same(op, space.advise_dontneed(address, len), real_dontneed(address, len));
            }
            Op::Write { page, content } => {
                if space.find(at(page)).is_some_and(|m| m.vma.prot.allows(Access::Write)) {
                    space.populate(range(page, page + 1), Access::Write).unwrap();
                    machine.0.borrow_mut().write(at(page), content);
                    memory.write_all_at(&content.to_ne_bytes(), REAL + page * PAGE_SIZE).unwrap();
                }
            }
        }
        let ours: Vec<_> =
            space.vmas().iter().map(|m| (m.range.start(), m.range.end(), m.vma.prot)).collect();
        assert_eq!(by_page(&ours), by_page(&real_mappings()), "{op:?}");
    }
    for page in 0..COUNT {
        if space.populate(range(page, page + 1), Access::Read).is_ok() {
            let mut content = [0; 8];
            memory.read_exact_at(&mut content, REAL + page * PAGE_SIZE).unwrap();
            let ours = machine.0.borrow().page(at(page)).unwrap().content;
            assert_eq!(ours, u64::from_ne_bytes(content), "content of page {page}");
        }
    }
    real_unmap(BASE, COUNT * PAGE_SIZE).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn as_linux_does(dynamic in any::<bool>(), ops in prop::collection::vec(any_op(), 1..50)) {
        compare(dynamic, ops);
    }
}
