//! Signals that this process gets, on their way to the program inside.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::write;

use crate::error::RunError;
use crate::raw::signal;
use crate::vcpu::Shared;

/// Starts the thread that takes signals and tells the enclave: by a bit in the window, and by waking or interrupting a vCPU to
/// look at it.
///
/// # Errors
/// The kernel has no thread for it.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<(), RunError> {
    let shared = Arc::clone(shared);
    let forward = move || {
        loop {
            tell(&shared, signal::next());
        }
    };
    let thread = std::thread::Builder::new().name("signals".into()).spawn(forward);
    thread.map(drop).map_err(|source| RunError::system("a thread for signals", source))
}

fn tell(shared: &Shared, number: i32) {
    let Some(bit) = u32::try_from(number).ok().and_then(|number| 1_u64.checked_shl(number.checked_sub(1)?))
    else {
        return;
    };
    let service = &shared.service;
    let Some(control) = service.parking.control(0) else { return };
    control.news.fetch_or(bit, Ordering::SeqCst);
    // Those who sleep, those who wait in a call, those who compute.
    control.wake.fetch_add(1, Ordering::SeqCst);
    service.net.wake(0);
    let _ = service.parking.wake(0);
    let _ = write(&service.family.alarm, &1_u64.to_ne_bytes());
    shared.preemption.interrupt();
}
