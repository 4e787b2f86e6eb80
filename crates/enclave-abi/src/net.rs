//! Sockets: what both sides share of each, and how they tell each other which to look at.
//!
//! The enclave numbers sockets, the host holds them. For each number there is a slot of words (see [`Slot`]) and a pair of
//! [`crate::stream`]s. Which sockets have something new is told by bits ([`Marks`]), not by a queue: a bit cannot overflow,
//! be given twice or name what there is not.
//!
//! Nothing here is trusted. A false bit or counter costs a look in vain; a missing one a wait, which the host can cause anyway.

use crate::atomic::{AtomicU64, Ordering};
use crate::layout::PAGE;
use crate::stream;
use crate::window::{Offset, OutOfWindow, Region, WORD, Window};

/// The most sockets that a window can have.
pub const MAX_SOCKETS: u64 = 16_384;

/// Bytes that each direction of a connection holds.
pub const CAPACITY: u64 = 32_768;

/// The longest socket address (`struct sockaddr_storage`).
pub const MAX_ADDRESS: usize = 128;

/// Sockets in a word of bits, and words of bits in a word of the summary.
const BITS: u64 = 64;
/// Words of the summary: enough for [`MAX_SOCKETS`].
const SUMMARY: u64 = MAX_SOCKETS / (BITS * BITS);
/// Where the bits start behind the summary, in a cache line of their own.
const BITS_AT: u64 = 64;

const SLOT_LEN: u64 = 64;
const STREAM_LEN: u64 = 256 + CAPACITY;
const BLOCK_LEN: u64 = (2 * STREAM_LEN).div_ceil(PAGE) * PAGE;

/// Page of each kind of marks.
const INCOMING: u64 = 0;
const OUTGOING: u64 = 1;
const DIRTY: u64 = 2;
const SLOTS: u64 = 3 * PAGE;

/// Bytes of the region for so many sockets; `None` for more than [`MAX_SOCKETS`].
#[must_use]
pub const fn bytes(sockets: u64) -> Option<u64> {
    if sockets > MAX_SOCKETS {
        return None;
    }
    if sockets == 0 {
        return Some(0);
    }
    Some(blocks_at(sockets) + sockets * BLOCK_LEN)
}

const fn blocks_at(sockets: u64) -> u64 {
    SLOTS + (sockets * SLOT_LEN).div_ceil(PAGE) * PAGE
}

/// A bit for each socket. Any thread of either side may set and take.
#[derive(Clone, Copy, Debug)]
pub struct Marks<'a> {
    page: Window<'a>,
}

impl<'a> Marks<'a> {
    fn summary(self, index: u64) -> Option<&'a AtomicU64> {
        self.page.word(Offset(index * WORD))
    }

    fn bits(self, index: u64) -> Option<&'a AtomicU64> {
        self.page.word(Offset(BITS_AT.checked_add(index.checked_mul(WORD)?)?))
    }

    /// Sets the bit of a socket; one that there cannot be is left out.
    pub fn set(self, socket: u64) {
        if socket >= MAX_SOCKETS {
            return;
        }
        let word = socket / BITS;
        if let (Some(bits), Some(summary)) = (self.bits(word), self.summary(word / BITS)) {
            // The bit before its summary: who takes the summary finds the bit. AcqRel: what was written before is seen by
            // whoever takes it.
            if bits.fetch_or(1 << (socket % BITS), Ordering::AcqRel) & 1 << (socket % BITS) == 0 {
                summary.fetch_or(1 << (word % BITS), Ordering::AcqRel);
            }
        }
    }

    /// Whether some bit may be set.
    #[must_use]
    pub fn any(self) -> bool {
        (0..SUMMARY).any(|index| self.summary(index).is_some_and(|word| word.load(Ordering::Acquire) != 0))
    }

    /// Clears all bits and calls `each` for those that were set; for each socket once at most.
    pub fn take(self, mut each: impl FnMut(u64)) {
        for index in 0..SUMMARY {
            let Some(summary) = self.summary(index) else { return };
            if summary.load(Ordering::Relaxed) == 0 {
                continue;
            }
            for word in ones(summary.swap(0, Ordering::AcqRel)) {
                let word = index * BITS + word;
                let Some(bits) = self.bits(word) else { return };
                for bit in ones(bits.swap(0, Ordering::AcqRel)) {
                    each(word * BITS + bit);
                }
            }
        }
    }
}

/// The places of the bits that are set.
fn ones(mut word: u64) -> impl Iterator<Item = u64> {
    core::iter::from_fn(move || {
        let bit = u64::from(word.trailing_zeros());
        word &= word.wrapping_sub(1);
        (bit < BITS).then_some(bit)
    })
}

/// [`Slot::connection`]: nothing yet.
pub const CONNECTING: u64 = 0;
/// [`Slot::connection`]: connected. Above it: an error number, plus this.
pub const CONNECTED: u64 = 1;

/// What a socket that is passed to another enclave is: new, or bound.
pub const ROLE_IDLE: u64 = 0;
/// One of datagrams, or one that takes connections.
pub const ROLE_TOLD: u64 = 1;
/// One of a connection that is being made.
pub const ROLE_CONNECTING: u64 = 2;
/// One of a connection.
pub const ROLE_CONNECTED: u64 = 3;

/// The words of a socket.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    /// Host: counts the times that something came for a socket without streams (a connection, a datagram).
    pub incoming: &'a AtomicU64,
    /// Host: counts the times that a socket without streams could send again.
    pub outgoing: &'a AtomicU64,
    /// Host: what became of a connection that was begun, see [`CONNECTED`].
    pub connection: &'a AtomicU64,
    /// Enclave: not 0 while it wants to be told of room to send; the host takes it.
    pub want_room: &'a AtomicU64,
    /// Host: not 0 while it has more to give than there was room for; the enclave then marks the socket when it has read.
    pub want_read: &'a AtomicU64,
    /// Enclave: not 0 from when the program has first asked for what comes. Before, the host takes nothing from the kernel:
    /// another process may have the same connection, and be the one to read it.
    pub asked: &'a AtomicU64,
}

/// The region of sockets, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Sockets<'a> {
    window: Window<'a>,
    count: u64,
}

impl<'a> Sockets<'a> {
    /// Of this region, for so many sockets; `None` where it is too short.
    #[must_use]
    pub fn new(window: Window<'a>, count: u64) -> Option<Self> {
        (window.len() >= bytes(count)?).then_some(Self { window, count })
    }

    /// How many there can be.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.count
    }

    fn marks(self, page: u64) -> Option<Marks<'a>> {
        Some(Marks { page: self.window.slice(Offset(page.checked_mul(PAGE)?), PAGE)? })
    }

    /// Sockets that can give more than before. Host to enclave.
    #[must_use]
    pub fn incoming(self) -> Option<Marks<'a>> {
        self.marks(INCOMING)
    }

    /// Sockets that can take more than before. Host to enclave.
    #[must_use]
    pub fn outgoing(self) -> Option<Marks<'a>> {
        self.marks(OUTGOING)
    }

    /// Sockets whose streams the host has to look at. Enclave to host.
    #[must_use]
    pub fn dirty(self) -> Option<Marks<'a>> {
        self.marks(DIRTY)
    }

    /// The words of a socket; `None` where there is none of this number.
    #[must_use]
    pub fn slot(self, socket: u64) -> Option<Slot<'a>> {
        let at = SLOTS.checked_add(self.known(socket)?.checked_mul(SLOT_LEN)?)?;
        let word = |index: u64| self.window.word(Offset(at).checked_add(index * WORD)?);
        Some(Slot {
            incoming: word(0)?,
            outgoing: word(1)?,
            connection: word(2)?,
            want_room: word(3)?,
            want_read: word(4)?,
            asked: word(5)?,
        })
    }

    fn known(self, socket: u64) -> Option<u64> {
        (socket < self.count).then_some(socket)
    }

    fn stream(self, socket: u64, second: bool) -> Option<Window<'a>> {
        let block = blocks_at(self.count).checked_add(self.known(socket)?.checked_mul(BLOCK_LEN)?)?;
        let at = if second { block.checked_add(STREAM_LEN)? } else { block };
        self.window.slice(Offset(at), stream::bytes(CAPACITY)?)
    }

    /// The stream that the host writes and the enclave reads.
    #[must_use]
    pub fn receive(self, socket: u64) -> Option<Window<'a>> {
        self.stream(socket, false)
    }

    /// The stream that the enclave writes and the host reads.
    #[must_use]
    pub fn send(self, socket: u64) -> Option<Window<'a>> {
        self.stream(socket, true)
    }
}

/// Bytes of a [`Message`] in the window.
pub const MESSAGE_BYTES: u64 = MESSAGE_HEAD + 128;
const MESSAGE_HEAD: u64 = 4 * WORD;

/// What comes with a connection, a datagram, or a name that was asked for: numbers and an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Bytes of the whole datagram, also where the buffer took less.
    pub length: u64,
    /// `MSG_` flags.
    pub flags: u64,
    /// Whether there is another one already.
    pub more: bool,
    /// Bytes of the address.
    pub address_length: usize,
    /// The address, as Linux has it.
    pub address: [u8; MAX_ADDRESS],
}

impl Default for Message {
    fn default() -> Self {
        Self { length: 0, flags: 0, more: false, address_length: 0, address: [0; MAX_ADDRESS] }
    }
}

impl Message {
    /// The bytes of the address.
    #[must_use]
    pub fn address(&self) -> &[u8] {
        self.address.get(..self.address_length).unwrap_or(&self.address)
    }

    /// Sets the address; what is too long is cut.
    #[must_use]
    pub fn with_address(mut self, address: &[u8]) -> Self {
        self.address_length = address.len().min(MAX_ADDRESS);
        for (to, from) in self.address.iter_mut().zip(address) {
            *to = *from;
        }
        self
    }

    /// Writes it to the window.
    ///
    /// # Errors
    /// It does not lie inside.
    pub fn write(&self, window: Window<'_>, at: Offset) -> Result<(), OutOfWindow> {
        let length = u64::try_from(self.address_length).unwrap_or(0);
        window.store_words(at, &[self.length, self.flags, self.more.into(), length])?;
        let outside = OutOfWindow { offset: at, len: MESSAGE_BYTES };
        window.copy_out(at.checked_add(MESSAGE_HEAD).ok_or(outside)?, &self.address)
    }

    /// Reads it, each word once. An address that says it is longer than one can be is cut. `None`: it does not lie inside.
    #[must_use]
    pub fn read(window: Window<'_>, at: Offset) -> Option<Self> {
        let [length, flags, more, address_length] = window.load_words(at)?;
        let mut address = [0; MAX_ADDRESS];
        window.copy_in(at.checked_add(MESSAGE_HEAD)?, &mut address).ok()?;
        let address_length = usize::try_from(address_length).unwrap_or(MAX_ADDRESS).min(MAX_ADDRESS);
        Some(Self { length, flags, more: more != 0, address_length, address })
    }
}

/// The region for so many sockets that starts here.
pub(crate) fn region(start: Offset, sockets: u64) -> Option<Region> {
    let region = Region { offset: start, len: bytes(sockets)? };
    region.end().map(|_| region)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn words(bytes: u64) -> Vec<AtomicU64> {
        (0..bytes / WORD).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn marks_are_taken_once() {
        let words = words(bytes(128).unwrap());
        let sockets = Sockets::new(Window::new(&words), 128).unwrap();
        let marks = sockets.dirty().unwrap();
        assert!(!marks.any());
        for socket in [0, 63, 64, 5000, MAX_SOCKETS - 1, MAX_SOCKETS, u64::MAX, 63] {
            marks.set(socket);
        }
        assert!(marks.any() && !sockets.incoming().unwrap().any());
        let mut taken = Vec::new();
        marks.take(|socket| taken.push(socket));
        assert_eq!(taken, [0, 63, 64, 5000, MAX_SOCKETS - 1]);
        assert!(!marks.any());
        marks.take(|_| panic!("they were taken"));
    }

    #[test]
    fn parts_do_not_overlap() {
        let words = words(bytes(70).unwrap());
        let window = Window::new(&words);
        assert!(Sockets::new(window, 71).is_none());
        let sockets = Sockets::new(window, 70).unwrap();
        assert!(sockets.slot(70).is_none() && sockets.send(70).is_none());
        sockets.slot(69).unwrap().want_read.store(u64::MAX, Ordering::Relaxed);
        for stream in [sockets.receive(69).unwrap(), sockets.send(69).unwrap(), sockets.receive(0).unwrap()] {
            assert_eq!(stream.load(Offset(0)), Some(0));
        }
        let last = sockets.send(69).unwrap();
        last.store(Offset(last.len() - 8), 5).unwrap();
        assert!(!sockets.outgoing().unwrap().any());
        assert_eq!(bytes(MAX_SOCKETS + 1), None);
    }

    #[test]
    fn messages_come_back() {
        let words = words(MESSAGE_BYTES);
        let window = Window::new(&words);
        let message =
            Message { length: 9, flags: 32, more: true, ..Message::default() }.with_address(&[7; 28]);
        message.write(window, Offset(0)).unwrap();
        assert_eq!(Message::read(window, Offset(0)), Some(message));
        window.store(Offset(24), u64::MAX).unwrap();
        assert_eq!(Message::read(window, Offset(0)).unwrap().address().len(), MAX_ADDRESS);
        assert_eq!(Message::read(window, Offset(8)), None);
    }
}
