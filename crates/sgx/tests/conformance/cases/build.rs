//! ECREATE, EADD and the host's mappings: what is refused.

use casemate_sgx::arch::{
    AttributeFlags, Attributes, Miscselect, PageType, Permissions, SecInfo, SecInfoFlags, Secs, Tcs, TcsFlags,
};
use casemate_sgx::platform::{Platform, Source};
use zerocopy::IntoBytes as _;

use crate::support::machine::Machine;
use crate::support::shape::{self, CODE, DATA, DYNAMIC, HEAP, PAGE, READ_ONLY, Shape};

pub(crate) fn ranges(platform: &dyn Platform) {
    let good = Shape::new(platform).secs();
    let refuse = |what: &str, change: &dyn Fn(&mut Secs)| {
        let mut secs = good.clone();
        change(&mut secs);
        assert!(platform.create(&secs).is_err(), "{what}");
    };
    refuse("no power of two", &|secs| secs.size -= PAGE);
    refuse("no size", &|secs| secs.size = 0);
    refuse("one page", &|secs| secs.size = PAGE);
    refuse("not aligned", &|secs| secs.baseaddr += PAGE);
    refuse("too large", &|secs| (secs.baseaddr, secs.size) = (0, 1 << 63));
    refuse("no frame", &|secs| secs.ssaframesize = 0);
    refuse("no such attribute", &|secs| secs.attributes.flags |= AttributeFlags::from_bits_retain(1 << 40));
    refuse("INIT", &|secs| secs.attributes.flags |= AttributeFlags::INIT);
    refuse("32 bits", &|secs| secs.attributes.flags -= AttributeFlags::MODE64BIT);
    refuse("no x87", &|secs| secs.attributes.xfrm = 2);
    refuse("no such component", &|secs| secs.attributes.xfrm |= 1 << 62);
    refuse("AVX-512 without AVX", &|secs| secs.attributes.xfrm = 0xe3);
    refuse("no such MISCSELECT", &|secs| secs.miscselect = Miscselect::from_bits_retain(1 << 30));
    refuse("reserved bytes", &|secs| secs.reserved4.0[7] = 1);
    let first = platform.create(&good).unwrap();
    assert!(platform.create(&good).is_err(), "the range is taken");
    assert_eq!((first.base(), first.size()), (good.baseaddr, good.size));
    assert_eq!(first.attributes(), good.attributes);
    drop(first);
    platform.create(&good).unwrap();
}

pub(crate) fn pages(platform: &dyn Platform) {
    let shape = Shape::new(platform);
    let enclave = platform.create(&shape.secs()).unwrap();
    let rw = SecInfo::reg(Permissions::RW);
    let zeros = Source::Zeros(PAGE);
    let refuse = |what: &str, source: Source<'_>, offset: u64, kind: &SecInfo| {
        assert!(enclave.add_pages(source, offset, kind, true).is_err(), "{what}");
    };
    refuse("beyond the end", zeros, shape.size, &rw);
    refuse("over the end", Source::Zeros(2 * PAGE), shape.size - PAGE, &rw);
    refuse("far beyond the end", zeros, u64::MAX - PAGE + 1, &rw);
    refuse("between pages", zeros, DATA + 8, &rw);
    refuse("half a page", Source::Zeros(PAGE / 2), DATA, &rw);
    refuse("no page", Source::Zeros(0), DATA, &rw);
    refuse("write without read", zeros, DATA, &SecInfo::reg(Permissions::W));
    refuse("a SECS", zeros, DATA, &SecInfo::new(PageType::Secs, Permissions::empty()));
    refuse("a trimmed page", zeros, DATA, &SecInfo::new(PageType::Trim, Permissions::empty()));
    refuse("a TCS with permissions", zeros, DATA, &SecInfo::new(PageType::Tcs, Permissions::RW));
    refuse("a pending page", zeros, DATA, &rw.with(SecInfoFlags::PENDING));
    let mut reserved = rw;
    reserved.reserved.0[0] = 1;
    refuse("reserved bytes", zeros, DATA, &reserved);
    let tcs = |change: &dyn Fn(&mut Tcs)| {
        let mut tcs = shape.tcs(0);
        change(&mut tcs);
        tcs.as_bytes().to_vec()
    };
    let bad = [
        ("flags", tcs(&|tcs| tcs.flags = TcsFlags::from_bits_retain(1 << 5))),
        ("a debugger", tcs(&|tcs| tcs.flags = TcsFlags::DBGOPTIN)),
        ("frames between pages", tcs(&|tcs| tcs.ossa += 8)),
        ("FS between pages", tcs(&|tcs| tcs.ofsbase += 8)),
        ("GS between pages", tcs(&|tcs| tcs.ogsbase += 8)),
        ("reserved bytes", tcs(&|tcs| tcs.reserved.0[100] = 1)),
    ];
    for (what, bytes) in &bad {
        refuse(what, Source::Bytes(bytes), 0, &SecInfo::tcs());
    }
    enclave.add_pages(zeros, DATA, &rw, false).unwrap();
    refuse("twice", zeros, DATA, &rw);
    refuse("twice in a range", Source::Zeros(2 * PAGE), DATA - PAGE, &rw);
}

pub(crate) fn what_is_initialised_takes_no_pages(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    let rw = SecInfo::reg(Permissions::RW);
    machine.enclave.add_pages(Source::Zeros(PAGE), DYNAMIC, &rw, true).unwrap_err();
    let attributes = machine.enclave.attributes();
    assert!(attributes.flags.contains(AttributeFlags::MODE64BIT));
    assert_eq!(attributes.xfrm, Shape::new(platform).xfrm);
    let again = Shape::new(platform).sign();
    machine.enclave.init(&again).unwrap_err();
}

/// The host cannot map a page with more than it was added with; what is not added yet it can map as it likes
/// (`sgx_encl_may_map`).
pub(crate) fn mappings_are_capped(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    let refuse = |offset, length, permissions| {
        assert!(machine.enclave.protect(offset, length, permissions).is_err(), "{offset:#x} {permissions:?}");
    };
    refuse(READ_ONLY, PAGE, Permissions::RW);
    refuse(DATA, PAGE, Permissions::RX);
    refuse(CODE, PAGE, Permissions::RWX);
    refuse(shape::tcs(0), PAGE, Permissions::RX);
    refuse(DATA, HEAP - DATA, Permissions::RWX);
    refuse(DATA, HEAP, Permissions::R);
    refuse(DATA + 1, PAGE, Permissions::R);
    refuse(DATA, 0, Permissions::R);
    machine.put(DATA, 3);
    assert_eq!(machine.get(DATA), 3, "what was refused changed nothing");
    // A page that is added later can have everything.
    machine.accept_new(DYNAMIC);
    machine.enclave.protect(DYNAMIC, PAGE, Permissions::RWX).unwrap();
    // What was restricted by EMODPR can still be mapped as it was.
    assert_eq!(machine.enclave.restrict_permissions(DATA, PAGE, Permissions::R).unwrap(), PAGE);
    machine.enclave.protect(DATA, PAGE, Permissions::RW).unwrap();
}

/// A frame must hold the state that XFRM names, or ECREATE refuses.
pub(crate) fn frames_must_hold_the_state(platform: &dyn Platform) {
    // Tiles take two pages.
    const TILES: u64 = 3 << 17;
    let shape = Shape::new(platform);
    if platform.capabilities().xfrm & TILES == TILES {
        let xfrm = shape.xfrm | TILES;
        let attributes = Attributes { flags: shape.attributes, xfrm };
        assert!(platform.create(&Secs { attributes, ..shape.secs() }).is_err());
    }
    platform.create(&Secs { ssaframesize: 4, ..shape.secs() }).unwrap();
}
