//! Where the host threads of idle vCPUs sleep.

use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use casemate_enclave_abi::control::KICK;
use casemate_enclave_abi::errno::Errno;
use casemate_enclave_abi::exit::NO_DEADLINE;
use casemate_enclave_abi::{Control, Layout, Window};

use crate::clock::monotonic_ns;

#[derive(Debug)]
struct Bed {
    control: Control<'static>,
    lock: Mutex<()>,
    woken: Condvar,
}

/// One bed for each vCPU.
#[derive(Debug)]
pub(crate) struct Parking {
    beds: Vec<Bed>,
}

impl Parking {
    /// For the vCPUs of this window; `None` where it has no control pages.
    pub(crate) fn new(window: Window<'static>, layout: &Layout) -> Option<Self> {
        let bed = |index| {
            let control = Control::new(window.region(layout.vcpu(index)?.control)?)?;
            Some(Bed { control, lock: Mutex::default(), woken: Condvar::new() })
        };
        Some(Self { beds: (0..layout.vcpus()).map(bed).collect::<Option<_>>()? })
    }

    /// Sleeps until the vCPU's wake word is not `seen` any more, or until the deadline (CLOCK_MONOTONIC, ns).
    pub(crate) fn park(&self, vcpu: u64, seen: u64, deadline_ns: u64) {
        let Some(bed) = self.bed(vcpu) else { return };
        let mut asleep = bed.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // SeqCst: before the look at the wake word. Who changes that word looks here afterwards.
        bed.control.parked.store(1, Ordering::SeqCst);
        // The waker changes the word first and then takes the lock: either it is seen here, or this sleeps by then.
        while bed.control.wake.load(Ordering::SeqCst) == seen {
            if deadline_ns == NO_DEADLINE {
                asleep = bed.woken.wait(asleep).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let rest = deadline_ns.saturating_sub(monotonic_ns());
            if rest == 0 {
                break;
            }
            let rest = Duration::from_nanos(rest);
            asleep = bed.woken.wait_timeout(asleep, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        bed.control.parked.store(0, Ordering::SeqCst);
    }

    /// Wakes a vCPU whose wake word was changed before.
    ///
    /// # Errors
    /// `EINVAL`: there is no such vCPU.
    pub(crate) fn wake(&self, vcpu: u64) -> Result<(), Errno> {
        let bed = self.bed(vcpu).ok_or(Errno::EINVAL)?;
        drop(bed.lock.lock().unwrap_or_else(PoisonError::into_inner));
        bed.woken.notify_all();
        Ok(())
    }

    /// The control page of a vCPU.
    pub(crate) fn control(&self, vcpu: u64) -> Option<Control<'static>> {
        self.bed(vcpu).map(|bed| bed.control)
    }

    /// Has every vCPU that computes interrupted at the next tick.
    pub(crate) fn kick(&self) {
        for bed in &self.beds {
            bed.control.preempt.fetch_or(KICK, Ordering::SeqCst);
        }
    }

    /// Wakes some vCPU that sleeps here, if there is one.
    pub(crate) fn wake_one(&self) -> bool {
        let sleeping = |bed: &&Bed| bed.control.parked.load(Ordering::SeqCst) != 0;
        let Some(bed) = self.beds.iter().find(sleeping) else { return false };
        bed.control.wake.fetch_add(1, Ordering::SeqCst);
        drop(bed.lock.lock().unwrap_or_else(PoisonError::into_inner));
        bed.woken.notify_all();
        true
    }

    fn bed(&self, vcpu: u64) -> Option<&Bed> {
        self.beds.get(usize::try_from(vcpu).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::SharedWindow;
    use std::sync::Arc;
    use std::thread;
    use std::time::Instant;

    fn parking() -> Parking {
        let layout = Layout::new(2, 4096, 4096).unwrap();
        Parking::new(SharedWindow::new(layout).unwrap().window(), &layout).unwrap()
    }

    #[test]
    fn no_sleep_where_the_word_has_changed_or_time_is_over() {
        let parking = parking();
        parking.park(0, 1, NO_DEADLINE);
        parking.park(0, 0, 0);
        let start = Instant::now();
        parking.park(1, 0, monotonic_ns() + 20_000_000);
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(parking.wake(2), Err(Errno::EINVAL));
        assert_eq!(parking.wake(u64::MAX), Err(Errno::EINVAL));
    }

    #[test]
    fn no_wake_is_lost() {
        let parking = Arc::new(parking());
        let sleeper = Arc::clone(&parking);
        let rounds = 2000;
        let thread = thread::spawn(move || {
            for round in 0..rounds {
                sleeper.park(0, round, NO_DEADLINE);
            }
        });
        let control = parking.beds[0].control;
        for round in 0..rounds {
            control.wake.store(round + 1, Ordering::SeqCst);
            parking.wake(0).unwrap();
            // The sleeper may miss values, never a wake: it ends when it has seen that each of its own is over.
        }
        control.wake.store(u64::MAX, Ordering::SeqCst);
        parking.wake(0).unwrap();
        thread.join().unwrap();
    }
}
