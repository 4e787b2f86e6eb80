//! fork(2), and which kind of child clone(2) asks for.

use super::channel::{Channel, Writer};
use super::{children, export, halt, vfork};
use crate::arch::frame::Frame;
use crate::fs::mapped;
use crate::syscall::{Errno, Result};
use crate::user;

/// Flags of clone(2) that make processes (`include/uapi/linux/sched.h`).
pub(crate) mod flag {
    pub(crate) const VM: u64 = 0x100;
    pub(crate) const VFORK: u64 = 0x4000;
    pub(crate) const SYSVSEM: u64 = 0x4_0000;
    pub(crate) const SETTLS: u64 = 0x8_0000;
    pub(crate) const PARENT_SETTID: u64 = 0x10_0000;
    pub(crate) const CHILD_CLEARTID: u64 = 0x20_0000;
    pub(crate) const DETACHED: u64 = 0x40_0000;
    pub(crate) const UNTRACED: u64 = 0x80_0000;
    pub(crate) const CHILD_SETTID: u64 = 0x100_0000;
    pub(crate) const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
}

/// What a new process is asked to be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) flags: u64,
    pub(crate) stack: u64,
    pub(crate) parent_tid: u64,
    pub(crate) child_tid: u64,
    pub(crate) tls: u64,
}

/// Flags that a process can have.
const KNOWN: u64 = flag::VM
    | flag::VFORK
    | flag::SYSVSEM
    | flag::SETTLS
    | flag::PARENT_SETTID
    | flag::CHILD_CLEARTID
    | flag::CHILD_SETTID
    | flag::DETACHED
    | flag::UNTRACED
    | flag::CLEAR_SIGHAND;

/// Makes a process.
pub(crate) fn process(frame: &mut Frame, wanted: Wanted) -> Result {
    let flags = wanted.flags;
    if flags & !KNOWN != 0 {
        // Shared descriptors, namespaces, a process descriptor ...
        return Err(Errno::EINVAL);
    }
    if flags & flag::SETTLS != 0 && wanted.tls >> 47 != 0 {
        return Err(Errno::EPERM);
    }
    if vfork::is_child() {
        return Err(Errno::EAGAIN);
    }
    match (flags & flag::VM != 0, flags & flag::VFORK != 0) {
        (true, true) => vfork::begin(frame, wanted),
        // Two processes with one memory, side by side, would be two enclaves with one.
        (true, false) => Err(Errno::EINVAL),
        (false, _) => fork(frame, wanted),
    }
}

// Kernel stacks are short: what each kind of child needs is not needed at once.
#[inline(never)]
fn fork(frame: &Frame, wanted: Wanted) -> Result {
    let pause = halt::Pause::new()?;
    mapped::flush_all();
    let mut child_frame = *frame;
    if wanted.stack != 0 {
        child_frame.rsp = wanted.stack;
    }
    let tid = |flag: u64| if wanted.flags & flag != 0 { wanted.child_tid } else { 0 };
    let (pid, channel) = Channel::spawn()?;
    let mut writer = Writer::new(channel);
    let tls = (wanted.flags & flag::SETTLS != 0).then_some(wanted.tls);
    let clear_handlers = wanted.flags & flag::CLEAR_SIGHAND != 0;
    let carried =
        Carry { tls, clear_handlers, clear_tid: tid(flag::CHILD_CLEARTID), set_tid: tid(flag::CHILD_SETTID) };
    let sent = export::all(&mut writer, &child_frame, carried).and_then(|()| writer.finish());
    drop(writer);
    drop(pause);
    if let Err(errno) = sent {
        // It ends by itself when the channel does, and is nobody's child.
        children::forget(pid);
        return Err(errno);
    }
    if wanted.flags & flag::PARENT_SETTID != 0 {
        user::write_value(wanted.parent_tid, &pid)?;
    }
    Ok(u64::from(pid))
}

/// What is different in the child.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carry {
    /// Its FS base, if it is to be another.
    pub(super) tls: Option<u64>,
    pub(super) clear_handlers: bool,
    /// Where to write zero when it ends, or 0.
    pub(super) clear_tid: u64,
    /// Where to write its id, or 0.
    pub(super) set_tid: u64,
}
