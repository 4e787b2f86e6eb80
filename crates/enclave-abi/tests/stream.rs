//! Streams between honest threads, and against a peer that writes anything.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::thread;

use casemate_enclave_abi::{
    AtomicU64, Errno, Offset, StreamError, StreamReader, StreamWriter, Window, stream,
};
use proptest::prelude::*;

const CAPACITY: u64 = 32;

fn words(capacity: u64) -> Vec<AtomicU64> {
    (0..stream::bytes(capacity).unwrap() / 8).map(|_| AtomicU64::new(0)).collect()
}

/// Byte number `at` of the test's stream: no period that a capacity could hide.
fn byte(at: usize) -> u8 {
    u8::try_from(at % 251).unwrap()
}

#[test]
fn bytes_pass_between_threads_in_order() {
    const COUNT: usize = 2_000_000;
    let words = words(1024);
    let window = Window::new(&words);
    let mut writer = StreamWriter::new(window, 1024).unwrap();
    let mut reader = StreamReader::new(window, 1024).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut at = 0;
            while at < COUNT {
                let len = (1 + at % 613).min(COUNT - at);
                let piece: Vec<u8> = (at..at + len).map(byte).collect();
                match writer.write(&piece) {
                    Ok(len) => at += len,
                    Err(StreamError::WouldBlock) => thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            }
            writer.finish();
        });
        let mut at = 0;
        let mut piece = [0; 700];
        loop {
            let len = 1 + at % 700;
            match reader.read(&mut piece[..len]) {
                Ok(0) => break,
                Ok(len) => {
                    assert!(piece[..len].iter().zip(at..).all(|(found, at)| *found == byte(at)));
                    at += len;
                }
                Err(StreamError::WouldBlock) => thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(at, COUNT);
    });
}

#[test]
fn a_stream_has_a_possible_size() {
    let words = words(CAPACITY);
    let window = Window::new(&words);
    for capacity in [0, 4, 24, 2 * CAPACITY, stream::MAX_CAPACITY, 1 << 63, u64::MAX] {
        assert!(StreamWriter::new(window, capacity).is_none(), "{capacity}");
        assert!(StreamReader::new(window, capacity).is_none(), "{capacity}");
    }
    let short = window.slice(Offset(0), window.len() - 8).unwrap();
    assert!(StreamReader::new(short, CAPACITY).is_none());
    assert_eq!(stream::bytes(u64::MAX), None);
}

#[test]
fn ends_come_after_the_bytes() {
    let words = words(CAPACITY);
    let window = Window::new(&words);
    let mut writer = StreamWriter::new(window, CAPACITY).unwrap();
    let mut reader = StreamReader::new(window, CAPACITY).unwrap();
    let mut piece = [0; 64];
    assert_eq!(reader.read(&mut piece), Err(StreamError::WouldBlock));
    assert_eq!(reader.read(&mut []), Ok(0));
    assert_eq!(writer.write(b"abc"), Ok(3));
    writer.fail(Errno::ECONNRESET);
    writer.finish();
    assert_eq!(writer.write(b"d"), Err(StreamError::Closed));
    assert_eq!(reader.read(&mut piece), Ok(3));
    assert_eq!(&piece[..3], b"abc");
    assert_eq!(reader.read(&mut piece), Err(StreamError::Failed(Errno::ECONNRESET)));

    let mut writer = StreamWriter::new(window, CAPACITY).unwrap();
    let mut reader = StreamReader::new(window, CAPACITY).unwrap();
    writer.finish();
    assert_eq!(reader.readable(), Err(StreamError::Closed));
    assert_eq!(reader.read(&mut piece), Ok(0));

    let mut writer = StreamWriter::new(window, CAPACITY).unwrap();
    let mut reader = StreamReader::new(window, CAPACITY).unwrap();
    reader.close();
    assert_eq!(writer.write(b"d"), Err(StreamError::Closed));
    assert_eq!(reader.read(&mut piece), Ok(0));

    let mut writer = StreamWriter::new(window, CAPACITY).unwrap();
    let mut reader = StreamReader::new(window, CAPACITY).unwrap();
    // No connection ends with ENOENT, so it does not get through.
    reader.fail(Errno::ENOENT);
    assert_eq!(writer.writable(), Err(StreamError::Failed(Errno::EPERM)));
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Read(usize),
    /// The peer writes a word of the stream, near what stands there or anything.
    Peer(usize, u64, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let word = prop_oneof![Just(0_usize), Just(1), Just(16), Just(17), 0_usize..36];
    let value =
        prop_oneof![0_u64..34, (0_u64..34).prop_map(u64::wrapping_neg), 0xffff_u64..0x1_0100, any::<u64>()];
    let step = prop_oneof![
        (0_usize..50).prop_map(Step::Write),
        (0_usize..50).prop_map(Step::Read),
        (word, value, any::<bool>()).prop_map(|(word, value, near)| Step::Peer(word, value, near)),
    ];
    prop::collection::vec(step, 0..60)
}

fn write(words: &[AtomicU64], word: usize, value: u64, near: bool) {
    let now = words[word].load(Ordering::Relaxed);
    words[word].store(if near { now.wrapping_add(value) } else { value }, Ordering::Relaxed);
}

proptest! {
    #[test]
    fn honest_ends_are_a_queue_of_bytes(steps in steps()) {
        let words = words(CAPACITY);
        let window = Window::new(&words);
        let mut writer = StreamWriter::new(window, CAPACITY).unwrap();
        let mut reader = StreamReader::new(window, CAPACITY).unwrap();
        let mut model = VecDeque::new();
        let mut written = 0;
        let mut read = 0;
        for step in steps {
            match step {
                Step::Write(len) => {
                    let piece: Vec<u8> = (written..written + len).map(byte).collect();
                    // The word that the head is in is not free yet.
                    let room = usize::try_from(CAPACITY).unwrap() - model.len() - read % 8;
                    prop_assert_eq!(writer.writable(), Ok(u64::try_from(room).unwrap()));
                    let expected = match room.min(len) {
                        0 if len > 0 => Err(StreamError::WouldBlock),
                        len => Ok(len),
                    };
                    prop_assert_eq!(writer.write(&piece), expected);
                    model.extend(&piece[..expected.unwrap_or(0)]);
                    written += expected.unwrap_or(0);
                }
                Step::Read(len) => {
                    let mut piece = vec![0; len];
                    prop_assert_eq!(reader.readable(), Ok(u64::try_from(model.len()).unwrap()));
                    let expected = match model.len().min(len) {
                        0 if len > 0 => Err(StreamError::WouldBlock),
                        len => Ok(len),
                    };
                    prop_assert_eq!(reader.read(&mut piece), expected);
                    let bytes: Vec<u8> = model.drain(..expected.unwrap_or(0)).collect();
                    prop_assert_eq!(&piece[..bytes.len()], &bytes);
                    read += bytes.len();
                }
                Step::Peer(..) => {}
            }
        }
    }

    #[test]
    fn a_writer_survives_any_reader(steps in steps()) {
        let mut words = words(CAPACITY);
        words.push(AtomicU64::new(77));
        let window = Window::new(&words);
        let mut writer = StreamWriter::new(window, CAPACITY).unwrap();
        let mut written = 0_u64;
        let mut end = None;
        for step in steps {
            match step {
                Step::Write(len) => {
                    let room = writer.writable();
                    let result = writer.write(&vec![1; len]);
                    match result {
                        Ok(count) => {
                            prop_assert!(count <= len && u64::try_from(count).unwrap() <= room.unwrap());
                            written += u64::try_from(count).unwrap();
                            if count > 0 {
                                prop_assert_eq!(words[0].load(Ordering::Relaxed), written);
                            }
                        }
                        Err(StreamError::WouldBlock) => {
                            prop_assert_eq!(room, Ok(0));
                        }
                        Err(error) => {
                            prop_assert_eq!(*end.get_or_insert(error), error);
                        }
                    }
                    prop_assert!(end.is_none() || result.is_err(), "the stream came back to life");
                    prop_assert!(room.is_err() || room.unwrap() <= CAPACITY);
                }
                Step::Read(_) => {}
                Step::Peer(word, value, near) => write(&words, word, value, near),
            }
        }
        prop_assert_eq!(words.last().unwrap().load(Ordering::Relaxed), 77);
    }

    #[test]
    fn a_reader_survives_any_writer(steps in steps()) {
        let words = words(CAPACITY);
        let window = Window::new(&words);
        let mut reader = StreamReader::new(window, CAPACITY).unwrap();
        let mut read = 0_u64;
        let mut end = None;
        for step in steps {
            match step {
                Step::Read(len) => {
                    let ready = reader.readable();
                    prop_assert!(ready.is_err() || ready.unwrap() <= CAPACITY);
                    let mut piece = vec![0xee; len];
                    let result = reader.read(&mut piece);
                    match result {
                        Ok(count) => {
                            prop_assert!(count <= len);
                            prop_assert!(piece[count..].iter().all(|byte| *byte == 0xee));
                            if count > 0 {
                                prop_assert!(u64::try_from(count).unwrap() <= ready.unwrap());
                                read += u64::try_from(count).unwrap();
                                prop_assert_eq!(words[16].load(Ordering::Relaxed), read);
                            }
                        }
                        Err(StreamError::WouldBlock) => prop_assert_eq!(ready, Ok(0)),
                        Err(error) => {
                            prop_assert_eq!(*end.get_or_insert(error), error);
                        }
                    }
                    prop_assert!(end.is_none() || result.is_err(), "the stream came back to life");
                }
                Step::Write(_) => {}
                Step::Peer(word, value, near) => write(&words, word, value, near),
            }
        }
    }
}
