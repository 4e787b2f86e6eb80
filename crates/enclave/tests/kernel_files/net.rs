//! No sockets of the host's.

use std::sync::Arc;

use casemate_enclave_abi::Errno;

use crate::fs::{OpenFile, PipeHandle};

/// Never.
pub(crate) fn used() -> bool {
    false
}

/// Of sockets, which there are none of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InetShared {
    pub(crate) number: u64,
    pub(crate) facts: [u64; 7],
}

pub(crate) fn take_inet(_facts: [u64; 7], _flags: u32) -> Result<Arc<OpenFile>, Errno> {
    Err(Errno::EAFNOSUPPORT)
}

pub(crate) fn take_local(
    _kind: u32,
    _handle: Option<PipeHandle>,
    _flags: u32,
) -> Result<Arc<OpenFile>, Errno> {
    Err(Errno::EAFNOSUPPORT)
}
