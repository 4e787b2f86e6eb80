//! All of this crate's unsafe code: memory, the entry into the enclave, signals, single instructions.

pub(crate) mod descriptor;
pub(crate) mod entry;
pub(crate) mod futex;
pub(crate) mod lock;
pub(crate) mod memory;
pub(crate) mod segment;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod tsc;
