//! What the program asks of the machine: names, sizes, limits, scheduling, random numbers.

use casemate_enclave::vfs::procfs::{self, RELEASE, SYSTEM, VERSION};
use spin::Mutex;

use super::{Errno, Result, int, length, uint};
use crate::arch::frame::Frame;
use crate::arch::vcpu::Vcpu;
use crate::fs::{MAX_DESCRIPTORS, NODE_NAME, fill_random};
use crate::process::process;
use crate::{clock, user};

const SECOND: u64 = 1_000_000_000;

/// Clock ticks in a second (`USER_HZ`).
const TICKS: u64 = 100;

/// Bytes of a field of `struct new_utsname`.
const UTS: usize = 65;

pub(crate) fn uname(frame: &mut Frame) -> Result {
    let [out, ..] = frame.arguments();
    let mut record = [0; UTS * 6];
    let fields = [SYSTEM, NODE_NAME, RELEASE, VERSION, "x86_64", "(none)"];
    for (place, field) in record.chunks_exact_mut(UTS).zip(fields) {
        for (to, from) in place.iter_mut().take(UTS - 1).zip(field.bytes()) {
            *to = from;
        }
    }
    user::write(out, &record)?;
    Ok(0)
}

pub(crate) fn sysinfo(frame: &mut Frame) -> Result {
    let [out, ..] = frame.arguments();
    let total = process().start.heap_size;
    let free = total.saturating_sub(process().space.lock().usage().committed);
    // uptime, loads, total, free, shared, buffers, swap total and free; processes; high total and free; unit.
    let words: [u64; 14] = [clock::monotonic_ns() / SECOND, 0, 0, 0, total, free, 0, 0, 0, 0, 1, 0, 0, 1];
    user::write_value(out, &words)?;
    Ok(0)
}

/// Resources of getrlimit(2) that are more than a number to remember (`include/uapi/asm-generic/resource.h`).
const RLIMIT_STACK: usize = 3;
const RLIMIT_CORE: usize = 4;
const RLIMIT_NOFILE: usize = 7;
const RLIMIT_MEMLOCK: usize = 8;
const RESOURCES: usize = 16;

const UNLIMITED: u64 = u64::MAX;

/// Soft and hard limits. That of descriptors is in the table of descriptors.
static LIMITS: Mutex<[(u64, u64); RESOURCES]> = Mutex::new({
    let mut limits = [(UNLIMITED, UNLIMITED); RESOURCES];
    limits[RLIMIT_STACK] = (8 << 20, UNLIMITED);
    limits[RLIMIT_CORE] = (0, UNLIMITED);
    limits[RLIMIT_MEMLOCK] = (8 << 20, 8 << 20);
    // SIGPENDING, MSGQUEUE, NICE, RTPRIO.
    limits[11] = (4096, 4096);
    limits[12] = (819_200, 819_200);
    limits[13] = (0, 0);
    limits[14] = (0, 0);
    limits
});

fn limit(resource: usize) -> core::result::Result<(u64, u64), Errno> {
    match resource {
        RLIMIT_NOFILE => Ok(process().files.lock().limits()),
        resource => LIMITS.lock().get(resource).copied().ok_or(Errno::EINVAL),
    }
}

fn set_limit(resource: usize, soft: u64, hard: u64) -> core::result::Result<(), Errno> {
    let (_, before) = limit(resource)?;
    if soft > hard {
        return Err(Errno::EINVAL);
    }
    let most = if resource == RLIMIT_NOFILE { MAX_DESCRIPTORS } else { UNLIMITED };
    if hard > most || hard > before && process().start.euid != 0 {
        return Err(Errno::EPERM);
    }
    if resource == RLIMIT_NOFILE {
        process().files.lock().set_limits(soft, hard);
    } else if let Some(place) = LIMITS.lock().get_mut(resource) {
        *place = (soft, hard);
    }
    Ok(())
}

fn resource(argument: u64) -> core::result::Result<usize, Errno> {
    usize::try_from(uint(argument)).ok().filter(|resource| *resource < RESOURCES).ok_or(Errno::EINVAL)
}

pub(crate) fn getrlimit(frame: &mut Frame) -> Result {
    let [which, out, ..] = frame.arguments();
    let (soft, hard) = limit(resource(which)?)?;
    user::write_value(out, &[soft, hard])?;
    Ok(0)
}

pub(crate) fn setrlimit(frame: &mut Frame) -> Result {
    let [which, new, ..] = frame.arguments();
    let which = resource(which)?;
    let [soft, hard]: [u64; 2] = user::read_value(new)?;
    set_limit(which, soft, hard).map(|()| 0)
}

/// Whether an argument names this process or a thread of it; 0 is the caller.
fn check_id(argument: u64) -> core::result::Result<(), Errno> {
    let id = uint(argument);
    if id == 0 || id == process().id() || process().thread(id).is_some() { Ok(()) } else { Err(Errno::ESRCH) }
}

pub(crate) fn prlimit64(frame: &mut Frame) -> Result {
    let [id, which, new, old, ..] = frame.arguments();
    check_id(id)?;
    let which = resource(which)?;
    let before = limit(which)?;
    if new != 0 {
        let [soft, hard]: [u64; 2] = user::read_value(new)?;
        set_limit(which, soft, hard)?;
    }
    if old != 0 {
        user::write_value(old, &[before.0, before.1])?;
    }
    Ok(0)
}

pub(crate) fn getrusage(frame: &mut Frame) -> Result {
    let [who, out, ..] = frame.arguments();
    let mut words = [0_u64; 18];
    match int(who) {
        // RUSAGE_SELF, RUSAGE_THREAD. Times are those of the whole program; it is not known when it did not run.
        0 | 1 => {
            let ns = clock::running_ns();
            words[0] = ns / SECOND;
            words[1] = ns % SECOND / 1000;
            words[4] = process().space.lock().usage().committed / 1024;
        }
        // RUSAGE_CHILDREN.
        -1 => {}
        _ => return Err(Errno::EINVAL),
    }
    user::write_value(out, &words)?;
    Ok(0)
}

pub(crate) fn times(frame: &mut Frame) -> Result {
    let [out, ..] = frame.arguments();
    if out != 0 {
        let ticks = clock::running_ns() / (SECOND / TICKS);
        user::write_value(out, &[ticks, 0, 0, 0])?;
    }
    Ok(clock::monotonic_ns() / (SECOND / TICKS))
}

pub(crate) fn getcpu(frame: &mut Frame) -> Result {
    let [cpu, node, ..] = frame.arguments();
    if cpu != 0 {
        user::write_value(cpu, &u32::try_from(Vcpu::index()).unwrap_or(0))?;
    }
    if node != 0 {
        user::write_value(node, &0_u32)?;
    }
    Ok(0)
}

pub(crate) fn sched_getaffinity(frame: &mut Frame) -> Result {
    let [id, size, out, ..] = frame.arguments();
    check_id(id)?;
    let size = uint(size);
    if size < 8 || !size.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    user::write_value(out, &procfs::mask(process().start.vcpus))?;
    Ok(8)
}

/// Threads run wherever there is room; a wish that leaves one of the vCPUs is taken.
pub(crate) fn sched_setaffinity(frame: &mut Frame) -> Result {
    let [id, size, mask, ..] = frame.arguments();
    check_id(id)?;
    let mut bytes = [0; 8];
    let size = length(size)?.min(bytes.len());
    user::read(mask, &mut bytes[..size])?;
    let wanted = u64::from_le_bytes(bytes) & procfs::mask(process().start.vcpus);
    if wanted == 0 { Err(Errno::EINVAL) } else { Ok(0) }
}

/// SCHED_OTHER.
pub(crate) fn sched_getscheduler(frame: &mut Frame) -> Result {
    let [id, ..] = frame.arguments();
    check_id(id).map(|()| 0)
}

/// Policies without priority: SCHED_OTHER, SCHED_BATCH, SCHED_IDLE.
fn is_plain(policy: u64) -> bool {
    matches!(uint(policy) & !0x4000_0000, 0 | 3 | 5)
}

pub(crate) fn sched_setscheduler(frame: &mut Frame) -> Result {
    let [id, policy, parameter, ..] = frame.arguments();
    check_id(id)?;
    let priority: i32 = user::read_value(parameter)?;
    match (is_plain(policy), priority) {
        (true, 0) => Ok(0),
        (true, _) => Err(Errno::EINVAL),
        (false, _) => Err(Errno::EPERM),
    }
}

pub(crate) fn sched_getparam(frame: &mut Frame) -> Result {
    let [id, out, ..] = frame.arguments();
    check_id(id)?;
    user::write_value(out, &0_i32)?;
    Ok(0)
}

pub(crate) fn sched_setparam(frame: &mut Frame) -> Result {
    let [id, parameter, ..] = frame.arguments();
    check_id(id)?;
    if user::read_value::<i32>(parameter)? == 0 { Ok(0) } else { Err(Errno::EINVAL) }
}

/// The ends of a policy's priorities; SCHED_FIFO and SCHED_RR have some.
fn priorities(policy: u64) -> core::result::Result<(u64, u64), Errno> {
    match uint(policy) {
        1 | 2 => Ok((1, 99)),
        0 | 3 | 5 | 6 => Ok((0, 0)),
        _ => Err(Errno::EINVAL),
    }
}

pub(crate) fn sched_get_priority_min(frame: &mut Frame) -> Result {
    let [policy, ..] = frame.arguments();
    Ok(priorities(policy)?.0)
}

pub(crate) fn sched_get_priority_max(frame: &mut Frame) -> Result {
    let [policy, ..] = frame.arguments();
    Ok(priorities(policy)?.1)
}

pub(crate) fn sched_rr_get_interval(frame: &mut Frame) -> Result {
    let [id, out, ..] = frame.arguments();
    check_id(id)?;
    user::write_value(out, &[0_u64, 4_000_000])?;
    Ok(0)
}

/// The kernel's form of the answer: 20 less the niceness, which is 0.
pub(crate) fn getpriority(frame: &mut Frame) -> Result {
    let [which, ..] = frame.arguments();
    if uint(which) > 2 { Err(Errno::EINVAL) } else { Ok(20) }
}

/// Being nicer is taken and changes nothing; the contrary is not for everybody.
pub(crate) fn setpriority(frame: &mut Frame) -> Result {
    let [which, _, niceness, ..] = frame.arguments();
    if uint(which) > 2 {
        return Err(Errno::EINVAL);
    }
    if int(niceness) < 0 { Err(Errno::EACCES) } else { Ok(0) }
}

pub(crate) fn ioprio_get(_: &mut Frame) -> Result {
    Ok(0)
}

pub(crate) fn ioprio_set(_: &mut Frame) -> Result {
    Ok(0)
}

/// Bytes that are made while guest memory is locked.
const RANDOM_CHUNK: usize = 4096;

pub(crate) fn getrandom(frame: &mut Frame) -> Result {
    let [out, count, flags, ..] = frame.arguments();
    // GRND_NONBLOCK, GRND_RANDOM, GRND_INSECURE; the last two exclude each other.
    let flags = uint(flags);
    if flags & !7 != 0 || flags & 6 == 6 {
        return Err(Errno::EINVAL);
    }
    let length = length(count)?;
    let mut done = 0;
    while done < length {
        let chunk = (length - done).min(RANDOM_CHUNK);
        let at = out.checked_add(done as u64).ok_or(Errno::EFAULT)?;
        match user::with_bytes_mut(at, chunk, fill_random) {
            Ok(()) => done += chunk,
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done as u64)
}

/// PER_LINUX, and asking for what it is.
pub(crate) fn personality(frame: &mut Frame) -> Result {
    let [persona, ..] = frame.arguments();
    // ADDR_NO_RANDOMIZE and its like change nothing here.
    if matches!(uint(persona), u32::MAX) || uint(persona) & 0xff == 0 { Ok(0) } else { Err(Errno::EINVAL) }
}

/// Every page of an enclave that the program has is its own, in the EPC or paged out by the host as it likes.
pub(crate) fn mlock(frame: &mut Frame) -> Result {
    let [address, length, ..] = frame.arguments();
    if address.checked_add(length).is_none() { Err(Errno::EINVAL) } else { Ok(0) }
}

pub(crate) fn mlock2(frame: &mut Frame) -> Result {
    let [_, _, flags, ..] = frame.arguments();
    if uint(flags) & !1 != 0 { Err(Errno::EINVAL) } else { mlock(frame) }
}

pub(crate) fn mlockall(frame: &mut Frame) -> Result {
    let [flags, ..] = frame.arguments();
    if matches!(uint(flags), 1..=3 | 5..=7) { Ok(0) } else { Err(Errno::EINVAL) }
}

pub(crate) fn munlockall(_: &mut Frame) -> Result {
    Ok(0)
}

/// No command: programs then do without.
pub(crate) fn membarrier(frame: &mut Frame) -> Result {
    let [command, ..] = frame.arguments();
    if int(command) == 0 { Ok(0) } else { Err(Errno::EINVAL) }
}
