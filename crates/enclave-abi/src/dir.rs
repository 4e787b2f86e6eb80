//! Directory entries as [`crate::op::Op::ReadDir`] gives them.
//!
//! Each entry starts at a multiple of 8 bytes: inode number, cookie to go on behind it, kind, length of the name, each a
//! word; then the name without NUL, filled up with zeros to whole words. The host packs them in private memory and
//! copies them into the arena; the enclave copies them in and takes the copy apart.

use core::fmt;

/// The words before a name, in bytes.
const HEADER: usize = 32;

/// The longest name of Linux in bytes (`NAME_MAX`).
const MAX_NAME: u64 = 255;

/// Kinds of file in directories: unknown, FIFO, character device, directory, block device, regular, link, socket
/// (`DT_` of `include/linux/fs_types.h`).
const KINDS: [u64; 8] = [0, 1, 2, 4, 6, 8, 10, 12];

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// Inode number.
    pub ino: u64,
    /// What to give to the next call to go on behind this entry.
    pub cookie: u64,
    /// Kind of file, a `DT_` number.
    pub kind: u64,
    /// Name: 1 to 255 bytes, no slash, no NUL.
    pub name: &'a [u8],
}

impl DirEntry<'_> {
    /// The bytes that the entry takes.
    #[must_use]
    pub fn packed_len(&self) -> usize {
        HEADER.saturating_add(self.name.len().saturating_add(7) / 8 * 8)
    }

    /// Writes the entry to the start of `to`: the bytes written. `None`: it does not fit, or is not one that
    /// [`DirEntries`] would take; then nothing is written.
    pub fn pack(&self, to: &mut [u8]) -> Option<usize> {
        self.check().ok()?;
        let to = to.get_mut(..self.packed_len())?;
        let len = u64::try_from(self.name.len()).ok()?;
        let (header, rest) = to.split_at_mut_checked(HEADER)?;
        let (words, _) = header.as_chunks_mut::<8>();
        for (word, value) in words.iter_mut().zip([self.ino, self.cookie, self.kind, len]) {
            *word = value.to_le_bytes();
        }
        let (name, fill) = rest.split_at_mut_checked(self.name.len())?;
        name.copy_from_slice(self.name);
        fill.fill(0);
        Some(self.packed_len())
    }

    fn check(&self) -> Result<(), BadDirEntry> {
        let len = u64::try_from(self.name.len()).unwrap_or(u64::MAX);
        if len == 0 || len > MAX_NAME {
            return Err(BadDirEntry::NameLength(len));
        }
        if let Some(&byte) = self.name.iter().find(|byte| matches!(**byte, 0 | b'/')) {
            return Err(BadDirEntry::NameByte(byte));
        }
        if !KINDS.contains(&self.kind) {
            return Err(BadDirEntry::Kind(self.kind));
        }
        Ok(())
    }
}

/// Why bytes are not a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadDirEntry {
    /// The bytes end within the entry.
    Short,
    /// The name is empty or longer than 255 bytes.
    NameLength(u64),
    /// The name has a slash or a NUL.
    NameByte(u8),
    /// There is no such kind of file.
    Kind(u64),
}

impl fmt::Display for BadDirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("a directory entry is cut off"),
            Self::NameLength(len) => write!(f, "a name in a directory cannot have {len} bytes"),
            Self::NameByte(byte) => write!(f, "a name in a directory cannot have the byte {byte:#04x}"),
            Self::Kind(kind) => write!(f, "a directory cannot have an entry of kind {kind}"),
        }
    }
}

impl core::error::Error for BadDirEntry {}

/// Takes packed entries apart. Ends at the first that cannot be, after naming what is wrong with it.
#[derive(Clone, Debug)]
pub struct DirEntries<'a> {
    rest: &'a [u8],
}

impl<'a> DirEntries<'a> {
    /// The entries in `bytes`, a private copy of what the host gave.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self) -> Result<DirEntry<'a>, BadDirEntry> {
        let (header, rest) = self.rest.split_first_chunk::<HEADER>().ok_or(BadDirEntry::Short)?;
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(header.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let [ino, cookie, kind, len] = words;
        if len > MAX_NAME {
            return Err(BadDirEntry::NameLength(len));
        }
        let len = usize::try_from(len).map_err(|_| BadDirEntry::Short)?;
        let (name, rest) = rest.split_at_checked(len).ok_or(BadDirEntry::Short)?;
        let entry = DirEntry { ino, cookie, kind, name };
        entry.check()?;
        self.rest = rest.get(len.next_multiple_of(8) - len..).ok_or(BadDirEntry::Short)?;
        Ok(entry)
    }
}

impl<'a> Iterator for DirEntries<'a> {
    type Item = Result<DirEntry<'a>, BadDirEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.take();
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}

impl core::iter::FusedIterator for DirEntries<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn packed(names: &[&[u8]]) -> Vec<u8> {
        let mut bytes = std::vec![0xee; 4096];
        let mut at = 0;
        for (ino, name) in (1..).zip(names) {
            at += DirEntry { ino, cookie: ino, kind: 8, name }.pack(&mut bytes[at..]).unwrap();
        }
        bytes.truncate(at);
        bytes
    }

    #[test]
    fn entries_come_out_as_they_went_in() {
        let names: [&[u8]; 5] = [b".", b"..", b"12345678", b"123456789", &[b'x'; 255]];
        let bytes = packed(&names);
        assert!(bytes.len().is_multiple_of(8));
        let found: Vec<_> = DirEntries::new(&bytes).map(|entry| entry.unwrap().name).collect();
        assert_eq!(found, names);
    }

    #[test]
    fn entries_that_cannot_be_are_refused() {
        let bytes = packed(&[b"name"]);
        for len in 1..bytes.len() {
            assert_eq!(DirEntries::new(&bytes[..len]).next(), Some(Err(BadDirEntry::Short)), "{len}");
        }
        let change = |at: usize, to: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = to;
            let found: Vec<_> = DirEntries::new(&bytes).map(|entry| entry.map(|_| ())).collect();
            found
        };
        assert_eq!(change(16, 3), [Err(BadDirEntry::Kind(3))]);
        assert_eq!(change(24, 0), [Err(BadDirEntry::NameLength(0))]);
        assert_eq!(change(25, 1), [Err(BadDirEntry::NameLength(260))]);
        assert_eq!(change(33, b'/'), [Err(BadDirEntry::NameByte(b'/'))]);
        assert_eq!(change(33, 0), [Err(BadDirEntry::NameByte(0))]);
        let entry = DirEntry { ino: 1, cookie: 1, kind: 8, name: b"a/b" };
        assert_eq!(entry.pack(&mut [0; 64]), None);
        assert_eq!(DirEntry { name: b"ab", ..entry }.pack(&mut [0; 39]), None);
    }
}
