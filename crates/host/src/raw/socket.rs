//! Sockets by the system calls themselves: addresses and options are bytes of the program inside, which need no types here.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use casemate_enclave_abi::net::MAX_ADDRESS;
use libc::{c_int, c_void, socklen_t};
use rustix::io::Errno;

/// An address as the kernel gave it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    bytes: [u8; MAX_ADDRESS],
    length: socklen_t,
}

impl Address {
    fn empty() -> Self {
        // As long as the array, which is `struct sockaddr_storage`.
        Self { bytes: [0; MAX_ADDRESS], length: socklen_t::try_from(MAX_ADDRESS).unwrap_or(0) }
    }

    /// Its bytes. The kernel says how long it is also where it was longer.
    pub(crate) fn bytes(&self) -> &[u8] {
        usize::try_from(self.length).ok().and_then(|length| self.bytes.get(..length)).unwrap_or(&self.bytes)
    }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn check(result: c_int) -> Result<c_int, Errno> {
    if result < 0 { Err(last()) } else { Ok(result) }
}

fn count(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| last())
}

fn length(bytes: &[u8]) -> Result<socklen_t, Errno> {
    socklen_t::try_from(bytes.len()).map_err(|_| Errno::INVAL)
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: a descriptor that was just made, and is nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// socket(2), not blocking.
pub(crate) fn socket(family: c_int, kind: c_int, protocol: c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: numbers only.
    check(unsafe { libc::socket(family, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, protocol) })
        .map(owned)
}

/// bind(2).
pub(crate) fn bind(fd: &OwnedFd, address: &[u8]) -> Result<(), Errno> {
    // SAFETY: the address has so many bytes, and is only read.
    check(unsafe { libc::bind(fd.as_raw_fd(), address.as_ptr().cast(), length(address)?) }).map(drop)
}

/// connect(2).
pub(crate) fn connect(fd: &OwnedFd, address: &[u8]) -> Result<(), Errno> {
    // SAFETY: the address has so many bytes, and is only read.
    check(unsafe { libc::connect(fd.as_raw_fd(), address.as_ptr().cast(), length(address)?) }).map(drop)
}

/// listen(2).
pub(crate) fn listen(fd: &OwnedFd, backlog: c_int) -> Result<(), Errno> {
    // SAFETY: numbers only.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// shutdown(2).
pub(crate) fn shutdown(fd: &OwnedFd, how: c_int) -> Result<(), Errno> {
    // SAFETY: numbers only.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), how) }).map(drop)
}

/// accept4(2), not blocking; with the peer's address.
pub(crate) fn accept(fd: &OwnedFd) -> Result<(OwnedFd, Address), Errno> {
    let mut address = Address::empty();
    let to = address.bytes.as_mut_ptr().cast();
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: room for as many bytes as `length` says.
    let new = check(unsafe { libc::accept4(fd.as_raw_fd(), to, &raw mut address.length, flags) })?;
    Ok((owned(new), address))
}

/// getsockname(2), or getpeername(2).
pub(crate) fn name(fd: &OwnedFd, peer: bool) -> Result<Address, Errno> {
    let mut address = Address::empty();
    let to = address.bytes.as_mut_ptr().cast();
    let result = if peer {
        // SAFETY: room for as many bytes as `length` says.
        unsafe { libc::getpeername(fd.as_raw_fd(), to, &raw mut address.length) }
    } else {
        // SAFETY: as above.
        unsafe { libc::getsockname(fd.as_raw_fd(), to, &raw mut address.length) }
    };
    check(result).map(|_| address)
}

/// setsockopt(2).
pub(crate) fn set_option(fd: &OwnedFd, level: c_int, option: c_int, value: &[u8]) -> Result<(), Errno> {
    let from = value.as_ptr().cast::<c_void>();
    // SAFETY: the value has so many bytes, and is only read. Options that take pointers inside are not let through.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, from, length(value)?) }).map(drop)
}

/// getsockopt(2): how many bytes of `value` it filled.
pub(crate) fn get_option(
    fd: &OwnedFd,
    level: c_int,
    option: c_int,
    value: &mut [u8],
) -> Result<usize, Errno> {
    let mut length = length(value)?;
    let to = value.as_mut_ptr().cast::<c_void>();
    // SAFETY: room for as many bytes as `length` says.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, to, &raw mut length) })?;
    Ok(usize::try_from(length).map_or(value.len(), |length| length.min(value.len())))
}

/// send(2) on a connected socket; without a signal, without waiting.
pub(crate) fn send(fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: so many bytes, which are only read.
    count(unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// recv(2) on a connected socket, without waiting.
pub(crate) fn receive(fd: &OwnedFd, bytes: &mut [u8]) -> Result<usize, Errno> {
    let to = bytes.as_mut_ptr().cast();
    // SAFETY: room for so many bytes.
    count(unsafe { libc::recv(fd.as_raw_fd(), to, bytes.len(), libc::MSG_DONTWAIT) })
}

/// sendto(2), to the peer where there is no address.
pub(crate) fn send_to(fd: &OwnedFd, bytes: &[u8], address: &[u8]) -> Result<usize, Errno> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let to = if address.is_empty() { std::ptr::null() } else { address.as_ptr() };
    let to_length = length(address)?;
    // SAFETY: so many bytes each, which are only read.
    count(unsafe {
        libc::sendto(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags, to.cast(), to_length)
    })
}

/// recvfrom(2): how long the datagram was, which may be more than `bytes` took; the sender's address.
pub(crate) fn receive_from(fd: &OwnedFd, bytes: &mut [u8], peek: bool) -> Result<(usize, Address), Errno> {
    let mut address = Address::empty();
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC | if peek { libc::MSG_PEEK } else { 0 };
    let (to, from) = (bytes.as_mut_ptr().cast(), address.bytes.as_mut_ptr().cast());
    // SAFETY: room for so many bytes, and for an address of as many as `length` says.
    let got =
        unsafe { libc::recvfrom(fd.as_raw_fd(), to, bytes.len(), flags, from, &raw mut address.length) };
    count(got).map(|got| (got, address))
}
