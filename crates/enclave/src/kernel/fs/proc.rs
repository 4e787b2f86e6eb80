//! The values behind the texts of `/proc` and `/sys`.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicI32, Ordering};

use casemate_enclave::vfs::flags::open;
use casemate_enclave::vfs::path::Path;
use casemate_enclave::vfs::procfs::{self, Mount, Processor, RELEASE, SYSTEM, Task, VERSION};
use casemate_enclave_abi::Errno;

use super::devices::fill_random;
use super::namespace::{self, mounts};
use super::table::MAX_DESCRIPTORS;
use crate::process::process;
use crate::{clock, cpuid, sched};

const SECOND: u64 = 1_000_000_000;

/// What uname(2) calls the machine.
pub(crate) const NODE_NAME: &str = "casemate";

fn vcpus() -> u64 {
    process().start.vcpus
}

fn task() -> Task {
    let process = process();
    let usage = process.space.lock().usage();
    let (umask, descriptors) = {
        let files = process.files.lock();
        (files.umask(), files.room())
    };
    let start = &process.start;
    let name = sched::current().name.lock().to_vec();
    let name: Vec<u8> = name.into_iter().take_while(|byte| *byte != 0).collect();
    Task {
        id: process.id(),
        pid: process.id(),
        ppid: start.ppid,
        ids: [start.uid, start.euid, start.gid, start.egid],
        umask,
        name: if name.is_empty() { program_name() } else { name },
        threads: process.threads.lock().len(),
        reserved: usage.reserved,
        committed: usage.committed,
        ticks: clock::running_ns() / (SECOND / 100),
        vcpus: vcpus(),
        descriptors,
    }
}

/// The first 15 bytes of the program's file name.
fn program_name() -> Vec<u8> {
    let path = process().image.lock().path.clone();
    let name = path.rsplit('/').next().unwrap_or("");
    name.bytes().take(15).collect()
}

pub(super) fn cpuinfo() -> Vec<u8> {
    let leaf = cpuid::cpuid;
    let text = |words: &[u32]| {
        let bytes: Vec<u8> =
            words.iter().flat_map(|word| word.to_le_bytes()).take_while(|byte| *byte != 0).collect();
        String::from_utf8_lossy(&bytes).trim().to_string()
    };
    let zero = leaf(0, 0);
    let brand: Vec<u32> = (0x8000_0002..=0x8000_0004_u32)
        .map(|number| leaf(number, 0))
        .flat_map(|entry| [entry.eax, entry.ebx, entry.ecx, entry.edx])
        .collect();
    let one = leaf(1, 0);
    let processor = Processor {
        vendor: text(&[zero.ebx, zero.edx, zero.ecx]),
        model_name: text(&brand),
        signature: one.eax,
        flags: procfs::feature_names([one.edx, one.ecx, leaf(7, 0).ebx]),
    };
    procfs::cpuinfo(&processor, vcpus()).into()
}

pub(super) fn filesystems() -> Vec<u8> {
    "nodev\tproc\nnodev\tsysfs\nnodev\ttmpfs\nnodev\tdevtmpfs\nnodev\tpipefs\nnodev\tcasemate\n".into()
}

pub(super) fn loadavg() -> Vec<u8> {
    let process = process();
    alloc::format!("0.00 0.00 0.00 1/{} {}\n", process.threads.lock().len(), process.id()).into()
}

pub(super) fn meminfo() -> Vec<u8> {
    let used = process().space.lock().usage().committed;
    procfs::meminfo(process().start.heap_size, used).into()
}

pub(super) fn auxv() -> Vec<u8> {
    let pairs = process().image.lock().auxv.clone();
    let words = pairs.iter().flat_map(|(kind, value)| [*kind, *value]).chain([0, 0]);
    words.flat_map(u64::to_le_bytes).collect()
}

pub(super) fn cgroup() -> Vec<u8> {
    "0::/\n".into()
}

pub(super) fn cmdline() -> Vec<u8> {
    procfs::strings(&process().image.lock().arguments)
}

pub(super) fn environ() -> Vec<u8> {
    procfs::strings(&process().image.lock().environment)
}

pub(super) fn comm() -> Vec<u8> {
    let mut name = task().name;
    name.push(b'\n');
    name
}

pub(super) fn cwd() -> String {
    process().files.lock().cwd().into()
}

/// The program's path without links, as Linux shows it.
pub(super) fn exe() -> String {
    let path = process().image.lock().path.clone();
    without_links(&path)
}

/// What a path leads to; the path itself where it leads nowhere.
pub(crate) fn without_links(path: &str) -> String {
    let cwd = cwd();
    match Path::new(&cwd, path.as_bytes()) {
        Ok(path) => namespace::real(&path).unwrap_or(path.normal),
        Err(_) => path.into(),
    }
}

pub(super) fn limits() -> Vec<u8> {
    let (soft, hard) = process().files.lock().limits();
    let mut text =
        alloc::format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (name, soft, hard, unit) in [
        ("Max stack size", "8388608".into(), "unlimited".into(), "bytes"),
        ("Max open files", soft.to_string(), hard.min(MAX_DESCRIPTORS).to_string(), "files"),
    ] {
        let (soft, hard): (String, String) = (soft, hard);
        text.push_str(&alloc::format!("{name:<25} {soft:<20} {hard:<20} {unit:<10}\n"));
    }
    text.into()
}

pub(super) fn maps() -> Vec<u8> {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = process().space.lock().maps(&mut text);
    text.into()
}

fn mount_list() -> Vec<Mount> {
    mounts::all().collect()
}

pub(super) fn mounts() -> Vec<u8> {
    procfs::mounts(&mount_list()).into()
}

pub(super) fn mountinfo() -> Vec<u8> {
    procfs::mountinfo(&mount_list()).into()
}

pub(super) fn task_stat() -> Vec<u8> {
    task().stat().into()
}

pub(super) fn statm() -> Vec<u8> {
    task().statm().into()
}

pub(super) fn status() -> Vec<u8> {
    task().status().into()
}

pub(super) fn stat() -> Vec<u8> {
    let booted = clock::realtime_ns().saturating_sub(clock::monotonic_ns()) / SECOND;
    procfs::stat(vcpus(), booted).into()
}

pub(super) fn thread_self() -> String {
    alloc::format!("{}/task/{}", process().id(), sched::current().id())
}

pub(super) fn uptime() -> Vec<u8> {
    procfs::uptime(clock::monotonic_ns()).into()
}

pub(super) fn version() -> Vec<u8> {
    alloc::format!("{SYSTEM} version {RELEASE} (casemate) {VERSION}\n").into()
}

pub(super) fn cpus() -> Vec<u8> {
    procfs::cpu_list(vcpus()).into()
}

pub(super) fn zero() -> Vec<u8> {
    "0\n".into()
}

pub(super) fn pipe_max_size() -> Vec<u8> {
    "65536\n".into()
}

pub(super) fn cap_last_cap() -> Vec<u8> {
    "40\n".into()
}

pub(super) fn hostname() -> Vec<u8> {
    alloc::format!("{NODE_NAME}\n").into()
}

pub(super) fn ngroups_max() -> Vec<u8> {
    "65536\n".into()
}

pub(super) fn osrelease() -> Vec<u8> {
    alloc::format!("{RELEASE}\n").into()
}

pub(super) fn ostype() -> Vec<u8> {
    alloc::format!("{SYSTEM}\n").into()
}

pub(super) fn pid_max() -> Vec<u8> {
    "4194304\n".into()
}

pub(super) fn somaxconn() -> Vec<u8> {
    "4096\n".into()
}

pub(super) fn max_map_count() -> Vec<u8> {
    "65530\n".into()
}

fn random_uuid() -> String {
    let mut words = [0; 2];
    for word in &mut words {
        let mut bytes = [0; 8];
        fill_random(&mut bytes);
        *word = u64::from_le_bytes(bytes);
    }
    procfs::uuid(words)
}

pub(super) fn uuid() -> Vec<u8> {
    random_uuid().into()
}

pub(super) fn boot_id() -> Vec<u8> {
    static BOOT: spin::Once<String> = spin::Once::new();
    BOOT.call_once(random_uuid).clone().into()
}

/// What says a number of a processor's place.
pub(super) type Topology = fn(u64) -> Vec<u8>;

/// The names below a processor's `topology`. All processors are cores of one package.
pub(super) const TOPOLOGY: [(&str, Topology); 6] = [
    ("core_cpus_list", |cpu| alloc::format!("{cpu}\n").into()),
    ("core_id", |cpu| alloc::format!("{cpu}\n").into()),
    ("core_siblings_list", |_| cpus()),
    ("package_cpus_list", |_| cpus()),
    ("physical_package_id", |_| zero()),
    ("thread_siblings_list", |cpu| alloc::format!("{cpu}\n").into()),
];

/// What `/proc/self/fdinfo` has of a descriptor.
///
/// # Errors
/// EBADF.
pub(super) fn descriptor_info(fd: i32) -> Result<Vec<u8>, Errno> {
    let descriptor = process().files.lock().descriptor(fd)?;
    let file = &descriptor.file;
    let position = file.with_position(|position| *position);
    let flags = file.flags() | if descriptor.close_on_exec { open::CLOEXEC } else { 0 };
    let ino = file.stat().map_or(0, |stat| stat.ino);
    Ok(alloc::format!("pos:\t{position}\nflags:\t0{flags:o}\nmnt_id:\t20\nino:\t{ino}\n").into())
}

pub(super) fn set_comm(text: &[u8]) -> Result<(), Errno> {
    let mut name = [0; 16];
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let length = text.len().min(15);
    name[..length].copy_from_slice(&text[..length]);
    *sched::current().name.lock() = name;
    Ok(())
}

static OOM_SCORE_ADJ: AtomicI32 = AtomicI32::new(0);

pub(super) fn oom_score_adj() -> Vec<u8> {
    alloc::format!("{}\n", OOM_SCORE_ADJ.load(Ordering::Relaxed)).into()
}

/// A number in a text.
fn number(text: &[u8]) -> Result<i32, Errno> {
    let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    text.trim().parse().map_err(|_| Errno::EINVAL)
}

pub(super) fn set_oom_score_adj(text: &[u8]) -> Result<(), Errno> {
    let score = number(text)?;
    if !(-1000..=1000).contains(&score) {
        return Err(Errno::EINVAL);
    }
    OOM_SCORE_ADJ.store(score, Ordering::Relaxed);
    Ok(())
}

pub(super) fn coredump_filter() -> Vec<u8> {
    "00000033\n".into()
}

/// Takes any number: there are no core dumps to filter.
pub(super) fn take_number(text: &[u8]) -> Result<(), Errno> {
    let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?.trim();
    let hexadecimal = text.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16));
    hexadecimal.unwrap_or_else(|| text.parse()).map(drop).map_err(|_| Errno::EINVAL)
}

pub(super) fn io() -> Vec<u8> {
    let names = ["rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes", "cancelled_write_bytes"];
    names.iter().map(|name| alloc::format!("{name}: 0\n")).collect::<String>().into()
}

pub(super) fn loginuid() -> Vec<u8> {
    "4294967295".into()
}

pub(super) fn personality() -> Vec<u8> {
    "00000000\n".into()
}

pub(super) fn boot_line() -> Vec<u8> {
    "casemate\n".into()
}

pub(super) fn swaps() -> Vec<u8> {
    "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".into()
}

pub(super) fn file_max() -> Vec<u8> {
    alloc::format!("{MAX_DESCRIPTORS}\n").into()
}

pub(super) fn kernel_version() -> Vec<u8> {
    alloc::format!("{VERSION}\n").into()
}
