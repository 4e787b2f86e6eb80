//! What becomes of an enclave that another one has started: it reads the channel until it is what it is to be.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use casemate_enclave::mm::{Kind, Prot, Range, Vma, VmaFlags};
use casemate_enclave_abi::{ExitStatus, Op};
use zerocopy::{FromBytes as _, FromZeros as _, IntoBytes as _};

use super::channel::Reader;
use super::export::{carried, kind, what};
use crate::arch::frame::Frame;
use crate::arch::xstate::Area;
use crate::fs::{self, Carried, Descriptor, Event, OpenFile};
use crate::loader::{self, islands};
use crate::process::{Image, process};
use crate::sched::Thread;
use crate::signal::{Action, AltStack, Signals};
use crate::syscall::Errno;
use crate::{host, shared, user};

/// Exit codes of a shell for programs that it cannot execute.
const CANNOT_EXECUTE: u8 = 126;

/// The process that this enclave is to be: its first thread. Where that fails, the process ends.
pub(crate) fn become_child() -> Arc<Thread> {
    let mut reader = Reader::new();
    match first_thread(&mut reader) {
        Ok(thread) => thread,
        // The parent has gone, or thought better of it.
        Err(errno) => {
            if errno != Errno::EIO {
                host::print(format_args!("casemate: a process could not be carried over: {errno}"));
            }
            host::exit(ExitStatus::Code(CANNOT_EXECUTE))
        }
    }
}

fn first_thread(reader: &mut Reader) -> Result<Arc<Thread>, Errno> {
    match reader.word()? {
        what::FORK => fork(reader),
        what::EXECUTE => execute(reader),
        what::END => {
            let [code, signal] = reader.words()?;
            let byte = |word: u64| word.to_le_bytes()[0];
            let status =
                if signal == 0 { ExitStatus::Code(byte(code)) } else { ExitStatus::Signal(byte(signal)) };
            host::exit(status)
        }
        _ => Err(Errno::EINVAL),
    }
}

fn actions(reader: &mut Reader) -> Result<Vec<Action>, Errno> {
    let bytes = reader.bytes()?;
    let (actions, rest) = bytes.as_chunks::<{ size_of::<Action>() }>();
    if !rest.is_empty() {
        return Err(Errno::EINVAL);
    }
    actions.iter().map(|bytes| Action::read_from_bytes(bytes).map_err(|_| Errno::EINVAL)).collect()
}

fn fork(reader: &mut Reader) -> Result<Arc<Thread>, Errno> {
    let mut frame = Frame::new_zeroed();
    reader.raw(frame.as_mut_bytes())?;
    let mut area = Area::initial();
    area.copy_from_ssa(&reader.bytes()?);
    let [fs_base, mask, start, size, autodisarm] = reader.words()?;
    let [clear_tid, set_tid, robust] = reader.words()?;
    let name = reader.bytes()?;
    process().actions.lock().set_all(&actions(reader)?);
    let path = reader.text()?;
    let (arguments, environment) = (reader.strings()?, reader.strings()?);
    let auxv = (0..reader.length()?).map(|_| reader.words().map(|[kind, value]| (kind, value)));
    let auxv = auxv.collect::<Result<_, _>>()?;
    *process().image.lock() = Image { path, arguments, environment, auxv };
    files(reader)?;
    memory(reader)?;
    let mut signals = Signals::with_mask(mask);
    signals.alt_stack = AltStack { start, size, autodisarm: autodisarm != 0 };
    let thread =
        Thread::new(process().new_thread_id(), &frame, fs_base, Some(&area), signals).ok_or(Errno::ENOMEM)?;
    thread.clear_child_tid.store(clear_tid, Ordering::Relaxed);
    thread.robust_list.store(robust, Ordering::Relaxed);
    if let Ok(name) = <[u8; 16]>::try_from(name.as_slice()) {
        *thread.name.lock() = name;
    }
    if set_tid != 0 {
        // As under Linux, a bad address is the child's own problem.
        let _ = user::write_value(set_tid, &thread.id());
    }
    Ok(thread)
}

fn execute(reader: &mut Reader) -> Result<Arc<Thread>, Errno> {
    let path = reader.text()?;
    let (arguments, environment) = (reader.strings()?, reader.strings()?);
    let mask = reader.word()?;
    {
        let actions = actions(reader)?;
        let mut own = process().actions.lock();
        own.set_all(&actions);
        own.reset_handlers();
    }
    for _ in 0..reader.length()? {
        let [kind, pid, group] = reader.words()?;
        // The child has been told already that it worked.
        let _ = host::call(Op::Group, [kind, pid, group, 0, 0, 0]);
    }
    files(reader)?;
    let entry = loader::load(&path, &arguments, &environment).unwrap_or_else(|error| {
        host::print(format_args!("casemate: {error}"));
        host::exit(ExitStatus::Code(CANNOT_EXECUTE))
    });
    let frame = Frame::starting_at(entry.rip, entry.rsp);
    let thread = Thread::new(process().new_thread_id(), &frame, 0, None, Signals::with_mask(mask))
        .ok_or(Errno::ENOMEM)?;
    *thread.name.lock() = super::exec::comm(&path);
    Ok(thread)
}

fn files(reader: &mut Reader) -> Result<(), Errno> {
    for _ in 0..reader.length()? {
        let path = reader.text()?;
        let mode = u32::try_from(reader.word()?).map_err(|_| Errno::EINVAL)?;
        fs::put_in_memory(&path, mode, &reader.bytes()?)?;
    }
    let cwd = reader.text()?;
    let [umask, soft, hard] = reader.words()?;
    {
        let mut files = process().files.lock();
        files.set_cwd(cwd);
        files.set_umask(u32::try_from(umask).map_err(|_| Errno::EINVAL)?);
        files.set_limits(soft, hard);
    }
    let open = (0..reader.length()?).map(|_| open_file(reader)).collect::<Result<Vec<_>, _>>()?;
    let get = |index: u64| usize::try_from(index).ok().and_then(|index| open.get(index)?.clone());
    let mut table: Vec<(i32, Descriptor)> = Vec::new();
    for _ in 0..reader.length()? {
        let [fd, index, close_on_exec] = reader.words()?;
        let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
        if let Some(file) = get(index) {
            table.push((fd, Descriptor { file, close_on_exec: close_on_exec != 0 }));
        }
    }
    process().files.lock().replace(table)?;
    for epoll in open.iter().flatten().filter(|file| file.file().epoll().is_some()) {
        for _ in 0..reader.length()? {
            let [fd, index, events, data] = reader.words()?;
            let (Ok(fd), Some(file)) = (i32::try_from(fd), get(index)) else { continue };
            let event = Event { events: u32::try_from(events).map_err(|_| Errno::EINVAL)?, data };
            if let Some(epoll) = epoll.file().epoll() {
                epoll.add(fd, &file, event)?;
            }
        }
    }
    Ok(())
}

/// `None`: it is not open here.
fn open_file(reader: &mut Reader) -> Result<Option<Arc<OpenFile>>, Errno> {
    let [flags, position] = reader.words()?;
    let flags = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
    let path: String = reader.text()?;
    let carried = match reader.word()? {
        carried::AGAIN => Carried::Again,
        carried::CONSOLE => Carried::Console(reader.word()?),
        carried::PIPE => {
            let [number, writes] = reader.words()?;
            Carried::Pipe { handle: reader.take()?, number, writes: writes != 0 }
        }
        // The host's socket is taken under the number that it gets here.
        carried::INET => Carried::Inet(crate::net::InetShared { number: 0, facts: reader.words()? }),
        carried::PAIR => {
            let kind = u32::try_from(reader.word()?).map_err(|_| Errno::EINVAL)?;
            Carried::Pair { handle: reader.take()?, kind }
        }
        carried::LOCAL => Carried::Local(u32::try_from(reader.word()?).map_err(|_| Errno::EINVAL)?),
        carried::HOST => {
            let mount = reader.word()?;
            Carried::Host { handle: reader.take_file(mount)?, mount }
        }
        carried::EVENT => {
            let [count, semaphore] = reader.words()?;
            Carried::Event { count, semaphore: semaphore != 0 }
        }
        carried::EPOLL => Carried::Epoll,
        carried::CONTENTS => Carried::Contents(reader.bytes()?),
        carried::REFUSED => Carried::Refused,
        _ => return Err(Errno::EINVAL),
    };
    let opened = fs::carried(carried, &path, flags);
    match &opened {
        Ok(Some(file)) => file.with_position(|place| *place = position),
        Ok(None) => {}
        Err(errno) => host::print(format_args!("casemate: {path} is closed in a new process: {errno}")),
    }
    Ok(opened.unwrap_or(None))
}

fn memory(reader: &mut Reader) -> Result<(), Errno> {
    // The parent's numbers of segments, and this enclave's.
    let mut segments = BTreeMap::new();
    loop {
        let number = reader.word()?;
        if number == kind::NONE {
            let [start, end] = reader.words()?;
            if start != 0 {
                process().space.lock().restore_brk(start, end);
            }
            return Ok(());
        }
        let [start, end, prot, flags] = reader.words()?;
        if number == kind::REWRITTEN {
            // Start and end of the code and of the island came where a mapping's would.
            let mut pairs = || -> Result<Vec<(u64, u64)>, Errno> {
                let count = reader.length()?;
                (0..count).map(|_| reader.words().map(|[from, to]| (from, to))).collect()
            };
            islands::restore((start, end), (prot, flags), pairs()?, pairs()?);
            continue;
        }
        let small = |word: u64| u8::try_from(word).map_err(|_| Errno::EINVAL);
        let prot = Prot::from_bits(small(prot)?).ok_or(Errno::EINVAL)?;
        let flags = VmaFlags::from_bits(small(flags)?).ok_or(Errno::EINVAL)?;
        let kind = match number {
            kind::ANONYMOUS => Kind::Anonymous,
            kind::FILE => Kind::File { name: Arc::from(reader.text()?), offset: reader.word()? },
            kind::HEAP => Kind::Heap,
            kind::STACK => Kind::Stack,
            kind::ISLAND => Kind::Island,
            kind::VDSO => Kind::Vdso,
            kind::RESERVED => Kind::Reserved,
            kind::OUTSIDE => {
                let [theirs, offset] = reader.words()?;
                let segment = match segments.get(&theirs) {
                    Some(segment) => *segment,
                    None => reader.take()?,
                };
                segments.insert(theirs, segment);
                shared::warned();
                Kind::Outside { segment, offset }
            }
            _ => return Err(Errno::EINVAL),
        };
        let range = Range::new(start, end).ok_or(Errno::EINVAL)?;
        process().space.lock().restore(range, Vma { prot, kind, flags }).map_err(user::errno)?;
        loop {
            let [at, length] = reader.words()?;
            if length == 0 {
                break;
            }
            let piece = Range::at(at, length).filter(|piece| range.includes(*piece)).ok_or(Errno::EINVAL)?;
            user::carry_in(piece, prot, |bytes| reader.raw(bytes))?;
        }
    }
}
