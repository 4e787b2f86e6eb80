//! What `syscall/mod.rs` of the kernel has for the calls that are tested.

#[path = "../../src/kernel/syscall/file/mod.rs"]
pub(crate) mod file;
#[path = "../../src/kernel/syscall/identity.rs"]
pub(crate) mod identity;
#[path = "../../src/kernel/syscall/system.rs"]
pub(crate) mod system;
#[path = "../../src/kernel/syscall/time.rs"]
pub(crate) mod time;

pub(crate) use casemate_enclave_abi::Errno;

pub(crate) type Result = core::result::Result<u64, Errno>;

pub(crate) fn int(argument: u64) -> i32 {
    let [a, b, c, d, ..] = argument.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

pub(crate) fn uint(argument: u64) -> u32 {
    int(argument).cast_unsigned()
}

pub(crate) fn length(argument: u64) -> core::result::Result<usize, Errno> {
    usize::try_from(argument.min(0x7fff_f000)).map_err(|_| Errno::EINVAL)
}
