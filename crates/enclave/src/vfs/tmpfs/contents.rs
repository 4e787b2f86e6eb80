//! The bytes of a file: pages with holes between them.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use casemate_enclave_abi::Errno;

const PAGE: usize = 4096;

/// The largest file (`loff_t`).
pub(super) const MAX_SIZE: u64 = 0x7fff_ffff_ffff_ffff;

/// How much memory files may take together.
#[derive(Debug)]
pub struct Budget {
    used: AtomicU64,
    limit: u64,
}

impl Budget {
    /// At most `limit` bytes.
    #[must_use]
    pub const fn new(limit: u64) -> Self {
        Self { used: AtomicU64::new(0), limit }
    }

    /// The limit in bytes.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes`; ENOSPC where there are not so many.
    pub(super) fn take(&self, bytes: u64) -> Result<(), Errno> {
        let grown = |used: u64| used.checked_add(bytes).filter(|total| *total <= self.limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .map(|_| ())
            .map_err(|_| Errno::ENOSPC)
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes of one file.
#[derive(Debug)]
pub(super) struct Contents {
    budget: Arc<Budget>,
    size: u64,
    /// By page number. What is not here is zero.
    pages: BTreeMap<u64, Vec<u8>>,
}

/// Page number and place in the page.
fn locate(position: u64) -> (u64, usize) {
    let place = usize::try_from(position % PAGE as u64).unwrap_or(0);
    (position / PAGE as u64, place)
}

impl Contents {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, size: 0, pages: BTreeMap::new() }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory in use.
    pub(super) fn stored(&self) -> u64 {
        self.pages.len() as u64 * PAGE as u64
    }

    pub(super) fn read(&self, position: u64, to: &mut [u8]) -> usize {
        let left = usize::try_from(self.size.saturating_sub(position)).unwrap_or(usize::MAX);
        let length = to.len().min(left);
        let mut done = 0;
        while done < length {
            let (page, place) = locate(position + done as u64);
            let count = (PAGE - place).min(length - done);
            let part = &mut to[done..done + count];
            match self.pages.get(&page) {
                Some(bytes) => part.copy_from_slice(&bytes[place..place + count]),
                None => part.fill(0),
            }
            done += count;
        }
        length
    }

    fn page_mut(&mut self, page: u64) -> Result<&mut Vec<u8>, Errno> {
        use alloc::collections::btree_map::Entry;
        match self.pages.entry(page) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                self.budget.take(PAGE as u64)?;
                let mut bytes = Vec::new();
                if bytes.try_reserve_exact(PAGE).is_err() {
                    self.budget.give_back(PAGE as u64);
                    return Err(Errno::ENOSPC);
                }
                bytes.resize(PAGE, 0);
                Ok(entry.insert(bytes))
            }
        }
    }

    /// Writes as much as there is room for; an error only where that is nothing.
    pub(super) fn write(&mut self, position: u64, from: &[u8]) -> Result<usize, Errno> {
        let room = MAX_SIZE.saturating_sub(position);
        if room == 0 && !from.is_empty() {
            return Err(Errno::EFBIG);
        }
        let length = from.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let mut done = 0;
        while done < length {
            let (page, place) = locate(position + done as u64);
            let count = (PAGE - place).min(length - done);
            let bytes = match self.page_mut(page) {
                Ok(bytes) => bytes,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            bytes[place..place + count].copy_from_slice(&from[done..done + count]);
            done += count;
        }
        if done > 0 {
            self.size = self.size.max(position + done as u64);
        }
        Ok(done)
    }

    pub(super) fn truncate(&mut self, size: u64) -> Result<(), Errno> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        if size < self.size {
            let (page, place) = locate(size);
            let whole = if place == 0 { page } else { page + 1 };
            let gone = self.pages.split_off(&whole);
            self.budget.give_back(gone.len() as u64 * PAGE as u64);
            // What is behind the end is zero if the file grows again.
            if place != 0
                && let Some(bytes) = self.pages.get_mut(&page)
            {
                bytes[place..].fill(0);
            }
        }
        self.size = size;
        Ok(())
    }

    /// Makes a range zero without changing the size (`FALLOC_FL_PUNCH_HOLE`).
    pub(super) fn punch(&mut self, position: u64, length: u64) {
        let end = position.saturating_add(length).min(self.size);
        if position >= end {
            return;
        }
        let (first, _) = locate(position);
        let (last, _) = locate(end);
        let pages: Vec<u64> = self.pages.range(first..=last).map(|(page, _)| *page).collect();
        for page in pages {
            let start = page * PAGE as u64;
            let from = usize::try_from(position.saturating_sub(start)).unwrap_or(PAGE).min(PAGE);
            let to = usize::try_from(end.saturating_sub(start)).unwrap_or(PAGE).min(PAGE);
            if from == 0 && to == PAGE {
                self.pages.remove(&page);
                self.budget.give_back(PAGE as u64);
            } else if from < to
                && let Some(bytes) = self.pages.get_mut(&page)
            {
                bytes[from..to].fill(0);
            }
        }
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        self.budget.give_back(self.stored());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn contents(limit: u64) -> (Arc<Budget>, Contents) {
        let budget = Arc::new(Budget::new(limit));
        (Arc::clone(&budget), Contents::new(budget))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        Truncate(u64),
        Punch(u64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u64..20_000, prop::collection::vec(any::<u8>(), 0..6000))
                .prop_map(|(at, b)| Step::Write(at, b)),
            (0_u64..20_000).prop_map(Step::Truncate),
            (0_u64..20_000, 0_u64..20_000).prop_map(|(at, len)| Step::Punch(at, len)),
        ]
    }

    proptest! {
        #[test]
        fn a_file_is_what_a_vector_is(steps in prop::collection::vec(step(), 1..20), at in 0_u64..30_000, len in 0_usize..9000) {
            let (budget, mut file) = contents(1 << 20);
            let mut model: Vec<u8> = vec![];
            for step in steps {
                match step {
                    Step::Write(at, bytes) => {
                        prop_assert_eq!(file.write(at, &bytes), Ok(bytes.len()));
                        if !bytes.is_empty() {
                            let at = usize::try_from(at).unwrap();
                            model.resize(model.len().max(at + bytes.len()), 0);
                            model[at..at + bytes.len()].copy_from_slice(&bytes);
                        }
                    }
                    Step::Truncate(size) => {
                        file.truncate(size).unwrap();
                        model.resize(usize::try_from(size).unwrap(), 0);
                    }
                    Step::Punch(at, len) => {
                        file.punch(at, len);
                        let end = usize::try_from(at + len).unwrap().min(model.len());
                        let at = usize::try_from(at).unwrap().min(end);
                        model[at..end].fill(0);
                    }
                }
                prop_assert_eq!(file.size(), model.len() as u64);
                prop_assert_eq!(budget.used(), file.stored());
            }
            let mut got = vec![0xee; len];
            let count = file.read(at, &mut got);
            let at = usize::try_from(at).unwrap().min(model.len());
            let expected = &model[at..model.len().min(at + len)];
            prop_assert_eq!(&got[..count], expected);
        }
    }

    #[test]
    fn a_full_budget_is_no_space() {
        let (budget, mut file) = contents(8192);
        assert_eq!(file.write(0, &[1; 10_000]), Ok(8192));
        assert_eq!(file.write(8192, &[1]), Err(Errno::ENOSPC));
        // A hole takes nothing.
        file.truncate(1 << 40).unwrap();
        assert_eq!(budget.used(), 8192);
        file.truncate(5000).unwrap();
        assert_eq!(budget.used(), 8192);
        file.truncate(4096).unwrap();
        assert_eq!(budget.used(), 4096);
        drop(file);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn files_end_where_offsets_end() {
        let (_, mut file) = contents(1 << 20);
        assert_eq!(file.write(MAX_SIZE, b"x"), Err(Errno::EFBIG));
        assert_eq!(file.write(u64::MAX, b"x"), Err(Errno::EFBIG));
        assert_eq!(file.write(MAX_SIZE - 1, b"xy"), Ok(1));
        assert_eq!(file.truncate(MAX_SIZE + 1), Err(Errno::EFBIG));
        assert_eq!(file.read(u64::MAX, &mut [0; 8]), 0);
    }
}
