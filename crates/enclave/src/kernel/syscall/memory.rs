//! mmap(2) and its kin.

use alloc::sync::Arc;

use casemate_enclave::mm::{Kind, MapFlags, Prot, RemapFlags};

use super::{Errno, Result, int};
use crate::arch::frame::Frame;
use crate::fs::{OpenFile, mapped};
use crate::loader;
use crate::process::process;
use crate::{shared, user};

/// Flags of mmap(2) (`include/uapi/asm-generic/mman-common.h`, `mman.h`).
mod flag {
    pub(super) const SHARED: u64 = 0x01;
    pub(super) const PRIVATE: u64 = 0x02;
    pub(super) const SHARED_VALIDATE: u64 = 0x03;
    pub(super) const TYPE: u64 = 0x0f;
    pub(super) const FIXED: u64 = 0x10;
    pub(super) const ANONYMOUS: u64 = 0x20;
    pub(super) const GROWSDOWN: u64 = 0x100;
    pub(super) const NORESERVE: u64 = 0x4000;
    pub(super) const POPULATE: u64 = 0x8000;
    pub(super) const STACK: u64 = 0x2_0000;
    pub(super) const FIXED_NOREPLACE: u64 = 0x10_0000;
}

pub(super) fn mmap(frame: &mut Frame) -> Result {
    let [address, length, prot, flags, fd, offset] = frame.arguments();
    let prot = user::prot(prot).ok_or(Errno::EINVAL)?;
    let kind = flags & flag::TYPE;
    if !matches!(kind, flag::SHARED | flag::PRIVATE | flag::SHARED_VALIDATE) {
        return Err(Errno::EINVAL);
    }
    let map_flags = MapFlags {
        fixed: flags & flag::FIXED != 0 && flags & flag::FIXED_NOREPLACE == 0,
        fixed_noreplace: flags & flag::FIXED_NOREPLACE != 0,
        noreserve: flags & flag::NORESERVE != 0,
        stack: flags & flag::STACK != 0,
        grows_down: flags & flag::GROWSDOWN != 0,
        populate: flags & flag::POPULATE != 0,
        shared: kind != flag::PRIVATE,
        read_only: false,
    };
    let hint = (address != 0 || map_flags.fixed || map_flags.fixed_noreplace).then_some(address);
    if map_flags.fixed {
        mapped::forget(address, length);
        loader::islands::forget(address, length);
    }
    let zeros = flags & flag::ANONYMOUS != 0;
    if zeros && map_flags.shared && shared::enabled() && !map_flags.fixed && !map_flags.fixed_noreplace {
        return shared::map(length, prot, map_flags);
    }
    if zeros {
        let mut space = process().space.lock();
        return space.map(hint, length, prot, map_flags, Kind::Anonymous).map_err(user::errno);
    }
    if offset % 4096 != 0 {
        return Err(Errno::EINVAL);
    }
    let file = process().files.lock().get(int(fd))?;
    if map_flags.shared && hint.is_none() && shared::enabled() && file.path() == "/dev/zero" {
        return shared::map(length, prot, map_flags);
    }
    map_file(&file, hint, length, prot, map_flags, offset)
}

/// A mapping of a file: its bytes, copied in now.
fn map_file(
    file: &Arc<OpenFile>,
    hint: Option<u64>,
    length: u64,
    prot: Prot,
    mut flags: MapFlags,
    offset: u64,
) -> Result {
    file.check_mappable(flags.shared && prot.contains(Prot::W))?;
    let kind = Kind::File { name: Arc::from(file.path()), offset };
    flags.populate = true;
    let fixed = flags.fixed || flags.fixed_noreplace;
    let outside = flags.shared && !fixed && !prot.contains(Prot::X) && shared::enabled();
    let (address, filled) = match file.key_in_memory().filter(|_| outside) {
        Some(key) => shared::map_file(key, offset, length, flags)?,
        None => {
            let mut space = process().space.lock();
            (space.map(hint, length, Prot::RW, flags, kind).map_err(user::errno)?, false)
        }
    };
    let fill = || {
        if !filled {
            loader::fill(file, offset, address, length)?;
        }
        if prot.contains(Prot::X)
            && let Some((elf, bias)) = loader::module_of(file, offset, address)
        {
            let size = file.stat()?.size;
            let mapped = length
                .min(size.saturating_sub(offset))
                .next_multiple_of(4096)
                .min(length.next_multiple_of(4096));
            loader::rewrite(file, &elf, address, mapped, bias)?;
        }
        Ok(())
    };
    if let Err(errno) = fill() {
        // The place was the program's wish; what was there before is gone, as when Linux fails this late.
        let _ = process().space.lock().unmap(address, length);
        return Err(errno);
    }
    if flags.shared {
        mapped::register(file, address, length, offset);
    }
    if prot != Prot::RW {
        process().space.lock().protect(address, length, prot).map_err(user::errno)?;
    }
    Ok(address)
}

pub(super) fn mprotect(frame: &mut Frame) -> Result {
    let [address, length, prot, ..] = frame.arguments();
    let prot = user::prot(prot).ok_or(Errno::EINVAL)?;
    process().space.lock().protect(address, length, prot).map_err(user::errno)?;
    Ok(0)
}

pub(super) fn munmap(frame: &mut Frame) -> Result {
    let [address, length, ..] = frame.arguments();
    mapped::forget(address, length);
    loader::islands::forget(address, length);
    process().space.lock().unmap(address, length).map_err(user::errno)?;
    Ok(0)
}

pub(super) fn brk(frame: &mut Frame) -> Result {
    let [new, ..] = frame.arguments();
    Ok(process().space.lock().brk(new))
}

pub(super) fn mremap(frame: &mut Frame) -> Result {
    let [old, old_length, new_length, flags, new_address, _] = frame.arguments();
    let flags = RemapFlags {
        maymove: flags & 1 != 0,
        fixed: (flags & 2 != 0).then_some(new_address),
        dontunmap: flags & 4 != 0,
    };
    let shared = mapped::behind(old);
    mapped::flush(old, old_length);
    let moved = process().space.lock().remap(old, old_length, new_length, flags, |pages| {
        user::copy_pages(pages.from, pages.to);
    });
    let address = moved.map(|remapped| remapped.address()).map_err(user::errno)?;
    if let Some((file, offset)) = shared {
        // Written above; from here on what is at the new place is the mapping.
        mapped::moved(old, old_length);
        if new_length > old_length {
            loader::fill(&file, offset + old_length, address + old_length, new_length - old_length)?;
        }
        mapped::register(&file, address, new_length, offset);
    }
    Ok(address)
}

pub(super) fn msync(frame: &mut Frame) -> Result {
    let [address, length, flags, ..] = frame.arguments();
    // MS_ASYNC, MS_INVALIDATE, MS_SYNC; not the first and the last at once.
    if address % 4096 != 0 || flags & !7 != 0 || flags & 5 == 5 {
        return Err(Errno::EINVAL);
    }
    let length = length.checked_next_multiple_of(4096).ok_or(Errno::ENOMEM)?;
    let mut at = address;
    let end = address.checked_add(length).ok_or(Errno::ENOMEM)?;
    while at < end {
        at = process().space.lock().find(at).ok_or(Errno::ENOMEM)?.range.end();
    }
    mapped::flush(address, length);
    Ok(0)
}

pub(super) fn mincore(frame: &mut Frame) -> Result {
    let [address, length, vector, ..] = frame.arguments();
    if address % 4096 != 0 {
        return Err(Errno::EINVAL);
    }
    let pages = length.div_ceil(4096);
    for page in 0..pages {
        let at = address.checked_add(page * 4096).ok_or(Errno::ENOMEM)?;
        if process().space.lock().find(at).is_none() {
            return Err(Errno::ENOMEM);
        }
        user::write(vector + page, &[1])?;
    }
    Ok(0)
}

/// Advice of madvise(2) that Linux knows and that changes nothing here.
const HINTS: [i32; 15] = [0, 1, 2, 3, 10, 11, 12, 13, 14, 15, 16, 17, 20, 21, 25];

pub(super) fn madvise(frame: &mut Frame) -> Result {
    let [address, length, advice, ..] = frame.arguments();
    match int(advice) {
        // MADV_DONTNEED; MADV_FREE may forget at once.
        4 | 8 => {
            process().space.lock().advise_dontneed(address, length).map_err(user::errno)?;
            Ok(0)
        }
        // MADV_POPULATE_READ and _WRITE.
        22 | 23 => Ok(0),
        advice if HINTS.contains(&advice) => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}
