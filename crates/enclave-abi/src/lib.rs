//! All that an enclave and its untrusted host share: the *window*, one region of memory outside ELRANGE.
//!
//! Both sides link this crate. Each treats the other as hostile: whatever the peer writes, at any time, there is no
//! panic, no access outside the window and no loop whose length the peer decides. The rules that give this:
//!
//! * Every shared field is a `u64`, 8-byte aligned, read and written by 8-byte accesses only (INTEL-SA-00615,
//!   INTEL-SA-00657). A [`Window`] is a slice of `AtomicU64`; from there on all code is safe Rust.
//! * A value that the peer may write is a hint: it is read once into a local, and the local is checked and used.
//! * An index that this side owns is kept in private memory; the shared copy is only ever written.
//! * No pointer crosses. What crosses is an [`Offset`] in bytes from the window's start.
//!
//! The window, in the order of [`Layout`]:
//!
//! | part | written by | checked in |
//! |---|---|---|
//! | start-up block | host, once | [`start`] |
//! | clock page | host | [`clock`] |
//! | panic area | enclave | host takes bytes, no more than the area holds |
//! | for each vCPU: control page | see [`control`] | nothing in it is trusted |
//! | for each vCPU: submission ring | entries, tail: enclave; head: host | [`ring`], [`slot`] |
//! | for each vCPU: completion ring | entries, tail: host; head: enclave | [`ring`], [`slot`], [`op`] |
//! | blob: arguments, environment, CPUID table | host, once | [`blob`] |
//! | arena: paths, buffers, records | both | [`arena`] gives the bounds, [`dir`] and [`stat`] the meaning |
//! | sockets: marks, words, [`stream`]s | see [`net`] | [`net`], [`stream`] |

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod arena;
mod atomic;
pub mod blob;
pub mod clock;
pub mod control;
pub mod dir;
pub mod elrange;
pub mod errno;
pub mod exit;
pub mod layout;
pub mod net;
pub mod op;
pub mod ring;
pub mod shared;
pub mod slot;
pub mod start;
pub mod stat;
pub mod stream;
pub mod window;

pub use arena::{Arena, Block};
pub use atomic::AtomicU64;
pub use blob::{BlobWriter, CpuidEntry, CpuidTable, StringTable, split_strings};
pub use clock::{Clock, ClockParameters};
pub use control::Control;
pub use dir::{DirEntries, DirEntry};
pub use errno::Errno;
pub use exit::{Event, Exit, ExitReason, ExitStatus};
pub use layout::{Layout, MAX_VCPUS};
pub use op::{Op, check};
pub use ring::{Consumer, Producer, RingError};
pub use slot::{Pending, Request, RequestId, Response};
pub use start::{BadStart, StartBlock};
pub use stat::{Stat, StatFs};
pub use stream::{StreamError, StreamReader, StreamWriter};
pub use window::{Offset, OutOfWindow, Region, Window};
