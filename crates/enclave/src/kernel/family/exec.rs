//! execve(2): another program in the same process.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use super::{halt, vfork};
use crate::arch::cpu;
use crate::arch::frame::Frame;
use crate::arch::xstate::{self, Area};
use crate::fs::mapped;
use crate::loader::{self, Prepared, islands};
use crate::process::process;
use crate::sched;
use crate::signal::{self, SIGKILL};
use crate::syscall::{self, Errno, int, uint};
use crate::{host, user};

/// `AT_FDCWD` and flags of execveat(2).
const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EMPTY_PATH: u32 = 0x1000;

/// The most bytes of one argument (`MAX_ARG_STRLEN`).
const ARGUMENT: usize = 131_072;

/// The most arguments: more would not fit with their pointers.
const ARGUMENTS: usize = 1 << 18;

/// Reads a list of strings that ends with a null pointer; no list is an empty one, as under Linux.
fn strings(address: u64) -> Result<Vec<Vec<u8>>, Errno> {
    let mut strings = Vec::new();
    if address == 0 {
        return Ok(strings);
    }
    let mut bytes = 0;
    for index in 0.. {
        let place = address.checked_add(index * 8).ok_or(Errno::EFAULT)?;
        let pointer: u64 = user::read_value(place)?;
        if pointer == 0 {
            break;
        }
        let string = user::read_string(pointer, ARGUMENT).map_err(|errno| match errno {
            Errno::ENAMETOOLONG => Errno::E2BIG,
            errno => errno,
        })?;
        bytes += string.len();
        if strings.len() >= ARGUMENTS || bytes > ARGUMENTS * 8 {
            return Err(Errno::E2BIG);
        }
        strings.push(string);
    }
    Ok(strings)
}

pub(crate) fn execve(frame: &mut Frame) -> syscall::Result {
    let [path, arguments, environment, ..] = frame.arguments();
    let path = text(user::read_path(path)?)?;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    replace(frame, &path, arguments, environment)
}

pub(crate) fn execveat(frame: &mut Frame) -> syscall::Result {
    let [directory, path, arguments, environment, flags, _] = frame.arguments();
    let (directory, flags) = (int(directory), uint(flags));
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = text(user::read_path(path)?)?;
    let path = match path.as_str() {
        "" if flags & AT_EMPTY_PATH == 0 => return Err(Errno::ENOENT),
        "" => process().files.lock().get(directory)?.path().to_string(),
        path if path.starts_with('/') || directory == AT_FDCWD => path.to_string(),
        path => alloc::format!("{}/{path}", process().files.lock().get(directory)?.path()),
    };
    replace(frame, &path, arguments, environment)
}

fn text(path: Vec<u8>) -> Result<String, Errno> {
    String::from_utf8(path).map_err(|_| Errno::ENOENT)
}

fn replace(frame: &mut Frame, path: &str, arguments: u64, environment: u64) -> syscall::Result {
    let mut arguments = strings(arguments)?;
    let environment = strings(environment)?;
    if arguments.is_empty() {
        // As Linux does since 5.18.
        arguments.push(Vec::new());
    }
    let prepared = loader::prepare(path, &arguments, &environment).map_err(|error| error.errno)?;
    if vfork::is_child() {
        return vfork::execute(frame, &prepared);
    }
    halt::end_others()?;
    forget();
    start(frame, prepared);
    Ok(0)
}

/// Drops what does not outlive the old program.
fn forget() {
    let closed = process().files.lock().take_close_on_exec();
    drop(closed);
    process().actions.lock().reset_handlers();
    let thread = sched::current();
    thread.signals.lock().alt_stack = signal::AltStack::default();
    // While the old program's memory is there.
    syscall::futexes_end(&thread);
    thread.robust_list.store(0, Ordering::Relaxed);
    thread.clear_child_tid.store(0, Ordering::Relaxed);
    process().rename_thread(&thread, process().id());
}

/// Puts the new program in the place of the old one. What fails here ends the process, as under Linux.
fn start(frame: &mut Frame, prepared: Prepared) {
    let name = comm(prepared.path());
    mapped::forget(0, u64::MAX);
    islands::forget(0, u64::MAX);
    syscall::forget_timers();
    let cleared = process().space.lock().clear();
    let entry = cleared.map_err(user::errno).and_then(|()| {
        prepared.map().map_err(|error| {
            host::print(format_args!("casemate: {error}"));
            error.errno
        })
    });
    let Ok(entry) = entry else { process().kill(SIGKILL) };
    let thread = sched::current();
    *thread.name.lock() = name;
    xstate::save_current();
    // SAFETY: the current thread, whose components have just been saved.
    *unsafe { thread.area() } = Area::initial();
    cpu::set_fs_base(0);
    *frame = Frame::starting_at(entry.rip, entry.rsp);
    // No call to be made again where a signal waits.
    frame.orig_rax = u64::MAX;
}

/// The name that a thread gets from its program's path.
pub(super) fn comm(path: &str) -> [u8; 16] {
    let base = path.rsplit('/').next().unwrap_or(path).as_bytes();
    let mut name = [0; 16];
    let length = base.len().min(15);
    name[..length].copy_from_slice(&base[..length]);
    name
}
