//! Everything else that a hostile peer can write: clock, responses, directory entries, records, exits; and a thread that
//! scribbles over all of it while it is in use.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use casemate_enclave_abi::op::{MAX_HANDLE, ResultBound};
use casemate_enclave_abi::{
    AtomicU64, Clock, ClockParameters, Consumer, Control, DirEntries, DirEntry, Exit, Layout, Offset, Op,
    Pending, Producer, Request, Response, StartBlock, Stat, StatFs, StreamReader, StreamWriter, Window,
    check, layout, stat,
};
use proptest::prelude::*;

fn words(bytes: u64) -> Vec<AtomicU64> {
    (0..bytes / 8).map(|_| AtomicU64::new(0)).collect()
}

#[test]
fn a_clock_page_is_read_whole() {
    let words = words(4096);
    let clock = Clock::new(Window::new(&words)).unwrap();
    assert_eq!(clock.read(), None);
    let done = AtomicBool::new(false);
    let all = |number| ClockParameters {
        tsc_base: number,
        monotonic_ns: number,
        realtime_ns: number,
        boottime_offset_ns: number,
        multiplier: number,
        shift: number,
    };
    clock.publish(&all(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..200_000 {
                clock.publish(&all(number));
            }
            done.store(true, Ordering::Release);
        });
        let mut last = 0;
        while !done.load(Ordering::Acquire) {
            if let Some(read) = clock.read() {
                assert_eq!(read, all(read.shift), "torn");
                assert!(read.shift >= last);
                last = read.shift;
            }
        }
    });
    assert_eq!(clock.read(), Some(all(199_999)));
}

#[test]
fn short_pages_are_refused() {
    let words = words(48);
    assert!(Clock::new(Window::new(&words)).is_none());
    assert!(Control::new(Window::new(&words)).is_none());
}

#[test]
fn records_are_refused_outside_and_unaligned() {
    let words = words(256);
    let window = Window::new(&words);
    let good = Stat { mode: 0o100_644, blksize: 4096, size: 5, ..Stat::default() };
    good.write(window, Offset(128)).unwrap();
    assert_eq!(Stat::read(window, Offset(128)), Ok(good));
    assert!(good.write(window, Offset(136)).is_err());
    assert!(Stat::read(window, Offset(136)).is_err());
    assert!(Stat::read(window, Offset(4)).is_err());
    assert!(Stat::read(window, Offset(u64::MAX - 7)).is_err());
    for bad in [
        Stat { mode: 0, ..good },
        Stat { mode: 0o1_100_644, ..good },
        Stat { size: 1 << 63, ..good },
        Stat { blksize: 0, ..good },
        Stat { mtime: stat::FileTime { seconds: -5, nanoseconds: 1_000_000_000 }, ..good },
    ] {
        bad.write(window, Offset(0)).unwrap();
        assert!(Stat::read(window, Offset(0)).is_err(), "{bad:?}");
    }
    let before_1970 = Stat { mtime: stat::FileTime { seconds: -5, nanoseconds: 1 }, ..good };
    before_1970.write(window, Offset(0)).unwrap();
    assert_eq!(Stat::read(window, Offset(0)), Ok(before_1970));

    let good = StatFs { kind: 0xef53, bsize: 4096, frsize: 4096, namelen: 255, ..StatFs::default() };
    good.write(window, Offset(168)).unwrap();
    assert_eq!(StatFs::read(window, Offset(168)), Ok(good));
    assert!(good.write(window, Offset(176)).is_err());
    StatFs { bsize: 0, ..good }.write(window, Offset(0)).unwrap();
    assert!(StatFs::read(window, Offset(0)).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Begin,
    /// The host answers an id that it was given, the `n`th ever.
    Answer(usize),
    /// The host answers an id of its own.
    Forge(u64),
}

proptest! {
    #[test]
    fn each_request_ends_once(
        steps in prop::collection::vec(
            prop_oneof![
                Just(Step::Begin),
                (0_usize..40).prop_map(Step::Answer),
                prop_oneof![any::<u64>(), (0_u64..8, 0_u64..20).prop_map(|(g, i)| g << 16 | i)].prop_map(Step::Forge),
            ],
            0..100,
        ),
    ) {
        let mut pending = Pending::<4>::new();
        let mut given = Vec::new();
        let mut outstanding = HashSet::new();
        for step in steps {
            let id = match step {
                Step::Begin => {
                    let id = pending.begin();
                    prop_assert_eq!(id.is_some(), outstanding.len() < 4);
                    if let Some(id) = id {
                        prop_assert!(id.get() != 0 && id.index() < 4);
                        prop_assert!(!given.contains(&id.get()), "{:#x} was given twice", id.get());
                        given.push(id.get());
                        outstanding.insert(id.get());
                    }
                    continue;
                }
                Step::Answer(number) => match given.get(number) {
                    Some(id) => *id,
                    None => continue,
                },
                Step::Forge(id) => id,
            };
            let result = pending.complete(id);
            prop_assert_eq!(result.is_ok(), outstanding.remove(&id));
            prop_assert_eq!(result.map_or(id, |done| done.get()), id);
            prop_assert_eq!(pending.outstanding(), outstanding.len());
        }
    }

    #[test]
    fn accepted_results_are_within_bounds(
        op in prop::sample::select(Op::ALL),
        args: [u64; 6],
        small: [u16; 6],
        result in prop_oneof![any::<u64>(), 0_u64..70_000, (0_u64..5000).prop_map(u64::wrapping_neg)],
        use_small: bool,
    ) {
        let args = if use_small { small.map(u64::from) } else { args };
        match check(op, &args, result) {
            Ok(Ok(value)) => {
                prop_assert_eq!(value, result);
                match op.info().bound {
                    ResultBound::Zero => prop_assert_eq!(value, 0),
                    ResultBound::AtMostArg(index) => prop_assert!(value <= args[index]),
                    ResultBound::PagesAtMostArg(index) => prop_assert!(value <= args[index] && value % 4096 == 0),
                    ResultBound::BitsOfArg(index) => prop_assert_eq!(value | args[index], args[index]),
                    ResultBound::Position => prop_assert!(i64::try_from(value).is_ok()),
                    ResultBound::Handle => prop_assert!(value <= MAX_HANDLE),
                }
            }
            Ok(Err(errno)) => {
                prop_assert!(result.wrapping_neg() <= 4095);
                let allowed = op.info().errnos.contains(&errno);
                prop_assert!(allowed || errno == casemate_enclave_abi::Errno::EPERM);
            }
            Err(hostile) => prop_assert_eq!((hostile.op, hostile.args, hostile.result), (op, args, result)),
        }
    }

    #[test]
    fn directory_entries_of_any_bytes_are_possible(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(entries(&bytes) <= bytes.len());
    }

    /// Honest entries of which some bytes were changed reach further into the parser than noise.
    #[test]
    fn changed_directory_entries_are_possible(
        names in prop::collection::vec("[a-z.]{1,20}", 1..8),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut: prop::sample::Index,
    ) {
        let mut bytes = vec![0; 1000];
        let mut at = 0;
        for name in &names {
            let entry = DirEntry { ino: 1, cookie: 2, kind: 4, name: name.as_bytes() };
            at += entry.pack(&mut bytes[at..]).unwrap();
        }
        bytes.truncate(at);
        prop_assert_eq!(entries(&bytes), names.iter().map(String::len).sum::<usize>());
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        entries(&bytes);
    }

    #[test]
    fn accepted_records_are_possible(words_in: [u64; 16], small: [u16; 16], which: [bool; 16]) {
        let words = words(128);
        for (word, (large, (small, which))) in words.iter().zip(words_in.into_iter().zip(small.into_iter().zip(which))) {
            word.store(if which { large } else { u64::from(small) }, Ordering::Relaxed);
        }
        let window = Window::new(&words);
        if let Ok(read) = Stat::read(window, Offset(0)) {
            prop_assert!(i64::try_from(read.size).is_ok() && u32::try_from(read.mode).is_ok() && read.blksize > 0);
            prop_assert!(read.mtime.nanoseconds < 1_000_000_000);
        }
        if let Ok(read) = StatFs::read(window, Offset(0)) {
            prop_assert!(read.bsize > 0 && read.namelen <= 4096);
        }
        // A clock page of these words: any time, but one that does not run backwards.
        let clock = Clock::new(window).unwrap();
        if let Some(clock) = clock.read() {
            let (first, second) = (clock.at(words_in[0]), clock.at(words_in[0].saturating_add(words_in[1])));
            prop_assert!(first.monotonic_ns <= second.monotonic_ns && first.realtime_ns <= second.realtime_ns);
            prop_assert!(first.monotonic_ns >= clock.monotonic_ns && first.boottime_ns >= first.monotonic_ns);
        }
        if let Ok(exit) = Exit::from_registers([words_in[0] % 8, words_in[1], words_in[2]]) {
            prop_assert_eq!(exit.to_registers()[0], words_in[0] % 8);
        }
    }
}

/// Checks each entry that is accepted: the sum of the lengths of their names.
fn entries(bytes: &[u8]) -> usize {
    let found: Vec<_> = DirEntries::new(bytes).collect();
    assert!(found.iter().rev().skip(1).all(Result::is_ok), "there was more behind an error");
    let names = found.iter().flatten().map(|entry| entry.name);
    for name in names.clone() {
        assert!((1..=255).contains(&name.len()) && !name.contains(&0) && !name.contains(&b'/'));
    }
    names.map(<[u8]>::len).sum()
}

/// Really at any time: a thread writes anything anywhere while this one uses everything.
#[test]
fn a_scribbling_thread_breaks_nothing() {
    let layout = Layout::new(1, 1 << 16, 4096).unwrap();
    let words = words(layout.total());
    let window = Window::new(&words);
    let area = layout.vcpu(0).unwrap();
    let arena = window.region(layout.arena()).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // xorshift64 (Marsaglia 2003)
            let mut random = 0x9e37_79b9_7f4a_7c15_u64;
            while !done.load(Ordering::Acquire) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let word = usize::try_from(random >> 32).unwrap() % words.len();
                let value = if random & 1 == 0 { random >> 20 & 0xff } else { random };
                words[word].store(value, Ordering::Relaxed);
            }
        });
        for round in 0..3000_u64 {
            let submission = window.region(area.submission).unwrap();
            let completion = window.region(area.completion).unwrap();
            let mut requests = Producer::<8>::new(submission, layout::RING_ENTRIES).unwrap();
            let mut responses = Consumer::<4>::new(completion, layout::RING_ENTRIES).unwrap();
            let mut writer = StreamWriter::new(arena, 4096).unwrap();
            let mut reader = StreamReader::new(arena, 4096).unwrap();
            let mut pending = Pending::<8>::new();
            let mut bytes = [0; 100];
            for _ in 0..20 {
                if let Some(id) = pending.begin() {
                    let args = [1, 0, 100, round, 0, 0];
                    let _ = requests.push(Request { id: id.get(), op: Op::Read.into(), args }.to_words());
                    if let Ok(Some(words)) = responses.pop() {
                        let response = Response::from_words(words);
                        if let (Ok(_), Ok(Ok(len))) =
                            (pending.complete(response.id), check(Op::Read, &args, response.result))
                        {
                            assert!(len <= 100);
                        }
                    }
                }
                assert!(writer.write(&bytes).unwrap_or(0) <= bytes.len());
                assert!(reader.read(&mut bytes).unwrap_or(0) <= bytes.len());
            }
            let _ = StartBlock::read(window);
            let _ = Clock::new(window.region(layout.clock()).unwrap()).unwrap().read();
            let _ = Stat::read(arena, Offset(0));
            let mut copy = [0; 1000];
            arena.copy_in(Offset(round % 1000), &mut copy).unwrap();
            entries(&copy);
        }
        done.store(true, Ordering::Release);
    });
}
