//! Pairs of sockets of which another process has one: sockets of the host's.

use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::flags::poll as bits;
use casemate_enclave_abi::{Errno, Op};

use super::{Inbox, Local, STREAM};
use crate::fs::{
    Carried, OpenFile, PipeHandle, Received, Sink, Source, pipe_poll, pipe_read, pipe_write, sockets,
};
use crate::host::{self, TRANSFER};

impl Inbox {
    /// The socket of the host's that stands for this inbox's.
    pub(super) fn handle(&self) -> Option<Arc<PipeHandle>> {
        self.outside.lock().clone()
    }

    /// What must be asked of the host, where it knows.
    pub(super) fn outside(&self, events: u32, pipes: &mut Vec<(u64, u64)>) {
        if let Some(handle) = self.handle() {
            pipes.push((handle.number(), u64::from(events & (bits::IN | bits::OUT))));
        }
    }
}

impl Local {
    /// What carries it to another process.
    pub(super) fn share(&self) -> Result<Carried, Errno> {
        let kind = self.kind;
        let named = self.inbox.name.lock().len() > 2 || self.inbox.mail.lock().backlog.is_some();
        match self.connected() {
            Some(peer) if self.paired => {
                let handle = self.become_outside(&peer)?;
                Ok(handle.map_or(Carried::Refused, |handle| Carried::Pair { handle: handle.number(), kind }))
            }
            None if !named => Ok(Carried::Local(kind)),
            // Names are this enclave's, and so is who has connected by them.
            _ => Ok(Carried::Refused),
        }
    }

    /// Makes the pair one of the host's, with what is in it. `None`: there is in it what the host cannot have.
    fn become_outside(&self, peer: &Arc<Inbox>) -> Result<Option<Arc<PipeHandle>>, Errno> {
        if let Some(handle) = self.inbox.handle() {
            return Ok(Some(handle));
        }
        let files = |inbox: &Inbox| inbox.mail.lock().packets.iter().any(|packet| !packet.files.is_empty());
        if files(&self.inbox) || files(peer) {
            return Ok(None);
        }
        let [own, other] = sockets(self.kind)?;
        // All other threads stand still: nothing is added meanwhile.
        self.inbox.move_to(&other)?;
        peer.move_to(&own)?;
        let (gone, own_ends, other_ends) = {
            let (mail, peers) = (self.inbox.mail.lock(), peer.mail.lock());
            (peers.gone, peers.ended && !peers.gone, mail.ended && !peers.gone)
        };
        if own_ends {
            shutdown(&own, false, true)?;
        }
        if other_ends {
            shutdown(&other, false, true)?;
        }
        let own = Arc::new(own);
        *self.inbox.outside.lock() = Some(Arc::clone(&own));
        if !gone {
            *peer.outside.lock() = Some(Arc::new(other));
        }
        self.inbox.queue.wake();
        peer.queue.wake();
        Ok(Some(own))
    }
}

impl Inbox {
    /// Sends what is in it by this socket.
    fn move_to(&self, sender: &PipeHandle) -> Result<(), Errno> {
        loop {
            let Some(packet) = self.mail.lock().packets.pop_front() else { return Ok(()) };
            let bytes: Vec<u8> = packet.bytes.into();
            let mut done = 0;
            while done < bytes.len() {
                done += pipe_write(sender, &Source::Kernel(&bytes), done)?.ok_or(Errno::EIO)?;
            }
        }
    }
}

/// Receives what there is; `None`: nothing yet.
pub(super) fn receive(
    handle: &PipeHandle,
    to: &mut Sink<'_>,
    at: usize,
    peek: bool,
) -> Result<Option<Received>, Errno> {
    let count = pipe_read(handle, to, at, peek)?;
    Ok(count.map(|count| Received { count, length: count, ..Received::default() }))
}

/// Sends what there is room for, a message as a whole; `None`: there is none.
pub(super) fn send(
    handle: &PipeHandle,
    from: &Source<'_>,
    at: usize,
    kind: u32,
    files: &[Arc<OpenFile>],
) -> Result<Option<usize>, Errno> {
    if !files.is_empty() {
        // They are this enclave's.
        return Err(Errno::EOPNOTSUPP);
    }
    if kind != STREAM && from.len() > TRANSFER {
        return Err(Errno::EMSGSIZE);
    }
    pipe_write(handle, from, at)
}

/// What it is ready for.
pub(super) fn poll(handle: &PipeHandle) -> Result<u32, Errno> {
    pipe_poll(handle, bits::IN | bits::OUT | bits::RDHUP)
}

/// shutdown(2).
pub(super) fn shutdown(handle: &PipeHandle, read: bool, write: bool) -> Result<(), Errno> {
    let how = match (read, write) {
        (true, true) => 2,
        (false, true) => 1,
        _ => 0,
    };
    host::call(Op::PipeShutdown, [handle.number(), how, 0, 0, 0, 0]).map(drop)
}

/// A socket that the parent's process has passed: one of a pair, or one that was never used (`None`).
pub(crate) fn take(kind: u32, handle: Option<PipeHandle>, flags: u32) -> Result<Arc<OpenFile>, Errno> {
    super::check(kind)?;
    let mut socket = Local::unconnected(kind);
    if let Some(handle) = handle {
        // The other one is nowhere in here, but it has a name: none.
        *socket.peer.get_mut() = Some(Arc::clone(&Local::unconnected(kind).inbox));
        *socket.inbox.outside.lock() = Some(Arc::new(handle));
        socket.paired = true;
    }
    let label = socket.names();
    Ok(OpenFile::new(Arc::new(socket), flags, label))
}
