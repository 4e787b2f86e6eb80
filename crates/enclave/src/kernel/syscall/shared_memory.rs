//! shmget(2) and its kin: segments of System V shared memory.
//!
//! A segment is one mapping: attached twice, it is at the same address twice, and while nobody is attached it stays where it
//! was, out of reach, with what it holds.

use alloc::collections::BTreeMap;

use casemate_enclave::mm::{Kind, MapFlags, Prot};
use spin::Mutex;

use super::{Errno, Result, int, uint};
use crate::arch::frame::Frame;
use crate::clock;
use crate::process::process;
use crate::{shared, user};

/// Flags and commands (`include/uapi/linux/ipc.h`, `shm.h`).
mod flag {
    pub(super) const PRIVATE: i32 = 0;
    pub(super) const CREAT: u32 = 0o1000;
    pub(super) const EXCL: u32 = 0o2000;
    pub(super) const MODE: u32 = 0o777;
    /// In the mode of a segment that is gone when nobody is attached any more.
    pub(super) const DEST: u32 = 0o1000;
    pub(super) const RDONLY: u32 = 0o10000;
    pub(super) const RND: u32 = 0o20000;
    pub(super) const REMAP: u32 = 0o40000;
    pub(super) const EXEC: u32 = 0o100_000;

    pub(super) const RMID: i32 = 0;
    pub(super) const SET: i32 = 1;
    pub(super) const STAT: i32 = 2;
    pub(super) const LOCK: i32 = 11;
    pub(super) const UNLOCK: i32 = 12;
}

/// Segments that there can be, as Linux's SHMMNI.
const LIMIT: usize = 4096;

struct Segment {
    key: i32,
    size: u64,
    mode: u32,
    removed: bool,
    /// Where it is mapped, once it was attached.
    address: Option<u64>,
    attached: u64,
    /// Seconds of the last shmat, shmdt and change.
    times: [u64; 3],
}

struct Segments {
    next: i32,
    by_id: BTreeMap<i32, Segment>,
}

static SEGMENTS: Mutex<Segments> = Mutex::new(Segments { next: 1, by_id: BTreeMap::new() });

fn now() -> u64 {
    clock::realtime_ns() / 1_000_000_000
}

pub(super) fn shmget(frame: &mut Frame) -> Result {
    let [key, size, flags, ..] = frame.arguments();
    let (key, flags) = (int(key), uint(flags));
    let mut segments = SEGMENTS.lock();
    let found = segments.by_id.iter().find(|(_, one)| key != flag::PRIVATE && !one.removed && one.key == key);
    if let Some((id, segment)) = found {
        if flags & flag::CREAT != 0 && flags & flag::EXCL != 0 {
            return Err(Errno::EEXIST);
        }
        return if size > segment.size { Err(Errno::EINVAL) } else { Ok(u64::from(id.unsigned_abs())) };
    }
    if key != flag::PRIVATE && flags & flag::CREAT == 0 {
        return Err(Errno::ENOENT);
    }
    if size == 0 || size > u64::MAX - 4096 {
        return Err(Errno::EINVAL);
    }
    if segments.by_id.len() >= LIMIT {
        return Err(Errno::ENOSPC);
    }
    let id = segments.next;
    segments.next = id.checked_add(1).ok_or(Errno::ENOSPC)?;
    let times = [0, 0, now()];
    let mode = flags & flag::MODE;
    segments.by_id.insert(id, Segment { key, size, mode, removed: false, address: None, attached: 0, times });
    Ok(u64::from(id.unsigned_abs()))
}

pub(super) fn shmat(frame: &mut Frame) -> Result {
    let [id, wish, flags, ..] = frame.arguments();
    let flags = uint(flags);
    let mut segments = SEGMENTS.lock();
    let segment = segments.by_id.get_mut(&int(id)).ok_or(Errno::EINVAL)?;
    let wish = if flags & flag::RND != 0 { wish & !4095 } else { wish };
    if wish % 4096 != 0 || (wish == 0 && flags & flag::REMAP != 0) {
        return Err(Errno::EINVAL);
    }
    let mut prot = if flags & flag::RDONLY == 0 { Prot::RW } else { Prot::R };
    prot.set(Prot::X, flags & flag::EXEC != 0);
    let mut space = process().space.lock();
    let address = match segment.address {
        // It cannot be in two places.
        Some(address) if wish != 0 && wish != address => return Err(Errno::EINVAL),
        Some(address) => {
            // Who attached it for writing keeps that.
            if segment.attached == 0 || prot.contains(Prot::W) {
                space.protect(address, segment.size, prot).map_err(user::errno)?;
            }
            address
        }
        None if wish == 0 && shared::enabled() => {
            drop(space);
            let map = MapFlags { shared: true, ..MapFlags::default() };
            shared::map(segment.size, prot, map)?
        }
        None => {
            let map = MapFlags {
                fixed: flags & flag::REMAP != 0,
                fixed_noreplace: wish != 0 && flags & flag::REMAP == 0,
                shared: true,
                ..MapFlags::default()
            };
            let hint = (wish != 0).then_some(wish);
            // A place that is taken is EINVAL here, not EEXIST.
            let mapped = space.map(hint, segment.size, prot, map, Kind::Anonymous).map_err(user::errno);
            mapped.map_err(|errno| if errno == Errno::EEXIST { Errno::EINVAL } else { errno })?
        }
    };
    segment.address = Some(address);
    segment.attached += 1;
    segment.times[0] = now();
    Ok(address)
}

pub(super) fn shmdt(frame: &mut Frame) -> Result {
    let [address, ..] = frame.arguments();
    let mut segments = SEGMENTS.lock();
    let found = segments.by_id.iter_mut().find(|(_, one)| one.attached > 0 && one.address == Some(address));
    let (&id, segment) = found.ok_or(Errno::EINVAL)?;
    let mut space = process().space.lock();
    if segment.attached == 1 {
        if segment.removed {
            space.unmap(address, segment.size).map_err(user::errno)?;
        } else {
            space.protect(address, segment.size, Prot::empty()).map_err(user::errno)?;
        }
    }
    segment.attached -= 1;
    segment.times[1] = now();
    if segment.removed && segment.attached == 0 {
        segments.by_id.remove(&id);
    }
    Ok(0)
}

pub(super) fn shmctl(frame: &mut Frame) -> Result {
    let [id, command, buffer, ..] = frame.arguments();
    let id = int(id);
    let mut segments = SEGMENTS.lock();
    let segment = segments.by_id.get_mut(&id).ok_or(Errno::EINVAL)?;
    match int(command) {
        flag::RMID if segment.attached == 0 => {
            if let Some(address) = segment.address {
                process().space.lock().unmap(address, segment.size).map_err(user::errno)?;
            }
            segments.by_id.remove(&id);
        }
        flag::RMID => segment.removed = true,
        flag::STAT => user::write_value(buffer, &describe(segment))?,
        flag::SET => {
            let wanted: [u64; 14] = user::read_value(buffer)?;
            segment.mode = uint(wanted[2] >> 32) & flag::MODE;
            segment.times[2] = now();
        }
        // Nothing here is ever swapped.
        flag::LOCK | flag::UNLOCK => {}
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

/// `struct shmid64_ds` (`include/uapi/asm-generic/shmbuf.h`, `ipcbuf.h`).
fn describe(segment: &Segment) -> [u64; 14] {
    let start = &process().start;
    let pair = |low: u64, high: u64| (low & 0xffff_ffff) | (high << 32);
    let mode = segment.mode | if segment.removed { flag::DEST } else { 0 };
    // A removed segment has no key any more.
    let key = if segment.removed { 0 } else { segment.key.cast_unsigned() };
    let [attached, detached, changed] = segment.times;
    let pid = u64::from(process().id());
    [
        pair(u64::from(key), start.euid),
        pair(start.egid, start.euid),
        pair(start.egid, u64::from(mode)),
        0,
        0,
        0,
        segment.size,
        attached,
        detached,
        changed,
        pair(pid, pid),
        segment.attached,
        0,
        0,
    ]
}
