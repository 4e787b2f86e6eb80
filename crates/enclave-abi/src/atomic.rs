//! The one atomic type of the crate: the processor's, or loom's when the model checker runs.

#![expect(unexpected_cfgs, reason = "cfg(loom) is set on the command line, for the model checker only")]

#[cfg(not(loom))]
pub use core::sync::atomic::AtomicU64;
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::AtomicU64;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{Ordering, fence};
