//! Code that was mapped: its system calls become jumps into the kernel.

use alloc::vec::Vec;

use casemate_enclave::elf::{self, Elf};
use casemate_enclave::mm::{Kind, MapFlags, Prot};
use casemate_enclave::rewrite::{self, Wanted};

use super::islands;
use crate::arch::vcpu;
use crate::fs::OpenFile;
use crate::process::process;
use crate::syscall::Errno;
use crate::user;

/// How far a jump reaches, with room for the module between.
const REACH: u64 = (1 << 31) - (1 << 28);

/// An unwind table's header larger than this is not read: functions are then found by a sweep.
const MAX_EH_FRAME_HDR: u64 = 16 << 20;

/// Rewrites `length` bytes of committed, writable code at `address`, mapped from `file` with `bias`. What cannot be
/// rewritten traps later and is served there, so nothing here can fail for good but memory.
pub(crate) fn rewrite(file: &OpenFile, elf: &Elf, address: u64, length: u64, bias: u64) -> Result<(), Errno> {
    let starts = function_starts(file, elf, bias).unwrap_or_default();
    let bytes = usize::try_from(length).map_err(|_| Errno::ENOMEM)?;
    let wanted = Wanted { syscall: true, cpuid: true, rdtsc: false };
    let plan = user::with_bytes(address, bytes, |code| rewrite::scan(code, address, &starts, wanted))?;
    if plan.is_empty() {
        return Ok(());
    }
    let size = rewrite::island_size(&plan) as u64;
    let island = {
        let mut space = process().space.lock();
        let Some(gap) = space.gap_near(address, size, REACH) else { return Ok(()) };
        let flags = MapFlags { fixed_noreplace: true, populate: true, ..MapFlags::default() };
        space.map(Some(gap.start()), size, Prot::RW, flags, Kind::Island).map_err(user::errno)?
    };
    let entry =
        rewrite::Entry { syscall: vcpu::SYSCALL_ENTRY, cpuid: vcpu::CPUID_ENTRY, rdtsc: 0, rdtscp: 0 };
    let applied =
        user::with_bytes_mut(address, bytes, |code| rewrite::apply(&plan, code, address, island, entry))?;
    match applied {
        Ok(done) => {
            user::write(island, &done.code)?;
            islands::add(address, length, done);
        }
        Err(_) => {
            // Nothing was changed: every site traps.
            process().space.lock().unmap(island, size).map_err(user::errno)?;
            return Ok(());
        }
    }
    process().space.lock().protect(island, size, Prot::R | Prot::X).map_err(user::errno)
}

/// Where functions begin, by the module's unwind table.
fn function_starts(file: &OpenFile, elf: &Elf, bias: u64) -> Option<Vec<u64>> {
    let table = elf.eh_frame_hdr?;
    if table.len > MAX_EH_FRAME_HDR {
        return None;
    }
    let segment = elf.segments.iter().find(|s| {
        let at = table.address.checked_sub(s.address).and_then(|at| at.checked_add(table.len));
        at.is_some_and(|end| end <= s.file.len)
    })?;
    let offset = segment.file.offset + (table.address - segment.address);
    let bytes = super::read_exact(file, offset, usize::try_from(table.len).ok()?).ok()?;
    elf::function_starts(&bytes, table.address.wrapping_add(bias))
}

/// Headers of the file behind a mapping of code, and what to add to the addresses in it; `None` where it is no program or
/// the mapping fits none of its segments.
pub(crate) fn module_of(file: &OpenFile, offset: u64, address: u64) -> Option<(Elf, u64)> {
    let size = file.stat().ok()?.size;
    let elf = super::headers(file, size).ok()?;
    let segment = elf.segments.iter().find(|s| {
        let skip = s.address & 0xfff;
        s.execute && s.file.len > 0 && s.file.offset - skip <= offset && offset < s.file.offset + s.file.len
    })?;
    let skip = segment.address & 0xfff;
    let in_file = segment.address - skip + (offset - (segment.file.offset - skip));
    let bias = address.wrapping_sub(in_file);
    Some((elf, bias))
}
