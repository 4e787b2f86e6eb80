//! The driver's `ioctl`s, and the loops around those that can stop short.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use crate::arch::linux::{AddPages, IOC_ADD_PAGES};

/// How often a call that gets nowhere is repeated: the kernel gives up when it needs memory that others hold.
const PATIENCE: u32 = 1000;

/// What takes `ioctl`s.
pub(super) trait Driver {
    /// One `ioctl`. `argument` is a structure of `asm/sgx.h` that belongs to `request`.
    fn call(&self, request: u64, argument: *mut libc::c_void) -> io::Result<()>;
}

impl Driver for File {
    fn call(&self, request: u64, argument: *mut libc::c_void) -> io::Result<()> {
        // SAFETY: the caller passes the structure that the request takes, and what it points to.
        match unsafe { libc::ioctl(self.as_raw_fd(), request, argument) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

/// One `ioctl` with its structure.
pub(super) fn once<T>(driver: &impl Driver, request: u64, argument: &mut T) -> io::Result<()> {
    driver.call(request, std::ptr::from_mut(argument).cast())
}

/// A structure with a range and an answer of how far it went.
pub(super) trait Ranged {
    /// Bytes asked for.
    fn length(&self) -> u64;
    /// Bytes done.
    fn count(&self) -> u64;
    /// What remains behind those.
    fn advance(&mut self, done: u64);
}

impl Ranged for AddPages {
    fn length(&self) -> u64 {
        self.length
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn advance(&mut self, done: u64) {
        self.src += done;
        self.offset += done;
        self.length -= done;
        self.count = 0;
    }
}

fn may_be_repeated(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

/// What the driver did of it; never more than it was asked.
fn done(argument: &impl Ranged) -> io::Result<u64> {
    match argument.count() {
        count if count <= argument.length() && count % 4096 == 0 => Ok(count),
        _ => Err(io::Error::other("the driver says that it did more than it was asked")),
    }
}

/// `SGX_IOC_ENCLAVE_ADD_PAGES` of the whole range, however often the kernel stops.
pub(super) fn add_pages(driver: &impl Driver, argument: &mut AddPages) -> io::Result<()> {
    let mut patience = PATIENCE;
    while argument.length > 0 {
        argument.count = 0;
        let result = once(driver, IOC_ADD_PAGES, argument);
        let count = done(argument)?;
        argument.advance(count);
        match result {
            Err(error) if !may_be_repeated(&error) => return Err(error),
            _ if count > 0 => patience = PATIENCE,
            _ if patience == 0 => return Err(io::Error::other("the driver adds no pages")),
            _ => patience -= 1,
        }
    }
    Ok(())
}

/// One of EDMM's calls, as far as it goes: how many bytes were done, or why none.
pub(super) fn partial<T: Ranged>(driver: &impl Driver, request: u64, argument: &mut T) -> io::Result<u64> {
    let mut patience = PATIENCE;
    loop {
        let result = once(driver, request, argument);
        let count = done(argument)?;
        if count > 0 {
            return Ok(count);
        }
        match result {
            Err(error) if !may_be_repeated(&error) => return Err(error),
            _ if patience == 0 => return Err(io::Error::other("the driver changes no pages")),
            _ => patience -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::arch::linux::{IOC_REMOVE_PAGES, RemovePages};

    /// A driver that does as it is told: how many bytes, and which error.
    struct Fake {
        script: RefCell<Vec<(u64, i32)>>,
        seen: RefCell<Vec<(u64, u64, u64)>>,
    }

    impl Fake {
        fn new(script: &[(u64, i32)]) -> Self {
            Self { script: RefCell::new(script.iter().rev().copied().collect()), seen: RefCell::default() }
        }
    }

    impl Driver for Fake {
        fn call(&self, request: u64, argument: *mut libc::c_void) -> io::Result<()> {
            let (count, errno) = self.script.borrow_mut().pop().unwrap_or((0, libc::EINTR));
            if request == IOC_ADD_PAGES {
                // SAFETY: the request's structure.
                let pages = unsafe { &mut *argument.cast::<AddPages>() };
                self.seen.borrow_mut().push((pages.src, pages.offset, pages.length));
                pages.count = count;
            } else {
                // SAFETY: the request's structure.
                let pages = unsafe { &mut *argument.cast::<RemovePages>() };
                self.seen.borrow_mut().push((0, pages.offset, pages.length));
                pages.count = count;
            }
            if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
        }
    }

    fn add(script: &[(u64, i32)]) -> (io::Result<()>, Vec<(u64, u64, u64)>) {
        let driver = Fake::new(script);
        let mut argument = AddPages { src: 0x10000, offset: 0x4000, length: 0x5000, ..AddPages::default() };
        let result = add_pages(&driver, &mut argument);
        (result, driver.seen.into_inner())
    }

    #[test]
    fn adding_goes_on_where_it_stopped() {
        let (result, seen) = add(&[(0x2000, 0), (0, libc::EINTR), (0x1000, libc::EAGAIN), (0x2000, 0)]);
        result.unwrap();
        let expected = [
            (0x10000, 0x4000, 0x5000),
            (0x12000, 0x6000, 0x3000),
            (0x12000, 0x6000, 0x3000),
            (0x13000, 0x7000, 0x2000),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn adding_ends_with_an_error() {
        let (result, seen) = add(&[(0x1000, 0), (0x1000, libc::EINVAL)]);
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(seen.len(), 2);
        for nonsense in [0x6000, 0x800] {
            add(&[(nonsense, 0)]).0.unwrap_err();
        }
        add(&[]).0.unwrap_err();
    }

    #[test]
    fn a_partial_change_is_an_answer() {
        let run = |script: &[(u64, i32)]| {
            let mut argument = RemovePages { offset: 0, length: 0x3000, count: 0 };
            partial(&Fake::new(script), IOC_REMOVE_PAGES, &mut argument)
        };
        assert_eq!(run(&[(0x3000, 0)]).unwrap(), 0x3000);
        assert_eq!(run(&[(0x1000, libc::EPERM)]).unwrap(), 0x1000);
        assert_eq!(run(&[(0, libc::EAGAIN), (0x2000, 0)]).unwrap(), 0x2000);
        assert_eq!(run(&[(0, libc::EPERM)]).unwrap_err().raw_os_error(), Some(libc::EPERM));
        run(&[(0x4000, 0)]).unwrap_err();
        run(&[]).unwrap_err();
    }
}
