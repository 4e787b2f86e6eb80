//! Who serves the rings: the host thread of a vCPU that leaves, or a worker, without an exit.
//!
//! A worker polls the rings of all vCPUs while calls come one soon after the other and a processor is free for it; it
//! says so in each vCPU's `polled` word. Otherwise it sleeps, and an idle program costs nothing. That a processor is free is
//! guessed before (fewer vCPUs run than there are processors) and measured afterwards: where calls come no faster by a
//! worker than by exits it is in the way, and stays away for a time that doubles.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use casemate_enclave_abi::layout::RING_ENTRIES;
use casemate_enclave_abi::{Consumer, Control, Producer, Request, Response, RingError};

use crate::error::RunError;
use crate::ops::Server;
use crate::stats::Counters;
use crate::window::SharedWindow;

/// Exits for calls that follow each other within this time call for a worker.
const CLOSE: Duration = Duration::from_micros(40);

/// So many of them in a row.
const ENOUGH: u64 = 16;

/// How long a worker polls without finding anything.
const PATIENCE: Duration = Duration::from_micros(60);

/// How long a worker works before it compares.
const TRIAL: Duration = Duration::from_millis(1);

/// The shortest and the longest time for which a worker stays away.
const AWAY: Duration = Duration::from_millis(2);
const LONGEST_AWAY: Duration = Duration::from_secs(1);

/// What answers requests.
pub(crate) trait Serve: std::fmt::Debug + Send {
    /// Answers one.
    fn serve(&mut self, request: Request) -> Response;
}

impl Serve for Server {
    fn serve(&mut self, request: Request) -> Response {
        Self::serve(self, request)
    }
}

/// The host's end of a vCPU's rings.
#[derive(Debug)]
struct Ring<S> {
    submission: Consumer<'static, 8>,
    completion: Producer<'static, 4>,
    server: S,
}

impl<S: Serve> Ring<S> {
    /// Answers all that waits in the ring; how much that was.
    fn serve(&mut self, counters: &Counters) -> Result<u64, RingError> {
        let mut served = 0;
        while let Some(words) = self.submission.pop()? {
            let request = Request::from_words(words);
            counters.call(request.op);
            let response = self.server.serve(request);
            self.completion.push(response.to_words())?;
            served += 1;
        }
        Ok(served)
    }
}

/// When exits for calls came.
#[derive(Debug)]
struct Rhythm {
    last: Instant,
    close: u64,
    /// Mean time from one to the next, of those that came soon.
    interval: Duration,
    /// No worker before this time, and for how long the next time.
    away_until: Instant,
    away: Duration,
}

/// The rings, and the worker that may serve them.
#[derive(Debug)]
pub(crate) struct Workers<S = Server> {
    rings: Vec<(Mutex<Ring<S>>, Control<'static>)>,
    counters: Arc<Counters>,
    /// vCPUs that do not sleep.
    active: AtomicUsize,
    processors: usize,
    /// A worker is there at all.
    enabled: bool,
    rhythm: Mutex<Rhythm>,
    polling: AtomicBool,
    /// Requests that vCPUs have served while a worker polled.
    missed: AtomicU64,
    wanted: Mutex<bool>,
    called: Condvar,
}

impl<S: Serve + 'static> Workers<S> {
    /// For the vCPUs of a window, with a server each; `None` where it has no rings. Without `enabled` each call is an
    /// exit.
    pub(crate) fn new(
        window: SharedWindow,
        server: impl Fn() -> S,
        counters: Arc<Counters>,
        enabled: bool,
    ) -> Option<Self> {
        let (layout, window) = (window.layout(), window.window());
        let ring = |index| {
            let area = layout.vcpu(index)?;
            let ring = Ring {
                submission: Consumer::new(window.region(area.submission)?, RING_ENTRIES)?,
                completion: Producer::new(window.region(area.completion)?, RING_ENTRIES)?,
                server: server(),
            };
            Some((Mutex::new(ring), Control::new(window.region(area.control)?)?))
        };
        let now = Instant::now();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Some(Self {
            rings: (0..layout.vcpus()).map(ring).collect::<Option<_>>()?,
            counters,
            active: AtomicUsize::new(0),
            processors,
            enabled: enabled && processors > 1,
            rhythm: Mutex::new(Rhythm { last: now, close: 0, interval: CLOSE, away_until: now, away: AWAY }),
            polling: AtomicBool::new(false),
            missed: AtomicU64::new(0),
            wanted: Mutex::new(false),
            called: Condvar::new(),
        })
    }

    /// Starts the worker.
    ///
    /// # Errors
    /// The kernel has no thread for it.
    pub(crate) fn start(self: &Arc<Self>) -> Result<(), RunError> {
        if !self.enabled {
            return Ok(());
        }
        let workers = Arc::clone(self);
        let work = move || {
            loop {
                workers.sleep();
                workers.poll();
            }
        };
        let thread = std::thread::Builder::new().name("worker".into()).spawn(work);
        thread.map(drop).map_err(|source| RunError::system("a thread for a worker", source))
    }

    /// A vCPU begins to run.
    pub(crate) fn enter(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    /// A vCPU goes to sleep.
    pub(crate) fn leave(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// Answers all that waits in a vCPU's ring, for which it has left.
    ///
    /// # Errors
    /// The enclave has broken the ring's rules.
    pub(crate) fn serve(&self, vcpu: u64) -> Result<(), RingError> {
        let ring = usize::try_from(vcpu).ok().and_then(|vcpu| self.rings.get(vcpu));
        let Some((ring, _)) = ring else { return Err(RingError::Corrupt) };
        let served = ring.lock().unwrap_or_else(PoisonError::into_inner).serve(&self.counters)?;
        if self.enabled {
            if self.polling.load(Ordering::Relaxed) {
                self.missed.fetch_add(served, Ordering::Relaxed);
            } else {
                self.note_exit();
            }
        }
        Ok(())
    }

    /// Calls the worker where exits come one soon after the other.
    fn note_exit(&self) {
        let Ok(mut rhythm) = self.rhythm.try_lock() else { return };
        let now = Instant::now();
        let interval = now.duration_since(rhythm.last);
        rhythm.last = now;
        if interval < CLOSE {
            rhythm.close = rhythm.close.saturating_add(1);
            rhythm.interval = (rhythm.interval * 7 + interval) / 8;
        } else {
            rhythm.close = 0;
        }
        if rhythm.close < ENOUGH || now < rhythm.away_until || !self.has_room() {
            return;
        }
        rhythm.close = 0;
        drop(rhythm);
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.called.notify_one();
    }

    /// Whether a processor is left for a worker.
    fn has_room(&self) -> bool {
        self.active.load(Ordering::Relaxed) < self.processors
    }

    fn sleep(&self) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        while !*wanted {
            wanted = self.called.wait(wanted).unwrap_or_else(PoisonError::into_inner);
        }
        *wanted = false;
    }

    fn announce(&self, polling: bool) {
        self.polling.store(polling, Ordering::SeqCst);
        for (_, control) in &self.rings {
            control.polled.store(polling.into(), Ordering::SeqCst);
        }
    }

    /// Serves all rings once; how many requests that were. A ring that its vCPU serves is left to it.
    fn round(&self) -> Result<u64, RingError> {
        let mut served = 0;
        for (ring, _) in &self.rings {
            match ring.try_lock() {
                Ok(mut ring) => served += ring.serve(&self.counters)?,
                Err(TryLockError::Poisoned(ring)) => served += ring.into_inner().serve(&self.counters)?,
                Err(TryLockError::WouldBlock) => {}
            }
        }
        Ok(served)
    }

    /// Polls until there is nothing to do, or while that is of no use.
    fn poll(&self) {
        let by_exit = self.rhythm.lock().unwrap_or_else(PoisonError::into_inner).interval;
        self.missed.store(0, Ordering::Relaxed);
        self.announce(true);
        let mut found = Instant::now();
        let (mut begin, mut served) = (found, 0_u32);
        let useful = loop {
            // What is wrong with a ring is found again, and said, by its vCPU.
            let Ok(now_served) = self.round() else { break false };
            let now = Instant::now();
            if now_served > 0 {
                served = served.saturating_add(u32::try_from(now_served).unwrap_or(u32::MAX));
                found = now;
            }
            let faster = || now.duration_since(begin) < by_exit * served;
            if now.duration_since(begin) > TRIAL {
                if !faster() {
                    break false;
                }
                (begin, served) = (now, 0);
            } else if now.duration_since(found) > PATIENCE {
                // Too few to tell, unless vCPUs have lost their patience first.
                break self.missed.load(Ordering::Relaxed) == 0;
            }
            if !self.has_room() {
                break false;
            }
            std::hint::spin_loop();
        };
        self.announce(false);
        // Who has seen the worker poll a moment ago relies on it.
        fence(Ordering::SeqCst);
        // An error is the vCPU's to find.
        let _ = self.round();
        let mut rhythm = self.rhythm.lock().unwrap_or_else(PoisonError::into_inner);
        rhythm.close = 0;
        if useful {
            rhythm.away = AWAY;
        } else {
            rhythm.away_until = Instant::now() + rhythm.away;
            rhythm.away = (rhythm.away * 2).min(LONGEST_AWAY);
        }
    }
}

#[cfg(test)]
mod tests;
