//! Memory that processes share, in the host's hands: `casemate run --shared-memory host`.
//!
//! Enclaves cannot share pages, so what a program maps `MAP_SHARED` lies outside ELRANGE, in a file in the host's memory (a
//! segment) that the enclaves of a family map at the same addresses. Nothing in it is protected: what programs put there the
//! host can read and change. The enclave decides where a segment is mapped, and that it lies here and nowhere else.

use crate::elrange::DYNAMIC_SIZE;

/// Where segments are mapped. Far from ELRANGE, and from where Linux puts programs, libraries and stacks.
pub const SHARED: u64 = 0x6000_0000_0000;

/// Bytes of addresses for segments.
pub const SHARED_SIZE: u64 = 1 << 36;

/// Bytes of the words by which the host answers [`crate::op::Op::SharedWait`]: the first counts answers, each other is one
/// wait's.
pub const WAIT_WORDS_BYTES: u64 = 4096;

/// Value of a wait's word: the host's thread waits.
pub const WAITING: u64 = 0;
/// Value of a wait's word: it was woken, or the futex word has another value. The host writes it.
pub const WOKEN: u64 = 1;
/// Value of a wait's word: nobody is interested any more; a wake that comes is for somebody else. The enclave writes it.
pub const ABANDONED: u64 = 2;
/// Value of a wait's word: the host does not look at it any more. The host writes it.
pub const OVER: u64 = 3;

const _: () = assert!(SHARED >= DYNAMIC_SIZE && (SHARED + SHARED_SIZE) >> 47 == 0);
