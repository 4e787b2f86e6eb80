//! What is to happen at a time: a kernel thread sleeps until the next of it, and does it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use spin::{Mutex, Once};

use crate::clock;
use crate::sched::{self, Thread};

type Action = Box<dyn FnOnce() + Send>;

/// By time (monotonic, ns) and a number of its own.
type Key = (u64, u64);

struct State {
    queue: BTreeMap<Key, Action>,
    next: u64,
}

static STATE: Mutex<State> = Mutex::new(State { queue: BTreeMap::new(), next: 0 });

/// The thread that waits; made when it is first needed.
static THREAD: Once<Arc<Thread>> = Once::new();

/// Something that will happen, unless this is dropped before.
#[derive(Debug)]
pub(crate) struct Alarm(Key);

impl Drop for Alarm {
    fn drop(&mut self) {
        let action = STATE.lock().queue.remove(&self.0);
        // Without the lock: what an action holds may have alarms of its own.
        drop(action);
    }
}

/// Has `action` run when the monotonic clock shows `time`. It must not block.
pub(crate) fn at(time: u64, action: impl FnOnce() + Send + 'static) -> Alarm {
    let (key, first) = {
        let mut state = STATE.lock();
        state.next += 1;
        let key = (time, state.next);
        state.queue.insert(key, Box::new(action));
        (key, state.queue.first_key_value().is_some_and(|(first, _)| *first == key))
    };
    if first {
        thread().unpark();
    }
    Alarm(key)
}

fn thread() -> &'static Arc<Thread> {
    THREAD.call_once(|| {
        let thread = Thread::of_kernel(u32::MAX, run).expect("memory for the thread of timers");
        sched::start(Arc::clone(&thread));
        thread
    })
}

fn run() -> ! {
    loop {
        let next = {
            let mut state = STATE.lock();
            match state.queue.first_entry() {
                Some(entry) if entry.key().0 <= clock::monotonic_ns() => Err(entry.remove()),
                Some(entry) => Ok(Some(entry.key().0)),
                None => Ok(None),
            }
        };
        match next {
            Err(action) => action(),
            Ok(deadline) => {
                sched::park(deadline);
            }
        }
    }
}
