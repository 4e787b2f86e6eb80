//! EENTER and ERESUME: the checks of the manual, then the instructions of [`super::entry`].

use std::arch::x86_64::_rdtsc;
use std::sync::atomic::Ordering;

use zerocopy::FromBytes as _;

use super::dispatch;
use super::enclave::EmulatedEnclave;
use super::entry::{casemate_sgx_enter, casemate_sgx_resume};
use super::leaf;
use super::signal::{Fault, exception};
use super::tcs::TcsState;
use super::thread::Thread;
use crate::arch::{Gprsgx, PAGE_SIZE, PageType, Permissions, XSAVE_HEADER_END};
use crate::platform::{Enclave as _, EnterLeaf, Exception, Exit, PlatformError, Registers};

/// Enters, and says how the stay ended.
///
/// # Safety
/// As [`crate::platform::Enclave::enter`].
pub(super) unsafe fn enter(
    enclave: &EmulatedEnclave,
    tcs: u64,
    leaf: EnterLeaf,
    mut registers: Registers,
) -> Result<Exit, PlatformError> {
    let thread = Thread::current()?;
    // SAFETY: the calling thread's own block, and no other reference to it: handlers use it only while the thread is
    // inside, when this function waits.
    let state = unsafe { &mut *thread };
    dispatch::trap_calls_below(state, enclave)?;
    charge(enclave.options.transition_cycles);
    match prepare(enclave, tcs, leaf, state, thread) {
        Ok(()) => {}
        Err(Refusal::Fault(fault)) => return Ok(Exit::Exception(Exception { leaf, ..exception(fault) })),
        Err(Refusal::Platform(error)) => return Err(error),
    }
    let code = match leaf {
        EnterLeaf::Enter => {
            // SAFETY: `prepare` has filled in a valid entry; the caller vouches for the enclave's keeping the convention.
            unsafe { casemate_sgx_enter(thread.cast(), &raw mut registers) }
        }
        EnterLeaf::Resume => {
            // SAFETY: as above, with a frame that was checked.
            unsafe { casemate_sgx_resume(thread.cast(), &raw mut registers) }
        }
    };
    if code == 0 {
        enclave.counters.eexit.fetch_add(1, Ordering::Relaxed);
        return Ok(Exit::Exited(registers));
    }
    // SAFETY: as above; the thread is outside again.
    let state = unsafe { &mut *thread };
    Ok(Exit::Exception(state.exception.take().expect("an exception that was recorded")))
}

/// Spends the price of a transition on a processor with SGX.
fn charge(cycles: u64) {
    if cycles == 0 {
        return;
    }
    // SAFETY: reads a counter.
    let start = unsafe { _rdtsc() };
    // SAFETY: reads a counter.
    while unsafe { _rdtsc() }.wrapping_sub(start) < cycles {
        std::hint::spin_loop();
    }
}

/// Why an entry does not come about.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The processor raises this at the entering instruction.
    Fault(Fault),
    /// The platform fails.
    Platform(PlatformError),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The processor's checks (SDM vol. 3D, EENTER and ERESUME). On success the TCS is this thread's, and `state` says where to go.
pub(super) fn prepare(
    enclave: &EmulatedEnclave,
    tcs: u64,
    leaf: EnterLeaf,
    state: &mut Thread,
    thread: *mut Thread,
) -> Result<(), Refusal> {
    if !tcs.is_multiple_of(PAGE_SIZE as u64)
        || !enclave.memory.contains(tcs, PAGE_SIZE as u64)
        || !enclave.is_initialised()
    {
        return Err(Fault::GP.into());
    }
    let generation = enclave.generation();
    let Some(tcs_state) = enclave.tcs_at(tcs) else {
        return Err(leaf::denied(enclave, tcs, Permissions::RW).into());
    };
    if !tcs_state.acquire() {
        return Err(Fault::GP.into());
    }
    let ready = prepare_taken(enclave, &tcs_state, generation, tcs, leaf, state);
    if let Err(fault) = ready {
        tcs_state.release();
        return Err(fault.into());
    }
    if let Some(stub) = &enclave.stub
        && let Err(error) = stub.register(state.enclave_gs, thread)
    {
        tcs_state.release();
        return Err(Refusal::Platform(error));
    }
    match leaf {
        EnterLeaf::Enter => enclave.counters.eenter.fetch_add(1, Ordering::Relaxed),
        EnterLeaf::Resume => {
            tcs_state.cssa.fetch_sub(1, Ordering::Relaxed);
            enclave.counters.eresume.fetch_add(1, Ordering::Relaxed)
        }
    };
    state.tcs = tcs;
    state.busy = (&raw const tcs_state.busy).expose_provenance() as u64;
    state.enclave = enclave;
    state.exception = None;
    Ok(())
}

/// The part of [`prepare`] with the TCS in hand.
fn prepare_taken(
    enclave: &EmulatedEnclave,
    tcs_state: &TcsState,
    generation: u64,
    tcs: u64,
    leaf: EnterLeaf,
    state: &mut Thread,
) -> Result<(), Fault> {
    let cssa = tcs_state.cssa.load(Ordering::Relaxed);
    let used = match leaf {
        EnterLeaf::Enter if cssa >= tcs_state.tcs.nssa => return Err(Fault::GP),
        EnterLeaf::Enter => cssa,
        EnterLeaf::Resume => cssa.checked_sub(1).ok_or(Fault::GP)?,
    };
    let known = usize::try_from(used).ok().and_then(|index| tcs_state.checked.get(index));
    let frame = match known {
        Some(known) if known.load(Ordering::Relaxed) == generation => {
            enclave.base() + tcs_state.frame_offset(enclave.frame, used).ok_or(Fault::GP)?
        }
        _ => {
            if !enclave.mapped(tcs - enclave.base()).contains(Permissions::RW) {
                return Err(leaf::denied(enclave, tcs, Permissions::RW));
            }
            let frame = frame(enclave, tcs_state, used)?;
            if let Some(known) = known {
                known.store(generation, Ordering::Relaxed);
            }
            frame
        }
    };
    match leaf {
        EnterLeaf::Enter => {
            prepare_enter(enclave, tcs_state, used, frame, state);
            Ok(())
        }
        EnterLeaf::Resume => prepare_resume(enclave, used, frame, state).ok_or(Fault::GP),
    }
}

/// Address of SSA frame `cssa`, if its pages are regular, readable and writable.
pub(super) fn frame(enclave: &EmulatedEnclave, tcs: &TcsState, cssa: u32) -> Result<u64, Fault> {
    let offset = tcs.frame_offset(enclave.frame, cssa).ok_or(Fault::GP)?;
    let length = enclave.frame.size() as u64;
    let start = enclave.base().checked_add(offset).filter(|start| enclave.memory.contains(*start, length));
    let start = start.ok_or(Fault::GP)?;
    for page in (start..start + length).step_by(PAGE_SIZE) {
        let offset = page - enclave.base();
        let entry = enclave.epcm.get(offset);
        let allowed = entry.access() & enclave.mapped(offset);
        if entry.page_type != PageType::Reg || !allowed.contains(Permissions::RW) {
            return Err(leaf::denied(enclave, page, Permissions::RW));
        }
    }
    Ok(start)
}

fn prepare_enter(enclave: &EmulatedEnclave, tcs: &TcsState, cssa: u32, frame: u64, state: &mut Thread) {
    let base = enclave.base();
    state.cssa = u64::from(cssa);
    state.frame = frame;
    state.gprsgx = frame + enclave.frame.gprsgx() as u64;
    state.entry = base + tcs.tcs.oentry;
    state.enclave_fs = base + tcs.tcs.ofsbase;
    state.enclave_gs = base + tcs.tcs.ogsbase;
    state.step = u64::from(cssa == 0 && enclave.options.single_step.load(Ordering::Relaxed));
}

/// `None` where the frame does not hold a state of this enclave's.
fn prepare_resume(enclave: &EmulatedEnclave, cssa: u32, frame: u64, state: &mut Thread) -> Option<()> {
    let xfrm = enclave.xfrm;
    let mut header = [0; 64];
    enclave.memory.read(frame + (XSAVE_HEADER_END - 64) as u64, &mut header);
    let word = |index: usize| u64::from_ne_bytes(header[index * 8..][..8].try_into().expect("eight bytes"));
    // What XRSTOR would refuse, ERESUME refuses (SDM vol. 3D, ERESUME).
    if word(0) & !xfrm != 0 || header[8..].iter().any(|byte| *byte != 0) {
        return None;
    }
    let gprsgx = frame + enclave.frame.gprsgx() as u64;
    let mut bytes = [0; size_of::<Gprsgx>()];
    enclave.memory.read(gprsgx, &mut bytes);
    let registers = Gprsgx::read_from_bytes(&bytes).ok()?;
    let canonical = |address: u64| address >> 47 == 0;
    if !enclave.contains(registers.rip) || !canonical(registers.fsbase) || !canonical(registers.gsbase) {
        return None;
    }
    let mut mxcsr = [0; 4];
    enclave.memory.read(frame + 24, &mut mxcsr);
    if u32::from_ne_bytes(mxcsr) >> 16 != 0 {
        return None;
    }
    state.cssa = u64::from(cssa);
    state.frame = frame;
    state.gprsgx = gprsgx;
    state.xfrm = xfrm;
    state.enclave_fs = registers.fsbase;
    state.enclave_gs = registers.gsbase;
    // The frame of a single step has RFLAGS.TF.
    state.step = registers.rflags >> 8 & 1;
    Some(())
}
