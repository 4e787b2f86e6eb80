//! A family of enclaves: processes that came from one `casemate run`.
//!
//! Each process of the program is an enclave of its own in a host process of its own, and these host processes are related as
//! the program's are: a child's is a child of its parent's. Process ids, groups, sessions, exit statuses and waiting are
//! therefore the host kernel's. What a child is to run it learns from its parent over a channel, a socket that this side only
//! carries bytes through.

mod kin;
mod link;
mod pipes;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_enclave_abi::errno::Errno;
use casemate_enclave_abi::op::{GROUP_GETPGID, GROUP_GETPPID, GROUP_GETSID, GROUP_SETPGID, GROUP_SETSID};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{FdFlags, fcntl_setfd, retry_on_intr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, WaitOptions, getpgid, getpid, getppid, getsid, set_child_subreaper, setpgid, setsid, wait, waitpgid,
    waitpid,
};

use crate::files::errno;

pub use link::{BadLink, Link};
use link::{Channel, Control};
pub(crate) use pipes::Pipes;

/// This process's place in the family.
#[derive(Debug)]
pub(crate) struct Family {
    /// How a child is started: the arguments of this command, between which the link goes.
    command: Vec<OsString>,
    /// The first process.
    root: Pid,
    /// Ends when the first process does.
    life: OwnedFd,
    /// Of the first process: what ends then.
    _lives: Option<OwnedFd>,
    /// To the parent.
    parent: Option<Arc<Channel>>,
    children: Mutex<BTreeMap<u64, Arc<Channel>>>,
    /// Children that have not been waited for.
    controls: Mutex<BTreeMap<i32, Arc<Control>>>,
    /// One start at a time: what a child inherits is open for its start only.
    starting: Mutex<()>,
    pub(crate) pipes: Pipes,
    /// Becomes readable at a signal for the program, for whoever waits outside.
    pub(crate) alarm: OwnedFd,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Family {
    /// The family of a first process, or that of a parent.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn new(command: &[OsString], link: Option<Link>) -> rustix::io::Result<Self> {
        let alarm = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (root, life, lives, parent) = match link {
            Some(Link { channel, control, life, root }) => {
                control.obey()?;
                (root, life, None, Some(Arc::new(channel)))
            }
            None => {
                let (life, lives) = pipe_with(PipeFlags::CLOEXEC)?;
                // Orphans come to the first process, as in a container.
                set_child_subreaper(Some(getpid()))?;
                (getpid(), life, Some(lives), None)
            }
        };
        if lives.is_none() {
            link::end_with(&life)?;
        }
        Ok(Self {
            command: command.to_vec(),
            root,
            life,
            _lives: lives,
            parent,
            children: Mutex::default(),
            controls: Mutex::default(),
            starting: Mutex::default(),
            pipes: Pipes::default(),
            alarm,
        })
    }

    /// Starts another enclave. Gives its process id.
    pub(crate) fn spawn(&self) -> Result<u64, Errno> {
        let (program, rest) = self.command.split_first().ok_or(Errno::ENOSYS)?;
        let pair = |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map_err(errno);
        let (bytes, its_bytes) = pair(SocketType::STREAM)?;
        let (handles, its_handles) = pair(SocketType::SEQPACKET)?;
        let (control, its_control) = pair(SocketType::SEQPACKET)?;
        let _alone = lock(&self.starting);
        let passed: [BorrowedFd<'_>; 4] =
            [its_bytes.as_fd(), its_handles.as_fd(), its_control.as_fd(), self.life.as_fd()];
        let inherit = |flags| passed.iter().try_for_each(|descriptor| fcntl_setfd(descriptor, flags));
        inherit(FdFlags::empty()).map_err(errno)?;
        let [a, b, c, d] = passed.map(|descriptor| descriptor.as_raw_fd());
        let link = format!("--family={a}:{b}:{c}:{d}:{}", self.root.as_raw_pid());
        // The subcommand stands first.
        let child =
            Command::new("/proc/self/exe").arg(program).arg(link).args(rest).stdin(Stdio::inherit()).spawn();
        inherit(FdFlags::CLOEXEC).map_err(errno)?;
        let child = child.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOMEM) => Errno::ENOMEM,
            _ => Errno::EAGAIN,
        })?;
        let pid = u64::from(child.id());
        lock(&self.controls).insert(signed(pid), Arc::new(Control(control)));
        lock(&self.children).insert(pid, Arc::new(Channel { bytes, handles }));
        Ok(pid)
    }

    fn channel(&self, child: u64) -> Result<Arc<Channel>, Errno> {
        if child == 0 {
            return self.parent.clone().ok_or(Errno::EBADF);
        }
        lock(&self.children).get(&child).cloned().ok_or(Errno::EBADF)
    }

    /// Writes to the channel to a child, or to the parent.
    pub(crate) fn write(&self, child: u64, bytes: &[u8]) -> Result<usize, Errno> {
        self.channel(child)?.write(bytes)
    }

    /// Reads from it.
    pub(crate) fn read(&self, child: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.channel(child)?.read(buffer)
    }

    /// Passes a pipe to a child.
    pub(crate) fn pass(&self, child: u64, handle: u64) -> Result<(), Errno> {
        self.pass_descriptor(child, &*self.pipes.get(handle)?)
    }

    /// Passes a descriptor to a child.
    pub(crate) fn pass_descriptor(&self, child: u64, descriptor: &impl AsFd) -> Result<(), Errno> {
        self.channel(child)?.pass(descriptor)
    }

    /// Takes the next descriptor that the parent has passed.
    pub(crate) fn take_descriptor(&self) -> Result<OwnedFd, Errno> {
        self.channel(0)?.take()
    }

    /// Takes the next pipe that the parent has passed.
    pub(crate) fn take(&self) -> Result<u64, Errno> {
        self.pipes.add(self.take_descriptor()?)
    }

    /// Forgets the channel to a child.
    pub(crate) fn close(&self, child: u64) -> Result<(), Errno> {
        lock(&self.children).remove(&child).map(drop).ok_or(Errno::EBADF)
    }

    /// Looks for a child that has changed; gives it and its status.
    pub(crate) fn wait(&self, pid: u64, options: u64) -> Result<(u64, i32), Errno> {
        let known = WaitOptions::UNTRACED | WaitOptions::CONTINUED;
        let options = u32::try_from(options).map_err(|_| Errno::EINVAL)?;
        let options = WaitOptions::from_bits_truncate(options) & known | WaitOptions::NOHANG;
        let found = retry_on_intr(|| match signed(pid) {
            -1 => wait(options),
            0 => waitpgid(getpgid(None)?, options),
            pid if pid < 0 => match Pid::from_raw(pid.saturating_neg()) {
                Some(group) => waitpgid(group, options),
                None => Err(rustix::io::Errno::CHILD),
            },
            pid => waitpid(Pid::from_raw(pid), options),
        });
        let Some((pid, status)) = found.map_err(errno)? else { return Ok((0, 0)) };
        if !status.stopped() && !status.continued() {
            lock(&self.controls).remove(&pid.as_raw_pid());
        }
        Ok((number(pid), status.as_raw()))
    }

    /// Asks or sets what a process of the family belongs to.
    pub(crate) fn group(&self, kind: u64, pid: u64, group: u64) -> Result<u64, Errno> {
        let named = |pid| if pid == 0 { Ok(None) } else { kin::member(self.root, signed(pid)).map(Some) };
        match kind {
            GROUP_GETPGID => getpgid(named(pid)?).map(number).map_err(errno),
            GROUP_GETSID => getsid(named(pid)?).map(number).map_err(errno),
            GROUP_SETSID => setsid().map(number).map_err(errno),
            GROUP_SETPGID => {
                let group = Pid::from_raw(signed(group));
                match setpgid(named(pid)?, group) {
                    Err(rustix::io::Errno::ACCESS) => {
                        let control = lock(&self.controls).get(&signed(pid)).cloned().ok_or(Errno::EACCES)?;
                        let own = Pid::from_raw(signed(pid)).map_or(0, Pid::as_raw_pid);
                        control.set_group(group.map_or(own, Pid::as_raw_pid)).map(|()| 0)
                    }
                    result => result.map(|()| 0).map_err(errno),
                }
            }
            // The first process's parent is none of the family's business, but it has a number.
            GROUP_GETPPID => Ok(getppid().map_or(0, number)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Sends a signal to processes of the family.
    pub(crate) fn kill(&self, pid: u64, signal: u64) -> Result<(), Errno> {
        kin::kill(self.root, signed(pid), signal)
    }

    /// Ends what is left of the family with its first process.
    pub(crate) fn end(&self) {
        if self.root == getpid() {
            kin::end(self.root);
        }
    }
}

/// A process id of the enclave's, which may be below zero.
fn signed(pid: u64) -> i32 {
    let [a, b, c, d, ..] = pid.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

fn number(pid: Pid) -> u64 {
    u64::try_from(pid.as_raw_pid()).unwrap_or(0)
}
