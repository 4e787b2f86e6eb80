//! Serves the calls of the enclave. Every argument may be hostile; so is checked whatever names memory, files or pages.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use casemate_enclave_abi::elrange;
use casemate_enclave_abi::errno::Errno;
use casemate_enclave_abi::op::{MAX_POLLED, Op, TERMINAL_WINDOW_SIZE};
use casemate_enclave_abi::stat::{STAT_BYTES, STAT_FS_BYTES};
use casemate_enclave_abi::window::WORD;
use casemate_enclave_abi::{MAX_VCPUS, Offset, Region, Request, Response, Window};
use casemate_sgx::arch::{PageType, Permissions};
use casemate_sgx::platform::{Enclave, PlatformError};

use crate::console;
use crate::family::Family;
use crate::files::mounted::mode;
use crate::files::{Files, MAX_PATH};
use crate::net::Net;
use crate::park::Parking;
use crate::raw::lock::Record;
use crate::shared::{Shared, Wait};

mod net;
#[cfg(test)]
mod tests;

/// The most bytes that one call moves; more is a short count.
const MOST: u64 = 1 << 20;

/// Everything that calls work on, for all vCPUs.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) window: Window<'static>,
    pub(crate) arena: Region,
    pub(crate) files: Files,
    pub(crate) enclave: Arc<dyn Enclave>,
    pub(crate) parking: Parking,
    pub(crate) family: Family,
    pub(crate) net: Net,
    pub(crate) shared_memory: Shared,
}

/// A vCPU's server: what is shared, and a buffer of its own.
#[derive(Debug)]
pub(crate) struct Server {
    service: Arc<Service>,
    buffer: Vec<u8>,
}

impl Server {
    pub(crate) fn new(service: Arc<Service>) -> Self {
        Self { service, buffer: Vec::new() }
    }

    /// Answers a request.
    pub(crate) fn serve(&mut self, request: Request) -> Response {
        let result = match Op::try_from(request.op) {
            Ok(op) => self.call(op, request.args),
            Err(_) => Err(Errno::ENOSYS),
        };
        let result = result.unwrap_or_else(Errno::to_result);
        Response { id: request.id, result, aux: [0; 2] }
    }

    fn call(&mut self, op: Op, args: [u64; 6]) -> Result<u64, Errno> {
        let [a, b, c, d, e, f] = args;
        let service = Arc::clone(&self.service);
        let files = &service.files;
        match op {
            Op::Open => {
                let path = service.path(a, b)?;
                match files.mount(e)? {
                    None => files.open(&path, c),
                    Some(mount) => files.open_in(mount, &path, c, d),
                }
            }
            Op::Close => files.close(a).map(|()| 0),
            Op::Read => self.fill(b, c, |buffer| files.read(a, buffer, d)),
            Op::Write => files.write(a, &service.bytes(b, c)?, d).and_then(count),
            Op::Stat => {
                let out = service.out(b, STAT_BYTES)?;
                files.stat(a)?.write(service.window, out).map(|()| 0).map_err(|_| Errno::EFAULT)
            }
            Op::StatAt => {
                let out = service.out(d, STAT_BYTES)?;
                let path = service.path(a, b)?;
                let stat = match files.mount(e)? {
                    None => files.stat_at(&path, c == 0)?,
                    Some(mount) => mount.stat_at(&path)?,
                };
                stat.write(service.window, out).map(|()| 0).map_err(|_| Errno::EFAULT)
            }
            Op::ReadLink => {
                let path = service.path(a, b)?;
                let mount = files.mount(e)?;
                self.fill(c, d, |buffer| match mount {
                    None => files.read_link(&path, buffer),
                    Some(mount) => mount.read_link(&path, buffer),
                })
            }
            Op::ReadDir => self.fill(b, c, |buffer| files.read_dir(a, buffer, d)),
            Op::StatFs => {
                let out = service.out(c, STAT_FS_BYTES)?;
                let path = service.path(a, b)?;
                let stat = match files.mount(d)? {
                    None => files.stat_fs(&path)?,
                    Some(mount) => mount.stat_fs(&path)?,
                };
                stat.write(service.window, out).map(|()| 0).map_err(|_| Errno::EFAULT)
            }
            Op::MakeDirectory | Op::Remove | Op::SymbolicLink | Op::Rename | Op::Link => {
                service.change_names(op, args).map(|()| 0)
            }
            Op::Change => files.change(a, b, [c, d, e, f]).map(|()| 0),
            Op::FilePass => service.family.pass_descriptor(a, &*files.get(b)?).map(|()| 0),
            Op::FileTake => files.adopt(service.family.take_descriptor()?, a),
            Op::Seek => files.seek(a, b, c),
            Op::Truncate => files.truncate(a, b).map(|()| 0),
            Op::Sync => files.sync(a, b != 0).map(|()| 0),
            Op::Allocate => files.allocate(a, b, c, d).map(|()| 0),
            Op::Lock => files.lock(a, b, Record { kind: c, start: d, length: e, process: 0 }).map(|()| 0),
            Op::TestLock => {
                let out = service.out(f, 4 * WORD)?;
                let found = files.test_lock(a, b, Record { kind: c, start: d, length: e, process: 0 })?;
                let words = [found.kind, found.start, found.length, found.process];
                service.window.store_words(out, &words).map(|()| 0).map_err(|_| Errno::EFAULT)
            }
            Op::LockWhole => files.lock_whole(a, b).map(|()| 0),
            Op::ConsoleRead => self.fill(b, c, |buffer| console::read(a, buffer)),
            Op::ConsoleWrite => console::write(a, &service.bytes(b, c)?).and_then(count),
            Op::ConsolePoll => console::wait(a, b),
            Op::Terminal => service.terminal(a, b, c).map(|()| 0),
            Op::Print => console::print(&service.bytes(a, b)?).and_then(count),
            Op::Protect => {
                service.check_pages(a, b)?;
                service.enclave.protect(a, b, permissions(c)?).map(|()| b).map_err(|error| page_errno(&error))
            }
            Op::RestrictPermissions => {
                let permissions = permissions(c)?;
                service.pages(a, b, |enclave| enclave.restrict_permissions(a, b, permissions))
            }
            Op::ModifyTypes => {
                let kind = u8::try_from(c).ok().and_then(PageType::from_raw).ok_or(Errno::EINVAL)?;
                service.pages(a, b, |enclave| enclave.modify_types(a, b, kind))
            }
            Op::RemovePages => service.pages(a, b, |enclave| enclave.remove_pages(a, b)),
            Op::Spawn => service.family.spawn(),
            Op::ChannelWrite => service.family.write(a, &service.bytes(b, c)?).and_then(count),
            Op::ChannelRead => self.fill(b, c, |buffer| service.family.read(a, buffer)),
            Op::ChannelPass => service.family.pass(a, b).map(|()| 0),
            Op::ChannelTake => service.family.take(),
            Op::ChannelClose => service.family.close(a).map(|()| 0),
            Op::WaitChild => service.wait_child(a, b, c),
            Op::Kill => service.family.kill(a, b).map(|()| 0),
            Op::Group => service.family.group(a, b, c),
            Op::Pipe => service.pipe(a, b).map(|()| 0),
            Op::PipeRead => self.fill(b, c, |buffer| service.family.pipes.read(a, buffer, d != 0)),
            Op::PipeWrite => service.family.pipes.write(a, &service.bytes(b, c)?).and_then(count),
            Op::PipeShutdown => service.family.pipes.shutdown(a, b).map(|()| 0),
            Op::PipeClose => service.family.pipes.close(a).map(|()| 0),
            Op::PollPipes => service.poll_pipes(a, b, c, d),
            Op::SharedCreate => service.shared_memory.create(&service.family.pipes, a),
            Op::SharedMap => service.shared_memory.map(&service.family.pipes, a, b, (c, d), e).map(|()| 0),
            Op::SharedUnmap => service.shared_memory.unmap((a, b)).map(|()| 0),
            Op::SharedProtect => service.shared_memory.protect((a, b), c).map(|()| 0),
            Op::SharedWait => service.shared_wait(a, b, c, [d, e]).map(|()| 0),
            Op::SharedWake => service.shared_memory.wake(a, b, c),
            Op::Wake => {
                service.net.wake(a);
                service.parking.wake(a).map(|()| 0)
            }
            Op::Yield => {
                std::thread::yield_now();
                Ok(0)
            }
            Op::NetSocket
            | Op::NetBind
            | Op::NetListen
            | Op::NetAccept
            | Op::NetConnect
            | Op::NetName
            | Op::NetSetOption
            | Op::NetGetOption
            | Op::NetSend
            | Op::NetReceive
            | Op::NetClose
            | Op::NetShutdown
            | Op::NetPass
            | Op::NetTake
            | Op::NetLook => self.net_call(op, args),
        }
    }

    /// Has `read` fill a private buffer of as much as is asked, and copies what it read into the arena.
    fn fill(
        &mut self,
        offset: u64,
        length: u64,
        read: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<u64, Errno> {
        self.service.in_arena(offset, length)?;
        let length = usize::try_from(length.min(MOST)).map_err(|_| Errno::EINVAL)?;
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        let buffer = self.buffer.get_mut(..length).ok_or(Errno::EIO)?;
        let done = read(buffer)?;
        let bytes = buffer.get(..done).ok_or(Errno::EIO)?;
        self.service.window.copy_out(Offset(offset), bytes).map_err(|_| Errno::EFAULT)?;
        count(done)
    }
}

impl Service {
    /// That a buffer lies in the arena.
    fn in_arena(&self, offset: u64, length: u64) -> Result<(), Errno> {
        let buffer = Region { offset: Offset(offset), len: length };
        if self.arena.contains(buffer) { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// A place in the arena for a record.
    fn out(&self, offset: u64, length: u64) -> Result<Offset, Errno> {
        self.in_arena(offset, length)?;
        if offset.is_multiple_of(WORD) { Ok(Offset(offset)) } else { Err(Errno::EFAULT) }
    }

    /// Bytes of the arena, at most as many as one call moves.
    fn bytes(&self, offset: u64, length: u64) -> Result<Vec<u8>, Errno> {
        self.in_arena(offset, length)?;
        let mut bytes = vec![0; usize::try_from(length.min(MOST)).map_err(|_| Errno::EINVAL)?];
        self.window.copy_in(Offset(offset), &mut bytes).map_err(|_| Errno::EFAULT)?;
        Ok(bytes)
    }

    fn path(&self, offset: u64, length: u64) -> Result<Vec<u8>, Errno> {
        if length > MAX_PATH {
            return Err(Errno::ENAMETOOLONG);
        }
        let path = self.bytes(offset, length)?;
        // An empty path is no path, and would name the root directory's descriptor itself.
        match path.is_empty() {
            true => Err(Errno::ENOENT),
            false if path.contains(&0) => Err(Errno::EINVAL),
            false => Ok(path),
        }
    }

    /// Calls that make, move and remove names of a mount.
    fn change_names(&self, op: Op, args: [u64; 6]) -> Result<(), Errno> {
        let [a, b, c, d, e, f] = args;
        let mount = |number| self.files.mount(number)?.ok_or(Errno::EROFS);
        match op {
            Op::MakeDirectory => mount(d)?.make_directory(&self.path(a, b)?, mode(c)?),
            Op::Remove => mount(d)?.remove(&self.path(a, b)?, c != 0),
            Op::SymbolicLink => mount(e)?.symbolic_link(&self.path(a, b)?, &self.path(c, d)?),
            Op::Rename => mount(f)?.rename(&self.path(a, b)?, &self.path(c, d)?, e),
            Op::Link => mount(e)?.link(&self.path(a, b)?, &self.path(c, d)?),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn terminal(&self, stream: u64, kind: u64, out: u64) -> Result<(), Errno> {
        if kind != TERMINAL_WINDOW_SIZE {
            return Err(Errno::EINVAL);
        }
        let out = self.out(out, 2 * WORD)?;
        let (rows, columns) = console::terminal_size(stream)?;
        self.window.store_words(out, &[rows.into(), columns.into()]).map_err(|_| Errno::EFAULT)
    }

    fn wait_child(&self, pid: u64, options: u64, out: u64) -> Result<u64, Errno> {
        let out = self.out(out, WORD)?;
        let (pid, status) = self.family.wait(pid, options)?;
        let status = u64::from(status.cast_unsigned());
        self.window.store_words(out, &[status]).map_err(|_| Errno::EFAULT)?;
        Ok(pid)
    }

    fn pipe(&self, out: u64, kind: u64) -> Result<(), Errno> {
        let out = self.out(out, 2 * WORD)?;
        let pipes = &self.family.pipes;
        let ends = if kind == 0 { pipes.create()? } else { pipes.create_sockets(kind)? };
        self.window.store_words(out, &ends).map_err(|_| Errno::EFAULT)
    }

    fn shared_wait(
        self: &Arc<Self>,
        place: u64,
        value: u64,
        bits: u64,
        words: [u64; 2],
    ) -> Result<(), Errno> {
        let [word, answers] = words.map(|word| self.window.word(self.out(word, WORD)?).ok_or(Errno::EFAULT));
        let wait = Wait::new(place, value, bits, word?, answers?)?;
        let service = Arc::clone(self);
        self.shared_memory.wait(wait, move || service.tell())
    }

    /// Has the enclave look at an answer in the window.
    fn tell(&self) {
        // Those who sleep; those who wait in a call; one that computes, at the next tick.
        let one = self.parking.wake_one();
        // One that is on its way to sleep finds its wake word changed.
        if let Some(control) = self.parking.control(0) {
            control.wake.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let _ = self.parking.wake(0);
        }
        (0..MAX_VCPUS).for_each(|vcpu| self.net.wake(vcpu));
        if !one {
            self.parking.kick();
        }
        let _ = rustix::io::write(&self.family.alarm, &1_u64.to_ne_bytes());
    }

    fn poll_pipes(&self, records: u64, count: u64, streams: u64, timeout_ns: u64) -> Result<u64, Errno> {
        if count > MAX_POLLED {
            return Err(Errno::EINVAL);
        }
        let first = self.out(records, count.saturating_mul(2 * WORD))?;
        let place = |index: usize| {
            let index = u64::try_from(index).unwrap_or(u64::MAX);
            Offset(first.0.saturating_add(index.saturating_mul(2 * WORD)))
        };
        let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
        let record =
            |index| self.window.load_words::<2>(place(index)).map(|[handle, events]| (handle, events));
        let mut wanted: Vec<(u64, u64)> = (0..count).map_while(record).collect();
        let alarm = self.family.alarm.as_fd();
        let ready = self.family.pipes.wait(&mut wanted, streams, timeout_ns, alarm)?;
        for (index, (handle, events)) in wanted.into_iter().enumerate() {
            self.window.store_words(place(index), &[handle, events]).map_err(|_| Errno::EFAULT)?;
        }
        Ok(ready)
    }

    /// That pages are the program's or the heap's: the image and the vCPUs stay as they were built.
    fn check_pages(&self, offset: u64, length: u64) -> Result<(), Errno> {
        let pages = Region { offset: Offset(offset), len: length };
        let within = |start: u64, end: u64| {
            Region { offset: Offset(start), len: end.saturating_sub(start) }.contains(pages)
        };
        if length > 0
            && (within(elrange::LOWEST, elrange::IMAGE) || within(elrange::HEAP, self.enclave.size()))
        {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    fn pages(
        &self,
        offset: u64,
        length: u64,
        change: impl FnOnce(&dyn Enclave) -> Result<u64, PlatformError>,
    ) -> Result<u64, Errno> {
        self.check_pages(offset, length)?;
        change(&*self.enclave).map_err(|error| page_errno(&error))
    }
}

fn count(bytes: usize) -> Result<u64, Errno> {
    u64::try_from(bytes).map_err(|_| Errno::EIO)
}

fn permissions(bits: u64) -> Result<Permissions, Errno> {
    u8::try_from(bits).ok().and_then(Permissions::from_bits).ok_or(Errno::EINVAL)
}

/// What the driver's ioctl would have given.
fn page_errno(error: &PlatformError) -> Errno {
    match error {
        PlatformError::Permissions { .. } => Errno::EACCES,
        PlatformError::Missing { .. } => Errno::ENODEV,
        PlatformError::System { source, .. } => {
            let number = source.raw_os_error().and_then(|number| u16::try_from(number).ok());
            number.and_then(Errno::new).unwrap_or(Errno::EIO)
        }
        _ => Errno::EINVAL,
    }
}
