//! Standard input, output and error of the host's process: a terminal where the start-up block says so, else pipes.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::flags::{mode, open, poll};
use casemate_enclave::vfs::records;
use casemate_enclave_abi::op::{POLL_STDERR, POLL_STDIN, POLL_STDOUT};
use casemate_enclave_abi::start::{FLAG_STDERR_TERMINAL, FLAG_STDIN_TERMINAL, FLAG_STDOUT_TERMINAL};
use casemate_enclave_abi::{Errno, Op, Stat, StatFs};

use super::Carried;
use super::file::{File, Sink, Source};
use super::open_file::OpenFile;
use super::wait::{self, WaitQueue};
use super::{devices, terminal};
use crate::host::{self, Buffer, TRANSFER};
use crate::process::process;
use crate::signal;

/// What `/proc/self/fd` shows of a terminal.
pub(super) const TERMINAL: &str = "/dev/pts/0";

/// A stream of the console.
pub(super) struct Console {
    /// 0, 1 or 2.
    stream: u64,
    terminal: bool,
    /// The stream that is read, if it can be.
    input: bool,
    /// The stream that is written, if it can be.
    output: Option<u64>,
    /// Counts what may have changed readiness, for edge-triggered epoll.
    changed: Arc<WaitQueue>,
}

impl Console {
    fn new(stream: u64, flags: u64) -> Self {
        let is_terminal =
            [FLAG_STDIN_TERMINAL, FLAG_STDOUT_TERMINAL, FLAG_STDERR_TERMINAL].map(|bit| flags & bit != 0);
        let terminal = match stream {
            0 => is_terminal[0],
            1 => is_terminal[1],
            _ => is_terminal[2],
        };
        // A terminal is one device, whichever stream leads to it.
        let output = match stream {
            0 if !terminal => None,
            0 if is_terminal[1] => Some(1),
            0 if is_terminal[2] => Some(2),
            0 => None,
            stream => Some(stream),
        };
        let input = stream == 0 || terminal && is_terminal[0];
        Self { stream, terminal, input, output, changed: Arc::default() }
    }

    fn poll_mask(&self) -> u64 {
        let input = if self.input { POLL_STDIN } else { 0 };
        input | self.output.map_or(0, poll_bit)
    }

    fn label(&self) -> String {
        if self.terminal { String::from(TERMINAL) } else { alloc::format!("pipe:[{}]", self.stream + 1) }
    }
}

fn poll_bit(stream: u64) -> u64 {
    if stream == 1 { POLL_STDOUT } else { POLL_STDERR }
}

/// Descriptors 0, 1 and 2; `flags` of the start-up block.
pub(super) fn standard(flags: u64) -> [Arc<OpenFile>; 3] {
    [0, 1, 2].map(|stream| open_stream(stream, flags))
}

/// A stream of the console, in another enclave of the family.
pub(super) fn stream(stream: u64) -> Arc<OpenFile> {
    open_stream(stream.min(2), process().start.flags)
}

fn open_stream(stream: u64, flags: u64) -> Arc<OpenFile> {
    let console = Console::new(stream, flags);
    let access = match (console.terminal, stream) {
        (true, _) => open::RDWR,
        (false, 0) => 0,
        (false, _) => open::WRONLY,
    };
    let label = console.label();
    OpenFile::new(Arc::new(console), access, label)
}

/// `/dev/tty`.
///
/// # Errors
/// ENXIO: there is none.
pub(super) fn terminal() -> Result<Arc<Console>, Errno> {
    let flags = process().start.flags;
    let streams = [(FLAG_STDIN_TERMINAL, 0), (FLAG_STDOUT_TERMINAL, 1), (FLAG_STDERR_TERMINAL, 2)];
    let (_, stream) = streams.into_iter().find(|(bit, _)| flags & bit != 0).ok_or(Errno::ENXIO)?;
    Ok(Arc::new(Console::new(stream, flags)))
}

impl File for Console {
    fn stat(&self) -> Result<Stat, Errno> {
        if self.terminal {
            return Ok(devices::stat(TERMINAL, mode::CHARACTER | 0o620, records::device(136, 0)));
        }
        Ok(devices::stat(&self.label(), mode::FIFO | 0o600, 0))
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        Ok(devices::stat_fs(devices::PIPEFS))
    }

    fn read(&self, _position: u64, to: &mut Sink<'_>, nonblock: bool) -> Result<usize, Errno> {
        if !self.input {
            return Err(Errno::EBADF);
        }
        let length = to.len().min(TRANSFER);
        if length == 0 {
            return Ok(0);
        }
        let buffer = Buffer::new(length)?;
        let look = || {
            if wait::console_ready(POLL_STDIN, 0)? == 0 {
                return if nonblock { Err(Errno::EAGAIN) } else { Ok(None) };
            }
            match host::call(Op::ConsoleRead, [0, buffer.offset(), length as u64, 0, 0, 0]) {
                Ok(count) => usize::try_from(count).map(Some).map_err(|_| Errno::EIO),
                Err(Errno::EAGAIN) if !nonblock => Ok(None),
                Err(Errno::EINTR) => Ok(None),
                Err(errno) => Err(errno),
            }
        };
        let found = wait::until(None, |awaited| awaited.streams = POLL_STDIN, look);
        self.changed.wake();
        let count = found?.unwrap_or(0);
        to.take(0, count, &buffer)?;
        Ok(count)
    }

    fn write(
        &self,
        _position: Option<u64>,
        from: &Source<'_>,
        nonblock: bool,
    ) -> Result<(u64, usize), Errno> {
        let stream = self.output.ok_or(Errno::EBADF)?;
        let length = from.len();
        if length == 0 {
            return Ok((0, 0));
        }
        let buffer = Buffer::new(length.min(TRANSFER))?;
        let mut done = 0;
        while done < length {
            let chunk = (length - done).min(TRANSFER);
            match from.give(done, chunk, &buffer) {
                Err(_) if done > 0 => break,
                given => given?,
            }
            match host::call(Op::ConsoleWrite, [stream, buffer.offset(), chunk as u64, 0, 0, 0]) {
                Ok(count) => done += usize::try_from(count).map_err(|_| Errno::EIO)?,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if !nonblock => {
                    let bit = poll_bit(stream);
                    let look = || Ok((wait::console_ready(bit, 0)? != 0).then_some(()));
                    match wait::until(None, |awaited| awaited.streams = bit, look) {
                        Err(_) if done > 0 => break,
                        waited => waited?,
                    };
                }
                Err(_) if done > 0 => break,
                Err(errno) => {
                    if errno == Errno::EPIPE {
                        signal::send_to_current(signal::SIGPIPE);
                    }
                    return Err(errno);
                }
            }
        }
        self.changed.wake();
        Ok((0, done))
    }

    fn ioctl(&self, request: u32, argument: u64) -> Result<u64, Errno> {
        if !self.terminal {
            if request == terminal::FIONREAD && self.input {
                let ready = wait::console_ready(POLL_STDIN, 0)? != 0;
                crate::user::write_value(argument, &u32::from(ready))?;
                return Ok(0);
            }
            return Err(Errno::ENOTTY);
        }
        terminal::ioctl(self.stream, request, argument)
    }

    fn poll(&self) -> Result<u32, Errno> {
        let ready = wait::console_ready(self.poll_mask(), 0)?;
        let mut events = 0;
        if ready & POLL_STDIN != 0 {
            events |= poll::IN | poll::RDNORM;
        }
        if ready & (POLL_STDOUT | POLL_STDERR) != 0 {
            events |= poll::OUT | poll::WRNORM;
        }
        Ok(events)
    }

    fn queues(&self, queues: &mut Vec<Arc<WaitQueue>>) {
        queues.push(Arc::clone(&self.changed));
    }

    fn console_streams(&self) -> u64 {
        self.poll_mask()
    }

    fn carry(&self) -> Result<Carried, Errno> {
        Ok(Carried::Console(self.stream))
    }

    fn label(&self) -> Option<String> {
        Some(self.label())
    }
}
