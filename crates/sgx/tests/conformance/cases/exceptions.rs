//! Exceptions inside: what the host is told, and what the state frame holds (SDM vol. 3D, "Enclave exiting events").

use std::arch::asm;

use casemate_sgx::arch::{Exinfo, ExitInfo, ExitType, Gprsgx, Miscselect, Vector};
use casemate_sgx::platform::{Exception, Platform};

use crate::support::image::{self, Kind, Op};
use crate::support::machine::{Frame, Machine, excepted, inside};
use crate::support::pattern::{Pattern, RBX, RCX, differences_of_xsave};
use crate::support::shape::{CODE, DATA, DYNAMIC, READ_ONLY, Shape};

/// RFLAGS.RF, which faults set in what they save.
const RF: u64 = 1 << 16;
/// RFLAGS.AC.
const AC: u64 = 1 << 18;

struct Case {
    machine: Machine,
    pattern: Box<Pattern>,
    kind: Kind,
}

impl Case {
    fn new(platform: &dyn Platform, kind: Kind) -> Self {
        let shape = Shape::new(platform);
        let machine = Machine::with(platform, &shape).unwrap();
        Self { machine, pattern: Pattern::new(shape.xfrm, 0x5a), kind }
    }

    fn fault(&self) -> Exception {
        excepted(self.machine.pattern(0, &self.pattern, self.kind))
    }

    /// The instruction raises this, and the frame says so and holds every register.
    fn raises(&self, expected: Exception, exinfo: Exinfo) -> Frame {
        assert_eq!(self.fault(), expected, "{:?}", self.kind);
        let frame = self.machine.frame(0, 0);
        let exit = ExitInfo::new(Vector(expected.vector), ExitType::Hardware);
        assert_eq!(frame.gprsgx().exitinfo, exit, "{:?}", self.kind);
        assert_eq!(frame.exinfo(), exinfo, "{:?}", self.kind);
        assert_eq!(frame.gprsgx().rip, self.machine.rip(self.kind), "{:?}", self.kind);
        frame
    }

    fn holds_registers(&self, frame: &Frame) {
        let saved = registers(&frame.gprsgx());
        assert_eq!(saved, self.pattern.registers, "{:?}: {saved:x?}", self.kind);
        assert_eq!(frame.gprsgx().rflags & !RF, self.pattern.rflags, "{:?}", self.kind);
    }

    fn holds_state(&self, frame: &Frame) {
        let differences = differences_of_xsave(&frame.bytes, &self.pattern.xsave, self.pattern.xfrm);
        assert!(differences.is_empty(), "{:?}: {differences:#?}", self.kind);
    }

    /// The thread goes on as if nothing had happened.
    fn goes_on(&self) {
        self.machine.skip(0);
        crate::support::machine::exited(self.machine.resume(0));
        let outcome = self.machine.outcome(0);
        assert_eq!(outcome.registers, self.pattern.registers, "{:?}", self.kind);
    }
}

fn registers(gprsgx: &Gprsgx) -> [u64; 16] {
    let g = gprsgx;
    [
        g.rax, g.rcx, g.rdx, g.rbx, g.rsp, g.rbp, g.rsi, g.rdi, g.r8, g.r9, g.r10, g.r11, g.r12, g.r13,
        g.r14, g.r15,
    ]
}

pub(crate) fn invalid_opcode(platform: &dyn Platform) {
    let case = Case::new(platform, Kind::Ud2);
    let frame = case.raises(inside(Vector::UD, 0, 0), Exinfo::default());
    case.holds_registers(&frame);
    case.holds_state(&frame);
    case.goes_on();
}

pub(crate) fn divide_error(platform: &dyn Platform) {
    let case = Case::new(platform, Kind::DivideByZero);
    let frame = case.raises(inside(Vector::DE, 0, 0), Exinfo::default());
    case.holds_registers(&frame);
    case.holds_state(&frame);
    case.goes_on();
}

/// Memory of the host that is not there: no business of the EPCM's.
pub(crate) fn page_fault_outside(platform: &dyn Platform) {
    for (kind, code) in [(Kind::Load, 4), (Kind::Store, 6)] {
        let mut case = Case::new(platform, kind);
        case.pattern.registers[RBX] = 0x18;
        let frame = case.raises(inside(Vector::PF, code, 0x18), Exinfo::new(0x18, code.into()));
        case.holds_registers(&frame);
        case.holds_state(&frame);
        case.goes_on();
    }
}

/// Memory of the enclave: the page table speaks first, then the EPCM.
pub(crate) fn page_fault_inside(platform: &dyn Platform) {
    let cases = [
        (Kind::Store, READ_ONLY + 0x123, 0x7),
        (Kind::Store, CODE, 0x7),
        // Neither added nor mapped.
        (Kind::Load, 0x9000, 0x4),
        (Kind::Store, 0x9008, 0x6),
        // A TCS, which the host has mapped.
        (Kind::Load, 0, 0x8005),
        (Kind::Store, 0x1ff8, 0x8007),
        // Mapped, added by this access, not accepted.
        (Kind::Load, DYNAMIC, 0x8005),
        (Kind::Store, DYNAMIC + 0x1234, 0x8007),
    ];
    for (kind, offset, code) in cases {
        let mut case = Case::new(platform, kind);
        let address = case.machine.at(offset);
        case.pattern.registers[RBX] = address;
        let frame = case.raises(inside(Vector::PF, code, address), Exinfo::new(address, code.into()));
        case.holds_registers(&frame);
        case.holds_state(&frame);
        case.goes_on();
    }
}

/// A jump into data.
pub(crate) fn fetch_from_data(platform: &dyn Platform) {
    let mut case = Case::new(platform, Kind::Jump);
    let address = case.machine.at(DATA + 0x80);
    case.pattern.registers[RBX] = address;
    case.machine.put(DATA + 0x80, u64::MAX);
    assert_eq!(case.fault(), inside(Vector::PF, 0x15, address));
    let frame = case.machine.frame(0, 0);
    assert_eq!(frame.gprsgx().rip, address);
    assert_eq!(frame.exinfo(), Exinfo::new(address, 0x15));
    case.holds_registers(&frame);
    case.goes_on();
}

/// An enclave executes nothing outside. (The emulator notices where nothing can be executed there anyway.)
pub(crate) fn fetch_outside(platform: &dyn Platform) {
    let mut case = Case::new(platform, Kind::Jump);
    case.pattern.registers[RBX] = 0x20;
    assert_eq!(case.fault(), inside(Vector::GP, 0, 0));
    let frame = case.machine.frame(0, 0);
    assert_eq!(frame.gprsgx().exitinfo.vector(), Some(Vector::GP));
    case.holds_registers(&frame);
    case.goes_on();
}

pub(crate) fn general_protection(platform: &dyn Platform) {
    for (kind, rbx) in [(Kind::Load, 1 << 63), (Kind::Store, 0x8000_0000_0000), (Kind::Hlt, 0)] {
        let mut case = Case::new(platform, kind);
        case.pattern.registers[RBX] = rbx;
        let frame = case.raises(inside(Vector::GP, 0, 0), Exinfo::new(0, 0));
        case.holds_registers(&frame);
        case.holds_state(&frame);
        case.goes_on();
    }
}

pub(crate) fn alignment_check(platform: &dyn Platform) {
    let mut case = Case::new(platform, Kind::Store);
    case.pattern.rflags |= AC;
    case.pattern.registers[RBX] = case.machine.at(DATA + 1);
    let frame = case.raises(inside(Vector::AC, 0, 0), Exinfo::default());
    case.holds_registers(&frame);
    case.holds_state(&frame);
    case.goes_on();
    // Aligned, it goes through, and the flag comes back from inside.
    case.pattern.registers[RBX] = case.machine.at(DATA + 8);
    crate::support::machine::exited(case.machine.pattern(0, &case.pattern, Kind::Store));
    assert_eq!(case.machine.outcome(0).rflags, case.pattern.rflags);
    assert_eq!(case.machine.get(DATA + 8), case.pattern.registers[RCX]);
}

pub(crate) fn simd_error(platform: &dyn Platform) {
    let mut case = Case::new(platform, Kind::DivideSingle);
    // Division by zero is not masked.
    case.pattern.xsave[24..28].copy_from_slice(&0x1d80_u32.to_le_bytes());
    case.pattern.xsave[160..164].copy_from_slice(&1_f32.to_le_bytes());
    case.pattern.xsave[176..180].copy_from_slice(&0_f32.to_le_bytes());
    let frame = case.raises(inside(Vector::XM, 0, 0), Exinfo::default());
    case.holds_registers(&frame);
    let mxcsr = u32::from_le_bytes(frame.bytes[24..28].try_into().unwrap());
    assert_eq!(mxcsr, 0x1d80 | 1 << 2, "the exception's flag is set");
    case.goes_on();
}

pub(crate) fn x87_error(platform: &dyn Platform) {
    let mut case = Case::new(platform, Kind::Fwait);
    // Division by zero is pending, and not masked.
    case.pattern.xsave[0..2].copy_from_slice(&0x037b_u16.to_le_bytes());
    case.pattern.xsave[2..4].copy_from_slice(&(1_u16 << 15 | 6 << 11 | 1 << 7 | 1 << 2).to_le_bytes());
    let frame = case.raises(inside(Vector::MF, 0, 0), Exinfo::default());
    case.holds_registers(&frame);
    case.holds_state(&frame);
    case.goes_on();
}

/// INT3 is a fault in an enclave, and #UD where no debugger has opted the thread in (SDM vol. 3D, "INT3 consideration").
pub(crate) fn breakpoint_is_ud_without_debugger(platform: &dyn Platform) {
    let case = Case::new(platform, Kind::Int3);
    let frame = case.raises(inside(Vector::UD, 0, 0), Exinfo::default());
    case.holds_registers(&frame);
    case.holds_state(&frame);
    case.goes_on();
}

/// Instructions that are #UD in an enclave (SDM vol. 3D, "Illegal instructions").
pub(crate) fn instructions_that_enclaves_lack(platform: &dyn Platform) {
    for kind in [Kind::Syscall, Kind::Int80, Kind::Int21, Kind::In] {
        let case = Case::new(platform, kind);
        let frame = case.raises(inside(Vector::UD, 0, 0), Exinfo::default());
        if matches!(kind, Kind::Syscall | Kind::Int80) && platform.is_emulated() {
            // RCX and R11, or the upper half of RAX, are lost: one of the emulator's restrictions.
            assert_eq!(registers(&frame.gprsgx())[2..11], case.pattern.registers[2..11]);
            continue;
        }
        case.holds_registers(&frame);
        case.holds_state(&frame);
        case.goes_on();
    }
}

/// Without MISCSELECT.EXINFO the frame says nothing of #PF and #GP; the host is told all the same.
pub(crate) fn without_exinfo_memory_faults_are_mute(platform: &dyn Platform) {
    let shape = Shape { miscselect: Miscselect::empty(), ..Shape::new(platform) };
    let machine = Machine::with(platform, &shape).unwrap();
    assert_eq!(machine.fault(0, Op::Get, [0x18, 0, 0, 0]), inside(Vector::PF, 4, 0x18));
    let frame = machine.frame(0, 0);
    assert_eq!(frame.gprsgx().exitinfo, ExitInfo::NONE);
    assert_eq!(frame.exinfo(), Exinfo::default());
    assert_eq!(frame.gprsgx().rip, machine.at(CODE) + image::get());
    assert_eq!(machine.fault(0, Op::Put, [1 << 63, 0, 0, 0]), inside(Vector::GP, 0, 0));
    let frame = machine.frame(0, 1);
    assert_eq!(frame.gprsgx().exitinfo, ExitInfo::NONE);
    assert_eq!(frame.gprsgx().rip, machine.at(CODE) + image::put());
    let machine = Machine::with(platform, &shape).unwrap();
    let pattern = Pattern::new(shape.xfrm, 3);
    assert_eq!(excepted(machine.pattern(0, &pattern, Kind::Ud2)), inside(Vector::UD, 0, 0));
    assert_eq!(machine.frame(0, 0).gprsgx().exitinfo.vector(), Some(Vector::UD));
}

/// After an asynchronous exit the vector registers hold nothing of the enclave's. Looked at are those that nothing between
/// the exit and here uses.
pub(crate) fn nothing_leaks_from_an_exit(platform: &dyn Platform) {
    if !std::arch::is_x86_feature_detected!("avx512f") {
        println!("skipped: no AVX-512 here");
        return;
    }
    let case = Case::new(platform, Kind::Ud2);
    if case.pattern.xfrm & 0xe0 != 0xe0 {
        println!("skipped: no AVX-512 in enclaves here");
        return;
    }
    let mut seen = [0xff_u8; 64];
    let mut mask = u16::MAX;
    case.fault();
    // SAFETY: the processor has AVX-512 (checked); stores 64 bytes into an array of as many.
    unsafe {
        asm!("vmovdqu64 [{}], zmm29", "kmovw {:e}, k7", in(reg) seen.as_mut_ptr(), out(reg) mask, options(nostack));
    }
    assert_eq!(seen, [0; 64]);
    assert_eq!(mask, 0);
}
