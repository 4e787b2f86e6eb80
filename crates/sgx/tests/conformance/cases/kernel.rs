//! The kernel's selftests, by their names there.

use std::arch::global_asm;
use std::ffi::c_void;

use casemate_sgx::arch::{ErrorCode, Leaf, PageType, Permissions, SecInfo, SecInfoFlags, Tcs, Vector};
use casemate_sgx::platform::{EnterLeaf, Platform, Registers};
use zerocopy::IntoBytes as _;

use crate::support::image::{Kind, Op};
use crate::support::machine::{Machine, address, exited, inside};
use crate::support::pattern::Pattern;
use crate::support::shape::{self, DATA, DYNAMIC, HEAP, PAGE, Shape};

const MAGIC: u64 = 0x1122_3344_5566_7788;

/// Error codes of page faults: a write to a page that the page table protects; the same where the EPCM does; a read there.
const WRITE_PTE: u16 = 0x7;
const WRITE_EPCM: u16 = 0x8007;
const READ_EPCM: u16 = 0x8005;

const TRIM_MODIFIED: SecInfo =
    SecInfo::new(PageType::Trim, Permissions::empty()).with(SecInfoFlags::MODIFIED);

/// What is put into the enclave comes out again.
pub(crate) fn unclobbered_vdso(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    machine.put(DATA, MAGIC);
    assert_eq!(machine.get(DATA), MAGIC);
    let answer = machine.run(0, Op::Nop, [1, 2, 3, 4]);
    assert_eq!(answer, Registers { rdi: 0, rsi: 1, rdx: 2, r8: 3, r9: 4 }, "registers pass through");
}

/// The same with a heap that is large; how large the EPC is the trait does not say, so `CASEMATE_SGX_HEAP` (bytes) can
/// make it larger than that.
pub(crate) fn unclobbered_vdso_oversubscribed(platform: &dyn Platform) {
    let asked = std::env::var("CASEMATE_SGX_HEAP").ok().and_then(|bytes| bytes.parse().ok());
    let heap: u64 = asked.unwrap_or(64 << 20);
    let shape = Shape { heap, size: (HEAP + heap).next_power_of_two(), ..Shape::new(platform) };
    let machine = Machine::with(platform, &shape).unwrap();
    machine.run(0, Op::Pages, [machine.at(HEAP), heap / PAGE, 0, 0]);
    for page in [0, 1, heap / PAGE / 2, heap / PAGE - 1] {
        assert_eq!(machine.get(HEAP + page * PAGE), machine.at(HEAP + page * PAGE));
    }
    machine.put(DATA, MAGIC);
    assert_eq!(machine.get(DATA), MAGIC);
}

global_asm!(
    // fn(function: rdi, argument: rsi) -> eax: how many registers that a callee must keep were not kept.
    ".globl casemate_conformance_kept",
    "casemate_conformance_kept:",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "sub rsp, 8",
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rbx, 0x1101",
    "mov rbp, 0x1102",
    "mov r12, 0x1103",
    "mov r13, 0x1104",
    "mov r14, 0x1105",
    "mov r15, 0x1106",
    "call rax",
    "xor eax, eax",
    ".macro casemate_kept register, value",
    "cmp \\register, \\value",
    "je 2f",
    "inc eax",
    "2:",
    ".endm",
    "casemate_kept rbx, 0x1101",
    "casemate_kept rbp, 0x1102",
    "casemate_kept r12, 0x1103",
    "casemate_kept r13, 0x1104",
    "casemate_kept r14, 0x1105",
    "casemate_kept r15, 0x1106",
    "pushfq",
    "pop rcx",
    // The direction flag must be clear.
    "test ecx, 0x400",
    "jz 3f",
    "inc eax",
    "3:",
    "add rsp, 8",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
);

unsafe extern "C" {
    fn casemate_conformance_kept(function: extern "C" fn(*mut c_void), argument: *mut c_void) -> u32;
}

struct Call<'a> {
    machine: &'a Machine,
    pattern: &'a Pattern,
    kind: Kind,
}

extern "C" fn call(call: *mut c_void) {
    // SAFETY: what `clobbered_vdso` passes, and keeps.
    let call = unsafe { &*call.cast::<Call<'_>>() };
    // Every register of the enclave's, the ones that a callee must keep too, is changed inside.
    let _ = call.machine.pattern(0, call.pattern, call.kind);
}

/// The host's registers survive an enclave that changes all of them, whether it leaves by EEXIT or by a fault.
pub(crate) fn clobbered_vdso(platform: &dyn Platform) {
    let shape = Shape::new(platform);
    let machine = Machine::with(platform, &shape).unwrap();
    for kind in [Kind::Nop, Kind::Ud2] {
        let pattern = Pattern::new(shape.xfrm, 9);
        let mut argument = Call { machine: &machine, pattern: &pattern, kind };
        // SAFETY: the function takes what it is given.
        let lost = unsafe { casemate_conformance_kept(call, (&raw mut argument).cast()) };
        assert_eq!(lost, 0, "{kind:?}");
    }
}

/// The trait has no user function: exits are answered by its caller. As far as that goes: an exit and a second entry from
/// the same loop.
pub(crate) fn clobbered_vdso_and_user_function(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    for value in 0..10 {
        machine.put(DATA, MAGIC + value);
        assert_eq!(machine.get(DATA), MAGIC + value);
    }
}

/// Every TCS can be entered.
pub(crate) fn tcs_entry(platform: &dyn Platform) {
    let machine = Machine::with(platform, &Shape { threads: 8, ..Shape::new(platform) }).unwrap();
    for thread in 0..8 {
        machine.run(thread, Op::Nop, [0; 4]);
    }
}

/// A page of the enclave that the host protects faults as any other, and works when the host gives it back.
pub(crate) fn pte_permissions(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    machine.put(DATA, 1);
    machine.enclave.protect(DATA, PAGE, Permissions::R).unwrap();
    let fault = machine.fault(0, Op::Put, [machine.at(DATA), MAGIC, 0, 0]);
    assert_eq!(fault, inside(Vector::PF, WRITE_PTE, machine.at(DATA)));
    machine.enclave.protect(DATA, PAGE, Permissions::RW).unwrap();
    exited(machine.resume(0));
    assert_eq!(machine.get(DATA), MAGIC);
}

/// A TCS has no permissions to restrict.
pub(crate) fn tcs_permissions(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    machine.enclave.restrict_permissions(shape::tcs(0), PAGE, Permissions::R).unwrap_err();
    machine.run(0, Op::Nop, [0; 4]);
}

/// Permissions that EMODPR took and the enclave accepted are gone; EMODPE brings them back.
pub(crate) fn epcm_permissions(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    machine.put(DATA, 1);
    assert_eq!(machine.enclave.restrict_permissions(DATA, PAGE, Permissions::R).unwrap(), PAGE);
    let restricted = SecInfo::reg(Permissions::R).with(SecInfoFlags::PR);
    assert_eq!(machine.accept(&restricted, DATA), Ok(()));
    let fault = machine.fault(0, Op::Put, [machine.at(DATA), MAGIC, 0, 0]);
    assert_eq!(fault, inside(Vector::PF, WRITE_EPCM, machine.at(DATA)));
    // The first thread stands at its fault; the second extends the permissions.
    let info = SecInfo::reg(Permissions::RW);
    let secinfo = DATA + PAGE;
    machine.write(1, secinfo, info.as_bytes());
    let operands = [Leaf::Emodpe.raw().into(), machine.at(secinfo), machine.at(DATA), 0];
    machine.run(1, Op::Enclu, operands);
    // The kernel keeps its page table as it was restricted, until it is asked.
    machine.enclave.protect(DATA, PAGE, Permissions::RW).unwrap();
    exited(machine.resume(0));
    assert_eq!(machine.get(DATA), MAGIC);
}

/// An access to a page that is mapped and was not added adds it, and faults until the enclave has accepted it.
pub(crate) fn augment(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    let fault = machine.fault(0, Op::Put, [machine.at(DYNAMIC), MAGIC, 0, 0]);
    assert_eq!(fault, inside(Vector::PF, WRITE_EPCM, machine.at(DYNAMIC)));
    let info = SecInfo::reg(Permissions::RW).with(SecInfoFlags::PENDING);
    machine.write(1, DATA, info.as_bytes());
    let operands = [Leaf::Eaccept.raw().into(), machine.at(DATA), machine.at(DYNAMIC), 0];
    assert_eq!(machine.run(1, Op::Enclu, operands).rsi, 0);
    exited(machine.resume(0));
    assert_eq!(machine.get(DYNAMIC), MAGIC);
}

/// EACCEPT itself is such an access.
pub(crate) fn augment_via_eaccept(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    machine.accept_new(DYNAMIC);
    machine.put(DYNAMIC, MAGIC);
    assert_eq!(machine.get(DYNAMIC), MAGIC);
}

/// A thread is made of new pages, runs, and is removed.
pub(crate) fn tcs_create(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    // A TCS in the place of the third thread, whose own pages are new too.
    let (tcs, own) = (DYNAMIC, DYNAMIC + PAGE);
    let pages = 9;
    for page in 0..pages {
        machine.accept_new(DYNAMIC + page * PAGE);
    }
    let contents = Tcs { ossa: own + PAGE, ogsbase: own, ..Shape::new(platform).tcs(0) };
    machine.write(0, tcs, contents.as_bytes());
    let enter = |registers| {
        // SAFETY: as every entry of `Machine`.
        unsafe { machine.enclave.enter(machine.at(tcs), EnterLeaf::Enter, registers) }.unwrap()
    };
    let put = Registers { rdi: Op::Put as u64, rsi: machine.at(DATA), rdx: MAGIC, r8: 0, r9: 0 };
    assert!(matches!(enter(put), casemate_sgx::platform::Exit::Exception(_)), "it is no TCS yet");
    assert_eq!(machine.enclave.modify_types(tcs, PAGE, PageType::Tcs).unwrap(), PAGE);
    assert!(matches!(enter(put), casemate_sgx::platform::Exit::Exception(_)), "it is not accepted yet");
    let modified = SecInfo::tcs().with(SecInfoFlags::MODIFIED);
    assert_eq!(machine.accept(&modified, tcs), Ok(()));
    machine.enclave.protect(tcs, PAGE, Permissions::RW).unwrap();
    exited(enter(put));
    assert_eq!(machine.get(DATA), MAGIC);
    for page in 0..pages {
        machine.remove(DYNAMIC + page * PAGE);
    }
    assert!(matches!(enter(put), casemate_sgx::platform::Exit::Exception(_)), "it is gone");
    // And the pages can come back as something else.
    machine.enclave.protect(DYNAMIC, PAGE, Permissions::RW).unwrap();
    machine.accept_new(DYNAMIC);
    assert_eq!(machine.get(DYNAMIC), 0);
}

/// A trimmed page that the enclave has not accepted stays.
pub(crate) fn remove_added_page_no_eaccept(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    machine.put(DATA, MAGIC);
    assert_eq!(machine.get(DATA), MAGIC);
    assert_eq!(machine.enclave.modify_types(DATA, PAGE, PageType::Trim).unwrap(), PAGE);
    machine.enclave.remove_pages(DATA, PAGE).unwrap_err();
}

/// The enclave cannot touch a page any more once it is trimmed.
pub(crate) fn remove_added_page_invalid_access(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    machine.put(DATA, MAGIC);
    assert_eq!(machine.enclave.modify_types(DATA, PAGE, PageType::Trim).unwrap(), PAGE);
    let fault = machine.fault(0, Op::Get, [machine.at(DATA), 0, 0, 0]);
    assert_eq!(fault, inside(Vector::PF, READ_EPCM, machine.at(DATA)));
}

/// Nor once it has accepted that.
pub(crate) fn remove_added_page_invalid_access_after_eaccept(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    machine.put(DATA, MAGIC);
    assert_eq!(machine.enclave.modify_types(DATA, PAGE, PageType::Trim).unwrap(), PAGE);
    assert_eq!(machine.accept(&TRIM_MODIFIED, DATA), Ok(()));
    let fault = machine.fault(0, Op::Get, [machine.at(DATA), 0, 0, 0]);
    assert_eq!(fault, inside(Vector::PF, READ_EPCM, machine.at(DATA)));
}

/// A page that nobody has touched can be removed like any other, and comes back empty.
pub(crate) fn remove_untouched_page(platform: &dyn Platform) {
    let machine = Machine::new(platform);
    let page = DATA + 2 * PAGE;
    assert_eq!(machine.enclave.modify_types(page, PAGE, PageType::Trim).unwrap(), PAGE);
    assert_eq!(machine.accept(&TRIM_MODIFIED, page), Ok(()));
    assert_eq!(machine.accept(&TRIM_MODIFIED, page), Err(ErrorCode::PageAttributesMismatch), "only once");
    assert_eq!(machine.enclave.remove_pages(page, PAGE).unwrap(), PAGE);
    machine.enclave.remove_pages(page, PAGE).unwrap_err();
    let mut word = 0_u64;
    let operands = [machine.at(page), address(&raw mut word), 8, 0];
    let fault = machine.fault(0, Op::Copy, operands);
    assert_eq!(fault, inside(Vector::PF, READ_EPCM, machine.at(page)), "it is added anew, and pending");
}
