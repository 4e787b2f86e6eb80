//! Entries on top of an interrupted frame (CSSA 1): what happened, and where the interrupted code goes on.
//!
//! The host enters here after an asynchronous exit, and says why. Only the SSA frame is believed. Nothing here blocks or
//! takes a lock: guest code is sent to [`fault_entry`](crate::arch::entry) on its own kernel stack, where everything is as
//! in a system call; kernel code is only told to look at the run queue.

use core::sync::atomic::Ordering;

use casemate_enclave_abi::{Event, ExitReason};
use casemate_sgx::arch::{Exinfo, ExitInfo, Gprsgx, SsaFrame, Vector};

use crate::arch::frame::Frame;
use crate::arch::layout;
use crate::arch::vcpu::Vcpu;
use crate::arch::{entry, vcpu};
use crate::sched::Thread;
use crate::{cpuid, panic};

/// What [`entry`]'s `fault_entry` is told in RDI when no exception happened: a time slice is over.
pub(crate) const PREEMPTED: u64 = u64::MAX;

fn at<T>(address: u64) -> *mut T {
    core::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or(0))
}

const FRAME: SsaFrame = match SsaFrame::new(layout::vcpu::SSA_FRAME_PAGES) {
    Some(frame) => frame,
    None => panic!("a state frame has a page at least"),
};

/// Called by the entry code. `cssa` is the processor's, `event` the host's word. Returns the reason of the exit.
#[unsafe(no_mangle)]
extern "C" fn exception_entry(cssa: u32, event: u64) -> u64 {
    panic::stop_if_dead();
    assert!(cssa == 1, "an exception inside an exception");
    let frame = layout::ssa_frame(Vcpu::index() as u64, 0);
    // SAFETY: the SSA frame below this entry is this vCPU's alone; the processor has written it.
    let registers = unsafe { &mut *at::<Gprsgx>(frame + FRAME.gprsgx() as u64) };
    // SAFETY: as above; MISCSELECT has EXINFO.
    let info = unsafe { *at::<Exinfo>(frame + FRAME.exinfo() as u64) };
    let exit = registers.exitinfo;
    // Told once: an entry without a new exit in between must not act on it again.
    registers.exitinfo = ExitInfo::NONE;
    if (layout::IMAGE..layout::IMAGE_END).contains(&registers.rip) {
        in_kernel(registers, exit, info, event);
    } else {
        in_guest(registers, frame, exit, info, event);
    }
    ExitReason::Handled.into()
}

/// Kernel code was interrupted. Only an exception of its own is of interest, and that is the end.
fn in_kernel(registers: &mut Gprsgx, exit: ExitInfo, info: Exinfo, event: u64) {
    match exit.vector() {
        None => {
            if Event::try_from(event) == Ok(Event::Preempt) {
                // SAFETY: this vCPU's page; the field is atomic.
                unsafe { (*Vcpu::current()).need_resched.store(1, Ordering::Relaxed) };
            }
        }
        Some(Vector::DB) => {}
        Some(vector) => {
            // Not even a host that resumes the interrupted code gets it to go on. Of addresses it learns the pages, which it
            // knows anyway.
            let at = registers.rip & !0xfff;
            registers.rip = entry::address_of_dead();
            panic!(
                "exception {} in the kernel, in page {at:#x} (touching page {:#x}, error {:#x})",
                vector.0,
                info.maddr & !0xfff,
                info.errcd
            )
        }
    }
}

/// Guest code was interrupted.
fn in_guest(registers: &mut Gprsgx, frame: u64, exit: ExitInfo, info: Exinfo, event: u64) {
    match exit.vector() {
        None if Event::try_from(event) == Ok(Event::Preempt) => {
            send_to_fault_entry(registers, frame, [PREEMPTED, 0, 0]);
        }
        // An interrupt of the host's, or a debug exception: nothing of the program's business.
        None | Some(Vector::DB) => {}
        Some(Vector::UD) if serve_instruction(registers) => {}
        Some(vector) => {
            send_to_fault_entry(registers, frame, [u64::from(vector.0), info.maddr, u64::from(info.errcd)]);
        }
    }
}

/// Instructions that are not allowed in an enclave, and are served: `syscall`, `cpuid`.
fn serve_instruction(registers: &mut Gprsgx) -> bool {
    let byte = |offset: u64| {
        // SAFETY: the processor has just fetched the instruction at RIP, and it is at least as long as is looked at.
        unsafe { at::<u8>(registers.rip + offset).read_volatile() }
    };
    if byte(0) != 0x0f {
        return false;
    }
    match byte(1) {
        0x05 => {
            // As if the site had been rewritten.
            registers.rcx = registers.rip + 2;
            registers.r11 = registers.rflags;
            registers.rip = entry::address_of_syscall_entry();
            vcpu::count_trapped_call();
            true
        }
        0xa2 => {
            let [leaf, subleaf] =
                [registers.rax, registers.rcx].map(|r| u32::try_from(r & 0xffff_ffff).unwrap_or(0));
            let answer = cpuid::cpuid(leaf, subleaf);
            registers.rax = u64::from(answer.eax);
            registers.rbx = u64::from(answer.ebx);
            registers.rcx = u64::from(answer.ecx);
            registers.rdx = u64::from(answer.edx);
            registers.rip += 2;
            true
        }
        _ => false,
    }
}

/// Moves the interrupted registers to a frame on the thread's kernel stack, and makes the thread go on in the kernel.
fn send_to_fault_entry(registers: &mut Gprsgx, ssa: u64, what: [u64; 3]) {
    let thread = Thread::current().expect("guest code runs for a thread");
    let r = *registers;
    let frame = Frame {
        xmm: [[0; 2]; 16],
        full: 1,
        r15: r.r15,
        r14: r.r14,
        r13: r.r13,
        r12: r.r12,
        rbp: r.rbp,
        rbx: r.rbx,
        r11: r.r11,
        r10: r.r10,
        r9: r.r9,
        r8: r.r8,
        rax: r.rax,
        rcx: r.rcx,
        rdx: r.rdx,
        rsi: r.rsi,
        rdi: r.rdi,
        orig_rax: u64::MAX,
        rip: r.rip,
        rsp: r.rsp,
        rflags: r.rflags,
    };
    let place = thread.frame_address();
    // SAFETY: the thread was in guest code, so its kernel stack is empty.
    unsafe { at::<Frame>(place).write(frame) };
    // SAFETY: the XSAVE part of this vCPU's SSA frame.
    let state = unsafe { core::slice::from_raw_parts(at::<u8>(ssa), FRAME.xsave_room()) };
    // SAFETY: the thread is the current one, and what the processor holds are this entry's own components.
    unsafe { thread.area() }.copy_from_ssa(state);
    // SAFETY: this vCPU's page.
    unsafe { (*Vcpu::current()).live = 0 };
    registers.rsp = place;
    registers.rip = entry::address_of_fault_entry();
    registers.rflags &= 0x102;
    [registers.rdi, registers.rsi, registers.rdx] = what;
}
