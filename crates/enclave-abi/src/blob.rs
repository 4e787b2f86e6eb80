//! The blob: arguments, environment, short strings and the CPUID table, written once by the host before the start.

use core::fmt;

use crate::window::{Offset, OutOfWindow, Region, WORD, Window};

/// The most entries that a CPUID table may have.
pub const MAX_CPUID: u64 = 512;

const ENTRY_WORDS: usize = 3;

/// The size in bytes of one packed [`CpuidEntry`].
pub const ENTRY_BYTES: u64 = 3 * WORD;

/// A sequence of NUL-terminated strings in the blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StringTable {
    /// Where they are, the last NUL included.
    pub region: Region,
    /// How many there are.
    pub count: u64,
}

/// The CPUID table in the blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuidTable {
    /// The first entry.
    pub offset: Offset,
    /// How many there are.
    pub count: u64,
}

impl CpuidTable {
    /// Where all of it is; `None`: more than [`MAX_CPUID`] entries.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        if self.count > MAX_CPUID {
            return None;
        }
        Some(Region { offset: self.offset, len: self.count.checked_mul(ENTRY_BYTES)? })
    }

    /// Entry `index`, read now; `None` behind the last or outside the window. To be read once and kept.
    #[must_use]
    pub fn get(&self, window: Window<'_>, index: u64) -> Option<CpuidEntry> {
        if index >= self.count {
            return None;
        }
        let offset = self.offset.checked_add(index.checked_mul(ENTRY_BYTES)?)?;
        window.load_words(offset).map(CpuidEntry::from_words)
    }
}

/// What CPUID gives for one leaf and subleaf, as far as the host tells the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuidEntry {
    /// eax before.
    pub leaf: u32,
    /// ecx before.
    pub subleaf: u32,
    /// eax after.
    pub eax: u32,
    /// ebx after.
    pub ebx: u32,
    /// ecx after.
    pub ecx: u32,
    /// edx after.
    pub edx: u32,
}

impl CpuidEntry {
    fn to_words(self) -> [u64; ENTRY_WORDS] {
        let pack = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        [pack(self.leaf, self.subleaf), pack(self.eax, self.ebx), pack(self.ecx, self.edx)]
    }

    fn from_words(words: [u64; ENTRY_WORDS]) -> Self {
        let unpack = |word: u64| {
            let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
            (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
        };
        let [(leaf, subleaf), (eax, ebx), (ecx, edx)] = words.map(unpack);
        Self { leaf, subleaf, eax, ebx, ecx, edx }
    }
}

/// Splits `count` NUL-terminated strings: the strings, without their NULs. To be given the enclave's private copy.
///
/// # Errors
/// `bytes` are not exactly `count` strings.
pub fn split_strings(bytes: &[u8], count: u64) -> Result<impl Iterator<Item = &[u8]>, BadStrings> {
    let found = u64::try_from(bytes.iter().filter(|byte| **byte == 0).count()).unwrap_or(u64::MAX);
    if found != count {
        return Err(BadStrings::Count { stated: count, found });
    }
    if bytes.last().is_some_and(|last| *last != 0) {
        return Err(BadStrings::Unterminated);
    }
    Ok(bytes.split_inclusive(|byte| *byte == 0).map(|string| string.strip_suffix(&[0]).unwrap_or(string)))
}

/// Bytes that are not the strings that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadStrings {
    /// The number of NULs is not that of the strings.
    Count {
        /// As the start-up block says.
        stated: u64,
        /// As the bytes say.
        found: u64,
    },
    /// The last string has no NUL.
    Unterminated,
}

impl fmt::Display for BadStrings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { stated, found } => write!(f, "there are {found} strings where {stated} should be"),
            Self::Unterminated => f.write_str("the last string has no end"),
        }
    }
}

impl core::error::Error for BadStrings {}

/// Fills the blob, on the host.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    window: Window<'a>,
    /// What is left of the blob.
    rest: Region,
}

impl<'a> BlobWriter<'a> {
    /// Starts at the start of `blob`, a region of `window`.
    #[must_use]
    pub const fn new(window: Window<'a>, blob: Region) -> Self {
        Self { window, rest: blob }
    }

    /// The bytes that [`BlobWriter::bytes`] takes for `len` bytes, and [`BlobWriter::strings`] for strings that have
    /// `len` bytes with their NULs.
    #[must_use]
    pub const fn space(len: u64) -> u64 {
        len.saturating_add(WORD - 1) / WORD * WORD
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// There is no room for them.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<Region, BlobError> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let place = self.take(len)?;
        self.window.copy_out(place.offset, bytes)?;
        Ok(place)
    }

    /// Adds strings, which are given without NUL.
    ///
    /// # Errors
    /// There is no room for them, or one has a NUL inside.
    pub fn strings<'s>(
        &mut self,
        strings: impl Iterator<Item = &'s [u8]> + Clone,
    ) -> Result<StringTable, BlobError> {
        let mut table = StringTable::default();
        for string in strings.clone() {
            if string.contains(&0) {
                return Err(BlobError::Nul);
            }
            table.count = table.count.saturating_add(1);
            let len = u64::try_from(string.len()).unwrap_or(u64::MAX).saturating_add(1);
            table.region.len = table.region.len.saturating_add(len);
        }
        table.region = self.take(table.region.len)?;
        let mut at = table.region.offset;
        for string in strings {
            self.window.copy_out(at, string)?;
            let len = u64::try_from(string.len()).unwrap_or(u64::MAX);
            at = at.checked_add(len).ok_or(BlobError::Full)?;
            self.window.copy_out(at, &[0])?;
            at = at.checked_add(1).ok_or(BlobError::Full)?;
        }
        Ok(table)
    }

    /// Adds the CPUID table.
    ///
    /// # Errors
    /// There is no room for it, or it has more than [`MAX_CPUID`] entries.
    pub fn cpuid(&mut self, entries: &[CpuidEntry]) -> Result<CpuidTable, BlobError> {
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        if count > MAX_CPUID {
            return Err(BlobError::Full);
        }
        let place = self.take(count * ENTRY_BYTES)?;
        let mut at = place.offset;
        for entry in entries {
            self.window.store_words(at, &entry.to_words())?;
            at = at.checked_add(ENTRY_BYTES).ok_or(BlobError::Full)?;
        }
        Ok(CpuidTable { offset: place.offset, count })
    }

    /// The next `len` bytes; what follows them starts at a word of its own.
    fn take(&mut self, len: u64) -> Result<Region, BlobError> {
        let place = Region { offset: self.rest.offset, len };
        let left = self.rest.len.checked_sub(Self::space(len)).ok_or(BlobError::Full)?;
        let next = place.offset.checked_add(Self::space(len)).ok_or(BlobError::Full)?;
        self.rest = Region { offset: next, len: left };
        Ok(place)
    }
}

/// Why something was not added to the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobError {
    /// It does not fit.
    Full,
    /// A string has a NUL inside.
    Nul,
    /// The blob is not in the window.
    Outside(OutOfWindow),
}

impl fmt::Display for BlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("arguments, environment and CPUID table do not fit in the blob"),
            Self::Nul => f.write_str("a string has a NUL inside"),
            Self::Outside(outside) => outside.fmt(f),
        }
    }
}

impl core::error::Error for BlobError {}

impl From<OutOfWindow> for BlobError {
    fn from(outside: OutOfWindow) -> Self {
        Self::Outside(outside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn strings_are_split_at_their_ends() {
        let split = |bytes, count| split_strings(bytes, count).map(|strings| strings.collect::<Vec<_>>());
        assert_eq!(split(b"", 0), Ok(std::vec![]));
        assert_eq!(split(b"a\0\0bc\0", 3), Ok(std::vec![&b"a"[..], b"", b"bc"]));
        assert_eq!(split(b"a\0b", 1), Err(BadStrings::Unterminated));
        assert_eq!(split(b"a", 0), Err(BadStrings::Unterminated));
        assert_eq!(split(b"a\0b\0", 3), Err(BadStrings::Count { stated: 3, found: 2 }));
        assert_eq!(split(b"a\0b\0", u64::MAX), Err(BadStrings::Count { stated: u64::MAX, found: 2 }));
    }
}
