//! Rings between honest threads, and against a peer that writes anything.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::thread;

use casemate_enclave_abi::{AtomicU64, Consumer, Offset, Producer, RingError, Window, ring};
use proptest::prelude::*;

const CAPACITY: u64 = 4;

fn words(capacity: u64) -> Vec<AtomicU64> {
    (0..ring::bytes(2, capacity) / 8).map(|_| AtomicU64::new(0)).collect()
}

#[test]
fn entries_pass_between_threads_whole_and_in_order() {
    const COUNT: u64 = 200_000;
    let words = words(64);
    let window = Window::new(&words);
    let mut producer = Producer::<2>::new(window, 64).unwrap();
    let mut consumer = Consumer::<2>::new(window, 64).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..COUNT {
                while let Err(error) = producer.push([number, !number]) {
                    assert_eq!(error, RingError::Full);
                    thread::yield_now();
                }
            }
        });
        for number in 0..COUNT {
            let entry = loop {
                match consumer.pop().unwrap() {
                    Some(entry) => break entry,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(entry, [number, !number]);
        }
        assert_eq!(consumer.pop(), Ok(None));
    });
}

#[test]
fn a_ring_has_a_possible_size() {
    let words = words(CAPACITY);
    let window = Window::new(&words);
    for capacity in [0, 3, 2 * CAPACITY, ring::MAX_CAPACITY, 1 << 63, u64::MAX] {
        assert!(Producer::<2>::new(window, capacity).is_none(), "{capacity}");
        assert!(Consumer::<2>::new(window, capacity).is_none(), "{capacity}");
    }
    assert!(Producer::<0>::new(window, CAPACITY).is_none());
    assert!(Producer::<2>::new(window.slice(Offset(0), window.len() - 8).unwrap(), CAPACITY).is_none());
}

#[test]
fn counters_that_cannot_be_are_found_and_never_forgiven() {
    for lie in [5, 1 << 63, u64::MAX] {
        let words = words(CAPACITY);
        let window = Window::new(&words);
        let mut consumer = Consumer::<2>::new(window, CAPACITY).unwrap();
        window.store(Offset(0), lie).unwrap();
        assert_eq!(consumer.pop(), Err(RingError::Corrupt), "{lie}");
        window.store(Offset(0), 0).unwrap();
        assert_eq!(consumer.pop(), Err(RingError::Corrupt));
        assert_eq!(consumer.ready(), Err(RingError::Corrupt));

        let mut producer = Producer::<2>::new(window, CAPACITY).unwrap();
        producer.push([1, 1]).unwrap();
        window.store(Offset(128), lie).unwrap();
        assert_eq!(producer.free(), Err(RingError::Corrupt));
        window.store(Offset(128), 0).unwrap();
        assert_eq!(producer.push([1, 1]), Err(RingError::Corrupt));
    }
}

#[test]
fn a_counter_that_moves_back_is_found() {
    let words = words(CAPACITY);
    let window = Window::new(&words);
    let mut consumer = Consumer::<2>::new(window, CAPACITY).unwrap();
    window.store(Offset(0), 2).unwrap();
    assert_eq!(consumer.ready(), Ok(2));
    window.store(Offset(0), 1).unwrap();
    assert_eq!(consumer.ready(), Err(RingError::Corrupt));
}

#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    Pop,
    Free,
    Ready,
    /// The peer writes a word of the ring, near what stands there or anything.
    Write(usize, u64, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let word = prop_oneof![Just(0_usize), Just(16), 0_usize..40];
    let value = prop_oneof![0_u64..8, (0_u64..8).prop_map(u64::wrapping_neg), any::<u64>()];
    let step = prop_oneof![
        3 => any::<u64>().prop_map(Step::Push),
        3 => Just(Step::Pop),
        1 => Just(Step::Free),
        1 => Just(Step::Ready),
        4 => (word, value, any::<bool>()).prop_map(|(word, value, near)| Step::Write(word, value, near)),
    ];
    prop::collection::vec(step, 0..60)
}

fn write(words: &[AtomicU64], word: usize, value: u64, near: bool) {
    let now = words[word].load(Ordering::Relaxed);
    words[word].store(if near { now.wrapping_add(value) } else { value }, Ordering::Relaxed);
}

proptest! {
    #[test]
    fn honest_ends_are_a_queue(steps in steps()) {
        let words = words(CAPACITY);
        let window = Window::new(&words);
        let mut producer = Producer::<2>::new(window, CAPACITY).unwrap();
        let mut consumer = Consumer::<2>::new(window, CAPACITY).unwrap();
        let mut model = VecDeque::new();
        let length = |model: &VecDeque<_>| u64::try_from(model.len()).unwrap();
        for step in steps {
            match step {
                Step::Push(value) if length(&model) < CAPACITY => {
                    prop_assert_eq!(producer.push([value, !value]), Ok(()));
                    model.push_back([value, !value]);
                }
                Step::Push(value) => prop_assert_eq!(producer.push([value, 0]), Err(RingError::Full)),
                Step::Pop => prop_assert_eq!(consumer.pop(), Ok(model.pop_front())),
                Step::Free => prop_assert_eq!(producer.free(), Ok(CAPACITY - length(&model))),
                Step::Ready => prop_assert_eq!(consumer.ready(), Ok(length(&model))),
                Step::Write(..) => {}
            }
        }
    }

    /// A producer whose consumer writes any word: the words behind the ring stay as they were, no more entries are
    /// pushed than the consumer made room for, and what is found corrupt stays so.
    #[test]
    fn a_producer_survives_any_consumer(steps in steps()) {
        let mut words = words(CAPACITY);
        words.push(AtomicU64::new(77));
        let window = Window::new(&words);
        let mut producer = Producer::<2>::new(window, CAPACITY).unwrap();
        let mut pushed = 0_u64;
        let mut corrupt = false;
        for step in steps {
            let result = match step {
                Step::Push(value) => producer.push([value, value]).map(|()| pushed += 1),
                Step::Free => producer.free().map(|free| assert!(free <= CAPACITY)),
                Step::Write(word, value, near) => {
                    write(&words, word, value, near);
                    continue;
                }
                Step::Pop | Step::Ready => continue,
            };
            corrupt |= result == Err(RingError::Corrupt);
            prop_assert!(!corrupt || result == Err(RingError::Corrupt));
            if result.is_ok() && matches!(step, Step::Push(_)) {
                prop_assert_eq!(words[0].load(Ordering::Relaxed), pushed);
            }
        }
        prop_assert_eq!(words.last().unwrap().load(Ordering::Relaxed), 77);
    }

    #[test]
    fn a_consumer_survives_any_producer(steps in steps()) {
        let words = words(CAPACITY);
        let window = Window::new(&words);
        let mut consumer = Consumer::<2>::new(window, CAPACITY).unwrap();
        let mut popped = 0_u64;
        // How many entries the consumer is known to have seen: they cannot be taken back.
        let mut ready = 0_u64;
        let mut corrupt = false;
        for step in steps {
            let result = match step {
                Step::Pop => consumer.pop().map(|entry| {
                    if entry.is_some() {
                        popped += 1;
                        ready = ready.saturating_sub(1);
                        assert_eq!(words[16].load(Ordering::Relaxed), popped);
                    } else {
                        assert_eq!(ready, 0);
                    }
                }),
                Step::Ready => consumer.ready().map(|now| {
                    assert!(now <= CAPACITY && now >= ready);
                    ready = now;
                }),
                Step::Write(word, value, near) => {
                    write(&words, word, value, near);
                    continue;
                }
                Step::Push(_) | Step::Free => continue,
            };
            corrupt |= result == Err(RingError::Corrupt);
            prop_assert!(!corrupt || result == Err(RingError::Corrupt));
        }
    }
}
