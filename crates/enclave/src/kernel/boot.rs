//! From the first entry to the first instruction of the program.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use casemate_enclave::mm::Range;
use casemate_enclave_abi::blob::StringTable;
use casemate_enclave_abi::shared::{SHARED, SHARED_SIZE};
use casemate_enclave_abi::start::{BadStart, FLAG_CHILD, FLAG_EDMM, FLAG_SHARED_MEMORY};
use casemate_enclave_abi::window::WORD;
use casemate_enclave_abi::{AtomicU64, Errno, ExitStatus, Region, StartBlock, Window, split_strings};

use crate::arch::frame::Frame;
use crate::arch::{entry, layout, vcpu::Vcpu};
use crate::fs::{Files, namespace};
use crate::memory::EnclavePages;
use crate::process::{self, AddressSpace};
use crate::sched::{self, Thread};
use crate::signal::Signals;
use crate::{clock, cpuid, family, heap, host, loader, net, syscall};

/// The first vCPU has set everything up.
static BOOTED: AtomicBool = AtomicBool::new(false);

/// Exit codes of a shell for programs that it cannot execute, and cannot find.
const CANNOT_EXECUTE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Called by the entry code, on the vCPU's own stack, at its first entry: the host says where the window is.
#[unsafe(no_mangle)]
extern "C" fn vcpu_main(window_address: u64, window_size: u64) -> ! {
    // SAFETY: this vCPU's page, which only code on this vCPU uses.
    let vcpu = unsafe { &mut *Vcpu::current() };
    vcpu.syscall_entry = entry::address_of_syscall_entry();
    vcpu.cpuid_entry = entry::address_of_cpuid_entry();
    if Vcpu::index() == 0 {
        boot(window_address, window_size);
    }
    assert!(BOOTED.load(Ordering::Acquire), "a vCPU was entered before the first one had booted");
    sched::idle()
}

/// The window that the host named, if it lies outside the enclave.
fn window(address: u64, size: u64) -> Option<Window<'static>> {
    let end = address.checked_add(size)?;
    // ELRANGE begins at 0 and is never larger than this.
    if address < layout::DYNAMIC_SIZE
        || end >> 47 != 0
        || !address.is_multiple_of(WORD)
        || !size.is_multiple_of(WORD)
    {
        return None;
    }
    let words = usize::try_from(size / WORD).ok()?;
    let start = core::ptr::with_exposed_provenance::<AtomicU64>(usize::try_from(address).ok()?);
    // SAFETY: outside the enclave, aligned, below the end of the address space. If the host has nothing there the access
    // faults and the enclave ends. Whatever the host writes there is read by atomic accesses.
    Some(Window::new(unsafe { core::slice::from_raw_parts(start, words) }))
}

fn boot(window_address: u64, window_size: u64) -> ! {
    let Some(window) = window(window_address, window_size) else {
        panic!("the host's window cannot be {window_size} bytes at {window_address:#x}");
    };
    let start =
        StartBlock::read(window).unwrap_or_else(|error: BadStart| panic!("the start-up block: {error}"));
    let dynamic = start.flags & FLAG_EDMM != 0;
    heap::set_dynamic(dynamic);
    sched::set_dynamic(dynamic);
    let layout = start.layout().expect("the start-up block was checked");
    host::init(window, &layout).expect("the start-up block was checked");
    net::init(window, &layout).expect("the start-up block was checked");
    clock::start();
    syscall::set_trace(start.trace);
    let table = (0..start.cpuid.count).filter_map(|index| start.cpuid.get(window, index)).collect();
    cpuid::init(table);
    process::init(
        start,
        address_space(dynamic, start.heap_size, start.flags & FLAG_SHARED_MEMORY != 0),
        Files::new(&start, text(window, start.cwd)),
    );
    let mounts: Vec<String> = strings(window, start.mounts)
        .iter()
        .map(|mount| String::from_utf8_lossy(mount).into_owned())
        .collect();
    namespace::init(&mounts);
    let thread = if start.flags & FLAG_CHILD == 0 {
        first_thread(window, &start)
    } else {
        family::import::become_child()
    };
    let process = process::process();
    process.threads.lock().insert(thread.id(), Arc::clone(&thread));
    sched::start(thread);
    BOOTED.store(true, Ordering::Release);
    host::ready();
    sched::idle()
}

/// Loads the program that the start-up block names.
fn first_thread(window: Window<'_>, start: &StartBlock) -> Arc<Thread> {
    let program = text(window, start.program);
    let arguments = strings(window, start.argv);
    let environment = strings(window, start.env);
    let entry = loader::load(&program, &arguments, &environment).unwrap_or_else(|error| {
        host::print(format_args!("casemate: {error}"));
        let code = if error.errno == Errno::ENOENT { NOT_FOUND } else { CANNOT_EXECUTE };
        host::exit(ExitStatus::Code(code))
    });
    let frame = Frame::starting_at(entry.rip, entry.rsp);
    Thread::new(process::process().new_thread_id(), &frame, 0, None, Signals::default())
        .expect("memory for the first thread")
}

fn address_space(dynamic: bool, heap: u64, shares: bool) -> AddressSpace {
    let end =
        if dynamic { layout::STACKS } else { layout::USER.saturating_add(heap).min(layout::DYNAMIC_SIZE) };
    let bounds = Range::new(layout::LOWEST, end).expect("whole pages: the start-up block was checked");
    let kernel = Range::new(layout::IMAGE, layout::USER).expect("whole pages");
    let mut space = AddressSpace::new(EnclavePages::new(dynamic), bounds, &[kernel], heap);
    if let Some(outside) = Range::at(SHARED, SHARED_SIZE).filter(|_| shares) {
        space.allow_outside(outside);
    }
    space
}

/// Copies a part of the blob into the enclave.
fn bytes(window: Window<'_>, region: Region) -> Vec<u8> {
    let mut bytes = alloc::vec![0; usize::try_from(region.len).unwrap_or(0)];
    window.copy_in(region.offset, &mut bytes).expect("the start-up block was checked");
    bytes
}

/// A string of the blob; what is no UTF-8 in it is replaced.
fn text(window: Window<'_>, region: Region) -> String {
    String::from_utf8_lossy(&bytes(window, region)).into_owned()
}

fn strings(window: Window<'_>, table: StringTable) -> Vec<Vec<u8>> {
    let blob = bytes(window, table.region);
    match split_strings(&blob, table.count) {
        Ok(strings) => strings.map(<[u8]>::to_vec).collect(),
        Err(error) => panic!("the start-up block: {error}"),
    }
}
