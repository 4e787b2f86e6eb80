//! What joins a child's process to its parent's.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;

use casemate_enclave_abi::errno::Errno;
use rustix::io::{Errno as HostErrno, fcntl_dupfd_cloexec, read, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv,
    recvmsg, send, sendmsg,
};
use rustix::process::Pid;

use crate::files::errno;
use crate::raw::descriptor;

/// Two sockets: one for the bytes of the enclaves, one for descriptors, a message each.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(super) bytes: OwnedFd,
    pub(super) handles: OwnedFd,
}

/// What a child's process is started with: the descriptors that its parent left for it, and the family's first process.
#[derive(Debug)]
pub struct Link {
    pub(super) channel: Channel,
    pub(super) life: OwnedFd,
    pub(super) root: Pid,
}

/// No link can be that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no parent has started this process so: --family is not for people")]
pub struct BadLink;

impl FromStr for Link {
    type Err = BadLink;

    fn from_str(text: &str) -> Result<Self, BadLink> {
        let mut numbers = text.split(':').map(|number| number.parse::<i32>().map_err(|_| BadLink));
        let mut next = || numbers.next().ok_or(BadLink)?;
        let [bytes, handles, life, root] = [next()?, next()?, next()?, next()?];
        let take = |number| descriptor::inherited(number).ok_or(BadLink);
        Ok(Self {
            channel: Channel { bytes: take(bytes)?, handles: take(handles)? },
            life: take(life)?,
            root: Pid::from_raw(root).ok_or(BadLink)?,
        })
    }
}

impl Channel {
    /// Writes some bytes.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        retry_on_intr(|| send(&self.bytes, bytes, SendFlags::NOSIGNAL)).map_err(errno)
    }

    /// Reads some bytes; 0 when the other side is gone.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match retry_on_intr(|| recv(&self.bytes, &mut *buffer, RecvFlags::empty())) {
            Ok((count, _)) => Ok(count),
            Err(HostErrno::CONNRESET) => Ok(0),
            Err(error) => Err(errno(error)),
        }
    }

    /// Passes a descriptor.
    pub(super) fn pass(&self, descriptor: &impl AsFd) -> Result<(), Errno> {
        let descriptors = [descriptor.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(Errno::EIO);
        }
        let sent =
            retry_on_intr(|| sendmsg(&self.handles, &[IoSlice::new(b"h")], &mut control, SendFlags::NOSIGNAL));
        sent.map(drop).map_err(errno)
    }

    /// Takes the next descriptor.
    pub(super) fn take(&self) -> Result<OwnedFd, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut bytes = [IoSliceMut::new(&mut byte)];
        retry_on_intr(|| recvmsg(&self.handles, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC))
            .map_err(errno)?;
        let taken = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        taken.ok_or(Errno::EIO)
    }
}

/// Ends this process when the family's first one ends, however that happens.
///
/// # Errors
/// The kernel has no descriptor or no thread for it.
pub(super) fn end_with(life: &OwnedFd) -> rustix::io::Result<()> {
    let life = fcntl_dupfd_cloexec(life, 3)?;
    let watch = move || {
        let mut byte = [0];
        // Nobody ever writes.
        let _ = retry_on_intr(|| read(&life, &mut byte));
        std::process::exit(137)
    };
    std::thread::Builder::new()
        .name("family".into())
        .spawn(watch)
        .map(drop)
        .map_err(|error| HostErrno::from_io_error(&error).unwrap_or(HostErrno::AGAIN))
}
