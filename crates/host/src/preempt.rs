//! Time slices: a timer thread that interrupts vCPUs which more than one guest thread wants.

use std::os::unix::thread::RawPthread;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use casemate_enclave_abi::{Control, Event};
use casemate_sgx::platform::{Disposition, Platform, PlatformError};

use crate::error::RunError;
use crate::net::Tick;
use crate::raw::signal;
use crate::vcpu::Shared;

/// Length of a time slice.
const SLICE: Duration = Duration::from_millis(10);

/// The threads of vCPUs that have started.
#[derive(Debug, Default)]
pub(crate) struct Preemption {
    vcpus: Mutex<Vec<(RawPthread, Control<'static>)>>,
}

impl Preemption {
    /// Makes the calling thread, which is a vCPU's, known.
    pub(crate) fn register(&self, control: Control<'static>) {
        let thread = signal::this_thread();
        self.vcpus.lock().unwrap_or_else(PoisonError::into_inner).push((thread, control));
    }

    /// Interrupts every vCPU that executes inside.
    pub(crate) fn interrupt(&self) {
        for (thread, control) in self.vcpus.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if control.inside.load(Ordering::SeqCst) != 0 {
                signal::interrupt(*thread, signal::preemption_signal());
            }
        }
    }

    /// Interrupts a vCPU that executes inside.
    fn interrupt_one(&self) {
        let vcpus = self.vcpus.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = vcpus.iter().find(|(_, control)| control.inside.load(Ordering::Relaxed) != 0);
        if let Some((thread, _)) = inside {
            signal::interrupt(*thread, signal::preemption_signal());
        }
    }

    /// Interrupts every vCPU that executes inside and has set its `preempt` word.
    fn tick(&self) {
        for (thread, control) in self.vcpus.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if control.preempt.load(Ordering::Relaxed) != 0 && control.inside.load(Ordering::Relaxed) != 0 {
                signal::interrupt(*thread, signal::preemption_signal());
            }
        }
    }
}

/// What the handler of the timer's signal says: an interrupted enclave is told, anything else just goes on.
pub(crate) fn on_signal(in_enclave: bool) -> Disposition {
    if in_enclave { Disposition::Enter(Event::Preempt.into()) } else { Disposition::Resume }
}

/// Has the timer's signal interrupt enclaves of this platform.
///
/// # Errors
/// The platform's.
pub(crate) fn watch(platform: &dyn Platform) -> Result<(), PlatformError> {
    platform.watch_signal(signal::preemption_signal(), on_signal)
}

/// Starts the timer. It keeps the clock page fresh, too, for programs that never leave the enclave.
///
/// # Errors
/// The kernel has no thread for it.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<(), RunError> {
    let shared = Arc::clone(shared);
    let timer = move || {
        let mut scratch = Vec::new();
        loop {
            std::thread::sleep(SLICE);
            let service = &shared.service;
            match service.net.tick(&mut scratch) {
                Tick::Quiet => {}
                // An idle vCPU takes the news in, and then waits for more. Where none is idle, one is interrupted.
                Tick::News if !service.parking.wake_one() => shared.preemption.interrupt_one(),
                Tick::News => {}
                Tick::Alone => drop(service.parking.wake_one()),
            }
            shared.preemption.tick();
            shared.clock.refresh();
        }
    };
    let thread = std::thread::Builder::new().name("timer".into()).spawn(timer);
    thread.map(drop).map_err(|source| RunError::system("a thread for the timer", source))
}
