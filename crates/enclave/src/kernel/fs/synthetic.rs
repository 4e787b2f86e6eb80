//! `/proc`, `/sys` and `/dev`: names that no file system has, by a table.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::flags::mode;
use casemate_enclave::vfs::path;
use casemate_enclave::vfs::tmpfs::Item;
use casemate_enclave_abi::start::{FLAG_STDERR_TERMINAL, FLAG_STDIN_TERMINAL, FLAG_STDOUT_TERMINAL};
use casemate_enclave_abi::{Errno, Stat, StatFs};

use super::devices::{self, Device, DeviceFile, inode_of};
use super::file::File;
use super::listing::{Listing, Owner};
use super::memory_file::{Snapshot, Take};
use super::open_file::OpenFile;
use super::{console, proc};
use crate::process::process;

/// What is behind a name.
#[derive(Clone, Copy)]
enum Thing {
    Directory,
    /// A text, made when it is opened.
    Text(fn() -> Vec<u8>),
    /// A text that can be written: what it is, and what takes a new one.
    Value(fn() -> Vec<u8>, Take),
    /// A symbolic link.
    Link(fn() -> String),
    Device(Device),
    /// The terminal, if there is one.
    Terminal,
    /// A descriptor of the program's: a link that leads to the open file itself.
    Descriptor(i32),
    /// What is known of a descriptor.
    DescriptorInfo(i32),
    /// A number of a processor's place: the processor, what it is one of.
    Topology(u64, proc::Topology),
}

macro_rules! table {
    ($($path:literal => $thing:expr;)*) => {
        const TABLE: &[(&str, Thing)] = &[$(($path, $thing),)*];
    };
}

table! {
    "/dev/fd" => Thing::Link(|| "/proc/self/fd".into());
    "/dev/full" => Thing::Device(Device::Full);
    "/dev/null" => Thing::Device(Device::Null);
    "/dev/pts/0" => Thing::Terminal;
    "/dev/random" => Thing::Device(Device::Random);
    "/dev/shm" => Thing::Directory;
    "/dev/stderr" => Thing::Link(|| "/proc/self/fd/2".into());
    "/dev/stdin" => Thing::Link(|| "/proc/self/fd/0".into());
    "/dev/stdout" => Thing::Link(|| "/proc/self/fd/1".into());
    "/dev/tty" => Thing::Terminal;
    "/dev/urandom" => Thing::Device(Device::Urandom);
    "/dev/zero" => Thing::Device(Device::Zero);
    "/proc/cmdline" => Thing::Text(proc::boot_line);
    "/proc/cpuinfo" => Thing::Text(proc::cpuinfo);
    "/proc/filesystems" => Thing::Text(proc::filesystems);
    "/proc/loadavg" => Thing::Text(proc::loadavg);
    "/proc/meminfo" => Thing::Text(proc::meminfo);
    "/proc/mounts" => Thing::Link(|| "self/mounts".into());
    "/proc/self" => Thing::Directory;
    "/proc/self/auxv" => Thing::Text(proc::auxv);
    "/proc/self/cgroup" => Thing::Text(proc::cgroup);
    "/proc/self/cmdline" => Thing::Text(proc::cmdline);
    "/proc/self/comm" => Thing::Value(proc::comm, proc::set_comm);
    "/proc/self/coredump_filter" => Thing::Value(proc::coredump_filter, proc::take_number);
    "/proc/self/cwd" => Thing::Link(proc::cwd);
    "/proc/self/environ" => Thing::Text(proc::environ);
    "/proc/self/exe" => Thing::Link(proc::exe);
    "/proc/self/fd" => Thing::Directory;
    "/proc/self/fdinfo" => Thing::Directory;
    "/proc/self/limits" => Thing::Text(proc::limits);
    "/proc/self/maps" => Thing::Text(proc::maps);
    "/proc/self/mountinfo" => Thing::Text(proc::mountinfo);
    "/proc/self/mounts" => Thing::Text(proc::mounts);
    "/proc/self/io" => Thing::Text(proc::io);
    "/proc/self/loginuid" => Thing::Text(proc::loginuid);
    "/proc/self/oom_score" => Thing::Text(proc::zero);
    "/proc/self/oom_score_adj" => Thing::Value(proc::oom_score_adj, proc::set_oom_score_adj);
    "/proc/self/personality" => Thing::Text(proc::personality);
    "/proc/self/root" => Thing::Link(|| "/".into());
    "/proc/self/stat" => Thing::Text(proc::task_stat);
    "/proc/self/statm" => Thing::Text(proc::statm);
    "/proc/self/status" => Thing::Text(proc::status);
    "/proc/self/task" => Thing::Directory;
    "/proc/stat" => Thing::Text(proc::stat);
    "/proc/swaps" => Thing::Text(proc::swaps);
    "/proc/sys/fs/file-max" => Thing::Text(proc::file_max);
    "/proc/sys/fs/inotify/max_queued_events" => Thing::Text(|| "16384\n".into());
    "/proc/sys/fs/inotify/max_user_instances" => Thing::Text(|| "128\n".into());
    "/proc/sys/fs/inotify/max_user_watches" => Thing::Text(|| "65536\n".into());
    "/proc/sys/fs/nr_open" => Thing::Text(proc::file_max);
    "/proc/sys/fs/pipe-max-size" => Thing::Text(proc::pipe_max_size);
    "/proc/sys/kernel/cap_last_cap" => Thing::Text(proc::cap_last_cap);
    "/proc/sys/kernel/core_pattern" => Thing::Text(|| "core\n".into());
    "/proc/sys/kernel/hostname" => Thing::Text(proc::hostname);
    "/proc/sys/kernel/ngroups_max" => Thing::Text(proc::ngroups_max);
    "/proc/sys/kernel/osrelease" => Thing::Text(proc::osrelease);
    "/proc/sys/kernel/ostype" => Thing::Text(proc::ostype);
    "/proc/sys/kernel/pid_max" => Thing::Text(proc::pid_max);
    "/proc/sys/kernel/random/boot_id" => Thing::Text(proc::boot_id);
    "/proc/sys/kernel/random/uuid" => Thing::Text(proc::uuid);
    "/proc/sys/kernel/randomize_va_space" => Thing::Text(proc::zero);
    "/proc/sys/kernel/sem" => Thing::Text(|| "32000\t1024000000\t500\t32000\n".into());
    "/proc/sys/kernel/shmall" => Thing::Text(|| "18446744073692774399\n".into());
    "/proc/sys/kernel/shmmax" => Thing::Text(|| "18446744073692774399\n".into());
    "/proc/sys/kernel/shmmni" => Thing::Text(|| "4096\n".into());
    "/proc/sys/kernel/threads-max" => Thing::Text(|| "32768\n".into());
    "/proc/sys/kernel/version" => Thing::Text(proc::kernel_version);
    "/proc/sys/net/core/somaxconn" => Thing::Text(proc::somaxconn);
    "/proc/sys/vm/max_map_count" => Thing::Text(proc::max_map_count);
    "/proc/sys/vm/nr_hugepages" => Thing::Text(proc::zero);
    "/proc/sys/vm/overcommit_memory" => Thing::Text(proc::zero);
    "/proc/thread-self" => Thing::Link(proc::thread_self);
    "/proc/uptime" => Thing::Text(proc::uptime);
    "/proc/version" => Thing::Text(proc::version);
    "/sys/devices/system/cpu/offline" => Thing::Text(|| "\n".into());
    "/sys/devices/system/cpu/online" => Thing::Text(proc::cpus);
    "/sys/devices/system/cpu/possible" => Thing::Text(proc::cpus);
    "/sys/devices/system/cpu/present" => Thing::Text(proc::cpus);
    "/sys/devices/system/node/node0/cpulist" => Thing::Text(proc::cpus);
    "/sys/devices/system/node/online" => Thing::Text(proc::zero);
    "/sys/devices/system/node/possible" => Thing::Text(proc::zero);
    "/sys/fs/cgroup" => Thing::Directory;
    "/sys/kernel/mm/transparent_hugepage/enabled" => Thing::Text(|| "always madvise [never]\n".into());
    "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size" => Thing::Text(|| "2097152\n".into());
}

/// Whether the program's console is a terminal.
fn has_terminal() -> bool {
    process().start.flags & (FLAG_STDIN_TERMINAL | FLAG_STDOUT_TERMINAL | FLAG_STDERR_TERMINAL) != 0
}

/// A path below `/proc/<pid>`, and below a thread of it, as the one below `/proc/self` that the table has.
fn canonical(path: &str) -> Option<String> {
    let pid = process().id().to_string();
    let Some(rest) = path::below(path, "/proc") else { return Some(path.into()) };
    let (first, inner) = rest.split_once('/').unwrap_or((rest, ""));
    if first != pid {
        // Other numbers are processes that do not exist; `self` itself is a link.
        return if first.parse::<u32>().is_ok() { None } else { Some(path.into()) };
    }
    let mut inner = inner;
    if let Some(of_task) = inner.strip_prefix("task/") {
        let (id, of_thread) = of_task.split_once('/').unwrap_or((of_task, ""));
        process().thread(id.parse().ok()?)?;
        inner = of_thread;
    }
    Some(if inner.is_empty() { "/proc/self".into() } else { path::join("/proc/self", inner) })
}

/// What lies at a normal path; `None`: nothing.
fn look(path: &str) -> Option<Thing> {
    if path == "/proc/self" {
        return Some(Thing::Link(|| process().id().to_string()));
    }
    let path = canonical(path)?;
    let path = path.as_str();
    if let Some(number) = path::below(path, "/proc/self/fd").filter(|number| !number.is_empty()) {
        let fd = number.parse().ok()?;
        return process().files.lock().get(fd).ok().map(|_| Thing::Descriptor(fd));
    }
    if let Some(number) = path::below(path, "/proc/self/fdinfo").filter(|number| !number.is_empty()) {
        let fd = number.parse().ok()?;
        return process().files.lock().get(fd).ok().map(|_| Thing::DescriptorInfo(fd));
    }
    if let Some((_, thing)) = TABLE.iter().find(|(name, _)| *name == path) {
        return match thing {
            Thing::Terminal if !has_terminal() => None,
            thing => Some(*thing),
        };
    }
    if let Some(rest) = path.strip_prefix("/sys/devices/system/cpu/cpu") {
        return processor(rest);
    }
    let above = TABLE.iter().any(|(name, _)| path::below(name, path).is_some());
    above.then_some(Thing::Directory)
}

/// What is known of a processor: `rest` is its number and what is behind it.
fn processor(rest: &str) -> Option<Thing> {
    let (number, inner) = rest.split_once('/').unwrap_or((rest, ""));
    let cpu = number.parse::<u64>().ok().filter(|cpu| *cpu < process().start.vcpus)?;
    match inner {
        "" | "topology" => Some(Thing::Directory),
        inner => {
            let name = path::below(inner, "topology")?;
            let (_, of) = proc::TOPOLOGY.iter().find(|(known, _)| *known == name)?;
            Some(Thing::Topology(cpu, *of))
        }
    }
}

fn find(path: &str) -> Result<Thing, Errno> {
    look(path).ok_or(Errno::ENOENT)
}

/// The descriptor that a path of `/proc/self/fd` names.
pub(super) fn descriptor(path: &str) -> Option<Arc<OpenFile>> {
    match look(path)? {
        Thing::Descriptor(fd) => process().files.lock().get(fd).ok(),
        _ => None,
    }
}

/// The target of a symbolic link.
///
/// # Errors
/// ENOENT. EINVAL: it is none.
pub(super) fn read_link(path: &str) -> Result<String, Errno> {
    match find(path)? {
        Thing::Link(target) => Ok(target()),
        Thing::Descriptor(fd) => {
            let file = process().files.lock().get(fd)?;
            Ok(file.file().label().unwrap_or_else(|| file.path().into()))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// What lstat(2) shows.
///
/// # Errors
/// ENOENT.
pub(super) fn stat(path: &str) -> Result<Stat, Errno> {
    Ok(match find(path)? {
        Thing::Directory => devices::stat(path, mode::DIRECTORY | 0o555, 0),
        Thing::Text(_) | Thing::DescriptorInfo(_) | Thing::Topology(..) => {
            devices::stat(path, mode::REGULAR | 0o444, 0)
        }
        Thing::Value(..) => devices::stat(path, mode::REGULAR | 0o644, 0),
        Thing::Link(target) => {
            let mut stat = devices::stat(path, mode::LINK | 0o777, 0);
            // Links of /dev have a size, those of /proc have none.
            if !path.starts_with("/proc/") {
                stat.size = target().len() as u64;
            }
            stat
        }
        Thing::Descriptor(_) => devices::stat(path, mode::LINK | 0o700, 0),
        Thing::Device(device) => device.stat(path),
        Thing::Terminal => console::terminal()?.stat()?,
    })
}

/// What statfs(2) shows.
pub(super) fn stat_fs(path: &str) -> StatFs {
    devices::stat_fs(match path.get(..5) {
        Some("/proc") => devices::PROC,
        Some("/sys/" | "/sys") => devices::SYSFS,
        _ if path == "/sys" => devices::SYSFS,
        _ => devices::TMPFS,
    })
}

/// Opens what lies at a path that is no link. `writing`: the access mode asks for it.
///
/// # Errors
/// ENOENT. EACCES: texts are not written. EISDIR.
pub(super) fn open(path: &str, writing: bool) -> Result<Arc<dyn File>, Errno> {
    match find(path)? {
        Thing::Directory if writing => Err(Errno::EISDIR),
        Thing::Directory => Ok(Arc::new(Listing::new(Owner::Synthetic, path.into()))),
        Thing::Text(_) | Thing::DescriptorInfo(_) | Thing::Topology(..) if writing => Err(Errno::EACCES),
        Thing::Text(text) => snapshot(path, text(), None),
        Thing::Value(text, take) => snapshot(path, text(), Some(take)),
        Thing::DescriptorInfo(fd) => snapshot(path, proc::descriptor_info(fd)?, None),
        Thing::Topology(cpu, of) => snapshot(path, of(cpu), None),
        Thing::Device(device) => {
            let name = TABLE.iter().find(|(name, _)| *name == path).map_or("/dev/null", |(name, _)| name);
            Ok(Arc::new(DeviceFile { device, path: name }))
        }
        Thing::Terminal => Ok(console::terminal()?),
        Thing::Link(_) | Thing::Descriptor(_) => Err(Errno::ELOOP),
    }
}

fn snapshot(path: &str, text: Vec<u8>, take: Option<Take>) -> Result<Arc<dyn File>, Errno> {
    Ok(Arc::new(Snapshot { stat: stat(path)?, stat_fs: stat_fs(path), text, take }))
}

/// What is in a directory, without `.` and `..`.
pub(super) fn list(path: &str) -> Vec<Item> {
    let Some(canonical) = canonical(path) else { return Vec::new() };
    let mut names: Vec<String> = Vec::new();
    for (name, _) in TABLE {
        if let Some(rest) = path::below(name, &canonical).filter(|rest| !rest.is_empty()) {
            names.push(rest.split('/').next().unwrap_or(rest).into());
        }
    }
    match canonical.as_str() {
        "/proc" => names.push(process().id().to_string()),
        "/proc/self/fd" | "/proc/self/fdinfo" => {
            names.extend(process().files.lock().numbers().iter().map(ToString::to_string));
        }
        "/proc/self/task" => names.extend(process().threads.lock().keys().map(ToString::to_string)),
        "/sys/devices/system/cpu" => {
            names.extend((0..process().start.vcpus).map(|cpu| alloc::format!("cpu{cpu}")));
        }
        path if path.starts_with("/sys/devices/system/cpu/cpu") => {
            if path.ends_with("/topology") {
                names.extend(proc::TOPOLOGY.iter().map(|(name, _)| (*name).to_string()));
            } else {
                names.push("topology".into());
            }
        }
        _ => {}
    }
    names.dedup();
    let item = |name: String| {
        let path = path::join(path, &name);
        let mode = u32::try_from(stat(&path).ok()?.mode).ok()?;
        Some(Item { ino: inode_of(&path), kind: mode::directory_kind(mode), name })
    };
    names.into_iter().filter_map(item).collect()
}
