//! One vCPU's end of its rings: requests go out, answers come back, by a worker of the host's or by an exit.
//!
//! While a worker polls the ring ([`Control::polled`], a hint) a request is answered without an exit: this side waits for
//! a moment. Where no answer comes in that time the worker has no processor, or is busy: the vCPU leaves and serves all
//! that is in its ring itself, and for a while does not rely on workers. So with a free core nobody exits, and with none
//! nobody waits in vain.

use core::hint;
use core::sync::atomic::{Ordering, fence};

use casemate_enclave_abi::layout::{RING_ENTRIES, VcpuArea};
use casemate_enclave_abi::{
    Consumer, Control, Errno, Op, Pending, Producer, Request, Response, Window, check,
};

use crate::arch::cpu;
use crate::stats::{STATS, add};

/// Requests that can be outstanding.
const ENTRIES: usize = 128;
const _: () = assert!(ENTRIES as u64 == RING_ENTRIES);

/// Cycles to wait for a worker: some times what a call takes, and about what leaving costs.
const PATIENCE: u64 = 16_000;

/// Calls that are made by an exit after a worker had not answered in time.
const SKIPPED: u32 = 32;

/// One vCPU's end of its rings.
pub(super) struct Link {
    control: Control<'static>,
    submission: Producer<'static, 8>,
    completion: Consumer<'static, 4>,
    pending: Pending<ENTRIES>,
    /// Calls to make by an exit before a worker is tried again.
    skip: u32,
}

impl Link {
    /// `None` where the window has no room for it.
    pub(super) fn new(window: Window<'static>, area: &VcpuArea) -> Option<Self> {
        Some(Self {
            control: Control::new(window.region(area.control)?)?,
            submission: Producer::new(window.region(area.submission)?, RING_ENTRIES)?,
            completion: Consumer::new(window.region(area.completion)?, RING_ENTRIES)?,
            pending: Pending::new(),
            skip: 0,
        })
    }

    /// Whether a worker is likely to answer soon.
    fn is_polled(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.control.polled.load(Ordering::Relaxed) != 0
    }

    /// Puts a request in the ring; its id.
    fn push(&mut self, op: Op, args: [u64; 6]) -> Result<u64, Errno> {
        let id = self.pending.begin().ok_or(Errno::EAGAIN)?.get();
        let request = Request { id, op: op.into(), args };
        if let Err(error) = self.submission.push(request.to_words()) {
            panic!("host call {}: {error}", op.info().name);
        }
        Ok(id)
    }

    /// The answer to request `id`, if it has come. Answers that nobody waits for are let go.
    fn pop(&mut self, id: u64, op: Op) -> Option<u64> {
        loop {
            let response = match self.completion.pop() {
                Ok(Some(words)) => Response::from_words(words),
                Ok(None) => return None,
                Err(error) => panic!("host call {}: {error}", op.info().name),
            };
            if let Err(error) = self.pending.complete(response.id) {
                panic!("host call {}: {error}", op.info().name);
            }
            if response.id == id {
                return Some(response.result);
            }
        }
    }

    /// Waits a moment for a worker's answer.
    fn wait_for_worker(&mut self, id: u64, op: Op) -> Option<u64> {
        let begin = cpu::time_stamp();
        loop {
            if let Some(result) = self.pop(id, op) {
                add(&STATS.by_slot, 1);
                return Some(result);
            }
            if cpu::time_stamp().wrapping_sub(begin) > PATIENCE {
                self.skip = SKIPPED;
                return None;
            }
            hint::spin_loop();
        }
    }

    /// Makes a call; `leave` leaves the enclave so that all requests in the ring are served.
    pub(super) fn call(&mut self, op: Op, args: [u64; 6], leave: impl Fn()) -> Result<u64, Errno> {
        let polled = !op.may_wait(&args) && self.is_polled();
        let id = self.push(op, args)?;
        let answer = if polled { self.wait_for_worker(id, op) } else { None };
        let result = answer.unwrap_or_else(|| {
            add(&STATS.by_exit, 1);
            loop {
                leave();
                if let Some(result) = self.pop(id, op) {
                    break result;
                }
            }
        });
        check(op, &args, result).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Has a worker do something whose result is of no interest. `false` where none is there for it.
    pub(super) fn post(&mut self, op: Op, args: [u64; 6]) -> bool {
        if !self.is_polled() || self.pending.outstanding() >= ENTRIES / 2 {
            return false;
        }
        if self.push(op, args).is_err() {
            return false;
        }
        // A worker that goes to sleep says so before it looks at the rings for the last time.
        fence(Ordering::SeqCst);
        if self.control.polled.load(Ordering::Relaxed) == 0 {
            return false;
        }
        add(&STATS.by_slot, 1);
        true
    }
}
