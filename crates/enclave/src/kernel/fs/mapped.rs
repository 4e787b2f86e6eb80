//! Shared mappings of files (`MAP_SHARED`).
//!
//! The pages of an enclave cannot be mapped twice, so a shared mapping is a copy of its part of the file, kept equal to it
//! where system calls can tell the difference: what the program has changed in memory is written to the file before
//! anything reads it there, at msync(2), fsync(2), munmap(2) and at the end; what is written to the file is copied to the
//! mappings. Which pages were changed is known by a hash of each. Two mappings of the same bytes see each other's changes at
//! these moments only.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use spin::Mutex;

use super::file::{Sink, Source};
use super::open_file::OpenFile;
use crate::user;

const PAGE: u64 = 4096;
const PAGE_BYTES: usize = 4096;

/// Pages that are compared and written at a time.
const TOGETHER: usize = 64;

/// Device and inode number.
pub(crate) type Key = (u64, u64);

/// A shared mapping, or what is left of it.
struct Mapping {
    file: Arc<OpenFile>,
    key: Key,
    address: u64,
    /// Whole pages.
    length: u64,
    offset: u64,
    /// The file may be changed through it.
    writable: bool,
    /// Of each page, as the file has it.
    hashes: Mutex<Vec<u64>>,
}

static MAPPINGS: Mutex<Vec<Arc<Mapping>>> = Mutex::new(Vec::new());

/// How many there are: most programs have none, and pay nothing.
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn hash(page: &[u8]) -> u64 {
    let words = page.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    words.fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
        (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    })
}

/// The part that two ranges have in common, as start and end.
fn common(a: (u64, u64), b: (u64, u64)) -> Option<(u64, u64)> {
    let (start, end) = (a.0.max(b.0), a.0.saturating_add(a.1).min(b.0.saturating_add(b.1)));
    (start < end).then_some((start, end))
}

impl Mapping {
    /// The part of the mapping at an address, with its own hashes.
    fn part(&self, address: u64, length: u64) -> Arc<Self> {
        let skip = address - self.address;
        let pages = |bytes: u64| usize::try_from(bytes / PAGE).unwrap_or(usize::MAX);
        let hashes = self.hashes.lock();
        let (from, to) = (pages(skip), pages(skip + length).min(hashes.len()));
        Arc::new(Self {
            file: Arc::clone(&self.file),
            key: self.key,
            address,
            length,
            offset: self.offset + skip,
            writable: self.writable,
            hashes: Mutex::new(hashes.get(from..to).unwrap_or_default().to_vec()),
        })
    }

    /// Writes changed pages between two places in the mapping, whole pages, to the file.
    fn flush(&self, from: u64, to: u64) {
        if !self.writable {
            return;
        }
        let Ok(size) = self.file.stat().map(|stat| stat.size) else { return };
        let mut at = from;
        let mut bytes = alloc::vec![0; TOGETHER * PAGE_BYTES];
        while at < to {
            let count = usize::try_from((to - at) / PAGE).unwrap_or(TOGETHER).clamp(1, TOGETHER);
            let chunk = &mut bytes[..count * PAGE_BYTES];
            // What cannot be read now (PROT_NONE) is looked at another time.
            if user::read(self.address + at, chunk).is_ok() {
                self.write_changed(at, chunk, size);
            }
            at += (count * PAGE_BYTES) as u64;
        }
    }

    fn write_changed(&self, at: u64, chunk: &[u8], size: u64) {
        let first = usize::try_from(at / PAGE).unwrap_or(usize::MAX);
        let mut changed = Vec::new();
        {
            let mut hashes = self.hashes.lock();
            let known = hashes.get_mut(first..).unwrap_or_default();
            for ((index, page), known) in chunk.chunks(PAGE_BYTES).enumerate().zip(known) {
                let now = hash(page);
                if now != *known {
                    *known = now;
                    changed.push(index);
                }
            }
        }
        // Without the lock: writing may ask the host. Neighbours go together.
        let mut rest = changed.as_slice();
        while let [start, ..] = rest {
            let run = rest.iter().enumerate().take_while(|(ahead, index)| **index == start + ahead).count();
            let (begin, end) = (start * PAGE_BYTES, (start + run) * PAGE_BYTES);
            let place = self.offset + at + begin as u64;
            let length = usize::try_from(size.saturating_sub(place)).unwrap_or(usize::MAX);
            if let Some(bytes) = chunk.get(begin..end.min(begin.saturating_add(length)))
                && !bytes.is_empty()
            {
                // As when Linux writes a page back later: nobody is there to be told.
                let _ = self.file.file().write(Some(place), &Source::Kernel(bytes), false);
            }
            rest = &rest[run..];
        }
    }

    /// Copies what the file has between two places of it to the mapping.
    fn refresh(&self, from: u64, to: u64) {
        let Some((from, to)) = common((from, to - from), (self.offset, self.length)) else { return };
        let (from, to) = (from & !(PAGE - 1), to.next_multiple_of(PAGE));
        let mut page = [0; PAGE_BYTES];
        for at in (from..to).step_by(PAGE_BYTES) {
            page.fill(0);
            if self.file.file().read(at, &mut Sink::Kernel(&mut page), false).is_err() {
                continue;
            }
            let inside = at - self.offset;
            let index = usize::try_from(inside / PAGE).unwrap_or(usize::MAX);
            let now = hash(&page);
            if self.hashes.lock().get(index) == Some(&now) {
                continue;
            }
            if user::overwrite(self.address + inside, &page).is_ok()
                && let Some(known) = self.hashes.lock().get_mut(index)
            {
                *known = now;
            }
        }
    }
}

/// A mapping of `file` has been made, and filled: `length` bytes at `address`, from `offset` on.
pub(crate) fn register(file: &Arc<OpenFile>, address: u64, length: u64, offset: u64) {
    let Some(key) = file.key() else { return };
    let length = length.next_multiple_of(PAGE);
    let mut hashes = Vec::new();
    let mut page = [0; PAGE_BYTES];
    for at in (address..address + length).step_by(PAGE_BYTES) {
        hashes.push(if user::read(at, &mut page).is_ok() { hash(&page) } else { 0 });
    }
    let mapping = Mapping {
        file: Arc::clone(file),
        key,
        address,
        length,
        offset,
        writable: file.writable(),
        hashes: Mutex::new(hashes),
    };
    let mut mappings = MAPPINGS.lock();
    mappings.push(Arc::new(mapping));
    COUNT.store(mappings.len(), Ordering::Release);
}

fn none() -> bool {
    COUNT.load(Ordering::Acquire) == 0
}

fn all() -> Vec<Arc<Mapping>> {
    MAPPINGS.lock().clone()
}

/// Writes to their files what was changed in memory: msync(2).
pub(crate) fn flush(address: u64, length: u64) {
    if none() {
        return;
    }
    for mapping in all() {
        if let Some((start, end)) = common((address, length), (mapping.address, mapping.length)) {
            let end = end.next_multiple_of(PAGE);
            mapping.flush((start & !(PAGE - 1)) - mapping.address, end - mapping.address);
        }
    }
}

/// The same of everything: at the end.
pub(crate) fn flush_all() {
    flush(0, u64::MAX);
}

/// Memory is going to be unmapped, or mapped anew: it is written to its files, and belongs to them no more.
pub(crate) fn forget(address: u64, length: u64) {
    if none() {
        return;
    }
    flush(address, length);
    moved(address, length);
}

/// Memory that has been written to its files is not at its old place any more.
pub(crate) fn moved(address: u64, length: u64) {
    let end = address.saturating_add(length);
    let end = end.checked_next_multiple_of(PAGE).unwrap_or(end);
    let mut mappings = MAPPINGS.lock();
    let mut kept = Vec::with_capacity(mappings.len());
    let mut gone = Vec::new();
    for mapping in mappings.drain(..) {
        let (start, stop) = (mapping.address, mapping.address + mapping.length);
        if end <= start || stop <= address {
            kept.push(mapping);
            continue;
        }
        if start < address {
            kept.push(mapping.part(start, address - start));
        }
        if end < stop {
            kept.push(mapping.part(end, stop - end));
        }
        gone.push(mapping);
    }
    *mappings = kept;
    COUNT.store(mappings.len(), Ordering::Release);
    drop(mappings);
    // Here, as closing a file may ask the host.
    drop(gone);
}

/// The file and offset behind an address, if it is a shared mapping.
pub(crate) fn behind(address: u64) -> Option<(Arc<OpenFile>, u64)> {
    if none() {
        return None;
    }
    let holds =
        |mapping: &&Arc<Mapping>| (mapping.address..mapping.address + mapping.length).contains(&address);
    let mappings = MAPPINGS.lock();
    let mapping = mappings.iter().find(holds)?;
    Some((Arc::clone(&mapping.file), mapping.offset + (address - mapping.address)))
}

/// The mappings of a file.
fn of(file: &OpenFile) -> Vec<Arc<Mapping>> {
    if none() {
        return Vec::new();
    }
    let Some(key) = file.key() else { return Vec::new() };
    let mut mappings = all();
    mappings.retain(|mapping| mapping.key == key);
    mappings
}

/// A part of a file is going to be read, or written: what was changed in memory comes first.
pub(super) fn before(file: &OpenFile, position: u64, length: u64) {
    for mapping in of(file) {
        if let Some((start, end)) = common((position, length), (mapping.offset, mapping.length)) {
            let (start, end) = (start & !(PAGE - 1), end.next_multiple_of(PAGE));
            mapping.flush(start - mapping.offset, end - mapping.offset);
        }
    }
}

/// A part of a file has been written.
pub(super) fn after(file: &OpenFile, position: u64, length: u64) {
    for mapping in of(file) {
        mapping.refresh(position, position.saturating_add(length));
    }
}

/// All of a file, before fsync(2) or a change of its size.
pub(crate) fn flush_file(file: &OpenFile) {
    before(file, 0, u64::MAX);
}

/// A file has got another size.
pub(crate) fn resized(file: &OpenFile) {
    after(file, 0, u64::MAX);
}
