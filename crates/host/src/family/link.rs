//! What joins a child's process to its parent's.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;

use casemate_enclave_abi::errno::Errno;
use rustix::io::{Errno as HostErrno, fcntl_dupfd_cloexec, read, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recv, recvmsg, send, sendmsg,
};
use rustix::process::{Pid, setpgid};

use crate::files::errno;
use crate::raw::descriptor;

/// Two sockets: one for the bytes of the enclaves, one for descriptors, a message each.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(super) bytes: OwnedFd,
    pub(super) handles: OwnedFd,
}

/// What the parent's process asks of the child's: its process group. The kernel lets nobody else set it once a process has
/// executed a program, which the child's has long done when the program inside thinks that it has just been made.
#[derive(Debug)]
pub(crate) struct Control(pub(super) OwnedFd);

impl Control {
    /// Has the child's process join a process group, and waits until it has.
    pub(super) fn set_group(&self, group: i32) -> Result<(), Errno> {
        retry_on_intr(|| send(&self.0, &group.to_ne_bytes(), SendFlags::NOSIGNAL)).map_err(errno)?;
        let mut answer = [0; 4];
        match retry_on_intr(|| recv(&self.0, &mut answer, RecvFlags::empty())) {
            Ok((4, _)) => match u16::try_from(i32::from_ne_bytes(answer)) {
                Ok(0) => Ok(()),
                Ok(number) => Err(Errno::new(number).unwrap_or(Errno::EPERM)),
                Err(_) => Err(Errno::EPERM),
            },
            _ => Err(Errno::ESRCH),
        }
    }

    /// In the child's process: does what the parent's asks, as long as there is one.
    pub(super) fn obey(self) -> rustix::io::Result<()> {
        let serve = move || {
            let mut asked = [0; 4];
            while let Ok((4, _)) = retry_on_intr(|| recv(&self.0, &mut asked, RecvFlags::empty())) {
                let group = Pid::from_raw(i32::from_ne_bytes(asked));
                let answer = match setpgid(None, group) {
                    Ok(()) => 0,
                    Err(error) => error.raw_os_error(),
                };
                if send(&self.0, &answer.to_ne_bytes(), SendFlags::NOSIGNAL).is_err() {
                    return;
                }
            }
        };
        thread("control", serve)
    }
}

/// What a child's process is started with: the descriptors that its parent left for it, and the family's first process.
#[derive(Debug)]
pub struct Link {
    pub(super) channel: Channel,
    pub(super) control: Control,
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
        let [bytes, handles, control, life, root] = [next()?, next()?, next()?, next()?, next()?];
        let take = |number| descriptor::inherited(number).ok_or(BadLink);
        Ok(Self {
            channel: Channel { bytes: take(bytes)?, handles: take(handles)? },
            control: Control(take(control)?),
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
        let sent = retry_on_intr(|| {
            sendmsg(&self.handles, &[IoSlice::new(b"h")], &mut control, SendFlags::NOSIGNAL)
        });
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
    thread("family", watch)
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> rustix::io::Result<()> {
    let started = std::thread::Builder::new().name(name.into()).spawn(run);
    started.map(drop).map_err(|error| HostErrno::from_io_error(&error).unwrap_or(HostErrno::AGAIN))
}
