//! The stack on which a host thread enters enclaves.

use std::cell::OnceCell;
use std::ptr;

use crate::platform::PlatformError;

/// Bytes. The vDSO's function needs little; a signal handler without a stack of its own runs here too.
const SIZE: usize = 128 * 1024;

/// One thread's, given back at its end. An enclave leaves with the stack pointer that it was entered with, which can be
/// an earlier entry's; as every entry of a thread begins at this stack's top, that is always the right one.
#[derive(Debug)]
struct Stack(*mut libc::c_void);

thread_local! {
    static STACK: OnceCell<Stack> = const { OnceCell::new() };
}

/// The top of the calling thread's, made on the first call.
pub(super) fn top() -> Result<u64, PlatformError> {
    STACK.with(|cell| {
        let stack = match cell.get() {
            Some(stack) => stack,
            None => {
                let stack = Stack::new()?;
                cell.get_or_init(|| stack)
            }
        };
        Ok(stack.0.expose_provenance() as u64 + SIZE as u64)
    })
}

impl Stack {
    fn new() -> Result<Self, PlatformError> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new mapping, anywhere.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), SIZE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(PlatformError::last("map a stack to enter enclaves on"));
        }
        let stack = Self(start);
        // SAFETY: the lowest page of the new mapping, as a guard.
        if unsafe { libc::mprotect(start, 4096, libc::PROT_NONE) } != 0 {
            return Err(PlatformError::last("guard a stack to enter enclaves on"));
        }
        Ok(stack)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`; the thread, which ends, is in no enclave.
        unsafe { libc::munmap(self.0, SIZE) };
    }
}
