//! The vDSO: what programs call for the time without a `syscall` instruction.
//!
//! It is a small shared object, built with the kernel, whose functions jump to the kernel's entry as rewritten code does.

use casemate_enclave::mm::{Kind, MapFlags, Prot};

use crate::process::process;
use crate::syscall::Errno;
use crate::user;

/// The shared object, from build.rs.
static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vdso.so"));

/// Maps it; returns where.
pub(crate) fn map() -> Result<u64, Errno> {
    let length = (IMAGE.len() as u64).next_multiple_of(4096);
    let flags = MapFlags { populate: true, ..MapFlags::default() };
    let at = process().space.lock().map(None, length, Prot::RW, flags, Kind::Vdso).map_err(user::errno)?;
    user::write(at, IMAGE)?;
    process().space.lock().protect(at, length, Prot::RX).map_err(user::errno)?;
    Ok(at)
}
