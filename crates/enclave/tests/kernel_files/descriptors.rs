//! Descriptors: numbers, flags, copies; and what goes from file to file.

use crate::calls::*;
use crate::host::HANDLES;
use crate::syscall::{Errno, file, system};

#[test]
fn numbers_are_the_lowest_free_ones() {
    let _alone = alone();
    let first = open("/etc/passwd", 0).unwrap();
    let second = call(file::descriptor::dup, [first]).unwrap();
    assert_eq!(second, first + 1);
    close(first);
    assert_eq!(open("/etc/passwd", 0), Ok(first));
    assert_eq!(call(file::descriptor::dup2, [first, first]), Ok(first));
    assert_eq!(call(file::descriptor::dup3, [first, first, 0]), Err(Errno::EINVAL));
    assert_eq!(call(file::descriptor::dup2, [99, 5]), Err(Errno::EBADF));
    assert_eq!(call(file::descriptor::dup2, [first, 4000]), Err(Errno::EBADF));
    assert_eq!(call(file::descriptor::dup3, [first, 40, 0o2_000_000]), Ok(40));
    assert_eq!(call(file::descriptor::fcntl, [40, 1, 0]), Ok(1));
    assert_eq!(call(file::descriptor::fcntl, [first, 1, 0]), Ok(0));
    assert_eq!(call(file::descriptor::fcntl, [40, 2, 0]), Ok(0));
    assert_eq!(call(file::descriptor::fcntl, [40, 1, 0]), Ok(0));
    assert_eq!(call(file::descriptor::fcntl, [first, 0, 30]), Ok(30));
    assert_eq!(call(file::descriptor::fcntl, [first, 1030, 30]), Ok(31));
    assert_eq!(call(file::descriptor::fcntl, [31, 1, 0]), Ok(1));
    assert_eq!(call(file::descriptor::fcntl, [first, 0, 5000]), Err(Errno::EINVAL));
    // Copies share a position.
    assert_eq!(call(file::io::lseek, [30, 4, 0]), Ok(4));
    assert_eq!(read(first, 2).unwrap(), b":x");
    assert_eq!(call(file::open::close_range, [30, 40, 4]), Ok(0));
    assert_eq!(call(file::descriptor::fcntl, [30, 1, 0]), Ok(1));
    assert_eq!(call(file::open::close_range, [30, u64::from(u32::MAX), 0]), Ok(0));
    assert_eq!(read(30, 1), Err(Errno::EBADF));
    assert_eq!(call(file::open::close_range, [2, 1, 0]), Err(Errno::EINVAL));
    close(first);
    close(second);
}

#[test]
fn the_limit_of_descriptors_holds() {
    let _alone = alone();
    let lower = [10_u64, 1024];
    assert_eq!(call(system::prlimit64, [0, 7, at(&lower), 0]), Ok(0));
    let mut opened = Vec::new();
    let errno = loop {
        match open("/dev/null", 0) {
            Ok(fd) => opened.push(fd),
            Err(errno) => break errno,
        }
    };
    assert_eq!((errno, opened.last()), (Errno::EMFILE, Some(&9)));
    let mut ends = [0_i32; 2];
    assert_eq!(call(file::descriptor::pipe2, [at_mut(&mut ends), 0]), Err(Errno::EMFILE));
    opened.into_iter().for_each(close);
    let mut old = [0_u64; 2];
    assert_eq!(call(system::prlimit64, [0, 7, at(&[1024_u64, 1024]), at_mut(&mut old)]), Ok(0));
    assert_eq!(old, lower);
    assert_eq!(call(system::setrlimit, [7, at(&[1_u64, 2000])]), Err(Errno::EPERM));
    assert_eq!(call(system::setrlimit, [7, at(&[3_u64, 2])]), Err(Errno::EINVAL));
}

#[test]
fn closing_closes_on_the_host() {
    let _alone = alone();
    let used = || HANDLES.lock().unwrap().iter().flatten().count();
    let before = used();
    let fd = open("/etc/passwd", 0).unwrap();
    let copy = call(file::descriptor::dup, [fd]).unwrap();
    assert_eq!(used(), before + 1);
    close(fd);
    assert_eq!(used(), before + 1);
    close(copy);
    assert_eq!(used(), before);
    assert_eq!(open("/fifo", 0), Err(Errno::EACCES));
    assert_eq!(used(), before);
}

#[test]
fn flags_are_kept() {
    let _alone = alone();
    let fd = open("/etc/passwd", 0o2_000_000 | 0o4000).unwrap();
    assert_eq!(call(file::descriptor::fcntl, [fd, 3, 0]), Ok(0o104_000));
    assert_eq!(call(file::descriptor::fcntl, [fd, 4, 2 | 0o2000]), Ok(0));
    assert_eq!(call(file::descriptor::fcntl, [fd, 3, 0]), Ok(0o102_000));
    assert_eq!(call(file::descriptor::ioctl, [fd, 0x5421, at(&1_u32)]), Ok(0));
    assert_eq!(call(file::descriptor::fcntl, [fd, 3, 0]), Ok(0o106_000));
    assert_eq!(call(file::descriptor::ioctl, [fd, 0x5401, 0]), Err(Errno::ENOTTY));
    let mut left = 0_u32;
    assert_eq!(call(file::descriptor::ioctl, [fd, 0x541b, at_mut(&mut left)]), Ok(0));
    assert_eq!(left, 22);
    close(fd);
    let fd = open("/etc/passwd", 0o10_000_000).unwrap();
    assert_eq!(read(fd, 1), Err(Errno::EBADF));
    assert_eq!(fstat(fd).unwrap().size, 22);
    assert_eq!(call(file::descriptor::ioctl, [fd, 0x5421, 0]), Err(Errno::EBADF));
    close(fd);
}

#[test]
fn copies_from_file_to_file() {
    let _alone = alone();
    let from = open("/usr/bin/hello", 0).unwrap();
    let to = open_mode("/tmp/copy", 2 | 0o100, 0o600).unwrap();
    assert_eq!(call(file::transfer::copy_file_range, [from, 0, to, 0, 1 << 20, 0]), Ok(700_000));
    assert_eq!(call(file::transfer::copy_file_range, [from, 0, to, 0, 1 << 20, 0]), Ok(0));
    let mut offset = 699_000_u64;
    assert_eq!(call(file::transfer::sendfile, [to, from, at_mut(&mut offset), 1 << 20]), Ok(1000));
    assert_eq!(offset, 700_000);
    assert_eq!(fstat(to).unwrap().size, 701_000);
    assert_eq!(call(file::transfer::sendfile, [from, to, 0, 1]), Err(Errno::EBADF));
    assert_eq!(
        call(file::transfer::copy_file_range, [to, at(&0_u64), to, at(&5_u64), 10, 0]),
        Err(Errno::EINVAL)
    );
    let parts = [b"ab".as_slice(), b"", b"cde"];
    let vector: Vec<[u64; 2]> = parts.iter().map(|part| [at(*part), part.len() as u64]).collect();
    assert_eq!(call(file::io::pwritev, [to, at(vector.as_slice()), 3, 0]), Ok(5));
    let (mut a, mut b) = ([0_u8; 3], [0_u8; 3]);
    let vector = [[at_mut(&mut a), 3], [at_mut(&mut b), 3]];
    assert_eq!(call(file::io::preadv2, [to, at(&vector), 2, 0, 0, 0]), Ok(6));
    assert_eq!((&a, &b), (b"abc", b"deh"));
    assert_eq!(call(file::io::readv, [to, at(&vector), 1025]), Err(Errno::EINVAL));
    assert_eq!(call(file::io::readv, [to, at(&[[0_u64, u64::MAX]]), 1]), Err(Errno::EINVAL));
    close(from);
    close(to);
    assert_eq!(by_path(file::names::unlink, "/tmp/copy", 0), Ok(0));
}
