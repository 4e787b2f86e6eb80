//! Error numbers of Linux: those that may cross the wall, and those that the enclave kernel gives its program.

use core::fmt;

/// A Linux error number, 1 to 4095 (`include/linux/err.h`, `MAX_ERRNO`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(u16);

/// The largest error number.
const MAX_ERRNO: u16 = 4095;

macro_rules! errnos {
    ($($name:ident = $number:literal,)*) => {
        impl Errno {
            $(
                #[doc = concat!("`", stringify!($name), "` (`include/uapi/asm-generic/errno.h`).")]
                pub const $name: Self = Self($number);
            )*
        }

        const NAMES: &[(Errno, &str)] = &[$((Errno::$name, stringify!($name)),)*];
    };
}

errnos! {
    EPERM = 1,
    ENOENT = 2,
    ESRCH = 3,
    EINTR = 4,
    EIO = 5,
    ENXIO = 6,
    E2BIG = 7,
    ENOEXEC = 8,
    EBADF = 9,
    ECHILD = 10,
    EAGAIN = 11,
    ENOMEM = 12,
    EACCES = 13,
    EFAULT = 14,
    EBUSY = 16,
    EEXIST = 17,
    EXDEV = 18,
    ENODEV = 19,
    ENOTDIR = 20,
    EISDIR = 21,
    EINVAL = 22,
    ENFILE = 23,
    EMFILE = 24,
    ENOTTY = 25,
    ETXTBSY = 26,
    EFBIG = 27,
    ENOSPC = 28,
    ESPIPE = 29,
    EROFS = 30,
    EMLINK = 31,
    EPIPE = 32,
    EDOM = 33,
    ERANGE = 34,
    EDEADLK = 35,
    ENAMETOOLONG = 36,
    ENOLCK = 37,
    ENOSYS = 38,
    ENOTEMPTY = 39,
    ELOOP = 40,
    ENODATA = 61,
    EPROTO = 71,
    EOVERFLOW = 75,
    EILSEQ = 84,
    ENOTSOCK = 88,
    EDESTADDRREQ = 89,
    EMSGSIZE = 90,
    EPROTOTYPE = 91,
    ENOPROTOOPT = 92,
    EPROTONOSUPPORT = 93,
    ESOCKTNOSUPPORT = 94,
    EOPNOTSUPP = 95,
    EPFNOSUPPORT = 96,
    EAFNOSUPPORT = 97,
    EADDRINUSE = 98,
    EADDRNOTAVAIL = 99,
    ENETDOWN = 100,
    ENETUNREACH = 101,
    ENETRESET = 102,
    ECONNABORTED = 103,
    ECONNRESET = 104,
    ENOBUFS = 105,
    EISCONN = 106,
    ENOTCONN = 107,
    ESHUTDOWN = 108,
    ETOOMANYREFS = 109,
    ETIMEDOUT = 110,
    ECONNREFUSED = 111,
    EHOSTDOWN = 112,
    EHOSTUNREACH = 113,
    EALREADY = 114,
    EINPROGRESS = 115,
    EDQUOT = 122,
}

impl Errno {
    /// The error number `number`; `None` unless it is 1 to 4095.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number == 0 || number > MAX_ERRNO { None } else { Some(Self(number)) }
    }

    /// The number, 1 to 4095.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// `-errno` in two's complement, as a system call returns it and [`crate::Response::result`] carries it.
    #[must_use]
    pub const fn to_result(self) -> u64 {
        (self.0 as u64).wrapping_neg()
    }

    /// The error number that `result` carries; `None` if it carries none.
    #[must_use]
    pub fn from_result(result: u64) -> Option<Self> {
        u16::try_from(result.wrapping_neg()).ok().and_then(Self::new)
    }

    /// Its name, if it is one of those that may cross the wall.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(errno, _)| *errno == self).map(|(_, name)| *name)
    }

    /// This number if `allowed` has it, else `EPERM`: an error that an honest host does not give at this place must
    /// not steer the program, and `EPERM` is the one that programs do not retry.
    #[must_use]
    pub fn filter(self, allowed: &[Self]) -> Self {
        if allowed.contains(&self) { self } else { Self::EPERM }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_carry_error_numbers_in_the_last_page_only() {
        assert_eq!(Errno::from_result(u64::MAX), Some(Errno::EPERM));
        assert_eq!(Errno::from_result(Errno::EDQUOT.to_result()), Some(Errno::EDQUOT));
        assert_eq!(Errno::from_result(0), None);
        assert_eq!(Errno::from_result(1), None);
        assert!(Errno::from_result(4095_u64.wrapping_neg()).is_some());
        assert_eq!(Errno::from_result(4096_u64.wrapping_neg()), None);
        assert_eq!(Errno::from_result(i64::MAX.unsigned_abs()), None);
        assert_eq!(Errno::from_result(1 << 63), None);
    }

    #[test]
    fn foreign_numbers_become_eperm() {
        assert_eq!(Errno::ENOENT.filter(&[Errno::EIO, Errno::ENOENT]), Errno::ENOENT);
        assert_eq!(Errno::new(512).unwrap().filter(&[Errno::EIO]), Errno::EPERM);
    }
}
