//! Signals of the host that interrupt an enclave.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use casemate_sgx::arch::{ExitInfo, Vector};
use casemate_sgx::platform::{Disposition, EnterLeaf, Exit, Platform, Registers};

use crate::support::image::{self, Kind, Op};
use crate::support::machine::{Machine, address, excepted, exited};
use crate::support::pattern::Pattern;
use crate::support::shape::{CODE, Shape};

/// What the program does not know as an operation comes back as it is.
const EVENT: u64 = 77;

thread_local! {
    /// Interrupts of this thread, inside and outside. The handler runs on the thread that it interrupts.
    static INSIDE: Cell<u64> = const { Cell::new(0) };
    static OUTSIDE: Cell<u64> = const { Cell::new(0) };
}

fn count(in_enclave: bool) -> u64 {
    let counter = if in_enclave { &INSIDE } else { &OUTSIDE };
    counter.with(|cell| {
        cell.set(cell.get() + 1);
        cell.get()
    })
}

fn resume(in_enclave: bool) -> Disposition {
    count(in_enclave);
    Disposition::Resume
}

fn enter(in_enclave: bool) -> Disposition {
    count(in_enclave);
    Disposition::Enter(EVENT)
}

fn either(in_enclave: bool) -> Disposition {
    if count(in_enclave).is_multiple_of(3) { Disposition::Enter(EVENT) } else { Disposition::Resume }
}

/// A signal number of each handler's own.
fn signal(number: i32) -> i32 {
    libc::SIGRTMIN() + 2 + number
}

/// The calling thread, as a signal's target.
#[derive(Clone, Copy)]
struct Target(libc::pthread_t);

impl Target {
    fn own() -> Self {
        // SAFETY: asks for a number.
        Self(unsafe { libc::pthread_self() })
    }

    fn send(self, signal: i32) {
        // SAFETY: the thread waits for the one that sends, so it is there; the signal has a handler.
        let result = unsafe { libc::pthread_kill(self.0, signal) };
        // The queue of the kernel's can be full.
        assert!(matches!(result, 0 | libc::EAGAIN), "{result}");
    }
}

/// Two words that `Op::Spin` waits for and counts in.
#[derive(Default)]
struct Words([AtomicU64; 2]);

impl Words {
    fn arguments(&self) -> [u64; 4] {
        [address(self.0.as_ptr().cast_mut()), 0, 0, 0]
    }

    fn wait(&self) {
        let seen = self.0[1].load(Ordering::Relaxed);
        while self.0[1].load(Ordering::Relaxed) == seen {
            thread::yield_now();
        }
    }

    fn release(&self) {
        self.0[0].store(1, Ordering::Relaxed);
    }
}

/// A handler that resumes: the enclave notices nothing, at the level of a single register.
pub(crate) fn resume_is_invisible(platform: &dyn Platform) {
    platform.watch_signal(signal(0), resume).unwrap();
    let shape = Shape::new(platform);
    let machine = Machine::with(platform, &shape).unwrap();
    // The program stands at `jmp [rbx]`, and goes on when the word says something else.
    let word = AtomicU64::new(machine.rip(Kind::JumpThere));
    let mut pattern = Pattern::new(shape.xfrm, 0x33);
    pattern.registers[3] = address(word.as_ptr());
    let target = Target::own();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..200 {
                thread::sleep(Duration::from_micros(50));
                target.send(signal(0));
            }
            word.store(machine.at(CODE) + image::after(), Ordering::Relaxed);
        });
        exited(machine.pattern(0, &pattern, Kind::JumpThere));
    });
    let differences = machine.outcome(0).differences(&pattern);
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(INSIDE.get() >= 100, "{} of 200 interrupted the enclave", INSIDE.get());
    assert_eq!(machine.entry(0).rax, 0);
}

/// A handler that enters: `enter` returns the exit of the nested entry, the state below is whole.
pub(crate) fn entering_on_top(platform: &dyn Platform) {
    platform.watch_signal(signal(1), enter).unwrap();
    let machine = Machine::new(platform);
    let words = Words::default();
    let target = Target::own();
    thread::scope(|scope| {
        scope.spawn(|| {
            words.wait();
            target.send(signal(1));
        });
        let event = exited(machine.call(0, Op::Spin, words.arguments()));
        assert_eq!(event.rdi, EVENT);
    });
    assert_eq!(machine.entry(0).rax, 1);
    let frame = machine.frame(0, 0).gprsgx();
    assert_eq!(frame.exitinfo, ExitInfo::NONE, "an interrupt is no exception");
    assert_eq!(frame.rsi, words.arguments()[0]);
    let code = machine.at(CODE);
    assert!((code..code + 4096).contains(&frame.rip));
    words.release();
    exited(machine.resume(0));
    assert_eq!(machine.entry(0).rax, 0);
}

/// Without a free frame the nested entry is refused, and nothing is lost.
pub(crate) fn entering_needs_a_frame(platform: &dyn Platform) {
    platform.watch_signal(signal(2), enter).unwrap();
    let machine = Machine::with(platform, &Shape { nssa: 1, ..Shape::new(platform) }).unwrap();
    let words = Words::default();
    let target = Target::own();
    thread::scope(|scope| {
        scope.spawn(|| {
            words.wait();
            target.send(signal(2));
        });
        let fault = excepted(machine.call(0, Op::Spin, words.arguments()));
        assert_eq!((fault.leaf, fault.vector), (EnterLeaf::Enter, Vector::GP.0));
    });
    words.release();
    exited(machine.resume(0));
    machine.run(0, Op::Nop, [0; 4]);
}

/// What `Op::Checksum` computes.
fn checksum(words: &[u64], rounds: u64) -> (u64, u64) {
    let (mut mixed, mut sum) = (0_u64, 0_u64);
    for _ in 0..rounds {
        for word in words {
            let before = mixed.wrapping_add(*word);
            mixed = before.rotate_left(7) ^ before;
            sum = sum.wrapping_add(*word);
        }
    }
    (mixed, sum)
}

/// A timer of the kernel's that signals the thread that made it, until it goes.
struct Timer(libc::timer_t);

impl Timer {
    fn new(signal: i32, interval: Duration) -> Self {
        // SAFETY: all zeros is a valid `sigevent`.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        // SAFETY: asks for a number.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer = std::ptr::null_mut();
        // SAFETY: both structures live through the call.
        let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        assert_eq!(made, 0);
        let interval = libc::timespec { tv_sec: 0, tv_nsec: interval.subsec_nanos().into() };
        let times = libc::itimerspec { it_interval: interval, it_value: interval };
        // SAFETY: the timer was just made, the structure lives through the call.
        let set = unsafe { libc::timer_settime(timer, 0, &raw const times, std::ptr::null_mut()) };
        assert_eq!(set, 0);
        Self(timer)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: made by `new`, deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// Signals at a high rate, at every place there is, while two threads compute.
pub(crate) fn storm(platform: &dyn Platform) {
    platform.watch_signal(signal(3), either).unwrap();
    let machine = Machine::new(platform);
    let words: Vec<u64> = (0..997_u64).map(|index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let compute = |thread: u64, rounds: u64| {
        let argument = [address(words.as_ptr().cast_mut()), words.len() as u64, rounds, 0];
        let mut exit = machine.call(thread, Op::Checksum, argument);
        let mut events = 0;
        loop {
            let registers = exited(exit);
            if registers.rdi != EVENT {
                return (registers, events);
            }
            events += 1;
            exit = machine.enter(thread, EnterLeaf::Resume, Registers::default());
        }
    };
    thread::scope(|scope| {
        for thread in 0..2_u8 {
            let (compute, words) = (&compute, &words);
            scope.spawn(move || {
                let _timer = Timer::new(signal(3), Duration::from_micros(29 + u64::from(thread)));
                let (mut events, mut round) = (0, 0);
                let deadline = Instant::now() + Duration::from_secs(60);
                while INSIDE.get() < 1000 || events < 100 {
                    assert!(Instant::now() < deadline, "{} signals inside, {events} entries", INSIDE.get());
                    round += 1;
                    // Short stays and long ones: the entry and the exit are interrupted, too.
                    let rounds = if round % 10 == 0 { 100 } else { 1 };
                    let (registers, more) = compute(thread.into(), rounds);
                    assert_eq!((registers.rdx, registers.r8), checksum(words, rounds), "round {round}");
                    events += more;
                }
            });
        }
    });
    for thread in 0..2 {
        assert_eq!(machine.entry(thread).rax, 0);
        assert!(matches!(machine.resume(thread), Exit::Exception(_)));
    }
}
