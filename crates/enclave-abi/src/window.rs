//! The window: untrusted memory as a type, with bounds checked at every access.

use core::fmt;

use crate::atomic::{AtomicU64, Ordering};

/// Bytes in a word, the unit of every access to shared memory.
pub const WORD: u64 = 8;
const WORD_LEN: usize = 8;

/// A place in the window, in bytes from its start. Any value may be held; each use checks it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The place `bytes` further on; `None` past the end of the number range.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A part of the window. Like [`Offset`] only a pair of numbers: each use checks it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Region {
    /// Where it starts.
    pub offset: Offset,
    /// How long it is, in bytes.
    pub len: u64,
}

impl Region {
    /// The first byte behind the region; `None` if that is not a number.
    #[must_use]
    pub const fn end(self) -> Option<Offset> {
        self.offset.checked_add(self.len)
    }

    /// Whether all of `inner` lies in this region.
    #[must_use]
    pub fn contains(self, inner: Self) -> bool {
        match (self.end(), inner.end()) {
            (Some(end), Some(inner_end)) => self.offset <= inner.offset && inner_end <= end,
            _ => false,
        }
    }
}

/// An access that is not inside the window, or a word that is not 8-byte aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfWindow {
    /// The first byte of the access.
    pub offset: Offset,
    /// Its length in bytes.
    pub len: u64,
}

impl fmt::Display for OutOfWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at offset {} are not in the window", self.len, self.offset)
    }
}

impl core::error::Error for OutOfWindow {}

/// Memory that the peer can write at any time, seen only as aligned 8-byte words.
///
/// The type is a view: to copy it copies no memory. Whoever makes the slice of words vouches for it (the memory is
/// mapped, aligned, outside the enclave); nothing after that needs `unsafe`.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    words: &'a [AtomicU64],
}

impl fmt::Debug for Window<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<'a> Window<'a> {
    /// The window over `words`.
    #[must_use]
    pub const fn new(words: &'a [AtomicU64]) -> Self {
        Self { words }
    }

    /// Its length in bytes, a multiple of 8.
    #[must_use]
    pub fn len(self) -> u64 {
        // A slice is no longer than isize::MAX bytes, so neither step changes the value.
        u64::try_from(self.words.len()).unwrap_or(0).saturating_mul(WORD)
    }

    /// Whether it has no word at all.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.words.is_empty()
    }

    /// The word at `offset`, for the few places that need more than [`Window::load`] and [`Window::store`]
    /// (read-modify-write, the address for a futex). `None`: not aligned, or outside.
    #[must_use]
    pub fn word(self, offset: Offset) -> Option<&'a AtomicU64> {
        if !offset.0.is_multiple_of(WORD) {
            return None;
        }
        self.words.get(usize::try_from(offset.0 / WORD).ok()?)
    }

    /// Reads one word (Acquire). `None`: not aligned, or outside.
    #[must_use]
    pub fn load(self, offset: Offset) -> Option<u64> {
        self.word(offset).map(|word| word.load(Ordering::Acquire))
    }

    /// Writes one word (Release).
    ///
    /// # Errors
    /// The word is not aligned, or outside the window.
    pub fn store(self, offset: Offset, value: u64) -> Result<(), OutOfWindow> {
        let word = self.word(offset).ok_or(OutOfWindow { offset, len: WORD })?;
        word.store(value, Ordering::Release);
        Ok(())
    }

    /// The part of `len` bytes from `offset`, both multiples of 8. `None`: not aligned, or not all inside.
    #[must_use]
    pub fn slice(self, offset: Offset, len: u64) -> Option<Self> {
        if !offset.0.is_multiple_of(WORD) || !len.is_multiple_of(WORD) {
            return None;
        }
        let first = usize::try_from(offset.0 / WORD).ok()?;
        let count = usize::try_from(len / WORD).ok()?;
        let words = self.words.get(first..first.checked_add(count)?)?;
        Some(Self { words })
    }

    /// [`Window::slice`] of a region.
    #[must_use]
    pub fn region(self, region: Region) -> Option<Self> {
        self.slice(region.offset, region.len)
    }

    /// Reads `N` words from an aligned `offset`, each once. No order among them: the caller has that from the index
    /// or the flag that told it of the record. `None`: not aligned, or not all inside.
    #[must_use]
    pub fn load_words<const N: usize>(self, offset: Offset) -> Option<[u64; N]> {
        let len = u64::try_from(N).ok()?.checked_mul(WORD)?;
        let from = self.slice(offset, len)?;
        let mut to = [0; N];
        for (to, from) in to.iter_mut().zip(from.words) {
            *to = from.load(Ordering::Relaxed);
        }
        Some(to)
    }

    /// Writes `N` words from an aligned `offset`, as [`Window::load_words`] reads them.
    ///
    /// # Errors
    /// The record is not aligned, or not all inside the window; then nothing is written.
    pub fn store_words<const N: usize>(self, offset: Offset, from: &[u64; N]) -> Result<(), OutOfWindow> {
        let len = u64::try_from(N).unwrap_or(u64::MAX).saturating_mul(WORD);
        let to = self.slice(offset, len).ok_or(OutOfWindow { offset, len })?;
        for (to, from) in to.words.iter().zip(from) {
            to.store(*from, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Copies bytes out of shared memory into private memory. Any offset and any length; shared memory is read in
    /// aligned words only, each once, so what was copied cannot change afterwards.
    ///
    /// # Errors
    /// The range is not inside the window; then nothing is copied.
    pub fn copy_in(self, offset: Offset, to: &mut [u8]) -> Result<(), OutOfWindow> {
        let (words, skip) = self.span(offset, to.len())?;
        let (head, body) = to.split_at_mut(head_len(skip, to.len()));
        let mut words = words.iter();
        if !head.is_empty()
            && let Some(word) = words.next()
        {
            let bytes = word.load(Ordering::Relaxed).to_le_bytes();
            head.copy_from_slice(&bytes[skip..skip + head.len()]);
        }
        let (chunks, tail) = body.as_chunks_mut::<WORD_LEN>();
        // The chunks come first in the zip: at their end no word is taken and lost.
        for (chunk, word) in chunks.iter_mut().zip(words.by_ref()) {
            *chunk = word.load(Ordering::Relaxed).to_le_bytes();
        }
        if !tail.is_empty()
            && let Some(word) = words.next()
        {
            let bytes = word.load(Ordering::Relaxed).to_le_bytes();
            tail.copy_from_slice(&bytes[..tail.len()]);
        }
        Ok(())
    }

    /// Copies private bytes into shared memory, with aligned 8-byte stores only.
    ///
    /// A first or last word that is covered in part is loaded, changed and stored whole: its other bytes keep what
    /// they held, but what the peer stores into the same word meanwhile is lost. Arena blocks are 8-byte aligned and
    /// rounded up to whole words, so nobody else's bytes are in that word.
    ///
    /// # Errors
    /// The range is not inside the window; then nothing is copied.
    pub fn copy_out(self, offset: Offset, from: &[u8]) -> Result<(), OutOfWindow> {
        let (words, skip) = self.span(offset, from.len())?;
        let (head, body) = from.split_at(head_len(skip, from.len()));
        let mut words = words.iter();
        if !head.is_empty()
            && let Some(word) = words.next()
        {
            let mut bytes = word.load(Ordering::Relaxed).to_le_bytes();
            bytes[skip..skip + head.len()].copy_from_slice(head);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        let (chunks, tail) = body.as_chunks::<WORD_LEN>();
        for (chunk, word) in chunks.iter().zip(words.by_ref()) {
            word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
        }
        if !tail.is_empty()
            && let Some(word) = words.next()
        {
            let mut bytes = word.load(Ordering::Relaxed).to_le_bytes();
            bytes[..tail.len()].copy_from_slice(tail);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        Ok(())
    }

    /// The words that hold `len` bytes from `offset`, and how many bytes of the first to skip (0 to 7).
    fn span(self, offset: Offset, len: usize) -> Result<(&'a [AtomicU64], usize), OutOfWindow> {
        let bytes = u64::try_from(len).unwrap_or(u64::MAX);
        let outside = OutOfWindow { offset, len: bytes };
        let end = offset.0.checked_add(bytes).ok_or(outside)?;
        let first = usize::try_from(offset.0 / WORD).map_err(|_| outside)?;
        let last = usize::try_from(end.div_ceil(WORD)).map_err(|_| outside)?;
        let words = self.words.get(first..last).ok_or(outside)?;
        let skip = usize::try_from(offset.0 % WORD).map_err(|_| outside)?;
        Ok((words, skip))
    }
}

/// How many of `len` bytes lie in a first word of which `skip` bytes are not ours: none if that word is all ours.
fn head_len(skip: usize, len: usize) -> usize {
    if skip == 0 { 0 } else { len.min(WORD_LEN.saturating_sub(skip)) }
}
