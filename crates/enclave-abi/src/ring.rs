//! Rings of fixed-size entries: one producer, one consumer, on the two sides of the wall.
//!
//! In the window: the tail (entries ever pushed, written by the producer) at byte 0, the head (entries ever popped,
//! written by the consumer) at byte 128, the entries from byte 256 on. Both counters run freely through the `u64`.
//! Two cache lines apart, because processors fetch lines in pairs. A new
//! ring is all zero: the host clears the window before either side takes its end.
//!
//! Each side keeps its own counter in private memory and never reads the shared copy of it. The peer's counter is
//! compared with what it was at the last look: it may only have moved forward, and not past what this side allows.
//! Anything else is [`RingError::Corrupt`], from then on for ever.

use core::fmt;

use crate::atomic::{AtomicU64, Ordering};
use crate::window::{Offset, WORD, Window};

const TAIL: Offset = Offset(0);
const HEAD: Offset = Offset(128);
const ENTRIES: Offset = Offset(256);

/// The most entries that a ring may have.
pub const MAX_CAPACITY: u64 = 1 << 32;

/// The size in bytes of a ring of `capacity` entries of `words` words. For constants: an overflow stops the build.
#[must_use]
pub const fn bytes(words: u64, capacity: u64) -> u64 {
    ENTRIES.0 + words * WORD * capacity
}

/// Why nothing was pushed or popped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// The consumer has not made room yet.
    Full,
    /// The peer's counter has a value that it cannot have. The ring is of no use any more.
    Corrupt,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the ring is full",
            Self::Corrupt => "the peer wrote a ring counter that cannot be",
        })
    }
}

impl core::error::Error for RingError {}

/// What both ends have: the shared words, and the private counters.
#[derive(Debug)]
struct End<'a, const WORDS: usize> {
    /// The shared copy of the own counter; only written.
    own: &'a AtomicU64,
    /// The peer's counter; only read.
    peer: &'a AtomicU64,
    entries: Window<'a>,
    capacity: u64,
    /// Entries that this side has pushed or popped.
    count: u64,
    /// The peer's counter as last seen and found possible.
    seen: u64,
    corrupt: bool,
}

impl<'a, const WORDS: usize> End<'a, WORDS> {
    fn new(ring: Window<'a>, capacity: u64, own: Offset, peer: Offset) -> Option<Self> {
        if WORDS == 0 || !capacity.is_power_of_two() || capacity > MAX_CAPACITY {
            return None;
        }
        let len = u64::try_from(WORDS).ok()?.checked_mul(WORD)?.checked_mul(capacity)?;
        let entries = ring.slice(ENTRIES, len)?;
        let end = Self {
            own: ring.word(own)?,
            peer: ring.word(peer)?,
            entries,
            capacity,
            count: 0,
            seen: 0,
            corrupt: false,
        };
        end.own.store(0, Ordering::Release);
        Some(end)
    }

    /// Looks at the peer's counter, which may be at most `room` ahead of where it was seen last.
    fn look(&mut self, room: u64) -> Result<(), RingError> {
        if self.corrupt {
            return Err(RingError::Corrupt);
        }
        // Acquire pairs with the peer's Release in `advance`: the producer's entries are visible to the consumer, and
        // the consumer is done with the entries that the producer may now overwrite.
        let now = self.peer.load(Ordering::Acquire);
        if now.wrapping_sub(self.seen) > room {
            self.corrupt = true;
            return Err(RingError::Corrupt);
        }
        self.seen = now;
        Ok(())
    }

    /// Tells the peer that one more entry was pushed or popped.
    fn advance(&mut self) {
        self.count = self.count.wrapping_add(1);
        // Release pairs with the peer's Acquire in `look`.
        self.own.store(self.count, Ordering::Release);
    }

    /// Where the entry is that comes next. The private counter alone decides, so it is always inside.
    fn place(&self) -> Result<Offset, RingError> {
        let slot = self.count & self.capacity.wrapping_sub(1);
        let words = u64::try_from(WORDS).map_err(|_| RingError::Corrupt)?;
        slot.checked_mul(words).and_then(|word| word.checked_mul(WORD)).map(Offset).ok_or(RingError::Corrupt)
    }
}

/// The end that pushes entries of `WORDS` words.
#[derive(Debug)]
pub struct Producer<'a, const WORDS: usize> {
    end: End<'a, WORDS>,
}

impl<'a, const WORDS: usize> Producer<'a, WORDS> {
    /// Takes this end of a new ring of `capacity` entries and sets its shared counter to 0.
    ///
    /// `None`: the capacity is no power of two up to [`MAX_CAPACITY`], or the window is too short.
    #[must_use]
    pub fn new(ring: Window<'a>, capacity: u64) -> Option<Self> {
        Some(Self { end: End::new(ring, capacity, TAIL, HEAD)? })
    }

    /// Puts an entry at the end.
    ///
    /// # Errors
    /// [`RingError::Full`], and [`RingError::Corrupt`] for ever once the consumer's counter was impossible.
    pub fn push(&mut self, entry: [u64; WORDS]) -> Result<(), RingError> {
        if self.free_seen() == 0 {
            self.look()?;
        }
        if self.end.corrupt {
            return Err(RingError::Corrupt);
        }
        if self.free_seen() == 0 {
            return Err(RingError::Full);
        }
        let place = self.end.place()?;
        self.end.entries.store_words(place, &entry).map_err(|_| RingError::Corrupt)?;
        self.end.advance();
        Ok(())
    }

    /// How many entries have room now.
    ///
    /// # Errors
    /// [`RingError::Corrupt`].
    pub fn free(&mut self) -> Result<u64, RingError> {
        self.look()?;
        Ok(self.free_seen())
    }

    fn look(&mut self) -> Result<(), RingError> {
        // The consumer cannot have popped what was not pushed.
        self.end.look(self.end.count.wrapping_sub(self.end.seen))
    }

    fn free_seen(&self) -> u64 {
        // `look` keeps the difference between 0 and the capacity.
        self.end.capacity.saturating_sub(self.end.count.wrapping_sub(self.end.seen))
    }
}

/// The end that pops entries of `WORDS` words.
#[derive(Debug)]
pub struct Consumer<'a, const WORDS: usize> {
    end: End<'a, WORDS>,
}

impl<'a, const WORDS: usize> Consumer<'a, WORDS> {
    /// Takes this end of a new ring of `capacity` entries and sets its shared counter to 0.
    ///
    /// `None`: the capacity is no power of two up to [`MAX_CAPACITY`], or the window is too short.
    #[must_use]
    pub fn new(ring: Window<'a>, capacity: u64) -> Option<Self> {
        Some(Self { end: End::new(ring, capacity, HEAD, TAIL)? })
    }

    /// Takes the oldest entry, each word read once; `None` when there is none.
    ///
    /// # Errors
    /// [`RingError::Corrupt`] for ever once the producer's counter was impossible.
    pub fn pop(&mut self) -> Result<Option<[u64; WORDS]>, RingError> {
        if self.ready_seen() == 0 {
            self.look()?;
        }
        if self.end.corrupt {
            return Err(RingError::Corrupt);
        }
        if self.ready_seen() == 0 {
            return Ok(None);
        }
        let place = self.end.place()?;
        let entry = self.end.entries.load_words(place).ok_or(RingError::Corrupt)?;
        self.end.advance();
        Ok(Some(entry))
    }

    /// How many entries wait now.
    ///
    /// # Errors
    /// [`RingError::Corrupt`].
    pub fn ready(&mut self) -> Result<u64, RingError> {
        self.look()?;
        Ok(self.ready_seen())
    }

    fn look(&mut self) -> Result<(), RingError> {
        // The producer cannot have pushed more than fits behind what is still here.
        self.end.look(self.end.capacity.saturating_sub(self.ready_seen()))
    }

    fn ready_seen(&self) -> u64 {
        // `look` keeps the difference between 0 and the capacity.
        self.end.seen.wrapping_sub(self.end.count)
    }
}
