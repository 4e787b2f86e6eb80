//! What is to happen at a time: a thread of this process for each of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock;

pub(crate) struct Alarm(Arc<AtomicBool>);

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn at(time: u64, action: impl FnOnce() + Send + 'static) -> Alarm {
    let gone = Arc::new(AtomicBool::new(false));
    let alarm = Alarm(Arc::clone(&gone));
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_nanos(time.saturating_sub(clock::monotonic_ns())));
        if !gone.load(Ordering::Relaxed) {
            action();
        }
    });
    alarm
}
