//! What only the emulator has: its counters, its price of a transition, its single step, and what can be switched off.

#[expect(dead_code, reason = "the conformance suite uses the rest")]
#[path = "conformance/support/mod.rs"]
mod support;

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use casemate_sgx::arch::{KeyName, KeyRequest, Leaf, Permissions, SecInfo, SecInfoFlags, TargetInfo, Vector};
use casemate_sgx::platform::emulated::{Emulated, Options, STUB, Transitions};
use casemate_sgx::platform::{Disposition, Enclave as _, EnterLeaf, Exit, Platform as _, Registers};
use support::image::{self, Kind, Op};
use support::machine::{Machine, excepted, exited, inside};
use support::pattern::Pattern;
use support::shape::{CODE, DATA, DYNAMIC, PAGE, Shape};
use zerocopy::IntoBytes as _;

fn options(strict: bool) -> Options {
    Options { strict, stub_offset: Some(CODE + image::stub()), ..Options::new([7; 16]) }
}

fn platform(strict: bool) -> Emulated {
    Emulated::new(options(strict)).unwrap()
}

#[test]
fn every_crossing_is_counted() {
    for strict in [false, true] {
        let platform = platform(strict);
        let shape = Shape::new(&platform);
        let enclave = platform.create_emulated(&shape.secs()).unwrap();
        assert_eq!(enclave.transitions(), Transitions::default());
        // The same enclave, loaded by the interface and looked at by the type behind it.
        drop(enclave);
        let loaded = platform.create_emulated(&shape.secs()).unwrap();
        shape.add_to(&*loaded).unwrap();
        loaded.init(&shape.sign()).unwrap();
        shape.map(&*loaded).unwrap();
        let machine = Machine { enclave: loaded.clone() };
        let counted = |eenter, eexit, aex, eresume| Transitions { eenter, eexit, aex, eresume };
        machine.run(0, Op::Nop, [0; 4]);
        assert_eq!(loaded.transitions(), counted(1, 1, 0, 0));
        machine.fault(0, Op::Get, [0x18, 0, 0, 0]);
        assert_eq!(loaded.transitions(), counted(2, 1, 1, 0));
        excepted(machine.resume(0));
        assert_eq!(loaded.transitions(), counted(2, 1, 2, 1));
        machine.run(0, Op::Nop, [0; 4]);
        assert_eq!(loaded.transitions(), counted(3, 2, 2, 1));
        // What is refused crosses nothing.
        excepted(machine.resume(1));
        machine.fault(5, Op::Nop, [0; 4]);
        assert_eq!(loaded.transitions(), counted(3, 2, 2, 1));
        // Nor do the leaves that stay inside.
        machine.accept_new(DYNAMIC);
        let now = loaded.transitions();
        assert_eq!((now.aex, now.eresume), (2, 1));
    }
}

#[test]
fn transitions_cost_what_was_asked() {
    const CYCLES: u64 = 2_000_000;
    let platform = Emulated::new(Options { transition_cycles: CYCLES, ..options(false) }).unwrap();
    let machine = Machine::new(&platform);
    // SAFETY: reads a counter.
    let counter = || unsafe { std::arch::x86_64::_rdtsc() };
    let start = counter();
    machine.run(0, Op::Nop, [0; 4]);
    assert!(counter() - start >= CYCLES);
}

#[test]
fn what_is_switched_off_is_not_there() {
    let platform = Emulated::new(Options { edmm: false, edeccssa: false, ..options(false) }).unwrap();
    assert!(!platform.capabilities().edmm && !platform.capabilities().edeccssa);
    let machine = Machine::new(&platform);
    let gp = inside(Vector::GP, 0, 0);
    machine.write(0, DATA, SecInfo::reg(Permissions::RW).with(SecInfoFlags::PENDING).as_bytes());
    for (thread, leaf) in [(0, Leaf::Eaccept), (1, Leaf::Edeccssa)] {
        let operands = [leaf.raw().into(), machine.at(DATA), machine.at(DYNAMIC), 0];
        assert_eq!(machine.fault(thread, Op::Enclu, operands), gp, "{leaf}");
    }
    machine.enclave.restrict_permissions(DATA, PAGE, Permissions::R).unwrap_err();
    // What is not there does not come by being touched: an ordinary page fault.
    let machine = Machine::new(&platform);
    let fault = machine.fault(0, Op::Put, [machine.at(DYNAMIC), 0, 0, 0]);
    assert_eq!((fault.vector, machine.fault(0, Op::Get, [machine.at(DYNAMIC), 0, 0, 0]).vector), (14, 14));
}

#[test]
fn the_stub_must_be_where_it_is_said_to_be() {
    for offset in [CODE + 16, CODE + 8, DYNAMIC, 1 << 40] {
        let platform = Emulated::new(Options { stub_offset: Some(offset), ..options(false) }).unwrap();
        let shape = Shape::new(&platform);
        assert!(Machine::with(&platform, &shape).is_err(), "{offset:#x}");
    }
    let stub = usize::try_from(image::stub()).unwrap();
    assert_eq!(image::code()[stub..stub + 16], STUB);
}

/// The patch is made after measuring, and only in fast mode.
#[test]
fn both_modes_run_the_same_measurement() {
    let read = |strict| {
        let platform = platform(strict);
        let machine = Machine::new(&platform);
        let mut bytes = [0; 16];
        machine.read(0, CODE + image::stub(), &mut bytes);
        machine.enclu(Leaf::Ereport, [DATA, DATA + PAGE, DATA + 2 * PAGE].map(|at| machine.at(at))).unwrap();
        let report: casemate_sgx::arch::Report = machine.read_as(DATA + 2 * PAGE);
        (bytes, report.body.mrenclave)
    };
    let (fast, strict) = (read(false), read(true));
    assert_eq!(strict.0, STUB);
    assert_ne!(fast.0, STUB);
    assert_eq!(fast.1, strict.1);
}

#[test]
fn installations_do_not_trust_each_other() {
    let key = |secret| {
        let platform = Emulated::new(Options { secret, ..options(true) }).unwrap();
        let machine = Machine::new(&platform);
        let request = KeyRequest { keyname: KeyName::Seal.raw(), ..KeyRequest::default() };
        machine.write(0, DATA, request.as_bytes());
        let answer = machine.enclu(Leaf::Egetkey, [machine.at(DATA), machine.at(DATA + PAGE), 0]).unwrap();
        assert_eq!(answer.code(), Ok(()));
        let target = platform.quoting_target().unwrap_or_else(|_| TargetInfo::default());
        machine.write(0, DATA, target.as_bytes());
        machine.enclu(Leaf::Ereport, [DATA, DATA + PAGE, DATA + 2 * PAGE].map(|at| machine.at(at))).unwrap();
        let report = machine.read_as(DATA + 2 * PAGE);
        let key: [u8; 16] = machine.read_as(DATA + PAGE);
        (key, report, platform)
    };
    let (one, report, first) = key([1; 16]);
    let (two, _, second) = key([2; 16]);
    assert_ne!(one, two);
    assert!(first.is_genuine(&report));
    assert!(!second.is_genuine(&report));
}

/// EENTER and EEXIT: what the fast mode is for. The number is printed in release, where it means something.
#[test]
fn fast_is_faster() {
    let time = |strict, rounds: u32| {
        let platform = platform(strict);
        let machine = Machine::new(&platform);
        let once = || {
            let start = Instant::now();
            for _ in 0..rounds {
                machine.run(0, Op::Nop, [0; 4]);
            }
            start.elapsed() / rounds
        };
        (0..5).map(|_| once()).min().unwrap_or(Duration::MAX)
    };
    let (fast, strict) = (time(false, 20_000), time(true, 2_000));
    if !cfg!(debug_assertions) {
        // `cargo xtask bench shield` reads this.
        println!("EENTER and EEXIT: fast_ns={} strict_ns={}", fast.as_nanos(), strict.as_nanos());
    }
    assert!(fast * 3 < strict, "fast {fast:?}, strict {strict:?}");
}

thread_local! {
    static STEPS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    /// Ask for an entry at every step of this number inside.
    static ENTER_AT: Cell<u64> = const { Cell::new(u64::MAX) };
}

const EVENT: u64 = 99;

fn step(in_enclave: bool) -> Disposition {
    let (inside, outside) = STEPS.get();
    STEPS.set(if in_enclave { (inside + 1, outside) } else { (inside, outside + 1) });
    if in_enclave && inside == ENTER_AT.get() { Disposition::Enter(EVENT) } else { Disposition::Resume }
}

/// A nested entry at each instruction of an operation in turn, the entry and the exit too: the operation comes to the same
/// end.
#[test]
fn single_step_with_an_entry_at_every_instruction() {
    for strict in [false, true] {
        let platform = platform(strict);
        platform.watch_signal(libc::SIGTRAP, step).unwrap();
        let shape = Shape::new(&platform);
        let machine = Machine::with(&platform, &shape).unwrap();
        let stepped = |at| {
            STEPS.set((0, 0));
            ENTER_AT.set(at);
            platform.options().single_step.store(true, Ordering::Relaxed);
            let mut exit = machine.call(0, Op::Checksum, [machine.at(DATA), 3, 2, 0]);
            platform.options().single_step.store(false, Ordering::Relaxed);
            let mut events = 0;
            loop {
                let registers = exited(exit);
                if registers.rdi != EVENT {
                    return (registers, events, STEPS.get().0);
                }
                events += 1;
                assert_eq!(machine.entry(0).rax, 1);
                exit = machine.enter(0, EnterLeaf::Resume, Registers::default());
            }
        };
        let plain = machine.run(0, Op::Checksum, [machine.at(DATA), 3, 2, 0]);
        let (registers, events, steps) = stepped(u64::MAX);
        assert_eq!((registers, events), (plain, 0));
        assert!(steps > 100, "{steps} steps");
        // The step ends with the stay.
        let before = STEPS.get();
        std::hint::black_box(machine.run(0, Op::Nop, [0; 4]));
        assert_eq!(STEPS.get(), before);
        for at in 0..steps {
            let (registers, events, _) = stepped(at);
            assert_eq!((registers, events), (plain, 1), "an entry at step {at} of {steps}");
            let before = STEPS.get();
            std::hint::black_box(machine.run(1, Op::Nop, [0; 4]));
            assert_eq!(STEPS.get(), before, "the step ends with the stay");
        }
        // The whole state, at one place.
        let pattern = Pattern::new(shape.xfrm, 0x21);
        assert!(matches!(machine.pattern(0, &pattern, Kind::Nop), Exit::Exited(_)));
        assert!(machine.outcome(0).differences(&pattern).is_empty());
    }
}
