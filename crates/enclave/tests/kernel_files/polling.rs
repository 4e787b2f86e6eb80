//! poll, select, epoll, and the console.

use std::time::{Duration, Instant};

use crate::calls::*;
use crate::host::{CONSOLE, Console};
use crate::pipes::pipe;
use crate::signal;
use crate::syscall::{Errno, file};

const IN: u16 = 1;
const OUT: u16 = 4;
const HUP: u16 = 0x10;
const NVAL: u16 = 0x20;

/// Polls; gives the count and what each is ready for.
fn poll<const N: usize>(watched: [(i32, u16); N], timeout_ms: i64) -> (crate::syscall::Result, [u16; N]) {
    let mut records = watched.map(|(fd, events)| [fd.cast_unsigned(), u32::from(events)]);
    let result = call(file::poll::poll, [at_mut(&mut records), N as u64, timeout_ms.cast_unsigned()]);
    (result, records.map(|[_, events]| u16::try_from(events >> 16).unwrap()))
}

fn fd(number: u64) -> i32 {
    i32::try_from(number).unwrap()
}

#[test]
fn what_is_ready_is_told() {
    let _alone = alone();
    let (reader, writer) = pipe(0);
    let file = open("/etc/passwd", 0).unwrap();
    assert_eq!(poll([(fd(reader), IN)], 0), (Ok(0), [0]));
    assert_eq!(poll([(fd(reader), IN), (fd(writer), OUT)], -1), (Ok(1), [0, OUT]));
    assert_eq!(poll([(fd(file), IN | OUT), (-1, IN), (99, IN)], 0), (Ok(2), [IN | OUT, 0, NVAL]));
    let start = Instant::now();
    assert_eq!(poll([(fd(reader), IN)], 20), (Ok(0), [0]));
    assert!(start.elapsed() >= Duration::from_millis(20));
    let found = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(5));
            write(writer, b"x").unwrap();
        });
        poll([(fd(reader), IN)], -1)
    });
    assert_eq!(found, (Ok(1), [IN]));
    close(writer);
    assert_eq!(poll([(fd(reader), 0)], -1), (Ok(1), [HUP]));
    let mut sets = [[0_u64; 16]; 2];
    sets[0][0] = 1 << reader | 1 << file;
    let [read, write] = &mut sets;
    assert_eq!(call(file::poll::select, [file.max(reader) + 1, at_mut(read), at_mut(write), 0, 0]), Ok(2));
    assert_eq!(read[0], 1 << reader | 1 << file);
    read[0] = 1 << 63;
    assert_eq!(call(file::poll::select, [64, at_mut(read), 0, 0, 0]), Err(Errno::EBADF));
    let none = [0_u64; 2];
    assert_eq!(call(file::poll::select, [0, 0, 0, 0, at(&none)]), Ok(0));
    assert_eq!(call(file::poll::pselect6, [0, 0, 0, 0, at(&none), 0]), Ok(0));
    close(reader);
    close(file);
}

const ADD: u64 = 1;
const DELETE: u64 = 2;
const MODIFY: u64 = 3;
const EDGE: u32 = 1 << 31;
const ONCE: u32 = 1 << 30;

fn control(epoll: u64, operation: u64, fd: u64, events: u32, data: u64) -> crate::syscall::Result {
    let mut record = [0; 12];
    record[..4].copy_from_slice(&events.to_le_bytes());
    record[4..].copy_from_slice(&data.to_le_bytes());
    call(file::epoll::control, [epoll, operation, fd, at(&record)])
}

fn wait(epoll: u64, timeout_ms: i64) -> Vec<(u32, u64)> {
    let mut records = [[0_u8; 12]; 8];
    let result = call(file::epoll::wait, [epoll, at_mut(&mut records), 8, timeout_ms.cast_unsigned()]);
    records[..usize::try_from(result.unwrap()).unwrap()]
        .iter()
        .map(|r| {
            (u32::from_le_bytes(r[..4].try_into().unwrap()), u64::from_le_bytes(r[4..].try_into().unwrap()))
        })
        .collect()
}

#[test]
fn epoll_by_level_edge_and_once() {
    let _alone = alone();
    let epoll = call(file::epoll::create1, [0o2_000_000]).unwrap();
    let (reader, writer) = pipe(0);
    assert_eq!(control(epoll, ADD, reader, 1, 11), Ok(0));
    assert_eq!(control(epoll, ADD, reader, 1, 11), Err(Errno::EEXIST));
    assert_eq!(control(epoll, MODIFY, writer, 1, 11), Err(Errno::ENOENT));
    assert_eq!(control(epoll, ADD, epoll, 1, 11), Err(Errno::EINVAL));
    assert_eq!(control(reader, ADD, writer, 1, 11), Err(Errno::EINVAL));
    let regular = open("/etc/passwd", 0).unwrap();
    assert_eq!(control(epoll, ADD, regular, 1, 11), Err(Errno::EPERM));
    close(regular);
    assert_eq!(wait(epoll, 0), []);
    write(writer, b"ab").unwrap();
    assert_eq!(wait(epoll, -1), [(1, 11)]);
    assert_eq!(wait(epoll, -1), [(1, 11)]);
    // Edges: once for each change.
    assert_eq!(control(epoll, MODIFY, reader, 1 | EDGE, 12), Ok(0));
    assert_eq!(control(epoll, ADD, writer, 4 | EDGE, 13), Ok(0));
    assert_eq!(wait(epoll, -1).len(), 2);
    assert_eq!(wait(epoll, 0), []);
    write(writer, b"c").unwrap();
    assert!(wait(epoll, -1).contains(&(1, 12)));
    assert_eq!(wait(epoll, 0), []);
    assert_eq!(control(epoll, DELETE, writer, 0, 0), Ok(0));
    assert_eq!(control(epoll, MODIFY, reader, 1 | ONCE, 14), Ok(0));
    assert_eq!(wait(epoll, -1), [(1, 14)]);
    assert_eq!(wait(epoll, 0), []);
    assert_eq!(control(epoll, MODIFY, reader, 1, 15), Ok(0));
    assert_eq!(wait(epoll, 0), [(1, 15)]);
    // An instance is ready when something in it is.
    let outer = call(file::epoll::create1, [0]).unwrap();
    assert_eq!(control(outer, ADD, epoll, 1, 16), Ok(0));
    assert_eq!(wait(outer, 0), [(1, 16)]);
    assert_eq!(control(epoll, ADD, outer, 1, 0), Err(Errno::ELOOP));
    assert_eq!(read(reader, 9).unwrap().len(), 3);
    assert_eq!(wait(outer, 0), []);
    // From another thread, and through both.
    let found = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(5));
            write(writer, b"x").unwrap();
        });
        wait(outer, -1)
    });
    assert_eq!(found, [(1, 16)]);
    // What is closed is not watched any more.
    close(writer);
    close(reader);
    assert_eq!(wait(epoll, 0), []);
    close(outer);
    close(epoll);
}

#[test]
fn everybody_is_told_in_turn() {
    let _alone = alone();
    let epoll = call(file::epoll::create1, [0]).unwrap();
    let counters: Vec<u64> = (0..20).map(|_| call(file::descriptor::eventfd2, [1, 0]).unwrap()).collect();
    for counter in &counters {
        control(epoll, ADD, *counter, 1, *counter).unwrap();
    }
    let mut told: Vec<u64> = (0..3).flat_map(|_| wait(epoll, 0)).map(|(_, data)| data).collect();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 20);
    counters.into_iter().for_each(close);
    close(epoll);
}

#[test]
fn the_console_reads_and_writes() {
    let _alone = alone();
    *CONSOLE.lock().unwrap() = Console { input: b"line\n".to_vec(), ..Console::default() };
    assert_eq!(poll([(0, IN), (1, OUT)], 0), (Ok(2), [IN, OUT]));
    assert_eq!(read(0, 100).unwrap(), b"line\n");
    assert_eq!(poll([(0, IN)], 5), (Ok(0), [0]));
    assert_eq!(call(file::descriptor::fcntl, [0, 4, 0o4000]), Ok(0));
    assert_eq!(read(0, 100), Err(Errno::EAGAIN));
    assert_eq!(call(file::descriptor::fcntl, [0, 4, 0]), Ok(0));
    let got = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30));
            CONSOLE.lock().unwrap().input = b"later".to_vec();
        });
        read(0, 100)
    });
    assert_eq!(got.unwrap(), b"later");
    CONSOLE.lock().unwrap().end = true;
    assert_eq!(read(0, 100).unwrap(), []);
    assert_eq!(read(1, 100), Err(Errno::EBADF));
    assert_eq!(write(0, b"x"), Err(Errno::EBADF));
    let long = vec![b'y'; 600_000];
    assert_eq!(write(1, &long), Ok(600_000));
    let parts = [[at(b"to "), 3], [at(b"two"), 3]];
    assert_eq!(call(file::io::writev, [2, at(&parts), 2]), Ok(6));
    {
        let console = CONSOLE.lock().unwrap();
        assert!(console.output[0] == long);
        assert_eq!(console.output[1], b"to two");
    }
    CONSOLE.lock().unwrap().broken = true;
    assert_eq!(write(1, b"x"), Err(Errno::EPIPE));
    assert_eq!(signal::take(), 1 << 12);
    CONSOLE.lock().unwrap().broken = false;
    assert_eq!(call(file::descriptor::ioctl, [1, 0x5401, 0]), Err(Errno::ENOTTY));
    assert_eq!(call(file::io::lseek, [1, 0, 1]), Err(Errno::ESPIPE));
    assert_eq!(fstat(1).unwrap().mode, 0o010_600);
    assert_eq!(call(file::descriptor::fcntl, [1, 3, 0]), Ok(1));
}
