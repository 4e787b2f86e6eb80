//! SGX2: EACCEPT, EMODPE, EACCEPTCOPY, and the host's part of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use casemate_sgx::arch::{ErrorCode, Leaf, PageType, Permissions, SecInfo, SecInfoFlags, Vector};
use casemate_sgx::platform::{EnterLeaf, Platform};
use zerocopy::IntoBytes as _;

use crate::support::image::{self, Kind, Op};
use crate::support::machine::{Machine, address, exited, inside, refused};
use crate::support::pattern::{Pattern, RBX};
use crate::support::shape::{self, CODE, DATA, DYNAMIC, PAGE, READ_ONLY, Shape};

const MISMATCH: Result<(), ErrorCode> = Err(ErrorCode::PageAttributesMismatch);

fn reg(permissions: Permissions, state: SecInfoFlags) -> SecInfo {
    SecInfo::reg(permissions).with(state)
}

fn trim() -> SecInfo {
    SecInfo::new(PageType::Trim, Permissions::empty()).with(SecInfoFlags::MODIFIED)
}

pub(crate) fn mismatches(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    let pending = SecInfoFlags::PENDING;
    // A page that EAUG has just added is readable, writable and pending.
    assert_eq!(machine.accept(&reg(Permissions::R, pending), DYNAMIC), MISMATCH);
    assert_eq!(machine.accept(&reg(Permissions::RWX, pending), DYNAMIC), MISMATCH);
    assert_eq!(machine.accept(&trim(), DYNAMIC), MISMATCH);
    assert_eq!(machine.accept(&reg(Permissions::RW, SecInfoFlags::PR), DYNAMIC), MISMATCH);
    machine.accept_new(DYNAMIC);
    assert_eq!(machine.accept(&reg(Permissions::RW, pending), DYNAMIC), MISMATCH, "accepted before");
    // A page that was there from the beginning is not pending: no host can have it accepted twice.
    machine.put(DATA, 1);
    assert_eq!(machine.accept(&reg(Permissions::RW, pending), DATA), MISMATCH);
    assert_eq!(machine.accept(&trim(), DATA), MISMATCH);
    assert_eq!(machine.accept(&SecInfo::tcs().with(SecInfoFlags::MODIFIED), DATA), MISMATCH);
    assert_eq!(machine.get(DATA), 1);
    // A trimmed page is neither regular nor a TCS.
    assert_eq!(machine.enclave.modify_types(DATA, PAGE, PageType::Trim).unwrap(), PAGE);
    assert_eq!(machine.accept(&reg(Permissions::RW, pending), DATA), MISMATCH);
    assert_eq!(machine.accept(&SecInfo::tcs().with(SecInfoFlags::MODIFIED), DATA), MISMATCH);
    assert_eq!(machine.accept(&trim(), DATA), Ok(()));
}

pub(crate) fn operands(platform: &dyn Platform) {
    let pending = reg(Permissions::RW, SecInfoFlags::PENDING);
    let gp = inside(Vector::GP, 0, 0);
    let outside = Box::new(pending);
    let outside = address(std::ptr::from_ref(&*outside).cast_mut());
    let fault = |info: SecInfo, rbx: Option<u64>, rcx: u64, leaf: Leaf| {
        let machine = Machine::new(platform);
        machine.write(0, DATA, info.as_bytes());
        machine.write(0, DATA + 8 + 64, info.as_bytes());
        let rbx = rbx.unwrap_or_else(|| machine.at(DATA));
        // Low numbers are offsets.
        let rbx = if rbx < machine.enclave.size() { machine.at(rbx) } else { rbx };
        let rcx = if rcx < 2 * machine.enclave.size() { machine.at(rcx) } else { rcx };
        let fault = machine.enclu(leaf, [rbx, rcx, machine.at(DATA)]).unwrap_err();
        (fault, machine)
    };
    for leaf in [Leaf::Eaccept, Leaf::Emodpe, Leaf::Eacceptcopy] {
        let info = match leaf {
            Leaf::Eaccept => pending,
            _ => SecInfo::reg(Permissions::RW),
        };
        assert_eq!(fault(info, Some(DATA + 72), DYNAMIC, leaf).0, gp, "{leaf}: SECINFO not aligned");
        assert_eq!(fault(info, Some(outside), DYNAMIC, leaf).0, gp, "{leaf}: SECINFO outside");
        assert_eq!(fault(info, None, DYNAMIC + 8, leaf).0, gp, "{leaf}: page not aligned");
        assert_eq!(fault(info, None, 1 << 46, leaf).0, gp, "{leaf}: page outside");
        assert_eq!(fault(info, None, 0x10_0000, leaf).0, gp, "{leaf}: page right behind the end");
        let mut reserved = info;
        reserved.reserved.0[3] = 1;
        assert_eq!(fault(reserved, None, DYNAMIC, leaf).0, gp, "{leaf}: reserved bytes");
        let (missing, machine) = fault(info, None, 0x9000, leaf);
        assert_eq!((missing.leaf, missing.vector), (EnterLeaf::Resume, Vector::PF.0), "{leaf}: not mapped");
        assert_eq!(missing.address, machine.at(0x9000));
        assert_eq!(missing.error_code & 1 << 15, 0, "{leaf}: the page table said no");
        assert_eq!(machine.frame(0, 0).gprsgx().exitinfo.vector(), Some(Vector::PF));
        let (unreadable, _) = fault(info, Some(0), DYNAMIC, leaf);
        assert_eq!(unreadable.vector, Vector::PF.0, "{leaf}: SECINFO in a TCS");
    }
    let modified = SecInfoFlags::MODIFIED;
    for info in [
        reg(Permissions::RW, modified),
        SecInfo::tcs().with(SecInfoFlags::PENDING),
        SecInfo::new(PageType::Trim, Permissions::empty()),
        SecInfo::new(PageType::Secs, Permissions::empty()).with(modified),
        SecInfo::new(PageType::Va, Permissions::empty()).with(modified),
    ] {
        assert_eq!(fault(info, None, DYNAMIC, Leaf::Eaccept).0, gp, "{info:?}");
    }
}

/// W xor X as the enclave's loader does it: written, made executable, run; and then read-only.
pub(crate) fn emodpe_extends(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    machine.accept_new(DYNAMIC);
    // mov rax, after; jmp rax
    let mut code = vec![0x48, 0xb8];
    code.extend((machine.at(CODE) + image::after()).to_le_bytes());
    code.extend([0xff, 0xe0]);
    machine.write(0, DYNAMIC, &code);
    let mut pattern = Pattern::new(3, 1);
    pattern.registers[RBX] = machine.at(DYNAMIC);
    let fault = crate::support::machine::excepted(machine.pattern(1, &pattern, Kind::Jump));
    assert_eq!(fault, inside(Vector::PF, 0x8015, machine.at(DYNAMIC)), "the EPCM says no to the fetch");
    let executable = SecInfo::reg(Permissions::RX);
    machine.with_secinfo(Leaf::Emodpe, &executable, DYNAMIC, 0).unwrap();
    exited(machine.resume(1));
    assert_eq!(machine.outcome(1).registers[0], machine.at(CODE) + image::after());
    assert_eq!(machine.enclave.restrict_permissions(DYNAMIC, PAGE, Permissions::RX).unwrap(), PAGE);
    assert_eq!(machine.accept(&reg(Permissions::RX, SecInfoFlags::PR), DYNAMIC), Ok(()));
    exited(machine.pattern(1, &pattern, Kind::Jump));
    let fault = machine.fault(0, Op::Put, [machine.at(DYNAMIC), 0, 0, 0]);
    assert_eq!((fault.vector, fault.error_code & 0x8002), (Vector::PF.0, 0x8002));
}

pub(crate) fn eacceptcopy_fills(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    let bytes: Vec<u8> = (0_u8..=250).cycle().take(4096).collect();
    let source = DATA + 2 * PAGE;
    machine.write(0, source, &bytes);
    let info = SecInfo::reg(Permissions::RX);
    let copy = |info: &SecInfo, to, from| machine.with_secinfo(Leaf::Eacceptcopy, info, to, machine.at(from));
    assert_eq!(copy(&info, DYNAMIC, source).unwrap().code(), Ok(()));
    let mut read = vec![0; 4096];
    machine.read(0, DYNAMIC, &mut read);
    assert_eq!(read, bytes);
    assert_eq!(copy(&info, DYNAMIC, source).unwrap().code(), MISMATCH, "only once");
    assert_eq!(copy(&info, DATA, source).unwrap().code(), MISMATCH, "only a pending page");
    machine.read(0, source, &mut read);
    assert_eq!(read, bytes, "the source stays");
    let fault = machine.fault(1, Op::Put, [machine.at(DYNAMIC), 0, 0, 0]);
    assert_eq!(fault, inside(Vector::PF, 0x8007, machine.at(DYNAMIC)));
    // A source that the enclave cannot read, and one that is not aligned.
    assert_eq!(copy(&info, DYNAMIC + PAGE, 0).unwrap_err().vector, Vector::PF.0);
    let machine = Machine::new(platform);
    let answer = machine.with_secinfo(Leaf::Eacceptcopy, &info, DYNAMIC, machine.at(source) + 8);
    assert_eq!(answer.unwrap_err(), inside(Vector::GP, 0, 0));
}

pub(crate) fn restricted_pages_must_be_accepted(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    machine.put(DATA, 1);
    assert_eq!(machine.enclave.restrict_permissions(DATA, PAGE, Permissions::R).unwrap(), PAGE);
    // What was taken is taken at once, accepted or not.
    let fault = machine.fault(1, Op::Put, [machine.at(DATA), 0, 0, 0]);
    assert_eq!(fault, inside(Vector::PF, 0x8007, machine.at(DATA)));
    assert_eq!(machine.get(DATA), 1);
    assert_eq!(machine.accept(&reg(Permissions::RW, SecInfoFlags::PR), DATA), MISMATCH);
    assert_eq!(machine.accept(&reg(Permissions::R, SecInfoFlags::PR), DATA), Ok(()));
    // Nothing comes back by restricting to more.
    assert_eq!(machine.enclave.restrict_permissions(DATA, PAGE, Permissions::RWX).unwrap(), PAGE);
    assert_eq!(machine.accept(&reg(Permissions::RWX, SecInfoFlags::PR), DATA), MISMATCH);
    assert_eq!(machine.accept(&reg(Permissions::R, SecInfoFlags::PR), DATA), Ok(()));
}

/// A host cannot have the enclave reset a thread that is in use.
pub(crate) fn eaccept_of_a_running_tcs_is_refused(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    let modified = SecInfo::tcs().with(SecInfoFlags::MODIFIED);
    assert_eq!(machine.fault(0, Op::Get, [0x18, 0, 0, 0]).vector, Vector::PF.0);
    assert_eq!(machine.accept(&modified, shape::tcs(0)), MISMATCH);
    assert_eq!(machine.entry(0).rax, 1, "the thread keeps its frames");
    let words: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
    let spin = [address(words.as_ptr().cast_mut()), 0, 0, 0];
    thread::scope(|scope| {
        let spinning = scope.spawn(|| machine.run(1, Op::Spin, spin));
        while words[1].load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        assert_eq!(machine.accept(&modified, shape::tcs(1)), MISMATCH);
        assert_eq!(machine.fault(1, Op::Nop, [0; 4]), refused(Vector::GP), "it is still busy");
        words[0].store(1, Ordering::Relaxed);
        spinning.join().unwrap();
    });
}

pub(crate) fn host_calls_are_checked(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    let enclave = &*machine.enclave;
    enclave.restrict_permissions(0x9000, PAGE, Permissions::R).unwrap_err();
    enclave.restrict_permissions(DATA, PAGE, Permissions::empty()).unwrap_err();
    enclave.restrict_permissions(DATA, PAGE, Permissions::W).unwrap_err();
    enclave.restrict_permissions(DATA + 8, PAGE, Permissions::R).unwrap_err();
    enclave.restrict_permissions(DATA, 8, Permissions::R).unwrap_err();
    enclave.restrict_permissions(enclave.size(), PAGE, Permissions::R).unwrap_err();
    enclave.restrict_permissions(DATA, u64::MAX - 0xfff, Permissions::R).unwrap_err();
    for page_type in [PageType::Secs, PageType::Reg, PageType::Va] {
        enclave.modify_types(DATA, PAGE, page_type).unwrap_err();
    }
    enclave.modify_types(0x9000, PAGE, PageType::Trim).unwrap_err();
    enclave.modify_types(shape::tcs(0), PAGE, PageType::Tcs).unwrap_err();
    // Only what is readable and writable can become a TCS.
    enclave.modify_types(READ_ONLY, PAGE, PageType::Tcs).unwrap_err();
    enclave.remove_pages(DATA, PAGE).unwrap_err();
    enclave.remove_pages(0x9000, PAGE).unwrap_err();
    // As far as it goes: four pages are there, the fifth is not.
    assert_eq!(enclave.restrict_permissions(DATA, 5 * PAGE, Permissions::R).unwrap(), 4 * PAGE);
    assert_eq!(enclave.modify_types(DATA, 5 * PAGE, PageType::Trim).unwrap_or(0) % PAGE, 0);
    let shape = Shape::new(platform);
    let unborn = shape.load(platform).unwrap();
    unborn.restrict_permissions(DATA, PAGE, Permissions::R).unwrap_err();
    unborn.modify_types(DATA, PAGE, PageType::Trim).unwrap_err();
    unborn.remove_pages(DATA, PAGE).unwrap_err();
}

pub(crate) fn augmented_pages_are_zero(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    for page in 0..4 {
        let page = DYNAMIC + page * PAGE;
        for round in 0..3 {
            machine.accept_new(page);
            assert_eq!(machine.get(page + 8), 0, "round {round}");
            machine.put(page + 8, u64::MAX);
            machine.remove(page);
        }
    }
    // A page that was added before EINIT, removed, comes back empty too.
    machine.put(DATA, 5);
    machine.remove(DATA);
    machine.accept_new(DATA);
    assert_eq!(machine.get(DATA), 0);
}

pub(crate) fn a_trimmed_tcs_refuses(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    machine.run(1, Op::Nop, [0; 4]);
    assert_eq!(machine.enclave.modify_types(shape::tcs(1), PAGE, PageType::Trim).unwrap(), PAGE);
    let fault = machine.fault(1, Op::Nop, [0; 4]);
    assert_eq!((fault.leaf, fault.vector), (EnterLeaf::Enter, Vector::PF.0));
    assert_eq!(machine.accept(&trim(), shape::tcs(1)), Ok(()));
    assert_eq!(machine.enclave.remove_pages(shape::tcs(1), PAGE).unwrap(), PAGE);
    assert_eq!(machine.fault(1, Op::Nop, [0; 4]).vector, Vector::PF.0);
    machine.run(0, Op::Nop, [0; 4]);
}
