//! The control page of a vCPU: single words by which it and its host thread nudge each other.
//!
//! Nothing here is trusted. The enclave decides by its own run queues what to do next; a lying word costs time, which
//! the host can take anyway, and never more.

use crate::atomic::AtomicU64;
use crate::window::{Offset, Window};

/// Bytes between two words: each is alone in its cache line.
const LINE: u64 = 64;

/// Bits of [`Control::preempt`]: others wait for this vCPU; it shall look at what has come, once. Either is set by the enclave,
/// the second by the host too, and both are taken back by the enclave.
pub const SLICES: u64 = 1;
/// See [`SLICES`].
pub const KICK: u64 = 2;

/// The words of a control page. They start as zero.
#[derive(Clone, Copy, Debug)]
pub struct Control<'a> {
    /// A counter that is only added to, by the host and by other vCPUs, to wake this vCPU when it is parked.
    /// A futex on its low half: on a little-endian machine that is the `u32` at the word's own address.
    pub wake: &'a AtomicU64,
    /// 1 while the vCPU's host thread sleeps in [`crate::exit::Exit::Park`]. The host writes it, SeqCst before its last
    /// look at `wake`; who adds to `wake` looks here afterwards, to know whether an [`crate::op::Op::Wake`] is needed.
    pub parked: &'a AtomicU64,
    /// 1 while more than one guest thread wants this vCPU. The enclave writes it; the host's timer interrupts only
    /// vCPUs that have it set.
    pub preempt: &'a AtomicU64,
    /// 1 while a worker of the host polls this vCPU's submission ring. The host writes it; while it is 0 the enclave
    /// has to leave ([`crate::exit::Exit::Serve`]) to have requests served.
    pub polled: &'a AtomicU64,
    /// 1 while the vCPU executes inside the enclave. The host writes it around its entries.
    pub inside: &'a AtomicU64,
    /// Signals that the host asks to be delivered to the program, a bit each (signal - 1). The host sets bits, the enclave
    /// takes them. Only that of vCPU 0 is used.
    pub news: &'a AtomicU64,
}

impl<'a> Control<'a> {
    /// The words of the control page `page`; `None` if it is too short to hold them.
    #[must_use]
    pub fn new(page: Window<'a>) -> Option<Self> {
        let word = |index: u64| page.word(Offset(index * LINE));
        Some(Self {
            wake: word(0)?,
            parked: word(1)?,
            preempt: word(2)?,
            polled: word(3)?,
            inside: word(4)?,
            news: word(12)?,
        })
    }
}
