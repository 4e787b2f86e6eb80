//! Signals of the host that interrupt enclaves: who is called for which, and how a handler is installed.

use std::sync::atomic::{AtomicPtr, Ordering};
use std::{mem, ptr};

use super::{InterruptHandler, PlatformError};

/// Handlers of watched signals, by number.
static WATCHED: [AtomicPtr<()>; 65] = [const { AtomicPtr::new(ptr::null_mut()) }; 65];

/// What the kernel calls: number, `siginfo_t`, `ucontext_t`.
pub(super) type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

/// Remembers who is called for a signal.
pub(super) fn set(signal: i32, handler: InterruptHandler) -> Result<(), PlatformError> {
    let slot = usize::try_from(signal).ok().and_then(|index| WATCHED.get(index));
    let slot = slot.ok_or(PlatformError::State("asked to watch a signal that does not exist"))?;
    slot.store(handler as *mut (), Ordering::Release);
    Ok(())
}

/// Who is called for a signal. For handlers: it neither locks nor allocates.
pub(super) fn get(signal: i32) -> Option<InterruptHandler> {
    let handler = WATCHED.get(usize::try_from(signal).ok()?)?.load(Ordering::Acquire);
    if handler.is_null() {
        return None;
    }
    // SAFETY: only `set` stores here, and only such functions.
    Some(unsafe { mem::transmute::<*mut (), InterruptHandler>(handler) })
}

/// Has the kernel call `handler` for a signal, on the thread's signal stack, with all signals blocked. It must keep to what is
/// safe in a handler; it is never removed.
pub(super) fn install(signal: i32, handler: Handler) -> Result<(), PlatformError> {
    // SAFETY: all zeros is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: writes the mask of a local structure.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    // SAFETY: a function that lives as long as the program, and, as said above, keeps to the rules.
    match unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(PlatformError::last("install a signal handler")),
    }
}
