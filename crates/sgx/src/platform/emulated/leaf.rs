//! The leaves of ENCLU that software inside executes (SDM vol. 3D, chapter 39).

use std::sync::atomic::Ordering;

use zerocopy::{FromBytes, IntoBytes as _};

use super::context::Context;
use super::enclave::EmulatedEnclave;
use super::epcm::Entry;
use super::signal::{Fault, exception};
use super::thread::Thread;
use super::{enter, ssa};
use crate::arch::{
    ErrorCode, Gprsgx, KeyPolicy, KeyRequest, Leaf, PAGE_SIZE, PageFaultCode, PageType, Permissions, SecInfo,
    SecInfoFlags, TargetInfo, Vector,
};
use crate::platform::Enclave as _;
use crate::platform::memory::page_of;

/// Bits of RFLAGS that a leaf sets or clears.
const ZF: u64 = 1 << 6;
const ARITHMETIC: u64 = 1 | 1 << 2 | 1 << 4 | ZF | 1 << 7 | 1 << 11;

/// What became of a leaf in strict mode.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Executed; the enclave goes on behind it.
    Done,
    /// EEXIT.
    Exited,
    /// It raises an exception instead.
    Fault(Fault),
}

/// Operands of a leaf.
#[derive(Clone, Copy, Debug)]
struct Operands {
    rbx: u64,
    rcx: u64,
    rdx: u64,
}

/// What a leaf leaves in EAX: nothing, or success or an error code, ZF with it.
type Answer = Result<Option<Result<(), ErrorCode>>, Fault>;

/// Called by the patched stub for every leaf but EEXIT, on the host's stack. Nonzero: it raised an exception, which is
/// recorded.
pub(super) extern "C" fn emulate_leaf(thread: *mut Thread) -> u32 {
    // SAFETY: the calling thread's block, from the assembly.
    let state = unsafe { &mut *thread };
    // SAFETY: the thread is in this enclave.
    let enclave = unsafe { &*state.enclave };
    let operands = Operands { rbx: state.saved[3], rcx: state.saved[1], rdx: state.saved[2] };
    let leaf = u32::try_from(state.leaf).unwrap_or(u32::MAX);
    match execute(enclave, state, leaf, operands) {
        Ok(answer) => {
            let (rax, rflags) = conclude(answer, state.saved[0], state.rflags);
            state.saved[0] = rax;
            state.rflags = rflags;
            0
        }
        Err(fault) => {
            let s = state.saved;
            let gprsgx = Gprsgx {
                rax: s[0],
                rcx: s[1],
                rdx: s[2],
                rbx: s[3],
                rsp: s[4],
                rbp: s[5],
                rsi: s[6],
                rdi: s[7],
                r8: s[8],
                r9: s[9],
                r10: s[10],
                r11: s[11],
                r12: s[12],
                r13: s[13],
                r14: s[14],
                r15: s[15],
                rflags: state.rflags,
                rip: enclave.stub.as_ref().map_or(0, super::stub::Stub::address),
                fsbase: state.enclave_fs,
                gsbase: state.enclave_gs,
                ..Gprsgx::default()
            };
            let mut xsave = state.xsave;
            ssa::store(enclave, state, gprsgx, Some(&mut xsave), Some(fault));
            state.exception = Some(exception(fault));
            1
        }
    }
}

/// ENCLU that trapped: executes it on the context of the signal.
pub(super) fn in_strict_mode(
    enclave: &EmulatedEnclave,
    state: &mut Thread,
    context: &mut Context,
    thread: *mut Thread,
) -> Outcome {
    let registers = context.registers();
    let leaf = u32::try_from(registers.rax & 0xffff_ffff).unwrap_or(u32::MAX);
    if leaf == Leaf::Eexit.raw() {
        if let Some(tcs) = enclave.tcs_at(state.tcs) {
            tcs.release();
        }
        // RCX is the asynchronous exit pointer, for which the thread stands.
        context.set(libc::REG_RCX, thread.addr() as u64);
        context.set(libc::REG_RIP, registers.rbx);
        // The trap flag of a single step ends with the stay inside.
        context.set(libc::REG_EFL, registers.rflags & !0x100);
        return Outcome::Exited;
    }
    let operands = Operands { rbx: registers.rbx, rcx: registers.rcx, rdx: registers.rdx };
    match execute(enclave, state, leaf, operands) {
        Ok(answer) => {
            let (rax, rflags) = conclude(answer, registers.rax, registers.rflags);
            context.set(libc::REG_RAX, rax);
            context.set(libc::REG_EFL, rflags);
            context.set(libc::REG_RIP, registers.rip + 3);
            Outcome::Done
        }
        Err(fault) => Outcome::Fault(fault),
    }
}

fn conclude(answer: Option<Result<(), ErrorCode>>, rax: u64, rflags: u64) -> (u64, u64) {
    match answer {
        None => (rax, rflags),
        Some(Ok(())) => (0, rflags & !ARITHMETIC),
        Some(Err(code)) => (u64::from(code.raw()), rflags & !ARITHMETIC | ZF),
    }
}

fn execute(enclave: &EmulatedEnclave, state: &mut Thread, leaf: u32, operands: Operands) -> Answer {
    match Leaf::from_raw(leaf) {
        Some(Leaf::Ereport) => ereport(enclave, operands),
        Some(Leaf::Egetkey) => egetkey(enclave, operands),
        Some(Leaf::Eaccept) if enclave.options.edmm => eaccept(enclave, operands),
        Some(Leaf::Emodpe) if enclave.options.edmm => emodpe(enclave, operands),
        Some(Leaf::Eacceptcopy) if enclave.options.edmm => eacceptcopy(enclave, operands),
        Some(Leaf::Edeccssa) if enclave.options.edeccssa => edeccssa(enclave, state),
        _ => Err(Fault::GP),
    }
}

/// EREPORT: RBX is TARGETINFO, RCX the report data, RDX where the report goes.
fn ereport(enclave: &EmulatedEnclave, operands: Operands) -> Answer {
    let target: TargetInfo = read(enclave, operands.rbx, 512)?;
    let data: [u8; 64] = read(enclave, operands.rcx, 128)?;
    check(enclave, operands.rdx, 432, 512, Permissions::RW)?;
    let report = enclave.report(&target, &data);
    enclave.memory.write(operands.rdx, report.as_bytes());
    Ok(None)
}

/// EGETKEY: RBX is KEYREQUEST, RCX where the key goes.
fn egetkey(enclave: &EmulatedEnclave, operands: Operands) -> Answer {
    let request: KeyRequest = read(enclave, operands.rbx, 512)?;
    check(enclave, operands.rcx, 16, 16, Permissions::RW)?;
    // Every other policy needs KSS.
    let policies = KeyPolicy::MRENCLAVE | KeyPolicy::MRSIGNER;
    if !request.reserved1.is_zero() || !request.reserved2.is_zero() || !policies.contains(request.keypolicy) {
        return Err(Fault::GP);
    }
    Ok(Some(enclave.key(&request).map(|key| enclave.memory.write(operands.rcx, &key))))
}

/// What EMODPE, EACCEPT and EACCEPTCOPY want of their SECINFO.
fn secinfo(enclave: &EmulatedEnclave, address: u64) -> Result<SecInfo, Fault> {
    let info: SecInfo = read(enclave, address, 64)?;
    if !info.reserved_is_zero() || !info.permissions().is_valid() {
        return Err(Fault::GP);
    }
    Ok(info)
}

/// EACCEPT: RBX is SECINFO, RCX the page.
fn eaccept(enclave: &EmulatedEnclave, operands: Operands) -> Answer {
    let info = secinfo(enclave, operands.rbx)?;
    let offset = page_operand(enclave, operands.rcx)?;
    let page_type = info.page_type().ok_or(Fault::GP)?;
    let state = info.state();
    let possible = match page_type {
        PageType::Reg => state == SecInfoFlags::PENDING || state == SecInfoFlags::PR,
        PageType::Tcs | PageType::Trim => state == SecInfoFlags::MODIFIED,
        PageType::Secs | PageType::Va => false,
    };
    if !possible {
        return Err(Fault::GP);
    }
    present(enclave, operands.rcx)?;
    let entry = enclave.epcm.get(offset);
    if page_type == PageType::Tcs && entry.page_type == PageType::Tcs && entry.modified {
        let bytes = enclave.peek_page(offset);
        enclave.add_tcs(offset, &bytes).map_err(|_| Fault::GP)?;
    }
    let answer = enclave.change_page(offset, |entry, _| {
        let same = entry.valid
            && entry.page_type == page_type
            && entry.permissions == info.permissions()
            && entry.pending == state.contains(SecInfoFlags::PENDING)
            && entry.modified == state.contains(SecInfoFlags::MODIFIED)
            && entry.restricted == state.contains(SecInfoFlags::PR);
        if same {
            Ok((Entry { pending: false, modified: false, restricted: false, ..entry }, Ok(())))
        } else {
            Err(Err(ErrorCode::PageAttributesMismatch))
        }
    });
    Ok(Some(answer))
}

/// EMODPE: RBX is SECINFO with the permissions to add, RCX the page.
fn emodpe(enclave: &EmulatedEnclave, operands: Operands) -> Answer {
    let info = secinfo(enclave, operands.rbx)?;
    let offset = page_operand(enclave, operands.rcx)?;
    present(enclave, operands.rcx)?;
    enclave.change_page(offset, |entry, _| {
        if !entry.valid || entry.pending || entry.modified || entry.page_type != PageType::Reg {
            let code =
                PageFaultCode::WRITE | PageFaultCode::USER | PageFaultCode::PRESENT | PageFaultCode::SGX;
            return Err(Err(Fault { vector: Vector::PF, error_code: code.bits(), address: operands.rcx }));
        }
        let permissions = entry.permissions | info.permissions();
        if !permissions.is_valid() {
            return Err(Err(Fault::GP));
        }
        Ok((Entry { permissions, ..entry }, Ok(())))
    })?;
    Ok(None)
}

/// EACCEPTCOPY: RBX is SECINFO with the permissions to give, RCX the pending page, RDX the page to copy.
fn eacceptcopy(enclave: &EmulatedEnclave, operands: Operands) -> Answer {
    let info = secinfo(enclave, operands.rbx)?;
    let offset = page_operand(enclave, operands.rcx)?;
    if info.page_type() != Some(PageType::Reg) || !info.state().is_empty() {
        return Err(Fault::GP);
    }
    check(enclave, operands.rdx, PAGE_SIZE, PAGE_SIZE, Permissions::R)?;
    present(enclave, operands.rcx)?;
    let entry = enclave.epcm.get(offset);
    if !(entry.valid && entry.pending && !entry.modified && entry.page_type == PageType::Reg) {
        return Ok(Some(Err(ErrorCode::PageAttributesMismatch)));
    }
    let mut bytes = vec![0; PAGE_SIZE];
    enclave.memory.read(operands.rdx, &mut bytes);
    enclave.poke_page(offset, &bytes);
    let permissions = info.permissions();
    enclave.change_page(offset, |entry, _| Ok((Entry { permissions, pending: false, ..entry }, ())));
    Ok(Some(Ok(())))
}

/// EDECCSSA: down to the frame below, without leaving.
fn edeccssa(enclave: &EmulatedEnclave, state: &mut Thread) -> Answer {
    let tcs = enclave.tcs_at(state.tcs).ok_or(Fault::GP)?;
    let cssa = tcs.cssa.load(Ordering::Relaxed).checked_sub(1).ok_or(Fault::GP)?;
    let frame = enter::frame(enclave, &tcs, cssa)?;
    tcs.cssa.store(cssa, Ordering::Relaxed);
    // The next exit stores its state there.
    state.cssa = u64::from(cssa);
    state.frame = frame;
    state.gprsgx = frame + enclave.frame.gprsgx() as u64;
    Ok(None)
}

/// EAUG, as Linux's driver does it on the first access to a page that is mapped and not there. `None` where it does not.
pub(super) fn augment(enclave: &EmulatedEnclave, offset: u64) -> Option<()> {
    if !enclave.options.edmm {
        return None;
    }
    enclave.change_page(offset, |entry, mapped| {
        if mapped.is_empty() {
            return Err(None);
        }
        if entry.valid {
            return Err(Some(()));
        }
        Ok((Entry::augmented(), Some(())))
    })
}

/// The offset of a page that an operand names.
fn page_operand(enclave: &EmulatedEnclave, address: u64) -> Result<u64, Fault> {
    if !address.is_multiple_of(PAGE_SIZE as u64) || !enclave.memory.contains(address, PAGE_SIZE as u64) {
        return Err(Fault::GP);
    }
    Ok(address - enclave.base())
}

/// A page that an operand names must be mapped; the access adds it where it was not added.
fn present(enclave: &EmulatedEnclave, address: u64) -> Result<(), Fault> {
    let offset = page_of(address) - enclave.base();
    if enclave.mapped(offset).is_empty()
        || (!enclave.epcm.get(offset).valid && augment(enclave, offset).is_none())
    {
        return Err(denied(enclave, address, Permissions::W));
    }
    Ok(())
}

/// The page fault of an access to the enclave's memory that is not allowed: the page table speaks first, then the EPCM.
pub(super) fn denied(enclave: &EmulatedEnclave, address: u64, wanted: Permissions) -> Fault {
    let offset = page_of(address) - enclave.base();
    let mut code = PageFaultCode::USER;
    if wanted.contains(Permissions::W) {
        code |= PageFaultCode::WRITE;
    }
    let mapped = enclave.mapped(offset);
    if mapped.contains(wanted) {
        let _ = augment(enclave, offset);
        code |= PageFaultCode::PRESENT | PageFaultCode::SGX;
    } else if !mapped.is_empty() {
        code |= PageFaultCode::PRESENT;
    }
    Fault { vector: Vector::PF, error_code: code.bits(), address }
}

/// Checks that the enclave may access an operand.
fn check(
    enclave: &EmulatedEnclave,
    address: u64,
    length: usize,
    alignment: usize,
    permissions: Permissions,
) -> Result<(), Fault> {
    if !address.is_multiple_of(alignment as u64) || !enclave.memory.contains(address, length as u64) {
        return Err(Fault::GP);
    }
    // An operand is aligned to at least half its size, and so lies in one page.
    let offset = page_of(address) - enclave.base();
    if !(enclave.epcm.get(offset).access() & enclave.mapped(offset)).contains(permissions) {
        return Err(denied(enclave, address, permissions));
    }
    Ok(())
}

/// Reads an operand.
fn read<T: FromBytes>(enclave: &EmulatedEnclave, address: u64, alignment: usize) -> Result<T, Fault> {
    check(enclave, address, size_of::<T>(), alignment, Permissions::R)?;
    let mut bytes = vec![0; size_of::<T>()];
    enclave.memory.read(address, &mut bytes);
    T::read_from_bytes(&bytes).map_err(|_| Fault::GP)
}
