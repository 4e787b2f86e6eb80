//! Guest threads are threads.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use spin::Mutex;

use crate::process::process;

#[derive(Default)]
pub(crate) struct Signals {
    pub(crate) mask: u64,
    pub(crate) saved_mask: Option<u64>,
    pub(crate) pending: u64,
}

pub(crate) struct Thread {
    id: u32,
    thread: std::thread::Thread,
    pub(crate) signals: Mutex<Signals>,
    pub(crate) name: Mutex<[u8; 16]>,
}

impl Thread {
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn unpark(self: &Arc<Self>) {
        self.thread.unpark();
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Thread>>> = const { RefCell::new(None) };
}

/// The guest thread of this thread. Made, and told to the process, when it is first asked for.
pub(crate) fn current() -> Arc<Thread> {
    static NEXT: AtomicU32 = AtomicU32::new(1000);
    CURRENT.with_borrow_mut(|current| {
        let make = || {
            let thread = Arc::new(Thread {
                id: NEXT.fetch_add(1, Ordering::Relaxed),
                thread: std::thread::current(),
                signals: Mutex::default(),
                name: Mutex::new(*b"tester\0\0\0\0\0\0\0\0\0\0"),
            });
            process().threads.lock().insert(thread.id, Arc::clone(&thread));
            thread
        };
        Arc::clone(current.get_or_insert_with(make))
    })
}

pub(crate) fn park(deadline: Option<u64>) -> bool {
    match deadline {
        None => std::thread::park(),
        Some(deadline) => {
            let left = deadline.saturating_sub(crate::clock::monotonic_ns());
            std::thread::park_timeout(Duration::from_nanos(left));
        }
    }
    deadline.is_none_or(|deadline| crate::clock::monotonic_ns() < deadline)
}
