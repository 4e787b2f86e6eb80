//! Every order of memory accesses that the memory model allows, for rings, streams and the clock page.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p casemate-enclave-abi --release --test loom`
//!
//! Each model runs twice, once with either side in the new thread: the orders that loom tries are not symmetric.

#![expect(unexpected_cfgs, reason = "cfg(loom) is set on the command line, for the model checker only")]
#![cfg(loom)]

use casemate_enclave_abi::{
    AtomicU64, Clock, ClockParameters, Consumer, Producer, StreamError, StreamReader, StreamWriter, Window,
};
use loom::thread;

/// Shared words for one run of the model. Leaked: loom's threads want `'static`.
fn window(words: usize) -> Window<'static> {
    let words: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
    Window::new(words.leak())
}

/// Runs both sides at the same time: what each returns.
fn both<A: 'static, B: 'static>(
    first_is_new: bool,
    first: impl FnOnce() -> A + 'static,
    second: impl FnOnce() -> B + 'static,
) -> (A, B) {
    if first_is_new {
        let first = thread::spawn(first);
        let second = second();
        (first.join().unwrap(), second)
    } else {
        let second = thread::spawn(second);
        (first(), second.join().unwrap())
    }
}

fn ring(producer_is_new: bool) {
    loom::model(move || {
        let window = window(32 + 2 * 2);
        let mut producer = Producer::<2>::new(window, 2).unwrap();
        let mut consumer = Consumer::<2>::new(window, 2).unwrap();
        // One more than the ring holds, and one try more.
        let push = move || {
            let mut pushed = 0;
            for _ in 0..4 {
                if pushed < 3 && producer.push([pushed + 1, !pushed]).is_ok() {
                    pushed += 1;
                }
            }
            pushed
        };
        let pop = move || {
            let mut popped = 0;
            for _ in 0..3 {
                popped += take(&mut consumer, popped);
            }
            (popped, consumer)
        };
        let (pushed, (mut popped, mut consumer)) = both(producer_is_new, push, pop);
        let left = pushed - popped;
        for _ in 0..left {
            popped += take(&mut consumer, popped);
        }
        assert_eq!(popped, pushed);
        assert_eq!(consumer.pop(), Ok(None));
    });
}

/// Pops the entry number `number`, if it is there: how many that are.
fn take(consumer: &mut Consumer<'_, 2>, number: u64) -> u64 {
    match consumer.pop().unwrap() {
        Some(entry) => {
            assert_eq!(entry, [number + 1, !number]);
            1
        }
        None => 0,
    }
}

#[test]
fn a_ring_passes_entries_whole_and_in_order() {
    ring(true);
    ring(false);
}

fn stream(writer_is_new: bool) {
    loom::model(move || {
        let window = window(32 + 1);
        let mut writer = StreamWriter::new(window, 8).unwrap();
        let mut reader = StreamReader::new(window, 8).unwrap();
        let write = move || {
            let mut written = 0_u8;
            // Twice into the same word, then into the word that the reader has to leave first.
            for len in [3, 5, 2] {
                let piece: Vec<u8> = (written + 1..=written + len).collect();
                match writer.write(&piece) {
                    Ok(len) => written += u8::try_from(len).unwrap(),
                    Err(StreamError::WouldBlock) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            writer.finish();
            written
        };
        let read = move || {
            let mut read = 0_u8;
            let mut piece = [0; 8];
            let mut ended = false;
            for len in [2, 8, 8] {
                match reader.read(&mut piece[..len]) {
                    Ok(0) => ended = true,
                    Ok(len) => {
                        assert!(!ended);
                        assert!(
                            piece[..len].iter().zip(read + 1..).all(|(found, expected)| *found == expected)
                        );
                        read += u8::try_from(len).unwrap();
                    }
                    Err(StreamError::WouldBlock) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            (read, ended, reader)
        };
        let (written, (mut read, ended, mut reader)) = both(writer_is_new, write, read);
        assert!(!ended || read == written, "the end came before the last byte");
        while let Ok(len @ 1..) = reader.read(&mut [0; 8]) {
            read += u8::try_from(len).unwrap();
        }
        assert_eq!(read, written);
        assert_eq!(reader.readable(), Err(StreamError::Closed));
    });
}

#[test]
fn a_stream_passes_bytes_in_order_and_then_its_end() {
    stream(true);
    stream(false);
}

fn clock(publisher_is_new: bool) {
    loom::model(move || {
        let clock = Clock::new(window(8)).unwrap();
        let all = |number| ClockParameters {
            tsc_base: number,
            monotonic_ns: number,
            realtime_ns: number,
            boottime_offset_ns: number,
            multiplier: number,
            shift: number,
        };
        clock.publish(&all(1));
        let ((), read) = both(publisher_is_new, move || clock.publish(&all(2)), move || clock.try_read());
        if let Some(read) = read {
            assert_eq!(read, all(read.shift), "torn");
        }
        assert_eq!(clock.try_read(), Some(all(2)));
    });
}

#[test]
fn a_clock_page_is_never_torn() {
    clock(true);
    clock(false);
}
