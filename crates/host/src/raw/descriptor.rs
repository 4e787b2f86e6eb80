//! Descriptors that this process was started with.

use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// Takes a descriptor that whoever started this process has left for it; `None` where there is none. To be called once for
/// each, before anything else is opened.
pub(crate) fn inherited(number: RawFd) -> Option<OwnedFd> {
    if number <= 2 {
        return None;
    }
    // SAFETY: the number is not negative, and the one that was passed at start is nobody else's in this process.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    match fcntl_setfd(&descriptor, FdFlags::CLOEXEC) {
        Ok(()) => Some(descriptor),
        Err(_) => {
            // Not open, so not to be closed.
            std::mem::forget(descriptor);
            None
        }
    }
}
