//! What a file that is a socket can do besides being read and written.

use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave_abi::Errno;

use super::file::{File, Sink, Source};
use super::open_file::OpenFile;

/// How bytes are to be sent or received: `MSG_` flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// Leave what is received where it is.
    pub(crate) peek: bool,
    /// Wait until there is all that was asked for.
    pub(crate) wait_all: bool,
    /// Tell the whole length; of a stream: throw away.
    pub(crate) truncate: bool,
    /// No SIGPIPE.
    pub(crate) no_signal: bool,
    /// Do not block.
    pub(crate) nonblock: bool,
}

/// What was received.
#[derive(Default)]
pub(crate) struct Received {
    /// Bytes that were put down.
    pub(crate) count: usize,
    /// Bytes that there were: more, where the room was too short for a datagram.
    pub(crate) length: usize,
    /// Where they came from; empty where that is not told.
    pub(crate) address: Vec<u8>,
    /// Files that came with them.
    pub(crate) files: Vec<Arc<OpenFile>>,
}

/// A connection that was accepted, and the peer's address.
pub(crate) type Accepted = (Arc<dyn File>, Vec<u8>);

/// A socket. Addresses and options are bytes, as Linux has them.
pub(crate) trait Socket: Send + Sync {
    /// bind(2).
    fn bind(&self, address: &[u8]) -> Result<(), Errno>;

    /// listen(2).
    fn listen(&self, backlog: u32) -> Result<(), Errno>;

    /// accept(2): the connection, and the peer's address.
    fn accept(&self, nonblock: bool) -> Result<Accepted, Errno>;

    /// connect(2).
    fn connect(&self, address: &[u8], nonblock: bool) -> Result<(), Errno>;

    /// getsockname(2), or getpeername(2).
    fn name(&self, peer: bool) -> Result<Vec<u8>, Errno>;

    /// setsockopt(2).
    fn set_option(&self, level: u32, option: u32, value: &[u8]) -> Result<(), Errno>;

    /// getsockopt(2): the value, of which `length` bytes are wanted.
    fn option(&self, level: u32, option: u32, length: usize) -> Result<Vec<u8>, Errno>;

    /// shutdown(2) of reading, writing.
    fn shutdown(&self, read: bool, write: bool) -> Result<(), Errno>;

    /// sendto(2), with files (SCM_RIGHTS).
    fn send(
        &self,
        from: &Source<'_>,
        to: Option<&[u8]>,
        files: Vec<Arc<OpenFile>>,
        how: Transfer,
    ) -> Result<usize, Errno>;

    /// recvfrom(2).
    fn receive(&self, to: &mut Sink<'_>, how: Transfer) -> Result<Received, Errno>;

    /// read(2): how many bytes.
    fn receive_bytes(&self, to: &mut Sink<'_>, nonblock: bool) -> Result<usize, Errno> {
        Ok(self.receive(to, Transfer { nonblock, ..Transfer::default() })?.count)
    }

    /// write(2): a position, which sockets have not, and how many bytes.
    fn send_bytes(&self, from: &Source<'_>, nonblock: bool) -> Result<(u64, usize), Errno> {
        let how = Transfer { nonblock, ..Transfer::default() };
        Ok((0, self.send(from, None, Vec::new(), how)?))
    }
}
