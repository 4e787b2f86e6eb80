//! The processor: entries and exits, registers, vCPUs. Most of the kernel's unsafe code is here.

pub(crate) mod cpu;
pub(crate) mod entry;
pub(crate) mod frame;
pub(crate) mod leaves;
mod mem;
pub(crate) mod vcpu;
pub(crate) mod xstate;

pub(crate) use casemate_enclave_abi::elrange as layout;
