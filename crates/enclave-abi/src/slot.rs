//! What a ring carries: requests of the enclave, responses of the host, and the enclave's record of what it asked.

use core::fmt;

/// Words in a [`Request`]: 64 bytes, one cache line.
pub const REQUEST_WORDS: u64 = 8;

/// Words in a [`Response`].
pub const RESPONSE_WORDS: u64 = 4;

/// A host call, enclave to host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Comes back in the [`Response`]; from [`Pending::begin`].
    pub id: u64,
    /// An [`crate::op::Op`].
    pub op: u64,
    /// Its arguments, in the order of its table entry; those not used are 0.
    pub args: [u64; 6],
}

impl Request {
    /// The entry for the submission ring.
    #[must_use]
    pub const fn to_words(self) -> [u64; 8] {
        let [a, b, c, d, e, f] = self.args;
        [self.id, self.op, a, b, c, d, e, f]
    }

    /// What a submission ring held. Any words are a request; `op` and `args` are for the host to check.
    #[must_use]
    pub const fn from_words(words: [u64; 8]) -> Self {
        let [id, op, args @ ..] = words;
        Self { id, op, args }
    }
}

/// The answer to a [`Request`], host to enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The request's id; [`Pending::complete`] checks it.
    pub id: u64,
    /// The result, or `-errno` in two's complement; [`crate::op::check`] checks it.
    pub result: u64,
    /// Room for operations with more than one result; none has one yet, so both are 0.
    pub aux: [u64; 2],
}

impl Response {
    /// The entry for the completion ring.
    #[must_use]
    pub const fn to_words(self) -> [u64; 4] {
        let [a, b] = self.aux;
        [self.id, self.result, a, b]
    }

    /// What a completion ring held, unchecked.
    #[must_use]
    pub const fn from_words(words: [u64; 4]) -> Self {
        let [id, result, aux @ ..] = words;
        Self { id, result, aux }
    }
}

/// Bits of an id that hold the index; the others hold the generation.
const INDEX_BITS: u32 = 16;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
/// The last generation. An index that has used it up is never given out again: 2^48 requests later.
const LAST_GENERATION: u64 = u64::MAX >> INDEX_BITS;

/// The id of one outstanding request: generation and index. Never 0, never given out twice by the same [`Pending`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(u64);

impl RequestId {
    /// As it stands in [`Request::id`].
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The place in the table, below `N`: for the caller's own array of what belongs to each request.
    #[must_use]
    pub fn index(self) -> usize {
        // 16 bits always fit.
        usize::try_from(self.0 & INDEX_MASK).unwrap_or(usize::MAX)
    }
}

/// A response to a request that is not outstanding: answered before, or never made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownId(pub u64);

impl fmt::Display for UnknownId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no request {:#x} is outstanding", self.0)
    }
}

impl core::error::Error for UnknownId {}

#[derive(Clone, Copy, Debug)]
struct Entry {
    generation: u64,
    outstanding: bool,
}

/// The enclave's private table of requests without response, at most `N` (up to 65,536) at a time.
#[derive(Debug)]
pub struct Pending<const N: usize> {
    entries: [Entry; N],
    /// Indices that can be given out: the first `free_len` of these, the last first.
    free: [u16; N],
    free_len: usize,
}

impl<const N: usize> Pending<N> {
    const FITS: () = assert!(N <= 1 << INDEX_BITS, "an index has 16 bits");

    /// A table with nothing outstanding.
    #[must_use]
    pub fn new() -> Self {
        let () = Self::FITS;
        let mut free = [0; N];
        // From the back, so that low indices are used first and few are ever touched.
        for (place, index) in free.iter_mut().rev().zip(0..=u16::MAX) {
            *place = index;
        }
        Self { entries: [Entry { generation: 0, outstanding: false }; N], free, free_len: N }
    }

    /// An id for a new request; `None` while `N` are outstanding.
    pub fn begin(&mut self) -> Option<RequestId> {
        let last = self.free_len.checked_sub(1)?;
        let index = *self.free.get(last)?;
        let entry = self.entries.get_mut(usize::from(index))?;
        self.free_len = last;
        // An index at its last generation is not in the list.
        entry.generation = entry.generation.saturating_add(1);
        entry.outstanding = true;
        Some(RequestId(entry.generation << INDEX_BITS | u64::from(index)))
    }

    /// Ends the request that a response names. Each id is good for one response.
    ///
    /// # Errors
    /// No request with this id is outstanding; the table is as it was.
    pub fn complete(&mut self, id: u64) -> Result<RequestId, UnknownId> {
        let unknown = UnknownId(id);
        let index = u16::try_from(id & INDEX_MASK).map_err(|_| unknown)?;
        let entry = self.entries.get_mut(usize::from(index)).ok_or(unknown)?;
        if !entry.outstanding || entry.generation != id >> INDEX_BITS {
            return Err(unknown);
        }
        entry.outstanding = false;
        if entry.generation < LAST_GENERATION
            && let Some(place) = self.free.get_mut(self.free_len)
        {
            *place = index;
            self.free_len = self.free_len.saturating_add(1);
        }
        Ok(RequestId(id))
    }

    /// How many requests are outstanding.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.entries.iter().filter(|entry| entry.outstanding).count()
    }
}

impl<const N: usize> Default for Pending<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_good_once() {
        let mut pending = Pending::<2>::new();
        let first = pending.begin().unwrap();
        let second = pending.begin().unwrap();
        assert_ne!(first, second);
        assert_ne!(first.get(), 0);
        assert_eq!(pending.begin(), None);
        assert_eq!(pending.complete(first.get()), Ok(first));
        assert_eq!(pending.complete(first.get()), Err(UnknownId(first.get())));
        let third = pending.begin().unwrap();
        assert_eq!(third.index(), first.index());
        assert_ne!(third, first);
        assert_eq!(pending.complete(first.get()), Err(UnknownId(first.get())));
        assert_eq!(pending.complete(0), Err(UnknownId(0)));
        assert_eq!(pending.outstanding(), 2);
    }

    #[test]
    fn an_index_retires_after_its_last_generation() {
        let mut pending = Pending::<1>::new();
        pending.entries[0].generation = LAST_GENERATION - 1;
        let last = pending.begin().unwrap();
        assert_eq!(last.get(), u64::MAX << INDEX_BITS);
        assert_eq!(pending.complete(last.get()), Ok(last));
        assert_eq!(pending.begin(), None);
        assert_eq!(pending.outstanding(), 0);
    }

    #[test]
    fn words_keep_their_order() {
        let request = Request { id: 1, op: 2, args: [3, 4, 5, 6, 7, 8] };
        assert_eq!(request.to_words(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Request::from_words(request.to_words()), request);
        let response = Response { id: 1, result: 2, aux: [3, 4] };
        assert_eq!(response.to_words(), [1, 2, 3, 4]);
        assert_eq!(Response::from_words(response.to_words()), response);
    }
}
