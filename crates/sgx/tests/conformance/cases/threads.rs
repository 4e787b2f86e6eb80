//! Many threads.

use std::thread;

use casemate_sgx::arch::Vector;
use casemate_sgx::platform::Platform;

use crate::support::image::{Kind, Op};
use crate::support::machine::{Machine, excepted, exited, inside};
use crate::support::pattern::Pattern;
use crate::support::shape::{DATA, DYNAMIC, PAGE, Shape};

/// Eight threads by eight TCS, each with faults, resumptions and memory of its own.
pub(crate) fn many_at_once(platform: &dyn Platform) {
    let shape = Shape { threads: 8, ..Shape::new(platform) };
    let machine = Machine::with(platform, &shape).unwrap();
    thread::scope(|scope| {
        for thread in 0..8_u8 {
            let machine = &machine;
            scope.spawn(move || {
                let pattern = Pattern::new(shape.xfrm, thread);
                let number = u64::from(thread);
                let own = machine.at(DATA + 8 * number);
                for round in 0..100_u64 {
                    machine.run(number, Op::Put, [own, round << 8 | number, 0, 0]);
                    assert_eq!(machine.entry(number).gsbase, machine.at(crate::support::shape::own(number)));
                    let fault = excepted(machine.pattern(number, &pattern, Kind::Ud2));
                    assert_eq!(fault, inside(Vector::UD, 0, 0));
                    machine.skip(number);
                    exited(machine.resume(number));
                    let differences = machine.outcome(number).differences(&pattern);
                    assert!(differences.is_empty(), "thread {thread}: {differences:#?}");
                    let got = machine.run(number, Op::Get, [own, 0, 0, 0]).rdx;
                    assert_eq!(got, round << 8 | number);
                }
            });
        }
    });
}

/// Enclaves come and go beside each other, entered by the same threads.
pub(crate) fn one_enclave_each(platform: &dyn Platform) {
    let lasting = Machine::new(platform);
    thread::scope(|scope| {
        for thread in 0..2_u64 {
            let lasting = &lasting;
            scope.spawn(move || {
                for round in 0..5 {
                    let machine = Machine::new(platform);
                    let fault = machine.fault(0, Op::Put, [machine.at(DYNAMIC + thread * PAGE), round, 0, 0]);
                    assert_eq!(fault.vector, Vector::PF.0);
                    lasting.run(thread, Op::Put, [lasting.at(DATA + 8 * thread), round, 0, 0]);
                    machine.accept_new(DYNAMIC + thread * PAGE);
                    exited(machine.resume(0));
                    assert_eq!(machine.get(DYNAMIC + thread * PAGE), round);
                    let got = lasting.run(thread, Op::Get, [lasting.at(DATA + 8 * thread), 0, 0, 0]).rdx;
                    assert_eq!(got, round);
                }
            });
        }
    });
}
