//! How the tests make system calls.

use std::ffi::CString;
use std::sync::{Mutex, MutexGuard};

use crate::arch::frame::Frame;
use crate::syscall::{Errno, Result, file};

pub(crate) const CWD: u64 = (-100_i64).cast_unsigned();

/// Tests share one process: its descriptors and working directory are one test's at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    crate::signal::take();
    guard
}

pub(crate) fn call<const N: usize>(run: fn(&mut Frame) -> Result, arguments: [u64; N]) -> Result {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    let [rdi, rsi, rdx, r10, r8, r9] = all;
    run(&mut Frame { rdi, rsi, rdx, r10, r8, r9, ..Frame::default() })
}

/// Address of memory that is not read afterwards but by the kernel.
pub(crate) fn at<T: ?Sized>(value: &T) -> u64 {
    std::ptr::from_ref(value).cast::<u8>().expose_provenance() as u64
}

/// Address of memory that the kernel writes.
pub(crate) fn at_mut<T: ?Sized>(value: &mut T) -> u64 {
    std::ptr::from_mut(value).cast::<u8>().expose_provenance() as u64
}

/// Runs `f` with the address of a path.
pub(crate) fn with_path<T>(path: &str, f: impl FnOnce(u64) -> T) -> T {
    let path = CString::new(path).unwrap();
    f(at(path.as_bytes_with_nul()))
}

pub(crate) fn open_mode(path: &str, flags: u32, mode: u64) -> Result {
    with_path(path, |path| call(file::open::openat, [CWD, path, flags.into(), mode]))
}

pub(crate) fn open(path: &str, flags: u32) -> Result {
    open_mode(path, flags, 0)
}

pub(crate) fn close(fd: u64) {
    assert_eq!(call(file::open::close, [fd]), Ok(0));
}

pub(crate) fn read(fd: u64, length: usize) -> core::result::Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; length];
    let count = call(file::io::read, [fd, at_mut(bytes.as_mut_slice()), length as u64])?;
    bytes.truncate(usize::try_from(count).unwrap());
    Ok(bytes)
}

pub(crate) fn write(fd: u64, bytes: &[u8]) -> Result {
    call(file::io::write, [fd, at(bytes), bytes.len() as u64])
}

/// Everything that a path has.
pub(crate) fn contents(path: &str) -> core::result::Result<Vec<u8>, Errno> {
    let fd = open(path, 0)?;
    let mut all = Vec::new();
    loop {
        let part = read(fd, 100_000)?;
        if part.is_empty() {
            close(fd);
            return Ok(all);
        }
        all.extend(part);
    }
}

pub(crate) fn text(path: &str) -> String {
    String::from_utf8(contents(path).unwrap_or_else(|errno| panic!("{path}: {errno}"))).unwrap()
}

/// The numbers of a `struct stat` that tests look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) ino: u64,
    pub(crate) nlink: u64,
    pub(crate) mode: u32,
    pub(crate) size: u64,
}

fn shown(record: &[u8; 144]) -> Shown {
    let long = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap());
    Shown {
        ino: long(8),
        nlink: long(16),
        mode: u32::from_le_bytes(record[24..28].try_into().unwrap()),
        size: long(48),
    }
}

pub(crate) fn stat(path: &str, flags: u64) -> core::result::Result<Shown, Errno> {
    let mut record = [0; 144];
    with_path(path, |path| call(file::stat::newfstatat, [CWD, path, at_mut(&mut record), flags]))?;
    Ok(shown(&record))
}

pub(crate) fn fstat(fd: u64) -> core::result::Result<Shown, Errno> {
    let mut record = [0; 144];
    call(file::stat::fstat, [fd, at_mut(&mut record)])?;
    Ok(shown(&record))
}

pub(crate) fn read_link(path: &str) -> core::result::Result<String, Errno> {
    let mut target = [0; 4096];
    let count = with_path(path, |path| call(file::stat::readlink, [path, at_mut(&mut target), 4096]))?;
    Ok(String::from_utf8(target[..usize::try_from(count).unwrap()].to_vec()).unwrap())
}

/// Names in a directory, sorted, by calls with so much room.
pub(crate) fn names(path: &str, room: usize) -> core::result::Result<Vec<String>, Errno> {
    let fd = open(path, 0o200_000)?;
    let mut names = Vec::new();
    let mut buffer = vec![0_u8; room];
    loop {
        let count = call(file::directory::getdents64, [fd, at_mut(buffer.as_mut_slice()), room as u64])?;
        if count == 0 {
            break;
        }
        let mut rest = &buffer[..usize::try_from(count).unwrap()];
        while !rest.is_empty() {
            let length = usize::from(u16::from_le_bytes([rest[16], rest[17]]));
            let name = &rest[19..length];
            let end = name.iter().position(|byte| *byte == 0).unwrap();
            names.push(String::from_utf8(name[..end].to_vec()).unwrap());
            rest = &rest[length..];
        }
    }
    close(fd);
    names.sort();
    Ok(names)
}

/// A call with one path and a number.
pub(crate) fn by_path(run: fn(&mut Frame) -> Result, path: &str, argument: u64) -> Result {
    with_path(path, |path| call(run, [path, argument]))
}

/// A call with two paths.
pub(crate) fn by_paths(run: fn(&mut Frame) -> Result, old: &str, new: &str) -> Result {
    with_path(old, |old| with_path(new, |new| call(run, [old, new])))
}
