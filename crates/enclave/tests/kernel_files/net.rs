//! No sockets.

use std::sync::Arc;

use casemate_enclave_abi::Errno;

use crate::fs::{OpenFile, PipeHandle};

/// What a socket is made of that another process has, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InetShared {
    pub(crate) facts: [u64; 7],
}

/// Never.
pub(crate) fn used() -> bool {
    false
}

/// There is nothing to look at.
pub(crate) fn look_outside(_number: u64) {}

/// There is none.
pub(crate) fn take_inet(_facts: [u64; 7], _flags: u32) -> Result<Arc<OpenFile>, Errno> {
    Err(Errno::EAFNOSUPPORT)
}

/// There is none.
pub(crate) fn take_local(
    _kind: u32,
    _handle: Option<PipeHandle>,
    _flags: u32,
) -> Result<Arc<OpenFile>, Errno> {
    Err(Errno::EAFNOSUPPORT)
}
