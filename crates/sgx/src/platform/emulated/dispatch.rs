//! Raw `syscall` instructions inside an ELRANGE become #UD, by Linux's Syscall User Dispatch (5.11).

use super::enclave::EmulatedEnclave;
use super::thread::Thread;
use crate::platform::{Enclave as _, PlatformError};

/// `include/uapi/linux/prctl.h`.
const PR_SET_SYSCALL_USER_DISPATCH: i32 = 59;
const PR_SYS_DISPATCH_ON: u64 = 1;

/// Has the kernel refuse system calls of this thread that are made below the end of the enclave's ELRANGE, with SIGSYS.
/// Above it, everything stays as it is: this program, its libraries and the signal trampoline lie there.
pub(super) fn trap_calls_below(thread: &mut Thread, enclave: &EmulatedEnclave) -> Result<(), PlatformError> {
    let end = enclave.base() + enclave.size();
    if thread.dispatch_end == end {
        return Ok(());
    }
    let length = (1 << 63) - end;
    // SAFETY: changes how the kernel treats system calls from addresses in which only enclave code lies.
    let result = unsafe { libc::prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, end, length, 0_u64) };
    if result != 0 {
        return Err(PlatformError::last("turn on Syscall User Dispatch (Linux 5.11 or later)"));
    }
    thread.dispatch_end = end;
    Ok(())
}
