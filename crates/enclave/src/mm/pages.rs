//! The state of every page: one byte each, in a table that takes memory only where neighbours differ.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::prot::{Access, Prot};
use super::range::{PAGE_SIZE, Range};

/// Pages of a chunk: 16 MiB of addresses, 4 KiB of states.
const CHUNK_PAGES: usize = 4096;

const HOST_SHIFT: u32 = 3;
const COMMITTED: u8 = 1 << 6;
const STALE: u8 = 1 << 7;

/// What is known of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageState(u8);

impl PageState {
    /// A page that is not committed, with what the host's page table allows.
    #[must_use]
    pub const fn absent(host: Prot) -> Self {
        Self(host.bits() << HOST_SHIFT)
    }

    /// A page that the program uses, with its permissions in the EPCM and in the host's page table.
    #[must_use]
    pub const fn committed(epcm: Prot, host: Prot) -> Self {
        Self(COMMITTED | epcm.bits() | host.bits() << HOST_SHIFT)
    }

    /// The same, but its bytes are of an earlier use (without EDMM, where pages never go away).
    #[must_use]
    pub const fn stale(self) -> Self {
        Self(self.0 | STALE)
    }

    /// The same with another host protection.
    #[must_use]
    pub const fn with_host(self, host: Prot) -> Self {
        Self(self.0 & !(Prot::RWX.bits() << HOST_SHIFT) | host.bits() << HOST_SHIFT)
    }

    /// The same with other permissions in the EPCM.
    #[must_use]
    pub const fn with_epcm(self, epcm: Prot) -> Self {
        Self(self.0 & !Prot::RWX.bits() | epcm.bits())
    }

    /// Whether the program uses it.
    #[must_use]
    pub const fn is_committed(self) -> bool {
        self.0 & COMMITTED != 0
    }

    /// Whether it has to be zeroed before it is used again.
    #[must_use]
    pub const fn is_stale(self) -> bool {
        self.0 & STALE != 0
    }

    /// Its permissions in the EPCM; only of a committed page.
    #[must_use]
    pub const fn epcm(self) -> Prot {
        Prot::from_bits_truncate(self.0)
    }

    /// What the host's page table allows, by our last request.
    #[must_use]
    pub const fn host(self) -> Prot {
        Prot::from_bits_truncate(self.0 >> HOST_SHIFT)
    }

    /// Whether an access works without any change.
    #[must_use]
    pub const fn allows(self, access: Access) -> bool {
        self.is_committed() && self.epcm().intersection(self.host()).contains(access.needs())
    }
}

#[derive(Debug)]
enum Chunk {
    Same(PageState),
    Mixed(Box<[PageState]>),
}

/// The states of all pages of one range.
#[derive(Debug)]
pub struct Pages {
    bounds: Range,
    chunks: Vec<Chunk>,
    committed: u64,
}

impl Pages {
    /// All pages of `bounds` in the state `initial`, which is not committed.
    #[must_use]
    pub fn new(bounds: Range, initial: PageState) -> Self {
        let pages = usize::try_from(bounds.len() / PAGE_SIZE).unwrap_or(usize::MAX);
        let chunks = (0..pages.div_ceil(CHUNK_PAGES)).map(|_| Chunk::Same(initial)).collect();
        Self { bounds, chunks, committed: 0 }
    }

    /// Bytes of committed pages.
    #[must_use]
    pub fn committed_bytes(&self) -> u64 {
        self.committed
    }

    /// The state of the page that holds `address`; `None` out of bounds.
    #[must_use]
    pub fn get(&self, address: u64) -> Option<PageState> {
        if self.bounds.contains(address) { self.state(self.index(address)) } else { None }
    }

    /// Sets the state of all pages of `range` that are in bounds.
    pub fn set(&mut self, range: Range, state: PageState) {
        let Some(range) = range.intersect(self.bounds) else { return };
        let before: u64 =
            self.runs(range).filter(|(_, state)| state.is_committed()).map(|(run, _)| run.len()).sum();
        let after = if state.is_committed() { range.len() } else { 0 };
        self.committed = self.committed.saturating_sub(before).saturating_add(after);

        let (mut at, end) = (self.index(range.start()), self.index(range.end()));
        while at < end {
            let offset = at % CHUNK_PAGES;
            let stop = end.min(at - offset + CHUNK_PAGES);
            if let Some(chunk) = self.chunks.get_mut(at / CHUNK_PAGES) {
                chunk.set(offset, stop - at, state);
            }
            at = stop;
        }
    }

    /// Replaces the state of each run of `range` by what `change` makes of it.
    pub fn update(&mut self, range: Range, change: impl Fn(PageState) -> PageState) {
        let mut rest = Some(range);
        while let Some((run, state)) = rest.and_then(|rest| self.runs(rest).next()) {
            self.set(run, change(state));
            rest = range.from(run.end());
        }
    }

    /// The runs of pages in equal state, in order, as long as they can be within `range`. Out of bounds there is none.
    pub fn runs(&self, range: Range) -> impl Iterator<Item = (Range, PageState)> {
        let mut rest = range.intersect(self.bounds);
        core::iter::from_fn(move || {
            let range = rest?;
            let (at, end) = (self.index(range.start()), self.index(range.end()));
            let state = self.state(at)?;
            let run = range.until(self.address(self.run_end(at, end, state)))?;
            rest = range.from(run.end());
            Some((run, state))
        })
    }

    /// The first span of `range` whose pages all satisfy `wanted`, as long as it can be.
    pub fn span(&self, range: Range, wanted: impl Fn(PageState) -> bool) -> Option<Range> {
        let mut runs = self.runs(range).skip_while(|(_, state)| !wanted(*state));
        let (first, _) = runs.next()?;
        let end =
            runs.take_while(|(_, state)| wanted(*state)).last().map_or(first.end(), |(run, _)| run.end());
        Range::new(first.start(), end)
    }

    /// The smallest range that has all pages of `range` that satisfy `wanted`.
    pub fn hull(&self, range: Range, wanted: impl Fn(PageState) -> bool) -> Option<Range> {
        let mut runs = self.runs(range).filter(|(_, state)| wanted(*state)).map(|(run, _)| run);
        let first = runs.next()?;
        Range::new(first.start(), runs.last().unwrap_or(first).end())
    }

    /// Whether every page of `range` is in bounds and satisfies `wanted`.
    pub fn all(&self, range: Range, wanted: impl Fn(PageState) -> bool) -> bool {
        self.bounds.includes(range) && self.runs(range).all(|(_, state)| wanted(state))
    }

    /// Bytes of the pages of `range` that satisfy `wanted`.
    pub fn bytes(&self, range: Range, wanted: impl Fn(PageState) -> bool) -> u64 {
        self.runs(range).filter(|(_, state)| wanted(*state)).map(|(run, _)| run.len()).sum()
    }

    fn index(&self, address: u64) -> usize {
        usize::try_from(address.saturating_sub(self.bounds.start()) / PAGE_SIZE).unwrap_or(usize::MAX)
    }

    fn address(&self, index: usize) -> u64 {
        let bytes = u64::try_from(index).unwrap_or(u64::MAX).saturating_mul(PAGE_SIZE);
        self.bounds.start().saturating_add(bytes)
    }

    fn state(&self, index: usize) -> Option<PageState> {
        match self.chunks.get(index / CHUNK_PAGES)? {
            Chunk::Same(state) => Some(*state),
            Chunk::Mixed(states) => states.get(index % CHUNK_PAGES).copied(),
        }
    }

    /// The first page from `at` up to `end` that is not in `state`.
    fn run_end(&self, mut at: usize, end: usize, state: PageState) -> usize {
        while at < end {
            let offset = at % CHUNK_PAGES;
            let stop = end.min(at - offset + CHUNK_PAGES);
            match self.chunks.get(at / CHUNK_PAGES) {
                Some(Chunk::Same(same)) if *same == state => {}
                Some(Chunk::Mixed(states)) => {
                    let part = states.get(offset..offset + (stop - at)).unwrap_or_default();
                    if let Some(other) = part.iter().position(|other| *other != state) {
                        return at + other;
                    }
                }
                Some(Chunk::Same(_)) | None => return at,
            }
            at = stop;
        }
        end
    }
}

impl Chunk {
    fn set(&mut self, offset: usize, count: usize, state: PageState) {
        if count == CHUNK_PAGES {
            *self = Self::Same(state);
            return;
        }
        if let Self::Same(same) = self {
            if *same == state {
                return;
            }
            *self = Self::Mixed(vec![*same; CHUNK_PAGES].into_boxed_slice());
        }
        let Self::Mixed(states) = self else { return };
        if let Some(part) = states.get_mut(offset..offset + count) {
            part.fill(state);
        }
        // Mostly the two ends differ and this is all that is looked at.
        if states.first() == states.last() && states.iter().all(|other| *other == state) {
            *self = Self::Same(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x10_0000_0000;

    fn range(start: u64, end: u64) -> Range {
        Range::new(BASE + start * PAGE_SIZE, BASE + end * PAGE_SIZE).unwrap()
    }

    fn runs(pages: &Pages, range: Range) -> Vec<(Range, PageState)> {
        pages.runs(range).collect()
    }

    #[test]
    fn a_state_keeps_its_parts_apart() {
        let state = PageState::committed(Prot::RX, Prot::RW);
        assert_eq!((state.epcm(), state.host()), (Prot::RX, Prot::RW));
        assert_eq!(state.with_host(Prot::NONE), PageState::committed(Prot::RX, Prot::NONE));
        assert_eq!(state.with_epcm(Prot::RWX), PageState::committed(Prot::RWX, Prot::RW));
        assert!(state.allows(Access::Read) && !state.allows(Access::Write) && !state.allows(Access::Exec));
        assert!(!PageState::absent(Prot::RWX).with_epcm(Prot::RWX).allows(Access::Read));
        assert!(state.stale().is_stale() && state.stale().is_committed() && !state.is_stale());
    }

    #[test]
    fn sixty_four_gibibytes_are_one_run_and_cost_little() {
        let all = range(0, 1 << 24);
        let absent = PageState::absent(Prot::NONE);
        let mut pages = Pages::new(all, absent);
        assert_eq!(runs(&pages, all), [(all, absent)]);
        assert!(pages.chunks.len() * size_of::<Chunk>() <= 64 << 10);
        let used = PageState::committed(Prot::RW, Prot::RWX);
        pages.set(range(4090, 4100), used);
        pages.set(range(5000, 5001), used);
        assert_eq!(
            runs(&pages, all),
            [
                (range(0, 4090), absent),
                (range(4090, 4100), used),
                (range(4100, 5000), absent),
                (range(5000, 5001), used),
                (range(5001, 1 << 24), absent),
            ]
        );
        assert_eq!(pages.committed_bytes(), 11 * PAGE_SIZE);
        assert_eq!(pages.span(all, PageState::is_committed), Some(range(4090, 4100)));
        assert_eq!(pages.hull(all, PageState::is_committed), Some(range(4090, 5001)));
        assert_eq!(pages.bytes(range(4095, 5001), PageState::is_committed), 6 * PAGE_SIZE);
    }

    #[test]
    fn memory_is_given_back() {
        let all = range(0, 8192);
        let absent = PageState::absent(Prot::NONE);
        let mut pages = Pages::new(all, absent);
        for page in 0..4096 {
            pages.set(range(page, page + 1), PageState::committed(Prot::RW, Prot::RWX));
        }
        assert!(pages.chunks.iter().all(|chunk| matches!(chunk, Chunk::Same(_))));
        for page in (0..4096).rev() {
            pages.set(range(page, page + 1), absent);
        }
        assert!(pages.chunks.iter().all(|chunk| matches!(chunk, Chunk::Same(_))));
        assert_eq!(pages.committed_bytes(), 0);
        assert_eq!(runs(&pages, all), [(all, absent)]);
    }

    #[test]
    fn out_of_bounds_is_nothing() {
        let mut pages = Pages::new(range(16, 20), PageState::absent(Prot::NONE));
        let used = PageState::committed(Prot::RW, Prot::RWX);
        pages.set(range(0, 18), used);
        assert_eq!(pages.committed_bytes(), 2 * PAGE_SIZE);
        assert_eq!(pages.get(range(15, 16).start()), None);
        assert_eq!(pages.get(range(20, 21).start()), None);
        assert_eq!(pages.get(range(17, 18).start() + 5), Some(used));
        assert_eq!(runs(&pages, range(0, 10)), []);
        assert!(pages.all(range(16, 18), PageState::is_committed));
        assert!(!pages.all(range(15, 18), PageState::is_committed));
        assert_eq!(pages.span(range(0, 30), |state| !state.is_committed()), Some(range(18, 20)));
        pages.update(range(0, 30), |state| state.with_host(Prot::R));
        assert_eq!(pages.get(range(19, 20).start()), Some(PageState::absent(Prot::R)));
    }
}
