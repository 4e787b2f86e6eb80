//! The allocator of the arena: which parts of the window's shared buffers are in use. All of it is private memory of
//! the enclave; the host never learns it and cannot change it.

use crate::window::{Offset, Region, WORD};

/// The unit of allocation in bytes. A block starts at a multiple of this from the arena's start, so no two blocks share
/// a word or a cache line.
pub const GRANULE: u64 = 4096;

const BITS: u64 = 64;

/// A part of the arena that is its owner's alone (among the enclave's own threads: the host can write it always).
///
/// Not `Clone`: to give it back with [`Arena::free`] is to lose it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a block that is dropped is never given back"]
pub struct Block {
    region: Region,
}

impl Block {
    /// Where it starts in the window, 8-byte aligned.
    #[must_use]
    pub const fn offset(&self) -> Offset {
        self.region.offset
    }

    /// How many bytes it has: what was asked, rounded up to whole granules.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.region.len
    }

    /// Never: a block has at least one granule.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.region.len == 0
    }

    /// Both.
    #[must_use]
    pub const fn region(&self) -> Region {
        self.region
    }
}

/// The allocator, for up to `WORDS` times 64 granules: the default is 16 MiB.
///
/// First fit over a bitmap. A single granule, which most calls want, is found in the first word that has one, and freed
/// granules are used again first, while they are still in the caches.
#[derive(Debug)]
pub struct Arena<const WORDS: usize = 64> {
    base: Offset,
    /// How many granules there are.
    granules: u64,
    /// One bit for each granule, set while it is in use; also set behind the last granule.
    used: [u64; WORDS],
    /// No word before this one has a clear bit.
    first: usize,
}

impl<const WORDS: usize> Arena<WORDS> {
    /// The allocator of `len` bytes from `base`. What is not a whole granule, or more than the bitmap can hold, is left
    /// unused.
    ///
    /// `None`: `base` is not 8-byte aligned, or the end is not a `u64`.
    #[must_use]
    pub fn new(base: Offset, len: u64) -> Option<Self> {
        if !base.0.is_multiple_of(WORD) {
            return None;
        }
        base.checked_add(len)?;
        let most = u64::try_from(WORDS).ok()?.checked_mul(BITS)?;
        let granules = (len / GRANULE).min(most);
        let mut used = [u64::MAX; WORDS];
        let mut left = granules;
        for word in &mut used {
            let here = left.min(BITS);
            *word = !low_bits(here);
            left -= here;
        }
        Some(Self { base, granules, used, first: 0 })
    }

    /// A block of at least `len` bytes, one granule if `len` is 0; `None` when no run of free granules is long enough.
    pub fn alloc(&mut self, len: u64) -> Option<Block> {
        let count = len.div_ceil(GRANULE).max(1);
        let start = self.find(count)?;
        let offset = self.base.checked_add(start.checked_mul(GRANULE)?)?;
        let region = Region { offset, len: count.checked_mul(GRANULE)? };
        self.each_word(start, count, |word, bits| *word |= bits);
        while self.used.get(self.first) == Some(&u64::MAX) {
            self.first += 1;
        }
        Some(Block { region })
    }

    /// Takes a block back.
    ///
    /// It must be of this arena. One that cannot be is a bug of the caller: it stops a debug build, and is left alone
    /// in a release build, where the worst is memory that is never used again.
    #[expect(clippy::needless_pass_by_value, reason = "the block must be gone afterwards")]
    pub fn free(&mut self, block: Block) {
        let Some((start, count)) = self.granules_of(&block) else {
            debug_assert!(false, "{block:?} is not a block of this arena");
            return;
        };
        self.each_word(start, count, |word, bits| *word &= !bits);
        if let Ok(word) = usize::try_from(start / BITS) {
            self.first = self.first.min(word);
        }
    }

    /// How many bytes are free, not all of them in one piece.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        let granules: u64 = self.used.iter().map(|word| u64::from(word.count_zeros())).sum();
        granules.saturating_mul(GRANULE)
    }

    /// The first of `count` granules in a row that are free.
    fn find(&self, count: u64) -> Option<u64> {
        if count > self.granules {
            return None;
        }
        let mut base = u64::try_from(self.first).ok()?.checked_mul(BITS)?;
        // Free granules in a row that end just before the place looked at.
        let mut run = 0_u64;
        for &word in self.used.get(self.first..)? {
            let mut at = 0;
            while at < BITS {
                let rest = word >> at;
                let free = u64::from(rest.trailing_zeros()).min(BITS - at);
                run += free;
                if run >= count {
                    return (base + at + free).checked_sub(run);
                }
                at += free;
                if at < BITS {
                    run = 0;
                    at += u64::from((word >> at).trailing_ones());
                }
            }
            base += BITS;
        }
        None
    }

    /// The first granule of a block and how many it has; `None` if it is not one that is in use here.
    fn granules_of(&self, block: &Block) -> Option<(u64, u64)> {
        let from_base = block.region.offset.0.checked_sub(self.base.0)?;
        let (start, count) = (from_base / GRANULE, block.region.len / GRANULE);
        let whole = from_base.is_multiple_of(GRANULE) && start.checked_add(count)? <= self.granules;
        let used = (start..start + count).all(|granule| {
            usize::try_from(granule / BITS)
                .ok()
                .and_then(|word| self.used.get(word))
                .is_some_and(|word| word >> (granule % BITS) & 1 == 1)
        });
        (whole && used).then_some((start, count))
    }

    /// Calls `change` for each word that has bits of the granules `start` to `start + count`, with those bits.
    fn each_word(&mut self, start: u64, count: u64, change: impl Fn(&mut u64, u64)) {
        let (mut at, mut left) = (start, count);
        while left > 0 {
            let shift = at % BITS;
            let here = left.min(BITS - shift);
            let Some(word) = usize::try_from(at / BITS).ok().and_then(|index| self.used.get_mut(index))
            else {
                return;
            };
            change(word, low_bits(here) << shift);
            at += here;
            left -= here;
        }
    }
}

/// The lowest `count` bits, 0 to 64.
fn low_bits(count: u64) -> u64 {
    u32::try_from(count).ok().and_then(|count| 1_u64.checked_shl(count)).map_or(u64::MAX, |bit| bit - 1)
}
