//! Pipes and counters, between threads.

use std::time::Duration;

use crate::calls::*;
use crate::syscall::{Errno, file};
use crate::{sched, signal};

pub(crate) fn pipe(flags: u64) -> (u64, u64) {
    let mut ends = [0_u32; 2];
    assert_eq!(call(file::descriptor::pipe2, [at_mut(&mut ends), flags]), Ok(0));
    (ends[0].into(), ends[1].into())
}

const NONBLOCK: u64 = 0o4000;

#[test]
fn bytes_go_through_between_threads() {
    let _alone = alone();
    let (reader, writer) = pipe(0);
    let sent: Vec<u8> =
        (0..1_000_000_u32).map(|n| n.to_le_bytes()[usize::try_from(n % 3).unwrap()]).collect();
    let got = std::thread::scope(|scope| {
        scope.spawn(|| {
            for chunk in sent.chunks(70_001) {
                assert_eq!(write(writer, chunk), Ok(chunk.len() as u64));
            }
            close(writer);
        });
        let mut got = Vec::new();
        loop {
            let part = read(reader, 30_000).unwrap();
            if part.is_empty() {
                return got;
            }
            got.extend(part);
        }
    });
    assert!(got == sent);
    close(reader);
}

#[test]
fn ends_that_are_gone() {
    let _alone = alone();
    let (reader, writer) = pipe(NONBLOCK);
    assert_eq!(read(reader, 1), Err(Errno::EAGAIN));
    assert_eq!(write(reader, b"x"), Err(Errno::EBADF));
    assert_eq!(read(writer, 1), Err(Errno::EBADF));
    assert_eq!(write(writer, &[1; 60_000]), Ok(60_000));
    // Less than PIPE_BUF goes in whole or not at all; more goes in part.
    assert_eq!(write(writer, &[2; 4000]), Ok(4000));
    assert_eq!(write(writer, &[2; 4000]), Err(Errno::EAGAIN));
    assert_eq!(write(writer, &[3; 5000]), Ok(1536));
    assert_eq!(call(file::io::lseek, [reader, 0, 1]), Err(Errno::ESPIPE));
    assert_eq!(call(file::io::pread64, [reader, 4096, 1, 0]), Err(Errno::ESPIPE));
    close(writer);
    assert_eq!(read(reader, 1 << 20).unwrap().len(), 65_536);
    assert_eq!(read(reader, 1).unwrap(), []);
    close(reader);
    let (reader, writer) = pipe(0);
    close(reader);
    assert_eq!(write(writer, b"x"), Err(Errno::EPIPE));
    assert_eq!(signal::take(), 1 << 12);
    close(writer);
}

#[test]
fn a_vector_is_one_transfer() {
    let _alone = alone();
    let (reader, writer) = pipe(0);
    let parts = [[at(b"abc"), 3], [at(b"de"), 2]];
    assert_eq!(call(file::io::writev, [writer, at(&parts), 2]), Ok(5));
    // Exactly as much as the first part takes: the second one must not block.
    let (mut a, mut b) = ([0_u8; 5], [0_u8; 5]);
    let parts = [[at_mut(&mut a), 5], [at_mut(&mut b), 5]];
    assert_eq!(call(file::io::readv, [reader, at(&parts), 2]), Ok(5));
    assert_eq!(&a, b"abcde");
    close(reader);
    close(writer);
}

#[test]
fn a_signal_interrupts() {
    let _alone = alone();
    let (reader, writer) = pipe(0);
    let thread = sched::current();
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            thread.signals.lock().pending |= 1;
            thread.unpark();
        });
        read(reader, 1)
    });
    assert_eq!(result, Err(Errno::EINTR));
    assert_eq!(signal::take(), 1);
    close(reader);
    close(writer);
}

#[test]
fn counters_count() {
    let _alone = alone();
    let fd = call(file::descriptor::eventfd2, [3, NONBLOCK]).unwrap();
    assert_eq!(read(fd, 7), Err(Errno::EINVAL));
    assert_eq!(read(fd, 8).unwrap(), 3_u64.to_le_bytes());
    assert_eq!(read(fd, 8), Err(Errno::EAGAIN));
    assert_eq!(write(fd, &u64::MAX.to_le_bytes()), Err(Errno::EINVAL));
    assert_eq!(write(fd, &(u64::MAX - 1).to_le_bytes()), Ok(8));
    assert_eq!(write(fd, &1_u64.to_le_bytes()), Err(Errno::EAGAIN));
    close(fd);
    let fd = call(file::descriptor::eventfd2, [2, 1]).unwrap();
    assert_eq!(read(fd, 8).unwrap(), 1_u64.to_le_bytes());
    assert_eq!(read(fd, 8).unwrap(), 1_u64.to_le_bytes());
    let read = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(5));
            write(fd, &1_u64.to_le_bytes()).unwrap();
        });
        read(fd, 8).unwrap()
    });
    assert_eq!(read, 1_u64.to_le_bytes());
    close(fd);
}
