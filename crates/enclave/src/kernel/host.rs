//! Calls to the host: a slot in this vCPU's ring, and a checked answer, by a worker or by an exit.
//!
//! Everything in the window is a hint. What comes back is checked here, by the table of `casemate_enclave_abi::op`, and a
//! host that answers what cannot be ends the enclave.

mod link;

use core::fmt;
use core::sync::atomic::Ordering;

use casemate_enclave_abi::control::{Control, KICK, SLICES};
use casemate_enclave_abi::exit::NO_DEADLINE;
use casemate_enclave_abi::{Arena, Block, Errno, Exit, ExitStatus, Layout, Offset, Op, Region, Window};
use spin::{Mutex, Once};

use crate::arch::entry::exit_to_host;
use crate::arch::vcpu::Vcpu;
use crate::arch::{cpu, xstate};
use crate::{panic, sched};
use link::Link;

/// The window, taken apart.
struct Host {
    window: Window<'static>,
    clock: Window<'static>,
    panic: Region,
    controls: [Option<Control<'static>>; 16],
    links: [Option<Mutex<Link>>; 16],
    arena: Mutex<Arena>,
}

static HOST: Once<Host> = Once::new();

/// Takes the window into use. `None` where its parts are not where the layout has them.
pub(crate) fn init(window: Window<'static>, layout: &Layout) -> Option<()> {
    let mut controls = [None; 16];
    let mut links = [const { None }; 16];
    for index in 0..layout.vcpus() {
        let area = layout.vcpu(index)?;
        let place = usize::try_from(index).ok()?;
        controls[place] = Some(Control::new(window.region(area.control)?)?);
        links[place] = Some(Mutex::new(Link::new(window, &area)?));
    }
    let arena = layout.arena();
    let host = Host {
        window,
        clock: window.region(layout.clock())?,
        panic: layout.panic(),
        controls,
        links,
        arena: Mutex::new(Arena::new(arena.offset, arena.len)?),
    };
    HOST.call_once(|| host);
    Some(())
}

fn host() -> &'static Host {
    HOST.get().expect("the window is in use")
}

/// Leaves the enclave and comes back.
fn leave(exit: Exit) {
    let [reason, a, b] = exit.to_registers();
    xstate::save_current();
    let fs = cpu::fs_base();
    // SAFETY: the kernel's stack and state are where the entry expects them; the guest's state components are saved.
    unsafe { exit_to_host(reason, a, b) };
    panic::stop_if_dead();
    cpu::set_fs_base(fs);
}

/// Calls the host and returns its checked answer.
pub(crate) fn call(op: Op, args: [u64; 6]) -> Result<u64, Errno> {
    if op.may_wait(&args) {
        // What waits for this vCPU is not to wait for the host.
        sched::leaving();
    }
    link().lock().call(op, args, || leave(Exit::Serve))
}

/// The rings of this vCPU.
fn link() -> &'static Mutex<Link> {
    host().links[Vcpu::index()].as_ref().expect("rings of a running vCPU")
}

/// Memory that the host can see, for the length of a call.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// Always there until it is dropped.
    block: Option<Block>,
}

impl Buffer {
    /// At least `length` bytes. ENOMEM where the arena is full.
    pub(crate) fn new(length: usize) -> Result<Self, Errno> {
        let block = host().arena.lock().alloc(length as u64).ok_or(Errno::ENOMEM)?;
        Ok(Self { block: Some(block) })
    }

    /// With these bytes.
    pub(crate) fn with(bytes: &[u8]) -> Result<Self, Errno> {
        let buffer = Self::new(bytes.len())?;
        buffer.write(bytes);
        Ok(buffer)
    }

    fn region(&self) -> Region {
        self.block.as_ref().expect("a buffer in use").region()
    }

    /// Where it lies, as an argument of a call.
    pub(crate) fn offset(&self) -> u64 {
        self.region().offset.0
    }

    /// Where it lies.
    pub(crate) fn place(&self) -> Offset {
        self.region().offset
    }

    /// Copies bytes out of the enclave, to its beginning.
    pub(crate) fn write(&self, bytes: &[u8]) {
        host().window.copy_out(self.place(), bytes).expect("a buffer holds what it was made for");
    }

    /// Copies bytes into the enclave, from its beginning. The host may change them at any time: use the copy.
    pub(crate) fn read(&self, bytes: &mut [u8]) {
        host().window.copy_in(self.place(), bytes).expect("a buffer holds what it was made for");
    }

    /// The window, for records that are made of words.
    pub(crate) fn window(&self) -> Window<'static> {
        host().window.region(self.region()).expect("a buffer lies in the window")
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            host().arena.lock().free(block);
        }
    }
}

/// The most bytes that are moved in one call.
pub(crate) const TRANSFER: usize = 256 * 1024;

/// The clock page.
pub(crate) fn clock_page() -> Window<'static> {
    host().clock
}

/// Whether the host shall interrupt a vCPU at the end of time slices.
pub(crate) fn want_slices(index: usize, wanted: bool) {
    if let Some(control) = host().controls[index].as_ref() {
        if wanted {
            control.preempt.fetch_or(SLICES, Ordering::Relaxed);
        } else {
            control.preempt.fetch_and(!SLICES, Ordering::Relaxed);
        }
    }
}

/// Has a vCPU that computes interrupted at the host's next tick.
pub(crate) fn kick(index: usize) {
    if let Some(control) = host().controls[index].as_ref() {
        control.preempt.fetch_or(KICK, Ordering::Relaxed);
    }
}

/// Takes the request back: this vCPU has been interrupted.
pub(crate) fn kicked() {
    if let Some(control) = host().controls[Vcpu::index()].as_ref() {
        control.preempt.fetch_and(!KICK, Ordering::Relaxed);
    }
}

/// Whether the host has signals for the program.
pub(crate) fn has_news() -> bool {
    host().controls[0].as_ref().is_some_and(|control| control.news.load(Ordering::SeqCst) != 0)
}

/// Takes them, a bit each.
pub(crate) fn take_news() -> u64 {
    host().controls[0].as_ref().map_or(0, |control| control.news.swap(0, Ordering::AcqRel))
}

/// How often a vCPU was woken, as it is now. [`sleep`] takes it.
pub(crate) fn wakes(index: usize) -> u64 {
    host().controls[index].as_ref().map_or(0, |control| control.wake.load(Ordering::Acquire))
}

/// Sleeps outside until `deadline` (monotonic, ns), or until this vCPU is woken after `seen` was read.
pub(crate) fn sleep(deadline: Option<u64>, seen: u64) {
    leave(Exit::Park { deadline_ns: deadline.unwrap_or(NO_DEADLINE), wake: seen });
}

/// Wakes a vCPU that sleeps.
pub(crate) fn wake(index: usize) {
    if let Some(control) = host().controls[index].as_ref() {
        control.wake.fetch_add(1, Ordering::AcqRel);
        let args = [index as u64, 0, 0, 0, 0, 0];
        if !link().lock().post(Op::Wake, args) {
            // It is no error for anybody here if the host does not wake it: it is the host's own time.
            let _ = call(Op::Wake, args);
        }
    }
}

/// Says that the kernel is set up, so that the other vCPUs may enter.
pub(crate) fn ready() {
    leave(Exit::Ready);
}

/// Ends the program. It does not come back.
pub(crate) fn exit(status: ExitStatus) -> ! {
    loop {
        leave(Exit::Exit(status));
    }
}

/// Ends everything with a message.
pub(crate) fn fatal(message: &[u8]) -> ! {
    let mut length = 0;
    if let Some(host) = HOST.get() {
        let room = usize::try_from(host.panic.len).unwrap_or(0);
        let message = &message[..message.len().min(room)];
        if host.window.copy_out(host.panic.offset, message).is_ok() {
            length = message.len() as u64;
        }
    }
    loop {
        let [reason, a, _] = Exit::Fatal { message_len: length }.to_registers();
        // SAFETY: does not come back to anything.
        unsafe { exit_to_host(reason, a, 0) };
    }
}

/// Prints a line on the host's standard error, for messages and traces.
pub(crate) fn print(line: fmt::Arguments<'_>) {
    let line = alloc::format!("{line}\n");
    if let Ok(buffer) = Buffer::with(line.as_bytes()) {
        let _ = call(Op::Print, [buffer.offset(), line.len() as u64, 0, 0, 0, 0]);
    }
}
