//! The way into the enclave.

use casemate_sgx::platform::{Enclave, EnterLeaf, Exit, PlatformError, Registers};

/// Enters the enclave by one of its TCS pages, and returns when it has left.
///
/// The enclave runs with this process's rights to memory: on a processor that is how SGX is, and in the emulator it is all the
/// more so. What it is was decided when it was built: the image of this program, or what the operator has signed.
pub(crate) fn enter(
    enclave: &dyn Enclave,
    tcs: u64,
    leaf: EnterLeaf,
    registers: Registers,
) -> Result<Exit, PlatformError> {
    // SAFETY: the image keeps the convention (crates/enclave/src/kernel/arch/entry.rs): it leaves by EEXIT to the address in
    // RCX at EENTER, with RSP and RBP as they were.
    unsafe { enclave.enter(tcs, leaf, registers) }
}
