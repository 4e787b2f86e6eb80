//! Streams: one direction of a socket as a ring of bytes, one writer, one reader, on the two sides of the wall.
//!
//! In the window: the writer's words (tail: bytes ever written; status) at byte 0, the reader's words (head: bytes ever
//! read; status) at byte 128, the bytes from byte 256 on. Both counters run freely through the `u64`.
//! A new stream is all zero: its words are cleared before either side takes its end.
//!
//! Memory is written in whole words only. A writer whose tail is inside a word keeps the bytes of that word in private
//! memory and stores the word again when more come. So he must not enter a word of which the reader still needs bytes
//! of the round before: the room that he sees ends at the start of the word that the head is in.
//!
//! Each side keeps its own counter in private memory. The peer's counter may only move forward, and not past what this
//! side allows; a status may only be one that there is. Anything else is [`StreamError::Corrupt`], from then on for ever.

use core::fmt;

use crate::atomic::{AtomicU64, Ordering};
use crate::errno::Errno;
use crate::window::{Offset, WORD, Window};

const WRITER: Offset = Offset(0);
const READER: Offset = Offset(128);
const BYTES: Offset = Offset(256);

/// From a counter to the status beside it.
const STATUS: u64 = WORD;

/// The most bytes that a stream may hold.
pub const MAX_CAPACITY: u64 = 1 << 32;

const OPEN: u64 = 0;
const ENDED: u64 = 1;
/// Plus an error number.
const FAILED: u64 = 1 << 16;

/// The errors that a connection can end with; any other becomes `EPERM`.
const ERRNOS: &[Errno] = &[
    Errno::EIO,
    Errno::EPIPE,
    Errno::ENOMEM,
    Errno::ENETDOWN,
    Errno::ENETUNREACH,
    Errno::ECONNABORTED,
    Errno::ECONNRESET,
    Errno::ETIMEDOUT,
    Errno::ECONNREFUSED,
    Errno::EHOSTUNREACH,
];

/// The size in bytes of a stream that holds `capacity` bytes; `None` if that is no `u64`.
#[must_use]
pub const fn bytes(capacity: u64) -> Option<u64> {
    BYTES.0.checked_add(capacity)
}

/// Why no byte went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// Nothing to read, or no room to write, at the moment.
    WouldBlock,
    /// The reader wants no more, or this side has ended the stream itself.
    Closed,
    /// The peer ended the stream with an error.
    Failed(Errno),
    /// The peer wrote a counter or a status that cannot be. The stream is of no use any more.
    Corrupt,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WouldBlock => f.write_str("the stream is not ready"),
            Self::Closed => f.write_str("the stream is closed"),
            Self::Failed(errno) => write!(f, "the stream failed: {errno}"),
            Self::Corrupt => f.write_str("the peer wrote a stream counter or status that cannot be"),
        }
    }
}

impl core::error::Error for StreamError {}

/// How the peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Open,
    Ended,
    Failed(Errno),
    Corrupt,
}

/// What both ends have: the shared words, and the private counters.
#[derive(Debug)]
struct End<'a> {
    own_count: &'a AtomicU64,
    own_status: &'a AtomicU64,
    peer_count: &'a AtomicU64,
    peer_status: &'a AtomicU64,
    bytes: Window<'a>,
    capacity: u64,
    /// Bytes that this side has written or read.
    count: u64,
    /// The peer's counter as last seen and found possible.
    seen: u64,
    peer: Peer,
}

impl<'a> End<'a> {
    fn new(stream: Window<'a>, capacity: u64, own: Offset, peer: Offset) -> Option<Self> {
        if !capacity.is_power_of_two() || !(WORD..=MAX_CAPACITY).contains(&capacity) {
            return None;
        }
        let end = Self {
            own_count: stream.word(own)?,
            own_status: stream.word(own.checked_add(STATUS)?)?,
            peer_count: stream.word(peer)?,
            peer_status: stream.word(peer.checked_add(STATUS)?)?,
            bytes: stream.slice(BYTES, capacity)?,
            capacity,
            count: 0,
            seen: 0,
            peer: Peer::Open,
        };
        end.own_count.store(0, Ordering::Release);
        end.own_status.store(OPEN, Ordering::Release);
        Some(end)
    }

    /// Looks at the peer's status, then at its counter, which may be at most `room` ahead of where it was seen last.
    /// In this order, so that with an end all that came before it is seen. What ended stays as it was seen then.
    fn look(&mut self, room: u64) {
        if self.peer != Peer::Open {
            return;
        }
        // Acquire pairs with the peer's Release in `set_status`.
        let status = self.peer_status.load(Ordering::Acquire);
        // Acquire pairs with the peer's Release in `advance`: the writer's bytes are visible to the reader, and the
        // reader is done with the words that the writer may now overwrite.
        let now = self.peer_count.load(Ordering::Acquire);
        self.peer = match status {
            OPEN => Peer::Open,
            ENDED => Peer::Ended,
            _ => status
                .checked_sub(FAILED)
                .and_then(|errno| Errno::new(u16::try_from(errno).ok()?))
                .map_or(Peer::Corrupt, |errno| Peer::Failed(errno.filter(ERRNOS))),
        };
        if now.wrapping_sub(self.seen) > room {
            self.peer = Peer::Corrupt;
        } else {
            self.seen = now;
        }
    }

    /// Tells the peer that `bytes` more were written or read.
    fn advance(&mut self, bytes: u64) {
        self.count = self.count.wrapping_add(bytes);
        // Release pairs with the peer's Acquire in `look`.
        self.own_count.store(self.count, Ordering::Release);
    }

    /// Tells the peer that this side is done.
    fn set_status(&self, failed: Option<Errno>) {
        let status = failed.map_or(ENDED, |errno| FAILED + u64::from(errno.get()));
        // Release pairs with the peer's Acquire in `look`: with the end, he sees all bytes before it.
        self.own_status.store(status, Ordering::Release);
    }

    /// Where in the ring the byte number `count` is.
    fn place(&self, count: u64) -> u64 {
        count & self.capacity.wrapping_sub(1)
    }
}

/// A length as a number of bytes.
fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// A number of bytes, no more than `most`, as a length.
fn at_most(bytes: u64, most: usize) -> usize {
    usize::try_from(bytes).map_or(most, |bytes| bytes.min(most))
}

/// The end that writes.
#[derive(Debug)]
pub struct StreamWriter<'a> {
    end: End<'a>,
    /// The bytes of the word that the tail is in, as far as they are written; the others are 0.
    partial: [u8; 8],
    finished: bool,
}

impl<'a> StreamWriter<'a> {
    /// Takes this end of a new stream and sets its shared words to 0.
    ///
    /// `None`: the capacity is no power of two from 8 to [`MAX_CAPACITY`], or the window is too short.
    #[must_use]
    pub fn new(stream: Window<'a>, capacity: u64) -> Option<Self> {
        let end = End::new(stream, capacity, WRITER, READER)?;
        Some(Self { end, partial: [0; 8], finished: false })
    }

    /// How many bytes can be written now, 0 to the capacity.
    ///
    /// # Errors
    /// The stream takes no more: [`StreamError::Closed`], [`StreamError::Failed`] or [`StreamError::Corrupt`].
    pub fn writable(&mut self) -> Result<u64, StreamError> {
        // The reader cannot have read what was not written.
        self.end.look(self.end.count.wrapping_sub(self.end.seen));
        self.state()?;
        Ok(self.room())
    }

    /// Writes as many of `from` as there is room for: how many, at least 1 unless `from` is empty.
    ///
    /// # Errors
    /// [`StreamError::WouldBlock`], and those of [`StreamWriter::writable`].
    pub fn write(&mut self, from: &[u8]) -> Result<usize, StreamError> {
        let room = self.writable()?;
        if from.is_empty() {
            return Ok(0);
        }
        if room == 0 {
            return Err(StreamError::WouldBlock);
        }
        let len = at_most(room, from.len());
        let from = from.get(..len).unwrap_or(from);
        self.put(from).ok_or(StreamError::Corrupt)?;
        self.end.advance(length(from));
        Ok(len)
    }

    /// Ends the stream: the reader gets what is written, then its end.
    pub fn finish(&mut self) {
        self.close(None);
    }

    /// Ends the stream with an error, which the reader gets after what is written.
    pub fn fail(&mut self, errno: Errno) {
        self.close(Some(errno));
    }

    fn close(&mut self, failed: Option<Errno>) {
        if !self.finished {
            self.finished = true;
            self.end.set_status(failed);
        }
    }

    fn state(&self) -> Result<(), StreamError> {
        match self.end.peer {
            Peer::Corrupt => Err(StreamError::Corrupt),
            Peer::Failed(errno) => Err(StreamError::Failed(errno)),
            Peer::Open if !self.finished => Ok(()),
            Peer::Open | Peer::Ended => Err(StreamError::Closed),
        }
    }

    /// The room up to the start of the word that the head is in.
    fn room(&self) -> u64 {
        let needed = self.end.count.wrapping_sub(self.end.seen & !(WORD - 1));
        self.end.capacity.saturating_sub(needed)
    }

    /// Stores bytes behind the tail, which there is room for. `None` never happens: places come from private counters.
    fn put(&mut self, from: &[u8]) -> Option<()> {
        let bytes = self.end.bytes;
        let inside = usize::try_from(self.end.count % WORD).ok()?;
        let (first, body) = from.split_at(if inside == 0 { 0 } else { from.len().min(8 - inside) });
        let mut at = self.end.count;
        if !first.is_empty() {
            self.partial.get_mut(inside..)?.get_mut(..first.len())?.copy_from_slice(first);
            bytes
                .store_words(Offset(self.end.place(at - at % WORD)), &[u64::from_le_bytes(self.partial)])
                .ok()?;
            at = at.wrapping_add(length(first));
        }
        let (whole, last) = body.split_at(body.len() - body.len() % 8);
        // The words up to the end of the ring, then those from its start.
        let to_end = at_most(self.end.capacity - self.end.place(at), whole.len());
        let (before, after) = whole.split_at(to_end);
        bytes.copy_out(Offset(self.end.place(at)), before).ok()?;
        bytes.copy_out(Offset(0), after).ok()?;
        at = at.wrapping_add(length(whole));
        if !last.is_empty() {
            self.partial = [0; 8];
            self.partial.get_mut(..last.len())?.copy_from_slice(last);
            bytes.store_words(Offset(self.end.place(at)), &[u64::from_le_bytes(self.partial)]).ok()?;
        }
        Some(())
    }
}

/// The end that reads.
#[derive(Debug)]
pub struct StreamReader<'a> {
    end: End<'a>,
    closed: bool,
}

impl<'a> StreamReader<'a> {
    /// Takes this end of a new stream and sets its shared words to 0.
    ///
    /// `None`: the capacity is no power of two from 8 to [`MAX_CAPACITY`], or the window is too short.
    #[must_use]
    pub fn new(stream: Window<'a>, capacity: u64) -> Option<Self> {
        Some(Self { end: End::new(stream, capacity, READER, WRITER)?, closed: false })
    }

    /// How many bytes can be read now, 0 to the capacity.
    ///
    /// # Errors
    /// [`StreamError::Corrupt`], and with nothing left to read [`StreamError::Failed`] or, at the end,
    /// [`StreamError::Closed`].
    pub fn readable(&mut self) -> Result<u64, StreamError> {
        // The writer cannot have written more than fits behind what is still here.
        self.end.look(self.end.capacity.saturating_sub(self.ready()));
        match (self.end.peer, self.ready()) {
            _ if self.closed => Err(StreamError::Closed),
            (Peer::Corrupt, _) => Err(StreamError::Corrupt),
            (Peer::Failed(errno), 0) => Err(StreamError::Failed(errno)),
            (Peer::Ended, 0) => Err(StreamError::Closed),
            (_, ready) => Ok(ready),
        }
    }

    /// Reads as many bytes as there are and `to` has room for, each word once: how many. 0 is the end of the stream,
    /// or an empty `to`.
    ///
    /// # Errors
    /// [`StreamError::WouldBlock`], [`StreamError::Failed`], [`StreamError::Corrupt`].
    pub fn read(&mut self, to: &mut [u8]) -> Result<usize, StreamError> {
        let len = self.peek(to)?;
        self.end.advance(u64::try_from(len).map_err(|_| StreamError::Corrupt)?);
        Ok(len)
    }

    /// The same, and leaves them there.
    ///
    /// # Errors
    /// Those of [`StreamReader::read`].
    pub fn peek(&mut self, to: &mut [u8]) -> Result<usize, StreamError> {
        let ready = match self.readable() {
            Ok(0) if !to.is_empty() => return Err(StreamError::WouldBlock),
            Err(StreamError::Closed) => return Ok(0),
            other => other?,
        };
        let len = at_most(ready, to.len());
        let (to, _) = to.split_at_mut(len);
        let start = self.end.place(self.end.count);
        // The bytes up to the end of the ring, then those from its start.
        let (before, after) = to.split_at_mut(at_most(self.end.capacity - start, len));
        self.end.bytes.copy_in(Offset(start), before).map_err(|_| StreamError::Corrupt)?;
        self.end.bytes.copy_in(Offset(0), after).map_err(|_| StreamError::Corrupt)?;
        Ok(len)
    }

    /// Wants no more: the writer gets [`StreamError::Closed`], and this side the end.
    pub fn close(&mut self) {
        if !self.closed {
            self.closed = true;
            self.end.set_status(None);
        }
    }

    /// Wants no more because of an error, which the writer gets.
    pub fn fail(&mut self, errno: Errno) {
        if !self.closed {
            self.closed = true;
            self.end.set_status(Some(errno));
        }
    }

    /// Bytes that were seen and not yet read.
    fn ready(&self) -> u64 {
        // `look` keeps the difference between 0 and the capacity.
        self.end.seen.wrapping_sub(self.end.count)
    }
}
