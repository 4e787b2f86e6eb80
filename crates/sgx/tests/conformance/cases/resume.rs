//! ERESUME and EDECCSSA (SDM vol. 3D, chapter 39).

use casemate_sgx::arch::{Gprsgx, Leaf, Vector};
use casemate_sgx::platform::{EnterLeaf, Platform};

use crate::support::image::{self, Kind, Op};
use crate::support::machine::{Frame, Machine, excepted, exited, inside};
use crate::support::pattern::Pattern;
use crate::support::shape::{CODE, DYNAMIC, Shape};

fn at_ud2(platform: &dyn Platform, seed: u8) -> (Machine, Box<Pattern>) {
    let shape = Shape::new(platform);
    let machine = Machine::with(platform, &shape).unwrap();
    let pattern = Pattern::new(shape.xfrm, seed);
    assert_eq!(excepted(machine.pattern(0, &pattern, Kind::Ud2)), inside(Vector::UD, 0, 0));
    (machine, pattern)
}

pub(crate) fn everything_comes_back(platform: &dyn Platform) {
    for seed in [1, 0x80, 0xff] {
        let (machine, pattern) = at_ud2(platform, seed);
        // The same fault again and again, each time from a whole state.
        for _ in 0..3 {
            assert_eq!(excepted(machine.resume(0)), inside(Vector::UD, 0, 0));
        }
        machine.skip(0);
        exited(machine.resume(0));
        let differences = machine.outcome(0).differences(&pattern);
        assert!(differences.is_empty(), "{differences:#?}");
        assert_eq!(machine.entry(0).rax, 0);
        assert_eq!(machine.entry(0).gsbase, machine.at(crate::support::shape::own(0)));
    }
}

/// A handler inside can replace the whole state: that is how the enclave's scheduler preempts.
pub(crate) fn an_edited_frame_is_what_resumes(platform: &dyn Platform) {
    let (machine, _) = at_ud2(platform, 1);
    let other = Pattern::new(Shape::new(platform).xfrm, 0xa7);
    let mut frame = machine.frame(0, 0);
    let length = 4096 - 200;
    frame.bytes[..length].copy_from_slice(&other.xsave[..length]);
    let old = frame.gprsgx();
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] = other.registers;
    let edited = Gprsgx {
        rax,
        rcx,
        rdx,
        rbx,
        rsp,
        rbp,
        rsi,
        rdi,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rflags: other.rflags ^ 0xc1,
        rip: machine.at(CODE) + image::after(),
        ..old
    };
    frame.set_gprsgx(&edited);
    machine.set_frame(0, 0, &frame);
    exited(machine.resume(0));
    let mut wanted = other.clone();
    wanted.rflags ^= 0xc1;
    let differences = machine.outcome(0).differences(&wanted);
    assert!(differences.is_empty(), "{differences:#?}");
}

/// What XRSTOR would refuse, and addresses that are not the enclave's: #GP, and the frame stays.
pub(crate) fn bad_frames_refuse(platform: &dyn Platform) {
    let (machine, pattern) = at_ud2(platform, 7);
    let good = machine.frame(0, 0);
    let with = |change: &dyn Fn(&mut Gprsgx)| {
        let mut frame = good.clone();
        let mut gprsgx = good.gprsgx();
        change(&mut gprsgx);
        frame.set_gprsgx(&gprsgx);
        frame
    };
    let byte = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame.bytes[at] = value;
        frame
    };
    let bad: [(&str, Frame); 8] = [
        ("a component that XFRM lacks", byte(519, 0x40)),
        ("the compacted form", byte(527, 0x80)),
        ("the header's reserved bytes", byte(530, 1)),
        ("MXCSR's reserved bits", byte(26, 1)),
        ("RIP outside", with(&|g| g.rip = 0x1000)),
        ("RIP behind the end", with(&|g| g.rip = machine.at(machine.enclave.size()))),
        ("FS not canonical", with(&|g| g.fsbase = 1 << 60)),
        ("GS not canonical", with(&|g| g.gsbase = 1 << 47)),
    ];
    for (what, frame) in &bad {
        machine.set_frame(0, 0, frame);
        let fault = excepted(machine.resume(0));
        assert_eq!((fault.leaf, fault.vector), (EnterLeaf::Resume, Vector::GP.0), "{what}");
        assert_eq!(machine.entry(0).rax, 1, "{what}");
    }
    machine.set_frame(0, 0, &good);
    machine.skip(0);
    exited(machine.resume(0));
    assert!(machine.outcome(0).differences(&pattern).is_empty());
}

pub(crate) fn edeccssa(platform: &dyn Platform) {
    if !platform.capabilities().edeccssa {
        println!("skipped: no EDECCSSA here");
        return;
    }
    let (machine, _) = at_ud2(platform, 2);
    assert_eq!(machine.entry(0).rax, 1);
    machine.run(0, Op::Deccssa, [0; 4]);
    assert_eq!(machine.entry(0).rax, 0, "the frame below is free again");
    let fault = excepted(machine.resume(0));
    assert_eq!((fault.leaf, fault.vector), (EnterLeaf::Resume, Vector::GP.0));
    // At the lowest level there is none below.
    assert_eq!(machine.enclu(Leaf::Edeccssa, [0; 3]).unwrap_err(), inside(Vector::GP, 0, 0));
    assert_eq!(machine.entry(0).rax, 1);
}

/// After EDECCSSA the next exit writes the frame of the level that it went down to.
pub(crate) fn edeccssa_then_exit_writes_the_lower_frame(platform: &dyn Platform) {
    if !platform.capabilities().edeccssa {
        println!("skipped: no EDECCSSA here");
        return;
    }
    let (machine, _) = at_ud2(platform, 2);
    assert_eq!(machine.fault(0, Op::Deccssa, [1, 0, 0, 0]), inside(Vector::UD, 0, 0));
    assert_eq!(machine.entry(0).rax, 1);
    let mut frame = machine.frame(0, 0);
    let rip = machine.at(CODE) + image::decremented();
    assert_eq!(frame.gprsgx().rip, rip);
    frame.set_gprsgx(&Gprsgx { rip: rip + 2, ..frame.gprsgx() });
    machine.set_frame(0, 0, &frame);
    exited(machine.resume(0));
    assert_eq!(machine.entry(0).rax, 0);
    assert_eq!(machine.fault(0, Op::Get, [machine.at(DYNAMIC), 0, 0, 0]).vector, Vector::PF.0);
}
