//! EENTER: the state it makes, and when it refuses (SDM vol. 3D, EENTER, "Operation").

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use casemate_sgx::arch::{Leaf, PageType, Permissions, SecInfo, SecInfoFlags, Vector};
use casemate_sgx::platform::{EnterLeaf, Exit, Platform, Registers};

use crate::support::image::Kind;
use crate::support::image::Op;
use crate::support::machine::{Machine, address, excepted, exited, inside, refused};
use crate::support::pattern::Pattern;
use crate::support::shape::{self, DATA, DYNAMIC, PAGE, Shape};

pub(crate) fn registers_at_eenter(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    for thread in 0..2 {
        let entry = machine.entry(thread);
        assert_eq!(entry.rax, 0, "RAX is CSSA");
        assert_eq!(entry.rbx, machine.at(shape::tcs(thread)), "RBX is the TCS");
        let base = machine.enclave.base();
        assert!(
            !(base..base + machine.enclave.size()).contains(&entry.rcx),
            "RCX is where EEXIT goes, outside"
        );
        assert_eq!(entry.fsbase, machine.at(DATA + 0x3000));
        assert_eq!(entry.gsbase, machine.at(shape::own(thread)));
        assert_eq!(entry.rflags & (1 << 10), 0, "DF");
        // RSP and RBP are the host's, who cannot be in the enclave.
        assert!(!(base..base + machine.enclave.size()).contains(&entry.rsp));
    }
    machine.fault(0, Op::Pattern, [Pattern::new(3, 1).address(), Kind::Ud2 as u64, 0, 0]);
    let nested = machine.entry(0);
    assert_eq!((nested.rax, nested.rbx), (1, machine.at(shape::tcs(0))));
    // The frame has what the host had, and gives it back.
    let gprsgx = machine.frame(0, 0).gprsgx();
    assert_ne!(gprsgx.ursp, 0);
    assert_eq!(gprsgx.fsbase, machine.at(DATA + 0x3000));
    assert_eq!(gprsgx.gsbase, machine.at(shape::own(0)));
}

pub(crate) fn a_busy_tcs_refuses(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    let words: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
    let spin = [address(words.as_ptr().cast_mut()), 0, 0, 0];
    thread::scope(|scope| {
        let inside = scope.spawn(|| machine.run(0, Op::Spin, spin));
        while words[1].load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        for _ in 0..100 {
            assert_eq!(machine.fault(0, Op::Nop, [0; 4]), refused(Vector::GP));
        }
        let resumed = excepted(machine.resume(0));
        assert_eq!((resumed.leaf, resumed.vector), (EnterLeaf::Resume, Vector::GP.0));
        machine.run(1, Op::Nop, [0; 4]);
        words[0].store(1, Ordering::Relaxed);
        inside.join().unwrap();
    });
    machine.run(0, Op::Nop, [0; 4]);
}

pub(crate) fn frames_run_out(platform: &dyn Platform) {
    let machine = Machine::with(platform, &Shape { nssa: 2, ..Shape::new(platform) }).unwrap();
    for level in 0..2 {
        assert_eq!(machine.entry(0).rax, level);
        // Nobody is told where a fault happened but the frame.
        assert_eq!(machine.fault(0, Op::Get, [8, 0, 0, 0]).vector, Vector::PF.0);
    }
    assert_eq!(machine.fault(0, Op::Nop, [0; 4]), refused(Vector::GP));
    // The other thread has frames of its own.
    machine.run(1, Op::Nop, [0; 4]);
    // ERESUME gives one back: the load faults again.
    assert_eq!(excepted(machine.resume(0)).vector, Vector::PF.0);
    assert_eq!(machine.fault(0, Op::Nop, [0; 4]), refused(Vector::GP));
}

pub(crate) fn nested_entry(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    let mut word = 5_u64;
    let hole = machine.at(DYNAMIC);
    assert_eq!(machine.fault(0, Op::Put, [hole, 6, 0, 0]).vector, Vector::PF.0);
    for _ in 0..3 {
        assert_eq!(machine.entry(0).rax, 1);
        assert_eq!(machine.run(0, Op::Get, [address(&raw mut word), 0, 0, 0]).rdx, 5);
    }
    assert_eq!(machine.fault(0, Op::Get, [hole, 0, 0, 0]).vector, Vector::PF.0);
    assert_eq!(machine.entry(0).rax, 2);
    // A handler at the highest level accepts the page; both levels below then go on.
    machine.accept_new(DYNAMIC);
    assert_eq!(exited(machine.resume(0)).rdx, 0);
    assert_eq!(machine.entry(0).rax, 1);
    exited(machine.resume(0));
    assert_eq!(machine.entry(0).rax, 0);
    assert_eq!(machine.get(DYNAMIC), 6);
}

pub(crate) fn what_is_no_tcs_refuses(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    let enter = |tcs| {
        // SAFETY: as every entry of `Machine`.
        excepted(unsafe { machine.enclave.enter(tcs, EnterLeaf::Enter, Registers::default()) }.unwrap())
    };
    // Not a whole page.
    assert_eq!(enter(machine.at(8)), refused(Vector::GP));
    // Pages of another kind, and no pages, are page faults of the EPCM's.
    for tcs in [machine.at(DATA), machine.at(shape::own(0)), machine.at(shape::CODE), machine.at(0x9000)] {
        let fault = enter(tcs);
        assert_eq!((fault.leaf, fault.vector), (EnterLeaf::Enter, Vector::PF.0), "{tcs:#x}");
        assert_eq!(fault.address, tcs);
    }
    machine.run(0, Op::Nop, [0; 4]);
}

pub(crate) fn an_uninitialised_enclave_refuses(platform: &dyn Platform) {
    let shape = Shape::new(platform);
    let enclave = shape.load(platform).unwrap();
    // SAFETY: as every entry of `Machine`.
    let exit = unsafe { enclave.enter(enclave.base(), EnterLeaf::Enter, Registers::default()) }.unwrap();
    assert!(matches!(exit, Exit::Exception(fault) if fault.leaf == EnterLeaf::Enter));
    enclave.init(&shape.sign()).unwrap();
    shape.map(&*enclave).unwrap();
    Machine { enclave }.run(0, Op::Nop, [0; 4]);
}

pub(crate) fn resume_needs_a_frame(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    let fault = excepted(machine.resume(0));
    assert_eq!((fault.leaf, fault.vector), (EnterLeaf::Resume, Vector::GP.0));
    machine.run(0, Op::Nop, [0; 4]);
}

/// The processor accesses a TCS through the host's page table.
pub(crate) fn unmapped_tcs_faults(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    machine.run(0, Op::Nop, [0; 4]);
    for permissions in [Permissions::empty(), Permissions::R] {
        machine.enclave.protect(shape::tcs(0), PAGE, permissions).unwrap();
        let fault = machine.fault(0, Op::Nop, [0; 4]);
        assert_eq!((fault.leaf, fault.vector), (EnterLeaf::Enter, Vector::PF.0));
        assert_eq!(fault.address, machine.at(shape::tcs(0)));
        assert_eq!(fault.error_code & 1 << 15, 0, "the page table said no, not the EPCM");
    }
    machine.enclave.protect(shape::tcs(0), PAGE, Permissions::RW).unwrap();
    machine.run(0, Op::Nop, [0; 4]);
}

/// EENTER wants the state frame that the next exit will use readable and writable.
pub(crate) fn ssa_must_be_there(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    let frame = shape::frame(0, 0);
    let enclave = &machine.enclave;
    enclave.protect(frame, PAGE, Permissions::R).unwrap();
    let fault = machine.fault(0, Op::Nop, [0; 4]);
    assert_eq!((fault.leaf, fault.vector), (EnterLeaf::Enter, Vector::PF.0));
    assert_eq!(fault.address & !0xfff, machine.at(frame));
    enclave.protect(frame, PAGE, Permissions::RW).unwrap();
    machine.run(0, Op::Nop, [0; 4]);
    assert_eq!(enclave.restrict_permissions(frame, PAGE, Permissions::R).unwrap(), PAGE);
    let fault = machine.fault(0, Op::Nop, [0; 4]);
    assert_eq!((fault.leaf, fault.vector), (EnterLeaf::Enter, Vector::PF.0));
    // Accepting by the other thread does not make it writable.
    machine.write(
        1,
        DATA,
        zerocopy::IntoBytes::as_bytes(&SecInfo::reg(Permissions::R).with(SecInfoFlags::PR)),
    );
    let operands = [Leaf::Eaccept.raw().into(), machine.at(DATA), machine.at(frame), 0];
    assert_eq!(machine.run(1, Op::Enclu, operands).rsi, 0);
    assert_eq!(machine.fault(0, Op::Nop, [0; 4]).vector, Vector::PF.0);
    assert_eq!(enclave.modify_types(shape::tcs(0), PAGE, PageType::Trim).unwrap(), PAGE);
    assert_eq!(machine.fault(0, Op::Nop, [0; 4]).vector, Vector::PF.0);
}

/// An ENCLU that is not in the stub does the same.
pub(crate) fn raw_enclu_works_too(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    let pending = SecInfo::reg(Permissions::RW).with(SecInfoFlags::PENDING);
    machine.write(0, DATA, zerocopy::IntoBytes::as_bytes(&pending));
    let operands = [Leaf::Eaccept.raw().into(), machine.at(DATA), machine.at(DYNAMIC), 0];
    let answer = machine.run(0, Op::Raw, operands);
    assert_eq!((answer.rsi, answer.rdx & 1 << 6), (0, 0));
    let answer = machine.run(0, Op::Raw, operands);
    assert_eq!((answer.rsi, answer.rdx & 1 << 6), (19, 1 << 6));
}

/// EENTER and ERESUME inside an enclave, and numbers that no leaf has.
pub(crate) fn unknown_leaves_raise_gp(platform: &dyn Platform) {
    for op in [Op::Enclu, Op::Raw] {
        for leaf in [2, 3, 10, 0x1_0000, u64::from(u32::MAX)] {
            let machine = Machine::new(platform);
            let fault = machine.fault(0, op, [leaf, machine.at(0), 0, 0]);
            assert_eq!(fault, inside(Vector::GP, 0, 0), "leaf {leaf:#x} by {op:?}");
            let gprsgx = machine.frame(0, 0).gprsgx();
            assert_eq!(gprsgx.exitinfo.vector(), Some(Vector::GP));
            if matches!(op, Op::Raw) {
                // The emulator's stub does not keep a number that is no leaf.
                assert_eq!(gprsgx.rax, leaf);
            }
            assert_eq!(gprsgx.rbx, machine.at(0));
        }
    }
}
