//! What another enclave is told of this one.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use casemate_enclave::mm::{Kind, Range, Vma, VmaFlags};
use zerocopy::IntoBytes as _;

use super::channel::Writer;
use super::fork::Carry;
use crate::arch::frame::Frame;
use crate::arch::{cpu, xstate};
use crate::fs::{self, Carried, Files, OpenFile};
use crate::loader::islands;
use crate::process::process;
use crate::sched;
use crate::syscall::Errno;
use crate::{host, user};

/// What a new enclave is to be, the first word of the channel.
pub(super) mod what {
    /// A copy of its parent.
    pub(in crate::family) const FORK: u64 = 1;
    /// A program.
    pub(in crate::family) const EXECUTE: u64 = 2;
    /// Nothing: the child has ended before it executed a program. A code, a signal.
    pub(in crate::family) const END: u64 = 3;
}

/// Kinds of mappings.
pub(super) mod kind {
    pub(in crate::family) const ANONYMOUS: u64 = 0;
    pub(in crate::family) const FILE: u64 = 1;
    pub(in crate::family) const HEAP: u64 = 2;
    pub(in crate::family) const STACK: u64 = 3;
    pub(in crate::family) const ISLAND: u64 = 4;
    pub(in crate::family) const VDSO: u64 = 5;
    pub(in crate::family) const RESERVED: u64 = 6;
    /// No mapping: what is known of an island.
    pub(in crate::family) const REWRITTEN: u64 = 8;
    /// A segment of the host's, and where in it.
    pub(in crate::family) const OUTSIDE: u64 = 9;
    /// Behind the last mapping.
    pub(in crate::family) const NONE: u64 = 7;
}

/// Kinds of open files.
pub(super) mod carried {
    pub(in crate::family) const AGAIN: u64 = 0;
    pub(in crate::family) const CONSOLE: u64 = 1;
    pub(in crate::family) const PIPE: u64 = 2;
    pub(in crate::family) const EVENT: u64 = 3;
    pub(in crate::family) const EPOLL: u64 = 4;
    pub(in crate::family) const CONTENTS: u64 = 5;
    pub(in crate::family) const REFUSED: u64 = 6;
    pub(in crate::family) const INET: u64 = 7;
    pub(in crate::family) const PAIR: u64 = 8;
    pub(in crate::family) const LOCAL: u64 = 9;
    pub(in crate::family) const HOST: u64 = 10;
}

/// The program was told that its shared memory is not.
static WARNED: AtomicBool = AtomicBool::new(false);

/// Pages are read in pieces of so many bytes.
const PIECE: u64 = 64 * 1024;

/// Everything: for fork(2).
#[inline(never)]
pub(super) fn all(writer: &mut Writer, frame: &Frame, carry: Carry) -> Result<(), Errno> {
    let thread = sched::current();
    writer.word(what::FORK)?;
    xstate::save_current();
    // SAFETY: the current thread, whose components have just been saved.
    let area = unsafe { thread.area() };
    if frame.full == 0 {
        area.set_low_xmm(&frame.xmm);
    }
    let frame = Frame { rax: 0, full: 1, ..*frame };
    writer.raw(frame.as_bytes())?;
    writer.bytes(area.bytes())?;
    let (mask, stack) = {
        let signals = thread.signals.lock();
        (signals.saved_mask.unwrap_or(signals.mask), signals.alt_stack)
    };
    let fs_base = carry.tls.unwrap_or_else(cpu::fs_base);
    writer.words(&[fs_base, mask, stack.start, stack.size, u64::from(stack.autodisarm)])?;
    writer.words(&[carry.clear_tid, carry.set_tid, thread.robust_list.load(Ordering::Relaxed)])?;
    let name = *thread.name.lock();
    writer.bytes(&name)?;
    let mut actions = process().actions.lock().for_child();
    if carry.clear_handlers {
        actions.reset_handlers();
    }
    writer.bytes(actions.all().as_bytes())?;
    let image = process().image.lock().clone();
    writer.bytes(image.path.as_bytes())?;
    writer.strings(&image.arguments)?;
    writer.strings(&image.environment)?;
    writer.word(image.auxv.len() as u64)?;
    for (kind, value) in image.auxv {
        writer.words(&[kind, value])?;
    }
    let copy = process().files.lock().clone();
    files(writer, &copy)?;
    memory(writer)
}

/// A program to execute, for a child of vfork(2).
#[inline(never)]
pub(super) fn program(
    writer: &mut Writer,
    path: &str,
    arguments: &[Vec<u8>],
    environment: &[Vec<u8>],
    groups: &[[u64; 3]],
) -> Result<(), Errno> {
    let thread = sched::current();
    writer.word(what::EXECUTE)?;
    writer.bytes(path.as_bytes())?;
    writer.strings(arguments)?;
    writer.strings(environment)?;
    let mask = thread.signals.lock().mask;
    writer.word(mask)?;
    let actions = process().actions.lock().for_child();
    writer.bytes(actions.all().as_bytes())?;
    writer.word(groups.len() as u64)?;
    for call in groups {
        writer.words(call)?;
    }
    let mut copy = process().files.lock().clone();
    drop(copy.take_close_on_exec());
    files(writer, &copy)
}

/// Files in memory: the child has a copy of them.
fn files_in_memory(writer: &mut Writer) -> Result<(), Errno> {
    let all = fs::in_memory();
    writer.word(all.len() as u64)?;
    for (path, node) in all {
        writer.bytes(path.as_bytes())?;
        writer.word(u64::from(node.mode()))?;
        match node.target() {
            Some(target) => writer.bytes(target.as_bytes())?,
            None if node.is_directory() => writer.bytes(&[])?,
            None => writer.bytes(&fs::contents(&node)?)?,
        }
    }
    Ok(())
}

#[inline(never)]
fn files(writer: &mut Writer, files: &Files) -> Result<(), Errno> {
    files_in_memory(writer)?;
    writer.bytes(files.cwd().as_bytes())?;
    let (soft, hard) = files.limits();
    writer.words(&[u64::from(files.umask()), soft, hard])?;
    let descriptors: Vec<_> = files
        .numbers()
        .into_iter()
        .filter_map(|fd| files.descriptor(fd).ok().map(|descriptor| (fd, descriptor)))
        .collect();
    let mut open: Vec<Arc<OpenFile>> = Vec::new();
    for (_, descriptor) in &descriptors {
        if !open.iter().any(|file| Arc::ptr_eq(file, &descriptor.file)) {
            open.push(Arc::clone(&descriptor.file));
        }
    }
    writer.word(open.len() as u64)?;
    for file in &open {
        open_file(writer, file)?;
    }
    writer.word(descriptors.len() as u64)?;
    for (fd, descriptor) in &descriptors {
        let index = open.iter().position(|file| Arc::ptr_eq(file, &descriptor.file)).unwrap_or(0);
        let fd = u64::try_from(*fd).map_err(|_| Errno::EBADF)?;
        writer.words(&[fd, index as u64, u64::from(descriptor.close_on_exec)])?;
    }
    // Interests name open files, which are all there by now.
    for file in &open {
        if let Some(epoll) = file.file().epoll() {
            let interests: Vec<_> = epoll
                .interests()
                .into_iter()
                .filter_map(|(fd, file, event)| {
                    let index = open.iter().position(|other| Arc::ptr_eq(other, &file))?;
                    Some((fd, index, event))
                })
                .collect();
            writer.word(interests.len() as u64)?;
            for (fd, index, event) in interests {
                let fd = u64::try_from(fd).map_err(|_| Errno::EBADF)?;
                writer.words(&[fd, index as u64, u64::from(event.events), event.data])?;
            }
        }
    }
    Ok(())
}

fn open_file(writer: &mut Writer, file: &OpenFile) -> Result<(), Errno> {
    writer.words(&[u64::from(file.flags()), file.with_position(|position| *position)])?;
    writer.bytes(file.path().as_bytes())?;
    let carried = if fs::is_named(file) { Carried::Again } else { file.file().carry()? };
    match carried {
        Carried::Again => writer.word(carried::AGAIN),
        Carried::Console(stream) => writer.words(&[carried::CONSOLE, stream]),
        Carried::Pipe { handle, number, writes } => {
            writer.words(&[carried::PIPE, number, u64::from(writes)])?;
            // The child takes it when it is told, so it is told before the host's queue can fill.
            writer.finish()?;
            writer.channel().pass(handle)
        }
        Carried::Inet(shared) => {
            writer.word(carried::INET)?;
            writer.words(&shared.facts)?;
            writer.finish()?;
            writer.channel().pass_socket(shared.number)
        }
        Carried::Pair { handle, kind } => {
            writer.words(&[carried::PAIR, u64::from(kind)])?;
            writer.finish()?;
            writer.channel().pass(handle)
        }
        Carried::Local(kind) => writer.words(&[carried::LOCAL, u64::from(kind)]),
        Carried::Host { handle, mount } => {
            file.share()?;
            writer.words(&[carried::HOST, mount])?;
            writer.finish()?;
            writer.channel().pass_file(handle)
        }
        Carried::Event { count, semaphore } => writer.words(&[carried::EVENT, count, u64::from(semaphore)]),
        Carried::Epoll => writer.word(carried::EPOLL),
        Carried::Contents(bytes) => {
            writer.word(carried::CONTENTS)?;
            writer.bytes(&bytes)
        }
        Carried::Refused => {
            host::print(format_args!(
                "casemate: {} cannot be passed to another process: it is closed there",
                file.path()
            ));
            writer.word(carried::REFUSED)
        }
    }
}

#[inline(never)]
fn memory(writer: &mut Writer) -> Result<(), Errno> {
    let mappings: Vec<_> = process().space.lock().vmas().iter().cloned().collect();
    let shared = |vma: &Vma| vma.kind == Kind::Anonymous && vma.flags.contains(VmaFlags::SHARED);
    if mappings.iter().any(|mapping| shared(&mapping.vma)) && !WARNED.swap(true, Ordering::Relaxed) {
        host::print(format_args!(
            "casemate: enclaves share no memory: what was mapped MAP_SHARED is a copy in each process after fork \
             (--shared-memory host shares it, in memory that the host can read and change)"
        ));
    }
    let mut passed = BTreeSet::new();
    for mapping in mappings {
        let vma = &mapping.vma;
        let number = match &vma.kind {
            Kind::Anonymous => kind::ANONYMOUS,
            Kind::File { .. } => kind::FILE,
            Kind::Heap => kind::HEAP,
            Kind::Stack => kind::STACK,
            Kind::Island => kind::ISLAND,
            Kind::Vdso => kind::VDSO,
            Kind::Reserved => kind::RESERVED,
            Kind::Outside { .. } => kind::OUTSIDE,
        };
        let (start, end) = (mapping.range.start(), mapping.range.end());
        writer.words(&[number, start, end, u64::from(vma.prot.bits()), u64::from(vma.flags.bits())])?;
        if let Kind::File { name, offset } = &vma.kind {
            writer.bytes(name.as_bytes())?;
            writer.word(*offset)?;
        }
        if let Kind::Outside { segment, offset } = vma.kind {
            writer.words(&[segment, offset])?;
            if passed.insert(segment) {
                // As with pipes: told before the host's queue can fill.
                writer.finish()?;
                writer.channel().pass(segment)?;
            }
        }
        let runs = process().space.lock().committed(mapping.range);
        for run in runs {
            pages(writer, run)?;
        }
        writer.words(&[0, 0])?;
    }
    islands(writer)?;
    let brk = process().space.lock().brk_bounds().unwrap_or_default();
    writer.words(&[kind::NONE, brk.0, brk.1])
}

/// What code was rewritten: handlers of the child's see the same addresses.
fn islands(writer: &mut Writer) -> Result<(), Errno> {
    for known in islands::all() {
        writer.words(&[kind::REWRITTEN, known.code.0, known.code.1, known.place.0, known.place.1])?;
        for pairs in known.island.addresses() {
            writer.word(pairs.len() as u64)?;
            pairs.iter().try_for_each(|(from, to)| writer.words(&[*from, *to]))?;
        }
    }
    Ok(())
}

fn pages(writer: &mut Writer, run: Range) -> Result<(), Errno> {
    let mut bytes = alloc::vec![0; usize::try_from(PIECE.min(run.len())).map_err(|_| Errno::ENOMEM)?];
    let mut at = run.start();
    while at < run.end() {
        let length = PIECE.min(run.end() - at);
        let piece = &mut bytes[..usize::try_from(length).map_err(|_| Errno::ENOMEM)?];
        user::carry_out(at, piece)?;
        writer.words(&[at, length])?;
        writer.raw(piece)?;
        at += length;
    }
    Ok(())
}
